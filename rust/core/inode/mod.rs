// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Inodes: attributes, and what every operation does to them.
//!
//! An inode is one item of the tree. Operations change it where it lies, through [`change`], which also moves its
//! change cookie. The kernel's and the tests' copies are [`Inode`] values; they carry the txg of the last change, which
//! is what an fsync has to wait for.
//!
//! Who serialises: the tree lock makes each operation atomic. Operations on the *contents* of one inode (write,
//! truncate, punch, set_attr) are several transactions or do device I/O between look-up and change, so callers hold a
//! lock of their own per inode: exclusively for changes of contents, shared for reading (the kernel's `i_rwsem`, an
//! engine's collection lock). Directory operations need no such lock.

pub(crate) mod create;
mod evict;
pub(crate) mod key;
mod new_inode;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use crate::format::items::dtype;
use crate::format::items::mode;
use crate::format::items::state;
use crate::format::items::DiskInode;
use crate::format::items::LINK_MAX;
use crate::format::items::SYMLINK_MAX;
use crate::fs::Fs;
use crate::txn::Read;
use crate::txn::Reserve;
use crate::txn::Tx;
use vexfs_host::mem::Vec;
use vexfs_host::nofs;
use vexfs_host::Error;
use vexfs_host::Result;
use zerocopy::little_endian::I64;
use zerocopy::little_endian::U32;
use zerocopy::IntoBytes as _;

pub use new_inode::NewInode;

/// An inode number.
pub type Ino = u64;
/// The number of a transaction group.
pub type Txg = u64;

/// A point in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds since 1970.
    pub sec: i64,
    /// Nanoseconds, below 1,000,000,000.
    pub nsec: u32,
}

impl Time {
    /// The host's time.
    pub fn now() -> Self {
        let (sec, nsec) = vexfs_host::now();
        Time { sec, nsec }
    }

    fn store(self, sec: &mut I64, nsec: &mut U32) {
        sec.set(self.sec);
        // The caller is trusted code, but what is on disk must be readable again.
        nsec.set(self.nsec.min(999_999_999));
    }
}

/// The attributes of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inode {
    /// Inode number.
    pub ino: Ino,
    /// Type and permission bits, as in `stat(2)`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Link count.
    pub nlink: u32,
    /// Size in bytes; of a directory, the number of entries.
    pub size: u64,
    /// Space used by the contents, in units of 512 bytes.
    pub blocks: u64,
    /// Device number of a device node.
    pub rdev: u32,
    /// Attribute bits (`FS_*_FL`).
    pub flags: u32,
    /// [`state`] bits.
    pub state: u32,
    /// Bytes of attribute names; 0 when there are no extended attributes.
    pub xattr_list: u32,
    /// Tells two inodes with the same number apart.
    pub generation: u64,
    /// Directory: its parent. Hidden file: its collection's directory. Otherwise 0.
    pub parent: Ino,
    /// Grows with each change.
    pub change: u64,
    /// The transaction group of the last change.
    pub txg: Txg,
    /// Last access.
    pub atime: Time,
    /// Last change of contents.
    pub mtime: Time,
    /// Last change of anything.
    pub ctime: Time,
    /// Birth.
    pub btime: Time,
}

impl Inode {
    /// Reads the attributes out of an item.
    pub fn from_disk(ino: Ino, d: &DiskInode) -> Self {
        let time = |sec: I64, nsec: U32| Time {
            sec: sec.get(),
            nsec: nsec.get(),
        };
        Inode {
            ino,
            mode: d.mode.get(),
            uid: d.uid.get(),
            gid: d.gid.get(),
            nlink: d.nlink.get(),
            size: d.size.get(),
            blocks: d.blocks.get(),
            rdev: d.rdev.get(),
            flags: d.flags.get(),
            state: d.state.get(),
            xattr_list: d.xattr_list.get(),
            generation: d.generation.get(),
            parent: d.parent.get(),
            change: d.change.get(),
            txg: d.txg.get(),
            atime: time(d.atime, d.atime_ns),
            mtime: time(d.mtime, d.mtime_ns),
            ctime: time(d.ctime, d.ctime_ns),
            btime: time(d.btime, d.btime_ns),
        }
    }

    /// The directory entry type (`DT_*`).
    pub fn dtype(&self) -> u8 {
        dtype(self.mode)
    }

    /// Whether this is a directory.
    pub fn is_dir(&self) -> bool {
        self.mode & mode::S_IFMT == mode::S_IFDIR
    }

    /// Whether this is a regular file.
    pub fn is_file(&self) -> bool {
        self.mode & mode::S_IFMT == mode::S_IFREG
    }

    /// Whether this is a directory that is a collection.
    pub fn is_collection(&self) -> bool {
        self.state & state::COLLECTION != 0
    }

    /// Whether this is a file of a collection, without a name.
    pub fn is_hidden(&self) -> bool {
        self.state & state::HIDDEN != 0
    }

    /// That this is a regular file: `IsDir` or `Invalid` where not.
    pub(crate) fn expect_file(&self) -> Result<()> {
        match self.mode & mode::S_IFMT {
            mode::S_IFREG => Ok(()),
            mode::S_IFDIR => Err(Error::IsDir),
            _ => Err(Error::Invalid("not a regular file")),
        }
    }
}

/// Attributes to set; `None` leaves one as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct SetAttr {
    /// Permission bits; type bits are ignored.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Access time.
    pub atime: Option<Time>,
    /// Modification time.
    pub mtime: Option<Time>,
    /// Change time.
    pub ctime: Option<Time>,
    /// Attribute bits.
    pub flags: Option<u32>,
}

impl DiskInode {
    /// Whether this is a directory.
    pub(crate) fn is_dir(&self) -> bool {
        self.mode.get() & mode::S_IFMT == mode::S_IFDIR
    }

    /// That entries can be made in this inode: `NotDir` or, when the directory was removed, `NotFound`.
    pub(crate) fn expect_live_dir(&self) -> Result<()> {
        if !self.is_dir() {
            return Err(Error::NotDir);
        }
        if self.nlink.get() == 0 {
            return Err(Error::NotFound);
        }
        Ok(())
    }

    /// Sets the change time.
    pub(crate) fn set_ctime(&mut self, now: Time) {
        now.store(&mut self.ctime, &mut self.ctime_ns);
    }

    /// Sets modification and change time.
    pub(crate) fn set_mtime(&mut self, now: Time) {
        now.store(&mut self.mtime, &mut self.mtime_ns);
        self.set_ctime(now);
    }

    /// Adds a link.
    pub(crate) fn add_link(&mut self) -> Result<()> {
        let n = self.nlink.get();
        if n >= LINK_MAX {
            return Err(Error::TooManyLinks);
        }
        self.nlink.set(n.saturating_add(1));
        Ok(())
    }

    /// Takes a link away and returns how many are left.
    pub(crate) fn drop_link(&mut self, ino: Ino) -> Result<u32> {
        let n = self.nlink.get().checked_sub(1);
        let n = n.ok_or(Error::corrupt("link count below the number of names", u64::MAX, ino))?;
        self.nlink.set(n);
        Ok(n)
    }

    /// Counts an entry that a directory gained.
    pub(crate) fn add_entry(&mut self) {
        self.size.set(self.size.get().saturating_add(1));
    }

    /// Counts an entry that directory `dir` lost.
    pub(crate) fn drop_entry(&mut self, dir: Ino) -> Result<()> {
        let n = self.size.get().checked_sub(1);
        let n = n.ok_or(Error::corrupt(
            "directory with more entries than it counts",
            u64::MAX,
            dir,
        ))?;
        self.size.set(n);
        Ok(())
    }

    /// Accounts for contents that now use `gained` and no longer use `lost` units of 512 bytes.
    pub(crate) fn account(&mut self, ino: Ino, gained: u64, lost: u64) -> Result<()> {
        let n = self.blocks.get().checked_add(gained).and_then(|n| n.checked_sub(lost));
        let n = n.ok_or(Error::corrupt("inode with more blocks than it counts", u64::MAX, ino))?;
        self.blocks.set(n);
        Ok(())
    }
}

/// Reads inode `ino`.
pub(crate) fn read(r: &impl Read, ino: Ino) -> Result<Option<Inode>> {
    r.get(&key::inode(ino), |data| {
        Ok(Inode::from_disk(ino, DiskInode::parse(data, ino)?))
    })
}

/// Reads inode `ino`, which the caller named: `NotFound` when there is none.
pub(crate) fn expect(r: &impl Read, ino: Ino) -> Result<Inode> {
    read(r, ino)?.ok_or(Error::NotFound)
}

/// Changes inode `ino` in place, moves its change cookie and notes the transaction group.
pub(crate) fn change<R>(tx: &mut Tx<'_>, ino: Ino, f: impl FnOnce(&mut DiskInode) -> Result<R>) -> Result<R> {
    let txg = tx.txg();
    let done = tx.modify(&key::inode(ino), |data| {
        let d = DiskInode::parse_mut(data, ino)?;
        let r = f(d)?;
        d.change.set(d.change.get().wrapping_add(1));
        d.txg.set(txg);
        Ok(r)
    })?;
    done.ok_or(Error::NotFound)
}

/// The same after a change of the contents. Often the inode would stay the same: it is then left alone if it was
/// changed in this transaction group before.
pub(crate) fn change_contents(tx: &mut Tx<'_>, ino: Ino, f: impl Fn(&mut DiskInode) -> Result<()>) -> Result<()> {
    let txg = tx.txg();
    let same = tx.get(&key::inode(ino), |data| {
        let now = DiskInode::parse(data, ino)?;
        let mut then = *now;
        f(&mut then)?;
        Ok(now.txg.get() == txg && now.as_bytes() == then.as_bytes())
    })?;
    match same {
        Some(true) => Ok(()),
        Some(false) => change(tx, ino, f),
        None => Err(Error::NotFound),
    }
}

/// [`change`] for an inode that an item of the tree refers to: its absence is damage.
pub(crate) fn change_linked<R>(tx: &mut Tx<'_>, ino: Ino, f: impl FnOnce(&mut DiskInode) -> Result<R>) -> Result<R> {
    change(tx, ino, f).map_err(|e| match e {
        Error::NotFound => tx.damaged("reference to an inode that does not exist", ino),
        e => e,
    })
}

impl Fs {
    /// The attributes of inode `ino`.
    ///
    /// # Errors
    ///
    /// `NotFound` when there is no such inode.
    pub fn inode(&self, ino: Ino) -> Result<Inode> {
        let _nofs = nofs();
        expect(&self.view()?, ino)
    }

    /// Sets attributes of inode `ino` and returns the transaction group that carries them.
    pub fn set_attr(&self, ino: Ino, attr: &SetAttr) -> Result<Txg> {
        let _nofs = nofs();
        // Changes one item in place, so it may go on when the device is full.
        let mut tx = self.begin(Reserve::items(1).deleting())?;
        change(&mut tx, ino, |d| {
            if let Some(m) = attr.mode {
                d.mode.set(d.mode.get() & mode::S_IFMT | m & !mode::S_IFMT & 0o7777);
            }
            if let Some(uid) = attr.uid {
                d.uid.set(uid);
            }
            if let Some(gid) = attr.gid {
                d.gid.set(gid);
            }
            if let Some(flags) = attr.flags {
                d.flags.set(flags);
            }
            if let Some(t) = attr.atime {
                t.store(&mut d.atime, &mut d.atime_ns);
            }
            if let Some(t) = attr.mtime {
                t.store(&mut d.mtime, &mut d.mtime_ns);
            }
            if let Some(t) = attr.ctime {
                t.store(&mut d.ctime, &mut d.ctime_ns);
            }
            Ok(())
        })?;
        Ok(tx.commit())
    }

    /// Stores when inode `ino` was read last, if that takes no waiting for others. Returns whether it did.
    pub fn try_set_atime(&self, ino: Ino, atime: Time) -> bool {
        let _nofs = nofs();
        let Some(mut tx) = self.try_begin(Reserve::items(1).deleting()) else {
            return false;
        };
        let stored = change(&mut tx, ino, |d| {
            atime.store(&mut d.atime, &mut d.atime_ns);
            Ok(())
        });
        if stored.is_ok() {
            tx.commit();
        }
        stored.is_ok()
    }

    /// Puts the target of symbolic link `ino` into `out`.
    pub fn read_link(&self, ino: Ino, out: &mut Vec<u8>) -> Result<()> {
        let _nofs = nofs();
        let view = self.view()?;
        let inode = expect(&view, ino)?;
        if inode.mode & mode::S_IFMT != mode::S_IFLNK {
            return Err(Error::Invalid("not a symbolic link"));
        }
        // However many pieces there are, no more is gathered than a target may have.
        let wrong = Error::corrupt("symbolic link of a wrong length", u64::MAX, ino);
        let size = usize::try_from(inode.size).map_err(|_| wrong)?;
        if size > SYMLINK_MAX {
            return Err(wrong);
        }
        out.clear();
        view.scan(&key::symlink(ino, 0), &key::symlink(ino, u64::MAX), &mut |_, piece| {
            if piece.len() > size.saturating_sub(out.len()) {
                return Err(wrong);
            }
            out.extend_from_slice(piece)?;
            Ok(true)
        })?;
        if out.len() != size {
            return Err(wrong);
        }
        Ok(())
    }
}
