// SPDX-License-Identifier: Apache-2.0
/*
 * Collections come, go and are read by ioctls; security modules that go by
 * paths have their say all the same. Landlock stands for all of them, and
 * fanotify for what is asked at each access.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/fanotify.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "suite.h"

#define DIM 4

static int control;
static float vector[DIM] = { 1, 2, 3, 4 };

static int make(void)
{
	return create(control, "boxed", DIM);
}

static int make_dir(void)
{
	return mkdir(path("boxed"), 0755);
}

static int remove_it(void)
{
	return drop(control, "kept");
}

static int look(void)
{
	return search(control, "kept", DIM, vector);
}

static int add(void)
{
	return insert(control, "kept", DIM, 1, vector);
}

/* The errno of CALL in a process that may not do RIGHT anywhere. */
static int in_sandbox(__u64 right, int (*call)(void))
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		struct landlock_ruleset_attr attr = { .handled_access_fs = right };
		long ruleset = syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);

		if (ruleset < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
		    syscall(SYS_landlock_restrict_self, ruleset, 0) != 0)
			_exit(255);
		_exit(call() < 0 ? errno : 0);
	}
	waitpid(child, &status, 0);
	return WIFEXITED(status) && WEXITSTATUS(status) != 255 ? WEXITSTATUS(status) : -1;
}

static void test_landlock(void)
{
	/* Kernels without any security module have nothing to ask. */
	if (syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) < 0)
		return;
	result(in_sandbox(LANDLOCK_ACCESS_FS_MAKE_DIR, make_dir) == EACCES, "Landlock keeps a process from mkdir");
	result(in_sandbox(LANDLOCK_ACCESS_FS_MAKE_DIR, make) == EACCES,
	       "who may not make directories makes no collection");
	result(in_sandbox(LANDLOCK_ACCESS_FS_REMOVE_DIR, remove_it) == EACCES,
	       "who may not remove directories drops no collection");
	result(in_sandbox(LANDLOCK_ACCESS_FS_READ_DIR, look) == EACCES,
	       "who may not open a directory searches no rows in it");
	result(in_sandbox(LANDLOCK_ACCESS_FS_READ_DIR, add) == EACCES,
	       "who may not open a directory inserts no rows into it");
	result(in_sandbox(LANDLOCK_ACCESS_FS_MAKE_SOCK, add) == 0, "other sandboxes work with rows as before");
}

static void test_scanner(void)
{
	int fanotify = fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC | FAN_NONBLOCK, O_RDONLY), dir, status;
	pid_t child;

	if (fanotify < 0 ||
	    fanotify_mark(fanotify, FAN_MARK_ADD, FAN_ACCESS_PERM | FAN_ONDIR, AT_FDCWD, path("kept")) != 0)
		die("fanotify");
	dir = must_open(path("kept"), O_RDONLY);
	child = fork();
	if (child == 0)
		_exit(search(dir, "", DIM, vector) < 0 ? errno : 0);
	do {
		struct fanotify_event_metadata event;

		if (read(fanotify, &event, sizeof(event)) == sizeof(event)) {
			struct fanotify_response response = { .fd = event.fd, .response = FAN_DENY };

			if (write(fanotify, &response, sizeof(response)) != sizeof(response))
				die("write to fanotify");
			close(event.fd);
		}
		usleep(1000);
	} while (!has_ended(child, &status));
	result(WIFEXITED(status) && WEXITSTATUS(status) == EPERM, "who watches accesses can keep a search from rows");
	close(dir);
	close(fanotify);
}

void test_sandboxes(void)
{
	control = must_open(path(".vexfs_control"), O_RDWR);
	expect(create(control, "kept", DIM), 0, "a collection is made");
	expect(insert(control, "kept", DIM, 1, vector), 0, "it has a row");
	test_landlock();
	test_scanner();
	expect(drop(control, "kept"), 0, "without a sandbox the collection is dropped");
	close(control);
}
