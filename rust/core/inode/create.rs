// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Making inodes: files, directories, symbolic links, device nodes, FIFOs and sockets.
//!
//! A new inode, its name, its attributes and the target of a link appear in one transaction.

use super::change;
use super::key;
use super::Ino;
use super::Inode;
use super::Time;
use crate::dir;
use crate::format::items::dtype;
use crate::format::items::is_valid_type;
use crate::format::items::mode;
use crate::format::items::orphan::DELETE;
use crate::format::items::state;
use crate::format::items::DiskInode;
use crate::format::items::SYMLINK_MAX;
use crate::format::ITEM_MAX;
use crate::mount::Fs;
use crate::orphan;
use crate::txn::Reserve;
use crate::txn::Tx;
use crate::xattr;
use vexfs_host::nofs;
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
    fn validate(&self) -> Result<()> {
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

    /// The items that making it touches: at most six on top of attributes and target.
    fn reserve(&self) -> Result<Reserve> {
        let mut items = 6;
        for (name, value) in self.xattrs {
            items += xattr::chunks(name.len(), value.len());
        }
        items += self.target.map_or(0, |t| t.len().div_ceil(ITEM_MAX));
        Ok(Reserve::items(items))
    }
}

/// Puts a new inode with number `ino` into the tree.
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

impl Fs {
    /// Makes an inode named `name` in directory `dir`.
    ///
    /// # Errors
    ///
    /// `Exists` when the name is taken, `NotFound` when the directory was removed, `TooManyLinks` when it cannot hold
    /// another subdirectory, besides those of any change.
    pub fn create(&self, dir: Ino, name: &[u8], new: &NewInode<'_>) -> Result<Inode> {
        let _nofs = nofs();
        dir::check_name(name)?;
        new.validate()?;
        let mut tx = self.begin(new.reserve()?)?;
        let ino = tx.alloc_ino()?;
        let is_dir = new.mode & mode::S_IFMT == mode::S_IFDIR;
        // The entry first: that the name exists is by far the most likely reason to fail.
        dir::insert_entry(&mut tx, dir, name, ino, dtype(new.mode))?;
        change(&mut tx, dir, |d| {
            d.expect_live_dir()?;
            if is_dir {
                d.add_link()?;
            }
            d.add_entry();
            d.set_mtime(new.now);
            Ok(())
        })?;
        let (parent, nlink) = if is_dir { (dir, 2) } else { (0, 1) };
        let mut inode = insert(&mut tx, ino, parent, nlink, 0, new)?;
        inode.txg = tx.commit();
        Ok(inode)
    }

    /// Makes an inode without a name (`O_TMPFILE`): it is deleted at the next mount unless it is linked before.
    pub fn create_tmpfile(&self, new: &NewInode<'_>) -> Result<Inode> {
        let _nofs = nofs();
        new.validate()?;
        if new.mode & mode::S_IFMT == mode::S_IFDIR {
            return Err(Error::IsDir);
        }
        let mut tx = self.begin(new.reserve()?)?;
        let ino = tx.alloc_ino()?;
        let mut inode = insert(&mut tx, ino, 0, 0, state::TMPFILE, new)?;
        orphan::add(&mut tx, ino, DELETE)?;
        inode.txg = tx.commit();
        Ok(inode)
    }
}
