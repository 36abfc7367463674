// SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note
//! Searching.

use crate::derive::FromBytes;
use crate::derive::Immutable;
use crate::derive::IntoBytes;
use crate::derive::KnownLayout;
use crate::layout::layout;
use crate::Name;
use crate::F32;

/// Most hits of one query; more is `E2BIG`.
pub const VEXFS_K_MAX: u32 = 4096;
/// Most queries of one search; more is `E2BIG`.
pub const VEXFS_QUERIES_MAX: u32 = 1024;
/// Most hits (queries * k) of one search; more is `E2BIG`.
pub const VEXFS_HITS_MAX: u32 = 65_536;

/// Scan every row instead of using an index. Without an index it changes nothing.
pub const VEXFS_SEARCH_EXACT: u32 = 1 << 0;
/// Return only rows at a distance of at most `radius`.
pub const VEXFS_SEARCH_RADIUS: u32 = 1 << 1;

/// The query stopped before it had seen everything: rows may be missing.
pub const VEXFS_RESULT_STOPPED_EARLY: u32 = 1 << 0;

/// One row of a search answer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Hit {
    /// The row's id.
    pub id: u64,
    /// Inode number of the file the row is bound to, or 0.
    pub inode: u64,
    /// Distance from the query in the collection's metric; smaller is nearer.
    pub distance: F32,
    /// VEXFS_ROW_*.
    pub flags: u32,
    /// Where in the payload buffer its payload begins; 0 without one.
    pub payload_offset: u64,
    /// Length of its payload, also when no payload buffer was given.
    pub payload_len: u32,
    /// Zero.
    pub reserved: u32,
}

layout!(Hit, "vexfs_hit", 40, {
    id: 0, inode: 8, distance: 16, flags: 20, payload_offset: 24, payload_len: 32, reserved: 36,
});

/// What one query of a search found.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct QueryResult {
    /// Hits, 0 to k.
    pub count: u32,
    /// VEXFS_RESULT_*.
    pub flags: u32,
}

layout!(QueryResult, "vexfs_query_result", 8, { count: 0, flags: 4, });

/// Finds the k nearest rows of each query, nearest first, equal distances by ascending id.
///
/// Query i's hits are at `hits[i * k]` and on, `results[i].count` of them; what follows up to the next query's
/// is zeroed.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SearchVectors {
    /// Size of this struct.
    pub size: u32,
    /// VEXFS_SEARCH_*.
    pub flags: u32,
    /// Name in the base directory, or empty.
    pub name: Name,
    /// Queries, 1 to VEXFS_QUERIES_MAX.
    pub count: u32,
    /// Dimensions of the queries; must be the collection's.
    pub dim: u32,
    /// VEXFS_ELEMENT_*; must be the collection's.
    pub element: u32,
    /// Bytes from one query to the next, a multiple of an element's and at least a query's; 0 means a query's.
    pub stride: u32,
    /// User pointer to the first query.
    pub queries: u64,
    /// Most hits a query, 1 to VEXFS_K_MAX.
    pub k: u32,
    /// With VEXFS_SEARCH_RADIUS: the largest distance; not NaN. Else 0.
    pub radius: F32,
    /// Search width of a graph index: 0 for its default.
    pub ef: u32,
    /// Lists to visit of an inverted index, buckets a table of LSH: 0 for its default.
    pub nprobe: u32,
    /// Microseconds after which to stop early: 0 for no limit.
    pub time_limit_us: u32,
    /// Bytes at `filter`.
    pub filter_bytes: u32,
    /// User pointer to a filter program, or 0.
    pub filter: u64,
    /// User pointer to `count` struct vexfs_query_result.
    pub results: u64,
    /// User pointer to `hits_max` struct vexfs_hit.
    pub hits: u64,
    /// In: room at `hits`. With less than count * k: `ERANGE`, and this is set to count * k.
    pub hits_max: u64,
    /// User pointer for the vectors of the hits, or 0: that of hits[i] behind i vectors.
    pub vectors: u64,
    /// Bytes at `vectors`; at least those of count * k vectors, else `ERANGE`.
    pub vectors_bytes: u64,
    /// User pointer for the payloads of the hits, or 0.
    pub payloads: u64,
    /// In: bytes at `payloads`. Out: bytes used; with `ERANGE`: bytes needed.
    pub payloads_bytes: u64,
    /// Out: rows compared with a query, over all queries.
    pub scanned: u64,
    /// Candidates of a search with codes that are compared by whole vectors, as a multiple of k: 0 for its default.
    pub rerank: u32,
    /// Must be 0.
    pub reserved: u32,
}

layout!(SearchVectors, "vexfs_search_vectors", 392, {
    size: 0, flags: 4, name: 8, count: 264, dim: 268, element: 272, stride: 276, queries: 280, k: 288, radius: 292,
    ef: 296, nprobe: 300, time_limit_us: 304, filter_bytes: 308, filter: 312, results: 320, hits: 328, hits_max: 336,
    vectors: 344, vectors_bytes: 352, payloads: 360, payloads_bytes: 368, scanned: 376, rerank: 384, reserved: 388,
});
