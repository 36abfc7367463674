// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! A mounted filesystem: choosing the superblock, checking what it leads to, and what belongs to the filesystem as a whole.
//!
//! Of the two superblock slots the valid one with the higher transaction group counts. The other one is used only if a slot
//! itself is unreadable or its checksum is wrong, which is what a power cut during a commit leaves. If the superblock is
//! valid but the tree it leads to is damaged, mounting fails: going back a transaction group silently would undo what was
//! acknowledged.

#[cfg(test)]
mod tests;

use crate::btree::Tree;
use crate::cache::Store;
use crate::format::superblock::foreign;
use crate::format::superblock::Unusable;
use crate::format::DiskSuperblock;
use crate::format::Geometry;
use crate::format::FIRST_INO;
use crate::format::MAX_LEVELS;
use crate::format::SUPERBLOCK_BYTES;
use crate::format::SUPERBLOCK_OFFSETS;
use crate::log::replay;
use crate::log::Log;
use crate::log::LogCounters;
use crate::orphan;
use crate::space::pins::Pins;
use crate::space::room::Room;
use crate::space::Run;
use crate::space::Space;
use crate::space::SpaceInfo;
use crate::txn::commit::CommitState;
use crate::txn::order::Order;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::Ordering::SeqCst;
use vexfs_host::device::Device;
use vexfs_host::log;
use vexfs_host::mem::Box;
use vexfs_host::mem::Vec;
use vexfs_host::nofs;
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
    /// Read-write, with up to 64 MiB of dirty nodes. In userspace up to 64 MiB of clean ones are kept; in the kernel as many as
    /// memory reclaim leaves, which takes them back with [`Fs::shrink`].
    fn default() -> Self {
        MountOptions {
            read_only: false,
            norecovery: false,
            cache_nodes: if cfg!(CONFIG_RUST) { usize::MAX } else { 4096 },
            dirty_nodes: 4096,
        }
    }
}

/// Numbers for `statfs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatFs {
    /// Bytes of a block.
    pub block_size: u32,
    /// Blocks for nodes and data.
    pub blocks: u64,
    /// Free blocks.
    pub free: u64,
    /// Free blocks that ordinary operations can get.
    pub available: u64,
    /// Objects.
    pub inodes: u64,
    /// Inode numbers that can still be given out; bounded by space, of which an object takes at least some bytes.
    pub free_inodes: u64,
    /// Longest name in bytes.
    pub name_max: u32,
    /// Identity of the filesystem.
    pub uuid: [u8; 16],
}

/// What a filesystem has done and holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    /// Transaction groups written since the mount.
    pub commits: u64,
    /// The last one on the device.
    pub committed_txg: u64,
    /// The open one.
    pub open_txg: u64,
    /// Clean nodes in memory.
    pub cached_nodes: u64,
    /// Dirty nodes.
    pub dirty_nodes: u64,
    /// Nodes of the transaction group that is being written.
    pub writing_nodes: u64,
    /// Nodes read from the device since the mount.
    pub nodes_read: u64,
    /// Nodes written since the mount.
    pub nodes_written: u64,
    /// Levels of the tree.
    pub levels: u32,
    /// Blocks promised to data that has none yet.
    pub promised_blocks: u64,
    /// Times that dirty data was written back to make room.
    pub rooms_made: u64,
    /// Times that damage was met since the mount.
    pub damage_met: u64,
    /// The intent log.
    pub log: LogCounters,
}

/// A mounted filesystem.
pub struct Fs {
    pub(crate) store: Box<Store>,
    /// Held by whoever changes the tree, from the first look at it to the last change, and by a commit while it seals. Its
    /// holder may give the tree's lock up to read from the device, and finds the tree unchanged afterwards.
    pub(crate) writer: Mutex<()>,
    pub(crate) tree: RwLock<Tree>,
    pub(crate) space: Mutex<Space>,
    pub(crate) commit: Mutex<CommitState>,
    pub(crate) order: Order,
    pub(crate) log: Box<Log>,
    pub(crate) pins: Pins,
    pub(crate) room: Room,
    /// The last transaction group on the device.
    pub(crate) committed: AtomicU64,
    pub(crate) dirty_limit: usize,
    pub(crate) commits: AtomicU64,
    pub(crate) nodes_written: AtomicU64,
    read_only: AtomicBool,
    /// What forbids writing for as long as this is mounted, if anything.
    pub(crate) never_writable: Option<&'static str>,
    aborted: AtomicBool,
    abort_reason: Mutex<Option<Error>>,
    hash_key: [u64; 2],
    label: [u8; 64],
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
        // What cannot be read may be the newer one: then the other one's data may have been overwritten since, and writing
        // on from there would lose what was acknowledged.
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

#[inline(never)]
fn open_store(dev: Device, sb: &DiskSuperblock, options: &MountOptions) -> Result<Box<Store>> {
    let geo = Geometry::from_superblock(sb, dev.len())?;
    Box::new(Store::new(dev, geo, sb.uuid, options.cache_nodes)?)
}

#[inline(never)]
fn open_log(sb: &DiskSuperblock, device_bytes: u64) -> Result<Box<Log>> {
    let geo = Geometry::from_superblock(sb, device_bytes)?;
    Box::new(Log::new(sb, &geo)?)
}

#[inline(never)]
fn open_space(store: &Store, sb: &DiskSuperblock) -> Result<Mutex<Space>> {
    let space = Space::load(store, |i| sb.table_slot(i), sb.gdt_csum.get(), sb.free_blocks.get())?;
    Mutex::new(space)
}

#[inline(never)]
fn open_tree(store: &Store, sb: &DiskSuperblock) -> Result<RwLock<Tree>> {
    let root = sb.root();
    // A root that is damaged is better found now than by the first operation.
    store.get(&root)?;
    let open = sb.txg.get().saturating_add(1);
    let tree = Tree::new(root, open, sb.next_ino.get(), sb.inode_count.get(), store.geo.node_size)?;
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
            // The log need not have what came between this state and a newer one, on which what it has may build.
            log!(warn, "what the intent log may hold is not shown");
        } else if !options.norecovery && replay(&fs)? {
            // A read-only mount has it in memory only, and nothing to write.
            fs.log.replayed.store(true, SeqCst);
            fs.tree.write().changed = false;
        }
        if !options.read_only {
            fs.settle_replay()?;
            orphan::recover(&fs)?;
        }
        Ok(fs)
    }

    /// Checks what the superblock says and leads to, and puts a filesystem together from it.
    // The parts are made by functions of their own, each with its own, short-lived stack frame.
    #[inline(never)]
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
        let store = open_store(dev, sb, options)?;
        let space = open_space(&store, sb)?;
        let tree = open_tree(&store, sb)?;
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
            commit: Mutex::new(CommitState {
                sb: chosen.bytes,
                slot: chosen.slot,
            })?,
            order: Order::new()?,
            log,
            store,
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
            return orphan::recover(self).inspect_err(|_| self.read_only.store(true, SeqCst));
        }
        let before = self.read_only.swap(true, SeqCst);
        if stopped {
            return Ok(());
        }
        self.sync().inspect_err(|_| self.read_only.store(before, SeqCst))
    }

    /// Whether nothing can be changed.
    pub fn is_read_only(&self) -> bool {
        self.read_only.load(SeqCst) || self.aborted.load(SeqCst)
    }

    /// Stops all writing, for good: nothing that is not on the device yet will get there. The first reason is kept.
    pub fn abort(&self, reason: Error) {
        let mut first = self.abort_reason.lock();
        if first.is_none() {
            *first = Some(reason);
            match reason {
                // Somebody asked for it, or the device is gone, which the host has said.
                Error::Shutdown => log!(info, "shut down: no further changes are possible"),
                _ => log!(err, "no further changes are possible: {}", reason),
            }
        }
        self.aborted.store(true, SeqCst);
    }

    /// What an error means that something which changes the filesystem came upon: damage stops all changes, since what has not
    /// been written yet may rest on it.
    pub(crate) fn met_changing(&self, e: &Error) {
        if matches!(e, Error::Corrupt(_)) {
            self.abort(*e);
        }
    }

    /// Counts and logs, at a bounded rate, damage that an operation failed with. Nothing else follows from it: what stops the
    /// filesystem has done so by itself. For hosts whose callers get no more than an errno.
    pub fn note_failure(&self, e: &Error) {
        self.store.damage.note_failure(e);
    }

    /// Why writing was stopped, if it was.
    pub fn abort_reason(&self) -> Option<Error> {
        match self.aborted.load(SeqCst) {
            true => *self.abort_reason.lock(),
            false => None,
        }
    }

    /// # Errors
    ///
    /// `ReadOnly` or `Shutdown` if nothing can be changed.
    pub(crate) fn check_writable(&self) -> Result<()> {
        if !self.is_read_only() {
            return Ok(());
        }
        match self.abort_reason() {
            Some(Error::Shutdown) => Err(Error::Shutdown),
            _ => Err(Error::ReadOnly),
        }
    }

    /// Numbers for `statfs`.
    pub fn statfs(&self) -> StatFs {
        let _nofs = nofs();
        let inodes = self.tree.read().inode_count;
        let info = self.space.lock().info();
        StatFs {
            block_size: self.store.geo.block_size,
            blocks: info.total,
            free: info.free,
            available: info.available,
            inodes,
            // The items of an empty file take about 256 bytes.
            free_inodes: info
                .available
                .saturating_mul(u64::from(self.store.geo.block_size) / 256),
            name_max: crate::format::NAME_MAX as u32,
            uuid: self.store.uuid,
        }
    }

    /// What the filesystem has done and holds.
    pub fn counters(&self) -> Counters {
        let _nofs = nofs();
        let promised_blocks = self.space.lock().info().promised;
        let tree = self.tree.read();
        Counters {
            commits: self.commits.load(Relaxed),
            committed_txg: self.committed.load(Relaxed),
            open_txg: tree.txg,
            cached_nodes: self.store.cache.len() as u64,
            dirty_nodes: tree.dirty.len() as u64,
            writing_nodes: tree.writing.len() as u64,
            nodes_read: self.store.reads.load(Relaxed),
            nodes_written: self.nodes_written.load(Relaxed),
            levels: tree.levels(),
            promised_blocks,
            rooms_made: self.rooms_made(),
            damage_met: self.store.damage.met(),
            log: self.log.counters(),
        }
    }

    /// Drops up to `n` clean nodes from memory and returns how many. Never waits for a lock.
    pub fn shrink(&self, n: usize) -> usize {
        let dropped = self.store.cache.shrink(n);
        match self.space.try_lock() {
            Some(mut space) if dropped < n => dropped + space.shrink(n - dropped),
            _ => dropped,
        }
    }

    /// Clean nodes in memory.
    pub fn cached_nodes(&self) -> usize {
        self.store.cache.len()
    }

    /// The layout.
    pub fn geometry(&self) -> &Geometry {
        &self.store.geo
    }

    /// The device.
    pub fn dev(&self) -> &Device {
        &self.store.dev
    }

    /// Bytes of a block.
    pub fn block_size(&self) -> u32 {
        self.store.geo.block_size
    }

    /// Identity of the filesystem.
    pub fn uuid(&self) -> &[u8; 16] {
        &self.store.uuid
    }

    /// The label.
    pub fn label(&self) -> &[u8] {
        self.label.split(|b| *b == 0).next().unwrap_or(&[])
    }

    /// The key of the hash of names.
    pub fn hash_key(&self) -> &[u64; 2] {
        &self.hash_key
    }

    /// The last transaction group that is on the device.
    pub fn committed_txg(&self) -> u64 {
        self.committed.load(SeqCst)
    }

    /// Runs `f` until it does not fail for a lack of memory: for work that nobody would take up again. `f` has done nothing
    /// when it fails.
    pub fn patiently<R>(&self, mut f: impl FnMut() -> Result<R>) -> Result<R> {
        loop {
            match f() {
                Err(Error::NoMemory) if vexfs_host::wait_for_memory() => {}
                done => return done,
            }
        }
    }

    /// Runs `f` on the allocator, and again whenever it lacked a bitmap, which has been read then.
    pub(crate) fn on_space<R>(&self, mut f: impl FnMut(&mut Space) -> Result<R>) -> Result<R> {
        let mut loads = 0u32;
        loop {
            let mut space = self.space.lock();
            let done = f(&mut space);
            match (done, space.wanted()) {
                (Err(Error::WouldBlock), Some(group)) => {
                    drop(space);
                    loads = loads.saturating_add(1);
                    self.load_bitmap(group, loads)?;
                }
                (done, _) => return done,
            }
        }
    }

    /// The same; if `f` finds no room but a commit could make some, commits and runs it again.
    fn with_room<R>(&self, mut f: impl FnMut(&mut Space) -> Result<R>) -> Result<R> {
        let _shared = shared();
        self.check_writable()?;
        let mut done = self.on_space(|space| match f(space) {
            Err(Error::NoSpace) if space.has_pending() => Ok(None),
            done => done.map(Some),
        });
        if let Ok(None) = done {
            // Who asks may hold folios and blocks in flight that a commit in order would wait for.
            self.commit_at_once()?;
            done = self.on_space(|space| f(space).map(Some));
        }
        done.and_then(|done| done.ok_or(Error::NoSpace)).inspect_err(|e| {
            if *e == Error::NoSpace {
                self.room.refused();
            }
            self.met_changing(e);
        })
    }

    /// Allocates up to `want` blocks in a row for data that is about to be written, near block `goal` (0: anywhere).
    /// Returns the first and how many. With `promised`, [`Fs::reserve_blocks`] made room for them, and as many of the
    /// promised blocks as are returned are used up. They belong to no file until
    /// [`Tx::adopt_extent`](crate::txn::Tx::adopt_extent); [`Fs::release_data`] gives them back.
    ///
    /// # Errors
    ///
    /// `NoSpace`, `ReadOnly`; `Io` or `Corrupt` from reading bitmaps.
    pub fn alloc_data(&self, goal: u64, want: u32, promised: bool) -> Result<(u64, u32)> {
        self.with_room(|space| space.alloc_data(goal, want, promised))
            .map(|r| (r.block, r.len))
    }

    /// [`Fs::alloc_data`] for what has to be written in order to free space.
    pub(crate) fn alloc_urgent(&self, goal: u64, want: u32) -> Result<(u64, u32)> {
        self.with_room(|space| space.alloc_urgent(goal, want))
            .map(|r| (r.block, r.len))
    }

    /// Gives back blocks of [`Fs::alloc_data`].
    pub fn release_data(&self, block: u64, len: u32) {
        let _nofs = nofs();
        self.space.lock().release_data(Run { block, len });
    }

    /// Takes back [`Fs::alloc_data`]; with `promised`, the blocks are promised again.
    pub(crate) fn untake_data(&self, block: u64, len: u32, promised: bool) {
        let _nofs = nofs();
        let mut space = self.space.lock();
        space.release_data(Run { block, len });
        if promised {
            space.promise_again(u64::from(len));
        }
    }

    /// Promises `n` blocks to data that will be written later.
    ///
    /// # Errors
    ///
    /// `NoSpace`, `ReadOnly`.
    pub fn reserve_blocks(&self, n: u64) -> Result<()> {
        self.with_room(|space| match space.promise(n) {
            true => Ok(()),
            false => Err(Error::NoSpace),
        })
    }

    /// Takes back a promise of `n` blocks.
    pub fn unreserve_blocks(&self, n: u64) {
        let _nofs = nofs();
        self.space.lock().take_back(n);
    }

    /// Numbers about space.
    pub fn space_info(&self) -> SpaceInfo {
        let _nofs = nofs();
        self.space.lock().info()
    }
}
