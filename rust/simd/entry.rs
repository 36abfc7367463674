// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The island's exported functions: one a variant, and the norms.
//!
//! In the module they are what `lib.rs` links against; in userspace `lib.rs` calls them directly.

use crate::abi;
use crate::scalar;

/// Runs `$module::run` for the batch's metric.
macro_rules! by_metric {
    ($batch:expr, $($path:ident)::+) => {
        match $batch.metric {
            abi::L2 => $($path)::+::<{ abi::L2 }>($batch),
            abi::COSINE => $($path)::+::<{ abi::COSINE }>($batch),
            _ => $($path)::+::<{ abi::INNER_PRODUCT }>($batch),
        }
    };
}

/// Keys of a batch in portable code.
///
/// # Safety
///
/// `batch` holds its invariants; the caller is inside an FPU section.
#[no_mangle]
pub unsafe extern "C" fn vexfs_simd_scalar(batch: *const abi::Batch) {
    // SAFETY: the caller's promise.
    unsafe {
        let batch = &*batch;
        by_metric!(batch, scalar::run)
    }
}

/// Keys of a batch with SSE2.
///
/// # Safety
///
/// As [`vexfs_simd_scalar`]; the CPU has SSE2.
#[cfg(target_arch = "x86_64")]
#[no_mangle]
pub unsafe extern "C" fn vexfs_simd_sse2(batch: *const abi::Batch) {
    // SAFETY: the caller's promise.
    unsafe {
        let batch = &*batch;
        by_metric!(batch, crate::x86_64::sse2::run)
    }
}

/// Keys of a batch with AVX2 and FMA.
///
/// # Safety
///
/// As [`vexfs_simd_scalar`]; the CPU has AVX2 and FMA and the OS saves the YMM state.
#[cfg(target_arch = "x86_64")]
#[no_mangle]
pub unsafe extern "C" fn vexfs_simd_avx2(batch: *const abi::Batch) {
    // SAFETY: the caller's promise.
    unsafe {
        let batch = &*batch;
        by_metric!(batch, crate::x86_64::avx2::run)
    }
}

/// Writes the inverse norm of each of `count` packed rows to `out`.
///
/// # Safety
///
/// `rows` points to `count * dim` finite floats, `out` to `count` words; the caller is inside an FPU section.
#[no_mangle]
pub unsafe extern "C" fn vexfs_simd_inv_norms(rows: *const u32, dim: usize, count: usize, out: *mut u32) {
    // Never so; without it the compiler makes a call to memset for this case.
    if dim == 0 {
        return;
    }
    for i in 0..count {
        // SAFETY: `i < count`.
        unsafe {
            let norm = scalar::norm(rows.add(i * dim).cast(), dim);
            *out.add(i) = scalar::inv_norm(norm).to_bits();
        }
    }
}

/// Scales each of `count` packed rows to unit length; leaves zero vectors alone.
///
/// # Safety
///
/// `rows` points to `count * dim` finite floats that nobody else has access to; the caller is inside an FPU section.
#[no_mangle]
pub unsafe extern "C" fn vexfs_simd_normalize(rows: *mut u32, dim: usize, count: usize) {
    for i in 0..count {
        // SAFETY: `i < count`.
        unsafe { scalar::normalize(rows.add(i * dim).cast(), dim) };
    }
}
