// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The float island as the module sees it: symbols of another object, documented in `entry.rs`.

use crate::abi;

extern "C" {
    pub(crate) fn vexfs_simd_scalar(batch: *const abi::Batch);
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn vexfs_simd_sse2(batch: *const abi::Batch);
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn vexfs_simd_avx2(batch: *const abi::Batch);
    pub(crate) fn vexfs_simd_inv_norms(
        element: u32,
        rows: *const u8,
        dim: usize,
        bytes: usize,
        count: usize,
        out: *mut u32,
    );
    pub(crate) fn vexfs_simd_normalize(element: u32, rows: *mut u8, dim: usize, bytes: usize, count: usize);
}
