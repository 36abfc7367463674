/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared by the C suite of collections: results, and the ioctls with the
 * arguments a test usually wants.
 */
#ifndef SUITE_H
#define SUITE_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <linux/vexfs.h>

/* Where the filesystem is mounted, and its control file, open for both. */
extern const char *mnt;
extern int control;

/* Prints one result; NAME is a format. */
void result(int passed, const char *name, ...) __attribute__((format(printf, 2, 3)));

/* As result(), when the call returned what it must: 0, or -1 with ERRNO. */
void expect(int ret, int wanted_errno, const char *name, ...) __attribute__((format(printf, 3, 4)));

/* Ends the program: the machine, not the filesystem, is wrong. */
void die(const char *what) __attribute__((noreturn));

static inline __u64 ptr(const void *p)
{
	return (__u64)(uintptr_t)p;
}

/* Paths below the mount point; the buffer is reused by the fourth call. */
const char *path(const char *name);

/* A pseudo-random number that depends on nothing but the seed. */
__u32 next_random(__u32 *seed);

int create(const char *name, __u32 dim, __u32 metric);
int drop(const char *name);
int info(const char *name, struct vexfs_collection_info *out);
int insert(const char *name, __u32 dim, __u32 count, const float *vectors, const __u64 *ids, __u32 flags);
int delete_rows(const char *name, __u32 count, const __u64 *ids, __u32 *deleted);

/* One query; returns the number of hits, or -1. */
int search(const char *name, __u32 dim, const float *query, __u32 k, struct vexfs_hit *hits);

/* The parts of the suite. */
void test_input(void);
void test_lifecycle(void);
void test_permissions(void);
void test_together(void);
void fill(void);
void verify(void);
void sync_then_shutdown(void);
void verify_synced(void);
void test_indexes(void);
void verify_indexes(void);

#endif
