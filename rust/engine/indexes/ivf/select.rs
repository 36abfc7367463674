// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The smallest entries of an array, in no order.

use crate::heap;

/// Moves the `n` smallest entries to the front (Hoare: Find, CACM 4(7), 1961). Entries should differ.
pub(crate) fn select(mut entries: &mut [u64], mut n: usize) {
    // Each round halves what is left, on average; chosen inputs cannot make it slow.
    for _ in 0..64 {
        let len = entries.len();
        if n == 0 || n >= len {
            return;
        }
        let at = |i: usize| entries.get(i).copied().unwrap_or_default();
        let (a, b, c) = (at(0), at(len / 2), at(len - 1));
        let pivot = a.min(b).max(a.max(b).min(c));
        let mut less = 0;
        // Every entry is swapped, so that nothing hangs on a branch that cannot be predicted.
        for i in 0..len {
            let smaller = entries.get(i).is_some_and(|entry| *entry < pivot);
            entries.swap(i, less);
            less += usize::from(smaller);
        }
        if less >= n {
            entries = entries.get_mut(..less).unwrap_or_default();
        } else if less > 0 {
            n -= less;
            entries = entries.get_mut(less..).unwrap_or_default();
        } else {
            // The pivot is the smallest.
            if let Some(i) = entries.iter().position(|entry| *entry == pivot) {
                entries.swap(0, i);
            }
            n -= 1;
            entries = entries.get_mut(1..).unwrap_or_default();
        }
    }
    heap::sort(entries);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kmeans::Random;

    #[test]
    fn the_smallest_come_first() {
        let mut random = Random::new(1);
        for len in (0..70usize).chain([1000, 5000]) {
            for kind in 0..4 {
                let original: std::vec::Vec<u64> = (0..len as u64)
                    .map(|i| match kind {
                        0 => random.next(),
                        1 => i,
                        2 => len as u64 - i,
                        _ => 7,
                    })
                    .collect();
                for n in [0, 1, len / 3, len / 2, len.saturating_sub(1), len, len + 1] {
                    let (mut entries, mut sorted) = (original.clone(), original.clone());
                    select(&mut entries, n);
                    sorted.sort();
                    let n = n.min(len);
                    entries[..n].sort();
                    assert_eq!(entries[..n], sorted[..n]);
                    entries.sort();
                    assert_eq!(entries, sorted);
                }
            }
        }
    }
}
