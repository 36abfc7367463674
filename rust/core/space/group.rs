// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! One group in memory: its descriptor, and its bitmaps once they are needed.
//!
//! There are two bitmaps. `next` is what the next commit will write: the blocks of the tree as it is now. `busy` is
//! what must not be allocated: `next`, the blocks of the tree as it was committed last, and data blocks that are being
//! written but are not in the tree yet.
//!
//! Invariants: `next` is a subset of `busy`; the counts are those of the bitmaps; while the bitmaps are not loaded, the
//! two are equal and equal to what is on the device. So a bitmap that a commit has sealed stays in memory until it is
//! written.

use super::bits::Bits;
use crate::block_io::BlockIo;
use crate::format::group::*;
use crate::format::Geometry;
use crate::format::BITMAP_BYTES;
use crate::format::GROUP_BLOCKS;
use crate::format::GROUP_HEAD_BLOCKS;
use vexfs_host::Error;
use vexfs_host::Result;

pub(crate) struct Maps {
    pub(super) next: Bits,
    pub(super) busy: Bits,
}

impl Maps {
    fn from(next: Bits) -> Result<Maps> {
        let busy = next.try_clone()?;
        Ok(Maps { next, busy })
    }

    /// Reads the bitmap of `group` that `disk` describes.
    ///
    /// # Errors
    ///
    /// `Io`, or `Corrupt` if it is not the one that is described; `NoMemory`.
    pub(crate) fn read(io: &BlockIo, group: u64, disk: &DiskGroup) -> Result<Maps> {
        let geo = &io.geo;
        let block = geo.bitmap_block(group, disk.flags.get() & GROUP_SLOT != 0);
        let bad = |what| Err(Error::corrupt(what, block, 0));
        let bytes = io.read_vec(block, BITMAP_BYTES)?;
        if bitmap_csum(&io.uuid, block, disk.bitmap_birth.get(), &bytes) != disk.bitmap_csum.get() {
            return bad("free-space bitmap: wrong checksum");
        }
        let bits = Bits::load(&bytes)?;
        let len = geo.group_len(group) as usize;
        let tail = (GROUP_BLOCKS as usize).saturating_sub(len);
        if !bits.all(0, GROUP_HEAD_BLOCKS as usize, true) || !bits.all(len, tail, true) {
            return bad("free-space bitmap: its own blocks or blocks that do not exist are free");
        }
        if bits.free() != disk.free_blocks.get() || bits.free_places(geo.node_blocks) != disk.free_places.get() {
            return bad("free-space bitmap: its counts differ from the group descriptor's");
        }
        Maps::from(bits)
    }
}

pub(super) struct Group {
    /// Blocks not set in `next`.
    pub(super) free: u32,
    /// Blocks not set in `busy`.
    pub(super) avail: u32,
    /// Places free in `busy`.
    pub(super) places: u32,
    /// Data blocks set in `busy` because they are being written.
    pub(super) in_flight: u32,
    /// Whether `next` differs from what is on the device.
    pub(super) dirty: bool,
    pub(super) maps: Option<Maps>,
    /// Attempts of memory reclaim that bitmaps survive which were read for somebody who has not come for them yet.
    keep: u32,
    /// The descriptor as it is on the device.
    disk: DiskGroup,
}

/// The bitmap of a group in which nothing was allocated yet.
pub(super) fn fresh_bitmap(geo: &Geometry, group: u64) -> Result<Bits> {
    let mut bits = Bits::new()?;
    bits.set(0, GROUP_HEAD_BLOCKS as usize, true, 1);
    let len = geo.group_len(group) as usize;
    bits.set(len, (GROUP_BLOCKS as usize).saturating_sub(len), true, 1);
    Ok(bits)
}

/// The descriptor of a group in which nothing was allocated yet.
pub(crate) fn fresh_descriptor(geo: &Geometry, group: u64) -> DiskGroup {
    let len = geo.group_len(group);
    let nb = u64::from(geo.node_blocks).max(1);
    let places = (len / nb).saturating_sub(GROUP_HEAD_BLOCKS.div_ceil(nb));
    DiskGroup {
        free_blocks: (len.saturating_sub(GROUP_HEAD_BLOCKS) as u32).into(),
        flags: GROUP_UNINIT.into(),
        bitmap_csum: 0.into(),
        free_places: (places as u32).into(),
        bitmap_birth: 0.into(),
        reserved: 0.into(),
    }
}

impl Group {
    /// The group that `d`, found in table block `block`, describes.
    pub(super) fn from_disk(d: &DiskGroup, geo: &Geometry, group: u64, block: u64) -> Result<Group> {
        let bad = |what| Err(Error::corrupt(what, block, 0));
        let (free, places) = (d.free_blocks.get(), d.free_places.get());
        let fresh = fresh_descriptor(geo, group);
        if d.flags.get() & !GROUP_FLAGS != 0 {
            return bad("group descriptor: unknown flags");
        }
        if free > fresh.free_blocks.get() || u64::from(places) * u64::from(geo.node_blocks) > u64::from(free) {
            return bad("group descriptor: impossible counts");
        }
        if d.flags.get() & GROUP_UNINIT != 0 && (free != fresh.free_blocks.get() || places != fresh.free_places.get()) {
            return bad("group descriptor: a group that is not initialized must be empty");
        }
        Ok(Group {
            free,
            avail: free,
            places,
            in_flight: 0,
            dirty: false,
            maps: None,
            keep: 0,
            disk: *d,
        })
    }

    /// The descriptor as it is on the device, or will be after the commit that [`Group::seal`] is part of.
    pub(super) fn descriptor(&self) -> &DiskGroup {
        &self.disk
    }

    /// The bitmaps, if they are in memory or need not be read.
    ///
    /// # Errors
    ///
    /// `NoMemory`.
    pub(super) fn maps(&mut self, geo: &Geometry, group: u64) -> Result<Option<&mut Maps>> {
        self.keep = 0;
        if self.maps.is_none() && self.disk.flags.get() & GROUP_UNINIT != 0 {
            self.maps = Some(Maps::from(fresh_bitmap(geo, group)?)?);
        }
        Ok(self.maps.as_mut())
    }

    /// The descriptor of the bitmaps that have to be read.
    pub(super) fn lacking(&self) -> Option<DiskGroup> {
        (self.maps.is_none() && self.disk.flags.get() & GROUP_UNINIT == 0).then_some(self.disk)
    }

    /// Takes in what was read, for `keep` attempts of memory reclaim if it is not used before.
    pub(super) fn install(&mut self, maps: Maps, keep: u32) {
        self.maps = Some(maps);
        self.keep = keep;
    }

    /// Puts the bitmap that the commit of `txg` has to write into `bytes`, updates the descriptor to it and returns the
    /// block it must be written to. Needs no memory.
    pub(super) fn seal(&mut self, io: &BlockIo, group: u64, txg: u64, bytes: &mut [u8]) -> u64 {
        let unwritten = self.disk.flags.get() & GROUP_UNINIT != 0;
        let second = !unwritten && self.disk.flags.get() & GROUP_SLOT == 0;
        let block = io.geo.bitmap_block(group, second);
        if let Some(maps) = &self.maps {
            maps.next.store(bytes);
            self.disk = DiskGroup {
                free_blocks: self.free.into(),
                flags: (if second { GROUP_SLOT } else { 0 }).into(),
                bitmap_csum: bitmap_csum(&io.uuid, block, txg, bytes).into(),
                free_places: maps.next.free_places(io.geo.node_blocks).into(),
                bitmap_birth: txg.into(),
                reserved: 0.into(),
            };
        }
        self.dirty = false;
        block
    }

    /// Forgets the bitmaps if they can be read again; `writing` is the transaction group that is on its way to the
    /// device. Returns whether it did.
    pub(super) fn unload(&mut self, writing: Option<u64>) -> bool {
        let on_device =
            !self.dirty && self.disk.flags.get() & GROUP_UNINIT == 0 && writing != Some(self.disk.bitmap_birth.get());
        on_device && self.in_flight == 0 && self.free == self.avail && self.maps.take().is_some()
    }
}
