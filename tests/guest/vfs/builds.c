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
#define ROWS 4000
#define BATCH 1000

static int control;

static pid_t start_build(void)
{
	pid_t child = fork();

	if (child == 0)
		_exit(build(control, "built", VEXFS_BUILD_SET, VEXFS_INDEX_HNSW) < 0 ? errno : 0);
	return child;
}

/* Whether rows are being put into the index at the moment. */
static int is_building(void)
{
	struct vexfs_get_vector_stats now;

	if (stats(control, "built", &now) != 0)
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

static void fill(void)
{
	static float vectors[BATCH * DIM];
	unsigned int state = 1;
	int i, j;

	expect(create(control, "built", DIM), 0, "a collection is made");
	for (i = 0; i < ROWS / BATCH; i++) {
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
	wait_until_stuck(waiter);
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
	build(control, "built", VEXFS_BUILD_DROP, 0);
}

static void test_remount(void)
{
	pid_t builder = start_and_watch();
	int ret, status;

	/* A file that is open for writing would keep the mount writable. */
	close(control);
	ret = mount(NULL, mnt, NULL, MS_REMOUNT | MS_RDONLY, "");
	expect(ret, 0, "a mount becomes read-only while an index is built");
	result(!has_ended(builder, &status), "without waiting for the build");
	result(end_of(builder) == EROFS, "the build ends with EROFS");
	expect(mount(NULL, mnt, NULL, MS_REMOUNT, ""), 0, "the mount becomes writable again");
	control = must_open(path(".vexfs_control"), O_RDWR);
	expect(build(control, "built", VEXFS_BUILD_SET, VEXFS_INDEX_HNSW), 0, "and the index can be built");
}

void test_builds(void)
{
	control = must_open(path(".vexfs_control"), O_RDWR);
	fill();
	test_frozen();
	test_killed_waiter();
	test_remount();
	expect(drop(control, "built"), 0, "the collection is dropped");
	close(control);
}
