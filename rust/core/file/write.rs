// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Synchronous writing, for hosts without a page cache and for the engine's files.
//!
//! A write allocates new blocks, writes them in one batch, and puts them into the file in one transaction together with
//! size and times: whoever reads the file, now or after a crash, finds all of a write or nothing of it. Only the first
//! and the last block of a write can need their old contents. Device I/O happens outside the tree lock.
//!
//! Callers serialise per inode: writes exclude each other and reads.

use super::delalloc::MAX_ALLOC;
use super::extents;
use super::extents::DataAlloc;
use super::inline;
use super::replace::replace_all;
use super::truncate;
use super::usage::Usage;
use crate::format::items::state;
use crate::format::items::FILE_SIZE_MAX;
use crate::format::items::INLINE_MAX;
use crate::format::log::LOG_CHECKED_MAX;
use crate::fs::Fs;
use crate::inode;
use crate::inode::change;
use crate::inode::Ino;
use crate::inode::Inode;
use crate::inode::Time;
use crate::inode::Txg;
use crate::space::Class;
use crate::txn::Reserve;
use crate::txn::Tx;
use core::cmp::Ordering;
use vexfs_host::crc32c;
use vexfs_host::device::Write;
use vexfs_host::mem::Vec;
use vexfs_host::nofs;
use vexfs_host::relax;
use vexfs_host::Error;
use vexfs_host::Result;

/// Bytes of a write that become visible at once; a longer one is split.
const WRITE_ATOMIC_MAX: usize = 64 << 20;

/// What a write does to a block of which it covers only a part.
struct Edge {
    lblk: u64,
    bytes: Vec<u8>,
}

impl Fs {
    /// The length up to which a single [`Fs::write`] is all or nothing.
    pub fn write_atomic_max(&self) -> usize {
        WRITE_ATOMIC_MAX
    }

    /// Writes `data` to byte `off` of file `ino`, which grows as needed, and returns the transaction group that carries
    /// it.
    ///
    /// A write of up to [`Fs::write_atomic_max`] bytes is all or nothing, now and after a crash; a longer one is split
    /// into such writes.
    ///
    /// # Errors
    ///
    /// `NoSpace`, `FileTooBig`; what was not split off before has changed nothing then.
    pub fn write(&self, ino: Ino, off: u64, data: &[u8], now: Time) -> Result<Txg> {
        self.write_as(Class::Normal, ino, off, data, now)
    }

    /// [`Fs::write`] of something small that has to be written in order to free space: on a full device it may use a
    /// part of the emergency reserve.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn write_urgent(&self, ino: Ino, off: u64, data: &[u8], now: Time) -> Result<Txg> {
        self.write_as(Class::Urgent, ino, off, data, now)
    }

    fn write_as(&self, class: Class, ino: Ino, off: u64, data: &[u8], now: Time) -> Result<Txg> {
        let _nofs = nofs();
        let end = off.checked_add(data.len() as u64).filter(|end| *end <= FILE_SIZE_MAX);
        let end = end.ok_or(Error::FileTooBig)?;
        if data.is_empty() {
            let inode = inode::expect(&self.view()?, ino)?;
            inode.expect_file()?;
            return Ok(inode.txg);
        }
        if end <= INLINE_MAX as u64 {
            if let Some(txg) = self.write_small(class, ino, off as usize, data, now)? {
                return Ok(txg);
            }
        }
        let mut txg = 0;
        let mut off = off;
        for part in data.chunks(WRITE_ATOMIC_MAX) {
            if txg != 0 {
                relax()?;
            }
            txg = self.write_blocks(class, ino, off, part, now)?;
            off = off.saturating_add(part.len() as u64);
        }
        Ok(txg)
    }

    /// Writes to a file that fits into inline data; `None` when it does not.
    fn write_small(&self, class: Class, ino: Ino, off: usize, data: &[u8], now: Time) -> Result<Option<Txg>> {
        let mut buf: Vec<u8> = Vec::with_capacity(INLINE_MAX)?;
        let mut tx = self.begin(Reserve::items(3).class(class))?;
        let mut inode = inode::expect(&tx, ino)?;
        inode.expect_file()?;
        let len = usize::try_from(inode.size).unwrap_or(usize::MAX);
        if len > INLINE_MAX {
            return Ok(None);
        }
        let end = off.saturating_add(data.len());
        buf.resize(len.max(end), 0)?;
        let whole = off == 0 && end >= len;
        if len > 0 && !whole && inline::read(&tx, ino, &mut buf)?.is_none() && extents::covering(&tx, ino, 0)?.is_some()
        {
            // A block: it is read without the tree lock.
            drop(tx);
            self.read_mapped(ino, 0, buf.get_mut(..len).unwrap_or_default())?;
            tx = self.begin(Reserve::items(3).class(class))?;
            inode = inode::expect(&tx, ino)?;
        }
        if inode.state & state::TRUNCATING != 0 {
            // Rare: the ordinary way finishes the cut.
            return Ok(None);
        }
        for (to, from) in buf.iter_mut().skip(off).zip(data) {
            *to = *from;
        }
        let usage = inline::put(&mut tx, ino, &buf, self.units_per_block())?;
        change(&mut tx, ino, |d| {
            d.size.set(d.size.get().max(end as u64));
            d.set_mtime(now);
            usage.apply(d, ino)
        })?;
        Ok(Some(tx.commit()))
    }

    fn write_blocks(&self, class: Class, ino: Ino, off: u64, data: &[u8], now: Time) -> Result<Txg> {
        let inode = truncate::finish_pending(self, ino)?;
        inode.expect_file()?;
        let block = self.blocks();
        let first = block.holding(off);
        let end = off.saturating_add(data.len() as u64);
        let blocks = block.covering(end).saturating_sub(first);
        let last = first.saturating_add(blocks).saturating_sub(1);
        let mut edges: [Option<Edge>; 2] = [None, None];
        if block.within(off) != 0 || (block.within(end) != 0 && last == first) {
            edges[0] = Some(self.edge(&inode, first, off, data)?);
        }
        if block.within(end) != 0 && last != first {
            edges[1] = Some(self.edge(&inode, last, off, data)?);
        }
        let mut allocs = self.alloc_many(class, ino, first, blocks)?;
        let done = self.fill_and_insert(class, &inode, off, data, &edges, &allocs, now);
        if done.is_err() {
            self.release_all(&mut allocs);
        }
        done
    }

    /// The new contents of block `lblk`, of which `data`, written to byte `off`, cover a part.
    fn edge(&self, inode: &Inode, lblk: u64, off: u64, data: &[u8]) -> Result<Edge> {
        let block = self.blocks();
        let start = block.start(lblk);
        let mut bytes: Vec<u8> = Vec::new();
        bytes.resize(block.bytes() as usize, 0)?;
        let old = inode.size.saturating_sub(start).min(block.bytes()) as usize;
        self.read_mapped(inode.ino, start, bytes.get_mut(..old).unwrap_or_default())?;
        let to = off.saturating_sub(start) as usize;
        let from = start.saturating_sub(off) as usize;
        let src = data.get(from..).unwrap_or_default();
        let dst = bytes.get_mut(to..).unwrap_or_default();
        for (d, s) in dst.iter_mut().zip(src) {
            *d = *s;
        }
        Ok(Edge { lblk, bytes })
    }

    /// Allocates `blocks` blocks for the file from `lblk` on, in as few pieces as there are.
    fn alloc_many(&self, class: Class, ino: Ino, lblk: u64, blocks: u64) -> Result<Vec<DataAlloc>> {
        let mut allocs: Vec<DataAlloc> = Vec::new();
        let mut goal = self.goal_for(ino, lblk)?;
        let mut at = lblk;
        let mut left = blocks;
        let mut failed = None;
        while left > 0 {
            let want = left.min(u64::from(MAX_ALLOC)) as u32;
            let got = allocs.reserve(1).and_then(|()| match class {
                Class::Normal => self.alloc_data(goal, want, false),
                Class::Urgent => self.alloc_data(goal, want, false).or_else(|e| match e {
                    Error::NoSpace => self.alloc_urgent(goal, want),
                    e => Err(e),
                }),
            });
            match got {
                Ok((pblk, len)) => {
                    goal = pblk.saturating_add(u64::from(len));
                    allocs.push(DataAlloc { lblk: at, pblk, len })?;
                    at = at.saturating_add(u64::from(len));
                    left = left.saturating_sub(u64::from(len));
                }
                Err(e) => {
                    failed = Some(e);
                    break;
                }
            }
        }
        match failed {
            None => Ok(allocs),
            Some(e) => {
                self.release_all(&mut allocs);
                Err(e)
            }
        }
    }

    fn release_all(&self, allocs: &mut Vec<DataAlloc>) {
        while let Some(a) = allocs.pop() {
            self.release_data(a.pblk, a.len);
        }
    }

    /// Writes `data` and the edges to the allocated blocks, then makes these the contents of the file.
    #[allow(clippy::too_many_arguments)]
    fn fill_and_insert(
        &self,
        class: Class,
        inode: &Inode,
        off: u64,
        data: &[u8],
        edges: &[Option<Edge>; 2],
        allocs: &Vec<DataAlloc>,
        now: Time,
    ) -> Result<Txg> {
        let block = self.blocks();
        let mut writes: Vec<Write<'_>> = Vec::new();
        let mut csums: Vec<u32> = Vec::new();
        // Only for small writes: syncing a large one takes much longer than the flush that checksums save.
        let checked = data.len() as u64 <= LOG_CHECKED_MAX;
        for a in allocs {
            let mut done = 0;
            let mut csum = 0;
            while done < u64::from(a.len) {
                let lblk = a.lblk.saturating_add(done);
                let mut n = u64::from(a.len) - done;
                let mut bytes = None;
                for e in edges.iter().flatten() {
                    match e.lblk.cmp(&lblk) {
                        Ordering::Less => {}
                        Ordering::Equal => bytes = Some(e.bytes.as_slice()),
                        Ordering::Greater => n = n.min(e.lblk - lblk),
                    }
                }
                let bytes = match bytes {
                    Some(bytes) => {
                        n = 1;
                        bytes
                    }
                    None => {
                        let from = block.start(lblk).saturating_sub(off) as usize;
                        let len = block.start(n) as usize;
                        data.get(from..from.saturating_add(len)).ok_or(Error::Overflow)?
                    }
                };
                if checked {
                    csum = crc32c(csum, bytes);
                }
                writes.push(Write {
                    offset: block.start(a.pblk.saturating_add(done)),
                    data: bytes,
                })?;
                done += n;
            }
            if checked {
                csums.push(csum)?;
            }
        }
        self.dev().write_batch(&writes)?;
        self.insert_all(
            class,
            inode.ino,
            off.saturating_add(data.len() as u64),
            allocs,
            &csums,
            now,
        )
    }

    /// Makes written blocks, whose checksums may be known, the contents of file `ino`, whose size becomes at least
    /// `end`.
    fn insert_all(
        &self,
        class: Class,
        ino: Ino,
        end: u64,
        allocs: &[DataAlloc],
        csums: &[u32],
        now: Time,
    ) -> Result<Txg> {
        let from = allocs.first().map_or(0, |a| a.lblk);
        let to = allocs.last().map_or(0, |a| a.lblk.saturating_add(u64::from(a.len)));
        let old = extents::count(&self.view()?, ino, from, to, usize::MAX)?;
        // The reservation counts with a leaf of its own for each item, and a leaf holds far more than eight extents.
        let reserve = Reserve::items(4).clustered(old.saturating_add(allocs.len()) / 8);
        let mut tx: Tx<'_> = self.begin(reserve.class(class))?;
        let mut total = Usage::default();
        for (i, a) in allocs.iter().enumerate() {
            let csum = csums.get(i).copied();
            let usage = replace_all(&mut tx, ino, a, csum, self.units_per_block(), usize::MAX)?;
            total.add(&usage);
        }
        change(&mut tx, ino, |d| {
            d.size.set(d.size.get().max(end));
            d.set_mtime(now);
            total.apply(d, ino)
        })?;
        Ok(tx.commit())
    }
}
