// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What one call may ask for.
//!
//! They bound the memory and the time of a call, not what a collection may hold. The ABI's numbers are used everywhere,
//! so that a batch that works on an image works on a mount.

use vexfs_uapi as uapi;

/// Most dimensions of a vector.
pub const DIM_MAX: usize = uapi::VEXFS_DIM_MAX as usize;
/// Most hits of one query.
pub const K_MAX: usize = uapi::VEXFS_K_MAX as usize;
/// Most queries of one search.
pub const QUERIES_MAX: usize = uapi::VEXFS_QUERIES_MAX as usize;
/// Most hits (queries times k) of one search.
pub const HITS_MAX: usize = uapi::VEXFS_HITS_MAX as usize;
/// Most rows of one insert, get or delete.
pub const BATCH_ROWS_MAX: usize = uapi::VEXFS_BATCH_ROWS_MAX as usize;
/// Most bytes of vectors and payloads together of one insert.
pub const BATCH_BYTES_MAX: usize = uapi::VEXFS_BATCH_BYTES_MAX as usize;
/// Most rows of a collection in memory, live and dead: a row number is a `u32`.
pub const ROWS_MAX: usize = u32::MAX as usize;
