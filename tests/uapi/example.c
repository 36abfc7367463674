// SPDX-License-Identifier: Apache-2.0
/*
 * Makes a collection, inserts three rows, and finds the two nearest to a
 * query. Includes nothing of VexFS but the uapi header.
 *
 *	cc -I include/uapi -o example tests/uapi/example.c
 *	./example /mnt animals
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/vexfs.h>

static __u64 ptr(const void *p)
{
	return (__u64)(uintptr_t)p;
}

int main(int argc, char **argv)
{
	static const float vectors[3][4] = {
		{ 1, 0, 0, 0 }, { 0, 1, 0, 0 }, { 1, 1, 0, 0 }
	};
	static const float query[4] = { 1, 0.2f, 0, 0 };
	const __u64 ids[3] = { 10, 20, 30 };
	struct vexfs_create_collection create = { .size = sizeof(create) };
	struct vexfs_insert_vectors insert = { .size = sizeof(insert) };
	struct vexfs_search_vectors search = { .size = sizeof(search) };
	struct vexfs_query_result result;
	struct vexfs_hit hits[2];
	__u32 i;
	int dir;

	if (argc != 3) {
		fprintf(stderr, "usage: %s DIRECTORY NAME\n", argv[0]);
		return 2;
	}
	dir = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0) {
		fprintf(stderr, "%s: %s\n", argv[1], strerror(errno));
		return 1;
	}

	snprintf(create.name, sizeof(create.name), "%s", argv[2]);
	create.dim = 4;
	create.element = VEXFS_ELEMENT_F32;
	create.metric = VEXFS_METRIC_COSINE;
	if (ioctl(dir, VEXFS_IOC_CREATE_COLLECTION, &create) != 0) {
		fprintf(stderr, "create: %s\n", strerror(errno));
		return 1;
	}

	memcpy(insert.name, create.name, sizeof(insert.name));
	insert.flags = VEXFS_INSERT_SYNC;
	insert.count = 3;
	insert.dim = 4;
	insert.element = VEXFS_ELEMENT_F32;
	insert.vectors = ptr(vectors);
	insert.ids = ptr(ids);
	if (ioctl(dir, VEXFS_IOC_INSERT_VECTORS, &insert) != 0) {
		fprintf(stderr, "insert: %s\n", strerror(errno));
		return 1;
	}

	memcpy(search.name, create.name, sizeof(search.name));
	search.count = 1;
	search.dim = 4;
	search.element = VEXFS_ELEMENT_F32;
	search.queries = ptr(query);
	search.k = 2;
	search.results = ptr(&result);
	search.hits = ptr(hits);
	search.hits_max = 2;
	if (ioctl(dir, VEXFS_IOC_SEARCH_VECTORS, &search) != 0) {
		fprintf(stderr, "search: %s\n", strerror(errno));
		return 1;
	}
	for (i = 0; i < result.count; i++)
		printf("id %llu distance %.4f\n", (unsigned long long)hits[i].id,
		       (double)hits[i].distance);
	close(dir);
	return 0;
}
