// SPDX-License-Identifier: Apache-2.0
//! Names: creating, linking, renaming, removing, and looking them up.

use super::agree;
use super::text;
use super::Failure;
use super::Harness;
use crate::model::op::Op;
use crate::model::state::Node;
use libc::*;
use std::collections::BTreeMap;
use vexfs_core::dir::RenameFlags;
use vexfs_core::inode::Inode;
use vexfs_core::inode::NewInode;
use vexfs_host::mem;
use vexfs_host::Error;

impl Harness {
    pub(super) fn create(&mut self, op: Op, kind: u32) -> Result<(), Failure> {
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

    pub(super) fn tmpfile(&mut self, op: Op) -> Result<(), Failure> {
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

    pub(super) fn link(&mut self, op: Op) -> Result<(), Failure> {
        let ino = self.any_inode(op, 0);
        self.link_to(op, ino)
    }

    pub(super) fn link_tmpfile(&mut self, op: Op) -> Result<(), Failure> {
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

    pub(super) fn remove(&mut self, op: Op, is_dir: bool) -> Result<(), Failure> {
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
            Ok(inode) => Err(format!("an evicted inode is still there: {inode:?}")),
            Err(e) => Err(text("look for an evicted inode", e)),
        }
    }

    pub(super) fn evict_one(&mut self, op: Op) -> Result<(), Failure> {
        let orphans = self.state.orphans();
        match orphans.len() as u64 {
            0 => Ok(()),
            n => self.evict(orphans[op.pick(0, n) as usize]),
        }
    }

    pub(super) fn rename(&mut self, op: Op) -> Result<(), Failure> {
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

    pub(super) fn lookup(&mut self, op: Op) -> Result<(), Failure> {
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
    pub(super) fn readdir(&mut self, op: Op) -> Result<(), Failure> {
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

    pub(super) fn read_link(&mut self, op: Op) -> Result<(), Failure> {
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
}
