// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Bringing a filesystem up and down: choosing the superblock, checking what it leads to, finishing what a crash
//! interrupted.
//!
//! Of the two superblock slots the valid one with the higher transaction group counts. The other one is used only if a
//! slot itself is unreadable or its checksum is wrong, which is what a power cut during a commit leaves. If the
//! superblock is valid but the tree it leads to is damaged, mounting fails: going back a transaction group silently
//! would undo what was acknowledged.

#[cfg(test)]
mod tests;

use crate::block_io::BlockIo;
use crate::btree::Tree;
use crate::format::superblock::foreign;
use crate::format::superblock::Unusable;
use crate::format::DiskSuperblock;
use crate::format::Geometry;
use crate::format::FIRST_INO;
use crate::format::MAX_LEVELS;
use crate::format::SUPERBLOCK_BYTES;
use crate::format::SUPERBLOCK_OFFSETS;
use crate::fs::CommittedSuperblock;
use crate::fs::Fs;
use crate::log::replay::replay;
use crate::log::Log;
use crate::node::store::NodeStore;
use crate::recovery;
use crate::space::pins::Pins;
use crate::space::room::Room;
use crate::space::BlockAllocator;
use crate::txn::order::Order;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::SeqCst;
use vexfs_host::device::Device;
use vexfs_host::log;
use vexfs_host::mem::Box;
use vexfs_host::mem::Vec;
use vexfs_host::shared;
use vexfs_host::sync::Arc;
use vexfs_host::sync::Mutex;
use vexfs_host::sync::RwLock;
use vexfs_host::Error;
use vexfs_host::Result;

/// How to mount.
#[derive(Clone, Copy, Debug)]
pub struct MountOptions {
    /// Write nothing.
    pub read_only: bool,
    /// Leave what the intent log holds alone and show the state of the last commit. Only read-only.
    pub norecovery: bool,
    /// Clean nodes to keep in memory at most.
    pub cache_nodes: usize,
    /// Dirty nodes after which an operation commits first.
    pub dirty_nodes: usize,
}

impl Default for MountOptions {
    /// Read-write, with up to 64 MiB of dirty nodes. In userspace up to 64 MiB of clean ones are kept; in the kernel as
    /// many as memory reclaim leaves, which takes them back with [`Fs::shrink`].
    fn default() -> Self {
        MountOptions {
            read_only: false,
            norecovery: false,
            cache_nodes: if cfg!(CONFIG_RUST) { usize::MAX } else { 4096 },
            dirty_nodes: 4096,
        }
    }
}

/// The superblock that counts.
pub struct ChosenSuperblock {
    /// Its 4 KiB.
    pub bytes: Vec<u8>,
    /// The slot it is in.
    pub slot: usize,
    /// The other slot could not be read: it may hold a newer state, which writing on from this one would undo.
    pub maybe_older: bool,
}

/// Finds the superblock that counts. To write, both slots must be readable.
pub fn read_superblock(dev: &Device, read_only: bool) -> Result<ChosenSuperblock> {
    let mut best: Option<(Vec<u8>, usize)> = None;
    let mut failed = None;
    let mut unusable = Unusable::NotVexfs;
    for (slot, offset) in SUPERBLOCK_OFFSETS.iter().enumerate() {
        let mut buf = Vec::new();
        buf.resize(SUPERBLOCK_BYTES, 0)?;
        if let Err(e) = dev.read(*offset, &mut buf) {
            failed = Some(e);
            continue;
        }
        match DiskSuperblock::parse(&buf) {
            Ok(sb) => {
                let better = match best.as_ref().map(|(b, _)| DiskSuperblock::parse(b)) {
                    Some(Ok(other)) => {
                        if other.uuid != sb.uuid {
                            return Err(Error::corrupt(
                                "the superblock slots belong to two filesystems",
                                u64::MAX,
                                0,
                            ));
                        }
                        sb.txg.get() > other.txg.get()
                    }
                    _ => true,
                };
                if better {
                    best = Some((buf, slot));
                }
            }
            Err(Unusable::BadChecksum) => {
                log!(warn, "superblock slot {} (byte {}) is damaged", slot, offset);
                unusable = Unusable::BadChecksum;
            }
            Err(other) => {
                if unusable == Unusable::NotVexfs {
                    unusable = other;
                }
            }
        }
    }
    match (best, failed) {
        // The slot that cannot be read may be the newer one. Then what the other one leads to may have been overwritten
        // since, and writing on from there would lose what was acknowledged.
        (Some(_), Some(e)) if !read_only => return Err(e),
        (Some((bytes, slot)), failed) => {
            if let Some(e) = failed {
                log!(warn, "a superblock slot cannot be read ({}); the other one is used", e);
            }
            return Ok(ChosenSuperblock {
                bytes,
                slot,
                maybe_older: failed.is_some(),
            });
        }
        (None, Some(e)) => return Err(e),
        (None, None) => {}
    }
    Err(match unusable {
        Unusable::BadChecksum => Error::corrupt("both superblock slots are damaged", u64::MAX, 0),
        Unusable::Foreign(name) => Error::Invalid(name),
        Unusable::NotVexfs => match identify(dev) {
            Some(name) => Error::Invalid(name),
            None => Error::Invalid("not a VexFS filesystem: no superblock found"),
        },
    })
}

/// Names what other filesystem or partition table is on a device, if it is a well-known one.
pub fn identify(dev: &Device) -> Option<&'static str> {
    let mut head = Vec::new();
    let unit = u64::from(dev.logical_block_size()).max(512);
    let len = (dev.len() / unit * unit).min(128 << 10) / unit * unit;
    head.resize(usize::try_from(len).ok()?, 0).ok()?;
    dev.read(0, &mut head).ok()?;
    foreign(&head)
}

#[inline(never)] // own frame
fn open_nodes(dev: Device, sb: &DiskSuperblock, options: &MountOptions) -> Result<Box<NodeStore>> {
    let geo = Geometry::from_superblock(sb, dev.len())?;
    Box::new(NodeStore::new(BlockIo::new(dev, geo, sb.uuid), options.cache_nodes)?)
}

#[inline(never)] // own frame
fn open_log(sb: &DiskSuperblock, device_bytes: u64) -> Result<Box<Log>> {
    let geo = Geometry::from_superblock(sb, device_bytes)?;
    Box::new(Log::new(sb, &geo)?)
}

#[inline(never)] // own frame
fn open_space(io: &BlockIo, sb: &DiskSuperblock) -> Result<Mutex<BlockAllocator>> {
    let space = BlockAllocator::load(io, |i| sb.table_slot(i), sb.gdt_csum.get(), sb.free_blocks.get())?;
    Mutex::new(space)
}

#[inline(never)] // own frame
fn open_tree(nodes: &NodeStore, sb: &DiskSuperblock) -> Result<RwLock<Tree>> {
    let root = sb.root();
    // A root that is damaged is better found now than by the first operation.
    nodes.get(&root)?;
    let open = sb.txg.get().saturating_add(1);
    let tree = Tree::new(
        root,
        open,
        sb.next_ino.get(),
        sb.inode_count.get(),
        nodes.io.geo.node_size,
    )?;
    RwLock::new(tree)
}

impl Fs {
    /// Mounts the filesystem on `dev`.
    ///
    /// # Errors
    ///
    /// `Invalid` if there is none (the message says what is there instead), `Unsupported` if it has unknown features,
    /// `Corrupt` or `Io` if it is damaged or cannot be read, `ReadOnly` if it cannot be written but should be.
    pub fn mount(dev: Device, options: MountOptions) -> Result<Arc<Fs>> {
        let _shared = shared();
        let chosen = read_superblock(&dev, options.read_only)?;
        let maybe_older = chosen.maybe_older;
        let fs = Fs::assemble(dev, chosen, &options)?;
        if maybe_older {
            // What the log holds may continue a newer state than this one: then something is missing in between.
            log!(warn, "what the intent log may hold is not shown");
        } else if !options.norecovery && replay(&fs)? {
            // A read-only mount has it in memory only, and nothing to write.
            fs.log.replayed.store(true, SeqCst);
            fs.tree.write().changed = false;
        }
        if !options.read_only {
            fs.settle_replay()?;
            recovery::recover(&fs)?;
        }
        Ok(fs)
    }

    /// Checks what the superblock says and leads to, and puts a filesystem together from it.
    #[inline(never)] // own frame
    fn assemble(dev: Device, chosen: ChosenSuperblock, options: &MountOptions) -> Result<Arc<Fs>> {
        let sb = DiskSuperblock::parse(&chosen.bytes).map_err(|_| Error::corrupt("superblock", u64::MAX, 0))?;
        let writable = sb.check_features()?;
        if !writable && !options.read_only {
            return Err(Error::Unsupported(
                "the filesystem has features that this vexfs can only read: mount it read-only",
            ));
        }
        if dev.is_read_only() && !options.read_only {
            return Err(Error::ReadOnly);
        }
        if options.norecovery && !options.read_only {
            return Err(Error::Invalid("norecovery is for read-only mounts"));
        }
        let (root, txg) = (sb.root(), sb.txg.get());
        if root.level >= MAX_LEVELS
            || root.birth > txg
            || txg >= u64::MAX / 2
            || sb.next_ino.get() < FIRST_INO
            || sb.log_head.get() >= u64::MAX / 2
        {
            return Err(Error::corrupt("superblock: values out of range", u64::MAX, 0));
        }
        let log = open_log(sb, dev.len())?;
        // The root, and what numbers were given out for.
        let most = (sb.next_ino.get() - FIRST_INO).saturating_add(1);
        if !(1..=most).contains(&sb.inode_count.get()) {
            return Err(Error::corrupt("superblock: impossible count of inodes", u64::MAX, 0));
        }
        let never_writable = if !writable {
            Some("it has features that this vexfs can only read")
        } else if dev.is_read_only() {
            Some("its device is read-only")
        } else if chosen.maybe_older {
            // Even if the slot could be read by now: what is in memory is the state of the other one.
            Some("a superblock slot could not be read when it was mounted and may hold a newer state: unmount it first")
        } else if options.norecovery && log.region.units > 0 {
            Some("it was mounted with norecovery: unmount it first")
        } else {
            None
        };
        let nodes = open_nodes(dev, sb, options)?;
        let space = open_space(&nodes.io, sb)?;
        let tree = open_tree(&nodes, sb)?;
        let hash_key = sb.hash_key.map(|k| k.get());
        Arc::new(Fs {
            tree,
            space,
            committed: AtomicU64::new(txg),
            pins: Pins::new(),
            room: Room::new()?,
            dirty_limit: options.dirty_nodes.max(64),
            commits: AtomicU64::new(0),
            nodes_written: AtomicU64::new(0),
            read_only: AtomicBool::new(options.read_only),
            never_writable,
            aborted: AtomicBool::new(false),
            abort_reason: Mutex::new(None)?,
            hash_key,
            label: sb.label,
            writer: Mutex::new(())?,
            commit: Mutex::new(CommittedSuperblock {
                bytes: chosen.bytes,
                slot: chosen.slot,
            })?,
            order: Order::new()?,
            log,
            nodes,
        })
    }

    /// Writes everything out. The filesystem cannot be changed any more.
    ///
    /// # Errors
    ///
    /// Those of [`Fs::commit`].
    pub fn unmount(&self) -> Result<()> {
        // First no new operations, then the commit: it has all there were.
        self.read_only.store(true, SeqCst);
        // What is not written now is lost.
        self.patiently(|| self.sync())
    }

    /// Makes the filesystem read-only, after writing everything out, or writable again.
    ///
    /// # Errors
    ///
    /// `ReadOnly` if it cannot be writable: an error stopped it, its device or features forbid it, or it may not be the
    /// newest state. Those of [`Fs::commit`], after which it is as writable as before.
    pub fn set_read_only(&self, read_only: bool) -> Result<()> {
        let stopped = self.aborted.load(SeqCst);
        if !read_only {
            if let Some(why) = self.never_writable {
                log!(err, "the filesystem cannot be made writable: {}", why);
                return Err(Error::ReadOnly);
            }
            if stopped {
                return Err(Error::ReadOnly);
            }
            self.settle_replay()?;
            self.read_only.store(false, SeqCst);
            return recovery::recover(self).inspect_err(|_| self.read_only.store(true, SeqCst));
        }
        let before = self.read_only.swap(true, SeqCst);
        if stopped {
            return Ok(());
        }
        self.sync().inspect_err(|_| self.read_only.store(before, SeqCst))
    }
}
