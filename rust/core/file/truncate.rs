// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Changing the size of a file.
//!
//! Shrinking sets the size first; blocks behind it are freed in the same transaction if there are few extents,
//! otherwise in bounded ones that follow, with an orphan item and the inode's `TRUNCATING` state until they are
//! through. While that state is set, nothing may be put behind the size: whoever wants to grow the file finishes the
//! cut first.
//!
//! What lies behind the new end in the last block must read as zeros when the file grows again. The embedded calls
//! rewrite that block; the kernel's page cache zeroes its page, dirties it and writes it back, so [`Fs::truncate_data`]
//! leaves it alone.

use super::delalloc::DataState;
use super::extents;
use super::extents::DataAlloc;
use super::inline;
use super::map::MapKind;
use super::replace::replace_all;
use super::usage::Usage;
use crate::format::items::orphan::TRUNCATE;
use crate::format::items::state;
use crate::format::items::FILE_SIZE_MAX;
use crate::format::items::INLINE_MAX;
use crate::fs::Fs;
use crate::inode;
use crate::inode::change;
use crate::inode::Ino;
use crate::inode::Inode;
use crate::inode::Time;
use crate::inode::Txg;
use crate::orphan;
use vexfs_host::cond_resched;
use vexfs_host::log;
use vexfs_host::mem::Vec;
use vexfs_host::nofs;
use vexfs_host::Error;
use vexfs_host::Result;

/// What the last block of a file that shrinks becomes.
enum Last {
    /// It stays, or it is inline and is cut.
    Kept,
    /// Inline data.
    Inline(Vec<u8>),
    /// A block that was written anew.
    Rewritten(DataAlloc),
}

impl Fs {
    /// Sets the size of file `ino`. What a growing file gains reads as zeros.
    pub fn truncate(&self, ino: Ino, size: u64, now: Time) -> Result<Txg> {
        let _nofs = nofs();
        if size > FILE_SIZE_MAX {
            return Err(Error::FileTooBig);
        }
        let inode = finish_pending(self, ino)?;
        inode.expect_file()?;
        if size >= inode.size {
            return self.cut(ino, size, now, None, &Last::Kept);
        }
        let last = match self.rewrite_last(ino, size) {
            Err(Error::NoSpace) => {
                // The cut frees the block that rewriting the last one needs, unless that is all the file has.
                let block = self.blocks();
                let whole = block.start(block.covering(size));
                if whole >= inode.size {
                    return Err(Error::NoSpace);
                }
                self.cut(ino, whole, now, None, &Last::Kept)?;
                self.sync()?;
                self.rewrite_last(ino, size)?
            }
            last => last?,
        };
        let done = self.cut(ino, size, now, None, &last);
        if let (Err(_), Last::Rewritten(a)) = (&done, &last) {
            self.release_data(a.pblk, a.len);
        }
        done
    }

    /// Sets the size of file `ino` for a host with a page cache: drops reservations and blocks behind it, but leaves
    /// zeroing the rest of the last block to the page cache. Nothing behind the new size may be in flight.
    pub fn truncate_data(&self, ino: Ino, data: &DataState, size: u64, now: Time) -> Result<Txg> {
        let _nofs = nofs();
        if size > FILE_SIZE_MAX {
            return Err(Error::FileTooBig);
        }
        finish_pending(self, ino)?;
        let txg = self.cut(ino, size, now, Some(data), &Last::Kept)?;
        self.unreserve(data, self.blocks().covering(size), u64::MAX);
        Ok(txg)
    }

    /// Writes the block that holds byte `size` anew, with zeros from there on.
    fn rewrite_last(&self, ino: Ino, size: u64) -> Result<Last> {
        let block = self.blocks();
        let tail = block.within(size);
        let lblk = block.holding(size);
        if tail == 0 {
            return Ok(Last::Kept);
        }
        let MapKind::Extent { pblk } = self.map_tree(ino, lblk, 1)?.kind else {
            return Ok(Last::Kept);
        };
        let mut buf: Vec<u8> = Vec::new();
        buf.resize(block.bytes() as usize, 0)?;
        self.dev().read(block.start(pblk), &mut buf)?;
        if size <= INLINE_MAX as u64 {
            buf.truncate(tail);
            return Ok(Last::Inline(buf));
        }
        buf.get_mut(tail..).unwrap_or_default().fill(0);
        let (to, len) = self.alloc_data(pblk, 1, false)?;
        let alloc = DataAlloc { lblk, pblk: to, len };
        self.dev()
            .write(block.start(alloc.pblk), &buf)
            .inspect_err(|_| self.release_data(alloc.pblk, alloc.len))?;
        Ok(Last::Rewritten(alloc))
    }

    /// Sets the size and frees what lies behind it.
    fn cut(&self, ino: Ino, size: u64, now: Time, data: Option<&DataState>, last: &Last) -> Result<Txg> {
        let (mut tx, budget) = self.begin_step()?;
        if let Some(data) = data {
            data.bump();
        }
        let units = self.units_per_block();
        let mut usage = match last {
            Last::Kept => match usize::try_from(size) {
                Ok(size) if size < INLINE_MAX => inline::cut(&mut tx, ino, size)?,
                _ => Usage::default(),
            },
            Last::Inline(bytes) => inline::put(&mut tx, ino, bytes, units)?,
            Last::Rewritten(alloc) => replace_all(&mut tx, ino, alloc, None, units, 1)?,
        };
        let first = self.blocks().covering(size);
        let taken = extents::take_out(&mut tx, ino, first, u64::MAX, budget)?;
        let done = taken.done_to == u64::MAX;
        usage.lost = usage.lost.saturating_add(taken.blocks.saturating_mul(units));
        change(&mut tx, ino, |d| {
            Inode::from_disk(ino, d).expect_file()?;
            d.size.set(size);
            d.set_mtime(now);
            if !done {
                d.state.set(d.state.get() | state::TRUNCATING);
            }
            usage.apply(d, ino)
        })?;
        if !done {
            orphan::add(&mut tx, ino, TRUNCATE)?;
        }
        let txg = tx.commit();
        if !done {
            // The file has its new size whatever happens now. Whoever grows it, or the next mount, will try again.
            if let Err(e) = resume(self, ino) {
                log!(warn, "inode {}: blocks behind its end are still taken: {}", ino, e);
            }
        }
        Ok(txg)
    }
}

/// Finishes an interrupted cut of inode `ino`, if there is one, and returns the inode.
pub(crate) fn finish_pending(fs: &Fs, ino: Ino) -> Result<Inode> {
    let inode = inode::expect(&fs.view()?, ino)?;
    if inode.state & state::TRUNCATING == 0 {
        return Ok(inode);
    }
    resume(fs, ino)?;
    inode::expect(&fs.view()?, ino)
}

/// Frees the blocks behind the end of inode `ino`, which is `TRUNCATING`.
pub(crate) fn resume(fs: &Fs, ino: Ino) -> Result<()> {
    while !fs.patiently(|| resume_step(fs, ino))? {
        cond_resched();
    }
    Ok(())
}

/// Frees some of the blocks behind the end of inode `ino`; whether there are no more.
fn resume_step(fs: &Fs, ino: Ino) -> Result<bool> {
    let (tx, budget) = fs.begin_data_step()?;
    let mut tx = tx.for_orphan();
    let inode = inode::expect(&tx, ino)?;
    if inode.state & state::TRUNCATING == 0 {
        return Ok(true);
    }
    let first = fs.blocks().covering(inode.size);
    let taken = extents::take_out(&mut tx, ino, first, u64::MAX, budget)?;
    let done = taken.done_to == u64::MAX;
    change(&mut tx, ino, |d| {
        if done {
            d.state.set(d.state.get() & !state::TRUNCATING);
        }
        d.account(ino, 0, taken.blocks.saturating_mul(fs.units_per_block()))
    })?;
    if done {
        orphan::remove(&mut tx, ino, TRUNCATE)?;
    }
    tx.commit();
    Ok(done)
}
