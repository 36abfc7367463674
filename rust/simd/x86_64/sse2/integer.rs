// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! i8, u8 and codes. The sums are exact, so their order is of no importance.

use crate::abi;
use crate::groups::in_groups;
use crate::x86_64::ask_for;
use crate::x86_64::partial::bytes16;
use crate::x86_64::reduce::reduce_codes;
use crate::x86_64::reduce::reduce_integers;
use core::arch::x86_64::*;

/// # Safety
///
/// `batch` holds its invariants and is of `ELEMENT`s, which are bytes.
pub(super) unsafe fn bytes<const ELEMENT: u32, const L2: bool>(batch: &abi::Batch) {
    in_groups!(batch, batch.dim, reduce_integers, sums_of_bytes, ELEMENT, L2)
}

/// # Safety
///
/// `batch` holds its invariants and is of codes.
pub(super) unsafe fn codes(batch: &abi::Batch) {
    in_groups!(batch, batch.dim, reduce_codes, sums_of_bytes, abi::SQ8, false)
}

/// The sums of `N` rows: bytes become words, whose products are added in pairs.
///
/// # Safety
///
/// `q` points to `size` elements, or weights of words that are padded to sixteen, each of `r` to `size` bytes.
#[inline(always)]
unsafe fn sums_of_bytes<const ELEMENT: u32, const L2: bool, const N: usize>(
    q: *const u8,
    r: [*const u8; N],
    next: [*const u8; N],
    size: usize,
) -> __m128i {
    // SAFETY: whole blocks and tails end at or before `size`, and a prefetch of any address is harmless.
    unsafe {
        let mut sums = [_mm_setzero_si128(); 4];
        let mut i = 0;
        while i < size {
            let left = size - i;
            let load = |p: *const u8| {
                if left >= 16 {
                    _mm_loadu_si128(p.add(i).cast())
                } else {
                    bytes16(p.add(i), left)
                }
            };
            let (q0, q1) = if ELEMENT == abi::SQ8 {
                let q = q.add(2 * i);
                (_mm_loadu_si128(q.cast()), _mm_loadu_si128(q.add(16).cast()))
            } else {
                words::<ELEMENT>(load(q))
            };
            for k in 0..N {
                if N == 4 && i % 64 == 0 {
                    ask_for(next[k].wrapping_add(i));
                }
                let (r0, r1) = words::<ELEMENT>(load(r[k]));
                sums[k] = step::<L2>(q0, r0, step::<L2>(q1, r1, sums[k]));
            }
            i += 16;
        }
        // A transpose by unpacking: two rounds, each adding what lies side by side.
        let ab = _mm_add_epi32(
            _mm_unpacklo_epi32(sums[0], sums[1]),
            _mm_unpackhi_epi32(sums[0], sums[1]),
        );
        let cd = _mm_add_epi32(
            _mm_unpacklo_epi32(sums[2], sums[3]),
            _mm_unpackhi_epi32(sums[2], sums[3]),
        );
        _mm_add_epi32(_mm_unpacklo_epi64(ab, cd), _mm_unpackhi_epi64(ab, cd))
    }
}

/// Sixteen bytes as words.
///
/// # Safety
///
/// None beyond SSE2, which every x86-64 has.
#[inline(always)]
unsafe fn words<const ELEMENT: u32>(x: __m128i) -> (__m128i, __m128i) {
    // SAFETY: every x86-64 has SSE2.
    unsafe {
        if ELEMENT == abi::I8 {
            // Each byte in the upper half of a word, then moved down with its sign.
            (
                _mm_srai_epi16::<8>(_mm_unpacklo_epi8(x, x)),
                _mm_srai_epi16::<8>(_mm_unpackhi_epi8(x, x)),
            )
        } else {
            let zero = _mm_setzero_si128();
            (_mm_unpacklo_epi8(x, zero), _mm_unpackhi_epi8(x, zero))
        }
    }
}

/// # Safety
///
/// None beyond SSE2, which every x86-64 has.
#[inline(always)]
unsafe fn step<const L2: bool>(q: __m128i, r: __m128i, sum: __m128i) -> __m128i {
    // SAFETY: every x86-64 has SSE2.
    unsafe {
        if L2 {
            let difference = _mm_sub_epi16(q, r);
            _mm_add_epi32(_mm_madd_epi16(difference, difference), sum)
        } else {
            _mm_add_epi32(_mm_madd_epi16(q, r), sum)
        }
    }
}
