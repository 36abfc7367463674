// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The nodes that a traversal has met.
//!
//! One byte a node holds the number of the traversal that met it last, so that beginning another one costs nothing;
//! only every 255th clears the bytes. A byte and not a word: the marks of a million nodes then fit a core's
//! second-level cache.

use crate::pool::bytes_of;
use vexfs_host::mem::Vec;
use vexfs_host::Result;

/// A set of nodes that is emptied in constant time.
///
/// # Invariants
///
/// A node is in the set if its mark is `epoch`; `epoch` is never 0.
pub(crate) struct Visited {
    marks: Vec<u8>,
    epoch: u8,
}

impl Visited {
    /// Bytes of memory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        bytes_of(&self.marks)
    }

    /// The empty set of nodes below `count`.
    pub(crate) fn new(count: usize) -> Result<Self> {
        let mut marks = Vec::new();
        marks.resize(count, 0)?;
        Ok(Self { marks, epoch: 1 })
    }

    /// Empties the set.
    pub(crate) fn clear(&mut self) {
        match self.epoch.checked_add(1) {
            Some(epoch) => self.epoch = epoch,
            None => {
                self.marks.fill(0);
                self.epoch = 1;
            }
        }
    }

    /// Adds a node; whether it was not in the set. A node that does not exist counts as met.
    #[inline]
    pub(crate) fn insert(&mut self, node: u32) -> bool {
        match self.marks.get_mut(node as usize) {
            Some(mark) => {
                let new = *mark != self.epoch;
                *mark = self.epoch;
                new
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_traversal_begins_with_the_empty_set() {
        let mut visited = Visited::new(10).unwrap();
        for round in 0..1000 {
            visited.clear();
            let node = round % 10;
            assert!(visited.insert(node));
            assert!(!visited.insert(node));
            assert!(visited.insert((node + 1) % 10));
            assert!(!visited.insert(10));
        }
    }
}
