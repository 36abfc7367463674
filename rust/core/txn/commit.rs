// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Committing a transaction group: making everything done so far durable, atomically.
//!
//! 1. Get all the memory that is needed. Failing here changes nothing: the next commit does it all.
//! 2. Seal, while operations are held: from the leaves up, checksums go into headers and parents; bitmaps and table
//!    blocks that changed are copied; the next transaction group opens. Nothing fails and nothing is allocated here.
//! 3. Operations go on. Write nodes, bitmaps (to their other slots) and table blocks (likewise), in any order; flush.
//! 4. Write the superblock to the older slot, durably. This is the moment of the commit.
//! 5. Blocks that the group freed can be allocated from now on; its nodes become clean.
//!
//! A power cut before step 4 is complete leaves the other superblock slot, and nothing it leads to has been
//! overwritten: new nodes and data only go to blocks that were free in it, bitmaps and table blocks to the slots it
//! does not use. A failure in step 3 or 4 makes the filesystem read-only, since what is in memory can then neither be
//! written nor taken back. Only the device can cause one: nothing from step 2 on needs memory that might not be had.
//!
//! A commit begins when the data has landed that something in it must not overtake ([`order`](super::order)).
//!
//! Lock order: the commit lock is held throughout and outermost. What fsync needs sooner, the log has (`log`).

use crate::btree::Tree;
use crate::format::DiskSuperblock;
use crate::format::BITMAP_BYTES;
use crate::format::SUPERBLOCK_BYTES;
use crate::format::SUPERBLOCK_OFFSETS;
use crate::fs::CommittedSuperblock;
use crate::fs::Fs;
use crate::node::Node;
use crate::space::BlockAllocator;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::Ordering::SeqCst;
use vexfs_host::log;
use vexfs_host::mem::Vec;
use vexfs_host::shared;
use vexfs_host::sync::Arc;
use vexfs_host::Error;
use vexfs_host::Result;
use zerocopy::FromBytes as _;

/// What a commit did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The last transaction group that is on the device.
    pub txg: u64,
    /// Whether there was anything to write.
    pub wrote: bool,
}

impl Fs {
    /// Makes everything done before this call durable.
    ///
    /// # Errors
    ///
    /// `NoMemory`: nothing has changed, try again. `Io` and others: the filesystem is read-only from now on.
    pub fn commit(&self) -> Result<Committed> {
        let _shared = shared();
        let _in_order = self.order.close();
        let mut state = self.commit.lock();
        self.commit_locked(&mut state)
    }

    /// The same without waiting for data, for what brings data into the tree or holds locks that this needs.
    pub(crate) fn commit_at_once(&self) -> Result<Committed> {
        let _shared = shared();
        let mut state = self.commit.lock();
        self.commit_locked(&mut state)
    }

    /// The same, with nothing to tell.
    pub fn sync(&self) -> Result<()> {
        self.commit().map(|_| ())
    }

    pub(crate) fn commit_locked(&self, state: &mut CommittedSuperblock) -> Result<Committed> {
        let mut sealed = SealedGroup::new();
        if !self.seal(state, &mut sealed)? {
            return Ok(Committed {
                txg: self.committed.load(SeqCst),
                wrote: false,
            });
        }
        if let Err(e) = self.write_sealed(state, &sealed) {
            if self.abort_reason().is_none() {
                log!(err, "transaction group {} could not be written: {}", sealed.txg, e);
                self.abort(e);
            }
            return Err(e);
        }
        self.settle(&sealed);
        Ok(Committed {
            txg: sealed.txg,
            wrote: true,
        })
    }

    /// Steps 1 and 2: leaves in `sealed` what is to be written. False if that is nothing.
    #[inline(never)] // own frame
    fn seal(&self, state: &mut CommittedSuperblock, sealed: &mut SealedGroup) -> Result<bool> {
        // An operation that has given up the tree's lock to read must be over.
        let writer = self.writer.lock();
        let mut tree = self.tree.write();
        // An operation may have stopped everything while this waited for it: what it left must not be sealed.
        if let Some(e) = self.abort_reason() {
            return Err(e);
        }
        let mut space = self.space.lock();
        if !tree.changed {
            space.free_deferred(&self.pins);
            return Ok(false);
        }
        if self.never_writable.is_some() {
            return Err(Error::ReadOnly);
        }
        self.get_memory(&tree, &mut space, sealed)?;
        if let Err(e) = tree.seal(&self.io().uuid, &mut sealed.nodes) {
            // The tree in memory is not what it must be; it stays where it is.
            drop(space);
            drop(tree);
            drop(writer);
            self.abort(e);
            return Err(e);
        }
        self.seal_superblock(state, &mut tree, &mut space, sealed)?;
        tree.open_next_group();
        drop(space);
        drop(tree);
        drop(writer);
        sort(&mut sealed.nodes);
        Ok(true)
    }

    /// Step 1.
    #[inline(never)] // own frame
    fn get_memory(&self, tree: &Tree, space: &mut BlockAllocator, sealed: &mut SealedGroup) -> Result<()> {
        let block_size = (self.block_size() as usize).max(1);
        let (bitmaps, tables) = space.dirty();
        sealed.txg = tree.txg;
        sealed.nodes = Vec::with_capacity(tree.dirty.len())?;
        sealed.bitmap_blocks = Vec::with_capacity(bitmaps)?;
        sealed.table_blocks = Vec::with_capacity(tables)?;
        sealed.bitmaps.resize(bitmaps.saturating_mul(BITMAP_BYTES), 0)?;
        sealed.tables.resize(tables.saturating_mul(block_size), 0)?;
        space.prepare_commit()
    }

    /// Of step 2: copies bitmaps and table blocks that changed, and fills in the superblock that leads to them and to
    /// the tree, whose nodes are sealed.
    #[inline(never)] // own frame
    fn seal_superblock(
        &self,
        state: &mut CommittedSuperblock,
        tree: &mut Tree,
        space: &mut BlockAllocator,
        sealed: &mut SealedGroup,
    ) -> Result<()> {
        let sb = superblock(&mut state.bytes)?;
        let (table_blocks, bitmap_blocks) = (&mut sealed.table_blocks, &mut sealed.bitmap_blocks);
        let table_csum = space.seal(
            self.io(),
            sealed.txg,
            &mut sealed.bitmaps,
            &mut sealed.tables,
            |table, block| {
                // There is room for what `dirty` counted.
                let _ = if table {
                    table_blocks.push(block)
                } else {
                    bitmap_blocks.push(block)
                };
            },
            |index, second| sb.set_table_slot(index, second),
        );
        sb.txg = sealed.txg.into();
        sb.root_block = tree.root.block.into();
        sb.root_birth = tree.root.birth.into();
        sb.root_csum = tree.root.csum.into();
        sb.root_level = tree.root.level;
        sb.next_ino = tree.next_ino.into();
        sb.inode_count = tree.inode_count.into();
        sb.free_blocks = space.free_blocks().into();
        sb.log_head = tree.redo.seal().into();
        sb.gdt_csum = table_csum.into();
        sb.written = vexfs_host::now().0.into();
        sb.csum = sb.compute_csum().into();
        Ok(())
    }

    /// Steps 3 and 4. Needs no memory but what the list of writes has room for.
    #[inline(never)] // own frame
    fn write_sealed(&self, state: &mut CommittedSuperblock, sealed: &SealedGroup) -> Result<()> {
        let bs = (self.block_size() as usize).max(1);
        let nodes_at = sealed.nodes.iter().map(|n| (n.block(), n.bytes()));
        let bitmaps = sealed.bitmaps.chunks_exact(BITMAP_BYTES);
        let bitmaps_at = sealed.bitmap_blocks.iter().copied().zip(bitmaps);
        let tables_at = sealed.table_blocks.iter().copied().zip(sealed.tables.chunks_exact(bs));
        self.io().write_durably(nodes_at.chain(bitmaps_at).chain(tables_at))?;
        // Whoever stopped the filesystem meanwhile has been told that nothing more reaches the device.
        if let Some(e) = self.abort_reason() {
            return Err(e);
        }
        let slot = 1 - state.slot.min(1);
        let offset = SUPERBLOCK_OFFSETS.get(slot).copied().unwrap_or(SUPERBLOCK_BYTES as u64);
        self.io().dev.write_fua(offset, &state.bytes)?;
        state.slot = slot;
        Ok(())
    }

    /// Step 5.
    fn settle(&self, sealed: &SealedGroup) {
        for node in sealed.nodes.iter() {
            self.nodes.cache.insert(node.clone());
        }
        {
            let mut tree = self.tree.write();
            tree.writing.clear();
            self.log.settled(tree.redo.committed());
            self.space.lock().committed(&self.pins);
        }
        self.committed.store(sealed.txg, SeqCst);
        self.commits.fetch_add(1, Relaxed);
        self.nodes_written.fetch_add(sealed.nodes.len() as u64, Relaxed);
    }
}

/// A sealed transaction group: what has to be written, and where to. All its memory is there before the seal.
struct SealedGroup {
    txg: u64,
    nodes: Vec<Arc<Node>>,
    bitmaps: Vec<u8>,
    bitmap_blocks: Vec<u64>,
    tables: Vec<u8>,
    table_blocks: Vec<u64>,
}

impl SealedGroup {
    const fn new() -> SealedGroup {
        SealedGroup {
            txg: 0,
            nodes: Vec::new(),
            bitmaps: Vec::new(),
            bitmap_blocks: Vec::new(),
            tables: Vec::new(),
            table_blocks: Vec::new(),
        }
    }
}

/// Sorts nodes by block, so that they are written in the order of the device. Heapsort (Williams 1964): the library's
/// sorting takes kilobytes of stack.
fn sort(nodes: &mut [Arc<Node>]) {
    let block = |nodes: &[Arc<Node>], at: usize| nodes.get(at).map_or(0, |n| n.block());
    let sift = |nodes: &mut [Arc<Node>], mut at: usize, end: usize| loop {
        let mut child = 2 * at + 1;
        if child >= end {
            break;
        }
        if child + 1 < end && block(nodes, child + 1) > block(nodes, child) {
            child += 1;
        }
        if block(nodes, at) >= block(nodes, child) {
            break;
        }
        nodes.swap(at, child);
        at = child;
    };
    for at in (0..nodes.len() / 2).rev() {
        sift(nodes, at, nodes.len());
    }
    for end in (1..nodes.len()).rev() {
        nodes.swap(0, end);
        sift(nodes, 0, end);
    }
}

/// Views 4 KiB as a superblock.
fn superblock(bytes: &mut [u8]) -> Result<&mut DiskSuperblock> {
    DiskSuperblock::mut_from_bytes(bytes).map_err(|_| Error::corrupt("superblock lost in memory", u64::MAX, 0))
}
