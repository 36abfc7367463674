// SPDX-License-Identifier: Apache-2.0
/*
 * The C suite of what the VFS expects: vfs PART MOUNTPOINT. Prints "ok NAME"
 * and "not ok NAME: why" lines.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "suite.h"

const char *mnt;

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

int must_open(const char *name, int flags)
{
	int fd = open(name, flags | O_CLOEXEC, 0644);

	if (fd < 0)
		die(name);
	return fd;
}

int has_ended(pid_t child, int *status)
{
	return waitpid(child, status, WNOHANG) == child;
}

/* The state letter of a task, or 0 when it is gone. */
static char state_of(pid_t task)
{
	char name[64], line[512], *end;
	ssize_t n;
	int fd;

	snprintf(name, sizeof(name), "/proc/%d/stat", task);
	fd = open(name, O_RDONLY);
	if (fd < 0)
		return 0;
	n = read(fd, line, sizeof(line) - 1);
	close(fd);
	if (n <= 0)
		return 0;
	line[n] = 0;
	end = strrchr(line, ')');
	return end ? end[2] : 0;
}

int wait_until_stuck(pid_t task, int looks)
{
	int stuck = 0;

	while (stuck < looks) {
		char state = state_of(task);

		if (state == 0 || state == 'Z')
			return 0;
		stuck = state == 'D' ? stuck + 1 : 0;
		usleep(10000);
	}
	return 1;
}

static void change_frozen(const char *place, unsigned long request)
{
	int fd = open(place, O_RDONLY);

	if (fd < 0 || ioctl(fd, request, 0) != 0)
		die(place);
	close(fd);
}

void freeze(const char *place)
{
	change_frozen(place, FIFREEZE);
}

void thaw(const char *place)
{
	change_frozen(place, FITHAW);
}

int create(int control, const char *name, __u32 dim)
{
	struct vexfs_create_collection arg = { .size = sizeof(arg) };

	strncpy(arg.name, name, sizeof(arg.name) - 1);
	arg.dim = dim;
	arg.element = VEXFS_ELEMENT_F32;
	arg.metric = VEXFS_METRIC_L2;
	return ioctl(control, VEXFS_IOC_CREATE_COLLECTION, &arg);
}

int drop(int control, const char *name)
{
	struct vexfs_drop_collection arg = { .size = sizeof(arg) };

	strncpy(arg.name, name, sizeof(arg.name) - 1);
	return ioctl(control, VEXFS_IOC_DROP_COLLECTION, &arg);
}

int insert(int control, const char *name, __u32 dim, __u32 count, const float *vectors)
{
	struct vexfs_insert_vectors arg = { .size = sizeof(arg) };

	strncpy(arg.name, name, sizeof(arg.name) - 1);
	arg.count = count;
	arg.dim = dim;
	arg.element = VEXFS_ELEMENT_F32;
	arg.vectors = ptr(vectors);
	return ioctl(control, VEXFS_IOC_INSERT_VECTORS, &arg);
}

int delete_rows(int control, const char *name, __u32 count, const __u64 *ids)
{
	struct vexfs_delete_vectors arg = { .size = sizeof(arg) };

	strncpy(arg.name, name, sizeof(arg.name) - 1);
	arg.count = count;
	arg.ids = ptr(ids);
	return ioctl(control, VEXFS_IOC_DELETE_VECTORS, &arg) == 0 ? (int)arg.deleted : -1;
}

int search(int control, const char *name, __u32 dim, const float *query)
{
	struct vexfs_search_vectors arg = { .size = sizeof(arg) };
	struct vexfs_query_result res;
	struct vexfs_hit hit;

	strncpy(arg.name, name, sizeof(arg.name) - 1);
	arg.count = 1;
	arg.dim = dim;
	arg.element = VEXFS_ELEMENT_F32;
	arg.queries = ptr(query);
	arg.k = 1;
	arg.results = ptr(&res);
	arg.hits = ptr(&hit);
	arg.hits_max = 1;
	return ioctl(control, VEXFS_IOC_SEARCH_VECTORS, &arg) == 0 ? (int)res.count : -1;
}

int build(int control, const char *name, __u32 action, __u32 kind)
{
	struct vexfs_build_index arg = { .size = sizeof(arg), .flags = VEXFS_BUILD_WAIT };

	strncpy(arg.name, name, sizeof(arg.name) - 1);
	arg.action = action;
	arg.params.kind = kind;
	return ioctl(control, VEXFS_IOC_BUILD_INDEX, &arg);
}

int stats(int control, const char *name, struct vexfs_get_vector_stats *out)
{
	memset(out, 0, sizeof(*out));
	out->size = sizeof(*out);
	strncpy(out->name, name, sizeof(out->name) - 1);
	return ioctl(control, VEXFS_IOC_GET_VECTOR_STATS, out);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} parts[] = {
		{ "handles", test_handles }, { "notify", test_notifications }, { "sandbox", test_sandboxes },
		{ "sync", test_sync },	     { "synced", verify_sync },	       { "builds", test_builds },
		{ "full", test_full_disk },  { "stuck", test_stuck_disk },     { "shutdown", test_shutdown },
		{ "shut", verify_shutdown }, { "direct", test_direct },
		{ "scattered", test_scattered }, { "scattered-found", verify_scattered },
		{ "filled", prepare_starved }, { "starved", test_starved },
	};
	size_t i;

	if (argc != 3) {
		fprintf(stderr, "usage: vfs PART MOUNTPOINT\n");
		return 2;
	}
	mnt = argv[2];
	for (i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		if (strcmp(argv[1], parts[i].name) == 0) {
			parts[i].run();
			return 0;
		}
	}
	fprintf(stderr, "vfs: no part %s\n", argv[1]);
	return 2;
}
