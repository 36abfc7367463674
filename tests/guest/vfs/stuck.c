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
	result(wait_until_stuck(writer), "a write of a sector waits for the direct write of its block");
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

void test_stuck_disk(void)
{
	test_sector_write();
}
