// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Keys: floats as words that integers can compare.

const SIGN: u32 = 0x8000_0000;

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
