// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Space: that no block is used twice, and that group table and bitmaps agree with what is used.

use super::Checker;
use super::Problem;
use crate::format::group::bitmap_csum;
use crate::format::group::groups_per_block;
use crate::format::group::GROUP_BYTES;
use crate::format::group::GROUP_FLAGS;
use crate::format::group::GROUP_MAGIC;
use crate::format::group::GROUP_SLOT;
use crate::format::group::GROUP_TABLE_HEADER;
use crate::format::group::GROUP_UNINIT;
use crate::format::DiskGroup;
use crate::format::DiskGroupTable;
use crate::format::Geometry;
use crate::format::BITMAP_BYTES;
use crate::format::GROUP_HEAD_BLOCKS;
use vexfs_host::crc32c;
use vexfs_host::mem::Vec;
use vexfs_host::relax;
use vexfs_host::Result;
use zerocopy::FromBytes;

/// A set of blocks.
pub(super) struct Blocks {
    bits: Vec<u64>,
}

impl Blocks {
    pub(super) fn new(geo: &Geometry) -> Result<Blocks> {
        let mut bits = Vec::new();
        bits.resize(geo.total_blocks.div_ceil(64) as usize, 0)?;
        Ok(Blocks { bits })
    }

    /// Adds a block; says whether it was new.
    fn insert(&mut self, block: u64) -> bool {
        let Some(word) = usize::try_from(block / 64).ok().and_then(|i| self.bits.get_mut(i)) else {
            return false;
        };
        let bit = 1u64 << (block % 64);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    fn contains(&self, block: u64) -> bool {
        let word = usize::try_from(block / 64).ok().and_then(|i| self.bits.get(i));
        word.is_some_and(|w| w >> (block % 64) & 1 != 0)
    }
}

/// A run of blocks with the same problem.
#[derive(Default)]
struct UsedRun {
    start: u64,
    len: u64,
}

impl Checker<'_> {
    /// Notes that `owner` (0: the tree itself) uses `len` blocks from `block`.
    pub(super) fn claim(&mut self, block: u64, len: u64, owner: u64) -> Result<()> {
        let mut twice = 0u64;
        for b in block..block.saturating_add(len) {
            if !self.used.insert(b) {
                twice = twice.saturating_add(1);
            }
        }
        if twice > 0 {
            self.add(
                Problem::at(block, "blocks that something else uses, too")
                    .owned_by(owner)
                    .numbers(0, twice),
            )?;
        }
        Ok(())
    }

    /// Compares the group table and the bitmaps with what the walk found.
    pub(super) fn check_space(&mut self) -> Result<()> {
        let mut table = Vec::new();
        table.resize(self.geo.block_size as usize, 0u8)?;
        let mut bitmap = Vec::new();
        bitmap.resize(self.geo.block_size as usize, 0u8)?;
        let per_block = groups_per_block(self.geo.block_size).max(1);
        let mut csum = 0;
        let mut free = 0u64;
        let mut sound = true;
        for index in 0..self.geo.gdt_blocks {
            let block = self.geo.table_block(index, self.sb.table_slot(index));
            if let Err(what) = self.read_table(index, block, &mut table) {
                self.add(Problem::at(block, what))?;
                sound = false;
                continue;
            }
            if let Ok((head, _)) = DiskGroupTable::ref_from_prefix(&table) {
                csum = crc32c(csum, &head.csum.get().to_le_bytes());
            }
            for i in 0..per_block {
                let group = index.saturating_mul(per_block).saturating_add(i);
                if group >= self.geo.group_count {
                    break;
                }
                let at = (i as usize)
                    .saturating_mul(GROUP_BYTES)
                    .saturating_add(GROUP_TABLE_HEADER);
                let Ok((desc, _)) = DiskGroup::ref_from_prefix(table.get(at..).unwrap_or(&[])) else {
                    continue;
                };
                relax()?;
                let desc = *desc;
                free = free.saturating_add(self.check_group(group, &desc, &mut bitmap)?);
            }
        }
        if sound && csum != self.sb.gdt_csum.get() {
            self.add(Problem::at(
                self.geo.gdt_start,
                "the group table is not the one the superblock was written with",
            ))?;
        }
        self.report.free_blocks = free;
        if sound && free != self.sb.free_blocks.get() {
            let found = self.sb.free_blocks.get();
            self.add(Problem::of(0, "the superblock counts free blocks wrongly").numbers(free, found))?;
        }
        Ok(())
    }

    fn read_table(&self, index: u64, block: u64, table: &mut [u8]) -> core::result::Result<(), &'static str> {
        if self.dev.read(self.geo.byte(block), table).is_err() {
            return Err("block of the group table cannot be read");
        }
        let Ok((head, _)) = DiskGroupTable::ref_from_prefix(table) else {
            return Err("block of the group table too short");
        };
        if head.magic.get() != GROUP_MAGIC || head.csum.get() != crc32c(0, table.get(8..).unwrap_or(&[])) {
            return Err("block of the group table with a wrong checksum");
        }
        if head.block.get() != block || head.uuid != self.sb.uuid || u64::from(head.index.get()) != index {
            return Err("block of the group table of another place or filesystem");
        }
        if head.birth.get() > self.report.txg {
            return Err("block of the group table born after the superblock");
        }
        Ok(())
    }

    /// Checks one group; returns its free blocks as its bitmap has them.
    fn check_group(&mut self, group: u64, desc: &DiskGroup, bitmap: &mut [u8]) -> Result<u64> {
        let flags = desc.flags.get();
        let len = self.geo.group_len(group);
        let start = self.geo.group_start(group);
        let block = self.geo.bitmap_block(group, flags & GROUP_SLOT != 0);
        if flags & !GROUP_FLAGS != 0 || desc.reserved.get() != 0 {
            self.add(Problem::at(start, "group descriptor with reserved bits set"))?;
        }
        bitmap.fill(0);
        if flags & GROUP_UNINIT != 0 {
            if let Some(first) = bitmap.first_mut() {
                *first = (1u8 << GROUP_HEAD_BLOCKS).wrapping_sub(1);
            }
        } else if self.dev.read(self.geo.byte(block), bitmap).is_err() {
            self.add(Problem::at(block, "bitmap cannot be read"))?;
            return Ok(desc.free_blocks.get().into());
        } else {
            let bits = bitmap.get(..BITMAP_BYTES).unwrap_or(&[]);
            let birth = desc.bitmap_birth.get();
            if bitmap_csum(&self.sb.uuid, block, birth, bits) != desc.bitmap_csum.get() || birth > self.report.txg {
                self.add(Problem::at(block, "bitmap with a wrong checksum"))?;
                return Ok(desc.free_blocks.get().into());
            }
        }
        let mut free = 0u64;
        let mut leaked = UsedRun::default();
        let mut unmarked = UsedRun::default();
        for i in 0..len {
            let marked = is_set(bitmap, i);
            let used = i < GROUP_HEAD_BLOCKS || self.used.contains(start.saturating_add(i));
            if !marked {
                free = free.saturating_add(1);
            }
            let at = start.saturating_add(i);
            self.extend(
                &mut leaked,
                at,
                marked && !used,
                "blocks marked used that nothing refers to",
            )?;
            self.extend(&mut unmarked, at, used && !marked, "blocks in use that are marked free")?;
        }
        let end = start.saturating_add(len);
        self.extend(&mut leaked, end, false, "blocks marked used that nothing refers to")?;
        self.extend(&mut unmarked, end, false, "blocks in use that are marked free")?;
        if free != u64::from(desc.free_blocks.get()) {
            let found = desc.free_blocks.get();
            self.add(Problem::at(start, "group descriptor counts free blocks wrongly").numbers(free, found.into()))?;
        }
        let nb = u64::from(self.geo.node_blocks).max(1);
        let mut places = 0u32;
        for place in 0..len.checked_div(nb).unwrap_or(0) {
            let first = place.saturating_mul(nb);
            if (first..first.saturating_add(nb)).all(|i| !is_set(bitmap, i)) {
                places = places.saturating_add(1);
            }
        }
        if places != desc.free_places.get() {
            let found = desc.free_places.get();
            self.add(
                Problem::at(start, "group descriptor counts free places for nodes wrongly")
                    .numbers(places.into(), found.into()),
            )?;
        }
        Ok(free)
    }

    /// Grows a run of blocks with a problem, or reports it when it has ended.
    fn extend(&mut self, run: &mut UsedRun, at: u64, bad: bool, what: &'static str) -> Result<()> {
        if bad {
            if run.len == 0 {
                run.start = at;
            }
            run.len = run.len.saturating_add(1);
            return Ok(());
        }
        let found = core::mem::take(run);
        // Below a damaged node there may be owners that the walk could not see.
        if found.len == 0 || (!self.report.complete && what.starts_with("blocks marked used")) {
            return Ok(());
        }
        self.add(Problem::at(found.start, what).numbers(0, found.len))
    }
}

fn is_set(bitmap: &[u8], i: u64) -> bool {
    bitmap.get((i / 8) as usize).is_some_and(|b| b >> (i % 8) & 1 != 0)
}
