// SPDX-License-Identifier: Apache-2.0
/*
 * Building an index takes long. Freezing, remounting and killing who waits
 * do not wait for it.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "suite.h"

#define DIM 64
#define BATCH 500

/* The collection, open: unlike the control file, which is open for writing, that keeps no mount writable. */
static int dir;

static pid_t start_build(void)
{
	pid_t child = fork();

	if (child == 0)
		_exit(build(dir, "", VEXFS_BUILD_SET, VEXFS_INDEX_HNSW) < 0 ? errno : 0);
	return child;
}

/* Whether rows are being put into the index at the moment. */
static int is_building(void)
{
	struct vexfs_get_vector_stats now;

	if (stats(dir, "", &now) != 0)
		die("GET_VECTOR_STATS");
	return now.build_total > 0 && now.build_done > 0;
}

static pid_t start_and_watch(void)
{
	pid_t child = start_build();
	int status;

	while (!is_building()) {
		if (has_ended(child, &status)) {
			result(0, "a build lasts long enough to be watched");
			exit(1);
		}
		usleep(1000);
	}
	return child;
}

/* The errno of a build. */
static int end_of(pid_t child)
{
	int status;

	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void fill(int control)
{
	static float vectors[BATCH * DIM];
	const char *kernel = getenv("KERNEL");
	/* Enough for a build to be watched; the other kernels are slower by an order of magnitude. */
	int rows = kernel && strcmp(kernel, "fast") == 0 ? 8000 : 1500;
	unsigned int state = 1;
	int i, j;

	expect(create(control, "built", DIM), 0, "a collection is made");
	for (i = 0; i < rows / BATCH; i++) {
		for (j = 0; j < BATCH * DIM; j++) {
			state = state * 1103515245u + 12345u;
			vectors[j] = (float)(state >> 16 & 0xff);
		}
		if (insert(control, "built", DIM, BATCH, vectors) != 0)
			die("insert");
	}
}

static void test_killed_waiter(void)
{
	pid_t builder = start_and_watch(), waiter = start_build();
	int status;

	/* It has nothing to do but to wait for the other one. */
	wait_until_stuck(waiter, WAITS);
	kill(waiter, SIGKILL);
	waitpid(waiter, &status, 0);
	result(WIFSIGNALED(status), "who waits for a build can be killed");
	result(!has_ended(builder, &status), "before that build has ended");
	kill(builder, SIGKILL);
	waitpid(builder, &status, 0);
	result(WIFSIGNALED(status), "a build can be killed");
}

static void test_frozen(void)
{
	pid_t builder = start_and_watch();
	int status;

	freeze(mnt);
	result(!has_ended(builder, &status), "a freeze does not wait for a build");
	thaw(mnt);
	result(end_of(builder) == 0, "the build ends well after the thaw");
	build(dir, "", VEXFS_BUILD_DROP, 0);
}

static void test_remount(void)
{
	pid_t builder = start_and_watch();
	int ret, status;

	ret = mount(NULL, mnt, NULL, MS_REMOUNT | MS_RDONLY, "");
	expect(ret, 0, "a mount becomes read-only while an index is built");
	result(!has_ended(builder, &status), "without waiting for the build");
	result(end_of(builder) == EROFS, "the build ends with EROFS");
	expect(mount(NULL, mnt, NULL, MS_REMOUNT, ""), 0, "the mount becomes writable again");
	expect(build(dir, "", VEXFS_BUILD_SET, VEXFS_INDEX_HNSW), 0, "and the index can be built");
}

void test_builds(void)
{
	int control = must_open(path(".vexfs_control"), O_RDWR);

	fill(control);
	close(control);
	dir = must_open(path("built"), O_RDONLY);
	test_frozen();
	test_killed_waiter();
	test_remount();
	close(dir);
	control = must_open(path(".vexfs_control"), O_RDWR);
	expect(drop(control, "built"), 0, "the collection is dropped");
	close(control);
}
