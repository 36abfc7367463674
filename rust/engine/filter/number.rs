// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Comparing numbers exactly, with integers only: the kernel's Rust has no floating point.
//!
//! A binary64 is its bits. The order is that of the numbers, so that 2^53 + 1 is more than the binary64 2^53, which a
//! conversion of one into the other's type would deny; 0.0 and -0.0 are equal. There are no NaNs and infinities:
//! payloads and filters refuse them.

use core::cmp::Ordering;

/// A number of a payload or a filter.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Number {
    I64(i64),
    /// The bits of a finite binary64.
    F64(u64),
}

const SIGN: u64 = 1 << 63;
/// Bits of the fraction of a binary64.
const FRACTION: u32 = 52;
/// What is added to the exponent of a binary64.
const BIAS: u64 = 1023;

/// Maps the bits of a binary64 to a number of the same order: positive ones go above the negative ones, whose order is
/// turned round. Both zeros give the same.
pub(crate) fn f64_key(bits: u64) -> u64 {
    if bits & SIGN == 0 {
        bits | SIGN
    } else if bits == SIGN {
        SIGN
    } else {
        !bits
    }
}

/// The bits that [`f64_key`] made a key of; 0.0 for both zeros.
pub(crate) fn f64_of_key(key: u64) -> u64 {
    if key & SIGN != 0 {
        key & !SIGN
    } else {
        !key
    }
}

/// Maps an integer to an unsigned one of the same order.
pub(crate) fn i64_key(value: i64) -> u64 {
    value as u64 ^ SIGN
}

/// The integer that [`i64_key`] made a key of.
pub(crate) fn i64_of_key(key: u64) -> i64 {
    (key ^ SIGN) as i64
}

impl Number {
    /// Compares two numbers by what they are.
    pub(crate) fn order(self, other: Number) -> Ordering {
        match (self, other) {
            (Number::I64(a), Number::I64(b)) => a.cmp(&b),
            (Number::F64(a), Number::F64(b)) => f64_key(a).cmp(&f64_key(b)),
            (Number::I64(a), Number::F64(b)) => order_mixed(a, b),
            (Number::F64(a), Number::I64(b)) => order_mixed(b, a).reverse(),
        }
    }
}

/// Compares an integer with a binary64: first their signs, then the integer's magnitude with the whole part of the
/// other's.
fn order_mixed(integer: i64, bits: u64) -> Ordering {
    let magnitude = bits & !SIGN;
    if magnitude == 0 {
        return integer.cmp(&0);
    }
    let negative = bits & SIGN != 0;
    if integer >= 0 && negative {
        return Ordering::Greater;
    }
    if integer <= 0 && !negative {
        return Ordering::Less;
    }
    // Both have the same sign, and neither is zero.
    let order = order_magnitudes(integer.unsigned_abs(), magnitude);
    if negative {
        order.reverse()
    } else {
        order
    }
}

/// Compares a whole number with a positive binary64.
fn order_magnitudes(whole: u64, bits: u64) -> Ordering {
    // Zero and subnormal numbers have the exponent of the smallest normal ones; all are far below 1.
    let exponent = bits >> FRACTION;
    if exponent < BIAS {
        return if whole == 0 { Ordering::Less } else { Ordering::Greater };
    }
    // The number is `mantissa * 2^(shift - 52)`, with the mantissa in 2^52 .. 2^53.
    let shift = exponent - BIAS;
    if shift > 63 {
        return Ordering::Less;
    }
    let mantissa = bits & ((1 << FRACTION) - 1) | 1 << FRACTION;
    let shift = shift as u32;
    if shift >= FRACTION {
        // At most 63 - 52 = 11 places: the 53 bits of the mantissa stay within 64.
        return whole.cmp(&(mantissa << (shift - FRACTION)));
    }
    let behind = FRACTION - shift;
    let has_fraction = mantissa & ((1 << behind) - 1) != 0;
    whole
        .cmp(&(mantissa >> behind))
        .then(if has_fraction { Ordering::Less } else { Ordering::Equal })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn interesting() -> Vec<f64> {
        let mut values = std::vec![
            0.0,
            -0.0,
            0.5,
            1.0,
            1.5,
            2.5,
            1e-300,
            f64::MIN_POSITIVE,
            5e-324,
            1e18,
            1e19,
            1e300,
            f64::MAX
        ];
        for power in [31, 52, 53, 54, 62, 63, 64, 65] {
            let base = 2f64.powi(power);
            let bits = base.to_bits();
            values.extend([base, f64::from_bits(bits - 1), f64::from_bits(bits + 1)]);
        }
        let negative: Vec<f64> = values.iter().map(|value| -value).collect();
        values.extend(negative);
        values
    }

    #[test]
    fn keys_have_the_order_of_the_numbers_and_lead_back() {
        let values = interesting();
        for a in &values {
            let back = f64::from_bits(f64_of_key(f64_key(a.to_bits())));
            assert_eq!(back, *a);
            for b in &values {
                let keys = f64_key(a.to_bits()).cmp(&f64_key(b.to_bits()));
                assert_eq!(Some(keys), a.partial_cmp(b), "{a} {b}");
            }
        }
        for a in [i64::MIN, -2, -1, 0, 1, i64::MAX] {
            assert_eq!(i64_of_key(i64_key(a)), a);
            for b in [i64::MIN, -2, -1, 0, 1, i64::MAX] {
                assert_eq!(i64_key(a).cmp(&i64_key(b)), a.cmp(&b));
            }
        }
    }

    #[test]
    fn integers_and_floats_are_compared_without_rounding() {
        // The oracle: numbers below 2^64 as multiples of 2^-60 in 128 bits, of which everything smaller is only a sign.
        fn exact(value: f64) -> Option<(i128, bool)> {
            if value.abs() >= 2f64.powi(66) {
                return None;
            }
            let scaled = value * 2f64.powi(60);
            Some((scaled as i128, scaled.fract() != 0.0))
        }
        let mut integers = std::vec![0i64, 1, -1, 2, -2, 3, i64::MIN, i64::MAX, i64::MIN + 1, i64::MAX - 1];
        for power in [31, 52, 53, 54, 62] {
            let base = 1i64 << power;
            integers.extend([base, base - 1, base + 1, -base, 1 - base, -1 - base]);
        }
        for float in interesting() {
            for integer in &integers {
                let expected = match exact(float) {
                    None => {
                        if float > 0.0 {
                            Ordering::Less
                        } else {
                            Ordering::Greater
                        }
                    }
                    Some((scaled, rest)) => (i128::from(*integer) << 60)
                        .cmp(&scaled)
                        .then(match (rest, float > 0.0) {
                            (false, _) => Ordering::Equal,
                            (true, true) => Ordering::Less,
                            (true, false) => Ordering::Greater,
                        }),
                };
                let got = Number::I64(*integer).order(Number::F64(float.to_bits()));
                assert_eq!(got, expected, "{integer} {float:e}");
                assert_eq!(
                    Number::F64(float.to_bits()).order(Number::I64(*integer)),
                    expected.reverse()
                );
            }
        }
    }
}
