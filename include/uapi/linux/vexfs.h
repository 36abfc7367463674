/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * VexFS user ABI. Generated from rust/uapi; do not edit.
 *
 * Rules every struct keeps: fixed-width members, no implicit padding, reserved
 * members zero. The first member is the size of the struct as the caller knows
 * it. Unknown flags and non-zero reserved members: EINVAL; a larger struct with
 * a non-zero tail: E2BIG; an output buffer that is too small: ERANGE, with the
 * needed size written back. User pointers are __u64: (__u64)(uintptr_t)p.
 *
 * Every collection call takes a base directory from its fd (the mount's root
 * for the control file ".vexfs_control", the directory itself for a directory)
 * and the name of a collection in it; an empty name is the base itself.
 *
 * See docs/uapi.md.
 */

#ifndef _UAPI_LINUX_VEXFS_H
#define _UAPI_LINUX_VEXFS_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Longest name of a collection in bytes, without the NUL. */
#define VEXFS_NAME_MAX 255

/* Largest number of dimensions of a vector. */
#define VEXFS_DIM_MAX 4096

/* Elements are IEEE 754 binary32, little-endian. */
#define VEXFS_ELEMENT_F32 1

/* Elements are IEEE 754 binary16, little-endian. */
#define VEXFS_ELEMENT_F16 2

/* Elements are bfloat16, the upper half of a binary32, little-endian. */
#define VEXFS_ELEMENT_BF16 3

/* Elements are signed bytes. */
#define VEXFS_ELEMENT_I8 4

/* Elements are unsigned bytes. */
#define VEXFS_ELEMENT_U8 5

/*
 * Elements are bits: element i is bit i % 8 of byte i / 8. Bits behind the last
 * are 0.
 */
#define VEXFS_ELEMENT_BINARY 6

/* Squared Euclidean distance. */
#define VEXFS_METRIC_L2 1

/* 1 - cosine similarity; zero vectors are refused. */
#define VEXFS_METRIC_COSINE 2

/* Negated inner product, so that smaller is nearer as with the others. */
#define VEXFS_METRIC_IP 3

/*
 * Number of bits that differ: the metric of VEXFS_ELEMENT_BINARY, and of
 * nothing else.
 */
#define VEXFS_METRIC_HAMMING 4

/* All matching rows are compared. */
#define VEXFS_CHOICE_SCAN 1

/* The index is searched; there is no filter. */
#define VEXFS_CHOICE_INDEX 2

/* The index is searched for rows that match only. */
#define VEXFS_CHOICE_FILTERED 3

/*
 * The index is searched for more rows than wanted, and those that do not match
 * are thrown away.
 */
#define VEXFS_CHOICE_POST_FILTER 4

/* The rows that match the filter were known from an earlier search. */
#define VEXFS_PART_CACHED (1 << 0)

/* The time limit stopped it. */
#define VEXFS_PART_STOPPED (1 << 1)

/* Bytes of a struct vexfs_explain_part in the first version. */
#define VEXFS_EXPLAIN_PART_BYTES 128

/* There is no such number. */
#define VEXFS_NOT_COUNTED UINT64_MAX

/* Version of the form of filters. */
#define VEXFS_FILTER_VERSION 1

/* Most bytes of a filter; more is E2BIG. */
#define VEXFS_FILTER_MAX 65536

/* Most instructions of a filter; more is E2BIG. */
#define VEXFS_FILTER_INSTRUCTIONS_MAX 1024

/* Most groups inside each other, the outermost counted; more is E2BIG. */
#define VEXFS_FILTER_DEPTH_MAX 16

/* Bytes of the header of a filter. */
#define VEXFS_FILTER_HEADER 4

/* Bytes of an instruction before its name. */
#define VEXFS_FILTER_INSTRUCTION_HEADER 8

/* Group: all of them. */
#define VEXFS_FILTER_AND 1

/* Group: at least one of them. */
#define VEXFS_FILTER_OR 2

/* Group of one: not it. */
#define VEXFS_FILTER_NOT 3

/* The field has a value. */
#define VEXFS_FILTER_EXISTS 16

/* A value of the field is in a set. */
#define VEXFS_FILTER_IN 17

/* A value of the field is within bounds. */
#define VEXFS_FILTER_RANGE 18

/* A string of the field begins with another. */
#define VEXFS_FILTER_PREFIX 19

/* There is a lower bound. */
#define VEXFS_RANGE_LOWER (1 << 0)

/* The lower bound itself is outside. */
#define VEXFS_RANGE_LOWER_OPEN (1 << 1)

/* There is an upper bound. */
#define VEXFS_RANGE_UPPER (1 << 2)

/* The upper bound itself is outside. */
#define VEXFS_RANGE_UPPER_OPEN (1 << 3)

/* Exact scan: no index. */
#define VEXFS_INDEX_FLAT 1

/* Hierarchical graph. */
#define VEXFS_INDEX_HNSW 2

/* Inverted lists of a k-means clustering, with whole vectors. */
#define VEXFS_INDEX_IVF 3

/*
 * Product quantizer: every row's code is compared, the best with whole vectors
 * again.
 */
#define VEXFS_INDEX_PQ 4

/* Inverted lists of codes of a product quantizer. */
#define VEXFS_INDEX_IVF_PQ 5

/* Hash tables in which near rows share a bucket. */
#define VEXFS_INDEX_LSH 6

/* Graph on disk, with codes of a product quantizer in memory. */
#define VEXFS_INDEX_VAMANA 7

/* A graph is searched with whole vectors. */
#define VEXFS_CODES_NONE 0

/*
 * A graph is searched with a byte an element, the best rows compared with whole
 * vectors again.
 */
#define VEXFS_CODES_SQ8 1

/* As above with bfloat16 elements. */
#define VEXFS_CODES_BF16 2

/* As above with the signs of the elements, a bit each. */
#define VEXFS_CODES_BINARY 3

/*
 * Gives the collection this index from now on, and builds it for the rows there
 * are.
 */
#define VEXFS_BUILD_SET 1

/* Takes the index away: rows are scanned from now on. */
#define VEXFS_BUILD_DROP 2

/* Merges all rows into one segment without deleted rows, and indexes it. */
#define VEXFS_BUILD_OPTIMIZE 3

/*
 * Does what has become due: seals recent rows, merges small segments, indexes
 * what has no index.
 */
#define VEXFS_BUILD_MAINTAIN 4

/*
 * Return when the work is done. Without it, it would be done in the background:
 * EOPNOTSUPP in this version.
 */
#define VEXFS_BUILD_WAIT (1 << 0)

/* The type byte of every VexFS ioctl: 'V'. */
#define VEXFS_IOC_TYPE 'V'

/* Number of struct vexfs_create_collection. */
#define VEXFS_NR_CREATE_COLLECTION 1

/* Number of struct vexfs_insert_vectors. */
#define VEXFS_NR_INSERT_VECTORS 2

/* Number of struct vexfs_search_vectors. */
#define VEXFS_NR_SEARCH_VECTORS 3

/* Number of struct vexfs_get_stats. */
#define VEXFS_NR_GET_STATS 4

/* Number of struct vexfs_build_index. */
#define VEXFS_NR_BUILD_INDEX 18

/* Number of struct vexfs_get_vector_stats. */
#define VEXFS_NR_GET_VECTOR_STATS 20

/* Number of struct vexfs_get_vectors. */
#define VEXFS_NR_GET_VECTORS 32

/* Number of struct vexfs_delete_vectors. */
#define VEXFS_NR_DELETE_VECTORS 33

/* Number of struct vexfs_collection_info. */
#define VEXFS_NR_COLLECTION_INFO 35

/* Number of struct vexfs_drop_collection. */
#define VEXFS_NR_DROP_COLLECTION 36

/* Number of struct vexfs_explain. */
#define VEXFS_NR_EXPLAIN 37

/* Version of the form. */
#define VEXFS_PAYLOAD_VERSION 1

/* Most bytes of a payload; more is E2BIG. */
#define VEXFS_PAYLOAD_MAX 65536

/* Most fields of a payload. */
#define VEXFS_PAYLOAD_FIELDS_MAX 256

/* Longest keyword in bytes. */
#define VEXFS_KEYWORD_MAX 255

/* Bytes of the header of a payload. */
#define VEXFS_PAYLOAD_HEADER 4

/* Bytes of a field before its name. */
#define VEXFS_PAYLOAD_FIELD_HEADER 8

/* A string that is compared as a whole. */
#define VEXFS_FIELD_KEYWORD 1

/* A string of any length. */
#define VEXFS_FIELD_TEXT 2

/* A signed 64-bit integer. */
#define VEXFS_FIELD_I64 3

/* A binary64 number. */
#define VEXFS_FIELD_F64 4

/* A truth value. */
#define VEXFS_FIELD_BOOL 5

/* Or-ed with one of the types above: a list of them. */
#define VEXFS_FIELD_LIST 128

/* Most rows of one insert, get or delete; more is E2BIG. */
#define VEXFS_BATCH_ROWS_MAX 65536

/* Most bytes of vectors and payloads together of one insert; more is E2BIG. */
#define VEXFS_BATCH_BYTES_MAX (16 << 20)

/* The rows are on stable storage when the call returns. */
#define VEXFS_INSERT_SYNC (1 << 0)

/*
 * Replace rows whose id exists already (without it: EEXIST, and nothing is
 * inserted). Needs ids.
 */
#define VEXFS_INSERT_UPSERT (1 << 1)

/*
 * Scale every vector to unit length before it is stored; a zero vector is
 * EINVAL.
 */
#define VEXFS_INSERT_NORMALIZE (1 << 2)

/* The row exists. In a hit it is always set. */
#define VEXFS_ROW_FOUND (1 << 0)

/* The row has a payload. */
#define VEXFS_ROW_PAYLOAD (1 << 1)

/* The deletion is on stable storage when the call returns. */
#define VEXFS_DELETE_SYNC (1 << 0)

/* Most hits of one query; more is E2BIG. */
#define VEXFS_K_MAX 4096

/* Most queries of one search; more is E2BIG. */
#define VEXFS_QUERIES_MAX 1024

/* Most hits (queries * k) of one search; more is E2BIG. */
#define VEXFS_HITS_MAX 65536

/*
 * Scan every row instead of using an index. Without an index it changes
 * nothing.
 */
#define VEXFS_SEARCH_EXACT (1 << 0)

/* Return only rows at a distance of at most radius. */
#define VEXFS_SEARCH_RADIUS (1 << 1)

/* The query stopped before it had seen everything: rows may be missing. */
#define VEXFS_RESULT_STOPPED_EARLY (1 << 0)

/* Mounted read-only. */
#define VEXFS_STATE_READ_ONLY (1 << 0)

/*
 * A write of metadata failed; nothing can be changed until the filesystem is
 * mounted again.
 */
#define VEXFS_STATE_ABORTED (1 << 1)

/*
 * Makes a directory that is a collection.
 *
 * With a name, the directory is created (EEXIST if the name is taken). Without
 * one, the directory the fd is open on becomes a collection: it must be empty
 * (ENOTEMPTY), not one already (EEXIST), not the root (EINVAL).
 */
struct vexfs_create_collection {
	/* Size of this struct. */
	__u32 size;
	/* None yet: 0. */
	__u32 flags;
	/* Name in the base directory, or empty. */
	char name[VEXFS_NAME_MAX + 1];
	/* Dimensions, 1 to VEXFS_DIM_MAX. */
	__u32 dim;
	/* VEXFS_ELEMENT_*. */
	__u32 element;
	/* VEXFS_METRIC_*. */
	__u32 metric;
	/*
	 * VEXFS_INDEX_* with its default parameters, or 0 for VEXFS_INDEX_FLAT.
	 */
	__u32 index;
	/*
	 * Permission bits of a directory that is created; 0 means 0777. The
	 * umask applies.
	 */
	__u32 mode;
	/* Must be 0. */
	__u32 reserved;
	/* Out: inode number of the directory, which is the collection's id. */
	__u64 id;
};

/* Describes a collection. Everything after the name is output. */
struct vexfs_collection_info {
	/* Size of this struct. */
	__u32 size;
	/* None yet: 0. */
	__u32 flags;
	/* Name in the base directory, or empty. */
	char name[VEXFS_NAME_MAX + 1];
	/* Out: inode number of the directory, which is the collection's id. */
	__u64 id;
	/* Out: dimensions. */
	__u32 dim;
	/* Out: VEXFS_ELEMENT_*. */
	__u32 element;
	/* Out: VEXFS_METRIC_*. */
	__u32 metric;
	/* Out: VEXFS_INDEX_*. */
	__u32 index;
	/* Out: rows a search can return. */
	__u64 rows;
	/*
	 * Out: dead rows (deleted or replaced) that still take space on disk.
	 */
	__u64 dead_rows;
	/* Out: the id the next row without one will get. */
	__u64 next_id;
	/* Out: bytes on disk, live and dead. */
	__u64 disk_bytes;
	/* Out: bytes in memory now; 0 when nothing is loaded. */
	__u64 memory_bytes;
	/* Out: zero. */
	__u64 reserved[4];
};

/*
 * Removes a collection with all its rows, and its directory.
 *
 * The name may not be empty here. As with rmdir, files in the directory make it
 * fail with ENOTEMPTY; a directory that is no collection is left alone.
 */
struct vexfs_drop_collection {
	/* Size of this struct. */
	__u32 size;
	/* None yet: 0. */
	__u32 flags;
	/* Name in the base directory. */
	char name[VEXFS_NAME_MAX + 1];
};

/* Inserts a batch of rows: all of them or, on any error, none. */
struct vexfs_insert_vectors {
	/* Size of this struct. */
	__u32 size;
	/* VEXFS_INSERT_*. */
	__u32 flags;
	/* Name in the base directory, or empty. */
	char name[VEXFS_NAME_MAX + 1];
	/* Rows, 1 to VEXFS_BATCH_ROWS_MAX. */
	__u32 count;
	/* Dimensions of the vectors; must be the collection's. */
	__u32 dim;
	/* VEXFS_ELEMENT_*; must be the collection's. */
	__u32 element;
	/*
	 * Bytes from one vector to the next, a multiple of an element's and at
	 * least a vector's; 0 means a vector's. A vector has dim elements
	 * without gaps, of VEXFS_ELEMENT_BINARY (dim + 7) / 8 bytes.
	 */
	__u32 stride;
	/*
	 * User pointer to the first vector. No element may be NaN or infinite.
	 */
	__u64 vectors;
	/*
	 * User pointer to count ids (__u64), all different; 0 to have them
	 * assigned, in order, from first_id.
	 */
	__u64 ids;
	/*
	 * User pointer to count payload lengths (__u32); a length of 0 is a row
	 * without one. 0: no payloads.
	 */
	__u64 payload_lens;
	/* User pointer to the payloads, one after the other without gaps. */
	__u64 payloads;
	/* Bytes at payloads; must be the sum of the lengths. */
	__u64 payload_bytes;
	/* Out: id of the first row when ids were assigned, else 0. */
	__u64 first_id;
	/* Out: rows inserted: count. */
	__u32 inserted;
	/* Out: how many of them replaced a row. */
	__u32 replaced;
	/* Must be 0. */
	__u64 reserved;
};

/* One row of a GET_VECTORS answer. */
struct vexfs_row {
	/* The id that was asked for. */
	__u64 id;
	/* Inode number of the file the row is bound to, or 0. */
	__u64 inode;
	/* VEXFS_ROW_*. */
	__u32 flags;
	/* Length of its payload, also when no payload buffer was given. */
	__u32 payload_len;
	/* Where in the payload buffer its payload begins; 0 without one. */
	__u64 payload_offset;
};

/* Reads rows by id. Ids that do not exist are no error: their row says so. */
struct vexfs_get_vectors {
	/* Size of this struct. */
	__u32 size;
	/* None yet: 0. */
	__u32 flags;
	/* Name in the base directory, or empty. */
	char name[VEXFS_NAME_MAX + 1];
	/* Ids, 1 to VEXFS_BATCH_ROWS_MAX. */
	__u32 count;
	/*
	 * Dimensions the caller expects; must be the collection's, or 0 when
	 * vectors is 0.
	 */
	__u32 dim;
	/* User pointer to count ids (__u64). */
	__u64 ids;
	/*
	 * User pointer to count struct vexfs_row, filled in the order of the
	 * ids.
	 */
	__u64 rows;
	/*
	 * User pointer for the vectors, or 0: row i behind i vectors, zeros for
	 * a row that does not exist.
	 */
	__u64 vectors;
	/* Bytes at vectors; at least those of count vectors, else ERANGE. */
	__u64 vectors_bytes;
	/* User pointer for the payloads, or 0. */
	__u64 payloads;
	/* In: bytes at payloads. Out: bytes used; with ERANGE: bytes needed. */
	__u64 payloads_bytes;
	/* Out: rows found. */
	__u32 found;
	/* Must be 0. */
	__u32 reserved;
};

/*
 * Deletes rows by id, all in one step. Ids that do not exist are no error; they
 * are not counted.
 */
struct vexfs_delete_vectors {
	/* Size of this struct. */
	__u32 size;
	/* VEXFS_DELETE_*. */
	__u32 flags;
	/* Name in the base directory, or empty. */
	char name[VEXFS_NAME_MAX + 1];
	/* Ids, 1 to VEXFS_BATCH_ROWS_MAX. */
	__u32 count;
	/* Out: rows deleted. */
	__u32 deleted;
	/* User pointer to count ids (__u64); an id given twice counts once. */
	__u64 ids;
};

/* One row of a search answer. */
struct vexfs_hit {
	/* The row's id. */
	__u64 id;
	/* Inode number of the file the row is bound to, or 0. */
	__u64 inode;
	/*
	 * Distance from the query in the collection's metric; smaller is
	 * nearer.
	 */
	float distance;
	/* VEXFS_ROW_*. */
	__u32 flags;
	/* Where in the payload buffer its payload begins; 0 without one. */
	__u64 payload_offset;
	/* Length of its payload, also when no payload buffer was given. */
	__u32 payload_len;
	/* Zero. */
	__u32 reserved;
};

/* What one query of a search found. */
struct vexfs_query_result {
	/* Hits, 0 to k. */
	__u32 count;
	/* VEXFS_RESULT_*. */
	__u32 flags;
};

/*
 * Finds the k nearest rows of each query, nearest first, equal distances by
 * ascending id.
 *
 * Query i's hits are at hits[i * k] and on, results[i].count of them; what
 * follows up to the next query's is zeroed.
 */
struct vexfs_search_vectors {
	/* Size of this struct. */
	__u32 size;
	/* VEXFS_SEARCH_*. */
	__u32 flags;
	/* Name in the base directory, or empty. */
	char name[VEXFS_NAME_MAX + 1];
	/* Queries, 1 to VEXFS_QUERIES_MAX. */
	__u32 count;
	/* Dimensions of the queries; must be the collection's. */
	__u32 dim;
	/* VEXFS_ELEMENT_*; must be the collection's. */
	__u32 element;
	/*
	 * Bytes from one query to the next, a multiple of an element's and at
	 * least a query's; 0 means a query's.
	 */
	__u32 stride;
	/* User pointer to the first query. */
	__u64 queries;
	/* Most hits a query, 1 to VEXFS_K_MAX. */
	__u32 k;
	/* With VEXFS_SEARCH_RADIUS: the largest distance; not NaN. Else 0. */
	float radius;
	/* Search width of a graph index: 0 for its default. */
	__u32 ef;
	/*
	 * Lists to visit of an inverted index, buckets a table of LSH: 0 for
	 * its default.
	 */
	__u32 nprobe;
	/* Microseconds after which to stop early: 0 for no limit. */
	__u32 time_limit_us;
	/* Bytes at filter. */
	__u32 filter_bytes;
	/* User pointer to a filter program, or 0. */
	__u64 filter;
	/* User pointer to count struct vexfs_query_result. */
	__u64 results;
	/* User pointer to hits_max struct vexfs_hit. */
	__u64 hits;
	/*
	 * In: room at hits. With less than count * k: ERANGE, and this is set
	 * to count * k.
	 */
	__u64 hits_max;
	/*
	 * User pointer for the vectors of the hits, or 0: that of hits[i]
	 * behind i vectors.
	 */
	__u64 vectors;
	/*
	 * Bytes at vectors; at least those of count * k vectors, else ERANGE.
	 */
	__u64 vectors_bytes;
	/* User pointer for the payloads of the hits, or 0. */
	__u64 payloads;
	/* In: bytes at payloads. Out: bytes used; with ERANGE: bytes needed. */
	__u64 payloads_bytes;
	/* Out: rows compared with a query, over all queries. */
	__u64 scanned;
	/*
	 * Candidates of a search with codes that are compared by whole vectors,
	 * as a multiple of k: 0 for its default.
	 */
	__u32 rerank;
	/* Must be 0. */
	__u32 reserved;
};

/*
 * Which index, and its parameters. A parameter that is 0 has a default that
 * suits the rows; one that the index does not have is ignored.
 */
struct vexfs_index_params {
	/* VEXFS_INDEX_*. */
	__u32 kind;
	/* VEXFS_CODES_*: what HNSW is searched with. */
	__u32 codes;
	/*
	 * Neighbours of a row: of HNSW a level (twice as many on the lowest),
	 * of Vamana in all.
	 */
	__u32 m;
	/*
	 * Candidates looked at for a row's neighbours while building HNSW and
	 * Vamana.
	 */
	__u32 ef_construction;
	/* Lists of IVF and IVF-PQ. */
	__u32 nlist;
	/* Bytes of a code of PQ, IVF-PQ and Vamana. */
	__u32 pq_bytes;
	/* Bits of a part of such a code: 4 or 8. */
	__u32 pq_bits;
	/*
	 * How much longer a detour may be for Vamana to leave an edge out, in
	 * thousandths.
	 */
	__u32 alpha_permille;
	/* The recall that LSH sizes its tables for, in thousandths. */
	__u32 recall_permille;
	/*
	 * The share of rows whose vectors and edges Vamana reads from disk when
	 * it needs them, in percent.
	 */
	__u32 disk_percent;
	/*
	 * Start of the pseudo-random numbers: the same rows and seed give the
	 * same index.
	 */
	__u64 seed;
	/* Must be 0. */
	__u64 reserved[2];
};

/*
 * Builds, changes, drops and optimizes the index of a collection.
 *
 * Searches and changes go on meanwhile. A call that is interrupted leaves the
 * collection as it was after the last step that ended; calling again goes on
 * from there.
 */
struct vexfs_build_index {
	/* Size of this struct. */
	__u32 size;
	/* VEXFS_BUILD_WAIT. */
	__u32 flags;
	/* Name in the base directory, or empty. */
	char name[VEXFS_NAME_MAX + 1];
	/* VEXFS_BUILD_SET and so on. */
	__u32 action;
	/* Must be 0. */
	__u32 reserved;
	/* With VEXFS_BUILD_SET: what to build. Else zero. */
	struct vexfs_index_params params;
	/* Out: rows that an index covers. */
	__u64 indexed_rows;
	/* Out: segments. */
	__u64 segments;
};

/*
 * What a collection consists of. Everything after the name is output.
 *
 * While an index is built, build_done of build_total rows are.
 */
struct vexfs_get_vector_stats {
	/* Size of this struct. */
	__u32 size;
	/* None yet: 0. */
	__u32 flags;
	/* Name in the base directory, or empty. */
	char name[VEXFS_NAME_MAX + 1];
	/*
	 * Out: the index that the collection is to have, with its parameters.
	 */
	struct vexfs_index_params index;
	/* Out: rows a search can return. */
	__u64 rows;
	/* Out: dead rows (deleted or replaced) that still take space. */
	__u64 dead_rows;
	/* Out: rows, live and dead, that are in no segment yet. */
	__u64 tail_rows;
	/* Out: rows, live and dead, of segments that have the index. */
	__u64 indexed_rows;
	/* Out: segments. */
	__u64 segments;
	/* Out: bytes on disk of rows that are in no segment yet. */
	__u64 tail_bytes;
	/*
	 * Out: bytes on disk of segments: all of what follows, and their
	 * headers.
	 */
	__u64 segment_bytes;
	/* Out: of them, vectors. */
	__u64 vector_bytes;
	/* Out: of them, graphs, lists, hash tables and codes. */
	__u64 index_bytes;
	/* Out: of them, payloads. */
	__u64 payload_bytes;
	/* Out: of them, indexes of payload fields. */
	__u64 field_bytes;
	/* Out: bytes in memory now; 0 when nothing is loaded. */
	__u64 memory_bytes;
	/* Out: rows indexed by the build that is running. */
	__u64 build_done;
	/* Out: rows that it has to index; 0 when none is running. */
	__u64 build_total;
	/* Out: zero. */
	__u64 reserved[8];
};

/*
 * How one part of a collection was searched: a segment, or the rows that are in
 * none yet.
 */
struct vexfs_explain_part {
	/* Number of the segment; 0 for the rows that are in none yet. */
	__u64 segment;
	/* VEXFS_INDEX_* of the segment. */
	__u32 index;
	/* VEXFS_CHOICE_*. */
	__u32 choice;
	/* Rows, live and dead. */
	__u64 rows;
	/* Rows that a search can return. */
	__u64 live;
	/* Rows, live and dead, that were expected to match the filter, */
	__u64 expected;
	/* at least, */
	__u64 expected_min;
	/* and at most. */
	__u64 expected_max;
	/*
	 * Live rows that do match; VEXFS_NOT_COUNTED if they were not counted.
	 */
	__u64 matching;
	/*
	 * What comparing all matching rows was expected to cost, in compared
	 * rows.
	 */
	__u64 scan_cost;
	/*
	 * What using the index was expected to cost, in compared rows;
	 * VEXFS_NOT_COUNTED if there is none to use.
	 */
	__u64 index_cost;
	/* Payloads that the filter was evaluated for one by one. */
	__u64 evaluated;
	/* Rows whose vector was compared with the query. */
	__u64 distances;
	/* Rows whose code was compared with the query. */
	__u64 codes;
	/* Nodes, lists or buckets that were looked into. */
	__u64 hops;
	/* Reads of the device. */
	__u64 reads;
	/*
	 * Times that the index found too few rows and the matching ones were
	 * compared after all.
	 */
	__u32 fallbacks;
	/* VEXFS_PART_*. */
	__u32 flags;
};

/*
 * Searches for one query as SEARCH_VECTORS does, and says how it was done
 * instead of what was found.
 */
struct vexfs_explain {
	/* Size of this struct. */
	__u32 size;
	/* VEXFS_SEARCH_*. */
	__u32 flags;
	/* Name in the base directory, or empty. */
	char name[VEXFS_NAME_MAX + 1];
	/* Dimensions of the query; must be the collection's. */
	__u32 dim;
	/* VEXFS_ELEMENT_*; must be the collection's. */
	__u32 element;
	/* User pointer to the query. */
	__u64 query;
	/* Most hits, 1 to VEXFS_K_MAX. */
	__u32 k;
	/* With VEXFS_SEARCH_RADIUS: the largest distance; not NaN. Else 0. */
	float radius;
	/* As in struct vexfs_search_vectors. */
	__u32 ef;
	/* As in struct vexfs_search_vectors. */
	__u32 nprobe;
	/* As in struct vexfs_search_vectors. */
	__u32 rerank;
	/* As in struct vexfs_search_vectors. */
	__u32 time_limit_us;
	/* User pointer to a filter program, or 0. */
	__u64 filter;
	/* Bytes at filter. */
	__u32 filter_bytes;
	/* Out: hits. */
	__u32 hits;
	/*
	 * User pointer to parts_max struct vexfs_explain_part, segments first,
	 * part_bytes apart.
	 */
	__u64 parts;
	/* In: room at parts. Out: parts; if they did not fit, ERANGE. */
	__u64 parts_max;
	/* Out: nanoseconds the search took. */
	__u64 elapsed_ns;
	/*
	 * Bytes of a struct vexfs_explain_part as the caller knows it, a
	 * multiple of 8, so that it can grow: a shorter one has the first
	 * members, a longer one is followed by zeros. 0 means
	 * VEXFS_EXPLAIN_PART_BYTES; less than that: EINVAL, more than 4096:
	 * E2BIG.
	 */
	__u32 part_bytes;
	/* Must be 0. */
	__u32 reserved0;
	/* Must be 0. */
	__u64 reserved[3];
};

/*
 * Reads the filesystem's state and counters, on any fd of it. Everything after
 * flags is output.
 *
 * Counters count from the mount.
 */
struct vexfs_get_stats {
	/* Size of this struct. */
	__u32 size;
	/* None yet: 0. */
	__u32 flags;
	/* VEXFS_STATE_*. */
	__u32 state;
	/* Block size in bytes. */
	__u32 block_size;
	/* The filesystem's uuid. */
	__u8 uuid[16];
	/* The filesystem's label, NUL-terminated. */
	char label[64];
	/*
	 * The distance kernels in use ("avx2", "sse2", "scalar"),
	 * NUL-terminated.
	 */
	char simd[16];
	/* Blocks for data and metadata, used and free. */
	__u64 blocks;
	/* Blocks free. */
	__u64 free_blocks;
	/* Inodes in use. */
	__u64 inodes;
	/* The open transaction group. */
	__u64 txg;
	/* Transaction groups committed. */
	__u64 commits;
	/* Tree nodes in memory. */
	__u64 cached_nodes;
	/* Bytes of collections in memory. */
	__u64 vector_bytes;
	/* Collections in memory. */
	__u64 collections_loaded;
	/* Queries answered. */
	__u64 queries;
	/* Rows compared with a query. */
	__u64 rows_scanned;
	/* Rows inserted. */
	__u64 rows_inserted;
	/* Rows deleted. */
	__u64 rows_deleted;
	/* Zero. */
	__u64 reserved[8];
};

#define VEXFS_IOC_CREATE_COLLECTION \
	_IOWR(VEXFS_IOC_TYPE, VEXFS_NR_CREATE_COLLECTION, struct vexfs_create_collection)
#define VEXFS_IOC_INSERT_VECTORS \
	_IOWR(VEXFS_IOC_TYPE, VEXFS_NR_INSERT_VECTORS, struct vexfs_insert_vectors)
#define VEXFS_IOC_SEARCH_VECTORS \
	_IOWR(VEXFS_IOC_TYPE, VEXFS_NR_SEARCH_VECTORS, struct vexfs_search_vectors)
#define VEXFS_IOC_GET_STATS \
	_IOWR(VEXFS_IOC_TYPE, VEXFS_NR_GET_STATS, struct vexfs_get_stats)
#define VEXFS_IOC_BUILD_INDEX \
	_IOWR(VEXFS_IOC_TYPE, VEXFS_NR_BUILD_INDEX, struct vexfs_build_index)
#define VEXFS_IOC_GET_VECTOR_STATS \
	_IOWR(VEXFS_IOC_TYPE, VEXFS_NR_GET_VECTOR_STATS, struct vexfs_get_vector_stats)
#define VEXFS_IOC_GET_VECTORS \
	_IOWR(VEXFS_IOC_TYPE, VEXFS_NR_GET_VECTORS, struct vexfs_get_vectors)
#define VEXFS_IOC_DELETE_VECTORS \
	_IOWR(VEXFS_IOC_TYPE, VEXFS_NR_DELETE_VECTORS, struct vexfs_delete_vectors)
#define VEXFS_IOC_COLLECTION_INFO \
	_IOWR(VEXFS_IOC_TYPE, VEXFS_NR_COLLECTION_INFO, struct vexfs_collection_info)
#define VEXFS_IOC_DROP_COLLECTION \
	_IOWR(VEXFS_IOC_TYPE, VEXFS_NR_DROP_COLLECTION, struct vexfs_drop_collection)
#define VEXFS_IOC_EXPLAIN \
	_IOWR(VEXFS_IOC_TYPE, VEXFS_NR_EXPLAIN, struct vexfs_explain)

#endif  /* _UAPI_LINUX_VEXFS_H */
