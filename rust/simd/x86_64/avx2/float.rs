// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! f32, f16 and bf16: sixteen elements a step, two accumulators of eight lanes a row, in f32.
//!
//! Order of summation (fixed, whatever the row's place): of sixteen elements, those of the first half (bf16: the even
//! ones) go to the lanes of the first accumulator, the others to the second's, missing ones count as zero; accumulators
//! are added, then lanes as in [`sums`].

use super::partial::bytes32;
use crate::abi;
use crate::groups::in_groups;
use crate::groups::sums_of_floats;
use crate::x86_64::ask_for;
use crate::x86_64::reduce::reduce;
use core::arch::x86_64::*;

/// # Safety
///
/// `batch` holds its invariants and is of `ELEMENT`s; the CPU has what this file enables.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn run<const ELEMENT: u32, const L2: bool>(batch: &abi::Batch) {
    in_groups!(batch, batch.dim, reduce, floats, ELEMENT, L2)
}

sums_of_floats! {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    16, _mm256_setzero_ps(), _mm256_add_ps -> __m128
}

/// Sixteen elements as floats.
///
/// # Safety
///
/// `p` points to sixteen elements; the CPU has what this file enables.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn block<const ELEMENT: u32>(p: *const u8) -> (__m256, __m256) {
    // SAFETY: as the caller's.
    unsafe {
        if ELEMENT == abi::F32 {
            (_mm256_loadu_ps(p.cast()), _mm256_loadu_ps(p.add(32).cast()))
        } else {
            halves::<ELEMENT>(_mm256_loadu_si256(p.cast()))
        }
    }
}

/// The `n < 16` elements at `p` and zeros, in the order of [`block`].
///
/// # Safety
///
/// `p` points to `n` elements; the CPU has what this file enables.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn partial<const ELEMENT: u32>(p: *const u8, n: usize) -> (__m256, __m256) {
    // SAFETY: as the caller's.
    unsafe {
        if ELEMENT == abi::F32 {
            if n >= 8 {
                let second = bytes32(p.add(32), 4 * (n - 8));
                (_mm256_loadu_ps(p.cast()), _mm256_castsi256_ps(second))
            } else {
                (_mm256_castsi256_ps(bytes32(p, 4 * n)), _mm256_setzero_ps())
            }
        } else {
            halves::<ELEMENT>(bytes32(p, 2 * n))
        }
    }
}

/// Sixteen elements of sixteen bits as floats.
///
/// # Safety
///
/// The CPU has what this file enables.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn halves<const ELEMENT: u32>(x: __m256i) -> (__m256, __m256) {
    // SAFETY: the CPU has the instructions.
    unsafe {
        if ELEMENT == abi::F16 {
            (
                _mm256_cvtph_ps(_mm256_castsi256_si128(x)),
                _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(x)),
            )
        } else {
            let odd = _mm256_and_si256(x, _mm256_set1_epi32(0xffff_0000_u32 as i32));
            (
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(x)),
                _mm256_castsi256_ps(odd),
            )
        }
    }
}

/// # Safety
///
/// The CPU has what this file enables.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn step<const L2: bool>(q: __m256, r: __m256, sum: __m256) -> __m256 {
    // SAFETY: the CPU has the instructions.
    unsafe {
        if L2 {
            let difference = _mm256_sub_ps(q, r);
            _mm256_fmadd_ps(difference, difference, sum)
        } else {
            _mm256_fmadd_ps(q, r, sum)
        }
    }
}

/// Adds each register's lanes: `((0+1)+(2+3)) + ((4+5)+(6+7))`.
///
/// # Safety
///
/// The CPU has what this file enables.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn sums(v: [__m256; 4]) -> __m128 {
    // SAFETY: the CPU has the instructions.
    unsafe {
        let pairs = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
        _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps::<1>(pairs))
    }
}
