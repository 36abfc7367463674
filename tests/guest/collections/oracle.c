// SPDX-License-Identifier: Apache-2.0
/*
 * Searches against brute force: what is found is what a plain loop in double
 * precision finds, before and after mounting again, and while others change it.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <math.h>
#include <sys/wait.h>
#include <unistd.h>

#include "suite.h"

#define ROWS 1200
#define DIM_MAX 131
#define QUERIES 12

static const struct {
	const char *name;
	__u32 metric;
	__u32 dim;
} cases[] = {
	{ "l2-1", VEXFS_METRIC_L2, 1 },		{ "l2-3", VEXFS_METRIC_L2, 3 },
	{ "l2-64", VEXFS_METRIC_L2, 64 },	{ "cosine-2", VEXFS_METRIC_COSINE, 2 },
	{ "cosine-17", VEXFS_METRIC_COSINE, 17 }, { "cosine-131", VEXFS_METRIC_COSINE, 131 },
	{ "ip-5", VEXFS_METRIC_IP, 5 },		{ "ip-128", VEXFS_METRIC_IP, 128 },
};

#define CASES (sizeof(cases) / sizeof(cases[0]))

/* The rows a collection must hold. */
static struct row {
	__u64 id;
	int alive;
	float vector[DIM_MAX];
} model[ROWS];

/* Small whole numbers: sums of their products are exact in floats, too. */
static void random_vector(float *vector, __u32 dim, __u32 *seed)
{
	__u32 i;

	for (i = 0; i < dim; i++)
		vector[i] = (float)(int)(next_random(seed) % 17) - 8;
	/* No direction is no vector. */
	if (vector[0] == 0)
		vector[0] = 1;
}

/* Makes the rows of a case, as they are when all has been done to them. */
static void make_model(size_t c, __u32 *seed)
{
	__u32 i;

	for (i = 0; i < ROWS; i++) {
		/* Ids in no order, with gaps, all different: 7 has an inverse modulo 4801. */
		model[i].id = (__u64)(i * 7 + 3) % 4801 + ((__u64)c << 40);
		model[i].alive = 1;
		random_vector(model[i].vector, cases[c].dim, seed);
	}
}

static double distance(size_t c, const float *a, const float *b)
{
	double sum = 0, aa = 0, bb = 0;
	__u32 i;

	for (i = 0; i < cases[c].dim; i++) {
		double x = a[i], y = b[i];

		sum += cases[c].metric == VEXFS_METRIC_L2 ? (x - y) * (x - y) : x * y;
		aa += x * x;
		bb += y * y;
	}
	switch (cases[c].metric) {
	case VEXFS_METRIC_L2:
		return sum;
	case VEXFS_METRIC_IP:
		return -sum;
	default:
		return 1 - sum / sqrt(aa * bb);
	}
}

struct near {
	double distance;
	__u64 id;
};

static int nearer(const void *a, const void *b)
{
	const struct near *x = a, *y = b;

	if (x->distance != y->distance)
		return x->distance < y->distance ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

/* All rows by their distance from a query; returns how many. */
static __u32 brute_force(size_t c, const float *query, struct near *out)
{
	__u32 i, n = 0;

	for (i = 0; i < ROWS; i++) {
		if (!model[i].alive)
			continue;
		out[n].distance = distance(c, query, model[i].vector);
		out[n++].id = model[i].id;
	}
	qsort(out, n, sizeof(out[0]), nearer);
	return n;
}

static double distance_of(size_t c, const float *query, __u64 id)
{
	__u32 i;

	for (i = 0; i < ROWS; i++) {
		if (model[i].alive && model[i].id == id)
			return distance(c, query, model[i].vector);
	}
	return INFINITY;
}

/*
 * Whether the hits are the first COUNT of the truth. Cosines are rounded, so
 * rows whose distances are nearly equal may change places.
 */
static int agrees(size_t c, const float *query, const struct vexfs_hit *hits, __u32 count, const struct near *truth)
{
	const double tolerance = cases[c].metric == VEXFS_METRIC_COSINE ? 2e-6 : 0;
	__u32 i;

	for (i = 0; i < count; i++) {
		if (fabs(hits[i].distance - truth[i].distance) > tolerance)
			return 0;
		if (fabs(hits[i].distance - distance_of(c, query, hits[i].id)) > tolerance)
			return 0;
		if (tolerance == 0 && hits[i].id != truth[i].id)
			return 0;
		if (i > 0 && (hits[i - 1].distance > hits[i].distance ||
			      (hits[i - 1].distance == hits[i].distance && hits[i - 1].id >= hits[i].id)))
			return 0;
	}
	return 1;
}

static struct near truth[ROWS];
static float queries[QUERIES][DIM_MAX + 1];
static struct vexfs_hit hits[QUERIES * 4096];
static struct vexfs_query_result results[QUERIES];
static float vectors[QUERIES * 10 * DIM_MAX];

static void search_all(size_t c, __u32 k, float radius, int with_radius, const char *when)
{
	struct vexfs_search_vectors a = { .size = sizeof(a), .count = QUERIES, .dim = cases[c].dim, .k = k };
	__u32 i, j, good = 0;

	strcpy(a.name, cases[c].name);
	a.element = VEXFS_ELEMENT_F32;
	a.stride = sizeof(queries[0]);
	a.queries = ptr(queries);
	a.results = ptr(results);
	a.hits = ptr(hits);
	a.hits_max = (__u64)QUERIES * k;
	if (k == 10) {
		a.vectors = ptr(vectors);
		a.vectors_bytes = sizeof(vectors);
	}
	if (with_radius) {
		a.flags = VEXFS_SEARCH_RADIUS;
		a.radius = radius;
	}
	if (ioctl(control, VEXFS_IOC_SEARCH_VECTORS, &a) != 0) {
		expect(-1, 0, "%s: %s: search for %u", when, cases[c].name, k);
		return;
	}
	for (i = 0; i < QUERIES; i++) {
		__u32 n = brute_force(c, queries[i], truth), wanted = n < k ? n : k;

		while (with_radius && wanted > 0 && truth[wanted - 1].distance > radius)
			wanted--;
		if (results[i].count != wanted || results[i].flags != 0 ||
		    !agrees(c, queries[i], &hits[i * k], wanted, truth))
			continue;
		for (j = 0; a.vectors && j < wanted; j++) {
			const float *v = &vectors[(i * k + j) * cases[c].dim];

			if (fabs(distance(c, queries[i], v) - hits[i * k + j].distance) > 2e-6)
				break;
		}
		good += !a.vectors || j == wanted;
	}
	result(good == QUERIES, "%s: %s: the %u nearest%s are those of brute force (%u of %u)", when, cases[c].name, k,
	       with_radius ? " in a radius" : "", good, QUERIES);
}

static void check_case(size_t c, const char *when)
{
	struct vexfs_collection_info i;
	__u32 seed = 977 + (__u32)c, alive = 0, r;

	for (r = 0; r < QUERIES; r++)
		random_vector(queries[r], cases[c].dim, &seed);
	for (r = 0; r < ROWS; r++)
		alive += model[r].alive;
	result(info(cases[c].name, &i) == 0 && i.rows == alive, "%s: %s: %u rows", when, cases[c].name, alive);
	search_all(c, 1, 0, 0, when);
	search_all(c, 10, 0, 0, when);
	search_all(c, 4096, 0, 0, when);
	if (cases[c].metric != VEXFS_METRIC_COSINE) {
		brute_force(c, queries[0], truth);
		search_all(c, 1000, (float)truth[100].distance, 1, when);
	}
}

/* Inserts rows FROM to TO of the model, some of them with gaps between the vectors. */
static int insert_rows(size_t c, __u32 from, __u32 to, __u32 flags)
{
	struct vexfs_insert_vectors a = { .size = sizeof(a), .flags = flags, .count = to - from, .dim = cases[c].dim };
	__u64 ids[200];
	float packed[200 * DIM_MAX];
	__u32 i;

	strcpy(a.name, cases[c].name);
	a.element = VEXFS_ELEMENT_F32;
	a.ids = ptr(ids);
	for (i = from; i < to; i++) {
		ids[i - from] = model[i].id;
		memcpy(&packed[(i - from) * a.dim], model[i].vector, a.dim * 4);
	}
	if (from % 2 == 0) {
		a.vectors = ptr(packed);
	} else {
		a.vectors = ptr(model[from].vector);
		a.stride = sizeof(model[0]);
	}
	return ioctl(control, VEXFS_IOC_INSERT_VECTORS, &a) == 0 && a.inserted == to - from ? 0 : -1;
}

/* Replaces some rows and deletes others, of the collection too unless MODEL_ONLY. */
static int change_rows(size_t c, __u32 *seed, int model_only)
{
	__u64 ids[ROWS];
	__u32 i, n = 0, deleted;

	for (i = 0; i < ROWS; i += 5) {
		random_vector(model[i].vector, cases[c].dim, seed);
		if (!model_only && insert_rows(c, i, i + 1, VEXFS_INSERT_UPSERT) != 0)
			return -1;
	}
	for (i = 0; i < ROWS; i += 7) {
		model[i].alive = 0;
		ids[n++] = model[i].id;
	}
	if (model_only)
		return 0;
	return delete_rows(cases[c].name, n, ids, &deleted) == 0 && deleted == n ? 0 : -1;
}

void fill(void)
{
	size_t c;

	for (c = 0; c < CASES; c++) {
		__u32 seed = 4711 + (__u32)c, batch_seed = 31, from, to;

		make_model(c, &seed);
		if (create(cases[c].name, cases[c].dim, cases[c].metric) != 0)
			die("create a collection");
		for (from = 0; from < ROWS; from = to) {
			to = from + 1 + next_random(&batch_seed) % 199;
			to = to < ROWS ? to : ROWS;
			if (insert_rows(c, from, to, 0) != 0)
				die("insert rows");
		}
		check_case(c, "inserted");
		if (change_rows(c, &seed, 0) != 0)
			die("change rows");
		check_case(c, "changed");
	}
}

void verify(void)
{
	size_t c;

	for (c = 0; c < CASES; c++) {
		__u32 seed = 4711 + (__u32)c;

		make_model(c, &seed);
		change_rows(c, &seed, 1);
		check_case(c, "mounted again");
	}
}

#define WRITERS 4
#define BATCHES 40
#define BATCH 20

/* One of several at once: inserts rows, searches among everybody's, deletes every second of its own. */
static int writer(__u32 number)
{
	__u32 seed = 100 + number, b, i, deleted;
	float rows[BATCH][8];
	__u64 ids[BATCH];

	for (b = 0; b < BATCHES; b++) {
		struct vexfs_hit found[50];
		int n, j;

		for (i = 0; i < BATCH; i++) {
			random_vector(rows[i], 8, &seed);
			ids[i] = number * 1000000ull + b * BATCH + i;
		}
		if (insert("together", 8, BATCH, rows[0], ids, 0) != 0)
			return 1;
		n = search("together", 8, rows[0], 50, found);
		if (n < (int)BATCH || found[0].distance != 0)
			return 2;
		for (j = 0; j < n; j++) {
			if (found[j].id / 1000000 >= WRITERS || found[j].id % 1000000 >= BATCHES * BATCH)
				return 3;
			if (j > 0 && (found[j - 1].distance > found[j].distance ||
				      (found[j - 1].distance == found[j].distance && found[j - 1].id >= found[j].id)))
				return 4;
		}
		for (i = 0; i < BATCH / 2; i++)
			ids[i] = ids[i * 2];
		if (delete_rows("together", BATCH / 2, ids, &deleted) != 0 || deleted != BATCH / 2)
			return 5;
	}
	return 0;
}

void test_together(void)
{
	struct vexfs_collection_info i;
	__u32 w, good = 0;

	if (create("together", 8, VEXFS_METRIC_L2) != 0)
		die("create a collection");
	for (w = 0; w < WRITERS; w++) {
		pid_t child = fork();

		if (child == 0)
			_exit(writer(w));
		if (child < 0)
			die("fork");
	}
	for (w = 0; w < WRITERS; w++) {
		int status;

		if (wait(&status) < 0)
			die("wait");
		if (status == 0)
			good++;
		else
			printf("a writer ended with status %d\n", WEXITSTATUS(status));
	}
	result(good == WRITERS, "%u processes insert, search and delete at once", WRITERS);
	result(info("together", &i) == 0 && i.rows == WRITERS * BATCHES * BATCH / 2, "no row of theirs is lost or left over");
	drop("together");
}

/* Rows that were acknowledged as durable in three ways, and then no more writing. */
void sync_then_shutdown(void)
{
	const float row[2] = { 1, 2 };
	const __u64 ids[3] = { 1, 2, 3 };
	__u32 how = 2, deleted; /* nothing is flushed */
	struct vexfs_delete_vectors del = { .size = sizeof(del), .name = "synced", .flags = VEXFS_DELETE_SYNC, .count = 1 };
	int fd;

	if (create("synced", 2, VEXFS_METRIC_L2) != 0)
		die("create a collection");
	expect(insert("synced", 2, 1, row, &ids[0], VEXFS_INSERT_SYNC), 0, "insert with SYNC");
	expect(insert("synced", 2, 1, row, &ids[1], 0), 0, "insert without SYNC");
	fd = open(path("synced"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	expect(fsync(fd), 0, "fsync of the collection");
	close(fd);
	expect(insert("synced", 2, 1, row, &ids[2], 0), 0, "insert without SYNC");
	del.ids = ptr(&ids[0]);
	deleted = ioctl(control, VEXFS_IOC_DELETE_VECTORS, &del) == 0 ? del.deleted : 0;
	result(deleted == 1, "delete with SYNC");
	expect(ioctl(control, _IOR('X', 125, __u32), &how), 0, "shut the filesystem down without a flush");
	expect(insert("synced", 2, 1, row, NULL, 0), EIO, "nothing is inserted after a shutdown");
}

void verify_synced(void)
{
	const float row[2] = { 1, 2 };
	struct vexfs_hit found[8];
	int n = search("synced", 2, row, 8, found);

	result(n == 2 && found[0].id == 2 && found[1].id == 3, "what SYNC and fsync acknowledged is there after a shutdown");
}
