// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Where things lie on a device: planned by mkfs, and checked once when a superblock is read.
//!
//! ```text
//! | boot 4K | sb A 4K | sb B 4K | group table, 2 slots a block | log | pad | group 0 | group 1 | ... | tail | sb copy |
//! ```
//!
//! Invariants of a [`Geometry`], which the rest of the code relies on: all regions lie inside the device and do not
//! overlap, `first_group` and the length of a group are multiples of the node size, every group but the last is
//! complete, and none of the products and sums of its numbers overflows a `u64` as a byte offset.

use super::group::groups_per_block;
use super::superblock::MAX_TABLE_BLOCKS;
use super::*;
use vexfs_host::Error;
use vexfs_host::Result;

/// The layout of a filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of a block.
    pub block_size: u32,
    /// Bytes of a node.
    pub node_size: u32,
    /// Blocks of a node.
    pub node_blocks: u32,
    /// Blocks of the filesystem, the one with the superblock's copy included.
    pub total_blocks: u64,
    /// First block of the group table.
    pub gdt_start: u64,
    /// Blocks of the group table, not counting that each has two slots.
    pub gdt_blocks: u64,
    /// First block of the log region.
    pub log_start: u64,
    /// Blocks of the log region.
    pub log_blocks: u64,
    /// First block of group 0.
    pub first_group: u64,
    /// Number of groups.
    pub group_count: u64,
}

/// Groups smaller than this are not worth their bitmap: mkfs leaves such a tail unused.
const MIN_LAST_GROUP: u64 = 64;

/// Nodes there must be room for at least.
const MIN_NODES: u64 = 128;

/// The smallest log region in bytes.
pub const MIN_LOG_BYTES: u64 = 1 << 20;
/// The largest log region in bytes.
pub const MAX_LOG_BYTES: u64 = 128 << 20;

const TOO_SMALL: Error = Error::Invalid("the device is too small for VexFS");

/// `a / b` rounded up; `b` is not 0.
fn div_up(a: u64, b: u64) -> u64 {
    a.div_ceil(b.max(1))
}

impl Geometry {
    /// Plans a filesystem for a device of `device_bytes`. `log_bytes` of `None` chooses a size that fits the device.
    ///
    /// # Errors
    ///
    /// `Invalid` for a block size that is not a power of two from 4 KiB to 64 KiB, a log that does not fit, or a device
    /// that is too small or too large.
    pub fn plan(device_bytes: u64, block_size: u32, log_bytes: Option<u64>) -> Result<Geometry> {
        if !block_size.is_power_of_two() || !(MIN_BLOCK_SIZE..=MAX_BLOCK_SIZE).contains(&block_size) {
            return Err(Error::Invalid(
                "the block size must be a power of two from 4096 to 65536",
            ));
        }
        let bs = u64::from(block_size);
        let node_size = block_size.max(MIN_NODE_SIZE);
        let node_blocks = u64::from(node_size).checked_div(bs).ok_or(TOO_SMALL)?;
        let total_blocks = device_bytes.checked_div(bs).ok_or(TOO_SMALL)?;
        if total_blocks > 1 << 44 {
            return Err(Error::Invalid("the device is too large for VexFS"));
        }
        let log_bytes = match log_bytes {
            Some(n) if !(MIN_LOG_BYTES..=MAX_LOG_BYTES).contains(&n) => {
                return Err(Error::Invalid("the journal must have from 1 to 128 MiB"));
            }
            Some(n) => n,
            None => (device_bytes / 64).clamp(MIN_LOG_BYTES, MAX_LOG_BYTES) >> 20 << 20,
        };
        let log_blocks = div_up(log_bytes, bs);
        let gdt_start = div_up(12288, bs);
        // On large devices, groups start at a multiple of 1 MiB, so that large I/O to aligned places stays aligned.
        let align = if device_bytes >= 256 << 20 {
            (1u64 << 20).checked_div(bs).unwrap_or(1).max(node_blocks)
        } else {
            node_blocks
        };
        // The table is sized for all that follows it; groups it describes in vain cost at most one block.
        let per_block = groups_per_block(block_size);
        let gdt_blocks = div_up(div_up(total_blocks, GROUP_BLOCKS), per_block);
        let log_start = gdt_blocks
            .checked_mul(2)
            .and_then(|n| n.checked_add(gdt_start))
            .ok_or(TOO_SMALL)?;
        let first_group = log_start
            .checked_add(log_blocks)
            .and_then(|n| n.checked_next_multiple_of(align))
            .ok_or(TOO_SMALL)?;
        // The last block is the superblock's copy.
        let space = total_blocks
            .checked_sub(1)
            .and_then(|n| n.checked_sub(first_group))
            .ok_or(TOO_SMALL)?;
        if space < node_blocks.saturating_mul(MIN_NODES) {
            return Err(TOO_SMALL);
        }
        let group_count = match space % GROUP_BLOCKS {
            tail if tail < MIN_LAST_GROUP => space / GROUP_BLOCKS,
            _ => div_up(space, GROUP_BLOCKS),
        };
        if gdt_blocks > MAX_TABLE_BLOCKS {
            return Err(Error::Invalid(
                "the device is too large for this block size: use a larger one",
            ));
        }
        let geo = Geometry {
            block_size,
            node_size,
            node_blocks: u32::try_from(node_blocks).map_err(|_| TOO_SMALL)?,
            total_blocks,
            gdt_start,
            gdt_blocks,
            log_start,
            log_blocks,
            first_group,
            group_count,
        };
        geo.check(device_bytes)?;
        Ok(geo)
    }

    /// Reads the layout from a superblock whose checksum is right, on a device of `device_bytes`.
    ///
    /// # Errors
    ///
    /// `Corrupt` if the layout is impossible, `Invalid` if the device is smaller than the filesystem.
    pub fn from_superblock(sb: &DiskSuperblock, device_bytes: u64) -> Result<Geometry> {
        let bad = |what| Error::corrupt(what, u64::MAX, 0);
        let block_size = sb.block_size.get();
        if !block_size.is_power_of_two() || !(MIN_BLOCK_SIZE..=MAX_BLOCK_SIZE).contains(&block_size) {
            return Err(bad("superblock: impossible block size"));
        }
        let node_size = block_size.max(MIN_NODE_SIZE);
        if sb.node_size.get() != node_size {
            return Err(bad("superblock: impossible node size"));
        }
        if u64::from(sb.group_blocks.get()) != GROUP_BLOCKS {
            return Err(bad("superblock: impossible group size"));
        }
        let geo = Geometry {
            block_size,
            node_size,
            node_blocks: node_size
                .checked_div(block_size)
                .ok_or(bad("superblock: impossible block size"))?,
            total_blocks: sb.total_blocks.get(),
            gdt_start: sb.gdt_start.get(),
            gdt_blocks: u64::from(sb.gdt_blocks.get()),
            log_start: sb.log_start.get(),
            log_blocks: sb.log_blocks.get(),
            first_group: sb.first_group.get(),
            group_count: u64::from(sb.group_count.get()),
        };
        geo.check(device_bytes)?;
        Ok(geo)
    }

    /// Checks the invariants named at the top of this module.
    fn check(&self, device_bytes: u64) -> Result<()> {
        let bad = |what| Error::corrupt(what, u64::MAX, 0);
        let bs = u64::from(self.block_size);
        let nb = u64::from(self.node_blocks).max(1);
        let bytes = self
            .total_blocks
            .checked_mul(bs)
            .ok_or(bad("superblock: impossible size"))?;
        if bytes > i64::MAX as u64 {
            return Err(bad("superblock: impossible size"));
        }
        if bytes > device_bytes {
            return Err(Error::Invalid("the device is smaller than the filesystem on it"));
        }
        let order = || {
            let gdt_end = self.gdt_blocks.checked_mul(2)?.checked_add(self.gdt_start)?;
            let log_end = self.log_start.checked_add(self.log_blocks)?;
            let mut ok =
                self.gdt_start >= div_up(12288, bs) && gdt_end <= self.log_start && log_end <= self.first_group;
            ok &= self.first_group < self.total_blocks && self.first_group.checked_rem(nb) == Some(0);
            ok &= self.group_count >= 1 && self.gdt_blocks >= 1 && self.gdt_blocks <= MAX_TABLE_BLOCKS;
            ok &= self.gdt_blocks.checked_mul(groups_per_block(self.block_size))? >= self.group_count;
            // The last group begins inside and is worth it; what follows it is less than a group.
            let last = self
                .group_count
                .checked_sub(1)?
                .checked_mul(GROUP_BLOCKS)?
                .checked_add(self.first_group)?;
            let space = self.total_blocks.checked_sub(1)?.checked_sub(last)?;
            ok &= space >= MIN_LAST_GROUP && space < GROUP_BLOCKS.checked_add(MIN_LAST_GROUP)?;
            Some(ok)
        };
        if order() != Some(true) {
            return Err(bad("superblock: regions overlap or lie outside the device"));
        }
        Ok(())
    }

    /// Fills in the layout fields of a superblock.
    pub fn to_superblock(&self, sb: &mut DiskSuperblock) {
        sb.block_size = self.block_size.into();
        sb.node_size = self.node_size.into();
        sb.total_blocks = self.total_blocks.into();
        sb.first_group = self.first_group.into();
        sb.group_count = (self.group_count as u32).into();
        sb.group_blocks = (GROUP_BLOCKS as u32).into();
        sb.gdt_start = self.gdt_start.into();
        sb.gdt_blocks = (self.gdt_blocks as u32).into();
        sb.log_start = self.log_start.into();
        sb.log_blocks = self.log_blocks.into();
    }

    /// Byte offset of a block. Blocks outside the filesystem give an offset that no device has.
    pub fn byte(&self, block: u64) -> u64 {
        block.saturating_mul(u64::from(self.block_size))
    }

    /// First block of a group.
    pub fn group_start(&self, group: u64) -> u64 {
        group.saturating_mul(GROUP_BLOCKS).saturating_add(self.first_group)
    }

    /// Blocks of a group, its bitmap slots included.
    pub fn group_len(&self, group: u64) -> u64 {
        self.total_blocks
            .saturating_sub(1)
            .saturating_sub(self.group_start(group))
            .min(GROUP_BLOCKS)
    }

    /// The group of a block and the block's number in it, if it is in one.
    pub fn locate(&self, block: u64) -> Option<(u64, u64)> {
        let at = block.checked_sub(self.first_group)?;
        let group = at / GROUP_BLOCKS;
        let index = at % GROUP_BLOCKS;
        (group < self.group_count && index < self.group_len(group)).then_some((group, index))
    }

    /// The block that holds a slot of a group's bitmap.
    pub fn bitmap_block(&self, group: u64, second: bool) -> u64 {
        self.group_start(group).saturating_add(u64::from(second))
    }

    /// The block that holds a slot of a block of the group table.
    pub fn table_block(&self, index: u64, second: bool) -> u64 {
        index
            .saturating_mul(2)
            .saturating_add(self.gdt_start)
            .saturating_add(u64::from(second))
    }

    /// Byte offset of the superblock's copy.
    pub fn copy_offset(&self) -> u64 {
        self.byte(self.total_blocks).saturating_sub(SUPERBLOCK_BYTES as u64)
    }

    /// Blocks that can hold nodes and data when the filesystem is empty.
    pub fn usable_blocks(&self) -> u64 {
        let last = self.group_count.saturating_sub(1);
        last.saturating_mul(GROUP_BLOCKS)
            .saturating_add(self.group_len(last))
            .saturating_sub(self.group_count.saturating_mul(GROUP_HEAD_BLOCKS))
    }

    /// Whether a node can be at `block`.
    pub fn is_node_place(&self, block: u64) -> bool {
        let nb = u64::from(self.node_blocks).max(1);
        match self.locate(block) {
            Some((group, index)) => {
                index.checked_rem(nb) == Some(0)
                    && index >= GROUP_HEAD_BLOCKS
                    && index.checked_add(nb).is_some_and(|end| end <= self.group_len(group))
            }
            None => false,
        }
    }

    /// Whether `len` blocks of data can be at `block`: inside one group and off the bitmaps.
    pub fn is_data_place(&self, block: u64, len: u64) -> bool {
        match self.locate(block) {
            Some((group, index)) => {
                len > 0
                    && index >= GROUP_HEAD_BLOCKS
                    && index.checked_add(len).is_some_and(|end| end <= self.group_len(group))
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_passes_its_own_check_at_every_block_size_and_many_sizes() {
        for shift in 12..=16 {
            for mib in [16u64, 17, 33, 64, 100, 129, 512, 1024, 5000, 1 << 20, 16 << 20] {
                match Geometry::plan((mib << 20) + 12345 * 512, 1 << shift, None) {
                    Ok(geo) => {
                        assert!(geo.usable_blocks() > 0);
                        assert!(geo.locate(geo.total_blocks - 1).is_none());
                        let last = geo.group_count - 1;
                        assert!(geo.group_start(last) + geo.group_len(last) < geo.total_blocks);
                        assert!(geo.is_node_place(geo.group_start(0) + 2 * u64::from(geo.node_blocks)));
                        assert!(!geo.is_node_place(geo.group_start(0)));
                    }
                    Err(e) => assert!(mib < 33, "{mib} MiB at {}: {e}", 1 << shift),
                }
            }
        }
    }

    #[test]
    fn a_superblock_carries_the_layout_there_and_back() {
        let geo = Geometry::plan(1 << 30, 4096, None).expect("plan");
        let mut sb = <DiskSuperblock as zerocopy::FromZeros>::new_zeroed();
        geo.to_superblock(&mut sb);
        assert_eq!(Geometry::from_superblock(&sb, 1 << 30), Ok(geo));
        assert!(matches!(
            Geometry::from_superblock(&sb, (1 << 30) - 4096),
            Err(Error::Invalid(_))
        ));
    }

    #[test]
    fn impossible_layouts_are_refused() {
        let geo = Geometry::plan(1 << 30, 4096, None).expect("plan");
        let mut sb = <DiskSuperblock as zerocopy::FromZeros>::new_zeroed();
        for change in 0..10 {
            geo.to_superblock(&mut sb);
            match change {
                0 => sb.block_size = 0.into(),
                1 => sb.block_size = 12288.into(),
                2 => sb.node_size = 4096.into(),
                3 => sb.total_blocks = u64::MAX.into(),
                4 => sb.first_group = 3.into(),
                5 => sb.group_count = u32::MAX.into(),
                6 => sb.gdt_start = 0.into(),
                7 => sb.gdt_blocks = 0.into(),
                8 => sb.log_blocks = u64::MAX.into(),
                _ => sb.first_group = (geo.first_group + 1).into(),
            }
            assert!(
                matches!(Geometry::from_superblock(&sb, 1 << 30), Err(Error::Corrupt(_))),
                "{change}"
            );
        }
    }
}
