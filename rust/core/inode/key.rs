// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The keys of the items of inodes.

use crate::format::Key;
use crate::format::Kind;

/// The inode item.
pub(crate) const fn inode(ino: u64) -> Key {
    of(ino, Kind::INODE, 0)
}

/// The directory entry in slot `offset`.
pub(crate) const fn dirent(dir: u64, offset: u64) -> Key {
    of(dir, Kind::DIRENT, offset)
}

/// An attribute chunk.
pub(crate) const fn xattr(ino: u64, offset: u64) -> Key {
    of(ino, Kind::XATTR, offset)
}

/// The extent that starts at `lblk`.
pub(crate) const fn extent(ino: u64, lblk: u64) -> Key {
    of(ino, Kind::EXTENT, lblk)
}

/// The inline data.
pub(crate) const fn inline(ino: u64) -> Key {
    of(ino, Kind::INLINE, 0)
}

/// Piece `piece` of a symbolic link's target.
pub(crate) const fn symlink(ino: u64, piece: u64) -> Key {
    of(ino, Kind::SYMLINK, piece)
}

/// The orphan item.
pub(crate) const fn orphan(ino: u64) -> Key {
    of(0, Kind::ORPHAN, ino)
}

/// The collection item of a directory.
pub(crate) const fn collection(dir: u64) -> Key {
    of(dir, Kind::COLLECTION, 0)
}

/// The item that makes hidden file `ino` part of the collection of `dir`.
pub(crate) const fn hidden(dir: u64, ino: u64) -> Key {
    of(dir, Kind::COLLECTION, ino)
}

const fn of(obj: u64, kind: Kind, offset: u64) -> Key {
    Key::new(obj, kind, offset)
}
