// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The k nearest rows seen so far.

use crate::heap;
use vexfs_host::mem::Vec;
use vexfs_host::Result;

/// Something that is near or far: entries are ordered by their distance keys first, and no two are equal.
pub(crate) trait Entry: Copy + Ord {
    /// The distance key.
    fn key(&self) -> u32;
}

/// The `k` nearest entries offered: a bounded max-heap whose root is the one that the next nearer entry replaces.
///
/// # Invariants
///
/// `heap` has at most `k` entries and is ordered as a binary max-heap; no key is above `limit`. Once there are `k`,
/// `limit` is the root's key.
pub(crate) struct TopK<E> {
    heap: Vec<E>,
    k: usize,
    limit: u32,
}

impl<E: Entry> TopK<E> {
    /// Keeps the `k >= 1` nearest of at most `rows` entries whose key is not above `limit`. All memory is taken here.
    pub(crate) fn new(k: usize, rows: usize, limit: u32) -> Result<Self> {
        Ok(Self {
            heap: Vec::with_capacity(k.min(rows))?,
            k,
            limit,
        })
    }

    /// Most entries kept.
    pub(crate) fn k(&self) -> usize {
        self.k
    }

    /// Entries kept.
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// No entry with a key above this one is kept.
    #[inline]
    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    /// Keeps the entry if it is among the nearest. Each is to be offered once only.
    #[inline]
    pub(crate) fn push(&mut self, entry: E) -> Result {
        if entry.key() > self.limit {
            return Ok(());
        }
        if self.heap.len() < self.k {
            self.heap.push(entry)?;
            heap::sift_up(&mut self.heap);
        } else {
            match self.heap.first_mut() {
                Some(root) if entry < *root => *root = entry,
                _ => return Ok(()),
            }
            heap::sift_down(&mut self.heap, 0);
        }
        if self.heap.len() == self.k {
            if let Some(root) = self.heap.first() {
                self.limit = root.key();
            }
        }
        Ok(())
    }

    /// The entries, nearest first.
    pub(crate) fn into_sorted(mut self) -> Vec<E> {
        heap::sort_heap(&mut self.heap);
        self.heap
    }
}

/// A row of a collection and its distance key; they are ordered by key, then id.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Candidate {
    pub(crate) key: u32,
    pub(crate) id: u64,
    pub(crate) segment: u32,
    pub(crate) row: u32,
}

impl Entry for Candidate {
    #[inline]
    fn key(&self) -> u32 {
        self.key
    }
}

/// A row of a segment: `key << 32 | row`.
impl Entry for u64 {
    #[inline]
    fn key(&self) -> u32 {
        (self >> 32) as u32
    }
}

/// The nearest rows of a segment.
pub(crate) type Nearest = TopK<u64>;

impl Nearest {
    /// Keeps the row if it is among the nearest. Each row is to be offered once only.
    #[inline]
    pub(crate) fn offer(&mut self, key: u32, row: u32) -> Result {
        self.push(u64::from(key) << 32 | u64::from(row))
    }

    /// Whether the row is kept; looks at all of them.
    pub(crate) fn contains(&self, row: u32) -> bool {
        self.heap.iter().any(|entry| *entry as u32 == row)
    }

    /// The keys and rows, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.heap.iter().map(|entry| (entry.key(), *entry as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_sorting_everything_keeps() {
        let mut state = 1u64;
        for k in [1, 2, 3, 7, 64, 1000] {
            for rows in [0, 1, 2, 5, 100, 999, 3000] {
                for limit in [u32::MAX, 40] {
                    let mut top = TopK::new(k, rows, limit).unwrap();
                    let mut nearest = Nearest::new(k, rows, limit).unwrap();
                    let (mut candidates, mut entries) = (std::vec::Vec::new(), std::vec::Vec::new());
                    for row in 0..rows as u32 {
                        state = state
                            .wrapping_mul(6364136223846793005)
                            .wrapping_add(1442695040888963407);
                        // Few keys, so that ties are common; ids in no order.
                        let candidate = Candidate {
                            key: (state >> 33) as u32 % 97,
                            id: u64::from(row).wrapping_mul(0x9e37_79b9_7f4a_7c15),
                            segment: 0,
                            row,
                        };
                        top.push(candidate).unwrap();
                        candidates.push(candidate);
                        nearest.offer(candidate.key, row).unwrap();
                        entries.push(u64::from(candidate.key) << 32 | u64::from(row));
                    }
                    candidates.retain(|c| c.key <= limit);
                    candidates.sort();
                    candidates.truncate(k);
                    entries.retain(|entry| entry.key() <= limit);
                    entries.sort();
                    entries.truncate(k);
                    assert_eq!((top.len(), nearest.k()), (candidates.len(), k));
                    assert_eq!(top.into_sorted().to_vec(), candidates);
                    assert_eq!(nearest.into_sorted().to_vec(), entries);
                }
            }
        }
    }
}
