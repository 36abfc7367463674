// SPDX-License-Identifier: Apache-2.0
//! What a filesystem holds, and what each operation does to it.
//!
//! Failures are errnos, in the order in which the filesystem finds them.

use super::content::Content;
use super::rows::Rows;
use libc::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A point in time: seconds and nanoseconds.
pub type Stamp = (i64, u32);
pub type Result<T> = std::result::Result<T, i32>;

pub const ROOT: u64 = 2;

/// An inode.
#[derive(Clone, Debug)]
pub struct Node {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub nlink: u32,
    pub rdev: u32,
    pub mtime: Stamp,
    pub ctime: Stamp,
    pub content: Content,
    pub target: Vec<u8>,
    pub entries: BTreeMap<Vec<u8>, u64>,
    pub parent: u64,
    pub xattrs: BTreeMap<Vec<u8>, Arc<[u8]>>,
    /// Made without a name and not linked since.
    pub tmpfile: bool,
    pub rows: Option<Rows>,
    /// The filesystem chose its times itself.
    pub own_times: bool,
    /// An operation that is more than one transaction failed half-way: any part of it may have been done.
    pub uncertain: bool,
}

impl Node {
    pub fn new(mode: u32, now: Stamp) -> Node {
        let is_dir = mode & S_IFMT == S_IFDIR;
        Node {
            mode,
            uid: 0,
            gid: 0,
            nlink: if is_dir { 2 } else { 1 },
            rdev: 0,
            mtime: now,
            ctime: now,
            content: Content::default(),
            target: Vec::new(),
            entries: BTreeMap::new(),
            parent: 0,
            xattrs: BTreeMap::new(),
            tmpfile: false,
            rows: None,
            own_times: false,
            uncertain: false,
        }
    }

    pub fn is_dir(&self) -> bool {
        self.mode & S_IFMT == S_IFDIR
    }

    pub fn is_file(&self) -> bool {
        self.mode & S_IFMT == S_IFREG
    }

    pub fn is_symlink(&self) -> bool {
        self.mode & S_IFMT == S_IFLNK
    }

    fn touch(&mut self, now: Stamp) {
        self.mtime = now;
        self.ctime = now;
    }
}

/// All inodes by number. Clones share what did not change.
#[derive(Clone, Debug)]
pub struct State {
    pub nodes: BTreeMap<u64, Arc<Node>>,
}

impl State {
    /// A freshly formatted filesystem. The root's times are whatever the formatter chose.
    pub fn new(root_mode: u32, made: Stamp) -> State {
        let mut root = Node::new(root_mode, made);
        root.parent = ROOT;
        State {
            nodes: BTreeMap::from([(ROOT, Arc::new(root))]),
        }
    }

    pub fn node(&self, ino: u64) -> Result<&Node> {
        self.nodes.get(&ino).map(|n| &**n).ok_or(ENOENT)
    }

    pub fn node_mut(&mut self, ino: u64) -> Result<&mut Node> {
        self.nodes.get_mut(&ino).map(Arc::make_mut).ok_or(ENOENT)
    }

    fn live_dir(&self, dir: u64) -> Result<&Node> {
        let d = self.node(dir)?;
        match (d.is_dir(), d.nlink) {
            (false, _) => Err(ENOTDIR),
            (true, 0) => Err(ENOENT),
            _ => Ok(d),
        }
    }

    pub fn lookup(&self, dir: u64, name: &[u8]) -> Option<u64> {
        self.node(dir).ok()?.entries.get(name).copied()
    }

    /// Whether `create` may make this name.
    pub fn may_create(&self, dir: u64, name: &[u8]) -> Result<()> {
        check_name(name)?;
        if self.lookup(dir, name).is_some() {
            return Err(EEXIST);
        }
        self.live_dir(dir).map(drop)
    }

    /// Adds an inode that the filesystem made under number `ino`.
    pub fn create(&mut self, dir: u64, name: &[u8], ino: u64, mut node: Node) {
        let now = node.ctime;
        let is_dir = node.is_dir();
        node.parent = if is_dir { dir } else { 0 };
        self.nodes.insert(ino, Arc::new(node));
        if let Ok(d) = self.node_mut(dir) {
            d.entries.insert(name.to_vec(), ino);
            d.nlink += u32::from(is_dir);
            d.touch(now);
        }
    }

    pub fn create_tmpfile(&mut self, ino: u64, mut node: Node) {
        node.nlink = 0;
        node.tmpfile = true;
        self.nodes.insert(ino, Arc::new(node));
    }

    pub fn link(&mut self, ino: u64, dir: u64, name: &[u8], now: Stamp) -> Result<()> {
        check_name(name)?;
        let target = self.node(ino)?;
        if target.is_dir() {
            return Err(EPERM);
        }
        let gone = target.nlink == 0 && !target.tmpfile;
        if self.lookup(dir, name).is_some() {
            return Err(EEXIST);
        }
        self.live_dir(dir)?;
        if gone {
            return Err(ENOENT);
        }
        let d = self.node_mut(dir)?;
        d.entries.insert(name.to_vec(), ino);
        d.touch(now);
        let n = self.node_mut(ino)?;
        n.nlink += 1;
        n.tmpfile = false;
        n.ctime = now;
        Ok(())
    }

    /// Takes a link from an inode; one without links stays until it is evicted.
    fn drop_link(&mut self, ino: u64, with_rows: bool, now: Stamp) -> Result<()> {
        let n = self.node_mut(ino)?;
        if n.is_dir() {
            if !n.entries.is_empty() || n.rows.is_some() && !with_rows {
                return Err(ENOTEMPTY);
            }
            n.nlink = 0;
        } else {
            n.nlink -= 1;
        }
        n.ctime = now;
        Ok(())
    }

    /// Removes a name; returns what it named. A collection goes only `with_rows`.
    pub fn remove(&mut self, dir: u64, name: &[u8], want_dir: bool, with_rows: bool, now: Stamp) -> Result<u64> {
        check_name(name)?;
        let ino = self.lookup(dir, name).ok_or(ENOENT)?;
        match (self.node(ino)?.is_dir(), want_dir) {
            (true, false) => return Err(EISDIR),
            (false, true) => return Err(ENOTDIR),
            _ => {}
        }
        self.drop_link(ino, with_rows, now)?;
        let d = self.node_mut(dir)?;
        d.entries.remove(name);
        d.nlink -= u32::from(want_dir);
        d.touch(now);
        Ok(ino)
    }

    fn is_above(&self, moved: u64, dir: u64) -> bool {
        let mut at = dir;
        loop {
            if at == moved {
                return true;
            }
            if at == ROOT {
                return false;
            }
            at = self.nodes[&at].parent;
        }
    }

    /// Renames; returns the inode that lost its name, if one did.
    pub fn rename(&mut self, od: u64, on: &[u8], nd: u64, nn: &[u8], flags: u32, now: Stamp) -> Result<Option<u64>> {
        check_name(on)?;
        check_name(nn)?;
        if flags & !3 != 0 || flags == 3 {
            return Err(EINVAL);
        }
        let exchange = flags == RENAME_EXCHANGE;
        let src = self.lookup(od, on).ok_or(ENOENT)?;
        let dst = self.lookup(nd, nn);
        if dst.is_some() && flags == RENAME_NOREPLACE {
            return Err(EEXIST);
        }
        if dst.is_none() && exchange {
            return Err(ENOENT);
        }
        if dst == Some(src) {
            return Ok(None);
        }
        let src_dir = self.node(src)?.is_dir();
        if src_dir && od != nd && self.is_above(src, nd) {
            return Err(EINVAL);
        }
        if let (Some(dst), true) = (dst, exchange) {
            let dst_dir = self.node(dst)?.is_dir();
            if dst_dir && od != nd && self.is_above(dst, od) {
                return Err(EINVAL);
            }
            self.live_dir(od)?;
            self.live_dir(nd)?;
            self.node_mut(od)?.entries.insert(on.to_vec(), dst);
            self.node_mut(nd)?.entries.insert(nn.to_vec(), src);
            for (ino, parent, is_dir) in [(src, nd, src_dir), (dst, od, dst_dir)] {
                let n = self.node_mut(ino)?;
                n.ctime = now;
                if is_dir {
                    n.parent = parent;
                }
            }
            if src_dir != dst_dir && od != nd {
                let (gains, loses) = if src_dir { (nd, od) } else { (od, nd) };
                self.node_mut(gains)?.nlink += 1;
                self.node_mut(loses)?.nlink -= 1;
            }
            self.node_mut(od)?.touch(now);
            self.node_mut(nd)?.touch(now);
            return Ok(None);
        }
        if let Some(dst) = dst {
            match (src_dir, self.node(dst)?.is_dir()) {
                (false, true) => return Err(EISDIR),
                (true, false) => return Err(ENOTDIR),
                _ => {}
            }
            self.drop_link(dst, false, now)?;
        } else {
            self.live_dir(nd)?;
        }
        self.node_mut(od)?.entries.remove(on);
        self.node_mut(nd)?.entries.insert(nn.to_vec(), src);
        if src_dir {
            self.node_mut(od)?.nlink -= 1;
            if dst.is_none() {
                self.node_mut(nd)?.nlink += 1;
            }
            self.node_mut(src)?.parent = nd;
        }
        self.node_mut(src)?.ctime = now;
        self.node_mut(od)?.touch(now);
        self.node_mut(nd)?.touch(now);
        Ok(dst)
    }

    pub fn write(&mut self, ino: u64, off: u64, data: &[u8], now: Stamp) {
        if let Ok(n) = self.node_mut(ino) {
            n.content.write(off, data);
            n.touch(now);
        }
    }

    pub fn truncate(&mut self, ino: u64, size: u64, now: Stamp) {
        if let Ok(n) = self.node_mut(ino) {
            n.content.truncate(size);
            n.touch(now);
        }
    }

    pub fn punch(&mut self, ino: u64, off: u64, len: u64, now: Stamp) {
        if let Ok(n) = self.node_mut(ino) {
            n.content.punch(off, len);
            n.touch(now);
        }
    }

    /// What a mount after a crash or an unmount drops: inodes without names.
    pub fn drop_orphans(&mut self) {
        self.nodes.retain(|_, n| n.nlink > 0);
    }

    /// Inodes without names.
    pub fn orphans(&self) -> Vec<u64> {
        self.nodes
            .iter()
            .filter(|(_, n)| n.nlink == 0)
            .map(|(i, _)| *i)
            .collect()
    }

    /// Directories that are in the tree.
    pub fn dirs(&self) -> Vec<u64> {
        self.nodes
            .iter()
            .filter(|(_, n)| n.is_dir() && n.nlink > 0)
            .map(|(i, _)| *i)
            .collect()
    }

    /// Regular files, unlinked ones included.
    pub fn files(&self) -> Vec<u64> {
        self.nodes
            .iter()
            .filter(|(_, n)| n.is_file())
            .map(|(i, _)| *i)
            .collect()
    }

    /// Collections that are in the tree.
    pub fn collections(&self) -> Vec<u64> {
        self.nodes
            .iter()
            .filter(|(_, n)| n.rows.is_some() && n.nlink > 0)
            .map(|(i, _)| *i)
            .collect()
    }
}

pub fn check_name(name: &[u8]) -> Result<()> {
    match name {
        [] => Err(ENOENT),
        _ if name.len() > 255 => Err(ENAMETOOLONG),
        _ => Ok(()),
    }
}
