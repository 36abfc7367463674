// SPDX-License-Identifier: Apache-2.0
/*
 * What a call leaves that fails for a lack of memory: faults FOLDER. Each call is made again and again, and there is less and
 * less memory for a while: none after so many bytes or pages, until that many tries to have more have failed. Prints
 * "ok NAME" and "not ok NAME: why" lines.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK 4096
/* Synced, and then as much again written and not synced; neither ends with a block. */
#define SYNCED (10 * BLOCK + 100)
#define SIZE (20 * BLOCK + 200)
#define GROWN (25 * BLOCK + 7)
#define CUT (7 * BLOCK + 300)
#define HOLE (6 * BLOCK + 50)
#define HOLE_END (15 * BLOCK + 60)

static const char *file;
/* What the file has to hold, and how much. */
static char before[GROWN], wanted[GROWN], got[GROWN];
static size_t before_size, wanted_size;

static void die(const char *what)
{
	printf("not ok %s: %s\n", what, strerror(errno));
	exit(1);
}

/* One that fails is tried again in another way first, and what cannot be taken back any more waits for memory. */
#define FAILURES 5

static const struct kind {
	const char *name, *what;
	/* The most that a call needs of it, and steps to there. */
	int most, step;
} kinds[] = { { "failslab", "byte", 65536, 256 }, { "fail_page_alloc", "page", 64, 1 } };

static void set(const char *kind, const char *name, int value)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "/sys/kernel/debug/%s/%s", kind, name);
	fd = open(path, O_WRONLY);
	if (fd < 0 || dprintf(fd, "%d", value) < 0)
		die(path);
	close(fd);
}

static int failures_left(const char *kind)
{
	char path[128], text[16] = "";
	int fd;

	snprintf(path, sizeof(path), "/sys/kernel/debug/%s/times", kind);
	fd = open(path, O_RDONLY);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		die(path);
	close(fd);
	return atoi(text);
}

/* Whether what this task does may lack memory. */
static void mark(int on)
{
	static int fd = -1;

	if (fd < 0)
		fd = open("/proc/thread-self/make-it-fail", O_WRONLY);
	if (fd < 0 || pwrite(fd, on ? "1" : "0", 1, 0) != 1)
		die("make-it-fail");
}

static void write_all(int fd, const char *data, size_t from, size_t to)
{
	while (from < to) {
		ssize_t len = pwrite(fd, data + from, to - from, (off_t)from);

		if (len <= 0)
			die("write");
		from += (size_t)len;
	}
}

/* The file anew: part of it on the device, part of it in memory only, and both in the page cache. */
static void make(void)
{
	int fd = open(file, O_RDWR | O_CREAT | O_TRUNC, 0644);
	size_t i;

	for (i = 0; i < SIZE; i++)
		before[i] = (char)('a' + i % 23);
	before_size = SIZE;
	if (fd < 0)
		die("open");
	write_all(fd, before, 0, SYNCED);
	/* With nothing left to write, the next change needs new memory. */
	sync();
	write_all(fd, before, SYNCED - 1000, SIZE);
	close(fd);
	memcpy(wanted, before, SIZE);
	memset(wanted + SIZE, 0, GROWN - SIZE);
}

/* Whether the file holds that; says where it does not. */
static int holds(const char *data, size_t size, char *why, size_t max)
{
	struct stat st;
	size_t i = 0, read = 0;
	int fd = open(file, O_RDONLY);

	if (fd < 0 || fstat(fd, &st) != 0)
		die("open");
	while (read < sizeof(got)) {
		ssize_t len = pread(fd, got + read, sizeof(got) - read, (off_t)read);

		if (len < 0)
			die("read");
		if (len == 0)
			break;
		read += (size_t)len;
	}
	close(fd);
	while (i < size && i < read && data[i] == got[i])
		i++;
	if (i == size && read == size && (size_t)st.st_size == size)
		return 1;
	snprintf(why, max, "%zu bytes, should be %zu, differs at %zu", read, size, i);
	return 0;
}

/* Writes everything and empties the page cache. */
static void empty_cache(void)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY);

	sync();
	if (fd < 0 || write(fd, "1", 1) != 1)
		die("drop_caches");
	close(fd);
}

static int shrink(void)
{
	wanted_size = CUT;
	return truncate(file, CUT);
}

static int shrink_unsynced(void)
{
	wanted_size = SYNCED + 2 * BLOCK;
	return truncate(file, SYNCED + 2 * BLOCK);
}

static int empty(void)
{
	int fd = open(file, O_WRONLY | O_TRUNC);

	wanted_size = 0;
	if (fd < 0)
		return -1;
	close(fd);
	return 0;
}

static int grow(void)
{
	wanted_size = GROWN;
	return truncate(file, GROWN);
}

static int punch(void)
{
	int ret, fd = open(file, O_WRONLY);

	wanted_size = SIZE;
	memset(wanted + HOLE, 0, HOLE_END - HOLE);
	if (fd < 0)
		return -1;
	ret = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, HOLE, HOLE_END - HOLE);
	close(fd);
	return ret;
}

/* What the call leaves, in the cache and on the disk. */
static int check(int ret, int partly, char *why, size_t max)
{
	int cold;

	for (cold = 0; cold < 2; cold++) {
		size_t i = 0;

		if (cold)
			empty_cache();
		if (ret == 0 ? holds(wanted, wanted_size, why, max) : holds(before, before_size, why, max))
			continue;
		/* A part of a hole is no harm: what had to stay did. */
		while (ret != 0 && partly && i < SIZE && (got[i] == before[i] || got[i] == wanted[i]))
			i++;
		if (i == SIZE)
			continue;
		strncat(why, cold ? ", on the disk" : ", in the cache", max - strlen(why) - 1);
		return 0;
	}
	return 1;
}

static int starve_of(const struct kind *kind, const char *name, int (*call)(void), int partly)
{
	int space, left = 0, failed = 0, tries = 0;
	char why[128];

	for (space = 0; space < kind->most && left < FAILURES; space += kind->step) {
		int ret, error;

		make();
		set(kind->name, "space", space);
		set(kind->name, "times", FAILURES);
		set(kind->name, "probability", 100);
		mark(1);
		ret = call();
		error = errno;
		mark(0);
		set(kind->name, "probability", 0);
		left = failures_left(kind->name);
		set(kind->name, "times", -1);
		set(kind->name, "space", 0);
		failed += ret != 0;
		tries++;
		if (ret != 0 && error != ENOMEM) {
			printf("not ok %s: %s after %d %ss\n", name, strerror(error), space, kind->what);
			return 0;
		}
		if (!check(ret, partly, why, sizeof(why))) {
			printf("not ok %s: it %s after %d %ss; %s\n", name, ret ? "failed" : "succeeded", space, kind->what, why);
			return 0;
		}
	}
	printf("# %d tries with fewer %ss, %d failed\n", tries, kind->what, failed);
	return 1;
}

static void starve(const char *name, int (*call)(void), int partly)
{
	size_t i;

	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!starve_of(&kinds[i], name, call, partly))
			return;
	printf("ok %s\n", name);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	static char path[4096];

	if (argc != 2) {
		fprintf(stderr, "usage: faults FOLDER\n");
		return 2;
	}
	snprintf(path, sizeof(path), "%s/starved", argv[1]);
	file = path;
	/* Opened when memory is to be had. */
	mark(0);
	starve("a truncation that lacks memory leaves the file as it was", shrink, 0);
	starve("so does one that cuts what is not on the disk yet", shrink_unsynced, 0);
	starve("so does opening with O_TRUNC", empty, 0);
	starve("so does growing a file", grow, 0);
	starve("punching a hole that lacks memory touches nothing else", punch, 1);
	unlink(path);
	return 0;
}
