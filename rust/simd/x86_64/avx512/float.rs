// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! f32, f16 and bf16: 32 elements a step, two accumulators of sixteen lanes a row, in f32.
//!
//! Order of summation (fixed, whatever the row's place): of 32 elements, those of the first half (bf16: the even ones)
//! go to the lanes of the first accumulator, the others to the second's, missing ones count as zero; accumulators are
//! added, then lanes as in [`sums`].

use crate::abi;
use crate::groups::in_groups;
use crate::groups::sums_of_floats;
use crate::x86_64::ask_for;
use crate::x86_64::reduce::reduce;
use core::arch::x86_64::*;

/// # Safety
///
/// `batch` holds its invariants and is of `ELEMENT`s; the CPU has what this file enables.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,fma,f16c")]
pub(super) unsafe fn run<const ELEMENT: u32, const L2: bool>(batch: &abi::Batch) {
    in_groups!(batch, batch.dim, reduce, floats, ELEMENT, L2)
}

sums_of_floats! {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,fma,f16c")]
    32, _mm512_setzero_ps(), _mm512_add_ps -> __m128
}

/// 32 elements as floats.
///
/// # Safety
///
/// `p` points to 32 elements; the CPU has what this file enables.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,fma,f16c")]
unsafe fn block<const ELEMENT: u32>(p: *const u8) -> (__m512, __m512) {
    // SAFETY: as the caller's.
    unsafe {
        if ELEMENT == abi::F32 {
            (_mm512_loadu_ps(p.cast()), _mm512_loadu_ps(p.add(64).cast()))
        } else {
            halves::<ELEMENT>(_mm512_loadu_si512(p.cast()))
        }
    }
}

/// The `n < 32` elements at `p` and zeros, in the order of [`block`].
///
/// # Safety
///
/// `p` points to `n` elements; the CPU has what this file enables.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,fma,f16c")]
unsafe fn partial<const ELEMENT: u32>(p: *const u8, n: usize) -> (__m512, __m512) {
    // SAFETY: as the caller's: masked elements are not read.
    unsafe {
        let mask = (1u32 << n).wrapping_sub(1);
        if ELEMENT == abi::F32 {
            let first = _mm512_maskz_loadu_ps(mask as u16, p.cast());
            if n <= 16 {
                (first, _mm512_setzero_ps())
            } else {
                let second = _mm512_maskz_loadu_ps((mask >> 16) as u16, p.add(64).cast());
                (first, second)
            }
        } else {
            halves::<ELEMENT>(_mm512_maskz_loadu_epi16(mask, p.cast()))
        }
    }
}

/// 32 elements of sixteen bits as floats.
///
/// # Safety
///
/// The CPU has what this file enables.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,fma,f16c")]
unsafe fn halves<const ELEMENT: u32>(x: __m512i) -> (__m512, __m512) {
    // SAFETY: the CPU has the instructions.
    unsafe {
        if ELEMENT == abi::F16 {
            (
                _mm512_cvtph_ps(_mm512_castsi512_si256(x)),
                _mm512_cvtph_ps(_mm512_extracti64x4_epi64::<1>(x)),
            )
        } else {
            let odd = _mm512_and_si512(x, _mm512_set1_epi32(0xffff_0000_u32 as i32));
            (
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(x)),
                _mm512_castsi512_ps(odd),
            )
        }
    }
}

/// # Safety
///
/// The CPU has what this file enables.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,fma,f16c")]
unsafe fn step<const L2: bool>(q: __m512, r: __m512, sum: __m512) -> __m512 {
    // SAFETY: the CPU has the instructions.
    unsafe {
        if L2 {
            let difference = _mm512_sub_ps(q, r);
            _mm512_fmadd_ps(difference, difference, sum)
        } else {
            _mm512_fmadd_ps(q, r, sum)
        }
    }
}

/// Adds each register's lanes: halves first, then `((0+1)+(2+3)) + ((4+5)+(6+7))`.
///
/// # Safety
///
/// The CPU has what this file enables.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,fma,f16c")]
unsafe fn sums(v: [__m512; 4]) -> __m128 {
    // SAFETY: the CPU has the instructions.
    unsafe {
        let half = |x: __m512| {
            let high = _mm512_extractf64x4_pd::<1>(_mm512_castps_pd(x));
            _mm256_add_ps(_mm512_castps512_ps256(x), _mm256_castpd_ps(high))
        };
        let pairs = _mm256_hadd_ps(
            _mm256_hadd_ps(half(v[0]), half(v[1])),
            _mm256_hadd_ps(half(v[2]), half(v[3])),
        );
        _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps::<1>(pairs))
    }
}
