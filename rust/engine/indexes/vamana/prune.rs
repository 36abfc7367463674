// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The choice of neighbours (Subramanya et al., algorithm 2): near ones, and of those in one direction the nearest.
//!
//! A candidate is left out if a neighbour chosen before is nearer to it than the node is, by a factor of alpha. As in
//! the authors' program, neighbours are first chosen with alpha one and then, while there is room, with the alpha asked
//! for, and the factor is one of keys as they are (squares, for l2).

use crate::heap;
use vexfs_host::mem::Vec;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd::bits_of;
use vexfs_simd::Kernels;
use vexfs_simd::Rows;

/// The key of distance zero, below which are inner products only.
const ZERO: u32 = 0x8000_0000;

/// Most candidates that are compared with each other: the nearest.
const CANDIDATES: usize = 512;

/// The key of a distance that is `permille / 1000 >= 1` times as long. Inner products, which are no lengths, stay as
/// they are.
pub(super) fn lengthened(key: u32, permille: u32) -> u32 {
    if key < ZERO {
        return key;
    }
    let bits = bits_of(key);
    let mut exponent = bits >> 23;
    if exponent == 0 || exponent >= 0xfe {
        return key;
    }
    let mut mantissa = u64::from(bits & 0x007f_ffff | 0x0080_0000) * u64::from(permille) / 1000;
    while mantissa >= 1 << 24 && exponent < 0xfe {
        mantissa >>= 1;
        exponent += 1;
    }
    ZERO | exponent << 23 | (mantissa as u32 & 0x007f_ffff)
}

#[derive(Clone, Copy)]
struct Candidate {
    key: u32,
    node: u32,
    /// The key of its distance to the nearest neighbour chosen so far.
    near: u32,
    chosen: bool,
}

/// The memory of a choice.
#[derive(Default)]
pub(super) struct Prune {
    /// Candidates, `key << 32 | node` each, in any order and maybe twice: filled by the caller.
    pub(super) from: Vec<u64>,
    /// The result, in the order of choice.
    pub(super) chosen: Vec<u32>,
    list: Vec<Candidate>,
    ids: Vec<u32>,
    keys: Vec<u32>,
}

impl Prune {
    /// Chooses at most `max` neighbours for `node`.
    pub(super) fn run(&mut self, kernels: Kernels, rows: &Rows<'_>, node: u32, max: usize, alpha: u32) -> Result {
        heap::sort(&mut self.from);
        self.chosen.clear();
        self.list.clear();
        let mut before = u32::MAX;
        for entry in self.from.iter() {
            let other = *entry as u32;
            // The same node has the same key: twice the same stand side by side.
            if other != node && other != before && self.list.len() < CANDIDATES {
                self.list.push(Candidate {
                    key: (entry >> 32) as u32,
                    node: other,
                    near: u32::MAX,
                    chosen: false,
                })?;
            }
            before = other;
        }
        for factor in [1000, alpha] {
            let mut at = 0;
            while self.chosen.len() < max {
                let rest = self.list.get(at..).unwrap_or_default();
                let next = rest
                    .iter()
                    .position(|c| !c.chosen && (c.near == u32::MAX || lengthened(c.near, factor) > c.key));
                let Some(skipped) = next else { break };
                at += skipped;
                let Some(candidate) = self.list.get_mut(at) else { break };
                candidate.chosen = true;
                let by = candidate.node;
                self.chosen.push(by)?;
                self.compare(kernels, rows, by, alpha)?;
                at += 1;
            }
            if factor == alpha {
                break;
            }
        }
        Ok(())
    }

    /// Compares a chosen neighbour with the candidates that may still be chosen.
    fn compare(&mut self, kernels: Kernels, rows: &Rows<'_>, by: u32, alpha: u32) -> Result {
        let open = |c: &Candidate| !c.chosen && (c.near == u32::MAX || lengthened(c.near, alpha) > c.key);
        self.ids.clear();
        for candidate in self.list.iter().filter(|c| open(c)) {
            self.ids.push(candidate.node)?;
        }
        if self.ids.is_empty() {
            return Ok(());
        }
        self.keys.resize(self.ids.len(), 0)?;
        let query = rows.query(by as usize).ok_or(Error::Overflow)?;
        kernels
            .gather(&query, rows, &self.ids, &mut self.keys)
            .map_err(|_| Error::Overflow)?;
        let mut keys = self.keys.iter();
        for candidate in self.list.iter_mut().filter(|c| open(c)) {
            candidate.near = candidate.near.min(keys.next().copied().unwrap_or(u32::MAX));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vexfs_simd::key_of;

    #[test]
    fn a_lengthened_key_is_that_of_the_product() {
        for x in [1e-30f32, 0.001, 0.999, 1.0, 1.5, 3.25, 1e20] {
            for permille in [1000, 1200, 1999, 3000] {
                let product = f32::from_bits(bits_of(lengthened(key_of(x.to_bits()), permille)));
                let expected = x * permille as f32 / 1000.0;
                assert!(
                    (product - expected).abs() <= expected * 1e-6,
                    "{x} {permille}: {product}"
                );
            }
        }
        for key in [key_of(0), key_of((-1f32).to_bits()), key_of(f32::MAX.to_bits())] {
            assert_eq!(lengthened(key, 1200), key);
        }
    }
}
