// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The last bytes of a vector, padded with zeros.
//!
//! Not by masked loads: emulated CPUs read all of their 32 bytes, and a real one is slow where they cross into an
//! absent page. Loads that overlap within the vector do, and need no buffer in memory.

use core::arch::x86_64::*;

/// The `n < 16` bytes at `p`, the rest zero.
///
/// # Safety
///
/// `p` points to `n` bytes.
#[inline(always)]
pub(super) unsafe fn bytes16(p: *const u8, n: usize) -> __m128i {
    // SAFETY: each load ends at or before byte `n`.
    unsafe {
        let u64_at = |at: usize| p.add(at).cast::<u64>().read_unaligned();
        let u32_at = |at: usize| u64::from(p.add(at).cast::<u32>().read_unaligned());
        let u16_at = |at: usize| u64::from(p.add(at).cast::<u16>().read_unaligned());
        let (low, high) = if n > 8 {
            (u64_at(0), u64_at(n - 8) >> (8 * (16 - n)))
        } else if n == 8 {
            (u64_at(0), 0)
        } else if n >= 4 {
            (u32_at(0) | u32_at(n - 4) << (8 * (n - 4)), 0)
        } else if n >= 2 {
            (u16_at(0) | u16_at(n - 2) << (8 * (n - 2)), 0)
        } else if n == 1 {
            (u64::from(*p), 0)
        } else {
            (0, 0)
        };
        _mm_set_epi64x(high as i64, low as i64)
    }
}
