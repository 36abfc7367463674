// SPDX-License-Identifier: Apache-2.0
//! Choosing: which directory, name, file or collection an operation is about.

use super::Harness;
use crate::model::op::Op;
use crate::model::state;

impl Harness {
    pub(super) fn dir(&self, op: Op, i: u32) -> u64 {
        let dirs = self.state.dirs();
        // One directory gets large.
        match op.pick(i, 3) {
            0 => state::ROOT,
            _ => dirs[op.pick(i + 1, dirs.len() as u64) as usize],
        }
    }

    /// A name: one that the directory has, or one of a small set of all shapes.
    pub(super) fn name(&self, op: Op, i: u32, dir: u64) -> Vec<u8> {
        let entries = self.state.node(dir).map(|n| &n.entries);
        match entries {
            Ok(e) if !e.is_empty() && op.pick(i, 3) > 0 => {
                let n = op.pick(i + 1, e.len() as u64) as usize;
                e.keys().nth(n).cloned().unwrap_or_default()
            }
            _ => Self::fresh_name(op.pick(i + 1, 40)),
        }
    }

    pub(super) fn fresh_name(n: u64) -> Vec<u8> {
        match n {
            0 => vec![b'L'; 255],
            1 => vec![b'L'; 256],
            2 => b"caf\xc3\xa9 \xff\x01".to_vec(),
            3 => vec![b'l'; 254],
            n => format!("name{n}").into_bytes(),
        }
    }

    pub(super) fn new_name(&self, op: Op, i: u32, dir: u64) -> Vec<u8> {
        match op.pick(i, 8) {
            0 => self.name(op, i + 1, dir),
            _ => Self::fresh_name(op.pick(i + 1, 4000)),
        }
    }

    pub(super) fn any_inode(&self, op: Op, i: u32) -> u64 {
        let n = op.pick(i, self.state.nodes.len() as u64) as usize;
        self.state.nodes.keys().nth(n).copied().unwrap_or(state::ROOT)
    }

    pub(super) fn any_file(&self, op: Op, i: u32) -> Option<u64> {
        let files = self.state.files();
        (!files.is_empty()).then(|| files[op.pick(i, files.len() as u64) as usize])
    }

    /// A file that is written directly, not through pages.
    pub(super) fn plain_file(&self, op: Op, i: u32) -> Option<u64> {
        self.any_file(op, i).filter(|ino| !self.pages.contains_key(ino))
    }

    pub(super) fn any_collection(&self, op: Op, i: u32) -> Option<u64> {
        let all = self.state.collections();
        (!all.is_empty()).then(|| all[op.pick(i, all.len() as u64) as usize])
    }
}
