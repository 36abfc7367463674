// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! i8, u8, codes and bits, sixteen bytes a step. The sums are exact, so their order is of no importance.

use super::bytes16;
use super::reduce_codes;
use super::reduce_integers;
use crate::abi;
use crate::groups::in_groups;
use crate::prefetch::ask_for;
use core::arch::aarch64::*;

/// # Safety
///
/// `batch` holds its invariants and is of `ELEMENT`s, which are bytes.
pub(super) unsafe fn bytes<const ELEMENT: u32, const L2: bool>(batch: &abi::Batch) {
    in_groups!(batch, batch.dim, reduce_integers, sums_of_bytes, ELEMENT, L2)
}

/// # Safety
///
/// `batch` holds its invariants and is of bits.
pub(super) unsafe fn bits(batch: &abi::Batch) {
    in_groups!(batch, batch.bytes, reduce_integers, sums_of_bytes, abi::BINARY, false)
}

/// # Safety
///
/// `batch` holds its invariants and is of codes.
pub(super) unsafe fn codes(batch: &abi::Batch) {
    in_groups!(batch, batch.dim, reduce_codes, sums_of_codes)
}

/// The sixteen bytes of `p` from `i` on, or what is left up to `size` and zeros.
///
/// # Safety
///
/// `p` points to `size` bytes, and `i` is less than `size`.
#[inline(always)]
unsafe fn load(p: *const u8, i: usize, size: usize) -> uint8x16_t {
    // SAFETY: as the caller's.
    unsafe {
        if size - i >= 16 {
            vld1q_u8(p.add(i))
        } else {
            bytes16(p.add(i), size - i)
        }
    }
}

/// The sums of `N` rows.
///
/// # Safety
///
/// `q` and each of `r` point to `size` bytes.
#[inline(always)]
unsafe fn sums_of_bytes<const ELEMENT: u32, const L2: bool, const N: usize>(
    q: *const u8,
    r: [*const u8; N],
    next: [*const u8; N],
    size: usize,
) -> int32x4_t {
    // SAFETY: `i < size` where something is loaded.
    unsafe {
        let mut sums = [vdupq_n_s32(0); 4];
        let mut i = 0;
        while i < size {
            let q0 = load(q, i, size);
            for k in 0..N {
                if N == 4 && i % 64 == 0 {
                    ask_for(next[k].wrapping_add(i));
                }
                sums[k] = step::<ELEMENT, L2>(q0, load(r[k], i, size), sums[k]);
            }
            i += 16;
        }
        vpaddq_s32(vpaddq_s32(sums[0], sums[1]), vpaddq_s32(sums[2], sums[3]))
    }
}

/// # Safety
///
/// None beyond NEON, which every AArch64 has.
#[inline(always)]
unsafe fn step<const ELEMENT: u32, const L2: bool>(q: uint8x16_t, r: uint8x16_t, sum: int32x4_t) -> int32x4_t {
    // SAFETY: every AArch64 has NEON.
    unsafe {
        if ELEMENT == abi::BINARY {
            let pairs = vpaddlq_u8(vcntq_u8(veorq_u8(q, r)));
            vpadalq_s16(sum, vreinterpretq_s16_u16(pairs))
        } else if L2 {
            // A difference without its sign fits an unsigned byte, its square an unsigned word.
            let d = if ELEMENT == abi::I8 {
                vreinterpretq_u8_s8(vabdq_s8(vreinterpretq_s8_u8(q), vreinterpretq_s8_u8(r)))
            } else {
                vabdq_u8(q, r)
            };
            unsigned(vmull_u8(vget_low_u8(d), vget_low_u8(d)), vmull_high_u8(d, d), sum)
        } else if ELEMENT == abi::I8 {
            let (q, r) = (vreinterpretq_s8_u8(q), vreinterpretq_s8_u8(r));
            let sum = vpadalq_s16(sum, vmull_s8(vget_low_s8(q), vget_low_s8(r)));
            vpadalq_s16(sum, vmull_high_s8(q, r))
        } else {
            unsigned(vmull_u8(vget_low_u8(q), vget_low_u8(r)), vmull_high_u8(q, r), sum)
        }
    }
}

/// Adds unsigned words to the sum.
///
/// # Safety
///
/// None beyond NEON, which every AArch64 has.
#[inline(always)]
unsafe fn unsigned(low: uint16x8_t, high: uint16x8_t, sum: int32x4_t) -> int32x4_t {
    // SAFETY: every AArch64 has NEON.
    unsafe {
        let sum = vpadalq_u16(vreinterpretq_u32_s32(sum), low);
        vreinterpretq_s32_u32(vpadalq_u16(sum, high))
    }
}

/// The sums of weights times codes of `N` rows.
///
/// # Safety
///
/// `q` points to weights of words that are padded to sixteen, each of `r` to `size` codes.
#[inline(always)]
unsafe fn sums_of_codes<const N: usize>(
    q: *const u8,
    r: [*const u8; N],
    next: [*const u8; N],
    size: usize,
) -> int32x4_t {
    // SAFETY: `i < size` where something is loaded; the weights are padded, and loads of bytes need no alignment.
    unsafe {
        let mut sums = [vdupq_n_s32(0); 4];
        let mut i = 0;
        while i < size {
            let q0 = vreinterpretq_s16_u8(vld1q_u8(q.add(2 * i)));
            let q1 = vreinterpretq_s16_u8(vld1q_u8(q.add(2 * i + 16)));
            for k in 0..N {
                if N == 4 && i % 64 == 0 {
                    ask_for(next[k].wrapping_add(i));
                }
                let codes = load(r[k], i, size);
                let r0 = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(codes)));
                let r1 = vreinterpretq_s16_u16(vmovl_high_u8(codes));
                let sum = vmlal_high_s16(vmlal_s16(sums[k], vget_low_s16(q0), vget_low_s16(r0)), q0, r0);
                sums[k] = vmlal_high_s16(vmlal_s16(sum, vget_low_s16(q1), vget_low_s16(r1)), q1, r1);
            }
            i += 16;
        }
        vpaddq_s32(vpaddq_s32(sums[0], sums[1]), vpaddq_s32(sums[2], sums[3]))
    }
}
