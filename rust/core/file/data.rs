// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The kernel's data path: mapping file blocks, and making written blocks part of the file.
//!
//! The order of things in writeback: [`Fs::alloc_data_for`] takes blocks, the host writes them, [`Fs::finish_data`] puts
//! them into the extent list (or [`Fs::abort_data`] gives them back). The size on the device grows with the data only in
//! `finish_data`, so that after a crash a file never has a size without the data that belong to it.

use super::extents;
use super::inline;
use super::truncate;
use super::DataAlloc;
use super::DataState;
use crate::format::items::state;
use crate::format::items::INLINE_MAX;
use crate::fs::Fs;
use crate::inode;
use crate::inode::change;
use crate::inode::change_contents;
use crate::inode::Ino;
use crate::inode::Txg;
use crate::txn::Reserve;
use crate::txn::Tx;
use core::cell::Cell;
use vexfs_host::nofs;
use vexfs_host::Error;
use vexfs_host::Result;

/// Extents that each of several runs replaces at most to be finished together with the others.
const IN_THE_WAY: usize = 4;

/// What the blocks of a [`Mapping`] are on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapKind {
    /// Nothing: they read as zeros.
    Hole,
    /// Block 0 as `len` bytes of inline data; see [`Fs::read_inline`].
    Inline {
        /// Bytes of data; the rest of the block reads as zeros.
        len: u32,
    },
    /// Blocks from `pblk` on.
    Extent {
        /// First block on the device.
        pblk: u64,
    },
}

/// A run of blocks of a file that are alike in every respect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First logical block.
    pub lblk: u64,
    /// Number of blocks, not 0.
    pub len: u64,
    /// What they are on the device.
    pub kind: MapKind,
    /// Whether they are reserved: the page cache has newer contents.
    pub reserved: bool,
    /// Whether newer contents are being written.
    pub in_flight: bool,
}

impl Fs {
    /// Maps the blocks of inode `ino` from `lblk` on, at most `max` (not 0).
    pub fn map(&self, ino: Ino, data: &DataState, lblk: u64, max: u64) -> Result<Mapping> {
        let _nofs = nofs();
        // The state first: what is in flight here and lands meanwhile is then found in the tree.
        let (reserved, in_flight, n) = data.run(lblk, max);
        let mut m = self.map_tree(ino, lblk, n)?;
        m.reserved = reserved;
        m.in_flight = in_flight;
        Ok(m)
    }

    /// Maps what is in the tree.
    pub(crate) fn map_tree(&self, ino: Ino, lblk: u64, max: u64) -> Result<Mapping> {
        let view = self.view()?;
        let mut m = Mapping {
            lblk,
            len: max.min(u64::MAX.saturating_sub(lblk)),
            kind: MapKind::Hole,
            reserved: false,
            in_flight: false,
        };
        if let Some(e) = extents::covering(&view, ino, lblk)? {
            m.len = m.len.min(e.end().saturating_sub(lblk));
            m.kind = MapKind::Extent {
                pblk: e.pblk.saturating_add(lblk.saturating_sub(e.lblk)),
            };
            return Ok(m);
        }
        if lblk == 0 {
            if let Some(len) = inline::len(&view, ino)? {
                m.len = m.len.min(1);
                m.kind = MapKind::Inline { len: len as u32 };
                return Ok(m);
            }
        }
        if let Some(e) = extents::first_at_or_after(&view, ino, lblk)? {
            m.len = m.len.min(e.lblk.saturating_sub(lblk));
        } else {
            // Not even one inode: tell it from a file that is one hole.
            inode::expect(&view, ino)?;
        }
        Ok(m)
    }

    /// Makes written blocks the contents of their range, frees what was there, and raises the size on the device to
    /// `size_at_least`. `csum` is the CRC-32C of all that was written to the blocks, if it is known; see
    /// [`Tx::adopt_extent`]. Consumes `alloc`: on an error its blocks are given back.
    pub fn finish_data(
        &self,
        ino: Ino,
        data: &DataState,
        alloc: &DataAlloc,
        size_at_least: Option<u64>,
        csum: Option<u32>,
    ) -> Result<Txg> {
        let _nofs = nofs();
        let mut rest = *alloc;
        let done = self.finish_pieces(ino, data, &mut rest, size_at_least, csum);
        if done.is_err() {
            self.release_data(rest.pblk, rest.len);
        }
        data.landed(&self.order, [alloc]);
        done
    }

    /// What [`Fs::finish_data`] does, for several runs with their checksums in one transaction: all of it or, on an error,
    /// nothing, and the caller finishes them one by one. Their number should be small, and each should replace a few extents
    /// at most.
    ///
    /// # Errors
    ///
    /// `Invalid` for runs that overlap or are not in the order of the file, `Busy` if more extents are in the way; others.
    pub fn finish_together(
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
        let mut total = inline::Delta::default();
        for (a, csum) in allocs {
            let delta = replace_all(&mut tx, ino, a, *csum, self.units_per_block(), IN_THE_WAY)?;
            total.add(&delta);
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
    fn finish_pieces(
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
            let txg = self.patiently(|| self.finish_piece(ino, data, rest, size, csum))?;
            if let Some(txg) = txg.filter(|_| rest.len == 0) {
                return Ok(txg);
            }
        }
    }

    /// Finishes a first part of `rest`, and takes it off; `None` if there is something else to be done before.
    fn finish_piece(
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
        let mut delta = inline::Delta {
            gained: u64::from(done).saturating_mul(self.units_per_block()),
            lost: freed.saturating_mul(self.units_per_block()),
        };
        if rest.lblk == 0 && done > 0 {
            delta.lost = delta.lost.saturating_add(inline::remove(&mut tx, ino)?);
        }
        let cutting = Cell::new(false);
        let changed = change_contents(&mut tx, ino, |d| {
            cutting.set(d.state.get() & state::TRUNCATING != 0);
            if cutting.get() {
                // Old blocks behind the size must be gone before the size may grow over them.
                return Err(Error::Busy);
            }
            delta.apply(d, ino)?;
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

    /// Makes `contents` the contents of block 0, followed by zeros, and consumes its reservation. The size on the device
    /// becomes at least their length.
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
        let delta = inline::put(&mut tx, ino, contents, self.units_per_block())?;
        change(&mut tx, ino, |d| {
            if d.size.get() > INLINE_MAX as u64 {
                return Err(Error::Invalid("file too large for inline data"));
            }
            d.size.set(d.size.get().max(contents.len() as u64));
            delta.apply(d, ino)
        })?;
        let txg = tx.commit();
        self.unreserve(data, 0, 1);
        Ok(txg)
    }

    /// Units of 512 bytes in a block.
    pub(crate) fn units_per_block(&self) -> u64 {
        u64::from(self.block_size() / 512)
    }
}

/// Makes freshly written `alloc`, whose checksum may be known, part of inode `ino` in a transaction that reserved enough for
/// `budget` old extents.
pub(super) fn replace_all(
    tx: &mut Tx<'_>,
    ino: Ino,
    alloc: &DataAlloc,
    csum: Option<u32>,
    units: u64,
    budget: usize,
) -> Result<inline::Delta> {
    let (done, freed) = extents::replace(tx, ino, alloc, csum, budget)?;
    if done != alloc.len {
        return Err(Error::Busy);
    }
    let mut delta = inline::Delta {
        gained: u64::from(done).saturating_mul(units),
        lost: freed.saturating_mul(units),
    };
    if alloc.lblk == 0 {
        delta.lost = delta.lost.saturating_add(inline::remove(tx, ino)?);
    }
    Ok(delta)
}
