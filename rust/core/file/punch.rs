// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Punching holes: making a range of a file read as zeros and giving its blocks back.

use super::delalloc::DataState;
use super::extents;
use super::inline;
use super::map::MapKind;
use super::truncate;
use crate::fs::Fs;
use crate::inode;
use crate::inode::change;
use crate::inode::Ino;
use crate::inode::Time;
use crate::inode::Txg;
use vexfs_host::mem::Vec;
use vexfs_host::nofs;
use vexfs_host::relax;
use vexfs_host::Error;
use vexfs_host::Result;

impl Fs {
    /// Makes `len` bytes from `off` on of file `ino` read as zeros; the size stays. Whole blocks become holes.
    ///
    /// It is not one transaction: after a crash, any part of the range may still have its old contents.
    pub fn punch(&self, ino: Ino, off: u64, len: u64, now: Time) -> Result<Txg> {
        let _nofs = nofs();
        let inode = self.inode(ino)?;
        inode.expect_file()?;
        let block = self.blocks();
        let end = off.checked_add(len).ok_or(Error::FileTooBig)?.min(inode.size);
        if off >= end {
            return Ok(inode.txg);
        }
        let first = block.covering(off);
        // Behind the size there is nothing to keep.
        let last = if end == inode.size {
            block.covering(end)
        } else {
            block.holding(end)
        };
        let mut txg = inode.txg;
        if first > last {
            return self.zero(ino, off, end, now, txg);
        }
        txg = self.zero(ino, off, block.start(first).min(end), now, txg)?;
        txg = self.zero(ino, block.start(last).min(end), end, now, txg)?;
        if first < last {
            txg = self.punch_range(ino, None, first, last, now)?;
        }
        Ok(txg)
    }

    /// Makes blocks `lblk..lblk+len` of file `ino` holes, for a host with a page cache: drops their reservations, too.
    /// Nothing in the range may be in flight.
    pub fn punch_blocks(&self, ino: Ino, data: &DataState, lblk: u64, len: u64, now: Time) -> Result<Txg> {
        let _nofs = nofs();
        let end = lblk.checked_add(len).ok_or(Error::FileTooBig)?;
        let txg = self.punch_range(ino, Some(data), lblk, end, now)?;
        self.unreserve(data, lblk, len);
        Ok(txg)
    }

    /// Writes zeros to part of a block, unless it is a hole.
    fn zero(&self, ino: Ino, from: u64, to: u64, now: Time, txg: Txg) -> Result<Txg> {
        let block = self.blocks();
        if from >= to || self.map_tree(ino, block.holding(from), 1)?.kind == MapKind::Hole {
            return Ok(txg);
        }
        let mut zeros: Vec<u8> = Vec::new();
        // Less than a block: both lie in the same one.
        zeros.resize(block.within(to - from), 0)?;
        self.write(ino, from, &zeros, now)
    }

    fn punch_range(&self, ino: Ino, data: Option<&DataState>, from: u64, to: u64, now: Time) -> Result<Txg> {
        truncate::finish_pending(self, ino)?;
        let mut from = from;
        loop {
            let (mut tx, budget) = self.begin_step()?;
            if let Some(data) = data {
                data.bump();
            }
            let taken = extents::take_out(&mut tx, ino, from, to, budget)?;
            let mut lost = taken.blocks.saturating_mul(self.units_per_block());
            if from == 0 {
                lost = lost.saturating_add(inline::remove(&mut tx, ino)?);
            }
            change(&mut tx, ino, |d| {
                inode::Inode::from_disk(ino, d).expect_file()?;
                d.set_mtime(now);
                d.account(ino, 0, lost)
            })?;
            let txg = tx.commit();
            from = taken.done_to;
            if from >= to {
                return Ok(txg);
            }
            relax()?;
        }
    }
}
