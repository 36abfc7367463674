// SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note
//! Inserting, reading and deleting rows by id.

use crate::derive::FromBytes;
use crate::derive::Immutable;
use crate::derive::IntoBytes;
use crate::derive::KnownLayout;
use crate::layout::layout;
use crate::Name;

/// Most rows of one insert, get or delete; more is `E2BIG`.
pub const VEXFS_BATCH_ROWS_MAX: u32 = 65_536;
/// Most bytes of vectors and payloads together of one insert; more is `E2BIG`.
pub const VEXFS_BATCH_BYTES_MAX: u32 = 16 << 20;

/// The rows are on stable storage when the call returns.
pub const VEXFS_INSERT_SYNC: u32 = 1 << 0;
/// Replace rows whose id exists already (without it: `EEXIST`, and nothing is inserted). Needs ids.
pub const VEXFS_INSERT_UPSERT: u32 = 1 << 1;
/// Scale every vector to unit length before it is stored; a zero vector is `EINVAL`.
pub const VEXFS_INSERT_NORMALIZE: u32 = 1 << 2;

/// Inserts a batch of rows: all of them or, on any error, none.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct InsertVectors {
    /// Size of this struct.
    pub size: u32,
    /// VEXFS_INSERT_*.
    pub flags: u32,
    /// Name in the base directory, or empty.
    pub name: Name,
    /// Rows, 1 to VEXFS_BATCH_ROWS_MAX.
    pub count: u32,
    /// Dimensions of the vectors; must be the collection's.
    pub dim: u32,
    /// VEXFS_ELEMENT_*; must be the collection's.
    pub element: u32,
    /// Bytes from one vector to the next, a multiple of an element's and at least a vector's; 0 means a vector's.
    /// A vector has dim elements without gaps, of VEXFS_ELEMENT_BINARY (dim + 7) / 8 bytes.
    pub stride: u32,
    /// User pointer to the first vector. No element may be NaN or infinite.
    pub vectors: u64,
    /// User pointer to `count` ids (__u64), all different; 0 to have them assigned, in order, from `first_id`.
    pub ids: u64,
    /// User pointer to `count` payload lengths (__u32); a length of 0 is a row without one. 0: no payloads.
    pub payload_lens: u64,
    /// User pointer to the payloads, one after the other without gaps.
    pub payloads: u64,
    /// Bytes at `payloads`; must be the sum of the lengths.
    pub payload_bytes: u64,
    /// Out: id of the first row when ids were assigned, else 0.
    pub first_id: u64,
    /// Out: rows inserted: `count`.
    pub inserted: u32,
    /// Out: how many of them replaced a row.
    pub replaced: u32,
    /// Must be 0.
    pub reserved: u64,
}

layout!(InsertVectors, "vexfs_insert_vectors", 344, {
    size: 0, flags: 4, name: 8, count: 264, dim: 268, element: 272, stride: 276, vectors: 280, ids: 288,
    payload_lens: 296, payloads: 304, payload_bytes: 312, first_id: 320, inserted: 328, replaced: 332, reserved: 336,
});

/// The row exists. In a hit it is always set.
pub const VEXFS_ROW_FOUND: u32 = 1 << 0;
/// The row has a payload.
pub const VEXFS_ROW_PAYLOAD: u32 = 1 << 1;

/// One row of a GET_VECTORS answer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Row {
    /// The id that was asked for.
    pub id: u64,
    /// Inode number of the file the row is bound to, or 0.
    pub inode: u64,
    /// VEXFS_ROW_*.
    pub flags: u32,
    /// Length of its payload, also when no payload buffer was given.
    pub payload_len: u32,
    /// Where in the payload buffer its payload begins; 0 without one.
    pub payload_offset: u64,
}

layout!(Row, "vexfs_row", 32, { id: 0, inode: 8, flags: 16, payload_len: 20, payload_offset: 24, });

/// Reads rows by id. Ids that do not exist are no error: their row says so.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct GetVectors {
    /// Size of this struct.
    pub size: u32,
    /// None yet: 0.
    pub flags: u32,
    /// Name in the base directory, or empty.
    pub name: Name,
    /// Ids, 1 to VEXFS_BATCH_ROWS_MAX.
    pub count: u32,
    /// Dimensions the caller expects; must be the collection's, or 0 when `vectors` is 0.
    pub dim: u32,
    /// User pointer to `count` ids (__u64).
    pub ids: u64,
    /// User pointer to `count` struct vexfs_row, filled in the order of the ids.
    pub rows: u64,
    /// User pointer for the vectors, or 0: row i behind i vectors, zeros for a row that does not exist.
    pub vectors: u64,
    /// Bytes at `vectors`; at least those of count vectors, else `ERANGE`.
    pub vectors_bytes: u64,
    /// User pointer for the payloads, or 0.
    pub payloads: u64,
    /// In: bytes at `payloads`. Out: bytes used; with `ERANGE`: bytes needed.
    pub payloads_bytes: u64,
    /// Out: rows found.
    pub found: u32,
    /// Must be 0.
    pub reserved: u32,
}

layout!(GetVectors, "vexfs_get_vectors", 328, {
    size: 0, flags: 4, name: 8, count: 264, dim: 268, ids: 272, rows: 280, vectors: 288, vectors_bytes: 296,
    payloads: 304, payloads_bytes: 312, found: 320, reserved: 324,
});

/// The deletion is on stable storage when the call returns.
pub const VEXFS_DELETE_SYNC: u32 = 1 << 0;

/// Deletes rows by id, all in one step. Ids that do not exist are no error; they are not counted.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct DeleteVectors {
    /// Size of this struct.
    pub size: u32,
    /// VEXFS_DELETE_*.
    pub flags: u32,
    /// Name in the base directory, or empty.
    pub name: Name,
    /// Ids, 1 to VEXFS_BATCH_ROWS_MAX.
    pub count: u32,
    /// Out: rows deleted.
    pub deleted: u32,
    /// User pointer to `count` ids (__u64); an id given twice counts once.
    pub ids: u64,
}

layout!(DeleteVectors, "vexfs_delete_vectors", 280, {
    size: 0, flags: 4, name: 8, count: 264, deleted: 268, ids: 272,
});
