// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The end of I/O: making blocks that have been written part of the file.
//!
//! The order of things in writeback: [`Fs::alloc_data_for`] takes blocks, the host writes them, [`Fs::end_data_io`]
//! puts them into the extent list (or [`Fs::abort_data`] gives them back). The size on the device grows with the data
//! only in `end_data_io`, so that after a crash a file never has a size without the data that belong to it.

use super::delalloc::DataState;
use super::extents;
use super::extents::DataAlloc;
use super::inline;
use super::replace::replace_all;
use super::truncate;
use super::usage::Usage;
use crate::format::items::state;
use crate::format::items::INLINE_MAX;
use crate::fs::Fs;
use crate::inode::change;
use crate::inode::change_contents;
use crate::inode::Ino;
use crate::inode::Txg;
use crate::txn::Reserve;
use core::cell::Cell;
use vexfs_host::nofs;
use vexfs_host::Error;
use vexfs_host::Result;

/// Extents that each of several runs replaces at most to be finished together with the others.
const IN_THE_WAY: usize = 4;

impl Fs {
    /// Makes written blocks the contents of their range, frees what was there, and raises the size on the device to
    /// `size_at_least`. `csum` is the CRC-32C of all that was written to the blocks, if it is known; see
    /// [`Tx::adopt_extent`](crate::txn::Tx::adopt_extent). Consumes `alloc`: on an error its blocks are given back.
    pub fn end_data_io(
        &self,
        ino: Ino,
        data: &DataState,
        alloc: &DataAlloc,
        size_at_least: Option<u64>,
        csum: Option<u32>,
    ) -> Result<Txg> {
        let _nofs = nofs();
        let mut rest = *alloc;
        let done = self.end_io_pieces(ino, data, &mut rest, size_at_least, csum);
        if done.is_err() {
            self.release_data(rest.pblk, rest.len);
        }
        data.landed(&self.order, [alloc]);
        done
    }

    /// What [`Fs::end_data_io`] does, for several runs with their checksums in one transaction: all of it or, on an
    /// error, nothing, and the caller finishes them one by one. Their number should be small, and each should replace a
    /// few extents at most.
    ///
    /// # Errors
    ///
    /// `Invalid` for runs that overlap or are not in the order of the file, `Busy` if more extents are in the way;
    /// others.
    pub fn end_data_io_together(
        &self,
        ino: Ino,
        data: &DataState,
        allocs: &[(DataAlloc, Option<u32>)],
        size_at_least: Option<u64>,
    ) -> Result<Txg> {
        let _nofs = nofs();
        let mut end = 0u64;
        for (a, _) in allocs {
            // Blocks of this transaction cannot be freed in it.
            if a.lblk < end {
                return Err(Error::Invalid("runs in disorder"));
            }
            end = a.lblk.checked_add(u64::from(a.len)).ok_or(Error::FileTooBig)?;
        }
        let reserve = Reserve::items(allocs.len().saturating_add(2)).clustered(allocs.len().saturating_mul(IN_THE_WAY));
        let mut tx = self.begin(reserve.deleting().of_data())?;
        data.bump();
        let mut total = Usage::default();
        for (a, csum) in allocs {
            let usage = replace_all(&mut tx, ino, a, *csum, self.units_per_block(), IN_THE_WAY)?;
            total.add(&usage);
        }
        change_contents(&mut tx, ino, |d| {
            if d.state.get() & state::TRUNCATING != 0 {
                return Err(Error::Busy);
            }
            total.apply(d, ino)?;
            d.size.set(d.size.get().max(size_at_least.unwrap_or(0)));
            Ok(())
        })?;
        let txg = tx.commit();
        data.landed(&self.order, allocs.iter().map(|(a, _)| a));
        Ok(txg)
    }

    /// Finishes `rest` in pieces that fit a transaction each; what is left in it on an error was not adopted.
    fn end_io_pieces(
        &self,
        ino: Ino,
        data: &DataState,
        rest: &mut DataAlloc,
        size: Option<u64>,
        csum: Option<u32>,
    ) -> Result<Txg> {
        let all = *rest;
        loop {
            let csum = csum.filter(|_| *rest == all);
            // The page that these data came from is clean already: nobody would write them again.
            let txg = self.patiently(|| self.end_io_piece(ino, data, rest, size, csum))?;
            if let Some(txg) = txg.filter(|_| rest.len == 0) {
                return Ok(txg);
            }
        }
    }

    /// Finishes a first part of `rest`, and takes it off; `None` if there is something else to be done before.
    fn end_io_piece(
        &self,
        ino: Ino,
        data: &DataState,
        rest: &mut DataAlloc,
        size: Option<u64>,
        csum: Option<u32>,
    ) -> Result<Option<Txg>> {
        let (mut tx, budget) = self.begin_data_step()?;
        data.bump();
        let (done, freed) = extents::replace(&mut tx, ino, rest, csum, budget)?;
        let mut usage = Usage {
            gained: u64::from(done).saturating_mul(self.units_per_block()),
            lost: freed.saturating_mul(self.units_per_block()),
        };
        if rest.lblk == 0 && done > 0 {
            usage.lost = usage.lost.saturating_add(inline::remove(&mut tx, ino)?);
        }
        let cutting = Cell::new(false);
        let changed = change_contents(&mut tx, ino, |d| {
            cutting.set(d.state.get() & state::TRUNCATING != 0);
            if cutting.get() {
                // Old blocks behind the size must be gone before the size may grow over them.
                return Err(Error::Busy);
            }
            usage.apply(d, ino)?;
            if let Some(size) = size.filter(|_| done == rest.len) {
                d.size.set(d.size.get().max(size));
            }
            Ok(())
        });
        if cutting.get() {
            drop(tx);
            truncate::resume(self, ino)?;
            return Ok(None);
        }
        changed?;
        let txg = tx.commit();
        rest.lblk = rest.lblk.saturating_add(u64::from(done));
        rest.pblk = rest.pblk.saturating_add(u64::from(done));
        rest.len = rest.len.saturating_sub(done);
        Ok(Some(txg))
    }

    /// Makes `contents` the contents of block 0, followed by zeros, and consumes its reservation. The size on the
    /// device becomes at least their length.
    ///
    /// # Errors
    ///
    /// `Invalid` for more than 2,048 bytes, and for a file whose size on the device is larger than that.
    pub fn write_inline(&self, ino: Ino, data: &DataState, contents: &[u8]) -> Result<Txg> {
        let _nofs = nofs();
        truncate::finish_pending(self, ino)?;
        // Inline data come out of the reservation of block 0.
        let mut tx = self.begin(Reserve::items(4).deleting().of_data())?;
        data.bump();
        let usage = inline::put(&mut tx, ino, contents, self.units_per_block())?;
        change(&mut tx, ino, |d| {
            if d.size.get() > INLINE_MAX as u64 {
                return Err(Error::Invalid("file too large for inline data"));
            }
            d.size.set(d.size.get().max(contents.len() as u64));
            usage.apply(d, ino)
        })?;
        let txg = tx.commit();
        self.unreserve(data, 0, 1);
        Ok(txg)
    }
}
