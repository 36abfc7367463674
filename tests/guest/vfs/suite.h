/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared by the C suite of what the VFS expects: results, and ways to watch
 * another task.
 */
#ifndef SUITE_H
#define SUITE_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include <linux/vexfs.h>

/* Where the filesystem is mounted. */
extern const char *mnt;

/* Prints one result; NAME is a format. */
void result(int passed, const char *name, ...) __attribute__((format(printf, 2, 3)));

/* As result(), when the call returned what it must: no error, or -1 with ERRNO. */
void expect(int ret, int wanted_errno, const char *name, ...) __attribute__((format(printf, 3, 4)));

/* Ends the program: the machine, not the filesystem, is wrong. */
void die(const char *what) __attribute__((noreturn));

static inline __u64 ptr(const void *p)
{
	return (__u64)(uintptr_t)p;
}

/* Paths below the mount point; the buffer is reused by the fourth call. */
const char *path(const char *name);

/* Opens, or ends the program. */
int must_open(const char *name, int flags);

/* Looks of 10 ms in a row after which a task that waits counts as stuck. */
#define STUCK 300
/* As many as tell that a task waits at all. */
#define WAITS 5

/* Waits until the task waits for so many LOOKS in a row (1), or has ended (0). */
int wait_until_stuck(pid_t task, int looks);

/* Whether the child has ended; its status then. */
int has_ended(pid_t child, int *status);

/* Freezes and thaws the filesystem that PLACE is on. */
void freeze(const char *place);
void thaw(const char *place);

/* Collections of the mount's root, by the control file CONTROL. */
int create(int control, const char *name, __u32 dim);
int drop(int control, const char *name);
int insert(int control, const char *name, __u32 dim, __u32 count, const float *vectors);
int delete_rows(int control, const char *name, __u32 count, const __u64 *ids);
int search(int control, const char *name, __u32 dim, const float *query);
int build(int control, const char *name, __u32 action, __u32 kind);
int stats(int control, const char *name, struct vexfs_get_vector_stats *out);

/* The parts of the suite. */
void test_handles(void);
void test_notifications(void);
void test_sandboxes(void);
void test_sync(void);
void verify_sync(void);
void test_scattered(void);
void verify_scattered(void);
void test_builds(void);
void test_direct(void);
void test_full_disk(void);
void prepare_starved(void);
void test_starved(void);
void test_stuck_disk(void);
void test_shutdown(void);
void verify_shutdown(void);

#endif
