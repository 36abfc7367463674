// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Lengths of vectors, computed once a row and the same way in every variant.

use crate::element::float;
use crate::element::set_float;

/// Norms outside this range leave no headroom for `f32` products, and get the inverse norm [`EXTREME`].
const NORM_MIN: f64 = 1e-15;
const NORM_MAX: f64 = 1e15;

/// The inverse norm that says: compute this row's cosine in `f64`.
pub(crate) const EXTREME: f32 = 0.0;

/// The square root of a positive number, by Newton's method from an estimate halved in the exponent.
///
/// `core` has none.
pub(crate) fn sqrt(x: f64) -> f64 {
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
/// `row` points to `dim` elements of type `ELEMENT`.
pub(crate) unsafe fn norm<const ELEMENT: u32>(row: *const u8, dim: usize) -> f64 {
    let mut lanes = [0f64; 4];
    let mut i = 0;
    while i + 4 <= dim {
        for (j, lane) in lanes.iter_mut().enumerate() {
            // SAFETY: `i + j < i + 4 <= dim`.
            let x = f64::from(unsafe { float::<ELEMENT>(row, i + j) });
            *lane += x * x;
        }
        i += 4;
    }
    let mut sum = (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]);
    while i < dim {
        // SAFETY: `i < dim`.
        let x = f64::from(unsafe { float::<ELEMENT>(row, i) });
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
/// `row` points to `dim` floats of type `ELEMENT`, and nobody else has access to them.
pub(crate) unsafe fn normalize<const ELEMENT: u32>(row: *mut u8, dim: usize) {
    // SAFETY: as the caller's.
    let norm = unsafe { norm::<ELEMENT>(row, dim) };
    if norm == 0.0 {
        return;
    }
    for i in 0..dim {
        // SAFETY: `i < dim`.
        unsafe { set_float::<ELEMENT>(row, i, (f64::from(float::<ELEMENT>(row, i)) / norm) as f32) };
    }
}
