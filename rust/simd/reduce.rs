// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! From the sum of a row to its key, and the wide (`f64`) path.
//!
//! The wide path makes every distance between finite rows well defined: where `f32` arithmetic overflows, or the norms
//! are too far from one for it, the distance is computed again in `f64`, which can hold any sum of products.

use crate::abi;
use crate::element::float;
use crate::norms::sqrt;
use crate::norms::EXTREME;

impl abi::Batch {
    /// The number of the row of key `i`.
    ///
    /// # Safety
    ///
    /// The invariants hold, and `i < count`.
    #[inline(always)]
    pub(crate) unsafe fn row_number(&self, i: usize) -> usize {
        if self.ids.is_null() {
            i
        } else {
            // SAFETY: `ids` has `count` words if it is not null.
            unsafe { *self.ids.add(i) as usize }
        }
    }

    /// The row of key `i`.
    ///
    /// # Safety
    ///
    /// The invariants hold, and `i < count`.
    #[inline(always)]
    pub(crate) unsafe fn row(&self, i: usize) -> *const u8 {
        // SAFETY: the caller's promise; the row lies in the rows' buffer.
        unsafe { self.rows.add(self.row_number(i) * self.stride) }
    }
}

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

/// Writes key `i`, given the sum of its row: of squared differences for l2, of products for cosine and inner product,
/// of differing bits for hamming.
///
/// # Safety
///
/// `batch` holds its invariants, and `i < batch.count`.
#[inline(always)]
pub(crate) unsafe fn reduce(batch: &abi::Batch, i: usize, sum: f32) {
    // SAFETY: the row of key `i` has an inverse norm if the metric takes one, and the key is writable.
    unsafe {
        let distance = match batch.metric {
            abi::COSINE => {
                let row_inv_norm = f32::from_bits(*batch.inv_norms.add(batch.row_number(i)));
                let query_inv_norm = f32::from_bits(batch.query_inv_norm);
                if row_inv_norm == EXTREME || query_inv_norm == EXTREME {
                    f32::NAN
                } else {
                    clamp_cosine(1.0 - sum * query_inv_norm * row_inv_norm)
                }
            }
            abi::L2 | abi::HAMMING => sum,
            _ => -sum,
        };
        // Infinite or NaN: the exponent is all ones.
        if distance.to_bits() & 0x7f80_0000 == 0x7f80_0000 {
            reduce_wide(batch, i);
        } else {
            *batch.keys.add(i) = key(distance);
        }
    }
}

/// The term of the row of key `i`.
///
/// # Safety
///
/// `batch` holds its invariants and is of codes with terms, and `i < batch.count`.
#[inline(always)]
pub(crate) unsafe fn row_term(batch: &abi::Batch, i: usize) -> f32 {
    // SAFETY: the term follows the codes.
    unsafe { batch.row(i).add(batch.dim).cast::<f32>().read_unaligned() }
}

/// Writes key `i`, given its row's sum of weights times codes.
///
/// # Safety
///
/// As [`reduce`], and the batch is of codes.
#[inline(always)]
pub(crate) unsafe fn reduce_codes(batch: &abi::Batch, i: usize, sum: i32) {
    // SAFETY: as the caller's.
    unsafe {
        let mut term = f32::from_bits(batch.constants.base);
        if batch.metric == abi::L2 {
            term += row_term(batch, i);
        }
        // In this order, and nothing fused: the result is the same in every variant.
        let distance = term + f32::from_bits(batch.constants.factor) * sum.wrapping_sub(batch.constants.bias) as f32;
        *batch.keys.add(i) = key(distance);
    }
}

/// Writes key `i`, computed in `f64`.
///
/// # Safety
///
/// As [`reduce`].
#[cold]
#[inline(never)]
pub(crate) unsafe fn reduce_wide(batch: &abi::Batch, i: usize) {
    // SAFETY: the query and the row have `dim` elements of the type, and the key is writable.
    unsafe {
        let (q, r) = (batch.query, batch.row(i));
        let distance = match batch.element {
            abi::F32 => wide::<{ abi::F32 }>(batch.metric, q, r, batch.dim),
            abi::F16 => wide::<{ abi::F16 }>(batch.metric, q, r, batch.dim),
            abi::BF16 => wide::<{ abi::BF16 }>(batch.metric, q, r, batch.dim),
            abi::I8 => wide::<{ abi::I8 }>(batch.metric, q, r, batch.dim),
            _ => wide::<{ abi::U8 }>(batch.metric, q, r, batch.dim),
        };
        *batch.keys.add(i) = key(distance);
    }
}

/// The distance in `f64`, rounded once at the end; an l2 or inner product beyond `f32` becomes an infinity of its sign.
///
/// # Safety
///
/// `a` and `b` point to `dim` elements of type `ELEMENT`.
unsafe fn wide<const ELEMENT: u32>(metric: u32, a: *const u8, b: *const u8, dim: usize) -> f32 {
    let (mut difference, mut product, mut aa, mut bb) = (0f64, 0f64, 0f64, 0f64);
    for i in 0..dim {
        // SAFETY: `i < dim`.
        let (x, y) = unsafe { (f64::from(float::<ELEMENT>(a, i)), f64::from(float::<ELEMENT>(b, i))) };
        difference += (x - y) * (x - y);
        product += x * y;
        aa += x * x;
        bb += y * y;
    }
    match metric {
        abi::L2 => difference as f32,
        // A vector without a direction, which no checked collection has, is at right angles to all.
        abi::COSINE if aa == 0.0 || bb == 0.0 => 1.0,
        abi::COSINE => clamp_cosine((1.0 - product / (sqrt(aa) * sqrt(bb))) as f32),
        _ => -product as f32,
    }
}
