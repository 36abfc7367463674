// SPDX-License-Identifier: Apache-2.0
/* What is on the disk when a call returns. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "suite.h"

#define SIZE 65536
#define FS_IOC_SHUTDOWN _IOR('X', 125, __u32)
#define KEPT (4 << 20)

void test_sync(void)
{
	static char data[SIZE];
	int fd = must_open(path("punched"), O_RDWR | O_CREAT);
	__u32 without_writing = 2;

	memset(data, 'x', sizeof(data));
	if (write(fd, data, sizeof(data)) != sizeof(data) || fsync(fd) != 0)
		die("write");
	expect(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, SIZE / 2), 0, "a hole is punched");
	expect(fallocate(fd, FALLOC_FL_ZERO_RANGE, SIZE / 2, 2 * SIZE), 0, "a file grows by zeros");
	if (ioctl(fd, FS_IOC_SHUTDOWN, &without_writing) != 0)
		die("shutdown");
	close(fd);
}

void verify_sync(void)
{
	static char data[SIZE];
	int fd = must_open(path("punched"), O_RDWR);
	size_t i, zeros = 0;

	result(lseek(fd, 0, SEEK_END) == SIZE / 2 + 2 * SIZE, "a size set by fallocate is on a synchronous disk");
	if (pread(fd, data, sizeof(data), 0) != sizeof(data))
		die("read");
	for (i = 0; i < sizeof(data); i++)
		zeros += data[i] == 0;
	result(zeros == sizeof(data), "a hole is on a synchronous disk when fallocate returns");
	close(fd);
	unlink(path("punched"));
}

/* Blocks that lie apart and are synced together: many writes, each with a checksum in the log. */
#define APART 300
#define BLOCK 4096

static void fill(char *block, int n, int round)
{
	memset(block, n * 7 + round, BLOCK);
}

void test_scattered(void)
{
	static char block[BLOCK];
	int n, round, fd = must_open(path("scattered"), O_RDWR | O_CREAT);
	__u32 without_writing = 2;

	for (round = 0; round < 3; round++) {
		for (n = round; n < APART; n += 1 + round % 2) {
			fill(block, n, round);
			if (pwrite(fd, block, BLOCK, (off_t)n * 5 * BLOCK) != BLOCK)
				die("write");
		}
		expect(fsync(fd), 0, "scattered blocks are synced together, round %d", round);
	}
	/* Not synced. */
	fill(block, 0, 3);
	if (pwrite(fd, block, BLOCK, 0) != BLOCK)
		die("write");
	if (ioctl(fd, FS_IOC_SHUTDOWN, &without_writing) != 0)
		die("shutdown");
	close(fd);
}

void verify_scattered(void)
{
	static char block[BLOCK], wanted[BLOCK];
	int n, wrong = 0, fd = must_open(path("scattered"), O_RDONLY);

	for (n = 0; n < APART; n++) {
		fill(wanted, n, n >= 2 ? 2 : n);
		if (pread(fd, block, BLOCK, (off_t)n * 5 * BLOCK) != BLOCK)
			die("read");
		wrong += memcmp(block, wanted, BLOCK) != 0;
	}
	result(wrong == 0, "scattered blocks are there after a crash, as they were synced");
	close(fd);
	unlink(path("scattered"));
}

void test_shutdown(void)
{
	static char data[SIZE];
	int i, fd = must_open(path("kept"), O_RDWR | O_CREAT);
	__u32 after_writing = 0;

	memset(data, 'k', sizeof(data));
	for (i = 0; i < KEPT / SIZE; i++)
		if (write(fd, data, sizeof(data)) != sizeof(data))
			die("write");
	expect(ioctl(fd, FS_IOC_SHUTDOWN, &after_writing), 0, "a shutdown that writes first succeeds");
	result(write(fd, data, sizeof(data)) < 0 || fsync(fd) < 0, "nothing is written after it");
	close(fd);
}

void verify_shutdown(void)
{
	int fd = must_open(path("kept"), O_RDONLY);
	char byte = 0;

	result(pread(fd, &byte, 1, KEPT - 1) == 1 && byte == 'k', "what was written before it is there");
	close(fd);
}
