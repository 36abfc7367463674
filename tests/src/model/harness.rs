// SPDX-License-Identifier: Apache-2.0
//! Applies operations to a filesystem and to the model, and compares what they answer.

mod choose;
mod collections;
mod contents;
mod names;

use super::compare;
use super::op::Kind;
use super::op::Op;
use super::pages::Pages;
use super::state;
use super::state::Stamp;
use super::State;
use libc::*;
use std::collections::BTreeMap;

use vexfs_core::inode::Time;
use vexfs_core::mkfs::FormatOptions;
use vexfs_core::mount::MountOptions;
use vexfs_core::Fs;
use vexfs_engine::Collections;
use vexfs_engine::Tuning;
use vexfs_host::device::Device;
use vexfs_host::Error;

/// What went wrong, in words.
pub type Failure = String;

/// The largest sparse file.
const FAR: u64 = 1 << 40;

/// Rows move on so early that small collections have several segments.
const TUNING: Tuning = Tuning {
    seal_rows: 20,
    seal_bytes: 1 << 20,
    tail_rows_max: 100,
    tail_bytes_max: 4 << 20,
    fan: 2,
    index_rows_min: 60,
};

/// A filesystem, its oracle, and what a kernel would hold for them.
pub struct Harness {
    pub dev: Device,
    pub fs: vexfs_host::sync::Arc<Fs>,
    pub collections: Collections,
    /// What the filesystem holds.
    pub state: State,
    /// Files with pages in memory that are newer than the filesystem.
    pub pages: BTreeMap<u64, Pages>,
    options: MountOptions,
    clock: i64,
    /// Whether running out of space is an answer like any other: the model cannot foresee it.
    pub may_be_full: bool,
}

/// What can be said of durability after an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durable {
    /// Nothing new.
    No,
    /// All that was done so far.
    Yes,
}

fn text(what: &str, e: Error) -> Failure {
    format!("{what}: {e}")
}

/// Whether both sides succeeded; an `Err` when they answered differently.
fn agree<T>(what: &str, real: &Result<T, Error>, model: Option<i32>) -> Result<bool, Failure> {
    match (real, model) {
        (Ok(_), None) => Ok(true),
        (Err(e), Some(errno)) if e.errno() == errno => Ok(false),
        (Ok(_), Some(errno)) => Err(format!("{what} succeeded, should have failed with errno {errno}")),
        (Err(e), None) => Err(format!("{what} failed: {e}")),
        (Err(e), Some(errno)) => Err(format!(
            "{what} failed with {e} ({}), should be errno {errno}",
            e.errno()
        )),
    }
}

impl Harness {
    /// Formats `dev` with fixed identity, so that a seed always gives the same bytes, and mounts it.
    pub fn new(dev: Device, block_size: u32, options: MountOptions) -> Result<Harness, Failure> {
        let format = FormatOptions {
            uuid: Some(*b"vexfs-test-image"),
            hash_key: Some([1, 2]),
            block_size,
            ..FormatOptions::default()
        };
        Fs::format(&dev, &format).map_err(|e| text("format", e))?;
        let fs = Fs::mount(dev.clone(), options).map_err(|e| text("mount", e))?;
        let root = fs.inode(state::ROOT).map_err(|e| text("root", e))?;
        let made = (root.mtime.sec, root.mtime.nsec);
        let mut state = State::new(root.mode, made);
        if let Ok(r) = state.node_mut(state::ROOT) {
            (r.uid, r.gid) = (root.uid, root.gid);
            r.ctime = (root.ctime.sec, root.ctime.nsec);
        }
        let collections = Collections::tuned(fs.clone(), TUNING).map_err(|e| text("collections", e))?;
        let pages = BTreeMap::new();
        Ok(Harness {
            dev,
            fs,
            collections,
            state,
            pages,
            options,
            clock: 1_000_000,
            may_be_full: false,
        })
    }

    fn now(&mut self) -> (Time, Stamp) {
        self.clock += 1;
        let nsec = (self.clock as u32).wrapping_mul(7919) % 1_000_000_000;
        (Time { sec: self.clock, nsec }, (self.clock, nsec))
    }

    /// Runs one operation. `Err`: the two sides differ.
    pub fn step(&mut self, op: Op) -> Result<Durable, Failure> {
        let done = self.run(op);
        match done {
            Err(e) => Err(format!("{op:?}: {e}")),
            done => done,
        }
    }

    fn run(&mut self, op: Op) -> Result<Durable, Failure> {
        match op.kind() {
            // Names.
            Kind::CreateFile => self.create(op, S_IFREG)?,
            Kind::Mkdir => self.create(op, S_IFDIR)?,
            Kind::Symlink => self.create(op, S_IFLNK)?,
            Kind::Mknod => self.create(op, [S_IFIFO, S_IFCHR, S_IFBLK, S_IFSOCK][op.pick(4, 4) as usize])?,
            Kind::Tmpfile => self.tmpfile(op)?,
            Kind::Link => self.link(op)?,
            Kind::LinkTmpfile => self.link_tmpfile(op)?,
            Kind::Unlink => self.remove(op, false)?,
            Kind::Rmdir => self.remove(op, true)?,
            Kind::Rename => self.rename(op)?,
            Kind::Lookup => self.lookup(op)?,
            Kind::Readdir => self.readdir(op)?,
            Kind::ReadLink => self.read_link(op)?,
            Kind::Evict => self.evict_one(op)?,

            // Contents and attributes.
            Kind::Write => self.write(op)?,
            Kind::WriteCached => self.write_cached(op)?,
            Kind::Writeback => self.writeback_one(op)?,
            Kind::Truncate => self.truncate(op)?,
            Kind::Punch => self.punch(op)?,
            Kind::Read => self.read(op)?,
            Kind::SetAttr => self.set_attr(op)?,
            Kind::SetXattr | Kind::RemoveXattr | Kind::GetXattr | Kind::ListXattr => self.xattr(op)?,

            // Collections.
            Kind::CreateCollection => self.create_collection(op)?,
            Kind::Insert => return self.insert(op),
            Kind::DeleteRows => self.delete_rows(op)?,
            Kind::Search => self.search(op)?,
            Kind::GetRows => self.get_rows(op)?,
            Kind::DropCache => drop(self.collections.shrink(u64::MAX)),
            Kind::DropCollection => self.drop_collection(op)?,
            Kind::Maintain => self.maintain(op)?,

            // The filesystem as a whole.
            Kind::Sync => return self.sync(op).map(|()| Durable::Yes),
            Kind::Fsync => return self.fsync(op).map(|()| Durable::Yes),
            Kind::Shrink => drop(self.fs.shrink(op.pick(0, 50) as usize)),
            Kind::Remount => return self.remount().map(|()| Durable::Yes),
        }
        Ok(Durable::No)
    }

    /// Writes everything back and makes it durable.
    pub fn sync(&mut self, op: Op) -> Result<(), Failure> {
        if op.pick(0, 2) == 0 {
            self.writeback_all()?;
        }
        // What fsync does, and what sync does: the one may be kept by the log, the other is a commit.
        if op.pick(1, 2) == 0 {
            let txg = self.fs.counters().open_txg;
            return self.fs.sync_txg(txg).map_err(|e| text("fsync", e));
        }
        self.fs.sync().map_err(|e| text("sync", e))
    }

    /// Through the log, if it can take it. Half of the time, cached pages of a file are written out first.
    fn fsync(&mut self, op: Op) -> Result<(), Failure> {
        if op.pick(0, 2) == 0 {
            self.writeback_one(op)?;
        }
        let txg = self.fs.counters().open_txg;
        self.fs.sync_txg(txg).map_err(|e| text("fsync", e))
    }

    /// Unmounts and mounts again; what has no name is gone then.
    pub fn remount(&mut self) -> Result<(), Failure> {
        self.writeback_all()?;
        let inos: Vec<u64> = self.pages.keys().copied().collect();
        for ino in inos {
            self.drop_pages(ino);
        }
        self.fs.unmount().map_err(|e| text("unmount", e))?;
        self.state.drop_orphans();
        self.fs = Fs::mount(self.dev.clone(), self.options).map_err(|e| text("mount", e))?;
        self.collections = Collections::tuned(self.fs.clone(), TUNING).map_err(|e| text("collections", e))?;
        Ok(())
    }

    /// Compares everything.
    pub fn compare(&self) -> Result<(), Failure> {
        compare::all(&self.fs, &self.collections, &self.state)
    }

    /// Whether an answer only says that the device is full, where that is allowed.
    pub(super) fn full<T>(&self, real: &Result<T, Error>) -> bool {
        self.may_be_full && matches!(real, Err(Error::NoSpace))
    }
}

/// Mount options of the tests: caches so small that nodes come and go.
pub fn small_caches() -> MountOptions {
    MountOptions {
        cache_nodes: 32,
        ..MountOptions::default()
    }
}
