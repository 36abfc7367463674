// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! A node of the tree as it lies on disk.
//!
//! ```text
//! leaf       | DiskNode 64 | DiskItem 24 ... -> |  free  | <- ... item data |
//! internal   | DiskNode 64 | DiskEntry 48 ... -> |  free                    |
//! ```

use super::key::Key;
use super::key::Kind;
use core::mem::offset_of;
use core::mem::size_of;
use zerocopy::little_endian::U16;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;
use zerocopy_derive::*;

/// First four bytes of each node: "VNod".
pub const NODE_MAGIC: u32 = u32::from_le_bytes(*b"VNod");

/// The header of a node.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct DiskNode {
    /// [`NODE_MAGIC`].
    pub magic: U32,
    /// CRC-32C of the node from byte 8 to its end. The pointer to the node carries the same value.
    pub csum: U32,
    /// The block this node was written to.
    pub block: U64,
    /// The filesystem this node belongs to.
    pub uuid: [u8; 16],
    /// The transaction group that wrote this node.
    pub birth: U64,
    /// 0 for a leaf; one more than that of the children otherwise.
    pub level: u8,
    /// Zero.
    pub flags: u8,
    /// Items (leaf) or entries (internal).
    pub nr: U16,
    /// Leaf: where item data starts, the node size if there is none. Internal: the node size.
    pub data_start: U32,
    /// Zero.
    pub reserved: [u8; 16],
}

/// The header of an item in a leaf.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct DiskItem {
    /// [`Key::obj`].
    pub obj: U64,
    /// [`Key::offset`].
    pub offset: U64,
    /// [`Key::kind`].
    pub kind: u8,
    /// Zero.
    pub flags: u8,
    /// Where the data starts in the node; 0 if there is none.
    pub data_off: U16,
    /// Bytes of data.
    pub data_len: U16,
    /// Zero.
    pub reserved: U16,
}

/// A pointer to a child in an internal node.
///
/// The child holds the keys from this entry's key (for the first entry: from wherever its parent begins) to the next
/// entry's, exclusive.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct DiskEntry {
    /// [`Key::obj`].
    pub obj: U64,
    /// [`Key::offset`].
    pub offset: U64,
    /// [`Key::kind`].
    pub kind: u8,
    /// Zero.
    pub reserved: [u8; 7],
    /// The child's block.
    pub block: U64,
    /// The child's birth.
    pub birth: U64,
    /// The child's checksum.
    pub csum: U32,
    /// Zero.
    pub reserved2: U32,
}

/// Bytes of the header of a node.
pub const NODE_HEADER: usize = size_of::<DiskNode>();
/// Bytes of the header of an item.
pub const ITEM_HEADER: usize = size_of::<DiskItem>();
/// Bytes of an entry.
pub const ENTRY_BYTES: usize = size_of::<DiskEntry>();

const _: () = assert!(NODE_HEADER == 64);
const _: () = assert!(offset_of!(DiskNode, csum) == 4);
const _: () = assert!(offset_of!(DiskNode, block) == 8);
const _: () = assert!(offset_of!(DiskNode, uuid) == 16);
const _: () = assert!(offset_of!(DiskNode, birth) == 32);
const _: () = assert!(offset_of!(DiskNode, level) == 40);
const _: () = assert!(offset_of!(DiskNode, flags) == 41);
const _: () = assert!(offset_of!(DiskNode, nr) == 42);
const _: () = assert!(offset_of!(DiskNode, data_start) == 44);
const _: () = assert!(offset_of!(DiskNode, reserved) == 48);
const _: () = assert!(ITEM_HEADER == 24);
const _: () = assert!(offset_of!(DiskItem, offset) == 8);
const _: () = assert!(offset_of!(DiskItem, kind) == 16);
const _: () = assert!(offset_of!(DiskItem, flags) == 17);
const _: () = assert!(offset_of!(DiskItem, data_off) == 18);
const _: () = assert!(offset_of!(DiskItem, data_len) == 20);
const _: () = assert!(offset_of!(DiskItem, reserved) == 22);
const _: () = assert!(ENTRY_BYTES == 48);
const _: () = assert!(offset_of!(DiskEntry, offset) == 8);
const _: () = assert!(offset_of!(DiskEntry, kind) == 16);
const _: () = assert!(offset_of!(DiskEntry, block) == 24);
const _: () = assert!(offset_of!(DiskEntry, birth) == 32);
const _: () = assert!(offset_of!(DiskEntry, csum) == 40);

impl DiskItem {
    /// The item's key.
    #[inline]
    pub fn key(&self) -> Key {
        Key::new(self.obj.get(), Kind(self.kind), self.offset.get())
    }
}

impl DiskEntry {
    /// The entry's key.
    #[inline]
    pub fn key(&self) -> Key {
        Key::new(self.obj.get(), Kind(self.kind), self.offset.get())
    }

    /// An entry with key `key` for the child that `ptr` points to.
    pub fn new(key: &Key, ptr: &NodePtr) -> DiskEntry {
        DiskEntry {
            obj: key.obj.into(),
            offset: key.offset.into(),
            kind: key.kind.0,
            reserved: [0; 7],
            block: ptr.block.into(),
            birth: ptr.birth.into(),
            csum: ptr.csum.into(),
            reserved2: 0.into(),
        }
    }

    /// What the entry points to; `level` is the child's.
    #[inline]
    pub fn ptr(&self, level: u8) -> NodePtr {
        NodePtr {
            block: self.block.get(),
            birth: self.birth.get(),
            csum: self.csum.get(),
            level,
        }
    }
}

/// A pointer to a node with everything that is known about it before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodePtr {
    /// The first of its blocks.
    pub block: u64,
    /// The transaction group that wrote it.
    pub birth: u64,
    /// CRC-32C of the node from byte 8; meaningless while the node is dirty.
    pub csum: u32,
    /// Its level.
    pub level: u8,
}
