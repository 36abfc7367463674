// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What a commit writes of the allocator: bitmaps and blocks of the group table, each to its slot that is not current.
//!
//! Slots have fixed places, so sealing allocates no blocks; and the memory for the copies is given by the caller, who
//! knows from [`BlockAllocator::dirty`] how much it takes, so sealing cannot fail.

use super::BlockAllocator;
use super::Group;
use crate::block_io::BlockIo;
use crate::format::group::*;
use vexfs_host::Result;

impl BlockAllocator {
    /// The groups that block `index` of the table describes.
    fn described(&self, index: u64) -> core::ops::Range<usize> {
        let here = groups_per_block(self.geo.block_size);
        let first = usize::try_from(index * here)
            .unwrap_or(usize::MAX)
            .min(self.groups.len());
        first..first.saturating_add(here as usize).min(self.groups.len())
    }

    /// Gets the memory that the rest of a commit needs of the allocator. Nothing happens if there is none.
    pub(crate) fn prepare_commit(&mut self) -> Result<()> {
        // In the worst case, everything that this group has freed has to wait for readers in the second list. Both get
        // the memory: they may be exchanged before.
        self.deferred_free
            .iter_mut()
            .try_for_each(|runs| runs.reserve(self.pending.len()))
    }

    /// How many bitmaps and how many blocks of the group table the commit has to write.
    pub(crate) fn dirty(&self) -> (usize, usize) {
        let (mut bitmaps, mut tables) = (0, 0);
        for (index, _) in (0u64..).zip(self.table.iter()).filter(|(_, t)| t.dirty) {
            let groups = self.groups.get(self.described(index)).unwrap_or(&[]);
            bitmaps += groups.iter().filter(|g| g.dirty).count();
            tables += 1;
        }
        (bitmaps, tables)
    }

    /// Seals the space of transaction group `txg`: fills `bitmaps` and `tables`, which are large enough for what
    /// [`BlockAllocator::dirty`] said, and calls `place` with the block each 4 KiB of `bitmaps` (false) or block of
    /// `tables` (true) has to be written to. Returns the new checksum over the table. Needs no memory.
    pub(crate) fn seal(
        &mut self,
        io: &BlockIo,
        txg: u64,
        bitmaps: &mut [u8],
        tables: &mut [u8],
        mut place: impl FnMut(bool, u64),
        mut slot: impl FnMut(u64, bool),
    ) -> u32 {
        let mut bitmaps = bitmaps.chunks_exact_mut(crate::format::BITMAP_BYTES);
        let mut tables = tables.chunks_exact_mut((self.geo.block_size as usize).max(1));
        for index in 0..self.table.len() as u64 {
            let range = self.described(index);
            let Some(table) = self.table.get_mut(index as usize).filter(|t| t.dirty) else {
                continue;
            };
            let (first, groups) = (range.start as u64, self.groups.get_mut(range).unwrap_or(&mut []));
            for (group, g) in (first..).zip(groups.iter_mut()).filter(|(_, g)| g.dirty) {
                if let Some(bytes) = bitmaps.next() {
                    place(false, g.seal(io, group, txg, bytes));
                }
            }
            if let Some(bytes) = tables.next() {
                table.dirty = false;
                table.second = !table.second;
                let block = self.geo.table_block(index, table.second);
                let list = groups.iter().map(Group::descriptor);
                table.csum = write_table(bytes, &io.uuid, block, txg, index, list);
                place(true, block);
                slot(index, table.second);
            }
        }
        core::mem::swap(&mut self.pending, &mut self.sealed);
        self.writing = Some(txg);
        self.dirty_groups = 0;
        self.table
            .iter()
            .fold(0, |crc, t| vexfs_host::crc32c(crc, &t.csum.to_le_bytes()))
    }
}

/// Makes a block of the group table in `bytes`. Returns its checksum.
pub(crate) fn write_table<'a>(
    bytes: &mut [u8],
    uuid: &[u8; 16],
    block: u64,
    txg: u64,
    index: u64,
    list: impl Iterator<Item = &'a DiskGroup>,
) -> u32 {
    use zerocopy::FromBytes as _;
    use zerocopy::IntoBytes as _;
    bytes.fill(0);
    if let Some(rest) = bytes.get_mut(GROUP_TABLE_HEADER..) {
        for (place, d) in rest.chunks_exact_mut(GROUP_BYTES).zip(list) {
            place.copy_from_slice(d.as_bytes());
        }
    }
    if let Ok((head, _)) = DiskGroupTable::mut_from_prefix(bytes) {
        head.magic = GROUP_MAGIC.into();
        head.block = block.into();
        head.uuid = *uuid;
        head.birth = txg.into();
        head.index = (index as u32).into();
    }
    let csum = vexfs_host::crc32c(0, bytes.get(8..).unwrap_or(&[]));
    if let Some(place) = bytes.get_mut(4..8) {
        place.copy_from_slice(&csum.to_le_bytes());
    }
    csum
}
