// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The hard-float object as the module sees it: symbols of another object, documented in `entry.rs`.

use crate::abi;

extern "C" {
    pub(crate) fn vexfs_simd_scalar(batch: *const abi::Batch);
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn vexfs_simd_sse2(batch: *const abi::Batch);
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn vexfs_simd_avx2(batch: *const abi::Batch);
    #[cfg(all(target_arch = "x86_64", vexfs_avx512))]
    pub(crate) fn vexfs_simd_avx512(batch: *const abi::Batch);
    #[cfg(target_arch = "aarch64")]
    pub(crate) fn vexfs_simd_neon(batch: *const abi::Batch);
    pub(crate) fn vexfs_simd_inv_norms(
        element: u32,
        rows: *const u8,
        dim: usize,
        bytes: usize,
        count: usize,
        out: *mut u32,
    );
    pub(crate) fn vexfs_simd_normalize(element: u32, rows: *mut u8, dim: usize, bytes: usize, count: usize);
    pub(crate) fn vexfs_simd_convert(coding: *const abi::Coding, to: u32);
    pub(crate) fn vexfs_simd_codes_begin(params: *mut u8, dim: usize);
    pub(crate) fn vexfs_simd_codes_train(coding: *const abi::Coding);
    pub(crate) fn vexfs_simd_codes_end(params: *mut u8, dim: usize);
    pub(crate) fn vexfs_simd_codes_encode(coding: *const abi::Coding);
    pub(crate) fn vexfs_simd_codes_weigh(
        coding: *const abi::Coding,
        split: u32,
        padded: usize,
        constants: *mut abi::Constants,
    );
}
