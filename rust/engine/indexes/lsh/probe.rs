// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The order in which buckets are looked into: the likeliest of all tables first.
//!
//! A *move* puts the query into the next slot of one function, and costs the squared distance to that slot; the score
//! of a bucket is the sum of the moves that lead to it. Sets of moves are made in the order of their scores, without
//! making the same twice, by replacing the largest move of a set with the next larger one, or adding that (Lv et al.:
//! Multi-Probe LSH, VLDB 2007, section 4.4), for all tables in one heap.

use super::project::Functions;
use crate::heap;
use crate::pool::bytes_of;
use core::cmp::Ordering;
use vexfs_host::mem::Vec;
use vexfs_host::Result;

/// Distances are divided by 2 to the power of this before they are squared: a sum of all squares fits a `u64`.
const SCORE_SHIFT: u32 = 4;

/// A step of one function of one table.
#[derive(Clone, Copy, Debug)]
struct Move {
    score: u64,
    delta: u32,
    function: u8,
}

/// A set of moves of one table.
#[derive(Clone, Copy, Debug)]
struct Set {
    score: u64,
    /// Bits by place in the table's order of moves.
    moves: u64,
    hash: u32,
    table: u8,
    /// The largest move of the set.
    last: u8,
}

impl Ord for Set {
    // The heap's root is its largest element, and is to be the set of the lowest score.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.score, other.table, other.moves).cmp(&(self.score, self.table, self.moves))
    }
}

impl PartialOrd for Set {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Set {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Set {}

/// The buckets for a query, in their order.
pub(super) struct Sequence {
    moves: Vec<Move>,
    /// Where the moves of each table end.
    ends: Vec<usize>,
    homes: Vec<u32>,
    next_home: usize,
    heap: Vec<Set>,
    /// Whether a set can contradict itself: one function moved both ways.
    both_ways: bool,
}

impl Sequence {
    /// Bytes of memory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        bytes_of(&self.moves) + bytes_of(&self.ends) + bytes_of(&self.homes) + bytes_of(&self.heap)
    }

    pub(super) const fn new() -> Self {
        Self {
            moves: Vec::new(),
            ends: Vec::new(),
            homes: Vec::new(),
            next_home: 0,
            heap: Vec::new(),
            both_ways: false,
        }
    }

    /// Starts anew with the query of these projections.
    pub(super) fn start(&mut self, functions: &Functions, outputs: &[i32]) -> Result {
        self.moves.clear();
        self.ends.clear();
        self.homes.clear();
        self.heap.clear();
        self.next_home = 0;
        self.both_ways = false;
        for table in 0..functions.shape.tables {
            let first = self.moves.len();
            let mut home = 0u32;
            for (function, place) in functions.places(outputs, table).enumerate() {
                home = home.wrapping_add(place.hash);
                self.both_ways |= place.below.is_some() && place.above.is_some();
                let ways = [(place.below, place.step.wrapping_neg()), (place.above, place.step)];
                for (distance, delta) in ways {
                    if let Some(distance) = distance {
                        let distance = u64::from(distance >> SCORE_SHIFT);
                        self.moves.push(Move {
                            score: distance * distance,
                            delta,
                            function: function as u8,
                        })?;
                    }
                }
            }
            self.homes.push(home)?;
            let moves = self.moves.get_mut(first..).unwrap_or_default();
            insertion_sort(moves);
            if let Some(least) = moves.first() {
                self.heap.push(Set {
                    score: least.score,
                    moves: 1,
                    hash: home.wrapping_add(least.delta),
                    table: table as u8,
                    last: 0,
                })?;
                heap::sift_up(&mut self.heap);
            }
            self.ends.push(self.moves.len())?;
        }
        Ok(())
    }

    /// The next bucket: its table and hash.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<(usize, u32)>> {
        // Every table's own bucket has score 0.
        if let Some(home) = self.homes.get(self.next_home) {
            self.next_home += 1;
            return Ok(Some((self.next_home - 1, *home)));
        }
        while let Some(set) = self.heap.first().copied() {
            let table = usize::from(set.table);
            let start = match table.checked_sub(1) {
                Some(before) => self.ends.get(before).copied().unwrap_or(0),
                None => 0,
            };
            let end = self.ends.get(table).copied().unwrap_or(0);
            let moves = self.moves.get(start..end).unwrap_or_default();
            let last = usize::from(set.last);
            match (moves.get(last), moves.get(last + 1)) {
                (Some(old), Some(new)) => {
                    let next = set.last + 1;
                    let shifted = Set {
                        score: set.score - old.score + new.score,
                        moves: set.moves & !(1 << set.last) | 1 << next,
                        hash: set.hash.wrapping_sub(old.delta).wrapping_add(new.delta),
                        table: set.table,
                        last: next,
                    };
                    let expanded = Set {
                        score: set.score + new.score,
                        moves: set.moves | 1 << next,
                        hash: set.hash.wrapping_add(new.delta),
                        table: set.table,
                        last: next,
                    };
                    if let Some(root) = self.heap.first_mut() {
                        *root = shifted;
                    }
                    heap::sift_down(&mut self.heap, 0);
                    self.heap.push(expanded)?;
                    heap::sift_up(&mut self.heap);
                }
                _ => {
                    let last = self.heap.pop();
                    if let (Some(root), Some(last)) = (self.heap.first_mut(), last) {
                        *root = last;
                        heap::sift_down(&mut self.heap, 0);
                    }
                }
            }
            if !self.both_ways || consistent(moves, set.moves) {
                return Ok(Some((table, set.hash)));
            }
        }
        Ok(None)
    }
}

/// Whether no two moves of the set are of one function.
fn consistent(moves: &[Move], set: u64) -> bool {
    let (mut rest, mut functions) = (set, 0u64);
    while rest != 0 {
        let function = moves.get(rest.trailing_zeros() as usize).map_or(0, |m| m.function);
        if functions >> function & 1 != 0 {
            return false;
        }
        functions |= 1 << function;
        rest &= rest - 1;
    }
    true
}

/// Sorts by score; there are at most 48 moves.
fn insertion_sort(moves: &mut [Move]) {
    for end in 1..moves.len() {
        let mut at = end;
        while at > 0 {
            match moves.get(at - 1..=at) {
                Some([a, b]) if a.score > b.score => moves.swap(at - 1, at),
                _ => break,
            }
            at -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::format::Family;
    use super::super::format::Shape;
    use super::*;
    use std::collections::BTreeSet;
    use std::vec::Vec as StdVec;

    fn outputs() -> StdVec<i32> {
        let mut random = crate::random::Random(7);
        (0..256)
            .map(|_| (random.next() % 2_000_000) as i32 - 1_000_000)
            .collect()
    }

    #[test]
    fn hyperplanes_give_every_bucket_of_every_table_once_by_rising_score() {
        let shape = Shape {
            family: Family::Hyperplanes,
            tables: 3,
            functions: 6,
            bucket_bits: 6,
        };
        let outputs = outputs();
        let functions = Functions::new(&shape, 1, &[0; 256]).unwrap();
        let mut sequence = Sequence::new();
        sequence.start(&functions, &outputs).unwrap();
        let mut seen = BTreeSet::new();
        let mut before = 0;
        while let Some((table, hash)) = sequence.next().unwrap() {
            assert!(hash < 64 && seen.insert((table, hash)));
            let score: u64 = (0..6)
                .map(|i| {
                    let x = outputs[table * 6 + i];
                    let distance = u64::from(x.unsigned_abs() >> SCORE_SHIFT);
                    let flipped = (x >= 0) != (hash >> i & 1 != 0);
                    if flipped {
                        distance * distance
                    } else {
                        0
                    }
                })
                .sum();
            assert!(score >= before);
            before = score;
        }
        assert_eq!(seen.len(), 3 * 64);
    }

    #[test]
    fn p_stable_functions_never_move_both_ways_at_once() {
        let shape = Shape {
            family: Family::PStable(400_000),
            tables: 2,
            functions: 4,
            bucket_bits: 10,
        };
        let functions = Functions::new(&shape, 1, &[0; 256]).unwrap();
        let mut sequence = Sequence::new();
        sequence.start(&functions, &outputs()).unwrap();
        let mut seen = BTreeSet::new();
        while let Some(bucket) = sequence.next().unwrap() {
            assert!(seen.insert(bucket));
        }
        // Each of 4 functions stays, rises or falls.
        assert_eq!(seen.len(), 2 * 81);
    }
}
