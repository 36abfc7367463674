// SPDX-License-Identifier: Apache-2.0
//! Contents, attributes and extended attributes of files.

use super::agree;
use super::text;
use super::Failure;
use super::Harness;
use super::FAR;
use crate::model::op::Kind;
use crate::model::op::Op;
use crate::model::state::Stamp;
use libc::*;
use vexfs_core::inode::SetAttr;
use vexfs_core::inode::Time;
use vexfs_core::xattr::XattrMode;
use vexfs_host::mem;

impl Harness {
    /// An offset: mostly near the start, sometimes at the end, seldom very far.
    fn offset(&self, op: Op, i: u32, size: u64) -> u64 {
        match op.pick(i, 12) {
            0..=3 => size,
            4 => size + op.size(i + 1, 20_000),
            5 if op.pick(i + 1, 8) == 0 => op.pick(i + 2, FAR),
            _ => op.size(i + 1, 300_000),
        }
    }

    pub(super) fn write(&mut self, op: Op) -> Result<(), Failure> {
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

    pub(super) fn truncate(&mut self, op: Op) -> Result<(), Failure> {
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

    pub(super) fn punch(&mut self, op: Op) -> Result<(), Failure> {
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

    pub(super) fn read(&mut self, op: Op) -> Result<(), Failure> {
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

    pub(super) fn set_attr(&mut self, op: Op) -> Result<(), Failure> {
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

    pub(super) fn xattr(&mut self, op: Op) -> Result<(), Failure> {
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
}
