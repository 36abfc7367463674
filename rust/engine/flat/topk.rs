// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The k nearest rows seen so far.

use crate::heap;
use vexfs_host::mem::Vec;
use vexfs_host::Result;

/// A row and its distance key. Candidates order by key, then id; no two have the same id.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Candidate {
    pub(crate) key: u32,
    pub(crate) id: u64,
    pub(crate) segment: u32,
    pub(crate) row: u32,
}

/// A bounded max-heap: its root is the candidate that the next better one replaces.
///
/// # Invariants
///
/// `heap` has at most `k` candidates and is ordered as a binary max-heap; no candidate's key is above `limit`. Once there
/// are `k`, `limit` is the root's key.
pub(crate) struct TopK {
    heap: Vec<Candidate>,
    k: usize,
    limit: u32,
}

impl TopK {
    /// Keeps the `k >= 1` best of at most `rows` candidates whose key is not above `limit`.
    ///
    /// All memory is taken here.
    pub(crate) fn new(k: usize, rows: usize, limit: u32) -> Result<Self> {
        Ok(Self {
            heap: Vec::with_capacity(k.min(rows))?,
            k,
            limit,
        })
    }

    /// No candidate with a key above this one is kept.
    #[inline]
    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    /// Keeps the candidate if it is among the best.
    pub(crate) fn offer(&mut self, candidate: Candidate) -> Result {
        if candidate.key > self.limit {
            return Ok(());
        }
        if self.heap.len() < self.k {
            self.heap.push(candidate)?;
            heap::sift_up(&mut self.heap);
        } else {
            match self.heap.first_mut() {
                Some(root) if candidate < *root => *root = candidate,
                _ => return Ok(()),
            }
            heap::sift_down(&mut self.heap, 0);
        }
        if self.heap.len() == self.k {
            if let Some(root) = self.heap.first() {
                self.limit = root.key;
            }
        }
        Ok(())
    }

    /// The candidates, best first.
    pub(crate) fn into_sorted(mut self) -> Vec<Candidate> {
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
                    let mut top = TopK::new(k, rows, limit).unwrap();
                    let mut all = std::vec::Vec::new();
                    for row in 0..rows {
                        state = state
                            .wrapping_mul(6364136223846793005)
                            .wrapping_add(1442695040888963407);
                        // Few keys, so that ties are common; ids in no order.
                        let id = (row as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                        let candidate = Candidate {
                            key: (state >> 33) as u32 % 97,
                            id,
                            segment: 0,
                            row: row as u32,
                        };
                        top.offer(candidate).unwrap();
                        all.push(candidate);
                    }
                    all.retain(|c| c.key <= limit);
                    all.sort();
                    all.truncate(k);
                    assert_eq!(top.into_sorted().to_vec(), all);
                }
            }
        }
    }
}
