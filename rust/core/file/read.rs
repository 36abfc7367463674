// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Synchronous reading, for hosts without a page cache and for the engine's files.
//!
//! Callers serialise per inode: no write while a read goes on. (A read looks up where blocks lie and then reads them
//! without the tree lock; a write in between would free them for reuse.)

use super::inline;
use super::map::MapKind;
use crate::format::items::INLINE_MAX;
use crate::fs::Fs;
use crate::inode;
use crate::inode::Ino;
use crate::txn::Read;
use vexfs_host::device;
use vexfs_host::mem::Vec;
use vexfs_host::nofs;
use vexfs_host::relax;
use vexfs_host::Error;
use vexfs_host::Result;

/// One read of a batch.
pub struct ReadAt<'a> {
    /// Byte offset in the file.
    pub offset: u64,
    /// Where to put what is there.
    pub data: &'a mut [u8],
}

impl Fs {
    /// Reads from byte `off` of file `ino` into `buf` and returns how many bytes there were before the end.
    pub fn read(&self, ino: Ino, off: u64, buf: &mut [u8]) -> Result<usize> {
        let _nofs = nofs();
        let view = self.view()?;
        let inode = inode::expect(&view, ino)?;
        inode.expect_file()?;
        let left = usize::try_from(inode.size.saturating_sub(off)).unwrap_or(usize::MAX);
        let buf = buf.get_mut(..left.min(buf.len())).unwrap_or_default();
        // The whole of a small file from its start, as most small files are read, needs no mapping.
        let small = off == 0 && inode.size <= INLINE_MAX as u64;
        if small && inline::read(&view, ino, buf)?.is_some() {
            return Ok(buf.len());
        }
        drop(view);
        self.read_mapped(ino, off, buf)?;
        Ok(buf.len())
    }

    /// Fills every buffer of `reads` from its place in file `ino`, with all reads of the device under way at once.
    ///
    /// # Errors
    ///
    /// `Invalid` unless offsets and lengths are multiples of the block size and lie below the size rounded up to it.
    pub fn read_batch(&self, ino: Ino, reads: &mut [ReadAt<'_>]) -> Result<()> {
        let _nofs = nofs();
        let block = self.blocks();
        let inode = inode::expect(&self.view()?, ino)?;
        inode.expect_file()?;
        let end = block.start(block.covering(inode.size));
        let mut pieces = Vec::with_capacity(reads.len())?;
        for read in reads.iter_mut() {
            let len = read.data.len() as u64;
            let inside = read.offset.checked_add(len).is_some_and(|reach| reach <= end);
            if !inside || block.within(read.offset) != 0 || block.within(len) != 0 {
                return Err(Error::Invalid("a read of a batch is of whole blocks of the file"));
            }
            let (mut off, mut rest) = (read.offset, &mut *read.data);
            while !rest.is_empty() {
                let m = self.map_tree(ino, block.holding(off), block.holding(rest.len() as u64))?;
                let n = usize::try_from(block.start(m.len))
                    .unwrap_or(usize::MAX)
                    .min(rest.len());
                let (piece, after) = rest.split_at_mut_checked(n).ok_or(Error::Overflow)?;
                match m.kind {
                    MapKind::Hole => piece.fill(0),
                    MapKind::Inline { .. } => self.read_inline_at(ino, 0, piece)?,
                    MapKind::Extent { pblk } => pieces.push(device::Read {
                        offset: block.start(pblk),
                        data: piece,
                    })?,
                }
                off = off.saturating_add(n as u64);
                rest = after;
            }
        }
        self.dev().read_batch(&mut pieces)
    }

    /// Reads contents without regard to the size.
    pub(super) fn read_mapped(&self, ino: Ino, off: u64, buf: &mut [u8]) -> Result<()> {
        let block = self.blocks();
        let mut off = off;
        let mut rest = buf;
        while !rest.is_empty() {
            let within = block.within(off);
            let reach = (within as u64).saturating_add(rest.len() as u64);
            let m = self.map_tree(ino, block.holding(off), block.covering(reach))?;
            let mapped = block.start(m.len).saturating_sub(within as u64);
            let n = usize::try_from(mapped).unwrap_or(usize::MAX).min(rest.len());
            let Some((part, after)) = rest.split_at_mut_checked(n) else {
                return Err(Error::Overflow);
            };
            match m.kind {
                MapKind::Hole => part.fill(0),
                MapKind::Inline { .. } => self.read_inline_at(ino, within, part)?,
                MapKind::Extent { pblk } => self.read_device(block.start(pblk).saturating_add(within as u64), part)?,
            }
            off = off.saturating_add(n as u64);
            rest = after;
            if !rest.is_empty() {
                relax()?;
            }
        }
        Ok(())
    }

    fn read_inline_at(&self, ino: Ino, at: usize, part: &mut [u8]) -> Result<()> {
        let found = self.view()?.get(&inode::key::inline(ino), |data| {
            let data = data.get(at..).unwrap_or_default();
            part.fill(0);
            for (to, from) in part.iter_mut().zip(data) {
                *to = *from;
            }
            Ok(())
        })?;
        // Only a concurrent write could have taken it away.
        found.ok_or(Error::Busy)
    }

    /// Reads bytes of the device from `at` on. Whole blocks go straight to where they belong, parts through a block of
    /// memory.
    fn read_device(&self, at: u64, part: &mut [u8]) -> Result<()> {
        let block = self.blocks();
        let mut bounce: Vec<u8> = Vec::new();
        let mut at = at;
        let mut rest = part;
        while !rest.is_empty() {
            let within = block.within(at);
            let whole = block.start(block.holding(rest.len() as u64)) as usize;
            let n = if within == 0 && whole > 0 {
                whole
            } else {
                (block.bytes() as usize).saturating_sub(within).min(rest.len())
            };
            let Some((piece, after)) = rest.split_at_mut_checked(n) else {
                return Err(Error::Overflow);
            };
            if within == 0 && whole > 0 {
                self.dev().read(at, piece)?;
            } else {
                bounce.resize(block.bytes() as usize, 0)?;
                self.dev().read(at.saturating_sub(within as u64), &mut bounce)?;
                for (to, from) in piece.iter_mut().zip(bounce.iter().skip(within)) {
                    *to = *from;
                }
            }
            at = at.saturating_add(n as u64);
            rest = after;
        }
        Ok(())
    }
}
