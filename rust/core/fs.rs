// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! A filesystem in use: what it consists of, and what belongs to it as a whole.
//!
//! [`mount`](crate::mount) brings one up and down. What it does is above it, each in a module of its own that adds to
//! [`Fs`]: operations ([`txn`](crate::txn)), making them durable ([`log`](mod@crate::log)), blocks for data
//! ([`alloc`](crate::alloc)), inodes, directories, files.

use crate::block_io::BlockIo;
use crate::btree::Tree;
use crate::format::Geometry;
use crate::log::Log;
use crate::log::LogCounters;
use crate::node::store::NodeStore;
use crate::space::pins::Pins;
use crate::space::room::Room;
use crate::space::BlockAllocator;
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
use vexfs_host::sync::Mutex;
use vexfs_host::sync::RwLock;
use vexfs_host::Error;
use vexfs_host::Result;

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

/// What the commit lock protects: the superblock on the device.
pub(crate) struct CommittedSuperblock {
    /// As it was written last, 4 KiB.
    pub(crate) bytes: Vec<u8>,
    /// The slot it is in.
    pub(crate) slot: usize,
}

/// A mounted filesystem.
pub struct Fs {
    pub(crate) nodes: Box<NodeStore>,
    /// Held by whoever changes the tree, from the first look at it to the last change, and by a commit while it seals.
    /// Its holder may give the tree's lock up to read from the device, and finds the tree unchanged afterwards.
    pub(crate) writer: Mutex<()>,
    pub(crate) tree: RwLock<Tree>,
    pub(crate) space: Mutex<BlockAllocator>,
    pub(crate) commit: Mutex<CommittedSuperblock>,
    pub(crate) order: Order,
    pub(crate) log: Box<Log>,
    pub(crate) pins: Pins,
    pub(crate) room: Room,
    /// The last transaction group on the device.
    pub(crate) committed: AtomicU64,
    pub(crate) dirty_limit: usize,
    pub(crate) commits: AtomicU64,
    pub(crate) nodes_written: AtomicU64,
    pub(crate) read_only: AtomicBool,
    /// What forbids writing for as long as this is mounted, if anything.
    pub(crate) never_writable: Option<&'static str>,
    pub(crate) aborted: AtomicBool,
    pub(crate) abort_reason: Mutex<Option<Error>>,
    pub(crate) hash_key: [u64; 2],
    pub(crate) label: [u8; 64],
}

impl Fs {
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

    /// Called with each error that an operation met which changes the filesystem. Damage stops all changes: what has
    /// not been written yet may depend on it.
    pub(crate) fn met_changing(&self, e: &Error) {
        if matches!(e, Error::Corrupt(_)) {
            self.abort(*e);
        }
    }

    /// Counts and logs damage that an operation failed with, at a bounded rate. It does nothing else: damage that has
    /// to stop the filesystem has stopped it already. For hosts whose callers get no more than an errno.
    pub fn note_failure(&self, e: &Error) {
        self.io().damage.note_failure(e);
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
            block_size: self.io().geo.block_size,
            blocks: info.total,
            free: info.free,
            available: info.available,
            inodes,
            // The items of an empty file take about 256 bytes.
            free_inodes: info.available.saturating_mul(u64::from(self.io().geo.block_size) / 256),
            name_max: crate::format::NAME_MAX as u32,
            uuid: self.io().uuid,
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
            cached_nodes: self.nodes.cache.len() as u64,
            dirty_nodes: tree.dirty.len() as u64,
            writing_nodes: tree.writing.len() as u64,
            nodes_read: self.nodes.reads.load(Relaxed),
            nodes_written: self.nodes_written.load(Relaxed),
            levels: tree.levels(),
            promised_blocks,
            rooms_made: self.room.made(),
            damage_met: self.io().damage.met(),
            log: self.log.counters(),
        }
    }

    /// Drops up to `n` clean nodes from memory and returns how many. Never waits for a lock.
    pub fn shrink(&self, n: usize) -> usize {
        let dropped = self.nodes.cache.shrink(n);
        match self.space.try_lock() {
            Some(mut space) if dropped < n => dropped + space.shrink(n - dropped),
            _ => dropped,
        }
    }

    /// Clean nodes in memory.
    pub fn cached_nodes(&self) -> usize {
        self.nodes.cache.len()
    }

    /// Reading and writing blocks.
    pub(crate) fn io(&self) -> &BlockIo {
        &self.nodes.io
    }

    /// The layout.
    pub fn geometry(&self) -> &Geometry {
        &self.nodes.io.geo
    }

    /// The device.
    pub fn dev(&self) -> &Device {
        &self.nodes.io.dev
    }

    /// Bytes of a block.
    pub fn block_size(&self) -> u32 {
        self.io().geo.block_size
    }

    /// Identity of the filesystem.
    pub fn uuid(&self) -> &[u8; 16] {
        &self.nodes.io.uuid
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

    /// Whether a commit waits for data that is still on its way, or is under way itself.
    pub fn is_committing(&self) -> bool {
        self.order.is_closed()
    }

    /// Runs `f` until it does not fail for a lack of memory: for work that nobody would take up again. `f` has done
    /// nothing when it fails.
    pub fn patiently<R>(&self, mut f: impl FnMut() -> Result<R>) -> Result<R> {
        loop {
            match f() {
                Err(Error::NoMemory) if vexfs_host::wait_for_memory() => {}
                done => return done,
            }
        }
    }
}
