// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Which blocks are free, which may be allocated, and who has been promised some.
//!
//! A block goes through these states:
//!
//! ```text
//! free --alloc_node--------------------------------> used --free--> pending --commit--> free
//!   \--alloc_data--> in flight --adopt (Tx commit)--/        (born in the open txg: at once)
//!                      \--release--> free
//! ```
//!
//! A block that the open transaction group freed stays unallocatable until that group is on the device, since until
//! then a power cut brings the old tree back. Nodes are allocated when they become dirty and bitmaps have fixed places,
//! so a commit allocates nothing.
//!
//! Three promises are counted here: places for the nodes that open operations may dirty, blocks for data that is in the
//! page cache and has no block yet, and the emergency reserve, places that only operations which free space may use, so
//! that a full filesystem can be emptied.
//!
//! Relies on: [`Group`] for the bitmaps. One lock protects everything; it is taken inside the tree's lock.

mod bits;
pub(crate) mod changes;
pub(crate) mod group;
pub(crate) mod pins;
pub(crate) mod room;
pub(crate) mod seal;
mod search;
#[cfg(test)]
mod tests;

use crate::block_io::BlockIo;
use crate::format::group::*;
use crate::format::Geometry;
use group::Group;
use group::Maps;
use vexfs_host::log;
use vexfs_host::mem::Vec;
use vexfs_host::Error;
use vexfs_host::Result;

/// A run of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) block: u64,
    pub(crate) len: u32,
}

/// Who asks for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// An operation that users can do without.
    Normal,
    /// One that frees space or must not fail: it may use the emergency reserve.
    Urgent,
}

/// The allocator.
pub(crate) struct BlockAllocator {
    geo: Geometry,
    groups: Vec<Group>,
    /// Checksums of the blocks of the group table, and which slot is current.
    table: Vec<TableBlock>,
    /// Blocks not used by the tree as it is now.
    free: u64,
    /// Blocks that can be allocated.
    avail: u64,
    /// Places that can be allocated.
    places: u64,
    /// Places that only urgent operations may use.
    emergency: u64,
    /// Blocks promised to data.
    promised: u64,
    /// Of these, those that were made since dirty data was last written back to make room.
    new_promises: u64,
    /// Places promised to open operations.
    reserved: u64,
    /// Freed by the open transaction group.
    pending: Vec<Run>,
    /// Runs that the open operation will free at its end; `pending` has room for them.
    prepared: usize,
    /// Freed by the transaction group that is being written.
    sealed: Vec<Run>,
    /// The transaction group that is being written.
    writing: Option<u64>,
    /// Groups whose bitmap the next commit writes.
    dirty_groups: usize,
    /// The group whose bitmaps the last operation lacked, which returned `WouldBlock`.
    wanted: Option<u64>,
    /// Freed by groups on the device, but readers may still be there: those that wait for the readers from before the
    /// last flip of the pins, and later ones.
    deferred_free: [Vec<Run>; 2],
    /// Where the last node was allocated: group and block in it.
    node_at: (u64, usize),
    /// Where the last data without a goal of its own was allocated.
    data_at: u64,
}

#[derive(Clone, Copy)]
struct TableBlock {
    csum: u32,
    second: bool,
    /// Whether one of its groups is dirty.
    dirty: bool,
}

/// Numbers for `statfs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpaceInfo {
    /// Blocks for nodes and data.
    pub total: u64,
    /// Free ones.
    pub free: u64,
    /// Those of them that ordinary operations can get.
    pub available: u64,
    /// Blocks promised to data that has no block yet.
    pub promised: u64,
}

/// A promise of places, which ends with [`BlockAllocator::end_op`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Places(u64);

/// Of data blocks that are promised, the share that their extent items may need: one block in this many.
const EXTENT_SHARE: u64 = 32;

impl BlockAllocator {
    /// Reads the group table. `slot` says which slot of a table block is current, `csum` is the checksum over all of
    /// them.
    ///
    /// # Errors
    ///
    /// `Io`, or `Corrupt` if a block of the table is not what the superblock says.
    #[inline(never)] // own frame
    pub(crate) fn load(io: &BlockIo, slot: impl Fn(u64) -> bool, csum: u32, free: u64) -> Result<BlockAllocator> {
        let geo = io.geo;
        let mut space = BlockAllocator {
            geo,
            groups: Vec::with_capacity(geo.group_count as usize)?,
            table: Vec::with_capacity(geo.gdt_blocks as usize)?,
            free: 0,
            avail: 0,
            places: 0,
            emergency: 0,
            promised: 0,
            new_promises: 0,
            reserved: 0,
            pending: Vec::new(),
            prepared: 0,
            sealed: Vec::new(),
            writing: None,
            dirty_groups: 0,
            wanted: None,
            deferred_free: [Vec::new(), Vec::new()],
            node_at: (0, 0),
            data_at: geo.group_start(u64::from(geo.group_count > 1)) + geo.group_len(0) / 8,
        };
        let mut buf = Vec::new();
        buf.resize(geo.block_size as usize, 0)?;
        let mut all = 0;
        for index in 0..geo.gdt_blocks {
            let second = slot(index);
            let block = geo.table_block(index, second);
            io.read(block, &mut buf)?;
            let csum = space.load_block(&buf, block, index, io)?;
            all = vexfs_host::crc32c(all, &csum.to_le_bytes());
            space.table.push(TableBlock {
                csum,
                second,
                dirty: false,
            })?;
            vexfs_host::relax()?;
        }
        if all != csum {
            return Err(Error::corrupt(
                "group table: not the one the superblock describes",
                geo.gdt_start,
                0,
            ));
        }
        for g in space.groups.iter() {
            space.free += u64::from(g.free);
            space.places += u64::from(g.places);
        }
        space.avail = space.free;
        if space.free != free {
            return Err(Error::corrupt(
                "group table: its free blocks are not those of the superblock",
                geo.gdt_start,
                0,
            ));
        }
        // Enough for what deleting the largest things dirties between two commits; at most 16 MiB.
        let all_places = geo.usable_blocks() / u64::from(geo.node_blocks).max(1);
        space.emergency = (all_places / 32).clamp(64, 1024).min(all_places / 4);
        Ok(space)
    }

    #[inline(never)] // own frame
    fn load_block(&mut self, buf: &[u8], block: u64, index: u64, io: &BlockIo) -> Result<u32> {
        let bad = |what| Err(Error::corrupt(what, block, 0));
        let Ok((head, rest)) = <DiskGroupTable as zerocopy::FromBytes>::ref_from_prefix(buf) else {
            return bad("group table: too short");
        };
        let csum = vexfs_host::crc32c(0, buf.get(8..).unwrap_or(&[]));
        if head.magic.get() != GROUP_MAGIC {
            return bad("group table: wrong magic");
        }
        if head.csum.get() != csum {
            return bad("group table: wrong checksum");
        }
        if head.uuid != io.uuid || head.block.get() != block || u64::from(head.index.get()) != index {
            return bad("group table: written for another place");
        }
        let here = groups_per_block(self.geo.block_size);
        let first = index * here;
        let count = self.geo.group_count.saturating_sub(first).min(here);
        let Ok((list, _)) = <[DiskGroup] as zerocopy::FromBytes>::ref_from_prefix_with_elems(rest, count as usize)
        else {
            return bad("group table: too short");
        };
        for (group, d) in (first..).zip(list) {
            self.groups.push(Group::from_disk(d, &self.geo, group, block)?)?;
        }
        Ok(csum)
    }

    /// Blocks of a node.
    #[inline]
    fn nb(&self) -> u32 {
        self.geo.node_blocks
    }

    pub(crate) fn info(&self) -> SpaceInfo {
        let kept = self.emergency * u64::from(self.nb());
        SpaceInfo {
            total: self.geo.usable_blocks(),
            free: self.free,
            available: self
                .free
                .saturating_sub(kept)
                .saturating_sub(self.with_extents(self.promised)),
            promised: self.promised,
        }
    }

    /// Free blocks of the tree as it is now.
    pub(crate) fn free_blocks(&self) -> u64 {
        self.free
    }

    /// Whether a commit would make blocks available.
    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty() || !self.sealed.is_empty() || self.deferred_free.iter().any(|l| !l.is_empty())
    }

    fn with_extents(&self, blocks: u64) -> u64 {
        blocks.saturating_add(blocks.div_ceil(EXTENT_SHARE))
    }

    /// The bitmaps of `group`.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if they have to be read first: see [`BlockAllocator::wanted`]. `NoMemory`.
    fn maps(&mut self, group: u64) -> Result<&mut Maps> {
        let found = match self.groups.get_mut(group as usize) {
            Some(g) => g.maps(&self.geo, group)?,
            None => None,
        };
        if found.is_none() {
            self.wanted = Some(group);
        }
        found.ok_or(Error::WouldBlock)
    }

    /// The group whose bitmaps have to be read for what has just returned `WouldBlock`.
    pub(crate) fn wanted(&mut self) -> Option<u64> {
        self.wanted.take()
    }

    /// The descriptor of the bitmaps of `group` if they have to be read.
    pub(crate) fn lacking(&self, group: u64) -> Option<DiskGroup> {
        self.groups.get(group as usize)?.lacking()
    }

    /// Takes in the bitmaps of `group`, which are lacking.
    pub(crate) fn install(&mut self, group: u64, maps: Maps, keep: u32) {
        if let Some(g) = self.groups.get_mut(group as usize) {
            g.install(maps, keep);
        }
    }

    /// Promises places for up to `nodes` nodes to an operation.
    pub(crate) fn begin_op(&mut self, nodes: u64, class: Class) -> Option<Places> {
        let nb = u64::from(self.nb());
        // The worst case of a large operation may exceed the whole reserve of a small filesystem. The operation is
        // going to need far less than that, and waiting for more room would not help.
        let (nodes, kept) = match class {
            Class::Normal => (nodes, self.emergency),
            Class::Urgent => (nodes.min(self.emergency / 2), 0),
        };
        let places = self.reserved.saturating_add(nodes).saturating_add(kept);
        let blocks = places
            .saturating_mul(nb)
            .saturating_add(self.with_extents(self.promised));
        // Urgent operations are what the reserve is for; they do not stop at what was promised to data either.
        if self.places < places || (class == Class::Normal && self.avail < blocks) {
            return None;
        }
        self.reserved += nodes;
        Some(Places(nodes))
    }

    /// Ends a promise of [`BlockAllocator::begin_op`].
    pub(crate) fn end_op(&mut self, places: Places) {
        self.reserved = self.reserved.saturating_sub(places.0);
    }

    /// Blocks that data can still be promised.
    fn unpromised(&self) -> u64 {
        let kept = (self.emergency + self.reserved) * u64::from(self.nb());
        self.avail
            .saturating_sub(kept)
            .saturating_sub(self.with_extents(self.promised))
    }

    /// Promises `n` blocks to data.
    pub(crate) fn promise(&mut self, n: u64) -> bool {
        if self.unpromised() < self.with_extents(n) {
            return false;
        }
        self.promised += n;
        self.new_promises += n;
        true
    }

    /// Ends a promise of `n` blocks, which are allocated.
    fn unpromise(&mut self, n: u64) {
        self.promised = self.promised.saturating_sub(n);
    }

    /// Takes back a promise of `n` blocks.
    pub(crate) fn take_back(&mut self, n: u64) {
        self.unpromise(n);
        self.new_promises = self.new_promises.saturating_sub(n);
    }

    /// The promises made since the last call, of which writing back may make room.
    pub(crate) fn take_new_promises(&mut self) -> u64 {
        core::mem::take(&mut self.new_promises)
    }

    /// Undoes [`BlockAllocator::take_new_promises`].
    pub(crate) fn put_new_promises(&mut self, n: u64) {
        self.new_promises = self.new_promises.saturating_add(n);
    }

    /// Renews a promise of `n` blocks that were allocated out of it and have just been released.
    pub(crate) fn promise_again(&mut self, n: u64) {
        self.promised += n;
        self.new_promises += n;
    }

    /// Allocates a node.
    ///
    /// # Errors
    ///
    /// `NoSpace`; `WouldBlock` if a bitmap has to be read.
    pub(crate) fn alloc_node(&mut self) -> Result<u64> {
        let (group, index) = self.find_place()?;
        let nb = self.nb() as usize;
        self.take(group, index, nb, true);
        self.node_at = (group, index + nb);
        Ok(self.geo.group_start(group) + index as u64)
    }

    /// Marks free blocks of a loaded group as busy and, with `used`, as part of the tree.
    fn take(&mut self, group: u64, index: usize, len: usize, used: bool) {
        let nb = self.nb();
        let Some(g) = self.groups.get_mut(group as usize) else {
            return;
        };
        let Some(maps) = g.maps.as_mut() else { return };
        let (busy, places) = maps.busy.set(index, len, true, nb);
        g.avail = g.avail.saturating_sub(busy);
        g.places = g.places.saturating_sub(places);
        self.avail = self.avail.saturating_sub(u64::from(busy));
        self.places = self.places.saturating_sub(u64::from(places));
        if used {
            let (n, _) = maps.next.set(index, len, true, nb);
            g.free = g.free.saturating_sub(n);
            self.free = self.free.saturating_sub(u64::from(n));
            self.mark(group);
        } else {
            g.in_flight += busy;
        }
    }

    /// Makes blocks of a loaded group allocatable.
    fn unbusy(&mut self, group: u64, index: usize, len: usize) -> u32 {
        let nb = self.nb();
        let Some(g) = self.groups.get_mut(group as usize) else {
            return 0;
        };
        let Some(maps) = g.maps.as_mut() else { return 0 };
        let (n, places) = maps.busy.set(index, len, false, nb);
        g.avail += n;
        g.places += places;
        self.avail += u64::from(n);
        self.places += u64::from(places);
        n
    }

    /// Takes blocks of a loaded group out of the tree.
    fn unuse(&mut self, group: u64, index: usize, len: usize) -> u32 {
        let nb = self.nb();
        let Some(g) = self.groups.get_mut(group as usize) else {
            return 0;
        };
        let Some(maps) = g.maps.as_mut() else { return 0 };
        let (n, _) = maps.next.set(index, len, false, nb);
        g.free += n;
        self.free += u64::from(n);
        self.mark(group);
        n
    }

    /// Prepares for [`BlockAllocator::free`] of `run`, which cannot fail then. With `later`, other runs may be prepared
    /// and freed in between, until [`BlockAllocator::end_prepared`].
    ///
    /// # Errors
    ///
    /// `Corrupt` if the blocks are not in use: the tree or the bitmap is damaged. `NoMemory`; `WouldBlock` if a bitmap
    /// has to be read.
    pub(crate) fn prepare_free(&mut self, run: Run, later: bool) -> Result<()> {
        let bad = |what| Err(Error::corrupt(what, run.block, 0));
        self.pending.reserve(self.prepared + 1)?;
        if !self.geo.is_data_place(run.block, u64::from(run.len)) {
            return bad("blocks to be freed lie outside the groups");
        }
        let Some((group, index)) = self.geo.locate(run.block) else {
            return bad("blocks to be freed lie outside the groups");
        };
        if group >= self.groups.len() as u64 {
            return bad("blocks to be freed lie outside the groups");
        }
        let maps = self.maps(group)?;
        if !maps.next.all(index as usize, run.len as usize, true) {
            return bad("blocks to be freed are free already");
        }
        // Keeps the bitmap in memory until then.
        self.mark(group);
        self.prepared += usize::from(later);
        Ok(())
    }

    /// Ends an operation: what it prepared to free later is freed, or will not be.
    pub(crate) fn end_prepared(&mut self) {
        self.prepared = 0;
    }

    /// Frees a run that [`BlockAllocator::prepare_free`] was told of: at once if `now`, else when the open transaction
    /// group is on the device. Returns false if something is wrong with it, which only a damaged tree can lead to.
    pub(crate) fn free(&mut self, run: Run, now: bool) -> bool {
        let Some((group, index)) = self.geo.locate(run.block) else {
            return false;
        };
        let whole = self.unuse(group, index as usize, run.len as usize) == run.len;
        if now {
            self.unbusy(group, index as usize, run.len as usize);
            return whole;
        }
        // Extents are mostly freed in order: neighbours become one run.
        if let Some(last) = self.pending.last_mut() {
            let len = last.len.checked_add(run.len);
            let same = self.geo.locate(last.block).is_some_and(|(g, _)| g == group);
            if let Some(len) = len.filter(|_| same && last.block + u64::from(last.len) == run.block) {
                last.len = len;
                return whole;
            }
        }
        whole && self.pending.push(run).is_ok()
    }

    /// Takes back [`BlockAllocator::alloc_node`].
    pub(crate) fn unalloc_node(&mut self, block: u64) {
        if let Some((group, index)) = self.geo.locate(block) {
            let nb = self.nb() as usize;
            self.unuse(group, index as usize, nb);
            self.unbusy(group, index as usize, nb);
        }
    }

    /// Allocates up to `want` blocks in a row for data, near `goal` if that is not 0. They are in flight: part of no
    /// tree. With `promised`, they come out of the promise made before and cannot run into the reserves.
    ///
    /// # Errors
    ///
    /// `NoSpace`; `WouldBlock` if a bitmap has to be read.
    pub(crate) fn alloc_data(&mut self, goal: u64, want: u32, promised: bool) -> Result<Run> {
        let want = match promised {
            true => want,
            false => want.min(u32::try_from(self.unpromised()).unwrap_or(u32::MAX)),
        };
        if want == 0 {
            return Err(Error::NoSpace);
        }
        let (group, index, len) = self.find_data(goal, want as usize)?;
        self.take(group, index, len, false);
        if promised {
            self.unpromise(len as u64);
        }
        let block = self.geo.group_start(group) + index as u64;
        if goal == 0 {
            self.data_at = block + len as u64;
        }
        Ok(Run { block, len: len as u32 })
    }

    /// [`BlockAllocator::alloc_data`] for what has to be written in order to free space: it may use half of the
    /// emergency reserve. The other half stays for the nodes that freeing changes.
    pub(crate) fn alloc_urgent(&mut self, goal: u64, want: u32) -> Result<Run> {
        let places = self.emergency / 2 + self.reserved;
        let room = self
            .avail
            .saturating_sub(places.saturating_mul(u64::from(self.nb())))
            .saturating_sub(self.with_extents(self.promised));
        let want = want.min(u32::try_from(room).unwrap_or(u32::MAX));
        if want == 0 || self.places <= places {
            return Err(Error::NoSpace);
        }
        let (group, index, len) = self.find_data(goal, want as usize)?;
        self.take(group, index, len, false);
        let block = self.geo.group_start(group) + index as u64;
        Ok(Run { block, len: len as u32 })
    }

    /// The group and index of blocks in flight, if all of them are.
    fn in_flight(&mut self, run: Run) -> Option<(u64, usize)> {
        if !self.geo.is_data_place(run.block, u64::from(run.len)) {
            return None;
        }
        let (group, index) = self.geo.locate(run.block)?;
        let maps = self.groups.get(group as usize)?.maps.as_ref()?;
        let (index, len) = (index as usize, run.len as usize);
        (maps.busy.all(index, len, true) && maps.next.all(index, len, false)).then_some((group, index))
    }

    /// Whether these blocks are in flight.
    pub(crate) fn is_in_flight(&mut self, run: Run) -> bool {
        self.in_flight(run).is_some()
    }

    /// Puts blocks in flight that an operation of the intent log is going to adopt.
    ///
    /// # Errors
    ///
    /// `Corrupt` if they are not free; `NoMemory`; `WouldBlock` if a bitmap has to be read.
    pub(crate) fn claim(&mut self, run: Run) -> Result<()> {
        let bad = |what| Err(Error::corrupt(what, run.block, 0));
        let place = self.geo.locate(run.block);
        let Some((group, index)) = place.filter(|_| self.geo.is_data_place(run.block, u64::from(run.len))) else {
            return bad("intent log: blocks outside the groups");
        };
        let (index, len) = (index as usize, run.len as usize);
        if !self.maps(group)?.busy.all(index, len, false) {
            return bad("intent log: blocks that are in use");
        }
        self.take(group, index, len, false);
        Ok(())
    }

    /// Ends the flight of blocks that could not be written or are not needed.
    pub(crate) fn release_data(&mut self, run: Run) {
        let Some((group, index)) = self.in_flight(run) else {
            log!(
                err,
                "blocks {}+{} are released but were not being written",
                run.block,
                run.len
            );
            return;
        };
        let n = self.unbusy(group, index, run.len as usize);
        if let Some(g) = self.groups.get_mut(group as usize) {
            g.in_flight = g.in_flight.saturating_sub(n);
        }
    }

    /// Makes blocks in flight part of the tree. Returns false if they are not in flight.
    pub(crate) fn adopt(&mut self, run: Run) -> bool {
        let nb = self.nb();
        let Some((group, index)) = self.in_flight(run) else {
            return false;
        };
        let Some(g) = self.groups.get_mut(group as usize) else {
            return false;
        };
        let Some(maps) = g.maps.as_mut() else { return false };
        let (n, _) = maps.next.set(index, run.len as usize, true, nb);
        g.in_flight = g.in_flight.saturating_sub(n);
        g.free = g.free.saturating_sub(n);
        self.free = self.free.saturating_sub(u64::from(n));
        self.mark(group);
        true
    }

    /// Drops bitmaps that can be read again, up to `n`. Returns how many.
    pub(crate) fn shrink(&mut self, n: usize) -> usize {
        let mut dropped = 0;
        for g in self.groups.iter_mut() {
            if dropped == n {
                break;
            }
            dropped += usize::from(g.unload(self.writing));
        }
        dropped
    }

    /// Groups whose bitmaps have to stay in memory because the next commit writes them.
    pub(crate) fn dirty_groups(&self) -> usize {
        self.dirty_groups
    }

    /// Notes that `group` is dirty, also where the commit looks for it.
    fn mark(&mut self, group: u64) {
        if let Some(g) = self.groups.get_mut(group as usize) {
            self.dirty_groups += usize::from(!g.dirty);
            g.dirty = true;
        }
        let index = group.checked_div(groups_per_block(self.geo.block_size)).unwrap_or(0);
        if let Some(table) = self.table.get_mut(index as usize) {
            table.dirty = true;
        }
    }
}
