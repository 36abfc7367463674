// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Bitmaps of a group as 512 words: bit `i % 64` of word `i / 64` is block `i`, set if the block is used.
//!
//! A *place* is an aligned run of as many blocks as a node has (4, 2 or 1). Nodes only ever lie in places, so that they
//! cannot be starved by data that leaves holes everywhere: free places are counted and some are kept from data.

use crate::format::BITMAP_BYTES;
use vexfs_host::mem::Vec;
use vexfs_host::Result;

/// Words of a bitmap.
pub(super) const WORDS: usize = BITMAP_BYTES / 8;

/// A bitmap of a group.
pub(super) struct Bits(Vec<u64>);

/// The mask of bits `from..to` of a word; `from < to <= 64`.
#[inline]
fn mask(from: usize, to: usize) -> u64 {
    (u64::MAX << from) & (u64::MAX >> (64 - to))
}

/// The lowest bits of the free places of a word.
#[inline]
pub(super) fn places(word: u64, node_blocks: u32) -> u64 {
    match node_blocks {
        4 => {
            let w = word | word >> 1;
            !(w | w >> 2) & 0x1111_1111_1111_1111
        }
        2 => !(word | word >> 1) & 0x5555_5555_5555_5555,
        _ => !word,
    }
}

/// The word with all free places taken: what data may use when places are scarce.
#[inline]
fn without_places(word: u64, node_blocks: u32) -> u64 {
    let first = places(word, node_blocks);
    match node_blocks {
        4 => word | first | first << 1 | first << 2 | first << 3,
        2 => word | first | first << 1,
        _ => u64::MAX,
    }
}

impl Bits {
    /// All free.
    pub(super) fn new() -> Result<Bits> {
        let mut words = Vec::new();
        words.resize(WORDS, 0)?;
        Ok(Bits(words))
    }

    pub(super) fn load(bytes: &[u8]) -> Result<Bits> {
        let mut bits = Bits::new()?;
        for (word, chunk) in bits.0.iter_mut().zip(bytes.chunks_exact(8)) {
            let mut le = [0; 8];
            le.copy_from_slice(chunk);
            *word = u64::from_le_bytes(le);
        }
        Ok(bits)
    }

    pub(super) fn try_clone(&self) -> Result<Bits> {
        Ok(Bits(self.0.try_clone()?))
    }

    pub(super) fn store(&self, bytes: &mut [u8]) {
        for (word, chunk) in self.0.iter().zip(bytes.chunks_exact_mut(8)) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
    }

    #[inline]
    pub(super) fn word(&self, at: usize) -> u64 {
        self.0.get(at).copied().unwrap_or(u64::MAX)
    }

    /// Number of free blocks.
    pub(super) fn free(&self) -> u32 {
        self.0.iter().map(|w| w.count_zeros()).sum()
    }

    /// Number of free places.
    pub(super) fn free_places(&self, node_blocks: u32) -> u32 {
        self.0.iter().map(|w| places(*w, node_blocks).count_ones()).sum()
    }

    /// Whether bits `from..from + len` all are `value`.
    pub(super) fn all(&self, from: usize, len: usize, value: bool) -> bool {
        let mut ok = true;
        each_word(from, len, |at, m| {
            let word = self.word(at);
            ok &= if value { word & m == m } else { word & m == 0 };
        });
        ok && from + len <= WORDS * 64
    }

    /// Sets bits `from..from + len` to `value`. Returns how many changed and how many free places that made or took.
    pub(super) fn set(&mut self, from: usize, len: usize, value: bool, node_blocks: u32) -> (u32, u32) {
        let (mut changed, mut placed) = (0, 0);
        each_word(from, len, |at, m| {
            if let Some(word) = self.0.get_mut(at) {
                let new = if value { *word | m } else { *word & !m };
                changed += (*word ^ new).count_ones();
                let (before, after) = (
                    places(*word, node_blocks).count_ones(),
                    places(new, node_blocks).count_ones(),
                );
                placed += before.abs_diff(after);
                *word = new;
            }
        });
        (changed, placed)
    }

    /// The first block of the first free place at or after block `from`.
    pub(super) fn find_place(&self, from: usize, node_blocks: u32) -> Option<usize> {
        let first = from / 64;
        for at in first..WORDS {
            let mut free = places(self.word(at), node_blocks);
            if at == first {
                free &= u64::MAX << (from % 64);
            }
            if free != 0 {
                return Some(at * 64 + free.trailing_zeros() as usize);
            }
        }
        None
    }

    /// The first free run of `want` blocks in `from..to`, or the longest one there is; with `spare_places`, only of
    /// blocks that are in no free place.
    pub(super) fn find_run(
        &self,
        from: usize,
        to: usize,
        want: usize,
        spare_places: Option<u32>,
    ) -> Option<(usize, usize)> {
        let word = |at: usize| match spare_places {
            Some(nb) => without_places(self.word(at), nb),
            None => self.word(at),
        };
        let to = to.min(WORDS * 64);
        let mut best: Option<(usize, usize)> = None;
        let mut at = from;
        while let Some((start, len)) = next_run(word, at, to, want) {
            if best.is_none_or(|(_, l)| len > l) {
                best = Some((start, len));
            }
            if len >= want {
                break;
            }
            at = start + len;
        }
        best
    }

    /// How many of the blocks from `from` on are free, up to `want`.
    pub(super) fn free_at(&self, from: usize, want: usize) -> usize {
        match next_run(|at| self.word(at), from, WORDS * 64, want) {
            Some((start, len)) if start == from => len,
            _ => 0,
        }
    }
}

/// The first free run in bits `from..to`: where it starts, and its length up to `want`, which is not 0.
#[inline]
fn next_run(word: impl Fn(usize) -> u64, from: usize, to: usize, want: usize) -> Option<(usize, usize)> {
    let mut start = from;
    // The next free block.
    loop {
        if start >= to {
            return None;
        }
        let w = word(start / 64) | !(u64::MAX << (start % 64));
        if w != u64::MAX {
            start = start / 64 * 64 + w.trailing_ones() as usize;
            break;
        }
        start = (start / 64 + 1) * 64;
    }
    let stop = to.min(start.saturating_add(want));
    // The next used one.
    let mut end = start;
    while end < stop {
        let w = word(end / 64) & (u64::MAX << (end % 64));
        if w != 0 {
            end = end / 64 * 64 + w.trailing_zeros() as usize;
            break;
        }
        end = (end / 64 + 1) * 64;
    }
    let end = end.min(stop);
    (end > start).then(|| (start, end - start))
}

/// Calls `f` with each word that bits `from..from + len` touch and the mask of those bits in it.
#[inline]
fn each_word(from: usize, len: usize, mut f: impl FnMut(usize, u64)) {
    let end = from.saturating_add(len).min(WORDS * 64);
    let mut at = from;
    while at < end {
        let word = at / 64;
        let to = end.min((word + 1) * 64);
        f(word, mask(at % 64, to - word * 64));
        at = to;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_reports_what_changed_and_which_places_came_and_went() {
        for nb in [1, 2, 4] {
            let mut bits = Bits::new().unwrap();
            let total = 32768 / nb;
            assert_eq!(bits.free_places(nb), total);
            let mut state = 7u64;
            let mut places = total;
            let mut free = 32768;
            for _ in 0..3000 {
                state = state
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                let from = (state >> 33) as usize % 32768;
                let len = ((state >> 20) as usize % 200).min(32768 - from).max(1);
                let value = state >> 63 != 0;
                let (changed, placed) = bits.set(from, len, value, nb);
                if value {
                    places -= placed;
                    free -= changed;
                } else {
                    places += placed;
                    free += changed;
                }
                assert!(bits.all(from, len, value));
                assert_eq!((bits.free(), bits.free_places(nb)), (free, places));
            }
        }
    }

    #[test]
    fn runs_are_found_as_a_plain_search_finds_them() {
        let mut bits = Bits::new().unwrap();
        let mut plain = std::vec![false; 32768];
        let mut state = 99u64;
        for round in 0..400 {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            let from = (state >> 33) as usize % 32768;
            let len = ((state >> 20) as usize % 300).min(32768 - from);
            bits.set(from, len, round % 3 != 0, 4);
            plain[from..from + len].fill(round % 3 != 0);
            let want = 1 + (state >> 10) as usize % 400;
            let start = (state >> 5) as usize % 32768;
            let mut best = None;
            let mut at = start;
            while at < 32768 {
                let n = plain[at..].iter().take(want).take_while(|u| !**u).count();
                if n > best.map_or(0, |(_, l)| l) {
                    best = Some((at, n));
                }
                if n >= want {
                    break;
                }
                at += n + 1;
            }
            assert_eq!(
                bits.find_run(start, 32768, want, None),
                best,
                "from {start} want {want}"
            );
            assert_eq!(
                bits.free_at(start, want),
                plain[start..].iter().take(want).take_while(|u| !**u).count()
            );
        }
    }

    #[test]
    fn a_run_that_spares_places_touches_none() {
        let mut bits = Bits::new().unwrap();
        assert_eq!(bits.find_run(0, 32768, 8, Some(4)), None);
        bits.set(101, 1, true, 4);
        assert_eq!(bits.find_run(0, 32768, 8, Some(4)), Some((102, 2)));
        assert_eq!(bits.find_place(100, 4), Some(104));
    }
}
