// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Making files, directories, symbolic links, device nodes, FIFOs and sockets.
//!
//! A new inode, its name, its attributes and the target of a link appear in one transaction.

use super::entry::check_name;
use super::entry::insert_entry;
use crate::format::items::dtype;
use crate::format::items::mode;
use crate::format::items::orphan::DELETE;
use crate::format::items::state;
use crate::fs::Fs;
use crate::inode::change;
use crate::inode::create::insert;
use crate::inode::create::reserve;
use crate::inode::Ino;
use crate::inode::Inode;
use crate::inode::NewInode;
use crate::orphan;
use vexfs_host::nofs;
use vexfs_host::Error;
use vexfs_host::Result;

impl Fs {
    /// Makes an inode named `name` in directory `dir`.
    ///
    /// # Errors
    ///
    /// `Exists` when the name is taken, `NotFound` when the directory was removed, `TooManyLinks` when it cannot hold
    /// another subdirectory, besides those of any change.
    pub fn create(&self, dir: Ino, name: &[u8], new: &NewInode<'_>) -> Result<Inode> {
        let _nofs = nofs();
        check_name(name)?;
        new.validate()?;
        let mut tx = self.begin(reserve(new))?;
        let ino = tx.alloc_ino()?;
        let is_dir = new.mode & mode::S_IFMT == mode::S_IFDIR;
        // The entry first: that the name exists is by far the most likely reason to fail.
        insert_entry(&mut tx, dir, name, ino, dtype(new.mode))?;
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
        let mut tx = self.begin(reserve(new))?;
        let ino = tx.alloc_ino()?;
        let mut inode = insert(&mut tx, ino, 0, 0, state::TMPFILE, new)?;
        orphan::add(&mut tx, ino, DELETE)?;
        inode.txg = tx.commit();
        Ok(inode)
    }
}
