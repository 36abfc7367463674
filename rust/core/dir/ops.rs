// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Adding and taking away names: link, unlink, rmdir.
//!
//! An inode that loses its last name stays, with a link count of 0 and an orphan item made in the same transaction,
//! until [`Fs::evict`] deletes it: files may be unlinked while they are open.

use super::entry::check_name;
use super::entry::find_to_remove;
use super::entry::insert_entry;
use super::entry::remove_entry;
use crate::format::items::orphan::DELETE;
use crate::format::items::state;
use crate::fs::Fs;
use crate::inode;
use crate::inode::change;
use crate::inode::change_linked;
use crate::inode::Ino;
use crate::inode::Inode;
use crate::inode::Time;
use crate::orphan;
use crate::txn::Reserve;
use crate::txn::Tx;
use vexfs_host::nofs;
use vexfs_host::Error;
use vexfs_host::Result;

/// What may lose its name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// A file of any kind.
    File,
    /// An empty directory that is no collection.
    Dir,
    /// A collection without entries; its rows go with it.
    Collection,
}

impl Target {
    fn is_dir(self) -> bool {
        self != Target::File
    }
}

/// Takes one link from inode `ino`, or the last two from a directory, and returns what is left of it.
///
/// # Errors
///
/// `NotEmpty` for a directory with entries, and for a collection that is to be removed like any directory: a program
/// that finds no entries in it does not see its rows, and must not delete them unknowingly.
pub(super) fn unlink_inode(tx: &mut Tx<'_>, ino: Ino, what: Target, now: Time) -> Result<Inode> {
    let is_dir = what.is_dir();
    let mut after = change_linked(tx, ino, |d| {
        if d.is_dir() != is_dir {
            return Err(Error::corrupt("directory entry of the wrong type", u64::MAX, ino));
        }
        if is_dir {
            let is_collection = d.state.get() & state::COLLECTION != 0;
            if d.size.get() != 0 || is_collection && what == Target::Dir {
                return Err(Error::NotEmpty);
            }
            if !is_collection && what == Target::Collection {
                return Err(Error::NotCollection);
            }
            d.nlink.set(0);
        } else {
            d.drop_link(ino)?;
        }
        d.set_ctime(now);
        Ok(Inode::from_disk(ino, d))
    })?;
    after.change = after.change.wrapping_add(1);
    if after.nlink == 0 {
        orphan::add(tx, ino, DELETE)?;
    }
    Ok(after)
}

impl Fs {
    /// Gives inode `ino`, which is no directory, another name and returns its attributes.
    pub fn link(&self, ino: Ino, dir: Ino, name: &[u8], now: Time) -> Result<Inode> {
        let _nofs = nofs();
        check_name(name)?;
        let mut tx = self.begin(Reserve::items(5))?;
        let target = inode::expect(&tx, ino)?;
        if target.is_dir() || target.is_hidden() {
            return Err(Error::Permission);
        }
        insert_entry(&mut tx, dir, name, ino, target.dtype())?;
        change(&mut tx, dir, |d| {
            d.expect_live_dir()?;
            d.add_entry();
            d.set_mtime(now);
            Ok(())
        })?;
        if target.nlink == 0 {
            // Only an inode that never had a name may get one: one that lost its last name is about to be deleted.
            if target.state & state::TMPFILE == 0 {
                return Err(Error::NotFound);
            }
            orphan::remove(&mut tx, ino, DELETE)?;
        }
        change(&mut tx, ino, |d| {
            d.add_link()?;
            d.state.set(d.state.get() & !state::TMPFILE);
            d.set_ctime(now);
            Ok(())
        })?;
        let mut after = inode::expect(&tx, ino)?;
        after.txg = tx.commit();
        Ok(after)
    }

    /// Removes the name of something that is no directory, and returns the attributes of what it named.
    ///
    /// Once `nlink` is 0 and nobody uses the inode any more, [`Fs::evict`] must be called.
    pub fn unlink(&self, dir: Ino, name: &[u8], now: Time) -> Result<Inode> {
        self.remove_name(dir, name, Target::File, now)
    }

    /// Removes the empty directory `name` and returns its attributes; [`Fs::evict`] must follow as for a file.
    /// `NotEmpty` for a collection, which only [`Fs::remove_collection`] removes.
    pub fn rmdir(&self, dir: Ino, name: &[u8], now: Time) -> Result<Inode> {
        self.remove_name(dir, name, Target::Dir, now)
    }

    /// Removes the collection `name` as [`Fs::rmdir`] does a directory, with all its rows. `NotEmpty` if it has
    /// entries, `NotCollection` if it is none.
    pub fn remove_collection(&self, dir: Ino, name: &[u8], now: Time) -> Result<Inode> {
        self.remove_name(dir, name, Target::Collection, now)
    }

    fn remove_name(&self, dir: Ino, name: &[u8], what: Target, now: Time) -> Result<Inode> {
        let _nofs = nofs();
        let is_dir = what.is_dir();
        check_name(name)?;
        let mut tx = self.begin(Reserve::items(4).deleting())?;
        let found = find_to_remove(&tx, self.hash_key(), dir, name)?;
        let (found, others) = found.ok_or(Error::NotFound)?;
        match (found.is_dir(), is_dir) {
            (true, false) => return Err(Error::IsDir),
            (false, true) => return Err(Error::NotDir),
            _ => {}
        }
        let mut after = unlink_inode(&mut tx, found.ino, what, now)?;
        remove_entry(&mut tx, dir, found.slot, others)?;
        change(&mut tx, dir, |d| {
            d.drop_entry(dir)?;
            if is_dir {
                d.drop_link(dir)?;
            }
            d.set_mtime(now);
            Ok(())
        })?;
        after.txg = tx.commit();
        Ok(after)
    }
}
