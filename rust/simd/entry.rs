// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The island's exported functions.
//!
//! In the module they are what `lib.rs` links against; in userspace `lib.rs` calls them directly.

use crate::abi;
use crate::norms;
use crate::scalar;

/// Keys of a batch in portable code.
///
/// # Safety
///
/// `batch` holds its invariants; the caller is inside an FPU section.
#[no_mangle]
pub unsafe extern "C" fn vexfs_simd_scalar(batch: *const abi::Batch) {
    // SAFETY: the caller's promise.
    unsafe { scalar::run(&*batch) }
}

/// Keys of a batch with SSE2.
///
/// # Safety
///
/// As [`vexfs_simd_scalar`].
#[cfg(target_arch = "x86_64")]
#[no_mangle]
pub unsafe extern "C" fn vexfs_simd_sse2(batch: *const abi::Batch) {
    // SAFETY: the caller's promise.
    unsafe { crate::x86_64::sse2::run(&*batch) }
}

/// Keys of a batch with AVX2, FMA and F16C.
///
/// # Safety
///
/// As [`vexfs_simd_scalar`]; the CPU has AVX2, FMA, F16C and POPCNT, and the OS saves the YMM state.
#[cfg(target_arch = "x86_64")]
#[no_mangle]
pub unsafe extern "C" fn vexfs_simd_avx2(batch: *const abi::Batch) {
    // SAFETY: the caller's promise.
    unsafe { crate::x86_64::avx2::run(&*batch) }
}

/// Writes the inverse norm of each of `count` packed rows to `out`; that of a binary row is never asked for.
///
/// # Safety
///
/// `rows` points to `count` rows of `dim` elements of type `element`, which are finite and take `bytes` bytes, `out` to `count`
/// words; the caller is inside an FPU section.
#[no_mangle]
pub unsafe extern "C" fn vexfs_simd_inv_norms(
    element: u32,
    rows: *const u8,
    dim: usize,
    bytes: usize,
    count: usize,
    out: *mut u32,
) {
    for i in 0..count {
        // SAFETY: `i < count`.
        unsafe {
            let row = rows.add(i * bytes);
            let norm = match element {
                abi::F32 => norms::norm::<{ abi::F32 }>(row, dim),
                abi::F16 => norms::norm::<{ abi::F16 }>(row, dim),
                abi::BF16 => norms::norm::<{ abi::BF16 }>(row, dim),
                abi::I8 => norms::norm::<{ abi::I8 }>(row, dim),
                _ => norms::norm::<{ abi::U8 }>(row, dim),
            };
            *out.add(i) = norms::inv_norm(norm).to_bits();
        }
    }
}

/// Scales each of `count` packed rows of floats to unit length; leaves zero vectors alone.
///
/// # Safety
///
/// As [`vexfs_simd_inv_norms`], and nobody else has access to the rows; `element` is a float type.
#[no_mangle]
pub unsafe extern "C" fn vexfs_simd_normalize(element: u32, rows: *mut u8, dim: usize, bytes: usize, count: usize) {
    for i in 0..count {
        // SAFETY: `i < count`.
        unsafe {
            let row = rows.add(i * bytes);
            match element {
                abi::F32 => norms::normalize::<{ abi::F32 }>(row, dim),
                abi::F16 => norms::normalize::<{ abi::F16 }>(row, dim),
                _ => norms::normalize::<{ abi::BF16 }>(row, dim),
            }
        }
    }
}
