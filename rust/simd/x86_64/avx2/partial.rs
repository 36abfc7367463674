// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The last bytes of a vector, padded with zeros: `x86_64::partial` for registers of 32 bytes.

use crate::x86_64::partial::bytes16;
use core::arch::x86_64::*;

/// The `n < 32` bytes at `p`, the rest zero.
///
/// # Safety
///
/// `p` points to `n` bytes; the CPU has AVX2.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn bytes32(p: *const u8, n: usize) -> __m256i {
    // SAFETY: as the caller's.
    unsafe {
        if n >= 16 {
            _mm256_set_m128i(bytes16(p.add(16), n - 16), _mm_loadu_si128(p.cast()))
        } else {
            _mm256_set_m128i(_mm_setzero_si128(), bytes16(p, n))
        }
    }
}
