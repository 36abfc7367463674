// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The nearest rows of a segment seen so far.

use crate::heap;
use vexfs_host::mem::Vec;
use vexfs_host::Result;

/// The `k` nearest rows offered: a bounded max-heap whose root is the one that the next nearer row replaces.
///
/// # Invariants
///
/// `heap` has at most `k` entries, `key << 32 | row` each, in the order of a binary max-heap; no key is above `limit`. Once
/// there are `k`, `limit` is the root's key.
pub(crate) struct Nearest {
    heap: Vec<u64>,
    k: usize,
    limit: u32,
}

impl Nearest {
    /// Keeps the `k >= 1` nearest of at most `rows` rows whose key is not above `limit`. All memory is taken here.
    pub(crate) fn new(k: usize, rows: usize, limit: u32) -> Result<Self> {
        Ok(Self {
            heap: Vec::with_capacity(k.min(rows))?,
            k,
            limit,
        })
    }

    /// Most rows kept.
    pub(crate) fn k(&self) -> usize {
        self.k
    }

    /// Rows kept.
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// No row with a key above this one is kept.
    #[inline]
    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    /// Keeps the row if it is among the nearest. Each row is to be offered once only.
    #[inline]
    pub(crate) fn offer(&mut self, key: u32, row: u32) -> Result {
        if key > self.limit {
            return Ok(());
        }
        let entry = u64::from(key) << 32 | u64::from(row);
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
                self.limit = (root >> 32) as u32;
            }
        }
        Ok(())
    }

    /// The keys and rows, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.heap.iter().map(|entry| ((entry >> 32) as u32, *entry as u32))
    }

    /// Whether the row is kept; looks at all of them.
    pub(crate) fn contains(&self, row: u32) -> bool {
        self.heap.iter().any(|entry| *entry as u32 == row)
    }

    /// The entries, `key << 32 | row` each, nearest first.
    pub(crate) fn into_sorted(mut self) -> Vec<u64> {
        heap::sort_heap(&mut self.heap);
        self.heap
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
                    let mut nearest = Nearest::new(k, rows, limit).unwrap();
                    let mut all = std::vec::Vec::new();
                    for row in 0..rows as u32 {
                        state = state
                            .wrapping_mul(6364136223846793005)
                            .wrapping_add(1442695040888963407);
                        // Few keys, so that ties are common.
                        let key = (state >> 33) as u32 % 97;
                        nearest.offer(key, row).unwrap();
                        all.push(u64::from(key) << 32 | u64::from(row));
                    }
                    all.retain(|entry| entry >> 32 <= u64::from(limit));
                    all.sort();
                    all.truncate(k);
                    assert_eq!(nearest.len(), all.len());
                    assert_eq!(nearest.into_sorted().to_vec(), all);
                }
            }
        }
    }
}
