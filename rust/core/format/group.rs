// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Groups: the table that describes them and the bitmaps that say which of their blocks are used.
//!
//! A bitmap is 4,096 raw bytes, bit `i` (the lowest bit of a byte first) set if block `i` of the group is used. It has
//! no room for a header, so what makes it self-describing is in its descriptor: a checksum seeded with the filesystem,
//! the block it was written to and the transaction group that wrote it.

use super::csum::crc_of;
use core::mem::offset_of;
use core::mem::size_of;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;
use zerocopy_derive::*;

/// First four bytes of each block of the group table: "VGrp".
pub const GROUP_MAGIC: u32 = u32::from_le_bytes(*b"VGrp");

/// [`DiskGroup::flags`]: the second slot of the bitmap is the current one.
pub const GROUP_SLOT: u32 = 1;
/// [`DiskGroup::flags`]: only the bitmap's slots are used and no bitmap has been written.
pub const GROUP_UNINIT: u32 = 2;
/// All flags of a group that this version knows.
pub const GROUP_FLAGS: u32 = GROUP_SLOT | GROUP_UNINIT;

/// The header of a block of the group table; descriptors follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct DiskGroupTable {
    /// [`GROUP_MAGIC`].
    pub magic: U32,
    /// CRC-32C of the block from byte 8 to its end.
    pub csum: U32,
    /// The block this was written to.
    pub block: U64,
    /// The filesystem it belongs to.
    pub uuid: [u8; 16],
    /// The transaction group that wrote it.
    pub birth: U64,
    /// Which block of the table this is, from 0.
    pub index: U32,
    /// Zero.
    pub reserved: [u8; 20],
}

/// The descriptor of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct DiskGroup {
    /// Blocks that are free.
    pub free_blocks: U32,
    /// [`GROUP_SLOT`], [`GROUP_UNINIT`].
    pub flags: U32,
    /// [`bitmap_csum`] of the current bitmap; 0 while it was never written.
    pub bitmap_csum: U32,
    /// Places that are free: aligned runs of as many blocks as a node has.
    pub free_places: U32,
    /// The transaction group that wrote the current bitmap; 0 while it was never written.
    pub bitmap_birth: U64,
    /// Zero.
    pub reserved: U64,
}

/// Bytes of the header of a block of the group table.
pub const GROUP_TABLE_HEADER: usize = size_of::<DiskGroupTable>();
/// Bytes of a descriptor.
pub const GROUP_BYTES: usize = size_of::<DiskGroup>();

const _: () = assert!(GROUP_TABLE_HEADER == 64);
const _: () = assert!(offset_of!(DiskGroupTable, csum) == 4);
const _: () = assert!(offset_of!(DiskGroupTable, block) == 8);
const _: () = assert!(offset_of!(DiskGroupTable, uuid) == 16);
const _: () = assert!(offset_of!(DiskGroupTable, birth) == 32);
const _: () = assert!(offset_of!(DiskGroupTable, index) == 40);
const _: () = assert!(GROUP_BYTES == 32);
const _: () = assert!(offset_of!(DiskGroup, flags) == 4);
const _: () = assert!(offset_of!(DiskGroup, bitmap_csum) == 8);
const _: () = assert!(offset_of!(DiskGroup, free_places) == 12);
const _: () = assert!(offset_of!(DiskGroup, bitmap_birth) == 16);

/// Descriptors in a block of the group table.
pub const fn groups_per_block(block_size: u32) -> u64 {
    match (block_size as u64)
        .saturating_sub(GROUP_TABLE_HEADER as u64)
        .checked_div(GROUP_BYTES as u64)
    {
        Some(n) => n,
        None => 0,
    }
}

/// The checksum of a bitmap written to `block` by transaction group `birth`.
pub fn bitmap_csum(uuid: &[u8; 16], block: u64, birth: u64, bitmap: &[u8]) -> u32 {
    crc_of(uuid, [block, birth], bitmap)
}
