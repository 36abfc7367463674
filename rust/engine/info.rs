// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What there is to know about a collection.

use crate::index::IndexParams;
use crate::params::Params;

/// What there is to know about a collection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CollectionStats {
    /// Its parameters.
    pub params: Params,
    /// The index that its segments are to have.
    pub index: IndexParams,
    /// Rows that a search can return.
    pub rows: u64,
    /// Rows that were deleted or replaced and still take space.
    pub dead_rows: u64,
    /// The id that the next row without one gets.
    pub next_id: u64,
    /// Rows, live and dead, that are in no segment yet.
    pub tail_rows: u64,
    /// Rows, live and dead, of segments that have the index.
    pub indexed_rows: u64,
    /// Segments.
    pub segments: u64,
    /// Bytes on disk of rows that are in no segment yet.
    pub tail_bytes: u64,
    /// Bytes on disk of the segments: all of what follows, and their headers and ids.
    pub segment_bytes: u64,
    /// Of them, vectors.
    pub vector_bytes: u64,
    /// Of them, indexes.
    pub index_bytes: u64,
    /// Of them, payloads.
    pub payload_bytes: u64,
    /// Of them, indexes of payload fields.
    pub field_bytes: u64,
    /// Bytes on disk in all.
    pub disk_bytes: u64,
    /// Bytes in memory.
    pub memory_bytes: u64,
    /// What the build that is running has done.
    pub build_done: u64,
    /// All that it has to do; 0 when none is running.
    pub build_total: u64,
}
