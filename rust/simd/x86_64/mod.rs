// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Kernels for x86-64, one folder an instruction set, one file a family of elements; `groups.rs` says what they have in
//! common.

pub(crate) mod avx2;
#[cfg(vexfs_avx512)]
pub(crate) mod avx512;
mod partial;
mod reduce;
pub(crate) mod sse2;

/// Asks for the cache line with the byte at `at`, which need not exist.
#[inline(always)]
fn ask_for(at: *const u8) {
    // SAFETY: a prefetch changes nothing but the cache.
    unsafe { core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(at.cast()) }
}
