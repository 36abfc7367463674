// SPDX-License-Identifier: Apache-2.0
/*
 * What the suite needs beside a shell:
 *
 *   mounts syncfs PATH N                     syncfs fails N times out of N
 *   mounts stress PATH WORKERS SECONDS [freeze]
 *                                            processes that do random things to few names, with memory reclaim, syncs
 *                                            and, if asked for, freezing meanwhile
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

static unsigned int state;

/* A random number below N. */
static unsigned int below(unsigned int n)
{
	state = state * 1103515245u + 12345u;
	return (state >> 8) % n;
}

/* A name in one of four directories; one in four is a level deeper. */
static const char *name(char *buf, size_t size)
{
	unsigned int dir = below(4), file = below(40);

	if (below(4))
		snprintf(buf, size, "d%u/%c%u", dir, "nm"[below(2)], file);
	else
		snprintf(buf, size, "d%u/m%u/n%u", dir, file, below(20));
	return buf;
}

/* Errors that no mix of operations on names explains. */
static void judge(const char *what, long ret)
{
	if (ret != -1)
		return;
	switch (errno) {
	case EIO:
	case EROFS:
	case EUCLEAN:
	case ENOMEM:
	case EFAULT:
		printf("not ok stress: %s: %s\n", what, strerror(errno));
		break;
	}
}

static void make_file(char *path, size_t size)
{
	static int held[8] = { -1, -1, -1, -1, -1, -1, -1, -1 };
	char data[4096];
	int fd = open(name(path, size), O_CREAT | O_RDWR, 0644);
	int slot = below(8);

	judge("open", fd);
	if (fd < 0)
		return;
	if (!below(3)) {
		memset(data, path[1], sizeof(data));
		judge("write", pwrite(fd, data, below(sizeof(data)), below(3) ? 0 : below(100000)));
	}
	if (!below(10))
		judge("fsync", fsync(fd));
	/* Some stay open when their names go. */
	if (below(3)) {
		close(fd);
		return;
	}
	if (held[slot] >= 0)
		close(held[slot]);
	held[slot] = fd;
}

static void make_tmpfile(char *path, size_t size)
{
	char link[64];
	int fd;

	snprintf(path, size, "d%u", below(4));
	fd = open(path, O_TMPFILE | O_RDWR, 0600);
	judge("tmpfile", fd);
	if (fd < 0)
		return;
	if (below(2)) {
		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		judge("linkat", linkat(AT_FDCWD, link, AT_FDCWD, name(path, size), AT_SYMLINK_FOLLOW));
	}
	close(fd);
}

static void list(char *path, size_t size)
{
	DIR *dir;

	snprintf(path, size, "d%u", below(4));
	dir = opendir(path);
	if (!dir)
		return;
	errno = 0;
	while (readdir(dir))
		;
	judge("readdir", errno ? -1 : 0);
	closedir(dir);
}

static void drop_caches(void)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY);

	if (fd >= 0) {
		judge("drop_caches", write(fd, "3", 1));
		close(fd);
	}
}

static void set_times(const char *path)
{
	struct timespec times[2] = { { below(1000000), 5 }, { below(1000000), 6 } };

	judge("utimensat", utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW));
}

static void one(void)
{
	char a[64], b[64], buf[2048] = { 0 };
	struct stat st;

	name(b, sizeof(b));
	switch (below(20)) {
	case 0:
	case 1:
	case 2:
		make_file(a, sizeof(a));
		break;
	case 3:
		judge("mkdir", mkdir(name(a, sizeof(a)), 0755));
		break;
	case 4:
	case 5:
		judge("unlink", unlink(name(a, sizeof(a))));
		break;
	case 6:
		judge("rmdir", rmdir(name(a, sizeof(a))));
		break;
	case 7:
	case 8:
		judge("rename", rename(name(a, sizeof(a)), b));
		break;
	case 9:
		judge("exchange", syscall(SYS_renameat2, AT_FDCWD, name(a, sizeof(a)), AT_FDCWD, b, RENAME_EXCHANGE));
		break;
	case 10:
		judge("link", link(name(a, sizeof(a)), b));
		break;
	case 11:
		judge("symlink", symlink("target/some/where", name(a, sizeof(a))));
		break;
	case 12:
		judge("mknod", mknod(name(a, sizeof(a)), S_IFIFO | 0600, 0));
		break;
	case 13:
		judge("lstat", lstat(name(a, sizeof(a)), &st));
		judge("readlink", readlink(a, buf, sizeof(buf)));
		break;
	case 14:
		list(a, sizeof(a));
		break;
	case 15:
		judge("setxattr", setxattr(name(a, sizeof(a)), "user.x", buf, below(sizeof(buf)), 0));
		judge("removexattr", removexattr(b, "user.x"));
		break;
	case 16:
		judge("chmod", chmod(name(a, sizeof(a)), 0600 + below(64)));
		set_times(b);
		break;
	case 17:
		make_tmpfile(a, sizeof(a));
		break;
	case 18:
		judge("truncate", truncate(name(a, sizeof(a)), below(20000)));
		break;
	case 19:
		if (!below(30))
			drop_caches();
		if (!below(60))
			sync();
		break;
	}
}

static void freeze_and_thaw(int seconds)
{
	int fd = open(".", O_RDONLY);

	while (seconds--) {
		sleep(1);
		judge("freeze", ioctl(fd, FIFREEZE, 0));
		usleep(100000);
		judge("thaw", ioctl(fd, FITHAW, 0));
	}
	close(fd);
}

static int stress(const char *path, int workers, int seconds, int freeze)
{
	int i, status, failed = 0;
	char dir[8];

	if (chdir(path))
		return 1;
	for (i = 0; i < 4; i++) {
		snprintf(dir, sizeof(dir), "d%d", i);
		mkdir(dir, 0755);
	}
	fflush(stdout);
	for (i = 1; i <= workers; i++) {
		if (!fork()) {
			time_t end = time(NULL) + seconds;

			state = i * 7919;
			while (time(NULL) < end)
				one();
			fflush(stdout);
			_exit(0);
		}
	}
	if (freeze)
		freeze_and_thaw(seconds);
	while (wait(&status) > 0)
		failed |= status;
	printf("%s stress: %d processes for %d s%s\n", failed ? "not ok" : "ok", workers, seconds,
	       freeze ? ", freezing meanwhile" : "");
	return 0;
}

static int syncfs_fails(const char *path, int times)
{
	int fd = open(path, O_RDONLY);

	while (times--)
		if (syncfs(fd) != -1 || errno != EIO)
			return 1;
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "syncfs"))
		return syncfs_fails(argv[2], atoi(argv[3]));
	if (argc >= 5 && !strcmp(argv[1], "stress"))
		return stress(argv[2], atoi(argv[3]), atoi(argv[4]), argc > 5);
	fprintf(stderr, "usage: mounts syncfs PATH N | stress PATH WORKERS SECONDS [freeze]\n");
	return 2;
}
