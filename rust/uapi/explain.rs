// SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note
//! How a search is answered.

use crate::code::codes;
use crate::derive::FromBytes;
use crate::derive::Immutable;
use crate::derive::IntoBytes;
use crate::derive::KnownLayout;
use crate::layout::layout;
use crate::IndexKind;
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

codes! {
    /// How a part of a collection is searched.
    #[derive(Default)]
    pub enum Choice: "way to search" {
        /// All matching rows are compared.
        #[default]
        Scan = VEXFS_CHOICE_SCAN, "scan";
        /// The index is searched; there is no filter.
        Index = VEXFS_CHOICE_INDEX, "index";
        /// The index is searched for rows that match only.
        Filtered = VEXFS_CHOICE_FILTERED, "filtered";
        /// The index is searched for more rows than wanted, and those that do not match are thrown away.
        PostFilter = VEXFS_CHOICE_POST_FILTER, "post-filter";
    }
}

/// The rows that match the filter were known from an earlier search.
pub const VEXFS_PART_CACHED: u32 = 1 << 0;
/// The time limit stopped it.
pub const VEXFS_PART_STOPPED: u32 = 1 << 1;

/// Bytes of a struct vexfs_explain_part in the first version.
pub const VEXFS_EXPLAIN_PART_BYTES: u32 = 128;

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

/// A counter of what was done in a part of a collection.
#[derive(Clone, Copy, Debug)]
pub struct ExplainCounter {
    /// Its member of [`ExplainPart`].
    pub name: &'static str,
    /// Reads it.
    pub get: fn(&ExplainPart) -> u64,
}

/// Declares the counter that is a member.
macro_rules! counters {
    ($($member:ident,)*) => {
        &[$(ExplainCounter { name: stringify!($member), get: |part| u64::from(part.$member) },)*]
    };
}

/// Every counter, in the order in which users see them.
pub const EXPLAIN_COUNTERS: &[ExplainCounter] = counters!(distances, codes, hops, reads, evaluated, fallbacks,);

impl ExplainPart {
    /// The index of the segment; `None` for one of a newer version.
    pub fn index(&self) -> Option<IndexKind> {
        IndexKind::from_code(self.index)
    }

    /// How it was searched; `None` for a way of a newer version.
    pub fn choice(&self) -> Option<Choice> {
        Choice::from_code(self.choice)
    }

    /// Live rows that match, if they were counted.
    pub fn matching(&self) -> Option<u64> {
        (self.matching != VEXFS_NOT_COUNTED).then_some(self.matching)
    }

    /// What using the index was expected to cost, if there is one that could be used.
    pub fn index_cost(&self) -> Option<u64> {
        (self.index_cost != VEXFS_NOT_COUNTED).then_some(self.index_cost)
    }

    /// Whether the rows that match were known from an earlier search.
    pub fn is_cached(&self) -> bool {
        self.flags & VEXFS_PART_CACHED != 0
    }

    /// Whether the time limit stopped it.
    pub fn is_stopped(&self) -> bool {
        self.flags & VEXFS_PART_STOPPED != 0
    }
}

/// As an object; what was not counted is null.
#[cfg(feature = "serde")]
impl serde::Serialize for ExplainPart {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("segment", &self.segment)?;
        map.serialize_entry("index", &self.index())?;
        map.serialize_entry("choice", &self.choice())?;
        map.serialize_entry("rows", &self.rows)?;
        map.serialize_entry("live", &self.live)?;
        map.serialize_entry("expected", &self.expected)?;
        map.serialize_entry("expected_min", &self.expected_min)?;
        map.serialize_entry("expected_max", &self.expected_max)?;
        map.serialize_entry("matching", &self.matching())?;
        map.serialize_entry("scan_cost", &self.scan_cost)?;
        map.serialize_entry("index_cost", &self.index_cost())?;
        map.serialize_entry("cached", &self.is_cached())?;
        map.serialize_entry("stopped", &self.is_stopped())?;
        for counter in EXPLAIN_COUNTERS {
            map.serialize_entry(counter.name, &(counter.get)(self))?;
        }
        map.end()
    }
}

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
    /// User pointer to `parts_max` struct vexfs_explain_part, segments first, `part_bytes` apart.
    pub parts: u64,
    /// In: room at `parts`. Out: parts; if they did not fit, `ERANGE`.
    pub parts_max: u64,
    /// Out: nanoseconds the search took.
    pub elapsed_ns: u64,
    /// Bytes of a struct vexfs_explain_part as the caller knows it, a multiple of 8, so that it can grow: a shorter one
    /// has the first members, a longer one is followed by zeros. 0 means VEXFS_EXPLAIN_PART_BYTES; less than that:
    /// `EINVAL`, more than 4096: `E2BIG`.
    pub part_bytes: u32,
    /// Must be 0.
    pub reserved0: u32,
    /// Must be 0.
    pub reserved: [u64; 3],
}

layout!(Explain, "vexfs_explain", 376, {
    size: 0, flags: 4, name: 8, dim: 264, element: 268, query: 272, k: 280, radius: 284, ef: 288, nprobe: 292,
    rerank: 296, time_limit_us: 300, filter: 304, filter_bytes: 312, hits: 316, parts: 320, parts_max: 328,
    elapsed_ns: 336, part_bytes: 344, reserved0: 348, reserved: 352,
});
