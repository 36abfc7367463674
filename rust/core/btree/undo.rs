// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The undo log of a transaction: what each changed item was before.
//!
//! Undoing restores the old values in reverse order, in nodes that are dirty already, and needs neither I/O nor memory.
//! That an old value always finds room again follows from two facts: while a transaction is open leaves are split but
//! never merged, so the keys a leaf is responsible for only become fewer; and at the time a value was replaced,
//! everything between those keys was in one leaf together with it.

use crate::format::Key;
use vexfs_host::mem::Vec;
use vexfs_host::Result;

#[derive(Clone, Copy)]
struct Step {
    key: Key,
    /// Where the old value begins.
    start: u64,
    /// Length of the old value; `None` if there was no item.
    len: Option<u32>,
}

/// Old values, latest last.
pub(crate) struct Undo {
    steps: Vec<Step>,
    /// The old values one after another.
    values: Vec<u8>,
}

/// Memory the log keeps for the next transaction, in bytes.
const KEEP: usize = 256 << 10;

impl Undo {
    pub(super) const fn new() -> Undo {
        Undo {
            steps: Vec::new(),
            values: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// An empty log with room for `steps` values of `bytes` bytes in all.
    pub(super) fn with_room_for(steps: usize, bytes: usize) -> Result<Undo> {
        Ok(Undo {
            steps: Vec::with_capacity(steps)?,
            values: Vec::with_capacity(bytes)?,
        })
    }

    /// Notes there are.
    pub(super) fn len(&self) -> usize {
        self.steps.len()
    }

    /// Bytes of all old values.
    pub(super) fn bytes(&self) -> usize {
        self.values.len()
    }

    /// Note `n`: the key and its old value.
    pub(super) fn step(&self, n: usize) -> Option<(Key, Option<&[u8]>)> {
        let step = self.steps.get(n)?;
        let old = match step.len {
            Some(len) => {
                let start = usize::try_from(step.start).ok()?;
                Some(self.values.get(start..start.checked_add(len as usize)?)?)
            }
            None => None,
        };
        Some((step.key, old))
    }

    /// Notes what `key` was before it changes.
    pub(super) fn note(&mut self, key: &Key, old: Option<&[u8]>) -> Result<()> {
        self.steps.reserve(1)?;
        let start = self.values.len() as u64;
        if let Some(old) = old {
            self.values.extend_from_slice(old)?;
        }
        self.steps.push(Step {
            key: *key,
            start,
            len: old.map(|o| o.len() as u32),
        })
    }

    /// The last note: the key and its old value.
    pub(super) fn last(&self) -> Option<(Key, Option<&[u8]>)> {
        self.step(self.steps.len().checked_sub(1)?)
    }

    /// Drops the last note.
    pub(super) fn pop(&mut self) {
        if let Some(Step { len: Some(len), .. }) = self.steps.pop() {
            self.values.truncate(self.values.len().saturating_sub(len as usize));
        }
    }

    /// Drops all notes.
    pub(super) fn clear(&mut self) {
        self.steps.clear();
        self.values.clear();
        if self.values.capacity() > KEEP {
            self.values = Vec::new();
        }
        if self.steps.capacity() > KEEP / size_of::<Step>() {
            self.steps = Vec::new();
        }
    }
}
