// SPDX-License-Identifier: Apache-2.0
//! Applies operations to a filesystem and to the model, and compares what they answer.

use super::compare;
use super::op::Kind;
use super::op::Op;
use super::pages::Pages;
use super::rows;
use super::rows::Row;
use super::rows::Rows;
use super::state;
use super::state::Node;
use super::state::Stamp;
use super::State;
use libc::*;
use std::collections::BTreeMap;

use vexfs_core::dir::RenameFlags;
use vexfs_core::inode::Inode;
use vexfs_core::inode::NewInode;
use vexfs_core::inode::SetAttr;
use vexfs_core::inode::Time;
use vexfs_core::mkfs::FormatOptions;
use vexfs_core::mount::MountOptions;
use vexfs_core::xattr::XattrMode;
use vexfs_core::Fs;
use vexfs_engine::Batch;
use vexfs_engine::Collections;
use vexfs_engine::IndexParams;
use vexfs_engine::InsertMode;
use vexfs_engine::Kind as IndexKind;
use vexfs_engine::Params;
use vexfs_engine::Search;
use vexfs_engine::Tuning;
use vexfs_host::device::Device;
use vexfs_host::mem;
use vexfs_host::Error;
use vexfs_uapi as uapi;

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
            Kind::Write => self.write(op)?,
            Kind::WriteCached => self.write_cached(op)?,
            Kind::Writeback => self.writeback_one(op)?,
            Kind::Truncate => self.truncate(op)?,
            Kind::Punch => self.punch(op)?,
            Kind::Read => self.read(op)?,
            Kind::SetAttr => self.set_attr(op)?,
            Kind::SetXattr | Kind::RemoveXattr | Kind::GetXattr | Kind::ListXattr => self.xattr(op)?,
            Kind::Lookup => self.lookup(op)?,
            Kind::Readdir => self.readdir(op)?,
            Kind::ReadLink => self.read_link(op)?,
            Kind::Evict => self.evict_one(op)?,
            Kind::Sync => return self.sync(op).map(|()| Durable::Yes),
            Kind::Fsync => return self.fsync(op).map(|()| Durable::Yes),
            Kind::Shrink => drop(self.fs.shrink(op.pick(0, 50) as usize)),
            Kind::Remount => return self.remount().map(|()| Durable::Yes),
            Kind::CreateCollection => self.create_collection(op)?,
            Kind::Insert => return self.insert(op),
            Kind::DeleteRows => self.delete_rows(op)?,
            Kind::Search => self.search(op)?,
            Kind::GetRows => self.get_rows(op)?,
            Kind::DropCache => drop(self.collections.shrink(u64::MAX)),
            Kind::DropCollection => self.drop_collection(op)?,
            Kind::Maintain => self.maintain(op)?,
        }
        Ok(Durable::No)
    }

    // Choosing.

    fn dir(&self, op: Op, i: u32) -> u64 {
        let dirs = self.state.dirs();
        // One directory gets large.
        match op.pick(i, 3) {
            0 => state::ROOT,
            _ => dirs[op.pick(i + 1, dirs.len() as u64) as usize],
        }
    }

    /// A name: one that the directory has, or one of a small set of all shapes.
    fn name(&self, op: Op, i: u32, dir: u64) -> Vec<u8> {
        let entries = self.state.node(dir).map(|n| &n.entries);
        match entries {
            Ok(e) if !e.is_empty() && op.pick(i, 3) > 0 => {
                let n = op.pick(i + 1, e.len() as u64) as usize;
                e.keys().nth(n).cloned().unwrap_or_default()
            }
            _ => Self::fresh_name(op.pick(i + 1, 40)),
        }
    }

    fn fresh_name(n: u64) -> Vec<u8> {
        match n {
            0 => vec![b'L'; 255],
            1 => vec![b'L'; 256],
            2 => b"caf\xc3\xa9 \xff\x01".to_vec(),
            3 => vec![b'l'; 254],
            n => format!("name{n}").into_bytes(),
        }
    }

    fn new_name(&self, op: Op, i: u32, dir: u64) -> Vec<u8> {
        match op.pick(i, 8) {
            0 => self.name(op, i + 1, dir),
            _ => Self::fresh_name(op.pick(i + 1, 4000)),
        }
    }

    fn any_inode(&self, op: Op, i: u32) -> u64 {
        let n = op.pick(i, self.state.nodes.len() as u64) as usize;
        self.state.nodes.keys().nth(n).copied().unwrap_or(state::ROOT)
    }

    fn any_file(&self, op: Op, i: u32) -> Option<u64> {
        let files = self.state.files();
        (!files.is_empty()).then(|| files[op.pick(i, files.len() as u64) as usize])
    }

    /// A file that is written directly, not through pages.
    fn plain_file(&self, op: Op, i: u32) -> Option<u64> {
        self.any_file(op, i).filter(|ino| !self.pages.contains_key(ino))
    }

    fn any_collection(&self, op: Op, i: u32) -> Option<u64> {
        let all = self.state.collections();
        (!all.is_empty()).then(|| all[op.pick(i, all.len() as u64) as usize])
    }

    // Names.

    fn create(&mut self, op: Op, kind: u32) -> Result<(), Failure> {
        let dir = self.dir(op, 0);
        let name = self.new_name(op, 1, dir);
        let (now, stamp) = self.now();
        let mode = kind | (op.pick(5, 0o7777) as u32 | 0o400);
        let target = op
            .data(op.size(6, 4094) as usize + 1)
            .iter()
            .map(|b| b | 1)
            .collect::<Vec<u8>>();
        let value = op.data(op.size(7, 5000) as usize);
        let attrs: [(&[u8], &[u8]); 1] = [(b"security.label", &value)];
        let with_attr = op.pick(3, 6) == 0;
        let new = NewInode {
            mode,
            uid: op.pick(6, 3) as u32,
            gid: op.pick(7, 3) as u32,
            rdev: if matches!(kind, S_IFCHR | S_IFBLK) {
                op.pick(5, 1 << 20) as u32
            } else {
                0
            },
            target: (kind == S_IFLNK).then_some(&target[..]),
            now,
            xattrs: if with_attr { &attrs } else { &[] },
        };
        let expected = self.state.may_create(dir, &name).err();
        let real = self.fs.create(dir, &name, &new);
        if self.full(&real) {
            return Ok(());
        }
        if agree("create", &real, expected)? {
            let made = real.map_err(|e| text("create", e))?;
            let mut node = Node::new(mode, stamp);
            (node.uid, node.gid, node.rdev) = (new.uid, new.gid, new.rdev);
            if kind == S_IFLNK {
                node.target = target;
            }
            if with_attr {
                node.xattrs.insert(attrs[0].0.to_vec(), value.into());
            }
            if self.state.nodes.contains_key(&made.ino) {
                return Err(format!("inode number {} is given out twice", made.ino));
            }
            self.state.create(dir, &name, made.ino, node);
        }
        Ok(())
    }

    fn tmpfile(&mut self, op: Op) -> Result<(), Failure> {
        let (now, stamp) = self.now();
        let mode = S_IFREG | 0o600;
        let new = NewInode {
            mode,
            uid: 0,
            gid: 0,
            rdev: 0,
            target: None,
            now,
            xattrs: &[],
        };
        let real = self.fs.create_tmpfile(&new);
        if self.full(&real) {
            return Ok(());
        }
        agree("tmpfile", &real, None)?;
        if let Ok(made) = real {
            self.state.create_tmpfile(made.ino, Node::new(mode, stamp));
        }
        let _ = op;
        Ok(())
    }

    fn link(&mut self, op: Op) -> Result<(), Failure> {
        let ino = self.any_inode(op, 0);
        self.link_to(op, ino)
    }

    fn link_tmpfile(&mut self, op: Op) -> Result<(), Failure> {
        let orphans = self.state.orphans();
        match orphans.len() as u64 {
            0 => Ok(()),
            n => self.link_to(op, orphans[op.pick(0, n) as usize]),
        }
    }

    fn link_to(&mut self, op: Op, ino: u64) -> Result<(), Failure> {
        let dir = self.dir(op, 1);
        let name = self.new_name(op, 2, dir);
        let (now, stamp) = self.now();
        let real = self.fs.link(ino, dir, &name, now);
        if self.full(&real) {
            return Ok(());
        }
        let expected = self.state.link(ino, dir, &name, stamp).err();
        agree("link", &real, expected)?;
        Ok(())
    }

    fn remove(&mut self, op: Op, is_dir: bool) -> Result<(), Failure> {
        let dir = self.dir(op, 0);
        let name = self.name(op, 1, dir);
        let (now, stamp) = self.now();
        let found = self.state.lookup(dir, &name).and_then(|ino| self.state.node(ino).ok());
        let with_rows = is_dir && op.pick(2, 2) == 0 && found.is_some_and(|n| n.rows.is_some());
        let real = if with_rows {
            self.fs.remove_collection(dir, &name, now)
        } else if is_dir {
            self.fs.rmdir(dir, &name, now)
        } else {
            self.fs.unlink(dir, &name, now)
        };
        let model = self.state.remove(dir, &name, is_dir, with_rows, stamp);
        if agree("remove", &real, model.err())? {
            let (after, ino) = (real.map_err(|e| text("remove", e))?, model.unwrap_or(0));
            self.lost_name(op, after, ino)?;
        }
        Ok(())
    }

    /// What follows when `ino` lost a name: perhaps it is still open.
    fn lost_name(&mut self, op: Op, after: Inode, ino: u64) -> Result<(), Failure> {
        let nlink = self.state.node(ino).map_or(0, |n| n.nlink);
        if after.ino != ino || after.nlink != nlink {
            return Err(format!(
                "inode {} has {} links left, should be {ino} with {nlink}",
                after.ino, after.nlink
            ));
        }
        if nlink == 0 && (op.pick(6, 3) > 0 || self.state.node(ino).is_ok_and(|n| n.rows.is_some())) {
            self.evict(ino)?;
        }
        Ok(())
    }

    fn evict(&mut self, ino: u64) -> Result<(), Failure> {
        self.drop_pages(ino);
        self.collections.forget(ino);
        self.fs.evict(ino).map_err(|e| text("evict", e))?;
        self.state.nodes.remove(&ino);
        match self.fs.inode(ino) {
            Err(Error::NotFound) => Ok(()),
            other => Err(format!("an evicted inode is still there: {other:?}")),
        }
    }

    fn evict_one(&mut self, op: Op) -> Result<(), Failure> {
        let orphans = self.state.orphans();
        match orphans.len() as u64 {
            0 => Ok(()),
            n => self.evict(orphans[op.pick(0, n) as usize]),
        }
    }

    fn rename(&mut self, op: Op) -> Result<(), Failure> {
        let (odir, ndir) = (self.dir(op, 0), self.dir(op, 1));
        let oname = self.name(op, 2, odir);
        let nname = if op.pick(4, 2) == 0 {
            self.name(op, 5, ndir)
        } else {
            self.new_name(op, 5, ndir)
        };
        let flags = [0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE, 3][op.pick(7, 6) as usize];
        let (now, stamp) = self.now();
        let real = self.fs.rename(odir, &oname, ndir, &nname, RenameFlags(flags), now);
        if self.full(&real) {
            return Ok(());
        }
        let model = self.state.rename(odir, &oname, ndir, &nname, flags, stamp);
        if agree("rename", &real, model.err())? {
            let (real, model) = (real.map_err(|e| text("rename", e))?, model.unwrap_or(None));
            match (real.replaced, model) {
                (None, None) => {}
                (Some(after), Some(ino)) => self.lost_name(op, after, ino)?,
                (real, model) => {
                    return Err(format!(
                        "rename replaced {:?}, should be {model:?}",
                        real.map(|i| i.ino)
                    ));
                }
            }
        }
        Ok(())
    }

    fn lookup(&mut self, op: Op) -> Result<(), Failure> {
        let dir = self.dir(op, 0);
        let name = self.name(op, 1, dir);
        let expected = if name.len() > 255 { Some(ENAMETOOLONG) } else { None };
        let real = self.fs.lookup(dir, &name);
        if agree("lookup", &real, expected)? {
            let (found, model) = (real.ok().flatten(), self.state.lookup(dir, &name));
            if found.map(|f| f.0) != model {
                return Err(format!("lookup found {found:?}, should be {model:?}"));
            }
            if let (Some((_, dtype)), Some(ino)) = (found, model) {
                let mode = self.state.node(ino).map_or(0, |n| n.mode);
                if u32::from(dtype) != mode >> 12 {
                    return Err(format!("lookup said type {dtype}, mode is {mode:o}"));
                }
            }
        }
        Ok(())
    }

    /// Reads a directory in pieces, as getdents does.
    fn readdir(&mut self, op: Op) -> Result<(), Failure> {
        let dir = self.dir(op, 0);
        let mut seen = BTreeMap::new();
        let (mut pos, mut last) = (0, 1);
        loop {
            let mut room = 1 + op.pick(1, 7);
            let end = self.fs.readdir(dir, pos, &mut |at, name, ino, _| {
                if room == 0 {
                    return false;
                }
                room -= 1;
                if at <= last || seen.insert(name.to_vec(), ino).is_some() {
                    seen.insert(b"twice or out of order".to_vec(), 0);
                }
                last = at;
                true
            });
            pos = end.map_err(|e| text("readdir", e))?;
            if pos >= i64::MAX as u64 {
                break;
            }
        }
        match self.state.node(dir) {
            Ok(n) if n.entries == seen => Ok(()),
            _ => Err(format!("readdir of {dir} gave {seen:?}")),
        }
    }

    fn read_link(&mut self, op: Op) -> Result<(), Failure> {
        let ino = self.any_inode(op, 0);
        let mut target = mem::Vec::new();
        let real = self.fs.read_link(ino, &mut target);
        let node = self.state.node(ino).map_err(|e| e.to_string())?;
        let expected = if node.is_symlink() { None } else { Some(EINVAL) };
        if agree("readlink", &real, expected)? && *target != *node.target {
            return Err("readlink gave another target".into());
        }
        Ok(())
    }

    // Contents.

    /// An offset: mostly near the start, sometimes at the end, seldom very far.
    fn offset(&self, op: Op, i: u32, size: u64) -> u64 {
        match op.pick(i, 12) {
            0..=3 => size,
            4 => size + op.size(i + 1, 20_000),
            5 if op.pick(i + 1, 8) == 0 => op.pick(i + 2, FAR),
            _ => op.size(i + 1, 300_000),
        }
    }

    fn write(&mut self, op: Op) -> Result<(), Failure> {
        let Some(ino) = self.plain_file(op, 0) else {
            return Ok(());
        };
        let off = self.offset(op, 1, self.state.node(ino).map_or(0, |n| n.content.size()));
        let data = op.data(op.size(4, 200_000).max(1) as usize);
        let (now, stamp) = self.now();
        let real = self.fs.write(ino, off, &data, now);
        if self.full(&real) {
            return Ok(());
        }
        agree("write", &real, None)?;
        self.state.write(ino, off, &data, stamp);
        Ok(())
    }

    fn truncate(&mut self, op: Op) -> Result<(), Failure> {
        let Some(ino) = self.any_file(op, 0) else { return Ok(()) };
        let old = self.state.node(ino).map_or(0, |n| n.content.size());
        let size = match op.pick(1, 4) {
            0 => op.pick(2, old.max(1)),
            1 => old + op.size(2, 10_000),
            2 if op.pick(2, 8) == 0 => op.pick(3, FAR),
            _ => op.size(2, 300_000),
        };
        let (now, stamp) = self.now();
        if self.pages.contains_key(&ino) {
            return self.truncate_cached(ino, size, now, stamp);
        }
        let real = self.fs.truncate(ino, size, now);
        if self.full(&real) {
            return Ok(());
        }
        agree("truncate", &real, None)?;
        self.state.truncate(ino, size, stamp);
        Ok(())
    }

    fn punch(&mut self, op: Op) -> Result<(), Failure> {
        let Some(ino) = self.plain_file(op, 0) else {
            return Ok(());
        };
        let off = op.size(1, 300_000);
        let len = op.size(2, 100_000) + 1;
        let (now, stamp) = self.now();
        let real = self.fs.punch(ino, off, len, now);
        if self.full(&real) {
            return self.half_punched(ino, off, len, stamp);
        }
        if real.is_err() {
            let node = self.state.node_mut(ino).map_err(|e| e.to_string())?;
            node.uncertain = true;
        }
        agree("punch", &real, None)?;
        // Where there was nothing but a hole, there is nothing to change: not the times either.
        let node = self.state.node(ino).map_err(|e| e.to_string())?;
        let untouched = self
            .fs
            .inode(ino)
            .is_ok_and(|i| (i.mtime.sec, i.mtime.nsec) == node.mtime);
        if !untouched || node.content.read(off, len as usize).iter().any(|b| *b != 0) {
            self.state.punch(ino, off, len, stamp);
        }
        Ok(())
    }

    /// A punch is more than one transaction: one that ran out of space may have done any part of it, and nothing else.
    fn half_punched(&mut self, ino: u64, off: u64, len: u64, stamp: Stamp) -> Result<(), Failure> {
        let before = {
            let node = self.state.node(ino).map_err(|e| e.to_string())?;
            node.content.read(off, len as usize)
        };
        let mut after = vec![0xA5; before.len()];
        let n = self.fs.read(ino, off, &mut after).map_err(|e| e.to_string())?;
        if n != before.len() || before.iter().zip(&after).any(|(old, new)| new != old && *new != 0) {
            return Err(format!(
                "a punch of {len} at {off} that ran out of space left something else"
            ));
        }
        let inode = self.fs.inode(ino).map_err(|e| e.to_string())?;
        let touched = (inode.mtime.sec, inode.mtime.nsec) == stamp;
        if before != after && !touched {
            return Err("a punch that ran out of space changed data and not the times".to_string());
        }
        let mut at = 0;
        while at < after.len() {
            let same = before[at] == after[at];
            let run = (at..after.len())
                .take_while(|i| (before[*i] == after[*i]) == same)
                .count();
            if !same {
                self.state.punch(ino, off + at as u64, run as u64, stamp);
            }
            at += run;
        }
        if touched {
            self.state.punch(ino, off, 0, stamp);
        }
        Ok(())
    }

    fn read(&mut self, op: Op) -> Result<(), Failure> {
        let Some(ino) = self.any_file(op, 0) else { return Ok(()) };
        let node = self.state.node(ino).map_err(|e| e.to_string())?;
        let off = self.offset(op, 1, node.content.size() / 2);
        let mut buf = vec![0xA5; op.size(4, 100_000) as usize];
        let n = self.fs.read(ino, off, &mut buf).map_err(|e| text("read", e))?;
        if buf[..n] != node.content.read(off, buf.len()) {
            return Err(format!("read of {} bytes at {off} of inode {ino} differs", buf.len()));
        }
        Ok(())
    }

    // Attributes.

    fn set_attr(&mut self, op: Op) -> Result<(), Failure> {
        let ino = self.any_inode(op, 0);
        let (now, stamp) = self.now();
        let (mode, uid, gid) = (
            op.pick(1, 0o10000) as u32,
            op.pick(2, 70_000) as u32,
            op.pick(3, 70_000) as u32,
        );
        let set = |bit: u64| op.pick(4, 16) >> bit & 1 != 0;
        let times = set(3).then_some(Time {
            sec: -(op.pick(5, 1 << 40) as i64),
            nsec: op.pick(6, 1_000_000_000) as u32,
        });
        let attr = SetAttr {
            mode: set(0).then_some(mode),
            uid: set(1).then_some(uid),
            gid: set(2).then_some(gid),
            mtime: times,
            ctime: Some(now),
            ..SetAttr::default()
        };
        let real = self.fs.set_attr(ino, &attr);
        agree("set_attr", &real, None)?;
        let node = self.state.node_mut(ino).map_err(|e| e.to_string())?;
        if set(0) {
            node.mode = node.mode & S_IFMT | mode;
        }
        if set(1) {
            node.uid = uid;
        }
        if set(2) {
            node.gid = gid;
        }
        if let Some(t) = times {
            node.mtime = (t.sec, t.nsec);
        }
        node.ctime = stamp;
        Ok(())
    }

    fn xattr(&mut self, op: Op) -> Result<(), Failure> {
        let ino = self.any_inode(op, 0);
        let names: [&[u8]; 6] = [
            b"user.a",
            b"user.b",
            b"user.c",
            b"trusted.overlay.opaque",
            b"security.x",
            &[b'u'; 255],
        ];
        let name = names[op.pick(1, 6) as usize];
        let (now, stamp) = self.now();
        let node = self.state.node(ino).map_err(|e| e.to_string())?;
        let old = node.xattrs.get(name).cloned();
        match op.kind() {
            Kind::SetXattr => {
                let value = op.data(op.size(2, 70_000) as usize);
                let (mode, expected) = match op.pick(3, 6) {
                    0 => (XattrMode::Create, old.is_some().then_some(EEXIST)),
                    1 => (XattrMode::Replace, old.is_none().then_some(ENODATA)),
                    _ => (XattrMode::Set, None),
                };
                let expected = if value.len() > 65_536 { Some(E2BIG) } else { expected };
                let real = self.fs.set_xattr(ino, name, &value, mode, now);
                if self.full(&real) {
                    return Ok(());
                }
                if agree("setxattr", &real, expected)? {
                    let node = self.state.node_mut(ino).map_err(|e| e.to_string())?;
                    node.xattrs.insert(name.to_vec(), value.into());
                    node.ctime = stamp;
                }
            }
            Kind::RemoveXattr => {
                let real = self.fs.remove_xattr(ino, name, now);
                if agree("removexattr", &real, old.is_none().then_some(ENODATA))? {
                    let node = self.state.node_mut(ino).map_err(|e| e.to_string())?;
                    node.xattrs.remove(name);
                    node.ctime = stamp;
                }
            }
            Kind::GetXattr => {
                let mut value = mem::Vec::new();
                let real = self.fs.get_xattr(ino, name, &mut value);
                agree("getxattr", &real, old.is_none().then_some(ENODATA))?;
                if old.is_some_and(|o| *o != *value) {
                    return Err("getxattr gave another value".into());
                }
            }
            _ => {
                let mut found = Vec::new();
                self.fs
                    .list_xattr(ino, &mut |n| found.push(n.to_vec()))
                    .map_err(|e| text("listxattr", e))?;
                found.sort();
                if !found.iter().eq(node.xattrs.keys()) {
                    return Err(format!("listxattr gave {found:?}"));
                }
            }
        }
        Ok(())
    }

    // The whole.

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

    // Collections.

    fn create_collection(&mut self, op: Op) -> Result<(), Failure> {
        let dir = self.dir(op, 0);
        let empty = self.state.node(dir).is_ok_and(|n| n.entries.is_empty());
        if dir == state::ROOT || !empty {
            return Ok(());
        }
        let dim = [1, 3, 8, 17, 64][op.pick(1, 5) as usize];
        let metric = [uapi::VEXFS_METRIC_L2, uapi::VEXFS_METRIC_COSINE, uapi::VEXFS_METRIC_IP][op.pick(2, 3) as usize];
        let params = Params::new(dim, uapi::VEXFS_ELEMENT_F32, metric, 0).map_err(|e| text("params", e))?;
        let exists = self.state.node(dir).is_ok_and(|n| n.rows.is_some());
        let real = self.collections.create(dir, &params);
        if self.full(&real) {
            return Ok(());
        }
        if agree("create collection", &real, exists.then_some(EEXIST))? {
            let node = self.state.node_mut(dir).map_err(|e| e.to_string())?;
            node.rows = Some(Rows::new(dim as usize, metric));
            node.own_times = true;
        }
        Ok(())
    }

    fn drop_collection(&mut self, op: Op) -> Result<(), Failure> {
        let Some(dir) = self.any_collection(op, 0) else {
            return Ok(());
        };
        self.collections.forget(dir);
        let (now, _) = self.now();
        self.fs
            .drop_collection(dir, now)
            .map_err(|e| text("drop collection", e))?;
        self.state.node_mut(dir).map_err(|e| e.to_string())?.rows = None;
        Ok(())
    }

    fn insert(&mut self, op: Op) -> Result<Durable, Failure> {
        let Some(dir) = self.any_collection(op, 0) else {
            return Ok(Durable::No);
        };
        let model = self.rows(dir)?;
        let count = if op.pick(1, 10) == 0 {
            op.pick(2, 200)
        } else {
            op.pick(2, 12)
        } as usize
            + 1;
        let new: Vec<Row> = (0..count as u64)
            .map(|i| Row {
                vector: rows::vector(op.0 ^ i << 32, model.dim).into(),
                payload: rows::payload(op.0.rotate_left(i as u32 + 3)).into(),
            })
            .collect();
        // From one starting point on, so that most batches have no id twice.
        let start = op.pick(4, rows::IDS);
        let stride = op.pick(5, 3);
        let ids: Option<Vec<u64>> = (op.pick(3, 3) > 0).then(|| {
            (0..count as u64)
                .map(|i| (start + i * stride) % (4 * rows::IDS))
                .collect()
        });
        let upsert = op.pick(6, 2) == 0;
        let vectors: Vec<u8> = new.iter().flat_map(|r| rows::bytes(&r.vector)).collect();
        let lens: Vec<u32> = new.iter().map(|r| r.payload.len() as u32).collect();
        let payloads: Vec<u8> = new.iter().flat_map(|r| r.payload.to_vec()).collect();
        let batch = Batch {
            vectors: &vectors,
            ids: ids.as_deref(),
            payload_lens: &lens,
            payloads: &payloads,
        };
        let c = self.collections.get(dir).map_err(|e| text("collection", e))?;
        let real = c.insert(
            &batch,
            InsertMode {
                upsert,
                normalize: false,
            },
        );
        if self.full(&real) {
            return Ok(Durable::No);
        }
        let model = self.rows_mut(dir)?.insert(ids.as_deref(), &new, upsert);
        if !agree("insert", &real, model.err())? {
            return Ok(Durable::No);
        }
        let real = real.map_err(|e| text("insert", e))?;
        if (real.first_id, real.replaced) != model.unwrap_or_default() || real.count != count {
            return Err(format!("insert of {count} gave {real:?}, should be {model:?}"));
        }
        if op.pick(7, 6) == 0 {
            self.fs.sync_txg(real.txg).map_err(|e| text("sync of an insert", e))?;
            return Ok(Durable::Yes);
        }
        Ok(Durable::No)
    }

    /// Moves rows into segments, merges those, gives them an index or takes it away: nothing of which changes a row.
    fn maintain(&mut self, op: Op) -> Result<(), Failure> {
        let Some(dir) = self.any_collection(op, 0) else {
            return Ok(());
        };
        let c = self.collections.get(dir).map_err(|e| text("collection", e))?;
        let quiet = &|_, _| ();
        let real = match op.pick(1, 10) {
            0 => c.optimize(1, quiet).map(|_| ()),
            1 => {
                let params = IndexParams {
                    m: 4,
                    ef_construction: 16,
                    ..IndexParams::new(IndexKind::Hnsw)
                };
                c.build_index(&params, 1, quiet).map(|_| ())
            }
            2 => c.drop_index().map(|_| ()),
            _ => c.maintain(1, quiet).map(|_| ()),
        };
        if self.full(&real) {
            return Ok(());
        }
        real.map_err(|e| text("maintain", e))
    }

    fn delete_rows(&mut self, op: Op) -> Result<(), Failure> {
        let Some(dir) = self.any_collection(op, 0) else {
            return Ok(());
        };
        let ids: Vec<u64> = (0..1 + op.pick(1, 30))
            .map(|i| (op.pick(2, rows::IDS) + i * op.pick(3, 4)) % rows::IDS)
            .collect();
        let c = self.collections.get(dir).map_err(|e| text("collection", e))?;
        let real = c.delete(&ids);
        if self.full(&real) {
            return Ok(());
        }
        agree("delete rows", &real, None)?;
        let count = self.rows_mut(dir)?.delete(&ids);
        match real {
            Ok(d) if d.count != count => Err(format!("deleted {} rows, should be {count}", d.count)),
            _ => Ok(()),
        }
    }

    fn search(&mut self, op: Op) -> Result<(), Failure> {
        let Some(dir) = self.any_collection(op, 0) else {
            return Ok(());
        };
        let model = self.rows(dir)?;
        let queries: Vec<Vec<f32>> = (0..1 + op.pick(1, 4))
            .map(|i| rows::vector(op.0 ^ i << 20, model.dim))
            .collect();
        let k = 1 + op.size(2, 400) as usize;
        let radius = (op.pick(3, 2) == 0).then(|| match model.metric {
            uapi::VEXFS_METRIC_COSINE => op.pick(4, 200) as f32 / 100.0,
            _ => op.pick(4, 900) as f32 - 300.0,
        });
        let flat: Vec<u8> = queries.iter().flat_map(|q| rows::bytes(q)).collect();
        let search = Search {
            queries: &flat,
            k,
            radius: radius.map(f32::to_bits),
            exact: true,
            ..Search::default()
        };
        let c = self.collections.get(dir).map_err(|e| text("collection", e))?;
        let found = c.search(&search).map_err(|e| text("search", e))?;
        let mut answers = 0;
        for (query, hits) in queries.iter().zip(found.by_query()) {
            let hits: Vec<(u64, f32)> = hits.iter().map(|h| (h.row.id, f32::from_bits(h.distance))).collect();
            model.check_hits(query, k, radius, &hits)?;
            answers += 1;
        }
        if answers != queries.len() {
            return Err(format!("{answers} answers to {} queries", queries.len()));
        }
        Ok(())
    }

    fn get_rows(&mut self, op: Op) -> Result<(), Failure> {
        let Some(dir) = self.any_collection(op, 0) else {
            return Ok(());
        };
        let model = self.rows(dir)?;
        let ids: Vec<u64> = (0..1 + op.pick(1, 9))
            .map(|i| (op.pick(2, rows::IDS) + 7 * i) % rows::IDS)
            .collect();
        let c = self.collections.get(dir).map_err(|e| text("collection", e))?;
        let got = c.get(&ids).map_err(|e| text("get", e))?;
        for (id, row) in ids.iter().zip(got.rows.iter()) {
            if row.is_some() != model.rows.contains_key(id) {
                return Err(format!("row {id} is there: {}", row.is_some()));
            }
        }
        Ok(())
    }

    fn rows(&self, dir: u64) -> Result<&Rows, Failure> {
        self.state
            .node(dir)
            .ok()
            .and_then(|n| n.rows.as_ref())
            .ok_or_else(|| "no collection".into())
    }

    fn rows_mut(&mut self, dir: u64) -> Result<&mut Rows, Failure> {
        self.state
            .node_mut(dir)
            .ok()
            .and_then(|n| n.rows.as_mut())
            .ok_or_else(|| "no collection".into())
    }
}

/// Mount options of the tests: caches so small that nodes come and go.
pub fn small_caches() -> MountOptions {
    MountOptions {
        cache_nodes: 32,
        ..MountOptions::default()
    }
}
