// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! When what is due.

/// The sizes at which collections move rows on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tuning {
    /// Rows of a tail from which on maintenance seals it.
    pub seal_rows: usize,
    /// Bytes of a tail from which on maintenance seals it.
    pub seal_bytes: u64,
    /// Rows of a tail from which on an insert seals it first.
    pub tail_rows_max: usize,
    /// Bytes of a tail from which on an insert seals it first.
    pub tail_bytes_max: u64,
    /// Segments of about the same size that are merged into one.
    pub fan: usize,
    /// Smaller segments get no index by maintenance: scanning them is as fast.
    pub index_rows_min: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            seal_rows: 32 * 1024,
            seal_bytes: 32 << 20,
            tail_rows_max: 128 * 1024,
            tail_bytes_max: 128 << 20,
            fan: 4,
            index_rows_min: 2048,
        }
    }
}
