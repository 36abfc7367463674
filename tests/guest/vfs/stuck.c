// SPDX-License-Identifier: Apache-2.0
/*
 * On a disk that does not answer for a while: the filesystem that the disk's
 * file is on is frozen.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <pthread.h>
#include <sys/syscall.h>
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
	test_replaced();
}
