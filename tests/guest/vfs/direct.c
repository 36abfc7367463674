// SPDX-License-Identifier: Apache-2.0
/*
 * Direct writes of one file by several tasks at once, beside readers, and
 * truncations and holes. A block says who wrote it, when, and where.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "suite.h"

#define BLOCK 4096
#define BLOCKS 64
#define LONGEST 8
#define WRITERS 4
#define WRITES 1500

struct stamp {
	__u32 task, count, at, zero;
};

static int direct, cached;
/* The count of the last write of each task to each block; 0 is none. */
static __u32 last[WRITERS + 1][BLOCKS];
static volatile int done;

static void stamp_block(char *block, __u32 task, __u32 count, __u32 at)
{
	struct stamp stamp = { task, count, at, 0 }, *to = (struct stamp *)block;
	size_t i;

	for (i = 0; i < BLOCK / sizeof(stamp); i++)
		to[i] = stamp;
}

/* Whether a block is all of one write to this place, or all zeros where those are ALLOWED. */
static int is_whole(const char *block, __u32 at, int zeros_allowed)
{
	const struct stamp *first = (const struct stamp *)block;
	size_t i;

	for (i = 1; i < BLOCK / sizeof(*first); i++)
		if (memcmp(first, first + i, sizeof(*first)) != 0)
			return 0;
	if (first->task == 0)
		return zeros_allowed && first->count == 0 && first->at == 0;
	return first->task <= WRITERS && first->at == at;
}

static __u32 next_random(__u32 *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

/* Writes ranges that overlap those of the others; returns whether all were written. */
static void *write_ranges(void *number)
{
	__u32 task = (__u32)(uintptr_t)number, state = 977 * task, count;
	char *data = aligned_alloc(BLOCK, LONGEST * BLOCK);
	int right = data != NULL;

	for (count = 1; right && count <= WRITES; count++) {
		__u32 len = 1 + next_random(&state) % LONGEST, at = next_random(&state) % (BLOCKS - len + 1), i;

		for (i = 0; i < len; i++) {
			stamp_block(data + i * BLOCK, task, count, at + i);
			last[task][at + i] = count;
		}
		right = pwrite(direct, data, len * BLOCK, at * BLOCK) == (ssize_t)(len * BLOCK);
		if (right && count % 64 == 0)
			right = fsync(direct) == 0;
	}
	free(data);
	return (void *)(intptr_t)right;
}

/* Reads blocks by way of the file given; returns whether none of them was a mixture of writes. */
static void *read_blocks(void *file)
{
	char *data = aligned_alloc(BLOCK, BLOCK);
	__u32 state = 5, right = data != NULL;

	while (right && !done) {
		__u32 at = next_random(&state) % BLOCKS;

		/* Nothing where the file is cut. */
		if (pread(*(int *)file, data, BLOCK, at * BLOCK) == BLOCK)
			right = is_whole(data, at, 1);
	}
	free(data);
	return (void *)(intptr_t)right;
}

/* Cuts the file, lets it grow, and makes holes in it; returns whether all of it succeeded. */
static void *cut(void *unused)
{
	__u32 state = 11, right = 1;

	(void)unused;
	while (right && !done) {
		__u32 at = next_random(&state) % BLOCKS;

		right = fallocate(direct, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at * BLOCK, 3 * BLOCK) == 0 &&
			ftruncate(direct, at * BLOCK) == 0 && ftruncate(direct, BLOCKS * BLOCK) == 0;
	}
	return (void *)(intptr_t)right;
}

/* Runs the writers beside READERS of the page cache or not, and a task that cuts or none. */
static void run_writers(const char *name, int cutting)
{
	pthread_t writers[WRITERS], readers[2], cutter;
	static char data[BLOCK] __attribute__((aligned(BLOCK)));
	int written = 1, whole = 1, were_cut = 1, lasting = 1;
	void *right;
	__u32 i;

	done = 0;
	memset(last, 0, sizeof(last));
	if (ftruncate(direct, 0) != 0 || ftruncate(direct, BLOCKS * BLOCK) != 0)
		die("ftruncate");
	for (i = 0; i < WRITERS; i++)
		if (pthread_create(&writers[i], NULL, write_ranges, (void *)(uintptr_t)(i + 1)) != 0)
			die("pthread_create");
	if (pthread_create(&readers[0], NULL, read_blocks, &cached) != 0 ||
	    pthread_create(&readers[1], NULL, read_blocks, &direct) != 0 ||
	    (cutting && pthread_create(&cutter, NULL, cut, NULL) != 0))
		die("pthread_create");
	for (i = 0; i < WRITERS; i++) {
		pthread_join(writers[i], &right);
		written &= right != NULL;
	}
	done = 1;
	for (i = 0; i < 2; i++) {
		pthread_join(readers[i], &right);
		whole &= right != NULL;
	}
	if (cutting) {
		pthread_join(cutter, &right);
		were_cut = right != NULL;
	}
	for (i = 0; i < BLOCKS; i++) {
		struct stamp *stamp = (struct stamp *)data;

		if (pread(cached, data, BLOCK, i * BLOCK) != BLOCK)
			die("read");
		whole &= is_whole(data, i, 1);
		/* A task's own writes come one after the other. */
		if (stamp->task <= WRITERS)
			lasting &= stamp->count == last[stamp->task][i] && (cutting || stamp->task > 0 || last[1][i] == 0);
	}
	result(written && were_cut, "%s: all of it succeeds", name);
	result(whole, "%s: no block is a mixture", name);
	result(lasting, "%s: a block is the last write of some task", name);
}

void test_direct(void)
{
	struct rlimit limit = { 2 * BLOCK + 512, RLIM_INFINITY };
	static char data[2 * BLOCK] __attribute__((aligned(BLOCK)));
	struct stat stat;

	direct = must_open(path("direct"), O_RDWR | O_CREAT | O_DIRECT);
	cached = must_open(path("direct"), O_RDWR);
	run_writers("overlapping direct writes", 0);
	run_writers("overlapping direct writes of a file that is cut", 1);

	/* A write of the file for which there are bits to drop, and one that a limit shortens to part of a block. */
	if (fchown(direct, 1000, 1000) != 0 || fchmod(direct, 06777) != 0 || seteuid(1000) != 0)
		die("set-id bits");
	if (pwrite(direct, data, BLOCK, 0) != BLOCK || fstat(direct, &stat) != 0)
		die("write");
	result((stat.st_mode & 07777) == 0777, "a direct write drops set-id bits");
	if (seteuid(0) != 0 || setrlimit(RLIMIT_FSIZE, &limit) != 0)
		die("setrlimit");
	memset(data, 'l', sizeof(data));
	result(pwrite(direct, data, 2 * BLOCK, BLOCK) == BLOCK + 512, "a limit cuts a direct write short");
	if (pread(cached, data, 2 * BLOCK, BLOCK) != 2 * BLOCK)
		die("read");
	result(data[BLOCK + 511] == 'l' && data[BLOCK + 512] != 'l', "and nothing is written behind it");
	close(cached);
	close(direct);
}
