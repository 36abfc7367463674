// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The nearest nodes of a traversal, and which of them have not been expanded.
//!
//! A sorted array: up to some hundred entries, moving those behind a new one is cheaper than the branches of a heap,
//! and one array serves as the candidates and the results of the paper's algorithm 2.

use crate::pool::bytes_of;
use vexfs_host::mem::Vec;
use vexfs_host::Result;

/// Nodes are below this number: an entry has 31 bits for one.
pub(crate) const NODES_MAX: usize = 1 << 31;

/// A bounded list of nodes, nearest first.
///
/// # Invariants
///
/// `entries[..len]`, `len <= width`, ascends; an entry is `key << 32 | node << 1 | expanded`. All entries before `next`
/// are expanded. `entries` has `width` elements.
pub(crate) struct Beam {
    entries: Vec<u64>,
    width: usize,
    len: usize,
    next: usize,
}

impl Beam {
    /// Bytes of memory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        bytes_of(&self.entries)
    }

    /// A list that has no room until [`Beam::reset`].
    pub(crate) const fn new() -> Self {
        Self {
            entries: Vec::new(),
            width: 0,
            len: 0,
            next: 0,
        }
    }

    /// Empties the list and gives it room for `width` nodes.
    pub(crate) fn reset(&mut self, width: usize) -> Result {
        if self.entries.len() < width {
            self.entries.resize(width, 0)?;
        }
        self.width = width;
        self.len = 0;
        self.next = 0;
        Ok(())
    }

    /// Nodes in the list.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether a further node would push one out.
    pub(crate) fn is_full(&self) -> bool {
        self.len == self.width
    }

    /// No node with a larger key would be taken.
    #[inline]
    pub(crate) fn limit(&self) -> u32 {
        if self.len < self.width {
            return u32::MAX;
        }
        match self.len.checked_sub(1).and_then(|last| self.entries.get(last)) {
            Some(last) => (last >> 32) as u32,
            None => 0,
        }
    }

    /// Puts a node into its place if it is among the nearest. Each node may be offered once only.
    #[inline]
    pub(crate) fn offer(&mut self, key: u32, node: u32) {
        let entry = u64::from(key) << 32 | u64::from(node) << 1;
        let Some(list) = self.entries.get_mut(..self.len) else {
            return;
        };
        let at = list.partition_point(|other| *other < entry);
        if self.len < self.width {
            self.len += 1;
        } else if at == self.len {
            return;
        }
        if let Some(behind) = self.entries.get_mut(at..self.len) {
            let moved = behind.len().saturating_sub(1);
            behind.copy_within(..moved, 1.min(behind.len()));
            if let Some(first) = behind.first_mut() {
                *first = entry;
            }
        }
        self.next = self.next.min(at);
    }

    /// Takes the nearest node that is not expanded, and marks it as that.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<u32> {
        self.pop_entry().map(|(_, node)| node)
    }

    /// As [`Beam::pop`], with the node's key.
    #[inline]
    pub(crate) fn pop_entry(&mut self) -> Option<(u32, u32)> {
        let list = self.entries.get_mut(..self.len)?;
        let next = self.next;
        let (skipped, entry) = list
            .get_mut(next..)?
            .iter_mut()
            .enumerate()
            .find(|(_, entry)| **entry & 1 == 0)?;
        *entry |= 1;
        self.next = next + skipped + 1;
        Some(((*entry >> 32) as u32, (*entry >> 1) as u32 & (NODES_MAX as u32 - 1)))
    }

    /// The node that [`Beam::pop`] would take.
    #[inline]
    pub(crate) fn peek(&self) -> Option<u32> {
        let list = self.entries.get(self.next..self.len)?;
        let entry = list.iter().find(|entry| **entry & 1 == 0)?;
        Some((*entry >> 1) as u32 & (NODES_MAX as u32 - 1))
    }

    /// Keys and nodes, nearest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let list = self.entries.get(..self.len).unwrap_or_default();
        list.iter()
            .map(|entry| ((entry >> 32) as u32, (entry >> 1) as u32 & (NODES_MAX as u32 - 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_nearest_in_order_and_hands_each_out_once() {
        let mut state = 1u64;
        let mut beam = Beam::new();
        for width in [1usize, 2, 7, 64] {
            for _ in 0..50 {
                beam.reset(width).unwrap();
                let mut model: std::vec::Vec<(u32, u32, bool)> = std::vec::Vec::new();
                for node in 0..200u32 {
                    state = state
                        .wrapping_mul(6364136223846793005)
                        .wrapping_add(1442695040888963407);
                    let key = (state >> 33) as u32 % 97;
                    if key <= beam.limit() {
                        beam.offer(key, node);
                    }
                    model.push((key, node, false));
                    model.sort();
                    model.truncate(width);
                    if state >> 60 < 4 {
                        let next = model.iter_mut().find(|entry| !entry.2);
                        assert_eq!(beam.peek(), next.as_ref().map(|entry| entry.1));
                        assert_eq!(
                            beam.pop(),
                            next.map(|entry| {
                                entry.2 = true;
                                entry.1
                            })
                        );
                    }
                    assert!(beam.iter().eq(model.iter().map(|entry| (entry.0, entry.1))));
                    assert_eq!(beam.is_full(), model.len() == width);
                }
            }
        }
    }
}
