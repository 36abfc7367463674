// SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note
//! How a search is answered.

use crate::derive::FromBytes;
use crate::derive::Immutable;
use crate::derive::IntoBytes;
use crate::derive::KnownLayout;
use crate::layout::layout;
use crate::Name;
use crate::F32;

/// All matching rows are compared.
pub const VEXFS_CHOICE_SCAN: u32 = 1;
/// The index is searched; there is no filter.
pub const VEXFS_CHOICE_INDEX: u32 = 2;
/// The index is searched for rows that match only.
pub const VEXFS_CHOICE_FILTERED: u32 = 3;
/// The index is searched for more rows than wanted, and those that do not match are thrown away.
pub const VEXFS_CHOICE_POST_FILTER: u32 = 4;

/// The rows that match the filter were known from an earlier search.
pub const VEXFS_PART_CACHED: u32 = 1 << 0;
/// The time limit stopped it.
pub const VEXFS_PART_STOPPED: u32 = 1 << 1;

/// There is no such number.
pub const VEXFS_NOT_COUNTED: u64 = u64::MAX;

/// How one part of a collection was searched: a segment, or the rows that are in none yet.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ExplainPart {
    /// Number of the segment; 0 for the rows that are in none yet.
    pub segment: u64,
    /// VEXFS_INDEX_* of the segment.
    pub index: u32,
    /// VEXFS_CHOICE_*.
    pub choice: u32,
    /// Rows, live and dead.
    pub rows: u64,
    /// Rows that a search can return.
    pub live: u64,
    /// Rows, live and dead, that were expected to match the filter,
    pub expected: u64,
    /// at least,
    pub expected_min: u64,
    /// and at most.
    pub expected_max: u64,
    /// Live rows that do match; VEXFS_NOT_COUNTED if they were not counted.
    pub matching: u64,
    /// What comparing all matching rows was expected to cost, in compared rows.
    pub scan_cost: u64,
    /// What using the index was expected to cost, in compared rows; VEXFS_NOT_COUNTED if there is none to use.
    pub index_cost: u64,
    /// Payloads that the filter was evaluated for one by one.
    pub evaluated: u64,
    /// Rows whose vector was compared with the query.
    pub distances: u64,
    /// Rows whose code was compared with the query.
    pub codes: u64,
    /// Nodes, lists or buckets that were looked into.
    pub hops: u64,
    /// Reads of the device.
    pub reads: u64,
    /// Times that the index found too few rows and the matching ones were compared after all.
    pub fallbacks: u32,
    /// VEXFS_PART_*.
    pub flags: u32,
}

layout!(ExplainPart, "vexfs_explain_part", 128, {
    segment: 0, index: 8, choice: 12, rows: 16, live: 24, expected: 32, expected_min: 40, expected_max: 48,
    matching: 56, scan_cost: 64, index_cost: 72, evaluated: 80, distances: 88, codes: 96, hops: 104, reads: 112,
    fallbacks: 120, flags: 124,
});

/// Searches for one query as SEARCH_VECTORS does, and says how it was done instead of what was found.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Explain {
    /// Size of this struct.
    pub size: u32,
    /// VEXFS_SEARCH_*.
    pub flags: u32,
    /// Name in the base directory, or empty.
    pub name: Name,
    /// Dimensions of the query; must be the collection's.
    pub dim: u32,
    /// VEXFS_ELEMENT_*; must be the collection's.
    pub element: u32,
    /// User pointer to the query.
    pub query: u64,
    /// Most hits, 1 to VEXFS_K_MAX.
    pub k: u32,
    /// With VEXFS_SEARCH_RADIUS: the largest distance; not NaN. Else 0.
    pub radius: F32,
    /// As in struct vexfs_search_vectors.
    pub ef: u32,
    /// As in struct vexfs_search_vectors.
    pub nprobe: u32,
    /// As in struct vexfs_search_vectors.
    pub rerank: u32,
    /// As in struct vexfs_search_vectors.
    pub time_limit_us: u32,
    /// User pointer to a filter program, or 0.
    pub filter: u64,
    /// Bytes at `filter`.
    pub filter_bytes: u32,
    /// Out: hits.
    pub hits: u32,
    /// User pointer to `parts_max` struct vexfs_explain_part, segments first.
    pub parts: u64,
    /// In: room at `parts`. Out: parts; if they did not fit, `ERANGE`.
    pub parts_max: u64,
    /// Out: nanoseconds the search took.
    pub elapsed_ns: u64,
    /// Must be 0.
    pub reserved: [u64; 4],
}

layout!(Explain, "vexfs_explain", 376, {
    size: 0, flags: 4, name: 8, dim: 264, element: 268, query: 272, k: 280, radius: 284, ef: 288, nprobe: 292,
    rerank: 296, time_limit_us: 300, filter: 304, filter_bytes: 312, hits: 316, parts: 320, parts_max: 328,
    elapsed_ns: 336, reserved: 344,
});
