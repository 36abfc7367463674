// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! One element at a time: reading each type as a float, and making narrow floats of wide ones.
//!
//! Narrow floats are converted by integer operations and one exact multiplication or addition, so that every variant
//! and every CPU gives the same. Rounding is to nearest, ties to even; a finite float stays finite.

use crate::abi;

/// Element `i` of a vector that is not binary.
///
/// # Safety
///
/// `row` points to more than `i` elements of type `ELEMENT`.
#[inline(always)]
pub(crate) unsafe fn float<const ELEMENT: u32>(row: *const u8, i: usize) -> f32 {
    // SAFETY: the caller's promise; nothing is aligned.
    unsafe {
        match ELEMENT {
            abi::F32 => row.cast::<f32>().add(i).read_unaligned(),
            abi::F16 => f16_to_f32(row.cast::<u16>().add(i).read_unaligned()),
            abi::BF16 => f32::from_bits(u32::from(row.cast::<u16>().add(i).read_unaligned()) << 16),
            abi::I8 => f32::from(*row.cast::<i8>().add(i)),
            _ => f32::from(*row.add(i)),
        }
    }
}

/// Element `i` of a vector of bytes.
///
/// # Safety
///
/// `row` points to more than `i` bytes.
#[inline(always)]
pub(crate) unsafe fn integer<const ELEMENT: u32>(row: *const u8, i: usize) -> i32 {
    // SAFETY: the caller's promise.
    unsafe {
        match ELEMENT {
            abi::I8 => i32::from(*row.cast::<i8>().add(i)),
            _ => i32::from(*row.add(i)),
        }
    }
}

/// A finite binary16 as binary32, exactly.
#[inline(always)]
pub(crate) fn f16_to_f32(half: u16) -> f32 {
    // Moved to the place of its fields in a binary32, it lacks the difference of the biases: a factor of 2^112. That is
    // right for denormals too.
    let magnitude = f32::from_bits(u32::from(half & 0x7fff) << 13) * f32::from_bits((127 + 112) << 23);
    f32::from_bits(magnitude.to_bits() | u32::from(half & 0x8000) << 16)
}

/// The binary16 nearest to a finite binary32, or the largest of its sign.
#[inline(always)]
pub(crate) fn f32_to_f16(x: f32) -> u16 {
    let sign = (x.to_bits() >> 16) as u16 & 0x8000;
    let bits = x.to_bits() & 0x7fff_ffff;
    let magnitude = if bits >= 0x477f_f000 {
        // 65,520, halfway from the largest to what would come after it, and on.
        0x7bff
    } else if bits < (127 - 14) << 23 {
        // Denormal: one half has just so many bits that the sum is rounded where the result ends.
        (f32::from_bits(bits) + 0.5).to_bits() - 0.5f32.to_bits()
    } else {
        (bits + 0xfff + (bits >> 13 & 1) - (112 << 23)) >> 13
    };
    sign | magnitude as u16
}

/// The bfloat16 nearest to a finite binary32, or the largest of its sign.
#[inline(always)]
pub(crate) fn f32_to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    if bits & 0x7fff_ffff >= 0x7f7f_8000 {
        (bits >> 16) as u16 & 0x8000 | 0x7f7f
    } else {
        ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
    }
}

/// Writes a row of floats as a row of another type. A bit is set where an element is positive.
///
/// # Safety
///
/// `row` points to `dim` elements of the float type `FROM`, `out` to a row of `TO`s, a float type or bits, that nobody
/// else has access to.
pub(crate) unsafe fn convert<const FROM: u32, const TO: u32>(row: *const u8, dim: usize, out: *mut u8) {
    if TO == abi::BINARY {
        let mut byte = 0;
        for i in 0..dim {
            // SAFETY: `i < dim`.
            unsafe {
                byte |= u8::from(float::<FROM>(row, i) > 0.0) << (i % 8);
                if i % 8 == 7 || i + 1 == dim {
                    *out.add(i / 8) = byte;
                    byte = 0;
                }
            }
        }
    } else {
        for i in 0..dim {
            // SAFETY: `i < dim`.
            unsafe { set_float::<TO>(out, i, float::<FROM>(row, i)) };
        }
    }
}

/// Writes element `i` of a vector of floats.
///
/// # Safety
///
/// `row` points to more than `i` elements of type `ELEMENT`, which nobody else has access to.
#[inline(always)]
pub(crate) unsafe fn set_float<const ELEMENT: u32>(row: *mut u8, i: usize, x: f32) {
    // SAFETY: the caller's promise; nothing is aligned.
    unsafe {
        match ELEMENT {
            abi::F32 => row.cast::<f32>().add(i).write_unaligned(x),
            abi::F16 => row.cast::<u16>().add(i).write_unaligned(f32_to_f16(x)),
            _ => row.cast::<u16>().add(i).write_unaligned(f32_to_bf16(x)),
        }
    }
}
