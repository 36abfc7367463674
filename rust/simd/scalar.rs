// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Portable kernels, and what every variant shares: norms, the wide (`f64`) path, and the final step to a key.
//!
//! The wide path makes every distance between finite rows well defined: where `f32` arithmetic overflows, or the norms
//! are too far from one for it, the distance is computed again in `f64`, which can hold any sum of 4,096 products.

use crate::abi;

/// Norms outside this range leave no headroom for `f32` products, and get the inverse norm [`EXTREME`].
const NORM_MIN: f64 = 1e-15;
const NORM_MAX: f64 = 1e15;

/// The inverse norm that says: compute this row's cosine in `f64`.
const EXTREME: f32 = 0.0;

/// The order-preserving key of a distance: unsigned comparison of keys is comparison of distances.
///
/// -0.0 and +0.0 share a key. A NaN, which no finite input produces, would order last.
#[inline(always)]
fn key(distance: f32) -> u32 {
    if distance.is_nan() {
        return u32::MAX;
    }
    // Adding +0.0 turns -0.0 into +0.0 and changes nothing else.
    let bits = (distance + 0.0).to_bits();
    if bits >> 31 != 0 {
        !bits
    } else {
        bits | 0x8000_0000
    }
}

#[inline(always)]
#[allow(clippy::manual_clamp)] // f32::clamp can panic.
fn clamp_cosine(distance: f32) -> f32 {
    // Comparisons with NaN are false, so a NaN passes through.
    if distance < 0.0 {
        0.0
    } else if distance > 2.0 {
        2.0
    } else {
        distance
    }
}

/// Turns the sum a variant accumulated for row `i` into the row's key.
///
/// # Safety
///
/// `batch` holds its invariants, and `i < batch.count`.
#[inline(always)]
pub(crate) unsafe fn finish<const METRIC: u32>(batch: &abi::Batch, i: usize, sum: f32) {
    // SAFETY: `i` is a row of the batch, so its words, its inverse norm and its key are readable and writable.
    unsafe {
        let mut distance = match METRIC {
            abi::L2 => sum,
            abi::COSINE => {
                let row_inv_norm = f32::from_bits(*batch.inv_norms.add(i));
                let query_inv_norm = f32::from_bits(batch.query_inv_norm);
                if row_inv_norm == EXTREME || query_inv_norm == EXTREME {
                    f32::NAN
                } else {
                    clamp_cosine(1.0 - sum * query_inv_norm * row_inv_norm)
                }
            }
            _ => -sum,
        };
        // Infinite or NaN: the exponent is all ones.
        if distance.to_bits() & 0x7f80_0000 == 0x7f80_0000 {
            distance = wide::<METRIC>(batch.query.cast(), batch.rows.add(i * batch.stride).cast(), batch.dim);
        }
        *batch.keys.add(i) = key(distance);
    }
}

/// The distance in `f64`, rounded once at the end; an l2 or inner product beyond `f32` becomes an infinity of its sign.
///
/// # Safety
///
/// `a` and `b` point to `dim` floats.
#[cold]
#[inline(never)]
unsafe fn wide<const METRIC: u32>(a: *const f32, b: *const f32, dim: usize) -> f32 {
    let (mut sum, mut aa, mut bb) = (0f64, 0f64, 0f64);
    for i in 0..dim {
        // SAFETY: `i < dim`.
        let (x, y) = unsafe { (f64::from(*a.add(i)), f64::from(*b.add(i))) };
        if METRIC == abi::L2 {
            sum += (x - y) * (x - y);
        } else {
            sum += x * y;
            aa += x * x;
            bb += y * y;
        }
    }
    match METRIC {
        abi::L2 => sum as f32,
        abi::COSINE => clamp_cosine((1.0 - sum / (sqrt(aa) * sqrt(bb))) as f32),
        _ => -sum as f32,
    }
}

/// The square root of a positive number, by Newton's method from an estimate halved in the exponent.
///
/// `core` has none. Norms are computed once a row, and the same way in every variant.
fn sqrt(x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    let mut root = f64::from_bits((x.to_bits() >> 1) + (1023u64 << 51));
    for _ in 0..5 {
        root = 0.5 * (root + x / root);
    }
    root
}

/// The Euclidean norm, summed in `f64`: cannot overflow, and is zero only for a zero vector.
///
/// # Safety
///
/// `row` points to `dim` floats.
pub(crate) unsafe fn norm(row: *const f32, dim: usize) -> f64 {
    let mut lanes = [0f64; 4];
    let mut i = 0;
    while i + 4 <= dim {
        for (j, lane) in lanes.iter_mut().enumerate() {
            // SAFETY: `i + j < i + 4 <= dim`.
            let x = f64::from(unsafe { *row.add(i + j) });
            *lane += x * x;
        }
        i += 4;
    }
    let mut sum = (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]);
    while i < dim {
        // SAFETY: `i < dim`.
        let x = f64::from(unsafe { *row.add(i) });
        sum += x * x;
        i += 1;
    }
    sqrt(sum)
}

/// The inverse norm stored beside a row.
pub(crate) fn inv_norm(norm: f64) -> f32 {
    if (NORM_MIN..=NORM_MAX).contains(&norm) {
        (1.0 / norm) as f32
    } else {
        EXTREME
    }
}

/// Divides a row by its norm; leaves a zero vector alone.
///
/// # Safety
///
/// `row` points to `dim` floats, and nobody else has access to them.
pub(crate) unsafe fn normalize(row: *mut f32, dim: usize) {
    // SAFETY: as the caller's.
    let norm = unsafe { norm(row, dim) };
    if norm == 0.0 {
        return;
    }
    for i in 0..dim {
        // SAFETY: `i < dim`.
        unsafe { *row.add(i) = (f64::from(*row.add(i)) / norm) as f32 };
    }
}

/// All rows of a batch with four partial sums a row.
///
/// # Safety
///
/// `batch` holds its invariants.
pub(crate) unsafe fn run<const METRIC: u32>(batch: &abi::Batch) {
    for i in 0..batch.count {
        // SAFETY: `i` is a row of the batch.
        unsafe {
            let row = batch.rows.add(i * batch.stride).cast();
            let sum = accumulate::<METRIC>(batch.query.cast(), row, batch.dim);
            finish::<METRIC>(batch, i, sum);
        }
    }
}

/// # Safety
///
/// `a` and `b` point to `dim` floats.
#[inline(always)]
unsafe fn accumulate<const METRIC: u32>(a: *const f32, b: *const f32, dim: usize) -> f32 {
    let mut lanes = [0f32; 4];
    let mut i = 0;
    while i + 4 <= dim {
        for (j, lane) in lanes.iter_mut().enumerate() {
            // SAFETY: `i + j < i + 4 <= dim`.
            *lane += unsafe { term::<METRIC>(*a.add(i + j), *b.add(i + j)) };
        }
        i += 4;
    }
    let mut sum = (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]);
    while i < dim {
        // SAFETY: `i < dim`.
        sum += unsafe { term::<METRIC>(*a.add(i), *b.add(i)) };
        i += 1;
    }
    sum
}

#[inline(always)]
fn term<const METRIC: u32>(x: f32, y: f32) -> f32 {
    if METRIC == abi::L2 {
        (x - y) * (x - y)
    } else {
        x * y
    }
}
