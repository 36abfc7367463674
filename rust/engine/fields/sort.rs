// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Sorting values with their rows.

use vexfs_host::mem::Vec;
use vexfs_host::relax;
use vexfs_host::Error;
use vexfs_host::Result;

/// Pairs handled between two cooperative points.
const STRETCH: usize = 16 * 1024;

/// Values and the rows that have them, as two arrays of one length.
#[derive(Default)]
pub(super) struct Pairs {
    pub(super) keys: Vec<u64>,
    pub(super) rows: Vec<u32>,
}

impl Pairs {
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn push(&mut self, key: u64, row: u32) -> Result {
        // Memory first, so that the lengths stay the same.
        self.rows.reserve(1)?;
        self.keys.push(key)?;
        self.rows.push(row)
    }

    /// Sorts by key; pairs with the same key keep their order.
    ///
    /// Radix sort from the lowest byte (Knuth, TAOCP 5.2.5): it needs no stack, its time does not depend on the keys,
    /// and bytes that are the same in all keys cost one look.
    pub(super) fn sort(&mut self) -> Result {
        let n = self.len();
        let (mut keys, mut rows) = (Vec::new(), Vec::new());
        keys.resize(n, 0)?;
        rows.resize(n, 0)?;
        let mut places: Vec<usize> = Vec::new();
        places.resize(256, 0)?;
        let differing = {
            let first = self.keys.first().copied().unwrap_or(0);
            self.keys.iter().fold(0, |bits, key| bits | (key ^ first))
        };
        for shift in (0..64).step_by(8).filter(|shift| differing >> shift & 0xff != 0) {
            let digit = |key: u64| (key >> shift & 0xff) as usize;
            places.fill(0);
            for chunk in self.keys.chunks(STRETCH) {
                for key in chunk {
                    if let Some(place) = places.get_mut(digit(*key)) {
                        *place += 1;
                    }
                }
                relax()?;
            }
            let mut sum = 0;
            for place in places.iter_mut() {
                let count = core::mem::replace(place, sum);
                sum += count;
            }
            for (chunk, chunk_rows) in self.keys.chunks(STRETCH).zip(self.rows.chunks(STRETCH)) {
                for (key, row) in chunk.iter().zip(chunk_rows) {
                    let place = places.get_mut(digit(*key)).ok_or(Error::Overflow)?;
                    let (Some(to_key), Some(to_row)) = (keys.get_mut(*place), rows.get_mut(*place)) else {
                        return Err(Error::Overflow);
                    };
                    *to_key = *key;
                    *to_row = *row;
                    *place += 1;
                }
                relax()?;
            }
            core::mem::swap(&mut self.keys, &mut keys);
            core::mem::swap(&mut self.rows, &mut rows);
        }
        Ok(())
    }

    /// Drops pairs that are the same as the one before.
    pub(super) fn dedup(&mut self) -> Result {
        let mut kept = 0usize;
        let mut before = None;
        for at in 0..self.len() {
            let (Some(key), Some(row)) = (self.keys.get(at).copied(), self.rows.get(at).copied()) else {
                break;
            };
            if before != Some((key, row)) {
                before = Some((key, row));
                if let (Some(to_key), Some(to_row)) = (self.keys.get_mut(kept), self.rows.get_mut(kept)) {
                    *to_key = key;
                    *to_row = row;
                }
                kept += 1;
            }
            if at % STRETCH == STRETCH - 1 {
                relax()?;
            }
        }
        self.keys.truncate(kept);
        self.rows.truncate(kept);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_by_key_and_keeps_the_order_of_rows() {
        let mut state = 7u64;
        for (n, mask) in [
            (0, 0),
            (1, 7),
            (1000, 15),
            (3000, u64::MAX),
            (40_000, 0xff00_0000_0000_00ff),
        ] {
            let mut pairs = Pairs::default();
            let mut expected = std::vec::Vec::new();
            for row in 0..n {
                state = state
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                let key = (state ^ state >> 29) & mask;
                pairs.push(key, row / 2).unwrap();
                expected.push((key, row / 2));
            }
            pairs.sort().unwrap();
            pairs.dedup().unwrap();
            expected.sort_by_key(|pair| pair.0);
            expected.dedup();
            let got: std::vec::Vec<_> = pairs.keys.iter().copied().zip(pairs.rows.iter().copied()).collect();
            assert_eq!(got, expected);
        }
    }
}
