// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Portable kernels: what every variant must agree with, and the only ones on a CPU without any other.

use crate::abi;
use crate::element::float;
use crate::element::integer;
use crate::reduce::reduce;
use crate::reduce::reduce_codes;

/// All keys of a batch, one row after the other.
///
/// # Safety
///
/// `batch` holds its invariants.
pub(crate) unsafe fn run(batch: &abi::Batch) {
    let l2 = batch.metric == abi::L2;
    // SAFETY: the constants are those of the batch.
    unsafe {
        match (batch.element, l2) {
            (abi::F32, true) => rows(batch, |q, r, dim| floats::<{ abi::F32 }, true>(q, r, dim)),
            (abi::F32, false) => rows(batch, |q, r, dim| floats::<{ abi::F32 }, false>(q, r, dim)),
            (abi::F16, true) => rows(batch, |q, r, dim| floats::<{ abi::F16 }, true>(q, r, dim)),
            (abi::F16, false) => rows(batch, |q, r, dim| floats::<{ abi::F16 }, false>(q, r, dim)),
            (abi::BF16, true) => rows(batch, |q, r, dim| floats::<{ abi::BF16 }, true>(q, r, dim)),
            (abi::BF16, false) => rows(batch, |q, r, dim| floats::<{ abi::BF16 }, false>(q, r, dim)),
            (abi::I8, true) => rows(batch, |q, r, dim| integers::<{ abi::I8 }, true>(q, r, dim)),
            (abi::I8, false) => rows(batch, |q, r, dim| integers::<{ abi::I8 }, false>(q, r, dim)),
            (abi::U8, true) => rows(batch, |q, r, dim| integers::<{ abi::U8 }, true>(q, r, dim)),
            (abi::U8, false) => rows(batch, |q, r, dim| integers::<{ abi::U8 }, false>(q, r, dim)),
            (abi::BINARY, _) => rows(batch, |q, r, _| bits(q, r, batch.bytes)),
            _ => codes(batch),
        }
    }
}

/// # Safety
///
/// `batch` holds its invariants, and `sum` may be called with its query, its rows and its dimension.
#[inline(always)]
unsafe fn rows(batch: &abi::Batch, sum: impl Fn(*const u8, *const u8, usize) -> f32) {
    for i in 0..batch.count {
        // SAFETY: `i < batch.count`.
        unsafe { reduce(batch, i, sum(batch.query, batch.row(i), batch.dim)) };
    }
}

/// The sum over floats, in four partial sums.
///
/// # Safety
///
/// `q` and `r` point to `dim` elements of type `ELEMENT`.
#[inline(always)]
unsafe fn floats<const ELEMENT: u32, const L2: bool>(q: *const u8, r: *const u8, dim: usize) -> f32 {
    let term = |i: usize| {
        // SAFETY: every `i` below is less than `dim`.
        let (x, y) = unsafe { (float::<ELEMENT>(q, i), float::<ELEMENT>(r, i)) };
        if L2 {
            (x - y) * (x - y)
        } else {
            x * y
        }
    };
    let mut lanes = [0f32; 4];
    let mut i = 0;
    while i + 4 <= dim {
        for (j, lane) in lanes.iter_mut().enumerate() {
            *lane += term(i + j);
        }
        i += 4;
    }
    let mut sum = (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]);
    while i < dim {
        sum += term(i);
        i += 1;
    }
    sum
}

/// The sum over bytes, which is exact until it becomes a float.
///
/// # Safety
///
/// `q` and `r` point to `dim` bytes.
#[inline(always)]
unsafe fn integers<const ELEMENT: u32, const L2: bool>(q: *const u8, r: *const u8, dim: usize) -> f32 {
    let mut sum = 0i32;
    for i in 0..dim {
        // SAFETY: `i < dim`.
        let (x, y) = unsafe { (integer::<ELEMENT>(q, i), integer::<ELEMENT>(r, i)) };
        // At most `DIM_MAX` squares of 255.
        sum = sum.wrapping_add(if L2 { (x - y) * (x - y) } else { x * y });
    }
    sum as f32
}

/// All keys of a batch of codes; the weights are signed words.
///
/// # Safety
///
/// `batch` holds its invariants.
unsafe fn codes(batch: &abi::Batch) {
    for i in 0..batch.count {
        let mut sum = 0i32;
        for j in 0..batch.dim {
            // SAFETY: `i < batch.count`, and the row and the query have `dim` codes and weights; nothing is aligned.
            unsafe {
                let weight = batch.query.cast::<i16>().add(j).read_unaligned();
                // The weights are chosen so that the sum fits.
                sum = sum.wrapping_add(i32::from(weight) * i32::from(*batch.row(i).add(j)));
            }
        }
        // SAFETY: `i < batch.count`.
        unsafe { reduce_codes(batch, i, sum) };
    }
}

/// The number of differing bits.
///
/// # Safety
///
/// `q` and `r` point to `bytes` bytes.
#[inline(always)]
unsafe fn bits(q: *const u8, r: *const u8, bytes: usize) -> f32 {
    let mut sum = 0;
    let mut i = 0;
    while i + 8 <= bytes {
        // SAFETY: `i + 8 <= bytes`; nothing is aligned.
        let (x, y) = unsafe {
            (
                q.add(i).cast::<u64>().read_unaligned(),
                r.add(i).cast::<u64>().read_unaligned(),
            )
        };
        sum += (x ^ y).count_ones();
        i += 8;
    }
    while i < bytes {
        // SAFETY: `i < bytes`.
        sum += unsafe { *q.add(i) ^ *r.add(i) }.count_ones();
        i += 1;
    }
    sum as f32
}
