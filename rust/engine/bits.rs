// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Sets of rows as bitmaps.
//!
//! Bit `i % 64` of word `i / 64` is row `i`. Bits at and behind the length are always clear.

use vexfs_host::mem::Vec;
use vexfs_host::Result;

/// A set of rows below a fixed number.
///
/// # Invariants
///
/// `words` has `len.div_ceil(64)` words; no bit from `len` on is set.
pub(crate) struct Bits {
    words: Vec<u64>,
    len: usize,
}

impl Bits {
    /// The empty set of rows below `len`.
    pub(crate) fn new(len: usize) -> Result<Self> {
        let mut words = Vec::new();
        words.resize(len.div_ceil(64), 0)?;
        Ok(Self { words, len })
    }

    /// The set of all rows below `len`.
    pub(crate) fn full(len: usize) -> Result<Self> {
        let mut bits = Self::new(len)?;
        bits.invert();
        Ok(bits)
    }

    /// The set whose bitmap is `words`; `None` if their number is wrong or a bit from `len` on is set.
    pub(crate) fn from_words(words: &[u64], len: usize) -> Result<Option<Self>> {
        let mut bits = Self::new(len)?;
        if words.len() != bits.words.len() || words.last().is_some_and(|last| last & !bits.last_mask() != 0) {
            return Ok(None);
        }
        bits.words.copy_from_slice(words);
        Ok(Some(bits))
    }

    /// A copy.
    pub(crate) fn try_clone(&self) -> Result<Self> {
        Ok(Self {
            words: self.words.try_clone()?,
            len: self.len,
        })
    }

    /// The mask of the last word's rows.
    fn last_mask(&self) -> u64 {
        match self.len % 64 {
            0 => u64::MAX,
            rest => (1 << rest) - 1,
        }
    }

    /// Rows are below this number.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The bitmap.
    pub(crate) fn words(&self) -> &[u64] {
        &self.words
    }

    /// Whether the row is in the set.
    #[inline]
    pub(crate) fn get(&self, row: u32) -> bool {
        let row = row as usize;
        self.words.get(row / 64).is_some_and(|word| word >> (row % 64) & 1 != 0)
    }

    /// Adds a row. One that is too large is ignored.
    #[inline]
    pub(crate) fn set(&mut self, row: u32) {
        let row = row as usize;
        if row < self.len {
            if let Some(word) = self.words.get_mut(row / 64) {
                *word |= 1 << (row % 64);
            }
        }
    }

    /// Adds rows `from` and on, up to but not including `to`.
    pub(crate) fn set_range(&mut self, from: usize, to: usize) {
        let to = to.min(self.len);
        if from >= to {
            return;
        }
        let (first, last) = (from / 64, (to - 1) / 64);
        let (low, high) = (u64::MAX << (from % 64), u64::MAX >> (63 - (to - 1) % 64));
        let Some(words) = self.words.get_mut(first..=last) else {
            return;
        };
        match words {
            [] => {}
            [only] => *only |= low & high,
            [first, between @ .., last] => {
                *first |= low;
                between.fill(u64::MAX);
                *last |= high;
            }
        }
    }

    /// The number of rows in the set.
    pub(crate) fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Adds the rows of `other`, a set of the same length.
    pub(crate) fn or(&mut self, other: &Bits) {
        debug_assert_eq!(self.len, other.len);
        for (word, other) in self.words.iter_mut().zip(other.words.iter()) {
            *word |= other;
        }
    }

    /// Adds the rows whose bitmap is `words`; what is not below the length is left out.
    pub(crate) fn or_words(&mut self, words: &[u64]) {
        let mask = self.last_mask();
        for (word, other) in self.words.iter_mut().zip(words) {
            *word |= other;
        }
        if let Some(last) = self.words.last_mut() {
            *last &= mask;
        }
    }

    /// Keeps the rows of `other`, a set of the same length.
    pub(crate) fn and(&mut self, other: &Bits) {
        debug_assert_eq!(self.len, other.len);
        for (word, other) in self.words.iter_mut().zip(other.words.iter()) {
            *word &= other;
        }
    }

    /// Takes the rows of `other`, a set of the same length, out.
    pub(crate) fn and_not(&mut self, other: &Bits) {
        debug_assert_eq!(self.len, other.len);
        for (word, other) in self.words.iter_mut().zip(other.words.iter()) {
            *word &= !other;
        }
    }

    /// Turns the set into all rows that were not in it.
    pub(crate) fn invert(&mut self) {
        for word in &mut self.words {
            *word = !*word;
        }
        let mask = self.last_mask();
        if let Some(last) = self.words.last_mut() {
            *last &= mask;
        }
    }

    /// The rows, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.words.iter().enumerate().flat_map(|(i, word)| {
            let mut rest = *word;
            core::iter::from_fn(move || {
                let bit = (rest != 0).then(|| rest.trailing_zeros())?;
                rest &= rest - 1;
                Some(i as u32 * 64 + bit)
            })
        })
    }

    /// Bytes of memory held.
    pub(crate) fn memory_bytes(&self) -> u64 {
        8 * self.words.capacity() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn behaves_as_a_set_of_numbers() {
        let mut state = 1u64;
        let mut random = |below: usize| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 33) as usize % below.max(1)
        };
        for len in [0usize, 1, 63, 64, 65, 127, 128, 1000] {
            let mut bits = Bits::new(len).unwrap();
            let mut set = BTreeSet::new();
            for _ in 0..300 {
                let row = random(len + 70) as u32;
                match random(4) {
                    0 => {
                        bits.set(row);
                        if (row as usize) < len {
                            set.insert(row);
                        }
                    }
                    2 => {
                        let (from, to) = (random(len + 3), random(len + 3));
                        bits.set_range(from, to);
                        set.extend((from..to.min(len)).map(|row| row as u32));
                    }
                    _ if random(20) == 0 => {
                        bits.invert();
                        set = (0..len as u32).filter(|row| !set.contains(row)).collect();
                    }
                    _ => {}
                }
                assert_eq!(bits.get(row), set.contains(&row));
            }
            assert_eq!(bits.iter().collect::<BTreeSet<_>>(), set);
            assert_eq!(bits.count(), set.len());
            let back = Bits::from_words(bits.words(), len).unwrap().unwrap();
            assert!(back.iter().eq(bits.iter()));
            let mut twice = Bits::new(len).unwrap();
            twice.or_words(bits.words());
            assert!(twice.iter().eq(bits.iter()));
        }
    }

    #[test]
    fn set_operations_combine_row_by_row() {
        for len in [1usize, 64, 130] {
            let pick = |step: usize| {
                let mut bits = Bits::new(len).unwrap();
                (0..len).step_by(step).for_each(|row| bits.set(row as u32));
                bits
            };
            let (twos, threes) = (pick(2), pick(3));
            for (name, apply, expected) in [
                (
                    "or",
                    Bits::or as fn(&mut Bits, &Bits),
                    (|r| r % 2 == 0 || r % 3 == 0) as fn(usize) -> bool,
                ),
                ("and", Bits::and, |r| r % 6 == 0),
                ("and not", Bits::and_not, |r| r % 2 == 0 && r % 3 != 0),
            ] {
                let mut result = twos.try_clone().unwrap();
                apply(&mut result, &threes);
                assert!((0..len).all(|row| result.get(row as u32) == expected(row)), "{name}");
            }
        }
    }

    #[test]
    fn a_bit_behind_the_end_is_refused() {
        assert!(Bits::from_words(&[1 << 10], 10).unwrap().is_none());
        assert!(Bits::from_words(&[1 << 9], 10).unwrap().is_some());
        assert!(Bits::from_words(&[0, 0], 10).unwrap().is_none());
        assert!(Bits::full(70).unwrap().count() == 70);
        let mut bits = Bits::new(10).unwrap();
        bits.or_words(&[u64::MAX]);
        assert_eq!(bits.count(), 10);
    }
}
