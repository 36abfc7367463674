// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Renaming: moving a name, replacing what was there, exchanging two names.
//!
//! All of it is one transaction, so that after a crash either the old or the new state is there: a file that is being
//! replaced by rename is never missing.

use super::entry::check_name;
use super::entry::find;
use super::entry::find_to_remove;
use super::entry::insert_entry;
use super::entry::redirect_entry;
use super::entry::remove_entry;
use super::entry::FoundEntry;
use super::ops::unlink_inode;
use super::ops::Target;
use crate::format::ROOT_INO;
use crate::fs::Fs;
use crate::inode;
use crate::inode::change;
use crate::inode::change_linked;
use crate::inode::Ino;
use crate::inode::Inode;
use crate::inode::Time;
use crate::inode::Txg;
use crate::txn::Reserve;
use crate::txn::Tx;
use vexfs_host::nofs;
use vexfs_host::Error;
use vexfs_host::Result;

/// How to rename, in the bits of `renameat2(2)`, and one that it does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RenameFlags(pub u32);

impl RenameFlags {
    /// Replace what has the new name, if anything.
    pub const NONE: RenameFlags = RenameFlags(0);
    /// Fail with `Exists` when the new name is taken.
    pub const NOREPLACE: RenameFlags = RenameFlags(1);
    /// Exchange the two names, both of which must exist.
    pub const EXCHANGE: RenameFlags = RenameFlags(2);
    /// Replace what has the new name, if anything, even a collection, whose rows are then lost. Only for callers that
    /// know that it has no rows.
    pub const OVER_COLLECTION: RenameFlags = RenameFlags(1 << 31);
}

/// What a rename did.
#[derive(Clone, Copy, Debug)]
pub struct RenameOutcome {
    /// The transaction group that carries it.
    pub txg: Txg,
    /// What had the new name before, with its new attributes. Once its `nlink` is 0 and nobody uses it any more,
    /// [`Fs::evict`] must be called. `None` for an exchange.
    pub replaced: Option<Inode>,
    /// The inode that was moved.
    pub moved: Ino,
}

/// The two sides of a rename.
struct Rename {
    odir: Ino,
    ndir: Ino,
    src: FoundEntry,
    now: Time,
    /// What a directory that is replaced may be.
    over: Target,
}

/// That directory `moved` is not `dir` or above it: moving it would cut it off from the root.
fn check_not_above(tx: &Tx<'_>, moved: Ino, dir: Ino) -> Result<()> {
    let mut at = dir;
    // Damaged parents can go round in a circle. The way is compared with a place on it, which moves up after 1, 2, 4,
    // ... steps (Brent 1980): a circle is noticed after a few times its length, however many inodes the superblock says
    // there are.
    let (mut mark, mut steps, mut turn) = (0, 0u64, 1u64);
    loop {
        if at == moved {
            return Err(Error::Invalid("directory moved into itself"));
        }
        if at == ROOT_INO {
            return Ok(());
        }
        if at == mark {
            return Err(tx.damaged("directories that contain each other", dir));
        }
        if steps == turn {
            (mark, steps, turn) = (at, 0, turn.saturating_mul(2));
        }
        steps += 1;
        let inode = inode::expect(tx, at)?;
        if !inode.is_dir() {
            return Err(Error::NotDir);
        }
        at = inode.parent;
    }
}

impl Rename {
    /// Updates the inode that was moved: its change time and, if it is a directory, its parent.
    fn touch(&self, tx: &mut Tx<'_>, what: &FoundEntry, new_parent: Ino) -> Result<()> {
        change_linked(tx, what.ino, |d| {
            if d.is_dir() != what.is_dir() {
                return Err(Error::corrupt("directory entry of the wrong type", u64::MAX, what.ino));
            }
            if what.is_dir() {
                d.parent.set(new_parent);
            }
            d.set_ctime(self.now);
            Ok(())
        })
    }

    fn exchange(&self, tx: &mut Tx<'_>, dst: &FoundEntry) -> Result<()> {
        redirect_entry(tx, self.odir, self.src.slot, dst.ino, dst.dtype)?;
        redirect_entry(tx, self.ndir, dst.slot, self.src.ino, self.src.dtype)?;
        self.touch(tx, &self.src, self.ndir)?;
        self.touch(tx, dst, self.odir)?;
        for (dir, gained, lost) in [(self.odir, dst, &self.src), (self.ndir, &self.src, dst)] {
            change(tx, dir, |d| {
                d.expect_live_dir()?;
                if self.odir != self.ndir && gained.is_dir() != lost.is_dir() {
                    if gained.is_dir() {
                        d.add_link()?;
                    } else {
                        d.drop_link(dir)?;
                    }
                }
                d.set_mtime(self.now);
                Ok(())
            })?;
            if self.odir == self.ndir {
                break;
            }
        }
        Ok(())
    }

    fn replace(&self, tx: &mut Tx<'_>, oname: &[u8], nname: &[u8], dst: Option<&FoundEntry>) -> Result<Option<Inode>> {
        let mut replaced = None;
        match dst {
            Some(dst) => {
                match (self.src.is_dir(), dst.is_dir()) {
                    (false, true) => return Err(Error::IsDir),
                    (true, false) => return Err(Error::NotDir),
                    _ => {}
                }
                let over = if dst.is_dir() { self.over } else { Target::File };
                replaced = Some(unlink_inode(tx, dst.ino, over, self.now)?);
                redirect_entry(tx, self.ndir, dst.slot, self.src.ino, self.src.dtype)?;
            }
            None => insert_entry(tx, self.ndir, nname, self.src.ino, self.src.dtype)?,
        }
        // Looked for again: the new name may have the hash of the old one.
        let src = find_to_remove(tx, tx.hash_key(), self.odir, oname)?;
        let (src, others) = src.ok_or(Error::NotFound)?;
        remove_entry(tx, self.odir, src.slot, others)?;
        self.touch(tx, &self.src, self.ndir)?;

        let dir_moves = self.src.is_dir() && self.odir != self.ndir;
        change(tx, self.ndir, |d| {
            d.expect_live_dir()?;
            match dst {
                // One directory less, and possibly one more.
                Some(_) if self.src.is_dir() && !dir_moves => drop(d.drop_link(self.ndir)?),
                None if dir_moves => d.add_link()?,
                _ => {}
            }
            if dst.is_none() {
                d.add_entry();
            }
            if self.odir == self.ndir {
                d.drop_entry(self.odir)?;
            }
            d.set_mtime(self.now);
            Ok(())
        })?;
        if self.odir != self.ndir {
            change(tx, self.odir, |d| {
                d.drop_entry(self.odir)?;
                if dir_moves {
                    d.drop_link(self.odir)?;
                }
                d.set_mtime(self.now);
                Ok(())
            })?;
        }
        Ok(replaced)
    }
}

impl Fs {
    /// Renames `oname` in directory `odir` to `nname` in directory `ndir`.
    ///
    /// Two names of the same inode are left as they are, as POSIX wants it.
    ///
    /// # Errors
    ///
    /// `NotFound`: no such old name, or with `EXCHANGE` no such new name. `Exists`: the new name is taken and
    /// `NOREPLACE` was given. `NotDir`, `IsDir`, `NotEmpty`: the new name is taken by something that cannot be replaced
    /// by this, which a collection cannot be without `OVER_COLLECTION`. `Invalid`: a directory would end up inside
    /// itself.
    pub fn rename(
        &self,
        odir: Ino,
        oname: &[u8],
        ndir: Ino,
        nname: &[u8],
        flags: RenameFlags,
        now: Time,
    ) -> Result<RenameOutcome> {
        let _nofs = nofs();
        check_name(oname)?;
        check_name(nname)?;
        let exchange = flags == RenameFlags::EXCHANGE;
        let known = [
            RenameFlags::NONE,
            RenameFlags::NOREPLACE,
            RenameFlags::EXCHANGE,
            RenameFlags::OVER_COLLECTION,
        ];
        if !known.contains(&flags) {
            return Err(Error::Invalid("unknown rename flags"));
        }
        let mut tx = self.begin(Reserve::items(9))?;
        let src = find(&tx, self.hash_key(), odir, oname)?.ok_or(Error::NotFound)?;
        let dst = find(&tx, self.hash_key(), ndir, nname)?;
        if dst.is_some() && flags == RenameFlags::NOREPLACE {
            return Err(Error::Exists);
        }
        if dst.is_none() && exchange {
            return Err(Error::NotFound);
        }
        let mut outcome = RenameOutcome {
            txg: 0,
            replaced: None,
            moved: src.ino,
        };
        if dst.is_some_and(|d| d.ino == src.ino) {
            outcome.txg = tx.commit();
            return Ok(outcome);
        }
        if src.is_dir() && odir != ndir {
            check_not_above(&tx, src.ino, ndir)?;
        }
        let over = match flags {
            RenameFlags::OVER_COLLECTION => Target::Collection,
            _ => Target::Dir,
        };
        let rename = Rename {
            odir,
            ndir,
            src,
            now,
            over,
        };
        match dst {
            Some(dst) if exchange => {
                if dst.is_dir() && odir != ndir {
                    check_not_above(&tx, dst.ino, odir)?;
                }
                rename.exchange(&mut tx, &dst)?;
            }
            dst => outcome.replaced = rename.replace(&mut tx, oname, nname, dst.as_ref())?,
        }
        outcome.txg = tx.commit();
        if let Some(inode) = &mut outcome.replaced {
            inode.txg = outcome.txg;
        }
        Ok(outcome)
    }
}
