// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Distinct strings, numbered as they come.

use super::sort::Pairs;
use crate::heap;
use vexfs_host::mem::U64Map;
use vexfs_host::mem::Vec;
use vexfs_host::relax;
use vexfs_host::siphash24;
use vexfs_host::Result;

/// A set of strings of at most 255 bytes.
///
/// # Invariants
///
/// String `i` is the bytes of `arena` from `ends[i - 1]` to `ends[i]`. `first` leads from a hash to the last string
/// with it, `next` from a string to the one before with the same hash, or to `u32::MAX`.
#[derive(Default)]
pub(super) struct Strings {
    /// A key that callers do not know, so that they cannot make strings collide.
    key: [u64; 2],
    arena: Vec<u8>,
    ends: Vec<usize>,
    first: U64Map<u32>,
    next: Vec<u32>,
}

impl Strings {
    pub(super) fn new(key: [u64; 2]) -> Self {
        Self { key, ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of all strings.
    pub(super) fn bytes(&self) -> usize {
        self.arena.len()
    }

    pub(super) fn get(&self, number: u32) -> &[u8] {
        let number = number as usize;
        let start = number.checked_sub(1).and_then(|before| self.ends.get(before));
        let end = self.ends.get(number).copied().unwrap_or(0);
        self.arena.get(start.copied().unwrap_or(0)..end).unwrap_or_default()
    }

    /// The number of a string, which is added if it is new.
    pub(super) fn number(&mut self, string: &[u8]) -> Result<u32> {
        let hash = siphash24(&self.key, string);
        let last = self.first.get(hash).copied().unwrap_or(u32::MAX);
        let mut at = last;
        while at != u32::MAX {
            if self.get(at) == string {
                return Ok(at);
            }
            at = self.next.get(at as usize).copied().unwrap_or(u32::MAX);
        }
        // There are fewer strings than rows have values, for which a u32 is enough (see `build`).
        let number = self.ends.len() as u32;
        self.arena.extend_from_slice(string)?;
        self.ends.push(self.arena.len())?;
        self.next.push(last)?;
        self.first.insert(hash, number)?;
        Ok(number)
    }

    /// The numbers of the strings in the order of their bytes.
    ///
    /// Eight bytes are compared at a time, by sorting them as numbers; those with the same are sorted by the next
    /// eight.
    pub(super) fn sorted(&self) -> Result<Vec<u32>> {
        let mut order: Vec<u32> = Vec::with_capacity(self.len())?;
        for number in 0..self.len() as u32 {
            order.push(number)?;
        }
        let mut todo = Vec::new();
        todo.push((0, order.len(), 0))?;
        while let Some((start, end, depth)) = todo.pop() {
            let Some(group) = order.get_mut(start..end) else {
                continue;
            };
            if group.len() <= FEW || depth >= DEEPEST {
                let mut strings: Vec<(&[u8], u32)> = Vec::with_capacity(group.len())?;
                for number in group.iter() {
                    strings.push((self.get(*number), *number))?;
                }
                heap::sort(&mut strings);
                for (to, (_, number)) in group.iter_mut().zip(&strings) {
                    *to = *number;
                }
                relax()?;
                continue;
            }
            let mut pairs = Pairs::default();
            for number in group.iter() {
                pairs.push(eight(self.get(*number), depth), *number)?;
            }
            pairs.sort()?;
            let mut from = 0;
            for (at, number) in pairs.rows.iter().enumerate() {
                if let Some(to) = group.get_mut(at) {
                    *to = *number;
                }
                if pairs.keys.get(at) != pairs.keys.get(at + 1) {
                    if at > from {
                        todo.push((start + from, start + at + 1, depth + 1))?;
                    }
                    from = at + 1;
                }
            }
        }
        Ok(order)
    }
}

/// Strings that are sorted at once.
const FEW: usize = 64;
/// Strings that are the same up to there differ in how many zeros they end with: they are few.
const DEEPEST: usize = 32;

/// Bytes `8 * depth` and on of a string as a number of the same order, zeros behind its end.
fn eight(string: &[u8], depth: usize) -> u64 {
    let rest = string.get(8 * depth..).unwrap_or_default();
    rest.iter()
        .take(8)
        .zip((0..8).rev())
        .fold(0, |word, (byte, place)| word | u64::from(*byte) << (8 * place))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn strings_have_one_number_each_and_are_sorted_by_bytes() {
        let mut strings = Strings::new([1, 2]);
        let mut all: std::vec::Vec<_> = (0..1000).map(|i| (i * 7919 % 1000).to_string().into_bytes()).collect();
        // Long ones with the same beginning, and ones that differ in zeros only.
        all.extend((0..200).map(|i| std::format!("{:0>100}", i * 77 % 200).into_bytes()));
        all.extend((0..200).rev().map(|n| std::vec![0; n]));
        for round in 0..2 {
            for (i, string) in all.iter().enumerate() {
                assert_eq!(strings.number(string).unwrap(), i as u32, "{round}");
            }
        }
        let mut expected = all.clone();
        expected.sort();
        let numbers = strings.sorted().unwrap();
        assert!(numbers
            .iter()
            .map(|i| strings.get(*i))
            .eq(expected.iter().map(|s| &s[..])));
    }
}
