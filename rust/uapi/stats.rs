// SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note
//! Counters of a mounted filesystem.

use crate::derive::FromBytes;
use crate::derive::Immutable;
use crate::derive::IntoBytes;
use crate::derive::KnownLayout;
use crate::layout::layout;
use crate::Char;

/// Mounted read-only.
pub const VEXFS_STATE_READ_ONLY: u32 = 1 << 0;
/// A write of metadata failed; nothing can be changed until the filesystem is mounted again.
pub const VEXFS_STATE_ABORTED: u32 = 1 << 1;

/// Reads the filesystem's state and counters, on any fd of it. Everything after `flags` is output.
///
/// Counters count from the mount.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct GetStats {
    /// Size of this struct.
    pub size: u32,
    /// None yet: 0.
    pub flags: u32,
    /// VEXFS_STATE_*.
    pub state: u32,
    /// Block size in bytes.
    pub block_size: u32,
    /// The filesystem's uuid.
    pub uuid: [u8; 16],
    /// The filesystem's label, NUL-terminated.
    pub label: [Char; 64],
    /// The distance kernels in use ("avx2", "sse2", "scalar"), NUL-terminated.
    pub simd: [Char; 16],
    /// Blocks for data and metadata, used and free.
    pub blocks: u64,
    /// Blocks free.
    pub free_blocks: u64,
    /// Inodes in use.
    pub inodes: u64,
    /// The open transaction group.
    pub txg: u64,
    /// Transaction groups committed.
    pub commits: u64,
    /// Tree nodes in memory.
    pub cached_nodes: u64,
    /// Bytes of collections in memory.
    pub vector_bytes: u64,
    /// Collections in memory.
    pub collections_loaded: u64,
    /// Queries answered.
    pub queries: u64,
    /// Rows compared with a query.
    pub rows_scanned: u64,
    /// Rows inserted.
    pub rows_inserted: u64,
    /// Rows deleted.
    pub rows_deleted: u64,
    /// Zero.
    pub reserved: [u64; 8],
}

layout!(GetStats, "vexfs_get_stats", 272, {
    size: 0, flags: 4, state: 8, block_size: 12, uuid: 16, label: 32, simd: 96, blocks: 112, free_blocks: 120,
    inodes: 128, txg: 136, commits: 144, cached_nodes: 152, vector_bytes: 160, collections_loaded: 168, queries: 176,
    rows_scanned: 184, rows_inserted: 192, rows_deleted: 200, reserved: 208,
});
