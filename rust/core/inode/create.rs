// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! A new inode: what it is to be, and the items that it is made of.

use super::key;
use super::Ino;
use super::Inode;
use super::Time;
use crate::format::items::is_valid_type;
use crate::format::items::mode;
use crate::format::items::DiskInode;
use crate::format::items::SYMLINK_MAX;
use crate::format::ITEM_MAX;
use crate::txn::Tx;
use vexfs_host::Error;
use vexfs_host::Result;
use zerocopy::FromZeros;
use zerocopy::IntoBytes;

/// What a new inode is to be.
#[derive(Clone, Copy)]
pub struct NewInode<'a> {
    /// Type and permission bits; the type bits say what is made.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device node, otherwise 0.
    pub rdev: u32,
    /// Target of a symbolic link, `None` for anything else.
    pub target: Option<&'a [u8]>,
    /// The time for all four timestamps.
    pub now: Time,
    /// Extended attributes to start with: full names and values.
    pub xattrs: &'a [(&'a [u8], &'a [u8])],
}

impl NewInode<'_> {
    pub(crate) fn validate(&self) -> Result<()> {
        if !is_valid_type(self.mode) {
            return Err(Error::Invalid("unknown file type"));
        }
        let is_link = self.mode & mode::S_IFMT == mode::S_IFLNK;
        match self.target {
            Some(_) if !is_link => Err(Error::Invalid("a target for something that is no symbolic link")),
            None if is_link => Err(Error::Invalid("symbolic link without a target")),
            Some([]) => Err(Error::NotFound),
            Some(t) if t.len() > SYMLINK_MAX => Err(Error::NameTooLong),
            Some(t) if t.contains(&0) => Err(Error::Invalid("zero byte in a symbolic link's target")),
            _ => Ok(()),
        }
    }
}

/// Puts a new inode with number `ino` into the tree, without its attributes.
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
    Ok(Inode::from_disk(ino, &d))
}
