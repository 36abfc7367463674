// SPDX-License-Identifier: Apache-2.0
/*
 * On a full disk: what replaces data needs no more room than writing some of
 * it makes.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "suite.h"

#define SIZE (24 << 20)
#define ROOM (6 << 20)
#define PAGE 4096

static char *map(int fd)
{
	char *at = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (at == MAP_FAILED)
		die("mmap");
	return at;
}

/* A megabyte at a time goes to folios as large as that, where there are any. */
#define FOLIO (1 << 20)
#define WRITTEN (200 * PAGE)
#define LITTLE (16 * PAGE)

/*
 * A write to a mapping that finds no room for all of a large folio leaves alone
 * what had been written to another part of that.
 */
static void test_full_folio(void)
{
	int fd = must_open(path("folio"), O_RDWR | O_CREAT), filler = must_open(path("filler"), O_RDWR | O_CREAT), status;
	static char data[FOLIO], block[PAGE] __attribute__((aligned(PAGE)));
	size_t i, right = 0;
	off_t filled;
	pid_t child;
	char *at;

	memset(data, 'o', sizeof(data));
	if (write(fd, data, FOLIO) != FOLIO || fsync(fd) != 0)
		die("write");
	for (i = 0; i < 3; i++) {
		while (write(filler, data, i == 0 ? FOLIO : PAGE) > 0)
			;
		fsync(filler);
	}
	filled = lseek(filler, 0, SEEK_END);
	if (ftruncate(filler, filled - LITTLE) != 0)
		die("ftruncate");
	fsync(filler);
	memset(block, 'w', PAGE);
	if (pwrite(fd, block, PAGE, WRITTEN) != PAGE)
		die("pwrite");
	child = fork();
	if (child == 0) {
		at = mmap(NULL, FOLIO, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (at == MAP_FAILED)
			die("mmap");
		at[0] = 'n';
		_exit(0);
	}
	waitpid(child, &status, 0);
	result((WIFEXITED(status) && WEXITSTATUS(status) == 0) || (WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS),
	       "a write to a mapping is made or refused on a disk that is all but full");
	expect(fsync(fd), 0, "what was written to the file before is written back");
	close(fd);
	fd = must_open(path("folio"), O_RDONLY | O_DIRECT);
	if (pread(fd, block, PAGE, WRITTEN) != PAGE)
		die("pread");
	for (i = 0; i < PAGE; i++)
		right += block[i] == 'w';
	result(right == PAGE, "it is on the disk");
	close(fd);
	close(filler);
	unlink(path("folio"));
	unlink(path("filler"));
}

void test_full_disk(void)
{
	int fd = must_open(path("mapped"), O_RDWR | O_CREAT), filler = must_open(path("filler"), O_RDWR | O_CREAT), status;
	static char data[1 << 16];
	size_t i, right = 0;
	off_t filled;
	pid_t child;
	char *at;

	memset(data, 'o', sizeof(data));
	for (i = 0; i < SIZE / sizeof(data); i++)
		if (write(fd, data, sizeof(data)) != sizeof(data))
			die("write");
	fsync(fd);
	while (write(filler, data, sizeof(data)) > 0)
		;
	fsync(filler);
	filled = lseek(filler, 0, SEEK_END);
	if (filled < ROOM || ftruncate(filler, filled - ROOM) != 0)
		die("ftruncate");
	fsync(filler);
	child = fork();
	if (child == 0) {
		at = map(fd);
		for (i = 0; i < SIZE; i += PAGE)
			memset(at + i, 'n', PAGE);
		_exit(msync(at, SIZE, MS_SYNC) == 0 ? 0 : 1);
	}
	waitpid(child, &status, 0);
	result(WIFEXITED(status) && WEXITSTATUS(status) == 0,
	       "a file is replaced through a mapping although the disk has room for a part of it only");
	at = map(fd);
	for (i = 0; i < SIZE; i += PAGE)
		right += at[i] == 'n';
	result(right == SIZE / PAGE, "all of it");
	munmap(at, SIZE);
	close(fd);
	close(filler);
	unlink(path("mapped"));
	unlink(path("filler"));
	test_full_folio();
}
