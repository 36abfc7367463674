// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! f32, f16 and bf16: eight elements a step, two accumulators of four lanes a row, in f32.
//!
//! Order of summation (fixed, whatever the row's place): of eight elements, the first four go to the lanes of the first
//! accumulator, the others to the second's, missing ones count as zero; accumulators are added, then neighbouring
//! lanes.

use super::bytes16;
use super::reduce;
use crate::abi;
use crate::groups::in_groups;
use crate::groups::sums_of_floats;
use crate::prefetch::ask_for;
use core::arch::aarch64::*;

/// # Safety
///
/// `batch` holds its invariants and is of `ELEMENT`s.
pub(super) unsafe fn run<const ELEMENT: u32, const L2: bool>(batch: &abi::Batch) {
    in_groups!(batch, batch.dim, reduce, floats, ELEMENT, L2)
}

sums_of_floats! {
    #[inline(always)]
    8, vdupq_n_f32(0.0), vaddq_f32 -> float32x4_t
}

/// Eight elements as floats.
///
/// # Safety
///
/// `p` points to eight elements.
#[inline(always)]
unsafe fn block<const ELEMENT: u32>(p: *const u8) -> (float32x4_t, float32x4_t) {
    // SAFETY: as the caller's; loads of bytes need no alignment.
    unsafe {
        let low = vld1q_u8(p);
        if ELEMENT == abi::F32 {
            (vreinterpretq_f32_u8(low), vreinterpretq_f32_u8(vld1q_u8(p.add(16))))
        } else {
            halves::<ELEMENT>(vreinterpretq_u16_u8(low))
        }
    }
}

/// The `n < 8` elements at `p` and zeros, in the order of [`block`].
///
/// # Safety
///
/// `p` points to `n` elements.
#[inline(always)]
unsafe fn partial<const ELEMENT: u32>(p: *const u8, n: usize) -> (float32x4_t, float32x4_t) {
    // SAFETY: as the caller's.
    unsafe {
        if ELEMENT != abi::F32 {
            halves::<ELEMENT>(vreinterpretq_u16_u8(bytes16(p, 2 * n)))
        } else if n >= 4 {
            let second = bytes16(p.add(16), 4 * (n - 4));
            (vreinterpretq_f32_u8(vld1q_u8(p)), vreinterpretq_f32_u8(second))
        } else {
            (vreinterpretq_f32_u8(bytes16(p, 4 * n)), vdupq_n_f32(0.0))
        }
    }
}

/// Eight elements of sixteen bits as floats.
///
/// # Safety
///
/// None beyond NEON, which every AArch64 has.
#[inline(always)]
unsafe fn halves<const ELEMENT: u32>(x: uint16x8_t) -> (float32x4_t, float32x4_t) {
    // SAFETY: every AArch64 has NEON.
    unsafe {
        let (low, high) = (vmovl_u16(vget_low_u16(x)), vmovl_u16(vget_high_u16(x)));
        if ELEMENT == abi::F16 {
            (float16(low), float16(high))
        } else {
            (
                vreinterpretq_f32_u32(vshlq_n_u32::<16>(low)),
                vreinterpretq_f32_u32(vshlq_n_u32::<16>(high)),
            )
        }
    }
}

/// Four binary16, in words, as floats: what `element::f16_to_f32` does.
///
/// # Safety
///
/// None beyond NEON, which every AArch64 has.
#[inline(always)]
unsafe fn float16(x: uint32x4_t) -> float32x4_t {
    // SAFETY: every AArch64 has NEON.
    unsafe {
        let magnitude = vshlq_n_u32::<13>(vandq_u32(x, vdupq_n_u32(0x7fff)));
        let scale = vreinterpretq_f32_u32(vdupq_n_u32((127 + 112) << 23));
        let magnitude = vreinterpretq_u32_f32(vmulq_f32(vreinterpretq_f32_u32(magnitude), scale));
        let sign = vshlq_n_u32::<16>(vandq_u32(x, vdupq_n_u32(0x8000)));
        vreinterpretq_f32_u32(vorrq_u32(magnitude, sign))
    }
}

/// # Safety
///
/// None beyond NEON, which every AArch64 has.
#[inline(always)]
unsafe fn step<const L2: bool>(q: float32x4_t, r: float32x4_t, sum: float32x4_t) -> float32x4_t {
    // SAFETY: every AArch64 has NEON.
    unsafe {
        if L2 {
            let difference = vsubq_f32(q, r);
            vfmaq_f32(sum, difference, difference)
        } else {
            vfmaq_f32(sum, q, r)
        }
    }
}

/// Adds each register's lanes: neighbours first.
///
/// # Safety
///
/// None beyond NEON, which every AArch64 has.
#[inline(always)]
unsafe fn sums(v: [float32x4_t; 4]) -> float32x4_t {
    // SAFETY: every AArch64 has NEON.
    unsafe { vpaddq_f32(vpaddq_f32(v[0], v[1]), vpaddq_f32(v[2], v[3])) }
}
