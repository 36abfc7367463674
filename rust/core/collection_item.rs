// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What the tree knows of collections: an item with the engine's bytes, and hidden files.
//!
//! A collection is a directory with a collection item. Its data lies in hidden files: regular files without a name,
//! each owned by the directory through an item of its own, and deleted with it ([`Fs::remove_collection`], then evict)
//! or with the collection ([`Fs::drop_collection`]). What the bytes mean is the engine's business.

#[cfg(test)]
mod tests;

use crate::format::items::mode::S_IFREG;
use crate::format::items::orphan::DELETE;
use crate::format::items::orphan::DISOWN;
use crate::format::items::state;
use crate::format::items::DiskHidden;
use crate::format::Kind;
use crate::format::ITEM_MAX;
use crate::fs::Fs;
use crate::inode;
use crate::inode::change;
use crate::inode::change_linked;
use crate::inode::create::insert;
use crate::inode::key;
use crate::inode::Ino;
use crate::inode::NewInode;
use crate::inode::Time;
use crate::inode::Txg;
use crate::orphan;
use crate::txn::Read;
use crate::txn::Reserve;
use crate::txn::Tx;
use vexfs_host::cond_resched;
use vexfs_host::mem::Vec;
use vexfs_host::nofs;
use vexfs_host::Error;
use vexfs_host::Result;
use zerocopy::FromZeros;
use zerocopy::IntoBytes;

fn check_bytes(bytes: &[u8]) -> Result<()> {
    if bytes.len() > ITEM_MAX {
        return Err(Error::TooBig("collection parameters"));
    }
    Ok(())
}

/// Finishes an interrupted [`Fs::drop_collection`]. If it went on later, it would delete new hidden files, too.
fn finish_drop(fs: &Fs, dir: Ino) -> Result<()> {
    if orphan::pending(&fs.view()?, dir)? & DISOWN != 0 {
        resume_drop(fs, dir)?;
    }
    Ok(())
}

fn add_hidden(tx: &mut Tx<'_>, dir: Ino, now: Time) -> Result<Ino> {
    let owner = inode::expect(tx, dir)?;
    if !owner.is_dir() {
        return Err(Error::NotDir);
    }
    if owner.nlink == 0 {
        return Err(Error::NotFound);
    }
    let ino = tx.alloc_ino()?;
    let new = NewInode {
        mode: S_IFREG | 0o600,
        uid: owner.uid,
        gid: owner.gid,
        rdev: 0,
        target: None,
        now,
        xattrs: &[],
    };
    insert(tx, ino, dir, 1, state::HIDDEN, &new)?;
    tx.insert(&key::hidden(dir, ino), DiskHidden::new_zeroed().as_bytes())?;
    Ok(ino)
}

fn add_item(tx: &mut Tx<'_>, dir: Ino, bytes: &[u8], now: Time) -> Result<()> {
    check_bytes(bytes)?;
    tx.insert(&key::collection(dir), bytes)?;
    change(tx, dir, |d| {
        d.expect_live_dir()?;
        d.state.set(d.state.get() | state::COLLECTION);
        d.set_ctime(now);
        Ok(())
    })
}

impl Fs {
    /// Makes directory `dir` a collection with the given bytes: `Exists` when it is one already.
    pub fn create_collection(&self, dir: Ino, bytes: &[u8], now: Time) -> Result<Txg> {
        let _nofs = nofs();
        finish_drop(self, dir)?;
        let mut tx = self.begin(Reserve::items(2))?;
        add_item(&mut tx, dir, bytes, now)?;
        Ok(tx.commit())
    }

    /// Makes directory `dir` a collection with `files.len()` hidden files in one transaction. `encode` gets the numbers
    /// of the new files, which are also left in `files`, and returns the collection's bytes.
    ///
    /// `encode` runs under the tree lock: it must not call back into the filesystem.
    pub fn create_collection_with(
        &self,
        dir: Ino,
        files: &mut [Ino],
        now: Time,
        encode: &mut dyn FnMut(&[Ino]) -> Result<Vec<u8>>,
    ) -> Result<Txg> {
        let _nofs = nofs();
        finish_drop(self, dir)?;
        let mut tx = self.begin(Reserve::items(2 + 2 * files.len()))?;
        for file in files.iter_mut() {
            *file = add_hidden(&mut tx, dir, now)?;
        }
        let bytes = encode(files)?;
        add_item(&mut tx, dir, &bytes, now)?;
        Ok(tx.commit())
    }

    /// Puts the bytes of the collection of directory `dir` into `out`: `NotCollection` when it is none.
    pub fn collection(&self, dir: Ino, out: &mut Vec<u8>) -> Result<()> {
        let _nofs = nofs();
        let view = self.view()?;
        out.clear();
        let found = view.get(&key::collection(dir), |bytes| out.extend_from_slice(bytes))?;
        match found {
            Some(()) => Ok(()),
            None => {
                inode::expect(&view, dir)?;
                Err(Error::NotCollection)
            }
        }
    }

    /// Replaces the bytes of the collection of directory `dir`.
    pub fn update_collection(&self, dir: Ino, bytes: &[u8]) -> Result<Txg> {
        let _nofs = nofs();
        check_bytes(bytes)?;
        let mut tx = self.begin(Reserve::items(2).deleting())?;
        if tx.get(&key::collection(dir), |_| Ok(()))?.is_none() {
            return Err(Error::NotCollection);
        }
        tx.put(&key::collection(dir), bytes)?;
        change(&mut tx, dir, |_| Ok(()))?;
        Ok(tx.commit())
    }

    /// Makes a hidden file that directory `dir` owns: it has no name and is deleted with the directory or its
    /// collection. Works on a full device, as does [`Fs::update_collection`]: deleting rows needs both.
    pub fn create_hidden(&self, dir: Ino, now: Time) -> Result<Ino> {
        let _nofs = nofs();
        finish_drop(self, dir)?;
        let mut tx = self.begin(Reserve::items(3).deleting())?;
        let ino = add_hidden(&mut tx, dir, now)?;
        tx.commit();
        Ok(ino)
    }

    /// Hands the inode numbers of the hidden files of directory `dir` to `emit`.
    pub fn hidden_files(&self, dir: Ino, emit: &mut dyn FnMut(Ino)) -> Result<()> {
        let _nofs = nofs();
        let mut files: Vec<Ino> = Vec::new();
        self.view()?
            .scan(&key::hidden(dir, 1), &key::hidden(dir, u64::MAX), &mut |k, _| {
                files.push(k.offset)?;
                Ok(true)
            })?;
        for ino in files {
            emit(ino);
        }
        Ok(())
    }

    /// What the hidden files of directory `dir` take: bytes, and units of 512 bytes on disk.
    pub fn hidden_usage(&self, dir: Ino) -> Result<(u64, u64)> {
        let _nofs = nofs();
        let view = self.view()?;
        let mut files: Vec<Ino> = Vec::new();
        view.scan(&key::hidden(dir, 1), &key::hidden(dir, u64::MAX), &mut |k, _| {
            files.push(k.offset)?;
            Ok(true)
        })?;
        let (mut bytes, mut units) = (0u64, 0u64);
        for ino in &files {
            if let Some(file) = inode::read(&view, *ino)? {
                bytes = bytes.saturating_add(file.size);
                units = units.saturating_add(file.blocks);
            }
        }
        Ok((bytes, units))
    }

    /// Takes hidden file `ino` away from directory `dir`, in one transaction; [`Fs::evict`] then deletes it.
    pub fn release_hidden(&self, dir: Ino, ino: Ino, now: Time) -> Result<Txg> {
        let _nofs = nofs();
        let mut tx = self.begin(Reserve::items(3).deleting())?;
        disown(&mut tx, dir, ino, now)?;
        Ok(tx.commit())
    }

    /// Makes the collection of directory `dir` an ordinary directory again and deletes its hidden files.
    ///
    /// From the first transaction on it is no collection any more; a crash leaves the deletion to the next mount.
    pub fn drop_collection(&self, dir: Ino, now: Time) -> Result<Txg> {
        let _nofs = nofs();
        let mut tx = self.begin(Reserve::items(3).deleting())?;
        match tx.remove(&key::collection(dir)) {
            Err(Error::NotFound) => {
                inode::expect(&tx, dir)?;
                return Err(Error::NotCollection);
            }
            done => done?,
        }
        change(&mut tx, dir, |d| {
            d.state.set(d.state.get() & !state::COLLECTION);
            d.set_ctime(now);
            Ok(())
        })?;
        orphan::add(&mut tx, dir, DISOWN)?;
        let txg = tx.commit();
        resume_drop(self, dir)?;
        Ok(txg)
    }
}

/// Turns hidden file `ino` of directory `dir` into an orphan.
fn disown(tx: &mut Tx<'_>, dir: Ino, ino: Ino, now: Time) -> Result<()> {
    tx.remove(&key::hidden(dir, ino))?;
    change_linked(tx, ino, |d| {
        if d.state.get() & state::HIDDEN == 0 || d.parent.get() != dir {
            return Err(Error::corrupt(
                "collection that owns a file which is not its own",
                u64::MAX,
                dir,
            ));
        }
        // From now on it is an inode without a name like any other.
        d.state.set(d.state.get() & !state::HIDDEN);
        d.parent.set(0);
        d.nlink.set(0);
        d.set_ctime(now);
        Ok(())
    })?;
    orphan::add(tx, ino, DELETE)
}

/// Deletes the hidden files of directory `dir`, which is no collection any more.
pub(crate) fn resume_drop(fs: &Fs, dir: Ino) -> Result<()> {
    loop {
        let mut tx = fs.begin(Reserve::items(4).deleting())?.for_orphan();
        let next = tx.first_at_or_after(&key::hidden(dir, 1), |k, _| {
            Ok((k.obj == dir && k.kind == Kind::COLLECTION).then_some(k.offset))
        })?;
        match next.flatten() {
            Some(ino) => {
                disown(&mut tx, dir, ino, Time::now())?;
                tx.commit();
                fs.evict(ino)?;
            }
            None => {
                orphan::remove(&mut tx, dir, DISOWN)?;
                tx.commit();
                return Ok(());
            }
        }
        cond_resched();
    }
}
