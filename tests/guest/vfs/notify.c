// SPDX-License-Identifier: Apache-2.0
/* Who watches a directory hears of its rows. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/wait.h>
#include <unistd.h>

#include "suite.h"

#define DIM 4

/* The events that are there, of all files, as one mask. */
static __u32 drain(int inotify)
{
	char buffer[4096] __attribute__((aligned(8)));
	__u32 mask = 0;
	ssize_t n, at;

	while ((n = read(inotify, buffer, sizeof(buffer))) > 0) {
		for (at = 0; at < n;) {
			struct inotify_event *event = (struct inotify_event *)(buffer + at);

			mask |= event->mask;
			at += (ssize_t)(sizeof(*event) + event->len);
		}
	}
	return mask;
}

void test_notifications(void)
{
	int control = must_open(path(".vexfs_control"), O_RDWR), inotify = inotify_init1(IN_NONBLOCK), dir;
	float vectors[2 * DIM] = { 1, 2, 3, 4 };
	__u64 ids[] = { 1000000 };

	if (inotify < 0 || inotify_add_watch(inotify, mnt, IN_CREATE | IN_DELETE) < 0)
		die("inotify");
	expect(create(control, "watched", DIM), 0, "a collection is made");
	result(drain(inotify) == (IN_CREATE | IN_ISDIR), "who watches the parent hears that a collection was made");
	if (inotify_add_watch(inotify, path("watched"), IN_MODIFY) < 0)
		die("inotify");
	expect(insert(control, "watched", DIM, 2, vectors), 0, "rows are inserted by name");
	result(drain(inotify) & IN_MODIFY, "who watches a collection hears of an insert by name");
	dir = must_open(path("watched"), O_RDONLY);
	expect(insert(dir, "", DIM, 2, vectors), 0, "rows are inserted through the directory");
	result(drain(inotify) & IN_MODIFY, "who watches a collection hears of an insert through it");
	result(delete_rows(dir, "", 1, ids) == 0 && drain(inotify) == 0, "a deletion of no row is no event");
	ids[0] = 1;
	result(delete_rows(dir, "", 1, ids) == 1 && drain(inotify) & IN_MODIFY,
	       "who watches a collection hears of a deletion");
	result(search(dir, "", DIM, vectors) == 1 && drain(inotify) == 0, "a search modifies nothing");
	close(dir);
	expect(drop(control, "watched"), 0, "the collection is dropped");
	result(drain(inotify) & IN_DELETE, "who watches the parent hears that a collection was dropped");
	close(inotify);
	close(control);
}
