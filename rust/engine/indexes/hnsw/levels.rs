// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Which levels a row is at.
//!
//! A row is at level `l + 1` with a chance of 1 in m if it is at level `l`: the paper's `floor(-ln(uniform) / ln(m))`,
//! drawn level by level so that it needs no logarithm.

use vexfs_host::mem::Vec;
use vexfs_host::Result;

/// A graph has at most so many levels.
pub(super) const LEVELS_MAX: usize = 16;

/// SplitMix64 (Steele, Lea, Flood: OOPSLA 2014).
fn random(state: u64) -> u64 {
    let mut z = state.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The highest level of a row.
pub(super) fn level_of(seed: u64, row: u64, m: u32) -> u8 {
    let mut state = random(seed ^ random(row.wrapping_add(1)));
    let mut level = 0u8;
    while usize::from(level) + 1 < LEVELS_MAX {
        // The upper half times m, over 2^32, is uniform in 0..m.
        if (state >> 32).wrapping_mul(m.into()) >> 32 != 0 {
            break;
        }
        level += 1;
        state = random(state ^ u64::from(level));
    }
    level
}

/// The rows of each level from 1 on, ascending, given the highest level of every row.
pub(super) fn rows_above(levels: &[u8]) -> Result<Vec<Vec<u32>>> {
    let mut above = Vec::new();
    let top = levels.iter().copied().max().unwrap_or(0);
    for level in 1..=top {
        let mut rows = Vec::with_capacity(levels.iter().filter(|of| **of >= level).count())?;
        for (row, of) in levels.iter().enumerate() {
            if *of >= level {
                rows.push(row as u32)?;
            }
        }
        above.push(rows)?;
    }
    Ok(above)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_level_has_about_one_mth_of_the_rows_of_the_one_below() {
        for m in [2u32, 5, 16, 48] {
            let levels: std::vec::Vec<u8> = (0..200_000).map(|row| level_of(7, row, m)).collect();
            let above = rows_above(&levels).unwrap();
            let mut below = levels.len();
            for rows in above.iter().take_while(|rows| rows.len() > 300) {
                let expected = below / m as usize;
                assert!(
                    rows.len().abs_diff(expected) * 5 < expected,
                    "{m} {} {expected}",
                    rows.len()
                );
                below = rows.len();
            }
        }
    }
}
