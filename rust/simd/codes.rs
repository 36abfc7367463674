// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! One byte a dimension for float vectors: each dimension has a step and a middle, and code `c` stands for
//! `middle + step * (c - 128)`. A query stays as it is and meets the codes as integer weights.
//!
//! With `w[d] = (q[d] - middle[d]) * step[d]`, the squared distance to a row of codes is
//! `sum((q - middle)^2) - 2 * sum(w * (c - 128)) + sum((step * (c - 128))^2)`: a number of the query, an integer sum,
//! and a number of the row (its term), which is kept beside the codes. An inner product has no term, nor has a cosine,
//! whose rows are scaled to unit length before they are encoded. Weights are rounded to words (a sign and about 15
//! bits), an error of no importance beside that of eight bits of a row, and small enough for every sum to fit 32 bits.
//!
//! Every variant computes the same integer sum and rounds alike after it, so keys of codes are the same everywhere.

use crate::abi;
use crate::element::float;
use crate::norms::norm;

/// The code in the middle.
const MIDDLE: f64 = 128.0;

/// The largest weight: its upper half, rounded, fits a signed byte.
const WEIGHT_MAX: f64 = 127.0 * 256.0 + 127.0;

/// Element `i` of a row, divided by the row's length if `scale` says so.
///
/// # Safety
///
/// As `float`.
#[inline(always)]
unsafe fn value<const ELEMENT: u32>(row: *const u8, i: usize, scale: f64) -> f64 {
    // SAFETY: the caller's promise.
    f64::from(unsafe { float::<ELEMENT>(row, i) }) * scale
}

/// What the elements of a row are multiplied by before they are encoded.
///
/// # Safety
///
/// `row` points to `dim` elements of type `ELEMENT`.
unsafe fn scale<const ELEMENT: u32>(row: *const u8, dim: usize, unit: bool) -> f64 {
    if !unit {
        return 1.0;
    }
    // SAFETY: the caller's promise.
    let norm = unsafe { norm::<ELEMENT>(row, dim) };
    if norm > 0.0 {
        1.0 / norm
    } else {
        1.0
    }
}

/// The two floats of dimension `i`.
///
/// # Safety
///
/// `params` points to more than `i` pairs.
unsafe fn pair(params: *const u8, i: usize) -> (f64, f64) {
    // SAFETY: the caller's promise; nothing is aligned.
    let pair = unsafe { params.add(abi::PARAM_BYTES * i).cast::<[f32; 2]>().read_unaligned() };
    (f64::from(pair[0]), f64::from(pair[1]))
}

/// # Safety
///
/// `params` points to more than `i` pairs that nobody else has access to.
unsafe fn set_pair(params: *mut u8, i: usize, pair: [f64; 2]) {
    // SAFETY: the caller's promise; nothing is aligned.
    unsafe {
        let pair = [pair[0] as f32, pair[1] as f32];
        params
            .add(abi::PARAM_BYTES * i)
            .cast::<[f32; 2]>()
            .write_unaligned(pair);
    }
}

/// Makes the parameters those of no rows.
///
/// # Safety
///
/// `params` points to `dim` pairs that nobody else has access to.
pub(crate) unsafe fn train_begin(params: *mut u8, dim: usize) {
    for i in 0..dim {
        // SAFETY: `i < dim`.
        unsafe { set_pair(params, i, [f64::INFINITY, f64::NEG_INFINITY]) };
    }
}

/// Widens the ranges of the dimensions by a row.
///
/// # Safety
///
/// `params` points to `dim` pairs that nobody else has access to, `row` to `dim` elements.
pub(crate) unsafe fn train_row<const ELEMENT: u32>(params: *mut u8, row: *const u8, dim: usize, unit: bool) {
    // SAFETY: as the caller's, and `i < dim`.
    unsafe {
        let scale = scale::<ELEMENT>(row, dim, unit);
        for i in 0..dim {
            let x = value::<ELEMENT>(row, i, scale);
            let (least, largest) = pair(params, i);
            set_pair(
                params,
                i,
                [if x < least { x } else { least }, if x > largest { x } else { largest }],
            );
        }
    }
}

/// Turns ranges into middles and steps.
///
/// # Safety
///
/// `params` points to `dim` pairs that nobody else has access to.
pub(crate) unsafe fn train_end(params: *mut u8, dim: usize) {
    for i in 0..dim {
        // SAFETY: `i < dim`.
        unsafe {
            let (least, largest) = pair(params, i);
            let step = (largest - least) / 255.0;
            if step >= 0.0 {
                set_pair(params, i, [least + MIDDLE * step, step]);
            } else {
                set_pair(params, i, [0.0, 0.0]);
            }
        }
    }
}

/// Writes the codes of a row, and its term if there shall be one.
///
/// # Safety
///
/// `params` points to `dim` pairs, `row` to `dim` elements, `out` to `dim` bytes, and four more for the term.
pub(crate) unsafe fn encode_row<const ELEMENT: u32>(
    params: *const u8,
    row: *const u8,
    dim: usize,
    unit: bool,
    term: bool,
    out: *mut u8,
) {
    // SAFETY: as the caller's, and `i < dim`.
    unsafe {
        let scale = scale::<ELEMENT>(row, dim, unit);
        let mut squares = 0.0;
        for i in 0..dim {
            let (middle, step) = pair(params, i);
            let steps = if step > 0.0 {
                (value::<ELEMENT>(row, i, scale) - middle) / step
            } else {
                0.0
            };
            // The cast stops at 0 and at 255.
            let code = (steps + MIDDLE + 0.5) as u8;
            let from_middle = step * (f64::from(code) - MIDDLE);
            squares += from_middle * from_middle;
            *out.add(i) = code;
        }
        if term {
            let squares = if squares < f64::from(f32::MAX) {
                squares as f32
            } else {
                f32::MAX
            };
            out.add(dim).cast::<f32>().write_unaligned(squares);
        }
    }
}

/// Writes the weights of a query for `padded` codes, words or (if `split`) blocks of 64 upper and 64 lower halves in
/// turn, and gives what a batch takes besides them.
///
/// # Safety
///
/// `of` holds its invariants and has one row, the query, and room for `2 * padded` bytes at `out`; `padded` is a
/// multiple of 64 and not less than the dimension.
pub(crate) unsafe fn weigh<const ELEMENT: u32>(of: &abi::Coding, split: bool, padded: usize) -> abi::Constants {
    let (params, query, out, dim, metric) = (of.params, of.rows, of.out, of.dim, of.metric);
    let l2 = metric == abi::L2;
    // SAFETY: as the caller's, and `i < dim` where an element is read.
    unsafe {
        let scale = scale::<ELEMENT>(query, dim, metric == abi::COSINE);
        let weight = |i: usize| {
            let (middle, step) = pair(params, i);
            let x = value::<ELEMENT>(query, i, scale);
            let from = if l2 { x - middle } else { x };
            (from * step, if l2 { from * from } else { -x * middle })
        };
        let (mut base, mut largest, mut sum) = (if metric == abi::COSINE { 1.0 } else { 0.0 }, 0.0, 0.0);
        for i in 0..dim {
            let (w, constant) = weight(i);
            let size = if w < 0.0 { -w } else { w };
            base += constant;
            sum += size;
            largest = if size > largest { size } else { largest };
        }
        // What a weight of one stands for: the largest fits its bytes, and no sum exceeds 31 bits after rounding.
        let sum_max = f64::from(i32::MAX) - 255.0 * dim as f64;
        let (by_largest, by_sum) = (largest / WEIGHT_MAX, sum * 255.0 / sum_max);
        let unit = if by_largest > by_sum { by_largest } else { by_sum };
        let mut total = 0i32;
        for i in 0..padded {
            let mut rounded = 0i32;
            if i < dim && unit > 0.0 {
                let w = weight(i).0 / unit;
                rounded = (if w < 0.0 { w - 0.5 } else { w + 0.5 }) as i32;
            }
            total = total.wrapping_add(rounded);
            if split {
                // The lower half is signed too, hence the rounding of the upper.
                let upper = (rounded + 128) >> 8;
                let at = out.add(128 * (i / 64) + i % 64);
                *at = upper as u8;
                *at.add(64) = (rounded - (upper << 8)) as u8;
            } else {
                out.cast::<i16>().add(i).write_unaligned(rounded as i16);
            }
        }
        abi::Constants {
            base: (base as f32).to_bits(),
            factor: (((if l2 { -2.0 } else { -1.0 }) * unit) as f32).to_bits(),
            bias: total.wrapping_mul(128),
        }
    }
}
