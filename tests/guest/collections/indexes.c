// SPDX-License-Identifier: Apache-2.0
/*
 * Indexes: built in the kernel, searched with and without a filter, compared
 * with exact searches, before and after mounting again; and element types.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <math.h>
#include <unistd.h>

#include "suite.h"

#define NAME "graph"
#define ROWS 6000
#define DIM 128
#define QUERIES 40
#define K 10
#define EF 48
/* Rows have n = id % GROUPS in their payloads. */
#define GROUPS 20

static float rows[ROWS][DIM];
static float queries[QUERIES][DIM];
static struct vexfs_hit hits[QUERIES * K], exact[QUERIES * K];
static struct vexfs_query_result results[QUERIES], exact_results[QUERIES];

/* Points around a few centres, as embeddings are, of whole numbers. */
static void points(float (*to)[DIM], __u32 count, __u32 seed)
{
	__u32 centres = 4242, i, j;
	float centre[24][DIM];

	for (i = 0; i < 24; i++) {
		for (j = 0; j < DIM; j++)
			centre[i][j] = (float)(next_random(&centres) % 200);
	}
	for (i = 0; i < count; i++) {
		__u32 c = next_random(&seed) % 24;

		for (j = 0; j < DIM; j++)
			to[i][j] = centre[c][j] + (float)(next_random(&seed) % 60);
	}
}

/* A payload with the field n, and a filter for its value. */
struct field_n {
	__u8 header[4], field[8], name;
	__s64 value;
} __attribute__((packed));

struct filter_n {
	__u8 header[4], op, name_len, type, flags;
	__u32 body_len;
	__u8 name;
	__u32 count;
	__s64 value;
} __attribute__((packed));

static struct field_n payload_of(__s64 value)
{
	struct field_n f = { { VEXFS_PAYLOAD_VERSION, 0, 1, 0 }, { VEXFS_FIELD_I64, 1, 0, 0, 8, 0, 0, 0 }, 'n', value };

	return f;
}

static struct filter_n filter_of(__s64 value)
{
	struct filter_n f = { { VEXFS_FILTER_VERSION, 0, 1, 0 }, VEXFS_FILTER_IN, 1, VEXFS_FIELD_I64, 0, 12, 'n', 1, value };

	return f;
}

static int insert_rows(__u32 from, __u32 to)
{
	static struct field_n payloads[ROWS];
	static __u32 lens[ROWS];
	static __u64 ids[ROWS];
	struct vexfs_insert_vectors a = { .size = sizeof(a), .name = NAME, .count = to - from, .dim = DIM };
	__u32 i;

	for (i = from; i < to; i++) {
		payloads[i - from] = payload_of(i % GROUPS);
		lens[i - from] = sizeof(payloads[0]);
		ids[i - from] = i;
	}
	a.element = VEXFS_ELEMENT_F32;
	a.vectors = ptr(rows[from]);
	a.ids = ptr(ids);
	a.payload_lens = ptr(lens);
	a.payloads = ptr(payloads);
	a.payload_bytes = (__u64)(to - from) * sizeof(payloads[0]);
	return ioctl(control, VEXFS_IOC_INSERT_VECTORS, &a);
}

static struct vexfs_search_vectors search_of(struct vexfs_query_result *res, struct vexfs_hit *to)
{
	struct vexfs_search_vectors a = { .size = sizeof(a), .name = NAME, .count = QUERIES, .dim = DIM, .k = K };

	a.element = VEXFS_ELEMENT_F32;
	a.queries = ptr(queries);
	a.results = ptr(res);
	a.hits = ptr(to);
	a.hits_max = QUERIES * K;
	return a;
}

static struct vexfs_build_index build_of(__u32 action)
{
	struct vexfs_build_index a = { .size = sizeof(a), .name = NAME, .flags = VEXFS_BUILD_WAIT, .action = action };

	if (action == VEXFS_BUILD_SET) {
		a.params.kind = VEXFS_INDEX_HNSW;
		a.params.m = 12;
		a.params.ef_construction = 100;
	}
	return a;
}

static int stats_of(struct vexfs_get_vector_stats *s)
{
	memset(s, 0, sizeof(*s));
	s->size = sizeof(*s);
	strcpy(s->name, NAME);
	return ioctl(control, VEXFS_IOC_GET_VECTOR_STATS, s);
}

/* How many hits are as near as those of the exact search. */
static __u32 agreement(void)
{
	__u32 q, i, good = 0;

	for (q = 0; q < QUERIES; q++) {
		for (i = 0; i < results[q].count && exact_results[q].count > 0; i++) {
			const struct vexfs_hit *last = &exact[q * K + exact_results[q].count - 1];

			good += hits[q * K + i].distance <= last->distance;
		}
	}
	return good;
}

/* Searches with the index and exactly, with FILTER or without one, and compares. */
static void compare(const char *when, const struct filter_n *filter)
{
	struct vexfs_search_vectors a = search_of(results, hits), b = search_of(exact_results, exact);
	__u32 q, i, wrong = 0, full = 0, good;
	const char *what = filter ? "with a filter" : "without a filter";

	a.ef = EF;
	b.flags = VEXFS_SEARCH_EXACT;
	if (filter) {
		a.filter = b.filter = ptr(filter);
		a.filter_bytes = b.filter_bytes = sizeof(*filter);
	}
	if (ioctl(control, VEXFS_IOC_SEARCH_VECTORS, &a) != 0 || ioctl(control, VEXFS_IOC_SEARCH_VECTORS, &b) != 0) {
		expect(-1, 0, "%s: search %s", when, what);
		return;
	}
	for (q = 0; q < QUERIES; q++) {
		full += results[q].count == K && exact_results[q].count == K;
		for (i = 0; filter && i < results[q].count; i++)
			wrong += (__s64)(hits[q * K + i].id % GROUPS) != filter->value;
	}
	good = agreement();
	result(full == QUERIES, "%s: %s every query gets its %u rows (%u of %u)", when, what, K, full, QUERIES);
	result(good >= QUERIES * K * 95 / 100, "%s: %s the index finds what the exact search finds (%u of %u)", when, what,
	       good, QUERIES * K);
	if (filter)
		result(wrong == 0, "%s: no row that the filter excludes is found", when);
	else
		result(a.scanned < b.scanned, "%s: the index compares fewer rows (%llu, not %llu)", when,
		       (unsigned long long)a.scanned, (unsigned long long)b.scanned);
}

/* The exact search with the filter, against a plain loop. */
static void check_filter(const char *when, const struct filter_n *filter)
{
	struct vexfs_search_vectors a = search_of(exact_results, exact);
	__u32 q, i, j, good = 0;

	a.flags = VEXFS_SEARCH_EXACT;
	a.filter = ptr(filter);
	a.filter_bytes = sizeof(*filter);
	if (ioctl(control, VEXFS_IOC_SEARCH_VECTORS, &a) != 0) {
		expect(-1, 0, "%s: exact search with a filter", when);
		return;
	}
	for (q = 0; q < QUERIES; q++) {
		__u32 nearer = 0;
		float last = exact[q * K + K - 1].distance;

		for (i = 0; i < ROWS; i++) {
			float sum = 0;

			if ((__s64)(i % GROUPS) != filter->value)
				continue;
			for (j = 0; j < DIM; j++)
				sum += (rows[i][j] - queries[q][j]) * (rows[i][j] - queries[q][j]);
			nearer += sum < last;
		}
		good += exact_results[q].count == K && nearer < K;
	}
	result(good == QUERIES, "%s: the exact search with a filter finds what a plain loop finds (%u of %u)", when, good,
	       QUERIES);
}

static void arguments(void)
{
	struct vexfs_build_index a;
	struct vexfs_search_vectors s;
	struct filter_n filter = filter_of(3);
	int fd;

#define BUILD(wanted, name, ...)                                                                  \
	do {                                                                                      \
		a = build_of(VEXFS_BUILD_SET);                                                    \
		__VA_ARGS__;                                                                      \
		expect(ioctl(control, VEXFS_IOC_BUILD_INDEX, &a), wanted, "build: %s", name);     \
	} while (0)
	BUILD(EINVAL, "an unknown flag", a.flags |= 1 << 30);
	BUILD(EINVAL, "a reserved member that is not zero", a.reserved = 1);
	BUILD(EINVAL, "a reserved parameter that is not zero", a.params.reserved[1] = 1);
	BUILD(EOPNOTSUPP, "an index of the future", a.params.kind = 99);
	BUILD(EOPNOTSUPP, "codes of the future", a.params.codes = 99);
	BUILD(EINVAL, "a parameter out of range", a.params.m = 1);
	BUILD(EOPNOTSUPP, "in the background", a.flags = 0);
	BUILD(EINVAL, "no action", a = build_of(0));
	BUILD(EINVAL, "parameters where none are wanted", a.action = VEXFS_BUILD_DROP);
	BUILD(ENOENT, "a collection that is not there", strcpy(a.name, "none"));
	BUILD(EINVAL, "a size below the first released one", a.size -= 8);
	fd = open(path(".vexfs_control"), O_RDONLY | O_CLOEXEC);
	a = build_of(VEXFS_BUILD_SET);
	expect(ioctl(fd, VEXFS_IOC_BUILD_INDEX, &a), EBADF, "build: a control file open only for reading");
	close(fd);

#define FILTER(wanted, name, ...)                                                                 \
	do {                                                                                      \
		s = search_of(results, hits);                                                     \
		s.filter = ptr(&filter);                                                          \
		s.filter_bytes = sizeof(filter);                                                  \
		__VA_ARGS__;                                                                      \
		expect(ioctl(control, VEXFS_IOC_SEARCH_VECTORS, &s), wanted, "filter: %s", name); \
	} while (0)
	FILTER(0, "a good one", (void)0);
	FILTER(EINVAL, "cut short", s.filter_bytes -= 1);
	FILTER(EINVAL, "bytes at no address", s.filter = 0);
	FILTER(EINVAL, "an address without bytes", s.filter_bytes = 0);
	FILTER(E2BIG, "too large", s.filter_bytes = VEXFS_FILTER_MAX + 1);
	FILTER(EINVAL, "an unknown operation", filter.op = 99);
	filter = filter_of(3);
	FILTER(EINVAL, "another version", filter.header[0] = 9);
}

static void explain(const char *when, const struct filter_n *filter)
{
	struct vexfs_explain_part parts[64];
	static struct {
		struct vexfs_explain_part part;
		__u64 more[2];
	} large[65];
	struct vexfs_explain e = { .size = sizeof(e), .name = NAME, .dim = DIM, .element = VEXFS_ELEMENT_F32, .k = K };
	__u64 live = 0, compared = 0, grown = 0, i;

	e.query = ptr(queries[0]);
	e.ef = EF;
	e.filter = filter ? ptr(filter) : 0;
	e.filter_bytes = filter ? sizeof(*filter) : 0;
	e.parts = ptr(parts);
	e.parts_max = 0;
	expect(ioctl(control, VEXFS_IOC_EXPLAIN, &e), ERANGE, "%s: explain: too little room", when);
	result(e.parts_max >= 1 && e.parts_max <= 64, "%s: explain: the room that is needed is told", when);
	expect(ioctl(control, VEXFS_IOC_EXPLAIN, &e), 0, "%s: explain", when);
	for (i = 0; i < e.parts_max; i++) {
		live += parts[i].live;
		compared += parts[i].distances + parts[i].codes;
	}
	result(live == ROWS && compared > 0 && e.hits == K, "%s: explain: the parts are the collection", when);
	/* A caller that knows larger parts than the kernel. */
	memset(large, 0xff, sizeof(large));
	e.parts = ptr(large);
	e.part_bytes = sizeof(large[0]);
	expect(ioctl(control, VEXFS_IOC_EXPLAIN, &e), 0, "%s: explain: larger parts", when);
	for (i = 0; i < e.parts_max; i++)
		grown += large[i].part.rows == parts[i].rows && !large[i].more[0] && !large[i].more[1];
	result(grown == e.parts_max && large[e.parts_max].more[1] == ~0ULL,
	       "%s: explain: larger parts are followed by zeros, and nothing else is written", when);
	e.part_bytes = VEXFS_EXPLAIN_PART_BYTES - 8;
	expect(ioctl(control, VEXFS_IOC_EXPLAIN, &e), EINVAL, "%s: explain: parts below the first version", when);
	e.part_bytes = 8192;
	expect(ioctl(control, VEXFS_IOC_EXPLAIN, &e), E2BIG, "%s: explain: parts of no version", when);
	e.part_bytes = 0;
	e.reserved[2] = 1;
	expect(ioctl(control, VEXFS_IOC_EXPLAIN, &e), EINVAL, "%s: explain: a reserved member that is not zero", when);
}

static void elements(void)
{
	static const struct {
		const char *name;
		__u32 element, metric, dim;
		__u8 rows[2][4];
		float distance;
	} cases[] = {
		/* 1, 2 and 3, 0 in each of them. */
		{ "f16", VEXFS_ELEMENT_F16, VEXFS_METRIC_L2, 2, { { 0, 0x3c, 0, 0x40 }, { 0, 0x42, 0, 0 } }, 8 },
		{ "bf16", VEXFS_ELEMENT_BF16, VEXFS_METRIC_L2, 2, { { 0x80, 0x3f, 0, 0x40 }, { 0x40, 0x40, 0, 0 } }, 8 },
		{ "i8", VEXFS_ELEMENT_I8, VEXFS_METRIC_IP, 2, { { 1, 0xfe }, { 3, 5 } }, 7 },
		{ "u8", VEXFS_ELEMENT_U8, VEXFS_METRIC_L2, 2, { { 255, 2 }, { 0, 2 } }, 65025 },
		{ "binary", VEXFS_ELEMENT_BINARY, VEXFS_METRIC_HAMMING, 11, { { 0xff, 0x07 }, { 0x0f, 0x04 } }, 6 },
	};
	struct vexfs_query_result res;
	struct vexfs_hit two[2];
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vexfs_create_collection c = { .size = sizeof(c), .dim = cases[i].dim };
		struct vexfs_insert_vectors a = { .size = sizeof(a), .count = 2, .dim = cases[i].dim, .stride = 4 };
		struct vexfs_search_vectors s = { .size = sizeof(s), .count = 1, .dim = cases[i].dim, .k = 2 };

		strcpy(c.name, cases[i].name);
		strcpy(a.name, cases[i].name);
		strcpy(s.name, cases[i].name);
		c.element = a.element = s.element = cases[i].element;
		c.metric = cases[i].metric;
		a.vectors = ptr(cases[i].rows);
		s.queries = ptr(cases[i].rows);
		s.results = ptr(&res);
		s.hits = ptr(two);
		s.hits_max = 2;
		expect(ioctl(control, VEXFS_IOC_CREATE_COLLECTION, &c), 0, "%s: create", cases[i].name);
		a.element = VEXFS_ELEMENT_F32;
		expect(ioctl(control, VEXFS_IOC_INSERT_VECTORS, &a), EINVAL, "%s: another element type", cases[i].name);
		a.element = cases[i].element;
		expect(ioctl(control, VEXFS_IOC_INSERT_VECTORS, &a), 0, "%s: insert", cases[i].name);
		expect(ioctl(control, VEXFS_IOC_SEARCH_VECTORS, &s), 0, "%s: search", cases[i].name);
		result(res.count == 2 && fabsf(two[0].distance) + fabsf(two[1].distance) >= cases[i].distance &&
		       (two[0].distance == cases[i].distance || two[1].distance == cases[i].distance),
		       "%s: the distance is right", cases[i].name);
		expect(drop(cases[i].name), 0, "%s: drop", cases[i].name);
	}
	{
		struct vexfs_create_collection c = { .size = sizeof(c), .name = "no", .dim = 8 };

		c.element = VEXFS_ELEMENT_BINARY;
		c.metric = VEXFS_METRIC_L2;
		result(ioctl(control, VEXFS_IOC_CREATE_COLLECTION, &c) != 0, "bits have no Euclidean distance");
		c.element = 7;
		expect(ioctl(control, VEXFS_IOC_CREATE_COLLECTION, &c), EOPNOTSUPP, "an element type of the future");
	}
}

void test_indexes(void)
{
	struct vexfs_build_index b;
	struct vexfs_get_vector_stats s;
	struct vexfs_search_vectors a;
	const struct filter_n filter = filter_of(7);
	const __u64 gone[2] = { 5, ROWS - 1 };
	__u32 deleted;

	points(rows, ROWS, 99);
	points(queries, QUERIES, 77);
	if (create(NAME, DIM, VEXFS_METRIC_L2) != 0 || insert_rows(0, ROWS / 2) != 0)
		die("make the collection");
	arguments();

	b = build_of(VEXFS_BUILD_SET);
	expect(ioctl(control, VEXFS_IOC_BUILD_INDEX, &b), 0, "an index is built");
	result(b.indexed_rows == ROWS / 2 && b.segments == 1, "it covers every row");
	result(stats_of(&s) == 0 && s.index.kind == VEXFS_INDEX_HNSW && s.index.m == 12 && s.rows == ROWS / 2 &&
	       s.tail_rows == 0 && s.indexed_rows == ROWS / 2 && s.index_bytes > 0 &&
	       s.vector_bytes >= ROWS / 2 * sizeof(rows[0]), "the statistics say so");

	expect(insert_rows(ROWS / 2, ROWS), 0, "rows are inserted behind an index");
	compare("rows behind the index", NULL);
	compare("rows behind the index", &filter);
	b = build_of(VEXFS_BUILD_MAINTAIN);
	expect(ioctl(control, VEXFS_IOC_BUILD_INDEX, &b), 0, "what is due is done");
	b = build_of(VEXFS_BUILD_OPTIMIZE);
	expect(ioctl(control, VEXFS_IOC_BUILD_INDEX, &b), 0, "the collection is optimized");
	result(b.indexed_rows == ROWS && b.segments == 1, "all rows are in one segment");
	compare("optimized", NULL);
	compare("optimized", &filter);
	check_filter("optimized", &filter);
	explain("optimized", NULL);
	explain("optimized", &filter);

	a = search_of(results, hits);
	a.time_limit_us = 1;
	expect(ioctl(control, VEXFS_IOC_SEARCH_VECTORS, &a), 0, "a search with hardly any time ends well");

	expect(delete_rows(NAME, 2, gone, &deleted), 0, "rows of a segment are deleted");
	a = search_of(results, hits);
	memcpy(queries[0], rows[5], sizeof(rows[5]));
	expect(ioctl(control, VEXFS_IOC_SEARCH_VECTORS, &a), 0, "search after the deletion");
	result(deleted == 2 && hits[0].id != 5 && stats_of(&s) == 0 && s.rows == ROWS - 2 && s.dead_rows == 2,
	       "a deleted row is not found any more");
	expect(insert_rows(5, 6), 0, "a deleted row is inserted again");
	expect(insert_rows(ROWS - 1, ROWS), 0, "and the other one");
	expect(ioctl(control, VEXFS_IOC_SEARCH_VECTORS, &a), 0, "search after the insertion");
	result(hits[0].id == 5 && hits[0].distance == 0, "and is found");
	elements();
}

void verify_indexes(void)
{
	const struct filter_n filter = filter_of(7);
	struct vexfs_get_vector_stats s;
	struct vexfs_build_index b;

	points(rows, ROWS, 99);
	points(queries, QUERIES, 77);
	result(stats_of(&s) == 0 && s.index.kind == VEXFS_INDEX_HNSW && s.rows == ROWS && s.segments >= 1,
	       "mounted again: the index is there");
	compare("mounted again", NULL);
	compare("mounted again", &filter);
	b = build_of(VEXFS_BUILD_DROP);
	expect(ioctl(control, VEXFS_IOC_BUILD_INDEX, &b), 0, "the index is dropped");
	result(stats_of(&s) == 0 && s.index.kind == VEXFS_INDEX_FLAT && s.index_bytes == 0 && s.rows == ROWS,
	       "it is gone, the rows are not");
	check_filter("without an index", &filter);
}
