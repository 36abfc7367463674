// SPDX-License-Identifier: Apache-2.0
/*
 * Writeback that gets no memory: /sys/fs/cgroup is a cgroup file system with
 * the memory controller, in which a group without any memory left is made.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "suite.h"

#define GROUP "/sys/fs/cgroup/starved"
#define PAGE 4096
#define SIZE (1 << 20)
#define WRITTEN (2 * PAGE)
/* More than take what is left of a page. */
#define PIPES 100

static void put(const char *name, const char *text)
{
	int fd = open(name, O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		die(name);
	close(fd);
}

/* Takes the last bytes of memory that the group has charged, and syncs. */
static void sync_starved(int fd, int go, int ready)
{
	int pipes[PIPES][2], i;
	cpu_set_t one;
	char c = 0;

	/* What is left is kept by each CPU. */
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	sched_setaffinity(0, sizeof(one), &one);
	put("/proc/self/oom_score_adj", "-1000");
	put(GROUP "/cgroup.procs", "0");
	for (i = 0; i < PIPES; i++)
		if (pipe(pipes[i]) != 0)
			die("pipe");
	if (mlockall(MCL_CURRENT) != 0 || write(ready, &c, 1) != 1 || read(go, &c, 1) != 1)
		die("mlockall");
	for (i = 0; i < PIPES; i++)
		if (fcntl(pipes[i][0], F_SETFL, O_ASYNC) != 0)
			break;
	_exit(i < PIPES && fsync(fd) == 0 ? 0 : 1);
}

static char data[SIZE] __attribute__((aligned(PAGE)));

/* A file of which nothing is in memory when it has been mounted again. */
void prepare_starved(void)
{
	int fd = must_open(path("starved"), O_RDWR | O_CREAT);

	memset(data, 'o', SIZE);
	if (write(fd, data, SIZE) != SIZE || fsync(fd) != 0)
		die("write");
	close(fd);
}

/*
 * A write ends in the middle of a large folio, since the memory it is from does:
 * the rest of the folio has not been read. Writeback finds no memory for it.
 */
void test_starved(void)
{
	int go[2], ready[2], status = 0, fd = must_open(path("starved"), O_RDWR);
	size_t i, right = 0;
	pid_t child;
	char c = 0, *end;

	end = mmap(NULL, WRITTEN + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (end == MAP_FAILED || munmap(end + WRITTEN, PAGE) != 0)
		die("mmap");
	memset(end, 'w', WRITTEN);
	result(pwrite(fd, end, SIZE, 0) == WRITTEN, "a write ends where its memory does");
	if (mkdir(GROUP, 0755) != 0 || pipe(go) != 0 || pipe(ready) != 0)
		die(GROUP);
	child = fork();
	if (child == 0)
		sync_starved(fd, go[0], ready[1]);
	if (read(ready[0], &c, 1) != 1)
		die("child");
	put(GROUP "/memory.max", "0");
	if (write(go[1], &c, 1) != 1)
		die("pipe");
	/* What the group has freed may be enough for it in the end. */
	for (i = 0; i < 20 && !has_ended(child, &status); i++)
		usleep(100000);
	put(GROUP "/memory.max", "max");
	if (i == 20)
		waitpid(child, &status, 0);
	result(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a sync succeeds when there is memory for it again");
	rmdir(GROUP);
	close(fd);
	fd = must_open(path("starved"), O_RDONLY | O_DIRECT);
	if (pread(fd, data, SIZE, 0) != SIZE)
		die("pread");
	for (i = 0; i < SIZE; i++)
		right += data[i] == (i < WRITTEN ? 'w' : 'o');
	result(right == SIZE, "what was not written to stays as it was: %zu bytes are right", right);
	close(fd);
	unlink(path("starved"));
}
