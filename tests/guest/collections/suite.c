// SPDX-License-Identifier: Apache-2.0
/*
 * The C suite of collections: collections PART MOUNTPOINT. Prints "ok NAME"
 * and "not ok NAME: why" lines.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdarg.h>
#include <unistd.h>

#include "suite.h"

const char *mnt;
int control;

void die(const char *what)
{
	printf("not ok %s: %s\n", what, strerror(errno));
	exit(1);
}

static void print_result(int passed, const char *why, const char *name, va_list args)
{
	printf(passed ? "ok " : "not ok ");
	vprintf(name, args);
	if (!passed && why)
		printf(": %s", why);
	putchar('\n');
	fflush(stdout);
}

void result(int passed, const char *name, ...)
{
	va_list args;

	va_start(args, name);
	print_result(passed, NULL, name, args);
	va_end(args);
}

void expect(int ret, int wanted, const char *name, ...)
{
	int got = ret < 0 ? errno : 0;
	char why[128];
	va_list args;

	snprintf(why, sizeof(why), "got %s, wanted %s", got ? strerrorname_np(got) : "success",
		 wanted ? strerrorname_np(wanted) : "success");
	va_start(args, name);
	print_result(got == wanted, why, name, args);
	va_end(args);
}

const char *path(const char *name)
{
	static char buffers[4][512];
	static unsigned int next;
	char *buffer = buffers[next++ % 4];

	snprintf(buffer, sizeof(buffers[0]), "%s/%s", mnt, name);
	return buffer;
}

__u32 next_random(__u32 *seed)
{
	/* xorshift32; never 0 from a seed that is not. */
	*seed ^= *seed << 13;
	*seed ^= *seed >> 17;
	*seed ^= *seed << 5;
	return *seed;
}

int create(const char *name, __u32 dim, __u32 metric)
{
	struct vexfs_create_collection arg = { .size = sizeof(arg) };

	strncpy(arg.name, name, sizeof(arg.name) - 1);
	arg.dim = dim;
	arg.element = VEXFS_ELEMENT_F32;
	arg.metric = metric;
	return ioctl(control, VEXFS_IOC_CREATE_COLLECTION, &arg);
}

int drop(const char *name)
{
	struct vexfs_drop_collection arg = { .size = sizeof(arg) };

	strncpy(arg.name, name, sizeof(arg.name) - 1);
	return ioctl(control, VEXFS_IOC_DROP_COLLECTION, &arg);
}

int info(const char *name, struct vexfs_collection_info *out)
{
	memset(out, 0, sizeof(*out));
	out->size = sizeof(*out);
	strncpy(out->name, name, sizeof(out->name) - 1);
	return ioctl(control, VEXFS_IOC_COLLECTION_INFO, out);
}

int insert(const char *name, __u32 dim, __u32 count, const float *vectors, const __u64 *ids, __u32 flags)
{
	struct vexfs_insert_vectors arg = { .size = sizeof(arg), .flags = flags };

	strncpy(arg.name, name, sizeof(arg.name) - 1);
	arg.count = count;
	arg.dim = dim;
	arg.element = VEXFS_ELEMENT_F32;
	arg.vectors = ptr(vectors);
	arg.ids = ptr(ids);
	return ioctl(control, VEXFS_IOC_INSERT_VECTORS, &arg);
}

int delete_rows(const char *name, __u32 count, const __u64 *ids, __u32 *deleted)
{
	struct vexfs_delete_vectors arg = { .size = sizeof(arg) };
	int ret;

	strncpy(arg.name, name, sizeof(arg.name) - 1);
	arg.count = count;
	arg.ids = ptr(ids);
	ret = ioctl(control, VEXFS_IOC_DELETE_VECTORS, &arg);
	if (deleted)
		*deleted = arg.deleted;
	return ret;
}

int search(const char *name, __u32 dim, const float *query, __u32 k, struct vexfs_hit *hits)
{
	struct vexfs_search_vectors arg = { .size = sizeof(arg) };
	struct vexfs_query_result res;

	strncpy(arg.name, name, sizeof(arg.name) - 1);
	arg.count = 1;
	arg.dim = dim;
	arg.element = VEXFS_ELEMENT_F32;
	arg.queries = ptr(query);
	arg.k = k;
	arg.results = ptr(&res);
	arg.hits = ptr(hits);
	arg.hits_max = k;
	if (ioctl(control, VEXFS_IOC_SEARCH_VECTORS, &arg) != 0)
		return -1;
	return (int)res.count;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} parts[] = {
		{ "input", test_input },     { "lifecycle", test_lifecycle }, { "permissions", test_permissions },
		{ "together", test_together }, { "fill", fill },	      { "verify", verify },
		{ "sync", sync_then_shutdown }, { "synced", verify_synced }, { "indexes", test_indexes },
		{ "indexed", verify_indexes },
	};
	size_t i;

	if (argc != 3) {
		fprintf(stderr, "usage: collections PART MOUNTPOINT\n");
		return 2;
	}
	mnt = argv[2];
	control = open(path(".vexfs_control"), O_RDWR | O_CLOEXEC);
	if (control < 0)
		die("open the control file");
	for (i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		if (strcmp(argv[1], parts[i].name) == 0) {
			parts[i].run();
			return 0;
		}
	}
	fprintf(stderr, "collections: no part %s\n", argv[1]);
	return 2;
}
