// SPDX-License-Identifier: Apache-2.0
/*
 * On a disk that does not answer for a while: the filesystem that the disk's
 * file is on is frozen.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "suite.h"

#define UNDER "/under"
#define BLOCK 4096

static int direct;
static volatile pid_t writer;

/* Writes the first sector of the file. */
static void *write_sector(void *unused)
{
	static char sector[512] __attribute__((aligned(512)));

	(void)unused;
	memset(sector, 'c', sizeof(sector));
	writer = (pid_t)syscall(SYS_gettid);
	return (void *)(intptr_t)(pwrite(direct, sector, sizeof(sector), 0) == sizeof(sector));
}

static void test_sector_write(void)
{
	static char block[BLOCK] __attribute__((aligned(BLOCK))), other[BLOCK] __attribute__((aligned(BLOCK)));
	aio_context_t context = 0;
	struct iocb request = { 0 }, *requests[] = { &request };
	struct io_event event;
	pthread_t thread;
	void *written = NULL;
	size_t i, right = 0;

	direct = must_open(path("direct"), O_RDWR | O_CREAT | O_DIRECT);
	memset(block, 'a', sizeof(block));
	if (pwrite(direct, block, BLOCK, 0) != BLOCK || fsync(direct) != 0)
		die("write");
	if (syscall(SYS_io_setup, 1, &context) != 0)
		die("io_setup");
	memset(other, 'b', sizeof(other));
	request.aio_fildes = (__u32)direct;
	request.aio_lio_opcode = IOCB_CMD_PWRITE;
	request.aio_buf = ptr(other);
	request.aio_nbytes = BLOCK;
	freeze(UNDER);
	if (syscall(SYS_io_submit, context, 1, requests) != 1)
		die("io_submit");
	if (pthread_create(&thread, NULL, write_sector, NULL) != 0)
		die("pthread_create");
	while (writer == 0)
		usleep(1000);
	result(wait_until_stuck(writer, STUCK), "a write of a sector waits for the direct write of its block");
	thaw(UNDER);
	pthread_join(thread, &written);
	if (syscall(SYS_io_getevents, context, 1, 1, &event, NULL) != 1)
		die("io_getevents");
	result(written && event.res == BLOCK, "both succeed");
	fsync(direct);
	if (pread(direct, block, BLOCK, 0) != BLOCK)
		die("read");
	for (i = 0; i < BLOCK; i++)
		right += block[i] == (i < 512 ? 'c' : 'b');
	result(right == BLOCK, "a write of a sector keeps the direct write of its block that came before it");
	syscall(SYS_io_destroy, context);
	close(direct);
}

struct block_write {
	off_t at;
	volatile pid_t task;
};

/* Writes a block of the file. */
static void *write_block(void *arg)
{
	static char block[BLOCK] __attribute__((aligned(BLOCK)));
	struct block_write *write = arg;

	write->task = (pid_t)syscall(SYS_gettid);
	return (void *)(intptr_t)(pwrite(direct, block, BLOCK, write->at) == BLOCK);
}

/* The number of writes that the disk under a file has been given and not answered. */
static unsigned int writes_under(int fd)
{
	struct stat stat;
	char name[64];
	unsigned int reads, writes;
	FILE *file;

	if (fstat(fd, &stat) != 0)
		die("fstat");
	snprintf(name, sizeof(name), "/sys/dev/block/%u:%u/inflight", major(stat.st_dev), minor(stat.st_dev));
	file = fopen(name, "r");
	if (!file || fscanf(file, "%u %u", &reads, &writes) != 2)
		die(name);
	fclose(file);
	return writes;
}

static void test_block_writes(void)
{
	struct block_write writes[2] = { { .at = 0 }, { .at = 8 * BLOCK } };
	static char data[16 * BLOCK] __attribute__((aligned(BLOCK)));
	int i, stuck = 1, succeeded = 1;
	pthread_t threads[2];
	void *written;

	direct = must_open(path("direct"), O_RDWR | O_CREAT | O_DIRECT);
	if (pwrite(direct, data, sizeof(data), 0) != sizeof(data) || fsync(direct) != 0)
		die("write");
	freeze(UNDER);
	for (i = 0; i < 2; i++) {
		if (pthread_create(&threads[i], NULL, write_block, &writes[i]) != 0)
			die("pthread_create");
		while (writes[i].task == 0)
			usleep(1000);
		stuck &= wait_until_stuck(writes[i].task, WAITS);
	}
	result(stuck && writes_under(direct) == 2, "direct writes of two blocks of a file are under way together");
	thaw(UNDER);
	for (i = 0; i < 2; i++) {
		pthread_join(threads[i], &written);
		succeeded &= written != NULL;
	}
	result(succeeded, "they succeed");
	close(direct);
}

static void write_file(const char *name, char byte, size_t size)
{
	int fd = must_open(path(name), O_RDWR | O_CREAT | O_TRUNC);
	static char data[1 << 16];

	memset(data, byte, sizeof(data));
	for (; size > 0; size -= sizeof(data))
		if (write(fd, data, sizeof(data)) != sizeof(data))
			die("write");
	close(fd);
}

static void test_replaced(void)
{
	int status, mount_fd = must_open(mnt, O_RDONLY);
	char byte = 0;
	pid_t child;
	int fd;

	write_file("target", 'o', 1 << 16);
	if (syncfs(mount_fd) != 0)
		die("syncfs");
	write_file("new", 'n', 1 << 20);
	freeze(UNDER);
	child = fork();
	if (child == 0)
		_exit(rename(path("new"), path("target")) < 0 ? errno : 0);
	result(!wait_until_stuck(child, STUCK), "replacing a file by rename does not wait for the disk");
	thaw(UNDER);
	waitpid(child, &status, 0);
	result(WIFEXITED(status) && WEXITSTATUS(status) == 0, "it succeeds");
	if (syncfs(mount_fd) != 0)
		die("syncfs");
	fd = must_open(path("target"), O_RDONLY);
	result(pread(fd, &byte, 1, (1 << 20) - 1) == 1 && byte == 'n', "and the file is the new one");
	close(fd);
	close(mount_fd);
}

void test_stuck_disk(void)
{
	test_sector_write();
	test_block_writes();
	test_replaced();
}
