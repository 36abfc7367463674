// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The superblock: where everything starts, and the commit record.
//!
//! There are two slots, written in turn, and a copy that mkfs leaves in the last 4 KiB of the last block. A slot is
//! valid if magic and checksum are right; of two valid ones the one with the higher transaction group is the
//! filesystem.

use super::*;
use core::mem::offset_of;
use core::mem::size_of;
use vexfs_host::Error;
use vexfs_host::Result;
use zerocopy::little_endian::I64;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;
use zerocopy::FromBytes as _;
use zerocopy::IntoBytes as _;
use zerocopy_derive::*;

/// First eight bytes of a superblock. The line endings and the control character tell of a transfer that changed bytes.
pub const MAGIC: [u8; 8] = *b"VexFS\r\n\x1a";
/// The format version written by this code, and the only one it reads.
pub const VERSION: u32 = 1;

/// Incompatible features, reserved: snapshots, data checksums, shared extents.
pub const INCOMPAT_SNAPSHOTS: u64 = 1;
/// The filesystem has an intent log: what it holds belongs to the state that the superblock leads to.
pub const INCOMPAT_INTENT_LOG: u64 = 2;
/// See [`INCOMPAT_SNAPSHOTS`].
pub const INCOMPAT_DATA_CSUMS: u64 = 4;
/// See [`INCOMPAT_SNAPSHOTS`].
pub const INCOMPAT_CLONES: u64 = 8;
/// Incompatible features this code understands: a filesystem with another one cannot be mounted.
pub const INCOMPAT_KNOWN: u64 = INCOMPAT_INTENT_LOG;
/// Read-only compatible features this code understands: a filesystem with another one can be mounted only to read.
pub const RO_COMPAT_KNOWN: u64 = 0;

/// Blocks of the group table for which a superblock has slot bits.
pub const MAX_TABLE_BLOCKS: u64 = 16_384;

/// A superblock.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct DiskSuperblock {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// CRC-32C of the superblock from byte 12 to its end.
    pub csum: U32,
    /// [`VERSION`].
    pub version: U32,
    /// Identity of the filesystem.
    pub uuid: [u8; 16],
    /// UTF-8, padded with zeros.
    pub label: [u8; 64],
    /// Features that any version may ignore.
    pub compat: U64,
    /// Features that allow only reading to a version that does not know them.
    pub ro_compat: U64,
    /// Features that shut out a version that does not know them.
    pub incompat: U64,
    /// Bytes of a block.
    pub block_size: U32,
    /// Bytes of a node.
    pub node_size: U32,
    /// Blocks of the device that belong to the filesystem.
    pub total_blocks: U64,
    /// First block of group 0.
    pub first_group: U64,
    /// Number of groups.
    pub group_count: U32,
    /// Blocks of a group.
    pub group_blocks: U32,
    /// First block of the group table.
    pub gdt_start: U64,
    /// Blocks of the group table; each has two slots.
    pub gdt_blocks: U32,
    /// CRC-32C over the checksums (LE) of the current slots of all blocks of the table.
    pub gdt_csum: U32,
    /// First block of the log region.
    pub log_start: U64,
    /// Blocks of the log region.
    pub log_blocks: U64,
    /// The transaction group this superblock makes visible.
    pub txg: U64,
    /// The root node's block.
    pub root_block: U64,
    /// The root node's birth.
    pub root_birth: U64,
    /// The root node's checksum.
    pub root_csum: U32,
    /// The root node's level.
    pub root_level: u8,
    /// Zero.
    pub reserved0: [u8; 3],
    /// The next inode number to give out.
    pub next_ino: U64,
    /// Objects in the tree.
    pub inode_count: U64,
    /// Free blocks of all groups.
    pub free_blocks: U64,
    /// Key of the hash of names (SipHash-2-4), two words.
    pub hash_key: [U64; 2],
    /// When mkfs ran: seconds since the epoch.
    pub created: I64,
    /// When this superblock was written: seconds since the epoch.
    pub written: I64,
    /// The number of the log's unit where the first batch lies that may hold something newer than this superblock.
    pub log_head: U64,
    /// Zero.
    pub reserved1: [u8; 1768],
    /// Bit `i` (lowest first): the second slot of block `i` of the group table is the current one.
    pub gdt_slots: [u8; 2048],
}

const _: () = assert!(size_of::<DiskSuperblock>() == SUPERBLOCK_BYTES);
const _: () = assert!(offset_of!(DiskSuperblock, csum) == 8);
const _: () = assert!(offset_of!(DiskSuperblock, version) == 12);
const _: () = assert!(offset_of!(DiskSuperblock, uuid) == 16);
const _: () = assert!(offset_of!(DiskSuperblock, label) == 32);
const _: () = assert!(offset_of!(DiskSuperblock, compat) == 96);
const _: () = assert!(offset_of!(DiskSuperblock, ro_compat) == 104);
const _: () = assert!(offset_of!(DiskSuperblock, incompat) == 112);
const _: () = assert!(offset_of!(DiskSuperblock, block_size) == 120);
const _: () = assert!(offset_of!(DiskSuperblock, node_size) == 124);
const _: () = assert!(offset_of!(DiskSuperblock, total_blocks) == 128);
const _: () = assert!(offset_of!(DiskSuperblock, first_group) == 136);
const _: () = assert!(offset_of!(DiskSuperblock, group_count) == 144);
const _: () = assert!(offset_of!(DiskSuperblock, gdt_start) == 152);
const _: () = assert!(offset_of!(DiskSuperblock, gdt_blocks) == 160);
const _: () = assert!(offset_of!(DiskSuperblock, gdt_csum) == 164);
const _: () = assert!(offset_of!(DiskSuperblock, log_start) == 168);
const _: () = assert!(offset_of!(DiskSuperblock, log_blocks) == 176);
const _: () = assert!(offset_of!(DiskSuperblock, txg) == 184);
const _: () = assert!(offset_of!(DiskSuperblock, root_block) == 192);
const _: () = assert!(offset_of!(DiskSuperblock, root_birth) == 200);
const _: () = assert!(offset_of!(DiskSuperblock, root_csum) == 208);
const _: () = assert!(offset_of!(DiskSuperblock, root_level) == 212);
const _: () = assert!(offset_of!(DiskSuperblock, next_ino) == 216);
const _: () = assert!(offset_of!(DiskSuperblock, inode_count) == 224);
const _: () = assert!(offset_of!(DiskSuperblock, free_blocks) == 232);
const _: () = assert!(offset_of!(DiskSuperblock, hash_key) == 240);
const _: () = assert!(offset_of!(DiskSuperblock, created) == 256);
const _: () = assert!(offset_of!(DiskSuperblock, written) == 264);
const _: () = assert!(offset_of!(DiskSuperblock, log_head) == 272);
const _: () = assert!(offset_of!(DiskSuperblock, reserved1) == 280);
const _: () = assert!(offset_of!(DiskSuperblock, gdt_slots) == 2048);
const _: () = assert!(MAX_TABLE_BLOCKS == 2048 * 8);

/// Why a slot holds no usable superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// Nothing that resembles a superblock: all zeros or unknown bytes.
    NotVexfs,
    /// Another filesystem or format, named.
    Foreign(&'static str),
    /// Our magic, but the checksum is wrong.
    BadChecksum,
}

impl DiskSuperblock {
    /// Views the 4 KiB of a slot as a superblock, if magic and checksum are right.
    pub fn parse(slot: &[u8]) -> core::result::Result<&DiskSuperblock, Unusable> {
        let Ok((sb, _)) = DiskSuperblock::ref_from_prefix(slot) else {
            return Err(Unusable::NotVexfs);
        };
        if sb.magic != MAGIC {
            return Err(match foreign_slot(slot) {
                Some(name) => Unusable::Foreign(name),
                None => Unusable::NotVexfs,
            });
        }
        if sb.csum.get() != sb.compute_csum() {
            return Err(Unusable::BadChecksum);
        }
        Ok(sb)
    }

    /// CRC-32C of the superblock from byte 12 to its end.
    pub fn compute_csum(&self) -> u32 {
        vexfs_host::crc32c(0, self.as_bytes().get(12..).unwrap_or(&[]))
    }

    /// Whether block `index` of the group table has its second slot current.
    pub fn table_slot(&self, index: u64) -> bool {
        let byte = usize::try_from(index / 8).ok().and_then(|i| self.gdt_slots.get(i));
        byte.is_some_and(|b| b >> (index % 8) & 1 != 0)
    }

    /// Says which slot of block `index` of the group table is current.
    pub fn set_table_slot(&mut self, index: u64, second: bool) {
        let byte = usize::try_from(index / 8).ok().and_then(|i| self.gdt_slots.get_mut(i));
        if let Some(b) = byte {
            let bit = 1u8 << (index % 8);
            *b = if second { *b | bit } else { *b & !bit };
        }
    }

    /// Checks version and features. Returns whether the filesystem may be written.
    ///
    /// # Errors
    ///
    /// `Unsupported` with what this code does not know.
    pub fn check_features(&self) -> Result<bool> {
        if self.version.get() != VERSION {
            return Err(Error::Unsupported(
                "a VexFS of another format version: a newer vexfs is needed",
            ));
        }
        let unknown = self.incompat.get() & !INCOMPAT_KNOWN;
        if unknown != 0 {
            return Err(Error::Unsupported(match unknown {
                u if u & INCOMPAT_SNAPSHOTS != 0 => "the filesystem uses snapshots: a newer vexfs is needed",
                u if u & INCOMPAT_DATA_CSUMS != 0 => "the filesystem uses data checksums: a newer vexfs is needed",
                u if u & INCOMPAT_CLONES != 0 => "the filesystem uses shared extents: a newer vexfs is needed",
                _ => "the filesystem has features this vexfs does not know: a newer one is needed",
            }));
        }
        Ok(self.ro_compat.get() & !RO_COMPAT_KNOWN == 0)
    }

    /// The pointer to the root node.
    pub fn root(&self) -> node::NodePtr {
        node::NodePtr {
            block: self.root_block.get(),
            birth: self.root_birth.get(),
            csum: self.root_csum.get(),
            level: self.root_level,
        }
    }

    /// The label, up to the first zero byte.
    pub fn label(&self) -> &[u8] {
        self.label.split(|b| *b == 0).next().unwrap_or(&[])
    }
}

/// Recognizes what else may lie at the superblock slot's place.
fn foreign_slot(slot: &[u8]) -> Option<&'static str> {
    match slot.get(..4)? {
        b"VEXF" | b"FXEV" | b"EVFX" | b"XFVE" => {
            Some("an older VexFS prototype (magic VEXF), which this version cannot read")
        }
        [b'V', b'e', b'x', b'F'] | [b'v', b'e', b'x', b'f'] => {
            Some("an older VexFS format, which this version cannot read")
        }
        _ => None,
    }
}

/// Names the filesystem that the first bytes of a device (68 KiB are enough) belong to, if it is a well-known other
/// one.
pub fn foreign(head: &[u8]) -> Option<&'static str> {
    let at = |off: usize, magic: &[u8]| {
        let end = off.checked_add(magic.len());
        end.and_then(|e| head.get(off..e)).is_some_and(|b| b == magic)
    };
    for off in [0, 1024, 4096, 8192] {
        if at(off, b"VEXF") || at(off, b"FXEV") || at(off, b"EVFX") || at(off, b"XFVE") {
            return Some("an older VexFS prototype (magic VEXF), which this version cannot read");
        }
    }
    if at(0, b"XFSB") {
        return Some("an XFS filesystem");
    }
    if at(65536 + 64, b"_BHRfS_M") {
        return Some("a btrfs filesystem");
    }
    if at(1024, &[0xe2, 0xe1, 0xf5, 0xe0]) {
        return Some("an EROFS filesystem");
    }
    if at(1024, &[0x10, 0x20, 0xf5, 0xf2]) {
        return Some("an F2FS filesystem");
    }
    if at(1080, &[0x53, 0xef]) {
        return Some("an ext2, ext3 or ext4 filesystem");
    }
    if at(0, b"hsqs") {
        return Some("a squashfs filesystem");
    }
    if at(0, b"LUKS\xba\xbe") {
        return Some("a LUKS container");
    }
    if at(536, b"LVM2 001") || at(512, b"LABELONE") {
        return Some("an LVM physical volume");
    }
    if at(4086, b"SWAPSPACE2") {
        return Some("a swap area");
    }
    if at(3, b"NTFS    ") {
        return Some("an NTFS filesystem");
    }
    if at(3, b"EXFAT   ") {
        return Some("an exFAT filesystem");
    }
    if at(54, b"FAT1") || at(82, b"FAT32") {
        return Some("a FAT filesystem");
    }
    if at(512, b"EFI PART") {
        return Some("a GPT partition table");
    }
    if at(32769, b"CD001") {
        return Some("an ISO 9660 filesystem");
    }
    None
}
