// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The hard-float object's exported functions.
//!
//! In the module they are what `lib.rs` links against; in userspace `lib.rs` calls them directly.

use crate::abi;
use crate::codes;
use crate::element;
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

/// Keys of a batch with AVX-512.
///
/// # Safety
///
/// As [`vexfs_simd_scalar`]; the CPU has AVX-512 F, BW, VL, VBMI, VNNI and VPOPCNTDQ, FMA and F16C, and the OS saves
/// the ZMM state.
#[cfg(all(target_arch = "x86_64", vexfs_avx512))]
#[no_mangle]
pub unsafe extern "C" fn vexfs_simd_avx512(batch: *const abi::Batch) {
    // SAFETY: the caller's promise.
    unsafe { crate::x86_64::avx512::run(&*batch) }
}

/// Keys of a batch with NEON.
///
/// # Safety
///
/// As [`vexfs_simd_scalar`].
#[cfg(target_arch = "aarch64")]
#[no_mangle]
pub unsafe extern "C" fn vexfs_simd_neon(batch: *const abi::Batch) {
    // SAFETY: the caller's promise.
    unsafe { crate::aarch64::run(&*batch) }
}

/// Writes the inverse norm of each of `count` packed rows to `out`; that of a binary row is never asked for.
///
/// # Safety
///
/// `rows` points to `count` rows of `dim` elements of type `element`, which are finite and take `bytes` bytes, `out` to
/// `count` words; the caller is inside an FPU section.
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

/// Begins the training of codes.
///
/// # Safety
///
/// `params` points to the parameters of `dim` dimensions; the caller is inside an FPU section.
#[no_mangle]
pub unsafe extern "C" fn vexfs_simd_codes_begin(params: *mut u8, dim: usize) {
    // SAFETY: the caller's promise.
    unsafe { codes::train_begin(params, dim) }
}

/// Trains codes with some rows.
///
/// # Safety
///
/// `coding` holds its invariants; the caller is inside an FPU section.
#[no_mangle]
pub unsafe extern "C" fn vexfs_simd_codes_train(coding: *const abi::Coding) {
    // SAFETY: the caller's promise, and `i < count`.
    unsafe {
        let of = &*coding;
        let unit = of.metric == abi::COSINE;
        for i in 0..of.count {
            let row = of.rows.add(i * of.stride);
            match of.element {
                abi::F32 => codes::train_row::<{ abi::F32 }>(of.params, row, of.dim, unit),
                abi::F16 => codes::train_row::<{ abi::F16 }>(of.params, row, of.dim, unit),
                _ => codes::train_row::<{ abi::BF16 }>(of.params, row, of.dim, unit),
            }
        }
    }
}

/// Ends the training of codes.
///
/// # Safety
///
/// As [`vexfs_simd_codes_begin`].
#[no_mangle]
pub unsafe extern "C" fn vexfs_simd_codes_end(params: *mut u8, dim: usize) {
    // SAFETY: the caller's promise.
    unsafe { codes::train_end(params, dim) }
}

/// Writes the codes of some rows.
///
/// # Safety
///
/// `coding` holds its invariants; the caller is inside an FPU section.
#[no_mangle]
pub unsafe extern "C" fn vexfs_simd_codes_encode(coding: *const abi::Coding) {
    // SAFETY: the caller's promise, and `i < count`.
    unsafe {
        let of = &*coding;
        let (unit, term) = (of.metric == abi::COSINE, of.metric == abi::L2);
        for i in 0..of.count {
            let (row, out) = (of.rows.add(i * of.stride), of.out.add(i * of.out_stride));
            match of.element {
                abi::F32 => codes::encode_row::<{ abi::F32 }>(of.params, row, of.dim, unit, term, out),
                abi::F16 => codes::encode_row::<{ abi::F16 }>(of.params, row, of.dim, unit, term, out),
                _ => codes::encode_row::<{ abi::BF16 }>(of.params, row, of.dim, unit, term, out),
            }
        }
    }
}

/// Writes a query's weights, halves apart if `split` is not 0, and what a batch takes besides them.
///
/// # Safety
///
/// `coding` holds its invariants and has one row, the query; instead of codes go weights to `out`, `2 * padded` bytes.
/// `padded` is a multiple of 64 and at least the dimension. `constants` is writable; the caller is inside an FPU
/// section.
#[no_mangle]
pub unsafe extern "C" fn vexfs_simd_codes_weigh(
    coding: *const abi::Coding,
    split: u32,
    padded: usize,
    constants: *mut abi::Constants,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let of = &*coding;
        *constants = match of.element {
            abi::F32 => codes::weigh::<{ abi::F32 }>(of, split != 0, padded),
            abi::F16 => codes::weigh::<{ abi::F16 }>(of, split != 0, padded),
            _ => codes::weigh::<{ abi::BF16 }>(of, split != 0, padded),
        };
    }
}

/// Writes some rows of floats as rows of another type, `to`.
///
/// # Safety
///
/// `coding` holds its invariants, and `to` is a float type or bits; the caller is inside an FPU section.
#[no_mangle]
pub unsafe extern "C" fn vexfs_simd_convert(coding: *const abi::Coding, to: u32) {
    // SAFETY: the caller's promise.
    unsafe {
        let of = &*coding;
        match of.element {
            abi::F32 => convert_rows::<{ abi::F32 }>(of, to),
            abi::F16 => convert_rows::<{ abi::F16 }>(of, to),
            _ => convert_rows::<{ abi::BF16 }>(of, to),
        }
    }
}

/// # Safety
///
/// As [`vexfs_simd_convert`]; the rows are of `FROM`s.
unsafe fn convert_rows<const FROM: u32>(of: &abi::Coding, to: u32) {
    for i in 0..of.count {
        // SAFETY: `i < count`.
        unsafe {
            let (row, out) = (of.rows.add(i * of.stride), of.out.add(i * of.out_stride));
            match to {
                abi::F32 => element::convert::<FROM, { abi::F32 }>(row, of.dim, out),
                abi::F16 => element::convert::<FROM, { abi::F16 }>(row, of.dim, out),
                abi::BF16 => element::convert::<FROM, { abi::BF16 }>(row, of.dim, out),
                _ => element::convert::<FROM, { abi::BINARY }>(row, of.dim, out),
            }
        }
    }
}
