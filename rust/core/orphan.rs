// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Orphans: work on an inode that takes more than one transaction, and is finished after a crash.
//!
//! An orphan item is made in the transaction that makes the work necessary (a last name removed, a file cut, a collection
//! dropped) and is removed in the transaction that ends it. In between, bounded transactions free a few items each. A crash
//! at any point leaves the item, and the next mount goes on: each step finds by itself what is left to do.

#[cfg(test)]
mod tests;

use crate::collection_item;
use crate::file::truncate;
use crate::format::items::orphan::DELETE;
use crate::format::items::orphan::DISOWN;
use crate::format::items::orphan::TRUNCATE;
use crate::format::items::state;
use crate::format::items::DiskDirent;
use crate::format::items::DiskExtent;
use crate::format::items::DiskOrphan;
use crate::format::Key;
use crate::format::Kind;
use crate::format::ROOT_INO;
use crate::inode;
use crate::inode::key;
use crate::inode::Ino;
use crate::mount::Fs;
use crate::txn::Read;
use crate::txn::Reserve;
use crate::txn::Tx;
use vexfs_host::cond_resched;
use vexfs_host::log;
use vexfs_host::mem::Vec;
use vexfs_host::nofs;
use vexfs_host::relax;
use vexfs_host::Error;
use vexfs_host::Result;
use zerocopy::FromZeros;
use zerocopy::IntoBytes;

/// Items that one transaction removes at most.
pub(crate) const STEP: usize = 64;

/// Orphans that a mount logs one by one when it cannot finish them.
const LOGGED: u64 = 10;

/// Notes `actions` to be done for inode `ino`.
pub(crate) fn add(tx: &mut Tx<'_>, ino: Ino, actions: u32) -> Result<()> {
    let mut item = DiskOrphan::new_zeroed();
    item.actions.set(actions);
    match tx.insert(&key::orphan(ino), item.as_bytes()) {
        Err(Error::Exists) => {}
        done => return done,
    }
    let old = get(tx, ino)?;
    item.actions.set(old | actions);
    tx.put(&key::orphan(ino), item.as_bytes())
}

/// Strikes `actions` off what is to be done for inode `ino`.
pub(crate) fn remove(tx: &mut Tx<'_>, ino: Ino, actions: u32) -> Result<()> {
    let left = get(tx, ino)? & !actions;
    if left == 0 {
        return tx.remove(&key::orphan(ino));
    }
    let mut item = DiskOrphan::new_zeroed();
    item.actions.set(left);
    tx.put(&key::orphan(ino), item.as_bytes())
}

fn get(tx: &Tx<'_>, ino: Ino) -> Result<u32> {
    match pending(tx, ino)? {
        0 => Err(tx.damaged("orphan item missing", ino)),
        actions => Ok(actions),
    }
}

/// What is to be done for inode `ino`, 0 if nothing.
pub(crate) fn pending(r: &impl Read, ino: Ino) -> Result<u32> {
    let found = r.get(&key::orphan(ino), |data| {
        Ok(DiskOrphan::parse(data, ino)?.actions.get())
    })?;
    Ok(found.unwrap_or(0))
}

/// An item to remove.
struct Doomed {
    key: Key,
    /// What an extent item refers to.
    blocks: Option<(u64, u32, u64)>,
}

/// Removes up to `budget` items of inode `ino`, all but the inode item itself, and frees what they refer to. Returns whether
/// none are left.
///
/// It calls itself for hidden files, which own none: the depth is two.
fn purge(tx: &mut Tx<'_>, ino: Ino, budget: &mut usize) -> Result<bool> {
    let mut doomed: Vec<Doomed> = Vec::new();
    let mut more = false;
    let first = Key::new(ino, Kind(Kind::INODE.0 + 1), 0);
    let last = Key::new(ino, Kind(u8::MAX), u64::MAX);
    tx.scan(&first, &last, &mut |k, data| {
        if doomed.len() >= *budget {
            more = true;
            return Ok(false);
        }
        let mut blocks = None;
        if k.kind == Kind::EXTENT {
            let e = DiskExtent::parse(data, ino, k.offset)?;
            blocks = Some((e.pblk.get(), e.len.get(), e.birth.get()));
        } else if k.kind == Kind::DIRENT && DiskDirent::parse(data, ino)?.0.ino.get() != 0 {
            // A removed directory is empty. Deleting a name here would lose what it names.
            return Err(Error::corrupt("removed directory with an entry", u64::MAX, ino));
        }
        doomed.push(Doomed { key: *k, blocks })?;
        Ok(true)
    })?;
    for item in &doomed {
        if *budget == 0 {
            return Ok(false);
        }
        if item.key.kind == Kind::COLLECTION && item.key.offset != 0 {
            if !purge_hidden(tx, ino, item.key.offset, budget)? {
                return Ok(false);
            }
            continue;
        }
        tx.remove(&item.key)?;
        if let Some((pblk, len, birth)) = item.blocks {
            tx.free_extent(pblk, len, birth)?;
        }
        *budget = budget.saturating_sub(1);
    }
    Ok(!more)
}

/// Removes hidden file `ino` of the collection of `dir`, within the budget. Returns whether it is gone.
fn purge_hidden(tx: &mut Tx<'_>, dir: Ino, ino: Ino, budget: &mut usize) -> Result<bool> {
    match inode::read(tx, ino)? {
        Some(i) if i.is_hidden() && i.parent == dir => {
            if !purge_file(tx, ino, budget)? || *budget < 2 {
                return Ok(false);
            }
            if i.state & state::TRUNCATING != 0 {
                remove(tx, ino, TRUNCATE)?;
            }
            tx.remove(&key::inode(ino))?;
            tx.add_inodes(-1)?;
        }
        _ => {
            return Err(Error::corrupt(
                "collection that owns a file which is not its own",
                u64::MAX,
                dir,
            ))
        }
    }
    tx.remove(&key::hidden(dir, ino))?;
    *budget = budget.saturating_sub(2);
    Ok(true)
}

/// [`purge`] for a file, which owns nothing: no collection item may lead on from it.
fn purge_file(tx: &mut Tx<'_>, ino: Ino, budget: &mut usize) -> Result<bool> {
    let owns = tx.first_at_or_after(&key::collection(ino), |k, _| {
        Ok(k.obj == ino && k.kind == Kind::COLLECTION)
    })?;
    if owns == Some(true) {
        return Err(Error::corrupt("file with a collection", u64::MAX, ino));
    }
    purge(tx, ino, budget)
}

const LARGE_STEP: Reserve = Reserve::items(6).clustered(STEP).deleting();
const SMALL_STEP: Reserve = Reserve::items(8).deleting();

impl Fs {
    /// Begins a transaction that removes up to the returned number of items: fewer when the device is nearly full.
    pub(crate) fn begin_step(&self) -> Result<(Tx<'_>, usize)> {
        match self.begin(LARGE_STEP) {
            Ok(tx) => Ok((tx, STEP)),
            Err(Error::NoSpace) => Ok((self.begin(SMALL_STEP)?, 4)),
            Err(e) => Err(e),
        }
    }

    /// The same for data on its way into the tree.
    pub(crate) fn begin_data_step(&self) -> Result<(Tx<'_>, usize)> {
        match self.begin(LARGE_STEP.of_data()) {
            Ok(tx) => Ok((tx, STEP)),
            Err(Error::NoSpace) => Ok((self.begin(SMALL_STEP.of_data())?, 4)),
            Err(e) => Err(e),
        }
    }

    /// Deletes inode `ino`, whose link count is 0, with everything it has: contents, attributes, hidden files.
    ///
    /// Large inodes take several transactions; a crash in between leaves the rest to the next mount. Nobody may use the
    /// inode any more.
    pub fn evict(&self, ino: Ino) -> Result<()> {
        let _nofs = nofs();
        // The host forgets the inode whatever comes of this: until the next mount, nobody would try again.
        while !self.patiently(|| self.evict_step(ino))? {
            cond_resched();
        }
        Ok(())
    }

    /// Deletes some of what inode `ino` has; whether it is gone.
    fn evict_step(&self, ino: Ino) -> Result<bool> {
        let (tx, mut budget) = self.begin_step()?;
        let mut tx = tx.for_orphan();
        // The root has no name and is never deleted, whatever its link count says.
        if inode::expect(&tx, ino)?.nlink != 0 || ino == ROOT_INO {
            return Err(Error::Invalid("an inode with links cannot be deleted"));
        }
        let gone = purge(&mut tx, ino, &mut budget)?;
        if gone {
            tx.remove(&key::inode(ino))?;
            tx.add_inodes(-1)?;
            tx.remove(&key::orphan(ino))?;
        }
        tx.commit();
        Ok(gone)
    }
}

/// Finishes what a crash interrupted. Called once, by a writable mount.
///
/// An orphan that cannot be finished, be it for damage, for lack of room or because it contradicts its inode, stays as it is:
/// it must not keep the others and everything else from being used, and its space is found by a check.
///
/// # Errors
///
/// `NoMemory`, `Interrupted`; what stopped the filesystem; those of finding the orphans.
pub(crate) fn recover(fs: &Fs) -> Result<()> {
    let mut from = 0;
    let mut left = 0u64;
    loop {
        let next = fs.view()?.first_at_or_after(&key::orphan(from), |k, data| {
            if k.obj != 0 || k.kind != Kind::ORPHAN {
                return Ok(None);
            }
            let actions = DiskOrphan::parse(data, k.offset).map(|o| o.actions.get());
            Ok(Some((k.offset, actions)))
        })?;
        let Some((ino, actions)) = next.flatten() else {
            break;
        };
        if let Err(e) = actions.and_then(|actions| finish(fs, ino, actions)) {
            if matches!(e, Error::NoMemory | Error::Interrupted) || fs.abort_reason().is_some() {
                return Err(e);
            }
            fs.note_failure(&e);
            left += 1;
            if left <= LOGGED {
                log!(err, "inode {}: left as it is, it cannot be deleted or cut: {}", ino, e);
            }
        }
        from = match ino.checked_add(1) {
            Some(n) => n,
            None => break,
        };
        relax()?;
    }
    if left > LOGGED {
        log!(err, "{} inodes in all cannot be deleted or cut", left);
    }
    Ok(())
}

fn finish(fs: &Fs, ino: Ino, actions: u32) -> Result<()> {
    if actions & DELETE != 0 {
        return fs.evict(ino).map_err(|e| match e {
            Error::Invalid(what) => Error::corrupt(what, u64::MAX, ino),
            e => e,
        });
    }
    if actions & TRUNCATE != 0 {
        truncate::resume(fs, ino)?;
    }
    if actions & DISOWN != 0 {
        collection_item::resume_drop(fs, ino)?;
    }
    Ok(())
}
