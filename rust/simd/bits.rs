// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Facts about floats that integers can tell: keys, and which vectors are acceptable.

use crate::Metric;

const SIGN: u32 = 0x8000_0000;
const EXPONENT: u32 = 0x7f80_0000;

/// Why a vector is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BadVector {
    /// An element is NaN or infinite.
    NotFinite,
    /// All elements are zero, and the metric needs a direction.
    Zero,
}

/// The key of a float: unsigned comparison of keys is comparison of floats.
///
/// -0.0 gets the key of +0.0. NaNs order above +infinity or below -infinity, by their sign.
///
/// # Examples
///
/// ```
/// use vexfs_simd::{bits_of, key_of};
///
/// assert!(key_of((-1.5f32).to_bits()) < key_of(0.25f32.to_bits()));
/// assert_eq!(key_of((-0.0f32).to_bits()), key_of(0.0f32.to_bits()));
/// assert_eq!(bits_of(key_of(0.25f32.to_bits())), 0.25f32.to_bits());
/// ```
pub fn key_of(bits: u32) -> u32 {
    if bits == SIGN {
        SIGN
    } else if bits & SIGN != 0 {
        !bits
    } else {
        bits | SIGN
    }
}

/// The bits of the float that has this key.
pub fn bits_of(key: u32) -> u32 {
    if key & SIGN != 0 {
        key & !SIGN
    } else {
        !key
    }
}

/// Checks that a vector can be a row or a query of a collection with this metric.
///
/// # Errors
///
/// It has a NaN or an infinity, or is zero while the metric is cosine.
pub fn check(metric: Metric, vector: &[u32]) -> Result<(), BadVector> {
    let mut any = 0;
    let mut bad = false;
    for bits in vector {
        any |= bits & !SIGN;
        bad |= bits & EXPONENT == EXPONENT;
    }
    if bad {
        Err(BadVector::NotFinite)
    } else if any == 0 && metric == Metric::Cosine {
        Err(BadVector::Zero)
    } else {
        Ok(())
    }
}
