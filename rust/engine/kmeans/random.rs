// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Draws that a seed determines.

use crate::random;

/// A sequence of draws.
pub(crate) struct Random(random::Random);

impl Random {
    /// The sequence of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(random::Random(seed))
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0.next()
    }

    /// A number below `end`, or 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        // The high half of a product is as good as even: ends are far below 2^64.
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }

    /// A number of the `i`-th of `slices` equal slices of the numbers below `end`: in turn, they make a sample without
    /// repetition. `i < slices <= end`.
    pub(crate) fn of_slice(&mut self, i: usize, slices: usize, end: usize) -> usize {
        // Rows are numbered by 32 bits, so nothing saturates.
        let start = |i: usize| {
            (i as u64)
                .saturating_mul(end as u64)
                .checked_div(slices as u64)
                .unwrap_or(0) as usize
        };
        let (from, to) = (start(i), start(i.saturating_add(1)));
        from + self.below(to.saturating_sub(from))
    }
}
