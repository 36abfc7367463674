// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! f32, f16 and bf16: 32 elements a step, two accumulators of sixteen lanes a row, in f32.
//!
//! Order of summation (fixed, whatever the row's place): of 32 elements, those of the first half (bf16: the even ones) go to
//! the lanes of the first accumulator, the others to the second's, missing ones count as zero; accumulators are added, then
//! lanes as in [`sums`].

use crate::abi;
use crate::groups::in_groups;
use crate::x86_64::reduce::reduce;
use core::arch::x86_64::*;

/// # Safety
///
/// `batch` holds its invariants and is of `ELEMENT`s; the CPU has what this file enables.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,fma,f16c")]
pub(super) unsafe fn run<const ELEMENT: u32, const L2: bool>(batch: &abi::Batch) {
    in_groups!(batch, batch.dim, reduce, floats, ELEMENT, L2)
}

/// The sums of `N` rows.
///
/// # Safety
///
/// `q` and each of `r` point to `dim` elements; the CPU has what this file enables.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,fma,f16c")]
unsafe fn floats<const ELEMENT: u32, const L2: bool, const N: usize>(
    q: *const u8,
    r: [*const u8; N],
    next: [*const u8; N],
    dim: usize,
) -> __m128 {
    let size = if ELEMENT == abi::F32 { 4 } else { 2 };
    // SAFETY: whole blocks and tails end at or before `dim`, and a prefetch of any address is harmless.
    unsafe {
        let mut first = [_mm512_setzero_ps(); N];
        let mut second = [_mm512_setzero_ps(); N];
        let mut i = 0;
        while i + 32 <= dim {
            let at = i * size;
            let (q0, q1) = block::<ELEMENT>(q.add(at));
            for k in 0..N {
                if N == 4 {
                    _mm_prefetch::<_MM_HINT_T0>(next[k].wrapping_add(at).cast());
                    if ELEMENT == abi::F32 {
                        _mm_prefetch::<_MM_HINT_T0>(next[k].wrapping_add(at + 64).cast());
                    }
                }
                let (r0, r1) = block::<ELEMENT>(r[k].add(at));
                first[k] = step::<L2>(q0, r0, first[k]);
                second[k] = step::<L2>(q1, r1, second[k]);
            }
            i += 32;
        }
        if i < dim {
            let (at, left) = (i * size, dim - i);
            let (q0, q1) = partial::<ELEMENT>(q.add(at), left);
            for k in 0..N {
                if N == 4 {
                    _mm_prefetch::<_MM_HINT_T0>(next[k].wrapping_add(at).cast());
                }
                let (r0, r1) = partial::<ELEMENT>(r[k].add(at), left);
                first[k] = step::<L2>(q0, r0, first[k]);
                second[k] = step::<L2>(q1, r1, second[k]);
            }
        }
        let mut total = [_mm512_setzero_ps(); 4];
        for k in 0..N {
            total[k] = _mm512_add_ps(first[k], second[k]);
        }
        sums(total)
    }
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
