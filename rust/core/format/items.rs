// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The items of the tree: what the leaves hold about inodes, names, attributes and file contents.
//!
//! An item is found by its key (object, kind, offset); what follows here is its data. All structures are little-endian,
//! have no padding and alignment 1, so that they can be read where they lie in a leaf.
//!
//! | kind | object | offset | data |
//! |---|---|---|---|
//! | inode | inode number | 0 | [`DiskInode`] |
//! | dirent | directory | hash of the name and a sequence number | [`DiskDirent`], then the name |
//! | xattr | inode | hash of the name, sequence number, chunk | [`DiskXattr`] and the name (chunk 0 only), then a piece of the value |
//! | extent | inode | first logical block | [`DiskExtent`] |
//! | inline data | inode | 0 | the start of logical block 0; the rest of that block reads as zeros |
//! | symlink | inode | piece number | a piece of the target |
//! | orphan | 0 | inode number | [`DiskOrphan`] |
//! | collection | directory | 0 | the engine's bytes |
//! | collection | directory | hidden inode number | [`DiskHidden`] |
//!
//! Invariants: an extent of block 0 and inline data never coexist; extents of one inode neither overlap nor are empty;
//! a dirent with inode number 0 is a placeholder that keeps sequence number 0 of a hash taken while others with the
//! same hash exist (so that a free sequence number 0 proves that no name has the hash).

use core::mem::size_of;
use vexfs_host::Error;
use vexfs_host::Result;
use zerocopy::little_endian::I64;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;
use zerocopy::FromBytes as _;
use zerocopy_derive::*;

/// The longest file name, in bytes.
pub const NAME_MAX: usize = 255;
/// The longest symbolic link target, in bytes (`PATH_MAX` without its terminator).
pub const SYMLINK_MAX: usize = 4095;
/// The most bytes of a file that are kept in the tree instead of a data block.
pub const INLINE_MAX: usize = 2048;
/// The largest extended attribute value, in bytes.
pub const XATTR_SIZE_MAX: usize = 65_536;
/// The most bytes of attribute names of one inode, each with a terminator: what `listxattr` can return.
pub const XATTR_LIST_MAX: u32 = 65_536;
/// The most links an inode can have.
pub const LINK_MAX: u32 = 0x7fff_ffff;
/// The largest file, in bytes: what a signed 64-bit offset can address.
pub const FILE_SIZE_MAX: u64 = i64::MAX as u64;

/// The inode number of the root directory.
pub const ROOT_INO: u64 = 2;
/// The lowest inode number handed out to new inodes.
pub const FIRST_INO: u64 = 16;

/// File type bits of a mode, as in `stat(2)`.
pub mod mode {
    /// Mask of the type bits.
    pub const S_IFMT: u32 = 0o170_000;
    /// Socket.
    pub const S_IFSOCK: u32 = 0o140_000;
    /// Symbolic link.
    pub const S_IFLNK: u32 = 0o120_000;
    /// Regular file.
    pub const S_IFREG: u32 = 0o100_000;
    /// Block device.
    pub const S_IFBLK: u32 = 0o060_000;
    /// Directory.
    pub const S_IFDIR: u32 = 0o040_000;
    /// Character device.
    pub const S_IFCHR: u32 = 0o020_000;
    /// FIFO.
    pub const S_IFIFO: u32 = 0o010_000;
}

/// Bits of [`DiskInode::state`].
pub mod state {
    /// A file without a name, owned by the collection of the directory `parent`.
    pub const HIDDEN: u32 = 1;
    /// Made without a name (`O_TMPFILE`) and not linked since.
    pub const TMPFILE: u32 = 2;
    /// Blocks beyond the size are still being freed; an orphan item asks for it.
    pub const TRUNCATING: u32 = 4;
    /// A directory with a collection item.
    pub const COLLECTION: u32 = 8;
    /// All bits this version knows.
    pub const KNOWN: u32 = HIDDEN | TMPFILE | TRUNCATING | COLLECTION;
}

/// Bits of [`DiskOrphan::actions`]: what has to be finished for an inode, at the latest at the next mount.
pub mod orphan {
    /// Delete the inode, whose link count is 0.
    pub const DELETE: u32 = 1;
    /// Free the blocks beyond the size.
    pub const TRUNCATE: u32 = 2;
    /// Delete the hidden files of a directory that is no collection any more.
    pub const DISOWN: u32 = 4;
}

/// An inode.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DiskInode {
    /// Type and permission bits.
    pub mode: U32,
    /// Owner.
    pub uid: U32,
    /// Group.
    pub gid: U32,
    /// Link count; 0 for an inode that is to be deleted.
    pub nlink: U32,
    /// Size in bytes; of a directory, the number of its entries; of a symbolic link, the length of its target.
    pub size: U64,
    /// Space used by the contents, in units of 512 bytes.
    pub blocks: U64,
    /// Device number of a device node, in the kernel's 32-bit encoding.
    pub rdev: U32,
    /// Attribute bits that users set (`FS_*_FL`).
    pub flags: U32,
    /// [`state`] bits.
    pub state: U32,
    /// Bytes of attribute names, each with a terminator; 0 when there are no extended attributes.
    pub xattr_list: U32,
    /// The txg in which the inode was made.
    pub generation: U64,
    /// Directory: its parent. Hidden file: the directory whose collection owns it. Otherwise 0.
    pub parent: U64,
    /// Grows with each change of attributes, and with the first one of contents in a txg.
    pub change: U64,
    /// The txg of the last change.
    pub txg: U64,
    /// Access time, seconds.
    pub atime: I64,
    /// Modification time, seconds.
    pub mtime: I64,
    /// Change time, seconds.
    pub ctime: I64,
    /// Birth time, seconds.
    pub btime: I64,
    /// Access time, nanoseconds.
    pub atime_ns: U32,
    /// Modification time, nanoseconds.
    pub mtime_ns: U32,
    /// Change time, nanoseconds.
    pub ctime_ns: U32,
    /// Birth time, nanoseconds.
    pub btime_ns: U32,
    /// Project number, for quotas to come.
    pub project: U32,
    /// Zero.
    pub reserved: [u8; 28],
}

/// The head of a directory entry; the name follows.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DiskDirent {
    /// Inode number; 0 in a placeholder, which has no name.
    pub ino: U64,
    /// Type of the inode, a `DT_*` value.
    pub dtype: u8,
}

/// The head of chunk 0 of an extended attribute; the name and the first piece of the value follow.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DiskXattr {
    /// Length of the whole value.
    pub value_len: U32,
    /// Length of the name.
    pub name_len: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

/// A run of blocks.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DiskExtent {
    /// First filesystem block.
    pub pblk: U64,
    /// Number of blocks, not 0.
    pub len: U32,
    /// Zero in this version.
    pub flags: U32,
    /// The txg in which the oldest of the blocks was allocated.
    pub birth: U64,
}

/// Work left to do for an inode.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DiskOrphan {
    /// [`orphan`] bits.
    pub actions: U32,
    /// Zero.
    pub reserved: [u8; 12],
}

/// Ownership of a hidden file by a collection.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DiskHidden {
    /// Zero in this version.
    pub flags: U64,
}

const _: () = {
    assert!(size_of::<DiskInode>() == 160);
    assert!(core::mem::offset_of!(DiskInode, size) == 16);
    assert!(core::mem::offset_of!(DiskInode, rdev) == 32);
    assert!(core::mem::offset_of!(DiskInode, xattr_list) == 44);
    assert!(core::mem::offset_of!(DiskInode, generation) == 48);
    assert!(core::mem::offset_of!(DiskInode, change) == 64);
    assert!(core::mem::offset_of!(DiskInode, atime) == 80);
    assert!(core::mem::offset_of!(DiskInode, atime_ns) == 112);
    assert!(core::mem::offset_of!(DiskInode, project) == 128);
    assert!(size_of::<DiskDirent>() == 9);
    assert!(size_of::<DiskXattr>() == 8);
    assert!(size_of::<DiskExtent>() == 24);
    assert!(core::mem::offset_of!(DiskExtent, len) == 8);
    assert!(core::mem::offset_of!(DiskExtent, birth) == 16);
    assert!(size_of::<DiskOrphan>() == 16);
    assert!(size_of::<DiskHidden>() == 8);
};

/// The `DT_*` directory entry type of a mode.
pub const fn dtype(mode: u32) -> u8 {
    ((mode & mode::S_IFMT) >> 12) as u8
}

/// Whether `mode` has one of the seven file types.
pub const fn is_valid_type(mode: u32) -> bool {
    matches!(dtype(mode), 1 | 2 | 4 | 6 | 8 | 10 | 12)
}

fn damaged(what: &'static str, owner: u64) -> Error {
    Error::corrupt(what, u64::MAX, owner)
}

impl DiskInode {
    /// Reads inode `ino` from its item.
    pub fn parse(data: &[u8], ino: u64) -> Result<&Self> {
        let inode = Self::ref_from_bytes(data).map_err(|_| damaged("inode item of a wrong length", ino))?;
        let sane = is_valid_type(inode.mode.get())
            && inode.size.get() <= FILE_SIZE_MAX
            && inode.nlink.get() <= LINK_MAX
            && inode.state.get() & !state::KNOWN == 0
            && [inode.atime_ns, inode.mtime_ns, inode.ctime_ns, inode.btime_ns]
                .iter()
                .all(|ns| ns.get() < 1_000_000_000);
        if !sane {
            return Err(damaged("inode with values out of range", ino));
        }
        Ok(inode)
    }

    /// The same, to change it in place.
    pub fn parse_mut(data: &mut [u8], ino: u64) -> Result<&mut Self> {
        Self::parse(data, ino)?;
        Self::mut_from_bytes(data).map_err(|_| damaged("inode item of a wrong length", ino))
    }
}

impl DiskDirent {
    /// Splits an entry of directory `dir` into its head and its name. A placeholder has an empty name.
    pub fn parse(data: &[u8], dir: u64) -> Result<(&Self, &[u8])> {
        let (head, name) = Self::ref_from_prefix(data).map_err(|_| damaged("directory entry too short", dir))?;
        if name.len() > NAME_MAX || (head.ino.get() == 0) != name.is_empty() {
            return Err(damaged("directory entry with a bad name", dir));
        }
        Ok((head, name))
    }
}

impl DiskXattr {
    /// Splits chunk 0 of an attribute of inode `ino` into head, name and first piece of the value.
    pub fn parse(data: &[u8], ino: u64) -> Result<(&Self, &[u8], &[u8])> {
        let bad = || damaged("damaged extended attribute", ino);
        let (head, rest) = Self::ref_from_prefix(data).map_err(|_| bad())?;
        let (name, piece) = rest.split_at_checked(usize::from(head.name_len)).ok_or_else(bad)?;
        let len = head.value_len.get() as usize;
        if name.is_empty() || len > XATTR_SIZE_MAX || piece.len() > len {
            return Err(bad());
        }
        Ok((head, name, piece))
    }
}

impl DiskExtent {
    /// Reads the extent of inode `ino` at logical block `lblk`.
    pub fn parse(data: &[u8], ino: u64, lblk: u64) -> Result<&Self> {
        let extent = Self::ref_from_bytes(data).map_err(|_| damaged("extent item of a wrong length", ino))?;
        let len = u64::from(extent.len.get());
        let ends = lblk.checked_add(len).is_some() && extent.pblk.get().checked_add(len).is_some();
        if len == 0 || !ends || extent.flags.get() != 0 {
            return Err(damaged("extent with values out of range", ino));
        }
        Ok(extent)
    }
}

impl DiskOrphan {
    /// Reads the orphan item of inode `ino`.
    pub fn parse(data: &[u8], ino: u64) -> Result<&Self> {
        Self::ref_from_bytes(data).map_err(|_| damaged("orphan item of a wrong length", ino))
    }
}
