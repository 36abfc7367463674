// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The items that a new inode is made of.

use super::key;
use super::Ino;
use super::Inode;
use super::NewInode;
use crate::format::items::mode;
use crate::format::items::DiskInode;
use crate::format::ITEM_MAX;
use crate::txn::Reserve;
use crate::txn::Tx;
use crate::xattr;
use vexfs_host::Error;
use vexfs_host::Result;
use zerocopy::FromZeros;
use zerocopy::IntoBytes;

/// The items that making an inode touches: at most six on top of attributes and target.
pub(crate) fn reserve(new: &NewInode<'_>) -> Reserve {
    let mut items = 6;
    for (name, value) in new.xattrs {
        items += xattr::chunks(name.len(), value.len());
    }
    items += new.target.map_or(0, |t| t.len().div_ceil(ITEM_MAX));
    Reserve::items(items)
}

/// Puts a new inode with number `ino` into the tree, with its attributes.
pub(crate) fn insert(
    tx: &mut Tx<'_>,
    ino: Ino,
    parent: Ino,
    nlink: u32,
    bits: u32,
    new: &NewInode<'_>,
) -> Result<Inode> {
    let mut d = DiskInode::new_zeroed();
    d.mode.set(new.mode & (mode::S_IFMT | 0o7777));
    d.uid.set(new.uid);
    d.gid.set(new.gid);
    d.nlink.set(nlink);
    d.rdev.set(new.rdev);
    d.state.set(bits);
    d.generation.set(tx.txg());
    d.txg.set(tx.txg());
    d.parent.set(parent);
    d.change.set(1);
    for (sec, nsec) in [
        (&mut d.atime, &mut d.atime_ns),
        (&mut d.mtime, &mut d.mtime_ns),
        (&mut d.ctime, &mut d.ctime_ns),
        (&mut d.btime, &mut d.btime_ns),
    ] {
        new.now.store(sec, nsec);
    }
    if let Some(target) = new.target {
        d.size.set(target.len() as u64);
        for (piece, n) in target.chunks(ITEM_MAX).zip(0u64..) {
            tx.insert(&key::symlink(ino, n), piece)?;
        }
    }
    tx.insert(&key::inode(ino), d.as_bytes()).map_err(|e| match e {
        Error::Exists => tx.damaged("inode number that was to be new is in use", ino),
        e => e,
    })?;
    tx.add_inodes(1)?;
    for (name, value) in new.xattrs {
        xattr::add(tx, ino, name, value)?;
    }
    if new.xattrs.is_empty() {
        return Ok(Inode::from_disk(ino, &d));
    }
    super::expect(tx, ino)
}
