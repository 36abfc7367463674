// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The shape of all vectorised kernels: four rows at a time, so that the query is loaded once for the four, and while
//! they are compared the lines of rows that come later are asked for. The rows left at the end are one group of their
//! own.
//!
//! Each row has its own accumulators, so its sum does not depend on its place in the batch.

use crate::abi::Batch;
use crate::prefetch::ask_for;

/// How far ahead of its use a line of consecutive rows is asked for, in bytes: 8 KiB was the best of 2, 4, 8 and 16 KiB
/// for rows of 0.5 to 3 KiB, and beats the hardware prefetcher alone by a tenth.
const AHEAD: usize = 8192;

/// Of scattered rows, how many are asked for before any is compared, and how far ahead of a row's use its lines are
/// asked for after that. Of 4, 8, 12 and 16, for rows of 0.5 and 1.5 KiB in calls of 8 to 32 (more in flight than a
/// core can have).
const LEAD: usize = 8;

/// Runs a batch in groups of rows. `$sums::<$consts.., N>(query, rows, next, size)` gives the sums of `N` rows in the
/// first `N` lanes of a register that `$reduce::<N>` makes keys of, and asks for the lines of `next` that correspond to
/// those of `rows`.
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

/// Runs a batch by the functions of the modules `float` and `integer` beside it; the arms after it are what is neither
/// floats nor bytes.
macro_rules! by_element {
    ($batch:ident, $($element:pat => $run:expr),+ $(,)?) => {{
        let l2 = $batch.metric == crate::abi::L2;
        match $batch.element {
            crate::abi::F32 if l2 => float::run::<{ crate::abi::F32 }, true>($batch),
            crate::abi::F32 => float::run::<{ crate::abi::F32 }, false>($batch),
            crate::abi::F16 if l2 => float::run::<{ crate::abi::F16 }, true>($batch),
            crate::abi::F16 => float::run::<{ crate::abi::F16 }, false>($batch),
            crate::abi::BF16 if l2 => float::run::<{ crate::abi::BF16 }, true>($batch),
            crate::abi::BF16 => float::run::<{ crate::abi::BF16 }, false>($batch),
            crate::abi::I8 if l2 => integer::bytes::<{ crate::abi::I8 }, true>($batch),
            crate::abi::I8 => integer::bytes::<{ crate::abi::I8 }, false>($batch),
            crate::abi::U8 if l2 => integer::bytes::<{ crate::abi::U8 }, true>($batch),
            crate::abi::U8 => integer::bytes::<{ crate::abi::U8 }, false>($batch),
            $($element => $run,)+
        }
    }};
}
pub(crate) use by_element;

/// Defines `floats`, which `in_groups` takes, of the functions beside it: `block` and `partial` load two registers of
/// elements, or fewer and zeros, `step` adds to an accumulator, `sums` adds the lanes of four. `$step` elements fill
/// two registers.
macro_rules! sums_of_floats {
    ($(#[$attribute:meta])+ $step:literal, $zero:expr, $add:ident -> $sums:ty) => {
        /// The sums of `N` rows.
        ///
        /// # Safety
        ///
        /// `q` and each of `r` point to `dim` elements; the CPU has what this file enables.
        $(#[$attribute])+
        unsafe fn floats<const ELEMENT: u32, const L2: bool, const N: usize>(
            q: *const u8,
            r: [*const u8; N],
            next: [*const u8; N],
            dim: usize,
        ) -> $sums {
            let size = if ELEMENT == abi::F32 { 4 } else { 2 };
            // SAFETY: whole blocks and tails end at or before `dim`, and a prefetch of any address is harmless.
            unsafe {
                let mut first = [$zero; N];
                let mut second = [$zero; N];
                let mut i = 0;
                while i + $step <= dim {
                    let at = i * size;
                    let (q0, q1) = block::<ELEMENT>(q.add(at));
                    for k in 0..N {
                        if N == 4 && ($step * size % 64 == 0 || at % 64 == 0) {
                            ask_for(next[k].wrapping_add(at));
                            if $step * size > 64 {
                                ask_for(next[k].wrapping_add(at + 64));
                            }
                        }
                        let (r0, r1) = block::<ELEMENT>(r[k].add(at));
                        first[k] = step::<L2>(q0, r0, first[k]);
                        second[k] = step::<L2>(q1, r1, second[k]);
                    }
                    i += $step;
                }
                if i < dim {
                    let (at, left) = (i * size, dim - i);
                    let (q0, q1) = partial::<ELEMENT>(q.add(at), left);
                    for k in 0..N {
                        if N == 4 {
                            ask_for(next[k].wrapping_add(at));
                        }
                        let (r0, r1) = partial::<ELEMENT>(r[k].add(at), left);
                        first[k] = step::<L2>(q0, r0, first[k]);
                        second[k] = step::<L2>(q1, r1, second[k]);
                    }
                }
                let mut total = [$zero; 4];
                for k in 0..N {
                    total[k] = $add(first[k], second[k]);
                }
                sums(total)
            }
        }
    };
}
pub(crate) use sums_of_floats;

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
