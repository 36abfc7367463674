// SPDX-License-Identifier: GPL-2.0
//! Where the data of VexFS's files is: the filesystem core's answers to what iomap asks.
//!
//! The core counts in blocks, iomap in bytes; nothing else happens here.

use vexfs_core::file::DataAlloc;
use vexfs_core::file::DataState;
use vexfs_core::file::MapKind;
use vexfs_core::Fs;
use vexfs_host::mem::Vec;
use vexfs_host::Error;
use vexfs_vfs::completion::IoWorkqueue;
use vexfs_vfs::iomap::Allocation;
use vexfs_vfs::iomap::Backing;
use vexfs_vfs::iomap::BlockMap;
use vexfs_vfs::iomap::Mapping;
use vexfs_vfs::iomap::Written;
use vexfs_vfs::iomap::TOGETHER;
use vexfs_vfs::Inode;
use vexfs_vfs::Result;

use crate::room;
use crate::super_block::VexFs;

/// What every function here needs: the core, the file's state in it, and the size of its blocks.
struct Blocks<'a> {
    fs: &'a Fs,
    data: &'a DataState,
    ino: u64,
    size: u64,
}

impl<'a> Blocks<'a> {
    fn of(inode: &'a Inode<VexFs>) -> Result<Self> {
        Ok(Self {
            fs: &inode.super_block().info().fs,
            data: inode.data().data_state()?,
            ino: inode.ino(),
            size: inode.block_size(),
        })
    }

    /// The block of a byte.
    fn at(&self, pos: u64) -> u64 {
        pos / self.size
    }

    /// The number of blocks that hold `len` bytes.
    fn count(&self, len: u64) -> u64 {
        len.div_ceil(self.size)
    }

    /// An allocation as the core names it.
    fn alloc(&self, pos: u64, len: u64, addr: u64) -> Result<DataAlloc> {
        Ok(DataAlloc {
            lblk: self.at(pos),
            pblk: self.at(addr),
            len: u32::try_from(self.count(len)).map_err(|_| Error::Overflow)?,
        })
    }

    fn bytes(&self, blocks: u64) -> u64 {
        blocks.saturating_mul(self.size)
    }
}

impl BlockMap for VexFs {
    const INLINE_MAX: u64 = vexfs_core::format::INLINE_MAX as u64;
    const CHECKED_MAX: u64 = vexfs_core::format::log::LOG_CHECKED_MAX;

    fn map(inode: &Inode<Self>, pos: u64, len: u64) -> Result<Mapping> {
        let blocks = Blocks::of(inode)?;
        let first = blocks.at(pos);
        let end = blocks.count(pos.saturating_add(len.max(1)));
        let found = blocks
            .fs
            .map(blocks.ino, blocks.data, first, end.saturating_sub(first).max(1))?;
        Ok(Mapping {
            offset: blocks.bytes(found.lblk),
            // The last block of the largest file ends behind what an offset can say.
            length: blocks.bytes(found.len).min(i64::MAX as u64 - blocks.bytes(found.lblk)),
            backing: match found.kind {
                MapKind::Hole => Backing::Hole,
                MapKind::Inline { .. } => Backing::Inline,
                MapKind::Extent { pblk } => Backing::Disk(blocks.bytes(pblk)),
            },
            reserved: found.reserved,
            in_flight: found.in_flight,
        })
    }

    fn sequence(inode: &Inode<Self>) -> u64 {
        inode.data().data_state().map_or(0, DataState::sequence)
    }

    fn reserve(inode: &Inode<Self>, pos: u64, len: u64) -> Result {
        let blocks = Blocks::of(inode)?;
        Ok(blocks
            .fs
            .reserve(blocks.ino, blocks.data, blocks.at(pos), blocks.count(len))?)
    }

    fn make_room(inode: &Inode<Self>) -> bool {
        room::make_room(inode)
    }

    fn unreserve(inode: &Inode<Self>, pos: u64, len: u64) {
        if let Ok(blocks) = Blocks::of(inode) {
            blocks.fs.unreserve(blocks.data, blocks.at(pos), blocks.count(len));
        }
    }

    fn read_inline(inode: &Inode<Self>, buf: &mut [u8]) -> Result {
        let len = inode.super_block().info().fs.read_inline(inode.ino(), buf)?;
        if let Some(rest) = buf.get_mut(len..) {
            rest.fill(0);
        }
        Ok(())
    }

    fn write_inline(inode: &Inode<Self>, len: usize, copy: &mut dyn FnMut(&mut [u8])) -> Result<bool> {
        let blocks = Blocks::of(inode)?;
        let mut content = Vec::new();
        if content.resize(len, 0u8).is_err() {
            return Ok(false);
        }
        copy(&mut content);
        match blocks.fs.write_inline(blocks.ino, blocks.data, &content) {
            Ok(txg) => {
                inode.data().note_contents(txg);
                Ok(true)
            }
            // Too little room in the tree, or the file is just being cut down to a small one: a block does as well.
            Err(Error::NoSpace | Error::NoMemory | Error::Invalid(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn allocate(inode: &Inode<Self>, pos: u64, len: u64, uptodate: bool) -> Result<Allocation> {
        let blocks = Blocks::of(inode)?;
        let (first, count) = (blocks.at(pos), blocks.count(len));
        let found = match blocks.fs.alloc_data_for(blocks.ino, blocks.data, first, count) {
            Err(Error::NotFound) => {
                // Dirty without a promise. In a hole these are zeros behind the former end of a file that has grown
                // since its last page was dirtied by a program. On data it is a page that was dirtied behind our back,
                // for which all of it had to be valid; or clean, in a folio of which another part was dirty.
                let map = blocks.fs.map(blocks.ino, blocks.data, first, count)?;
                let len = blocks.bytes(map.len);
                if !uptodate || (map.kind == MapKind::Hole && !map.in_flight) {
                    return Ok(Allocation::Nothing { len });
                }
                match blocks.fs.alloc_data_direct(blocks.ino, blocks.data, first, map.len) {
                    Err(Error::NoSpace) => return Ok(Allocation::NoSpace { len }),
                    found => found,
                }
            }
            found => found,
        }?;
        Ok(Allocation::Disk {
            addr: blocks.bytes(found.pblk),
            len: blocks.bytes(u64::from(found.len)),
        })
    }

    fn allocate_direct(inode: &Inode<Self>, pos: u64, len: u64) -> Result<(u64, u64)> {
        let blocks = Blocks::of(inode)?;
        let found = blocks
            .fs
            .alloc_data_direct(blocks.ino, blocks.data, blocks.at(pos), blocks.count(len))?;
        Ok((blocks.bytes(found.pblk), blocks.bytes(u64::from(found.len))))
    }

    fn record(inode: &Inode<Self>, pos: u64, len: u64, addr: u64, csum: Option<u32>) -> Result {
        let blocks = Blocks::of(inode)?;
        let alloc = blocks.alloc(pos, len, addr)?;
        let txg = blocks
            .fs
            .end_data_io(blocks.ino, blocks.data, &alloc, Some(pos.saturating_add(len)), csum)?;
        inode.data().note_contents(txg);
        Ok(())
    }

    fn record_together(inode: &Inode<Self>, runs: &[Written]) -> Result {
        let blocks = Blocks::of(inode)?;
        let none = DataAlloc {
            lblk: 0,
            pblk: 0,
            len: 0,
        };
        let (mut allocs, mut end) = ([(none, None); TOGETHER], 0);
        for (to, run) in allocs.iter_mut().zip(runs) {
            *to = (blocks.alloc(run.pos, run.len, run.addr)?, run.csum);
            end = run.pos.saturating_add(run.len).max(end);
        }
        let allocs = allocs.get(..runs.len()).ok_or(Error::Overflow)?;
        let txg = blocks
            .fs
            .end_data_io_together(blocks.ino, blocks.data, allocs, Some(end))?;
        inode.data().note_contents(txg);
        Ok(())
    }

    fn release(inode: &Inode<Self>, pos: u64, len: u64, addr: u64) {
        if let Ok(blocks) = Blocks::of(inode) {
            if let Ok(alloc) = blocks.alloc(pos, len, addr) {
                blocks.fs.abort_data(blocks.data, alloc);
            }
        }
    }

    fn pin_reads(inode: &Inode<Self>) -> u64 {
        inode.super_block().info().fs.pin_reads().into_number()
    }

    fn unpin_reads(inode: &Inode<Self>, pin: u64) {
        inode.super_block().info().fs.unpin_reads(pin);
    }

    fn io_workqueue(inode: &Inode<Self>) -> &IoWorkqueue {
        &inode.super_block().info().io_queue
    }
}
