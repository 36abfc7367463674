// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Random numbers that a seed determines.

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014).
pub(crate) struct Random(u64);

impl Random {
    /// The sequence of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
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
