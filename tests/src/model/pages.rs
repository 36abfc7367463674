// SPDX-License-Identifier: Apache-2.0
//! A page cache in miniature: uses the core's delayed allocation the way the kernel module does.
//!
//! A write only reserves space and changes memory. Writeback allocates, writes to the device and then puts the blocks
//! into the file; a part of it can be left in flight while other things happen. The model's [`State`](super::State) has
//! what the filesystem knows, [`Pages::content`] what a program would see.

use super::harness::Failure;
use super::op::Op;
use super::Content;
use super::Harness;
use std::collections::BTreeSet;
use vexfs_core::file::DataAlloc;
use vexfs_core::file::DataState;
use vexfs_core::inode::SetAttr;
use vexfs_core::inode::Time;
use vexfs_host::Error;

/// Files up to this size lie in the tree.
const INLINE_MAX: u64 = 2048;

/// Blocks on their way to the device.
struct Flight {
    alloc: DataAlloc,
    data: Vec<u8>,
    size: u64,
}

/// The pages of one file.
pub struct Pages {
    pub content: Content,
    state: DataState,
    dirty: BTreeSet<u64>,
    flight: Vec<Flight>,
}

fn text(what: &str, e: Error) -> Failure {
    format!("{what}: {e}")
}

/// The first run of `dirty` from `from` on.
fn first_run(dirty: &BTreeSet<u64>, from: u64) -> Option<(u64, u64)> {
    let first = *dirty.range(from..).next()?;
    let mut end = first + 1;
    while dirty.contains(&end) {
        end += 1;
    }
    Some((first, end - first))
}

impl Harness {
    fn block(&self) -> u64 {
        u64::from(self.fs.block_size())
    }

    /// Writes through pages.
    pub(super) fn write_cached(&mut self, op: Op) -> Result<(), Failure> {
        let files = self.state.files();
        if files.is_empty() {
            return Ok(());
        }
        let ino = files[op.pick(0, files.len() as u64) as usize];
        if !self.pages.contains_key(&ino) {
            let content = self.state.node(ino).map_err(|e| e.to_string())?.content.clone();
            let state = DataState::new().map_err(|e| text("data state", e))?;
            self.pages.insert(
                ino,
                Pages {
                    content,
                    state,
                    dirty: BTreeSet::new(),
                    flight: Vec::new(),
                },
            );
        }
        let block = self.block();
        let Some(pages) = self.pages.get_mut(&ino) else {
            return Ok(());
        };
        let off = match op.pick(1, 3) {
            0 => pages.content.size(),
            _ => op.size(2, 400_000),
        };
        let data = op.data(op.size(3, 60_000).max(1) as usize);
        let (first, end) = (off / block, (off + data.len() as u64).div_ceil(block));
        match self.fs.reserve(ino, &pages.state, first, end - first) {
            Err(Error::NoSpace) if self.may_be_full => return Ok(()),
            done => done.map_err(|e| text("reserve", e))?,
        }
        pages.content.write(off, &data);
        pages.dirty.extend(first..end);
        self.touch(op, ino)
    }

    /// The kernel writes the times of a file when it writes the inode.
    fn touch(&mut self, op: Op, ino: u64) -> Result<(), Failure> {
        let stamp = (2_000_000 + (op.0 >> 40) as i64, (op.0 >> 8) as u32 % 1_000_000_000);
        let time = Some(Time {
            sec: stamp.0,
            nsec: stamp.1,
        });
        let attr = SetAttr {
            mtime: time,
            ctime: time,
            ..SetAttr::default()
        };
        self.fs.set_attr(ino, &attr).map_err(|e| text("set_attr", e))?;
        let node = self.state.node_mut(ino).map_err(|e| e.to_string())?;
        (node.mtime, node.ctime) = (stamp, stamp);
        Ok(())
    }

    /// Writes one run of dirty pages of one file back; sometimes leaves it in flight.
    pub(super) fn writeback_one(&mut self, op: Op) -> Result<(), Failure> {
        let n = self.pages.len() as u64;
        if n == 0 {
            return Ok(());
        }
        let ino = self.pages.keys().nth(op.pick(0, n) as usize).copied().unwrap_or(0);
        self.land(ino)?;
        let from = op.pick(1, 100);
        let run = self
            .pages
            .get(&ino)
            .and_then(|p| first_run(&p.dirty, from).or_else(|| first_run(&p.dirty, 0)));
        if let Some((lblk, len)) = run {
            self.take_off(ino, lblk, len)?;
        }
        if op.pick(2, 3) > 0 {
            self.land(ino)?;
        }
        Ok(())
    }

    /// Writes all dirty pages of all files back.
    pub(super) fn writeback_all(&mut self) -> Result<(), Failure> {
        let inos: Vec<u64> = self.pages.keys().copied().collect();
        inos.into_iter().try_for_each(|ino| self.writeback(ino))
    }

    fn writeback(&mut self, ino: u64) -> Result<(), Failure> {
        self.land(ino)?;
        while let Some((lblk, len)) = self.pages.get(&ino).and_then(|p| first_run(&p.dirty, 0)) {
            self.take_off(ino, lblk, len)?;
            self.land(ino)?;
        }
        let left = self.pages.get(&ino).map_or(0, |p| p.state.reserved_blocks());
        if left != 0 {
            return Err(format!("inode {ino} has {left} blocks reserved and nothing dirty"));
        }
        Ok(())
    }

    /// Starts writing blocks back: allocates.
    fn take_off(&mut self, ino: u64, lblk: u64, len: u64) -> Result<(), Failure> {
        let block = self.block();
        let stored = self.state.node(ino).map_err(|e| e.to_string())?.content.size();
        let Some(pages) = self.pages.get_mut(&ino) else {
            return Ok(());
        };
        let size = pages.content.size();
        if lblk == 0 && size <= INLINE_MAX && stored <= INLINE_MAX {
            let data = pages.content.read(0, size as usize);
            self.fs
                .write_inline(ino, &pages.state, &data)
                .map_err(|e| text("write_inline", e))?;
            pages.dirty.remove(&0);
            let node = self.state.node_mut(ino).map_err(|e| e.to_string())?;
            let (keep, len) = (node.content.size(), data.len() as u64);
            node.content.write(0, &data);
            // The rest of the block is zero now.
            node.content.punch(len, (block - len).min(keep.saturating_sub(len)));
            return Ok(());
        }
        let mut at = lblk;
        while at < lblk + len {
            let alloc = self
                .fs
                .alloc_data_for(ino, &pages.state, at, lblk + len - at)
                .map_err(|e| text("alloc_data_for", e))?;
            if alloc.lblk != at || alloc.len == 0 || at + u64::from(alloc.len) > lblk + len {
                return Err(format!("allocated {alloc:?} for {at}..{}", lblk + len));
            }
            let end = at + u64::from(alloc.len);
            for b in at..end {
                pages.dirty.remove(&b);
            }
            let mut data = pages.content.read(at * block, (end - at) as usize * block as usize);
            data.resize(((end - at) * block) as usize, 0);
            pages.flight.push(Flight {
                alloc,
                data,
                size: size.min(end * block),
            });
            at = end;
        }
        Ok(())
    }

    /// Ends what is in flight: writes it to the device and puts it into the file.
    fn land(&mut self, ino: u64) -> Result<(), Failure> {
        let block = self.block();
        let Some(pages) = self.pages.get_mut(&ino) else {
            return Ok(());
        };
        for f in std::mem::take(&mut pages.flight) {
            let done = self.dev.write(f.alloc.pblk * block, &f.data);
            done.map_err(|e| text("writing data", e))?;
            // As in the kernel, the checksum of what is written may be known.
            let csum = (f.alloc.lblk % 4 != 0).then(|| vexfs_host::crc32c(0, &f.data));
            let done = self.fs.end_data_io(ino, &pages.state, &f.alloc, Some(f.size), csum);
            done.map_err(|e| text("end_data_io", e))?;
            let node = self.state.node_mut(ino).map_err(|e| e.to_string())?;
            let off = f.alloc.lblk * block;
            // Behind the end there is nothing that a reader sees.
            let seen = node
                .content
                .size()
                .max(f.size)
                .saturating_sub(off)
                .min(f.data.len() as u64);
            node.content.write(off, &f.data[..seen as usize]);
            if node.content.size() < f.size {
                node.content.truncate(f.size);
            }
        }
        Ok(())
    }

    pub(super) fn truncate_cached(&mut self, ino: u64, size: u64, now: Time, stamp: (i64, u32)) -> Result<(), Failure> {
        let block = self.block();
        self.land(ino)?;
        let stored = self.state.node(ino).map_err(|e| e.to_string())?.content.size();
        let Some(pages) = self.pages.get_mut(&ino) else {
            return Ok(());
        };
        let old = pages.content.size();
        let real = if size >= old {
            if stored < old {
                self.writeback(ino)?;
            }
            let Some(pages) = self.pages.get_mut(&ino) else {
                return Ok(());
            };
            pages.content.truncate(size);
            self.fs.truncate_data(ino, &pages.state, size, now)
        } else {
            let last = size / block;
            if size % block != 0 && pages.dirty.contains(&last) {
                self.take_off(ino, last, 1)?;
                self.land(ino)?;
            }
            let Some(pages) = self.pages.get_mut(&ino) else {
                return Ok(());
            };
            pages.content.truncate(size);
            let _ = pages.dirty.split_off(&size.div_ceil(block));
            self.fs.unreserve(&pages.state, size.div_ceil(block), u64::MAX);
            match self.fs.truncate(ino, size, now) {
                Err(Error::NoSpace) if self.may_be_full => self.fs.truncate_data(ino, &pages.state, size, now),
                done => done,
            }
        };
        if self.full(&real) {
            return Err("truncating a file with pages ran out of space".into());
        }
        real.map_err(|e| text("truncate", e))?;
        self.state.truncate(ino, size, stamp);
        Ok(())
    }

    /// Forgets the pages of a file that goes away.
    pub(super) fn drop_pages(&mut self, ino: u64) {
        if let Some(pages) = self.pages.remove(&ino) {
            for f in pages.flight {
                self.fs.abort_data(&pages.state, f.alloc);
            }
            self.fs.release_data_state(&pages.state);
        }
    }
}
