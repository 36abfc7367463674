// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Deleting an inode with everything it has.

use super::key;
use super::Ino;
use crate::format::items::orphan::TRUNCATE;
use crate::format::items::state;
use crate::format::items::DiskDirent;
use crate::format::items::DiskExtent;
use crate::format::Key;
use crate::format::Kind;
use crate::format::ROOT_INO;
use crate::fs::Fs;
use crate::orphan;
use crate::txn::Read;
use crate::txn::Tx;
use vexfs_host::cond_resched;
use vexfs_host::mem::Vec;
use vexfs_host::nofs;
use vexfs_host::Error;
use vexfs_host::Result;

/// An item to remove.
struct Doomed {
    key: Key,
    /// What an extent item refers to.
    blocks: Option<(u64, u32, u64)>,
}

/// Removes up to `budget` items of inode `ino`, all but the inode item itself, and frees what they refer to. Returns
/// whether none are left.
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
    match super::read(tx, ino)? {
        Some(i) if i.is_hidden() && i.parent == dir => {
            if !purge_file(tx, ino, budget)? || *budget < 2 {
                return Ok(false);
            }
            if i.state & state::TRUNCATING != 0 {
                orphan::remove(tx, ino, TRUNCATE)?;
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

impl Fs {
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
        if super::expect(&tx, ino)?.nlink != 0 || ino == ROOT_INO {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inode::testing::t;
    use crate::inode::testing::TestFs;

    #[test]
    fn an_unlinked_file_keeps_its_contents_until_it_is_evicted() {
        let fs = TestFs::new();
        let free = fs.free();
        let ino = fs.large_file();
        let contents = fs.contents(ino);
        fs.fs.unlink(ROOT_INO, b"f", t(2)).unwrap();
        fs.check();
        assert_eq!(fs.contents(ino), contents);
        fs.fs.write(ino, 0, b"still written to", t(3)).unwrap();
        fs.fs.evict(ino).unwrap();
        assert_eq!(fs.fs.inode(ino), Err(Error::NotFound));
        assert_eq!(fs.free(), free);
        fs.check();
    }

    #[test]
    fn a_deletion_goes_on_after_a_crash_at_any_of_its_transactions() {
        let fs = TestFs::new();
        let free = fs.free();
        let ino = fs.large_file();
        fs.fs.unlink(ROOT_INO, b"f", t(2)).unwrap();
        let mut steps = 0;
        loop {
            fs.fs.sync().unwrap();
            let crashed = fs.after_crash();
            assert_eq!(crashed.fs.inode(ino), Err(Error::NotFound));
            crashed.check();
            assert_eq!(crashed.free(), free);
            let (mut tx, mut budget) = fs.fs.begin_step().unwrap();
            let gone = purge(&mut tx, ino, &mut budget).unwrap();
            tx.commit();
            fs.check();
            if gone {
                break;
            }
            steps += 1;
        }
        assert!(steps >= 4, "{steps}");
        fs.fs.evict(ino).unwrap();
        fs.check();
    }
}
