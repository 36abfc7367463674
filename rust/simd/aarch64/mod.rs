// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! NEON, which every AArch64 has. `groups.rs` says what all vectorised kernels have in common.
#![allow(unused_unsafe)] // Intrinsics on registers became safe in Rust 1.87.

mod float;
mod integer;

use crate::abi;
use crate::groups::by_element;
use core::arch::aarch64::*;

/// # Safety
///
/// `batch` holds its invariants.
pub(crate) unsafe fn run(batch: &abi::Batch) {
    // SAFETY: the caller's promise.
    unsafe { by_element!(batch, abi::BINARY => integer::bits(batch), _ => integer::codes(batch)) }
}

/// Writes keys `i .. i + LIVE`, given their rows' sums in the first lanes.
///
/// # Safety
///
/// `batch` holds its invariants, and `i + LIVE <= batch.count`.
#[inline(always)]
unsafe fn reduce<const LIVE: usize>(batch: &abi::Batch, i: usize, sums: float32x4_t) {
    let mut lanes = [0f32; 4];
    // SAFETY: as the caller's; the lanes are four floats.
    unsafe {
        vst1q_f32(lanes.as_mut_ptr(), sums);
        for (k, sum) in lanes.iter().enumerate() {
            if k < LIVE {
                crate::reduce::reduce(batch, i + k, *sum);
            }
        }
    }
}

/// The same for sums that are integers.
///
/// # Safety
///
/// As [`reduce`].
#[inline(always)]
unsafe fn reduce_integers<const LIVE: usize>(batch: &abi::Batch, i: usize, sums: int32x4_t) {
    // SAFETY: as the caller's.
    unsafe { reduce::<LIVE>(batch, i, vcvtq_f32_s32(sums)) }
}

/// The same for sums of weights times codes.
///
/// # Safety
///
/// As [`reduce`], and the batch is of codes.
#[inline(always)]
unsafe fn reduce_codes<const LIVE: usize>(batch: &abi::Batch, i: usize, sums: int32x4_t) {
    let mut lanes = [0i32; 4];
    // SAFETY: as the caller's; the lanes are four integers.
    unsafe {
        vst1q_s32(lanes.as_mut_ptr(), sums);
        for (k, sum) in lanes.iter().enumerate() {
            if k < LIVE {
                crate::reduce::reduce_codes(batch, i + k, *sum);
            }
        }
    }
}

/// The `n < 16` bytes at `p`, the rest zero.
///
/// # Safety
///
/// `p` points to `n` bytes, and `n` is less than sixteen.
#[inline(always)]
unsafe fn bytes16(p: *const u8, n: usize) -> uint8x16_t {
    let mut padded = [0u8; 16];
    // SAFETY: both sides have `n` bytes, and `padded` has sixteen.
    unsafe {
        core::ptr::copy_nonoverlapping(p, padded.as_mut_ptr(), n);
        vld1q_u8(padded.as_ptr())
    }
}
