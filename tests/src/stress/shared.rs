// SPDX-License-Identifier: Apache-2.0
//! A seat's model in memory that a process shares with whoever outlives it.

use super::model::Model;
use super::observe::Rule;
use nix::sys::mman::mmap;
use nix::sys::mman::munmap;
use nix::sys::mman::MapFlags;
use nix::sys::mman::ProtFlags;
use std::ffi::c_void;
use std::fs::OpenOptions;
use std::io;
use std::mem::size_of;
use std::num::NonZeroUsize;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

/// The operation under way, if one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnderWay {
    /// Index of the operation's name.
    pub op: u32,
    pub rule: Rule,
    /// Files it changes, a bit for each.
    pub touched: u64,
}

#[repr(C)]
struct Layout {
    /// Which model counts.
    current: AtomicU32,
    /// Whether the other one is that after the operation under way.
    under_way: AtomicU32,
    op: AtomicU32,
    rule: AtomicU32,
    touched: AtomicU64,
    /// Operations done.
    done: AtomicU64,
    /// Operations that failed, where they may.
    failed: AtomicU64,
    stop: AtomicU32,
    unused: AtomicU32,
    models: [Model; 2],
}

/// The shared table. One process writes the models at a time: the worker while it lives, its parent when it is dead.
pub struct Table(NonNull<c_void>);

// SAFETY: the mapping belongs to the value, and threads of one process use the atomics or take turns, as processes do.
unsafe impl Send for Table {}
// SAFETY: as above.
unsafe impl Sync for Table {}

impl Table {
    /// Makes a table at `path` that starts with `model`.
    pub fn create(path: &Path, model: &Model) -> io::Result<Table> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        file.set_len(size_of::<Layout>() as u64)?;
        drop(file);
        let table = Table::open(path)?;
        table.write(0, model);
        Ok(table)
    }

    /// Opens the table at `path`.
    pub fn open(path: &Path) -> io::Result<Table> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let len = NonZeroUsize::new(size_of::<Layout>()).ok_or(io::ErrorKind::InvalidData)?;
        if file.metadata()?.len() != len.get() as u64 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let (prot, flags) = (ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED);
        // SAFETY: a new mapping of a file that is as long as the layout; nothing truncates it later.
        Ok(Table(unsafe { mmap(None, len, prot, flags, &file, 0) }?))
    }

    fn layout(&self) -> &Layout {
        // SAFETY: the mapping is that long, page-aligned and lives as long as self; any bytes are a valid Layout.
        unsafe { self.0.cast().as_ref() }
    }

    fn read(&self, which: u32) -> Model {
        let place = &raw const self.layout().models[which as usize & 1];
        // SAFETY: in the mapping; who may write takes turns with who reads, see Table.
        unsafe { place.read_volatile() }
    }

    fn write(&self, which: u32, model: &Model) {
        let layout = self.0.cast::<Layout>().as_ptr();
        // SAFETY: in the mapping, without a reference to the models; who may write takes turns, see Table.
        unsafe { (&raw mut (*layout).models[which as usize & 1]).write_volatile(*model) }
    }

    /// The model that counts.
    pub fn model(&self) -> Model {
        self.read(self.layout().current.load(Ordering::Acquire))
    }

    /// The other one: that after the operation under way.
    pub fn other(&self) -> Model {
        self.read(self.layout().current.load(Ordering::Acquire) ^ 1)
    }

    /// The operation under way.
    pub fn under_way(&self) -> Option<UnderWay> {
        let l = self.layout();
        (l.under_way.load(Ordering::Acquire) != 0).then(|| UnderWay {
            op: l.op.load(Ordering::Acquire),
            rule: Rule::from_number(l.rule.load(Ordering::Acquire)),
            touched: l.touched.load(Ordering::Acquire),
        })
    }

    /// Writes down what is about to be done, and what will be when it is.
    pub fn begin(&self, after: &Model, what: UnderWay) {
        let l = self.layout();
        self.write(l.current.load(Ordering::Acquire) ^ 1, after);
        l.op.store(what.op, Ordering::Release);
        l.rule.store(what.rule.number(), Ordering::Release);
        l.touched.store(what.touched, Ordering::Release);
        l.under_way.store(1, Ordering::Release);
    }

    /// The operation is done. Killed in the middle, both models are still there, in the other order.
    pub fn commit(&self) {
        let l = self.layout();
        l.current.fetch_xor(1, Ordering::AcqRel);
        l.under_way.store(0, Ordering::Release);
        l.done.fetch_add(1, Ordering::Relaxed);
    }

    /// Nothing is under way, and this is what there is.
    pub fn settle(&self, model: &Model) {
        let l = self.layout();
        self.write(l.current.load(Ordering::Acquire), model);
        l.under_way.store(0, Ordering::Release);
    }

    pub fn done(&self) -> u64 {
        self.layout().done.load(Ordering::Relaxed)
    }

    /// Counts an operation that failed.
    pub fn count_failure(&self) {
        self.layout().failed.fetch_add(1, Ordering::Relaxed);
    }

    pub fn failures(&self) -> u64 {
        self.layout().failed.load(Ordering::Relaxed)
    }

    /// Asks the worker to end.
    pub fn stop(&self) {
        self.layout().stop.store(1, Ordering::Relaxed);
    }

    pub fn resume(&self) {
        self.layout().stop.store(0, Ordering::Relaxed);
    }

    pub fn stopping(&self) -> bool {
        self.layout().stop.load(Ordering::Relaxed) != 0
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // SAFETY: the mapping made in open(), which nothing refers to any more.
        let _ = unsafe { munmap(self.0, size_of::<Layout>()) };
    }
}
