// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The on-disk format: every structure VexFS reads from or writes to a device.
//!
//! `docs/format.md` is the same in prose and pictures. All numbers are little-endian and all structures are
//! byte-aligned without padding, so that a structure is simply a view of the bytes it was read from; sizes and offsets
//! are asserted at compile time. Nothing read from a device is trusted before it has passed the checks in this module:
//! parsing never panics, never indexes by an unchecked value and never adds one unchecked.

#![cfg_attr(not(test), deny(clippy::indexing_slicing))]
#![cfg_attr(not(test), deny(clippy::unwrap_used))]
#![cfg_attr(not(test), deny(clippy::expect_used))]
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod csum;
pub mod geometry;
pub mod group;
pub mod items;
pub mod key;
pub mod log;
pub mod node;
pub mod superblock;

pub use geometry::Geometry;
pub use group::DiskGroup;
pub use group::DiskGroupTable;
pub use items::DiskDirent;
pub use items::DiskExtent;
pub use items::DiskInode;
pub use items::DiskXattr;
pub use items::FIRST_INO;
pub use items::INLINE_MAX;
pub use items::NAME_MAX;
pub use items::ROOT_INO;
pub use key::Key;
pub use key::Kind;
pub use node::DiskEntry;
pub use node::DiskItem;
pub use node::DiskNode;
pub use superblock::DiskSuperblock;

/// The number of an object: an inode number, or 0 for the filesystem itself.
pub type Ino = u64;
/// The number of a filesystem block; block `n` starts at byte `n * block_size` of the device.
pub type BlockNo = u64;
/// The number of a transaction group. The first one mkfs writes is 1.
pub type Txg = u64;

/// Smallest and default block size in bytes.
pub const MIN_BLOCK_SIZE: u32 = 4096;
/// Largest block size in bytes.
pub const MAX_BLOCK_SIZE: u32 = 65536;
/// Smallest node size in bytes; a node is this or one block, whichever is larger.
pub const MIN_NODE_SIZE: u32 = 16384;

/// Blocks in a group, at every block size.
pub const GROUP_BLOCKS: u64 = 32_768;
/// Bytes of a group's free-space bitmap: one bit a block.
pub const BITMAP_BYTES: usize = 4096;
/// Blocks at the start of each group that hold the two slots of its bitmap.
pub const GROUP_HEAD_BLOCKS: u64 = 2;

/// Bytes of a superblock slot, at every block size.
pub const SUPERBLOCK_BYTES: usize = 4096;
/// Byte offsets of the two superblock slots.
pub const SUPERBLOCK_OFFSETS: [u64; 2] = [4096, 8192];

/// Largest value of one tree item in bytes: a leaf holds at least four of the largest.
pub const ITEM_MAX: usize = 3800;
/// Levels a tree can have, leaves included.
pub const MAX_LEVELS: u8 = 8;

/// The inode number of the virtual control file, which is not stored.
pub const CONTROL_INO: Ino = 3;
