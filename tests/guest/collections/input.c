// SPDX-License-Identifier: Apache-2.0
/*
 * Bad input: each kind gets its errno and changes nothing.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <math.h>
#include <sys/mman.h>
#include <unistd.h>

#include "suite.h"

#define DIM 4
#define NAME "input"

/* Rows 10, 20, 30 with vectors that no test below can leave changed unseen. */
static const float vectors[3][DIM] = { { 1, 0, 0, 0 }, { 0, 2, 0, 0 }, { 0, 0, 3, 0 } };
static const __u64 ids[3] = { 10, 20, 30 };

static float fresh[2][DIM] = { { 1, 1, 0, 0 }, { 1, 1, 1, 0 } };
static __u64 fresh_ids[2] = { 40, 50 };

/* A page that cannot be touched, after one that can. */
static char *edge;
/* A page that can only be read. */
static char *read_only;

static void unchanged(const char *after)
{
	struct vexfs_collection_info i;
	struct vexfs_hit hits[8];
	const float query[DIM] = { 1, 0, 0, 0 };

	if (info(NAME, &i) != 0 || i.rows != 3 || i.next_id != 31 || search(NAME, DIM, query, 8, hits) != 3 ||
	    hits[0].id != 10 || hits[0].distance != 0)
		result(0, "%s left the collection as it was", after);
}

static struct vexfs_insert_vectors good_insert(void)
{
	struct vexfs_insert_vectors a = { .size = sizeof(a), .name = NAME, .count = 2, .dim = DIM };

	a.element = VEXFS_ELEMENT_F32;
	a.vectors = ptr(fresh);
	a.ids = ptr(fresh_ids);
	return a;
}

static void bad_insert(int wanted, const char *name, const struct vexfs_insert_vectors *a)
{
	struct vexfs_insert_vectors copy = *a;

	expect(ioctl(control, VEXFS_IOC_INSERT_VECTORS, &copy), wanted, "insert: %s", name);
	unchanged(name);
}

#define BAD_INSERT(wanted, name, ...)                           \
	do {                                                    \
		struct vexfs_insert_vectors a = good_insert();  \
		__VA_ARGS__;                                    \
		bad_insert(wanted, name, &a);                   \
	} while (0)

static void insert_arguments(void)
{
	BAD_INSERT(EINVAL, "a size of 0", a.size = 0);
	BAD_INSERT(EINVAL, "a size below the first released one", a.size -= 8);
	BAD_INSERT(E2BIG, "a size beyond reason", a.size = 1 << 20);
	BAD_INSERT(EINVAL, "an unknown flag", a.flags = 1u << 31);
	BAD_INSERT(EINVAL, "a reserved member that is not zero", a.reserved = 1);
	BAD_INSERT(EINVAL, "an unterminated name", memset(a.name, 'x', sizeof(a.name)));
	BAD_INSERT(EINVAL, "no name on the control file", a.name[0] = 0);
	BAD_INSERT(EINVAL, "a name with a slash", strcpy(a.name, "a/b"));
	BAD_INSERT(EINVAL, "the name .", strcpy(a.name, "."));
	BAD_INSERT(EINVAL, "the name ..", strcpy(a.name, ".."));
	BAD_INSERT(ENOENT, "a name that is not there", strcpy(a.name, "absent"));
	BAD_INSERT(EINVAL, "no rows", a.count = 0);
	BAD_INSERT(E2BIG, "too many rows", a.count = VEXFS_BATCH_ROWS_MAX + 1);
	BAD_INSERT(E2BIG, "more rows than 32 bits of bytes", a.count = 0xffffffff);
	BAD_INSERT(E2BIG, "too many bytes", a.payload_bytes = VEXFS_BATCH_BYTES_MAX);
	BAD_INSERT(E2BIG, "more bytes than 64 bits count", a.payload_bytes = ~0ull);
	BAD_INSERT(EINVAL, "another dimension", a.dim = DIM + 1);
	BAD_INSERT(EINVAL, "dimension 0", a.dim = 0);
	BAD_INSERT(EINVAL, "no element type", a.element = 0);
	BAD_INSERT(EINVAL, "another element type", a.element = VEXFS_ELEMENT_F16);
	BAD_INSERT(EOPNOTSUPP, "an element type of the future", a.element = 7);
	BAD_INSERT(EINVAL, "a stride shorter than a vector", a.stride = DIM * 4 - 4);
	BAD_INSERT(EINVAL, "a stride that is no multiple of 4", a.stride = DIM * 4 + 2);
	BAD_INSERT(EFAULT, "a stride that leads out of memory", a.stride = 0x7ffffffc);
	BAD_INSERT(EINVAL, "misaligned vectors", a.vectors += 2);
	BAD_INSERT(EFAULT, "vectors at address 0", a.vectors = 0);
	BAD_INSERT(EFAULT, "unmapped vectors", a.vectors = ptr(edge));
	BAD_INSERT(EFAULT, "vectors of which the second is unmapped", a.vectors = ptr(edge - DIM * 4));
	BAD_INSERT(EFAULT, "vectors in the kernel", a.vectors = 0xffff888000000000ull);
	BAD_INSERT(EINVAL, "misaligned ids", a.ids += 4);
	BAD_INSERT(EFAULT, "unmapped ids", a.ids = ptr(edge));
	expect(ioctl(control, VEXFS_IOC_INSERT_VECTORS, NULL), EFAULT, "insert: no struct");
	memcpy(edge - 8, &(__u32){ sizeof(struct vexfs_insert_vectors) }, 4);
	expect(ioctl(control, VEXFS_IOC_INSERT_VECTORS, edge - 8), EFAULT, "insert: a struct that ends in unmapped memory");
	unchanged("insert with a bad struct");
}

static void insert_rows(void)
{
	const __u64 twice[2] = { 40, 40 }, taken[2] = { 40, 20 };
	struct vexfs_insert_vectors a = good_insert();
	float x = fresh[1][2];

	BAD_INSERT(EINVAL, "an id twice", a.ids = ptr(twice));
	BAD_INSERT(EEXIST, "an id that exists", a.ids = ptr(taken));
	fresh[1][2] = NAN;
	BAD_INSERT(EINVAL, "a NaN", (void)0);
	fresh[1][2] = INFINITY;
	BAD_INSERT(EINVAL, "an infinity", (void)0);
	fresh[1][2] = -INFINITY;
	BAD_INSERT(EINVAL, "an infinity below zero", (void)0);
	fresh[1][2] = x;
	memset(fresh[0], 0, sizeof(fresh[0]));
	BAD_INSERT(EINVAL, "a zero vector to be normalized", a.flags = VEXFS_INSERT_NORMALIZE);
	fresh[0][0] = fresh[0][1] = 1;

	/* The struct lies where the kernel cannot write its results. */
	if (mprotect(read_only, 4096, PROT_READ | PROT_WRITE) != 0)
		die("mprotect");
	memcpy(read_only, &a, sizeof(a));
	mprotect(read_only, 4096, PROT_READ);
	expect(ioctl(control, VEXFS_IOC_INSERT_VECTORS, read_only), EFAULT, "insert: a struct that cannot be written to");
	unchanged("a struct that cannot be written to");
}

static void insert_payloads(void)
{
	/* One field: type, name length, reserved, value length, name "a", value. */
	static const unsigned char good[] = { 1, 0, 1, 0, VEXFS_FIELD_BOOL, 1, 0, 0, 1, 0, 0, 0, 'a', 1 };
	static const struct {
		const char *name;
		unsigned int at;
		unsigned char value;
	} bad[] = {
		{ "another version", 0, 2 },	  { "a reserved byte", 1, 1 },	   { "no fields", 2, 0 },
		{ "a field too many", 2, 2 },	  { "an unknown type", 4, 9 },	   { "an empty name", 5, 0 },
		{ "a reserved field byte", 6, 1 }, { "a value too long", 8, 2 },  { "a value too short", 8, 0 },
		{ "a name with a NUL", 12, 0 },	  { "a name that is not UTF-8", 12, 0xff }, { "neither true nor false", 13, 2 },
	};
	unsigned char payload[sizeof(good)];
	__u32 lens[2] = { sizeof(good), 0 };
	size_t i;
	char *big;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char name[64];

		memcpy(payload, good, sizeof(good));
		payload[bad[i].at] = bad[i].value;
		snprintf(name, sizeof(name), "a payload with %s", bad[i].name);
		BAD_INSERT(EINVAL, name, a.payload_lens = ptr(lens), a.payloads = ptr(payload),
			   a.payload_bytes = sizeof(good));
	}
	BAD_INSERT(EINVAL, "payload lengths that add up to less", a.payload_lens = ptr(lens), a.payloads = ptr(good),
		   a.payload_bytes = sizeof(good) - 1);
	BAD_INSERT(EINVAL, "payload bytes without lengths", a.payloads = ptr(good), a.payload_bytes = sizeof(good));
	BAD_INSERT(EINVAL, "payload bytes without payloads", a.payload_lens = ptr(lens), a.payload_bytes = sizeof(good));
	BAD_INSERT(EFAULT, "unmapped payloads", a.payload_lens = ptr(lens), a.payloads = ptr(edge),
		   a.payload_bytes = sizeof(good));
	BAD_INSERT(EINVAL, "misaligned payload lengths", a.payload_lens = ptr(lens) + 2, a.payloads = ptr(good),
		   a.payload_bytes = sizeof(good));
	lens[0] = VEXFS_PAYLOAD_MAX + 1;
	big = calloc(1, lens[0]);
	memcpy(big, good, sizeof(good));
	BAD_INSERT(E2BIG, "a payload too large", a.payload_lens = ptr(lens), a.payloads = ptr(big),
		   a.payload_bytes = lens[0]);
	free(big);
}

static struct vexfs_query_result results[2];
static struct vexfs_hit hits[2 * 3];
static char payloads[64];

static struct vexfs_search_vectors good_search(void)
{
	struct vexfs_search_vectors a = { .size = sizeof(a), .name = NAME, .count = 2, .dim = DIM, .k = 3 };

	a.element = VEXFS_ELEMENT_F32;
	a.queries = ptr(fresh);
	a.results = ptr(results);
	a.hits = ptr(hits);
	a.hits_max = 6;
	return a;
}

#define SEARCH(wanted, name, ...)                                                                    \
	do {                                                                                         \
		a = good_search();                                                                   \
		__VA_ARGS__;                                                                         \
		expect(ioctl(control, VEXFS_IOC_SEARCH_VECTORS, &a), wanted, "search: %s", name);    \
	} while (0)

static void search_arguments(void)
{
	struct vexfs_search_vectors a;
	float x = fresh[1][1];

	SEARCH(0, "good input", (void)0);
	result(results[0].count == 3 && results[1].count == 3 && a.scanned == 6, "search: every row for each query");
	SEARCH(EINVAL, "a size below the first released one", a.size -= 8);
	SEARCH(EINVAL, "an unknown flag", a.flags = 1 << 30);
	SEARCH(EINVAL, "a reserved member that is not zero", a.reserved = 1);
	SEARCH(EINVAL, "an unterminated name", memset(a.name, 'x', sizeof(a.name)));
	SEARCH(EINVAL, "k of 0", a.k = 0);
	SEARCH(E2BIG, "k too large", a.k = VEXFS_K_MAX + 1);
	SEARCH(EINVAL, "no queries", a.count = 0);
	SEARCH(E2BIG, "too many queries", a.count = VEXFS_QUERIES_MAX + 1);
	SEARCH(E2BIG, "too many hits in all", a.count = 17, a.k = 4096);
	SEARCH(EINVAL, "another dimension", a.dim = DIM - 1);
	SEARCH(EINVAL, "no element type", a.element = 0);
	SEARCH(EOPNOTSUPP, "an element type of the future", a.element = 7);
	SEARCH(EINVAL, "another element type", a.element = VEXFS_ELEMENT_F16);
	SEARCH(0, "ef where no index has use for it", a.ef = 64);
	SEARCH(0, "nprobe where no index has use for it", a.nprobe = 8);
	SEARCH(0, "a time limit that is long enough", a.time_limit_us = 60000000);
	SEARCH(EFAULT, "an unmapped filter", a.filter = ptr(edge), a.filter_bytes = 8);
	SEARCH(EINVAL, "a radius without its flag", a.radius = 1);
	SEARCH(EINVAL, "a radius that is no number", a.radius = NAN, a.flags = VEXFS_SEARCH_RADIUS);
	SEARCH(EINVAL, "misaligned queries", a.queries += 1);
	SEARCH(EFAULT, "unmapped queries", a.queries = ptr(edge));
	SEARCH(EINVAL, "misaligned results", a.results += 2);
	SEARCH(EFAULT, "results at address 0", a.results = 0);
	SEARCH(EFAULT, "hits that can only be read", a.hits = ptr(read_only));
	SEARCH(EINVAL, "misaligned hits", a.hits += 4);
	fresh[1][1] = NAN;
	SEARCH(EINVAL, "a query with a NaN", (void)0);
	fresh[1][1] = INFINITY;
	SEARCH(EINVAL, "a query with an infinity", (void)0);
	fresh[1][1] = x;

	SEARCH(ERANGE, "too little room for hits", a.hits_max = 5);
	result(a.hits_max == 6, "search: the room needed for hits is told");
	SEARCH(ERANGE, "too little room for vectors", a.vectors = ptr(payloads), a.vectors_bytes = 60);
	SEARCH(ERANGE, "too little room for payloads", a.payloads = ptr(payloads), a.payloads_bytes = 13);
	result(a.payloads_bytes == 28, "search: the room needed for payloads is told");
	SEARCH(0, "room for payloads", a.payloads = ptr(payloads), a.payloads_bytes = 28);
	SEARCH(0, "an empty radius", a.radius = -1, a.flags = VEXFS_SEARCH_RADIUS);
	result(results[0].count == 0 && results[1].count == 0 && hits[0].id == 0, "search: nothing is nearer than nothing");
	unchanged("searching");
}

static void get_and_delete(void)
{
	struct vexfs_row rows[3];
	float got[3][DIM];
	const __u64 wanted[3] = { 30, 77, 10 };
	struct vexfs_get_vectors good = { .size = sizeof(good), .name = NAME, .count = 3, .dim = DIM }, a;
	struct vexfs_delete_vectors del = { .size = sizeof(del), .name = NAME, .count = 1, .ids = ptr(wanted) };

	good.ids = ptr(wanted);
	good.rows = ptr(rows);
	good.vectors = ptr(got);
	good.vectors_bytes = sizeof(got);
	a = good;
	memset(got, 0xff, sizeof(got));
	expect(ioctl(control, VEXFS_IOC_GET_VECTORS, &a), 0, "get: good input");
	result(a.found == 2 && rows[0].flags == VEXFS_ROW_FOUND && rows[1].flags == 0 && rows[1].id == 77 &&
	       rows[2].flags == (VEXFS_ROW_FOUND | VEXFS_ROW_PAYLOAD), "get: rows in the order of the ids, a missing one says so");
	result(memcmp(got[0], vectors[2], sizeof(got[0])) == 0 && got[1][0] == 0 &&
	       memcmp(got[2], vectors[0], sizeof(got[0])) == 0, "get: the vectors that were inserted");
#define GET(wanted_errno, name, ...)                                                                  \
	do {                                                                                          \
		a = good;                                                                             \
		__VA_ARGS__;                                                                          \
		expect(ioctl(control, VEXFS_IOC_GET_VECTORS, &a), wanted_errno, "get: %s", name);     \
	} while (0)
	GET(EINVAL, "no ids", a.count = 0);
	GET(E2BIG, "too many ids", a.count = VEXFS_BATCH_ROWS_MAX + 1);
	GET(EINVAL, "another dimension", a.dim = DIM + 1);
	GET(EINVAL, "vectors without a dimension", a.dim = 0);
	GET(0, "no vectors, no dimension", a.dim = 0, a.vectors = 0);
	GET(ERANGE, "too little room for vectors", a.vectors_bytes -= 1);
	GET(ERANGE, "too little room for payloads", a.payloads = ptr(payloads), a.payloads_bytes = 1);
	result(a.payloads_bytes == 14, "get: the room needed for payloads is told");
	GET(EINVAL, "an unknown flag", a.flags = 1);
	GET(EFAULT, "unmapped rows", a.rows = ptr(edge));

	del.count = 0;
	expect(ioctl(control, VEXFS_IOC_DELETE_VECTORS, &del), EINVAL, "delete: no ids");
	del.count = VEXFS_BATCH_ROWS_MAX + 1;
	expect(ioctl(control, VEXFS_IOC_DELETE_VECTORS, &del), E2BIG, "delete: too many ids");
	del.count = 1;
	del.flags = 2;
	expect(ioctl(control, VEXFS_IOC_DELETE_VECTORS, &del), EINVAL, "delete: an unknown flag");
	del.flags = 0;
	del.ids = ptr(edge);
	expect(ioctl(control, VEXFS_IOC_DELETE_VECTORS, &del), EFAULT, "delete: unmapped ids");
	unchanged("deleting with bad input");
}

static void growing_structs(void)
{
	struct {
		struct vexfs_collection_info info;
		__u64 more;
	} future = { .info = { .size = sizeof(future), .name = NAME } };

	expect(ioctl(control, VEXFS_IOC_COLLECTION_INFO, &future), 0, "a larger struct with a zero tail is accepted");
	result(future.info.rows == 3, "a larger struct is filled");
	future.more = 1;
	expect(ioctl(control, VEXFS_IOC_COLLECTION_INFO, &future), E2BIG, "a larger struct with more in its tail is refused");
	expect(ioctl(control, _IOWR('V', 199, __u64), &future), ENOTTY, "an unknown call");
	expect(ioctl(control, _IOWR('W', 2, __u64), &future), ENOTTY, "a call of another type");
}

void test_input(void)
{
	static const unsigned char payload[] = { 1, 0, 1, 0, VEXFS_FIELD_BOOL, 1, 0, 0, 1, 0, 0, 0, 'a', 1 };
	const __u32 lens[3] = { sizeof(payload), 0, 0 };
	struct vexfs_insert_vectors a = good_insert();
	int fd;

	edge = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	read_only = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (edge == MAP_FAILED || read_only == MAP_FAILED || mprotect(edge + 4096, 4096, PROT_NONE) != 0)
		die("mmap");
	edge += 4096;
	if (create(NAME, DIM, VEXFS_METRIC_L2) != 0)
		die("create the collection");
	a.count = 3;
	a.vectors = ptr(vectors);
	a.ids = ptr(ids);
	a.payload_lens = ptr(lens);
	a.payloads = ptr(payload);
	a.payload_bytes = sizeof(payload);
	if (ioctl(control, VEXFS_IOC_INSERT_VECTORS, &a) != 0)
		die("insert the rows");
	unchanged("nothing");
	insert_arguments();
	insert_rows();
	insert_payloads();
	search_arguments();
	get_and_delete();
	growing_structs();

	if (create("cosine", DIM, VEXFS_METRIC_COSINE) != 0)
		die("create the cosine collection");
	memset(fresh[0], 0, sizeof(fresh[0]));
	expect(insert("cosine", DIM, 2, fresh[0], NULL, 0), EINVAL, "insert: a zero vector where it has no direction");
	expect(search("cosine", DIM, fresh[0], 1, hits), EINVAL, "search: a zero query where it has no direction");
	expect(drop("cosine"), 0, "drop: the cosine collection");

	fd = open(path(".vexfs_control"), O_RDONLY | O_CLOEXEC);
	a = good_insert();
	expect(ioctl(fd, VEXFS_IOC_INSERT_VECTORS, &a), EBADF, "insert: a control file open only for reading");
	close(fd);
	unchanged("a control file open only for reading");
}
