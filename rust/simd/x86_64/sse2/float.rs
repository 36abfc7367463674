// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! f32, f16 and bf16: eight elements a step, two accumulators of four lanes a row, in f32.
//!
//! Order of summation (fixed, whatever the row's place): of eight elements, those of the first half (bf16: the even
//! ones) go to the lanes of the first accumulator, the others to the second's, missing ones count as zero; accumulators
//! are added, then lanes as in [`sums`].

use crate::abi;
use crate::groups::in_groups;
use crate::groups::sums_of_floats;
use crate::x86_64::ask_for;
use crate::x86_64::partial::bytes16;
use crate::x86_64::reduce::reduce;
use core::arch::x86_64::*;

/// # Safety
///
/// `batch` holds its invariants and is of `ELEMENT`s.
pub(super) unsafe fn run<const ELEMENT: u32, const L2: bool>(batch: &abi::Batch) {
    in_groups!(batch, batch.dim, reduce, floats, ELEMENT, L2)
}

sums_of_floats! {
    #[inline(always)]
    8, _mm_setzero_ps(), _mm_add_ps -> __m128
}

/// Eight elements as floats.
///
/// # Safety
///
/// `p` points to eight elements.
#[inline(always)]
unsafe fn block<const ELEMENT: u32>(p: *const u8) -> (__m128, __m128) {
    // SAFETY: as the caller's.
    unsafe {
        if ELEMENT == abi::F32 {
            (_mm_loadu_ps(p.cast()), _mm_loadu_ps(p.add(16).cast()))
        } else {
            halves::<ELEMENT>(_mm_loadu_si128(p.cast()))
        }
    }
}

/// The `n < 8` elements at `p` and zeros, in the order of [`block`].
///
/// # Safety
///
/// `p` points to `n` elements.
#[inline(always)]
unsafe fn partial<const ELEMENT: u32>(p: *const u8, n: usize) -> (__m128, __m128) {
    // SAFETY: as the caller's.
    unsafe {
        if ELEMENT == abi::F32 {
            if n >= 4 {
                let second = bytes16(p.add(16), 4 * (n - 4));
                (_mm_loadu_ps(p.cast()), _mm_castsi128_ps(second))
            } else {
                (_mm_castsi128_ps(bytes16(p, 4 * n)), _mm_setzero_ps())
            }
        } else {
            halves::<ELEMENT>(bytes16(p, 2 * n))
        }
    }
}

/// Eight elements of sixteen bits as floats.
///
/// # Safety
///
/// None beyond SSE2, which every x86-64 has.
#[inline(always)]
unsafe fn halves<const ELEMENT: u32>(x: __m128i) -> (__m128, __m128) {
    // SAFETY: every x86-64 has SSE2.
    unsafe {
        if ELEMENT == abi::F16 {
            let zero = _mm_setzero_si128();
            (
                float16(_mm_unpacklo_epi16(x, zero)),
                float16(_mm_unpackhi_epi16(x, zero)),
            )
        } else {
            let odd = _mm_and_si128(x, _mm_set1_epi32(0xffff_0000_u32 as i32));
            (_mm_castsi128_ps(_mm_slli_epi32::<16>(x)), _mm_castsi128_ps(odd))
        }
    }
}

/// Four binary16, in words, as floats: what `element::f16_to_f32` does.
///
/// # Safety
///
/// None beyond SSE2, which every x86-64 has.
#[inline(always)]
unsafe fn float16(x: __m128i) -> __m128 {
    // SAFETY: every x86-64 has SSE2.
    unsafe {
        let magnitude = _mm_slli_epi32::<13>(_mm_and_si128(x, _mm_set1_epi32(0x7fff)));
        let scale = _mm_castsi128_ps(_mm_set1_epi32((127 + 112) << 23));
        let sign = _mm_slli_epi32::<16>(_mm_and_si128(x, _mm_set1_epi32(0x8000)));
        _mm_or_ps(_mm_mul_ps(_mm_castsi128_ps(magnitude), scale), _mm_castsi128_ps(sign))
    }
}

/// # Safety
///
/// None beyond SSE2, which every x86-64 has.
#[inline(always)]
unsafe fn step<const L2: bool>(q: __m128, r: __m128, sum: __m128) -> __m128 {
    // SAFETY: every x86-64 has SSE2.
    unsafe {
        if L2 {
            let difference = _mm_sub_ps(q, r);
            _mm_add_ps(_mm_mul_ps(difference, difference), sum)
        } else {
            _mm_add_ps(_mm_mul_ps(q, r), sum)
        }
    }
}

/// Adds each register's lanes: `(0+2) + (1+3)`.
///
/// # Safety
///
/// None beyond SSE2, which every x86-64 has.
#[inline(always)]
unsafe fn sums(v: [__m128; 4]) -> __m128 {
    // SAFETY: every x86-64 has SSE2.
    unsafe {
        // A transpose by unpacking: two rounds, each adding what lies side by side.
        let ab = _mm_add_ps(_mm_unpacklo_ps(v[0], v[1]), _mm_unpackhi_ps(v[0], v[1]));
        let cd = _mm_add_ps(_mm_unpacklo_ps(v[2], v[3]), _mm_unpackhi_ps(v[2], v[3]));
        _mm_add_ps(_mm_movelh_ps(ab, cd), _mm_movehl_ps(cd, ab))
    }
}
