// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The shape of all vectorised kernels: four rows at a time, so that the query is loaded once for the four, and while they are
//! compared the lines of rows that come later are asked for. The rows left at the end are one group of their own.
//!
//! Each row has its own accumulators, so its sum does not depend on its place in the batch.

use crate::abi::Batch;
use crate::prefetch::ask_for;

/// How far ahead of its use a line of consecutive rows is asked for, in bytes: 8 KiB was the best of 2, 4, 8 and 16 KiB for
/// rows of 0.5 to 3 KiB, and beats the hardware prefetcher alone by a tenth.
const AHEAD: usize = 8192;

/// Of scattered rows, how many are asked for before any is compared, and how far ahead of a row's use its lines are asked for
/// after that. Of 4, 8, 12 and 16, for rows of 0.5 and 1.5 KiB in calls of 8 to 32 (more in flight than a core can have).
const LEAD: usize = 8;

/// Runs a batch in groups of rows. `$sums::<$consts.., N>(query, rows, next, size)` gives the sums of `N` rows in the first `N`
/// lanes of a register that `$reduce::<N>` makes keys of, and asks for the lines of `next` that correspond to those of `rows`.
///
/// A macro, so that the loop is compiled with the instruction set of the function it stands in.
macro_rules! in_groups {
    ($batch:expr, $size:expr, $reduce:ident, $sums:ident $(, $consts:expr)*) => {{
        let batch: &crate::abi::Batch = $batch;
        let size: usize = $size;
        // SAFETY: rows `i .. i + N` are rows of the batch, and only those are; the instruction set is the caller's.
        unsafe {
            crate::groups::ask_for_first(batch);
            let mut i = 0;
            while i + 4 <= batch.count {
                let rows = [batch.row(i), batch.row(i + 1), batch.row(i + 2), batch.row(i + 3)];
                let next = crate::groups::next(batch, i, &rows);
                let sums = $sums::<$({ $consts },)* 4>(batch.query, rows, next, size);
                $reduce::<4>(batch, i, sums);
                i += 4;
            }
            match batch.count - i {
                0 => {}
                1 => {
                    let rows = [batch.row(i)];
                    let sums = $sums::<$({ $consts },)* 1>(batch.query, rows, rows, size);
                    $reduce::<1>(batch, i, sums);
                }
                2 => {
                    let rows = [batch.row(i), batch.row(i + 1)];
                    let sums = $sums::<$({ $consts },)* 2>(batch.query, rows, rows, size);
                    $reduce::<2>(batch, i, sums);
                }
                _ => {
                    let rows = [batch.row(i), batch.row(i + 1), batch.row(i + 2)];
                    let sums = $sums::<$({ $consts },)* 3>(batch.query, rows, rows, size);
                    $reduce::<3>(batch, i, sums);
                }
            }
        }
    }};
}
pub(crate) use in_groups;

/// Asks for the first rows of a batch of scattered ones.
///
/// # Safety
///
/// `batch` holds its invariants.
#[inline(always)]
pub(crate) unsafe fn ask_for_first(batch: &Batch) {
    if batch.ids.is_null() {
        return;
    }
    let mut i = 0;
    while i < LEAD && i < batch.count {
        let mut at = 0;
        while at < batch.bytes {
            // SAFETY: the key exists, and the byte is one of its row.
            unsafe { ask_for(batch.row(i).add(at)) };
            at += 64;
        }
        i += 1;
    }
}

/// What to ask for while the four rows of keys `i` and on are compared; these rows themselves if there are no more.
///
/// # Safety
///
/// `batch` holds its invariants, and `i + 4 <= batch.count`.
#[inline(always)]
pub(crate) unsafe fn next(batch: &Batch, i: usize, rows: &[*const u8; 4]) -> [*const u8; 4] {
    let next = |k: usize| {
        if batch.ids.is_null() {
            rows[k].wrapping_add(AHEAD)
        } else if i + LEAD + k < batch.count {
            // SAFETY: the key exists.
            unsafe { batch.row(i + LEAD + k) }
        } else {
            rows[k]
        }
    };
    [next(0), next(1), next(2), next(3)]
}
