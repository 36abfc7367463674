// SPDX-License-Identifier: Apache-2.0
/*
 * File handles: of files without a name, of files that a collection hides,
 * and of files that are just being made.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "suite.h"

#define ROUNDS 3000
#define GUESSERS 2

/* A handle of this filesystem: number, low word first, and generation. */
struct handle {
	struct file_handle head;
	__u32 words[32];
};

static __u32 *words(struct handle *handle)
{
	return (__u32 *)handle->head.f_handle;
}

static void handle_of(int fd, struct handle *handle)
{
	int mount_id;

	handle->head.handle_bytes = sizeof(handle->words);
	if (name_to_handle_at(fd, "", &handle->head, &mount_id, AT_EMPTY_PATH) != 0)
		die("name_to_handle_at");
}

static int open_handle(struct handle *handle, int flags)
{
	static int mount_fd = -1;

	if (mount_fd < 0)
		mount_fd = must_open(mnt, O_RDONLY);
	return open_by_handle_at(mount_fd, &handle->head, flags);
}

/* What the guessers are told. */
struct shared {
	volatile __u64 next;
	volatile __u32 generation;
	volatile int stop;
};

/* Opens by number what is about to exist, again and again. */
static void guess(struct shared *shared, struct handle handle)
{
	while (!shared->stop) {
		__u64 ino = shared->next;
		int i;

		for (i = 0; i < 3; i++, ino++) {
			int fd;

			words(&handle)[0] = (__u32)ino;
			words(&handle)[1] = (__u32)(ino >> 32);
			words(&handle)[2] = shared->generation;
			fd = open_handle(&handle, O_PATH);
			if (fd >= 0)
				close(fd);
		}
	}
	_exit(0);
}

static struct shared *start_guessing(pid_t *guessers, struct handle *like)
{
	struct shared *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int i;

	if (shared == MAP_FAILED)
		die("mmap");
	shared->next = words(like)[0];
	shared->generation = words(like)[2];
	open_handle(like, O_PATH);
	for (i = 0; i < GUESSERS; i++) {
		guessers[i] = fork();
		if (guessers[i] == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			guess(shared, *like);
		}
	}
	return shared;
}

static void stop_guessing(pid_t *guessers, struct shared *shared)
{
	int i;

	shared->stop = 1;
	for (i = 0; i < GUESSERS; i++)
		waitpid(guessers[i], NULL, 0);
	munmap(shared, 4096);
}

static void test_unlinked(void)
{
	int fd = must_open(path("unlinked"), O_RDWR | O_CREAT), again;
	struct handle handle;
	char byte = 0;

	handle_of(fd, &handle);
	if (write(fd, "x", 1) != 1)
		die("write");
	unlink(path("unlinked"));
	again = open_handle(&handle, O_RDWR);
	expect(again, 0, "a handle opens a file that has lost its name and is still open");
	result(again >= 0 && pread(again, &byte, 1, 0) == 1 && byte == 'x', "and it is the same file");
	close(again);
	close(fd);
	again = open_handle(&handle, O_RDWR);
	expect(again, ESTALE, "once it is closed its handle is stale");
}

static void test_while_created(void)
{
	int i, failed = 0, wrong = 0, fd = must_open(path("first"), O_RDWR | O_CREAT);
	pid_t guessers[GUESSERS];
	struct shared *shared;
	struct handle handle;
	struct stat st, named;

	handle_of(fd, &handle);
	close(fd);
	shared = start_guessing(guessers, &handle);
	for (i = 0; i < ROUNDS && failed == 0; i++) {
		fd = open(path("guessed"), O_RDWR | O_CREAT | O_EXCL, 0600);
		if (fd < 0) {
			printf("# round %d: %s\n", i, strerror(errno));
			failed++;
			continue;
		}
		fstat(fd, &st);
		if (stat(path("guessed"), &named) != 0 || named.st_ino != st.st_ino || (st.st_mode & 07777) != 0600)
			wrong++;
		shared->next = st.st_ino + 1;
		close(fd);
		if (unlink(path("guessed")) != 0)
			wrong++;
	}
	for (i = 0; i < ROUNDS && failed == 0; i++) {
		if (mkdir(path("guessed"), 0700) != 0 || stat(path("guessed"), &st) != 0) {
			printf("# round %d: %s\n", i, strerror(errno));
			failed++;
			continue;
		}
		shared->next = st.st_ino + 1;
		if (rmdir(path("guessed")) != 0)
			wrong++;
	}
	stop_guessing(guessers, shared);
	result(failed == 0, "creating files and directories succeeds when their handles are guessed at the same time");
	result(wrong == 0, "and makes the file that was asked for");
}

static void test_hidden(void)
{
	enum { DIM = 8, ROWS = 64, SEALS = 40 };
	int i, control = must_open(path(".vexfs_control"), O_RDWR), failed = 0;
	float vectors[DIM * ROWS] = { 1 };
	pid_t guessers[GUESSERS];
	struct shared *shared;
	struct handle handle;
	struct stat st;
	int fd;

	expect(create(control, "hiding", DIM), 0, "a collection is made");
	fd = must_open(path("hiding"), O_RDONLY);
	handle_of(fd, &handle);
	fstat(fd, &st);
	close(fd);
	shared = start_guessing(guessers, &handle);
	/* Each round makes hidden files and deletes those of the round before. */
	for (i = 0; i < SEALS; i++) {
		failed += insert(control, "hiding", DIM, ROWS, vectors) != 0;
		failed += build(control, "hiding", VEXFS_BUILD_OPTIMIZE, 0) != 0;
		fd = must_open(path("number"), O_RDWR | O_CREAT | O_TRUNC);
		fstat(fd, &st);
		close(fd);
		unlink(path("number"));
		shared->next = st.st_ino + 1 + i % 3;
	}
	stop_guessing(guessers, shared);
	result(failed == 0, "collections work while the handles of their hidden files are guessed");
	expect(drop(control, "hiding"), 0, "the collection is dropped");
	close(control);
}

void test_handles(void)
{
	test_unlinked();
	test_while_created();
	test_hidden();
}
