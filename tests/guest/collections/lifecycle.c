// SPDX-License-Identifier: Apache-2.0
/*
 * Collections as directories: made, found, renamed, dropped; and who may do it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "suite.h"

static const float one[2] = { 1, 2 };

static int create_at(int fd, const char *name, __u32 dim, __u32 metric)
{
	struct vexfs_create_collection arg = { .size = sizeof(arg), .dim = dim, .metric = metric };

	strncpy(arg.name, name, sizeof(arg.name) - 1);
	arg.element = VEXFS_ELEMENT_F32;
	return ioctl(fd, VEXFS_IOC_CREATE_COLLECTION, &arg);
}

static __u64 free_blocks(void)
{
	struct vexfs_get_stats stats = { .size = sizeof(stats) };

	if (syncfs(control) != 0 || ioctl(control, VEXFS_IOC_GET_STATS, &stats) != 0)
		die("read the statistics");
	return stats.free_blocks;
}

static void making(void)
{
	struct vexfs_create_collection arg = { .size = sizeof(arg), .name = "made", .dim = 2 };
	struct vexfs_collection_info i;
	struct stat st;
	int fd;

	arg.element = VEXFS_ELEMENT_F32;
	arg.metric = VEXFS_METRIC_IP;
	arg.mode = 0775;
	umask(027);
	expect(ioctl(control, VEXFS_IOC_CREATE_COLLECTION, &arg), 0, "create: by name on the control file");
	umask(022);
	result(stat(path("made"), &st) == 0 && S_ISDIR(st.st_mode) && (st.st_mode & 07777) == 0750 && st.st_ino == arg.id,
	       "create: a directory with that mode, less the umask");
	result(info("made", &i) == 0 && i.id == arg.id && i.dim == 2 && i.metric == VEXFS_METRIC_IP &&
	       i.element == VEXFS_ELEMENT_F32 && i.index == VEXFS_INDEX_FLAT && i.rows == 0 && i.next_id == 0,
	       "info: what was asked for");
	expect(create("made", 2, VEXFS_METRIC_L2), EEXIST, "create: a name that is taken");
	expect(create("bad", 0, VEXFS_METRIC_L2), EINVAL, "create: no dimensions");
	expect(create("bad", VEXFS_DIM_MAX + 1, VEXFS_METRIC_L2), EINVAL, "create: too many dimensions");
	expect(create("bad", 2, 99), EOPNOTSUPP, "create: an unknown metric");
	expect(create("", 2, VEXFS_METRIC_L2), EINVAL, "create: no name on the control file");
	expect(create("a/b", 2, VEXFS_METRIC_L2), EINVAL, "create: a name with a slash");
	result(access(path("bad"), F_OK) != 0, "create: a failed one leaves no directory");

	mkdir(path("dir"), 0755);
	fd = open(path("dir"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	expect(create_at(fd, "inner", 2, VEXFS_METRIC_L2), 0, "create: by name in a directory");
	result(access(path("dir/inner"), F_OK) == 0, "create: the directory is where it was asked for");
	expect(create_at(fd, "", 2, VEXFS_METRIC_L2), ENOTEMPTY, "create: a directory that is not empty");
	close(fd);
	mkdir(path("empty"), 0755);
	fd = open(path("empty"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	expect(create_at(fd, "", 2, VEXFS_METRIC_L2), 0, "create: an empty directory becomes a collection");
	expect(create_at(fd, "", 2, VEXFS_METRIC_L2), EEXIST, "create: a directory that is one already");
	close(fd);
	fd = open(mnt, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	expect(create_at(fd, "", 2, VEXFS_METRIC_L2), EINVAL, "create: not the root");
	close(fd);
}

static void living(void)
{
	struct vexfs_insert_vectors in_dir = { .size = sizeof(in_dir), .count = 1, .dim = 2, .vectors = ptr(one) };
	struct vexfs_get_stats stats = { .size = sizeof(stats) };
	struct vexfs_collection_info i;
	struct vexfs_hit hit;
	int fd;

	in_dir.element = VEXFS_ELEMENT_F32;
	fd = open(path("made"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	expect(ioctl(fd, VEXFS_IOC_INSERT_VECTORS, &in_dir), 0, "insert: on the collection's own directory");
	result(in_dir.first_id == 0 && in_dir.inserted == 1 && in_dir.replaced == 0, "insert: the id that was assigned is told");
	expect(fsync(fd), 0, "fsync of the directory");
	result(rename(path("made"), path("renamed")) == 0 && search("renamed", 2, one, 1, &hit) == 1 && hit.id == 0,
	       "a renamed collection is found under its new name");
	expect(ioctl(fd, VEXFS_IOC_INSERT_VECTORS, &in_dir), 0, "insert: through an fd from before the rename");
	close(fd);
	expect(info("made", &i), ENOENT, "info: not under its old name");
	expect(info("dir", &i), ENOTTY, "info: a directory that is no collection");
	close(open(path("file"), O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
	expect(info("file", &i), ENOTDIR, "info: a file");
	expect(info(".vexfs_control", &i), ENOTDIR, "info: the control file");
	fd = open(path("file"), O_RDWR | O_CLOEXEC);
	expect(ioctl(fd, VEXFS_IOC_INSERT_VECTORS, &in_dir), ENOTTY, "insert: on a file");
	expect(ioctl(fd, VEXFS_IOC_GET_STATS, &stats), 0, "stats: on a file");
	result(stats.rows_inserted >= 2 && stats.queries >= 1 && stats.block_size >= 4096 && stats.simd[0] != 0 &&
	       (stats.state & VEXFS_STATE_READ_ONLY) == 0, "stats: what has been done is counted");
	stats.flags = 1;
	expect(ioctl(fd, VEXFS_IOC_GET_STATS, &stats), EINVAL, "stats: an unknown flag");
	close(fd);
}

static void dropping(void)
{
	const __u32 rows = 4096, dim = 256;
	float *vectors = calloc((size_t)rows * dim, sizeof(float));
	const struct timespec old[2] = { { 1000, 0 }, { 1000, 0 } };
	struct vexfs_collection_info i;
	__u64 before, full;
	struct stat st;
	int fd;

	expect(drop(""), EINVAL, "drop: no name");
	expect(drop("absent"), ENOENT, "drop: a name that is not there");
	expect(drop("dir"), ENOTTY, "drop: a directory that is no collection");
	expect(drop("file"), ENOTDIR, "drop: a file");
	close(open(path("renamed/file"), O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
	expect(drop("renamed"), ENOTEMPTY, "drop: a collection with a file in it");
	unlink(path("renamed/file"));
	expect(drop("renamed"), 0, "drop: by name");
	expect(info("renamed", &i), ENOENT, "drop: it is gone");
	result(rmdir(path("empty")) == 0, "rmdir of a collection without rows");
	result(rmdir(path("dir/inner")) == 0 && rmdir(path("dir")) == 0, "rmdir of a collection in a directory");

	before = free_blocks();
	if (create("large", dim, VEXFS_METRIC_L2) != 0 || insert("large", dim, rows, vectors, NULL, 0) != 0)
		die("make a large collection");
	full = free_blocks();
	fd = open(path("large"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	result(before > full + rows * (dim * 4 / 4096) / 2, "rows take space");
	result(stat(path("large"), &st) == 0 && (__u64)st.st_blocks >= rows * dim * 4 / 512 && (__u64)st.st_size >= rows * dim * 4,
	       "stat: the space of its rows is a collection's");
	result(rmdir(path("large")) == -1 && errno == ENOTEMPTY, "rmdir of a collection with rows is refused");
	mkdir(path("over"), 0755);
	result(rename(path("over"), path("large")) == -1 && errno == ENOTEMPTY, "and so is renaming something over it");
	rmdir(path("over"));
	utimensat(AT_FDCWD, path("large"), old, 0);
	result(insert("large", dim, 1, vectors, NULL, 0) == 0 && stat(path("large"), &st) == 0 && st.st_mtime > 1000,
	       "an insert moves the modification time");
	expect(drop("large"), 0, "drop: a large collection that is open");
	close(fd);
	result(free_blocks() + 64 > before, "dropping gives its space back");
	free(vectors);
	unlink(path("file"));
}

void test_lifecycle(void)
{
	making();
	living();
	dropping();
}

/* Runs TEST as an ordinary user. */
static void as_user(void (*test)(void))
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		if (setgroups(0, NULL) != 0 || setgid(1000) != 0 || setuid(1000) != 0)
			die("become an ordinary user");
		test();
		exit(0);
	}
	if (child < 0 || waitpid(child, &status, 0) < 0)
		die("fork");
}

static void stranger(void)
{
	struct vexfs_collection_info i;
	struct vexfs_hit hit;
	const __u64 id = 0;
	struct vexfs_search_vectors arg = { .size = sizeof(arg), .count = 1, .dim = 2, .k = 1 };
	struct vexfs_query_result res;
	int own, dir;

	/* With their own fds, as programs do it. */
	arg.element = VEXFS_ELEMENT_F32;
	arg.queries = ptr(one);
	arg.results = ptr(&res);
	arg.hits = ptr(&hit);
	arg.hits_max = 1;
	dir = open(path("readable"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	expect(ioctl(dir, VEXFS_IOC_SEARCH_VECTORS, &arg), 0, "another user may search through a directory they opened");
	close(dir);
	expect(open(path("private"), O_RDONLY | O_DIRECTORY | O_CLOEXEC), EACCES, "another user may not open a closed collection");

	/* The fd that was inherited was opened by root: the caller counts, not the opener. */
	expect(search("private", 2, one, 1, &hit), EACCES, "another user may not search a collection that is closed to them");
	expect(info("private", &i), EACCES, "another user may not describe it either");
	expect(search("readable", 2, one, 1, &hit), 0, "another user may search what they may read");
	expect(insert("readable", 2, 1, one, NULL, 0), EACCES, "another user may not insert where they may only read");
	expect(delete_rows("readable", 1, &id, NULL), EACCES, "nor delete");
	expect(insert("writable", 2, 1, one, NULL, 0), 0, "another user may insert where they may write");
	expect(drop("readable"), EACCES, "another user may not drop from a directory that is not theirs");
	expect(create("theirs", 2, VEXFS_METRIC_L2), EACCES, "nor create in it");
	own = open(path("home"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	expect(create_at(own, "theirs", 2, VEXFS_METRIC_L2), 0, "another user may create where they may write");
	close(own);
	dir = open(path("locked/inside"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	expect(dir, EACCES, "a collection behind a closed directory cannot be opened");
}

/* The flags of chattr(1) are for the owner and for root, too. */
static void flagged(void)
{
	const __u64 id = 0;
	int dir = open(path("writable"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int flags = FS_APPEND_FL;

	expect(ioctl(dir, FS_IOC_SETFLAGS, &flags), 0, "a collection becomes append-only");
	expect(insert("writable", 2, 1, one, NULL, 0), 0, "rows come to an append-only collection");
	expect(insert("writable", 2, 1, one, &id, VEXFS_INSERT_UPSERT), EPERM, "none is replaced");
	expect(delete_rows("writable", 1, &id, NULL), EPERM, "none is deleted");
	expect(drop("writable"), EPERM, "and it is not dropped");
	flags = FS_IMMUTABLE_FL;
	expect(ioctl(dir, FS_IOC_SETFLAGS, &flags), 0, "a collection becomes immutable");
	expect(insert("writable", 2, 1, one, NULL, 0), EPERM, "no row comes to an immutable collection");
	expect(delete_rows("writable", 1, &id, NULL), EPERM, "and none goes");
	flags = 0;
	expect(ioctl(dir, FS_IOC_SETFLAGS, &flags), 0, "a collection becomes an ordinary one again");
	expect(delete_rows("writable", 1, &id, NULL), 0, "rows may go again");
	close(dir);
}

void test_permissions(void)
{
	static const char *const names[] = { "private", "readable", "writable" };
	static const mode_t modes[] = { 0700, 0755, 0777 };
	struct stat st;
	int i, dir;

	for (i = 0; i < 3; i++) {
		if (create(names[i], 2, VEXFS_METRIC_L2) != 0 || insert(names[i], 2, 1, one, NULL, 0) != 0 ||
		    chmod(path(names[i]), modes[i]) != 0)
			die("make the collections");
	}
	mkdir(path("home"), 0755);
	mkdir(path("locked"), 0755);
	dir = open(path("locked"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (create_at(dir, "inside", 2, VEXFS_METRIC_L2) != 0 || chown(path("home"), 1000, 1000) != 0 ||
	    chmod(path("locked"), 0700) != 0)
		die("make the directories");
	close(dir);
	as_user(stranger);
	flagged();
	result(stat(path("home/theirs"), &st) == 0 && st.st_uid == 1000 && st.st_gid == 1000, "what a user creates is theirs");
	for (i = 0; i < 3; i++)
		drop(names[i]);
	rmdir(path("home/theirs"));
	rmdir(path("home"));
	rmdir(path("locked/inside"));
	rmdir(path("locked"));
}
