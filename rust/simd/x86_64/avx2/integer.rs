// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! i8, u8, codes and bits. The sums are exact, so their order is of no importance.

use super::partial::bytes32;
use crate::abi;
use crate::groups::in_groups;
use crate::x86_64::ask_for;
use crate::x86_64::reduce::reduce_codes;
use crate::x86_64::reduce::reduce_integers;
use core::arch::x86_64::*;

/// # Safety
///
/// `batch` holds its invariants and is of `ELEMENT`s, which are bytes; the CPU has what this file enables.
#[target_feature(enable = "avx2,popcnt")]
pub(super) unsafe fn bytes<const ELEMENT: u32, const L2: bool>(batch: &abi::Batch) {
    in_groups!(batch, batch.dim, reduce_integers, sums_of_bytes, ELEMENT, L2)
}

/// # Safety
///
/// As [`bytes`], with codes.
#[target_feature(enable = "avx2,popcnt")]
pub(super) unsafe fn codes(batch: &abi::Batch) {
    in_groups!(batch, batch.dim, reduce_codes, sums_of_bytes, abi::SQ8, false)
}

/// # Safety
///
/// As [`bytes`], with bits.
#[target_feature(enable = "avx2,popcnt")]
pub(super) unsafe fn bits(batch: &abi::Batch) {
    in_groups!(batch, batch.bytes, reduce_integers, sums_of_bits)
}

/// The sums of `N` rows: bytes become words, whose products are added in pairs.
///
/// # Safety
///
/// `q` points to `size` elements, or weights of words that are padded to 32, each of `r` to `size` bytes; the CPU has
/// what this file enables.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
unsafe fn sums_of_bytes<const ELEMENT: u32, const L2: bool, const N: usize>(
    q: *const u8,
    r: [*const u8; N],
    next: [*const u8; N],
    size: usize,
) -> __m128i {
    // SAFETY: whole blocks and tails end at or before `size`, and a prefetch of any address is harmless.
    unsafe {
        let mut sums = [_mm256_setzero_si256(); 4];
        let mut i = 0;
        while i + 32 <= size {
            let (q0, q1) = if ELEMENT == abi::SQ8 {
                weights(q, i)
            } else {
                words::<ELEMENT>(_mm256_loadu_si256(q.add(i).cast()))
            };
            for k in 0..N {
                if N == 4 && i % 64 == 0 {
                    ask_for(next[k].wrapping_add(i));
                }
                let (r0, r1) = words::<ELEMENT>(_mm256_loadu_si256(r[k].add(i).cast()));
                sums[k] = step::<L2>(q0, r0, step::<L2>(q1, r1, sums[k]));
            }
            i += 32;
        }
        if i < size {
            let (q0, q1) = if ELEMENT == abi::SQ8 {
                weights(q, i)
            } else {
                words::<ELEMENT>(bytes32(q.add(i), size - i))
            };
            for k in 0..N {
                let (r0, r1) = words::<ELEMENT>(bytes32(r[k].add(i), size - i));
                sums[k] = step::<L2>(q0, r0, step::<L2>(q1, r1, sums[k]));
            }
        }
        let pairs = _mm256_hadd_epi32(_mm256_hadd_epi32(sums[0], sums[1]), _mm256_hadd_epi32(sums[2], sums[3]));
        _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256::<1>(pairs))
    }
}

/// 32 bytes as words.
///
/// # Safety
///
/// The CPU has what this file enables.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
unsafe fn words<const ELEMENT: u32>(x: __m256i) -> (__m256i, __m256i) {
    // SAFETY: the CPU has the instructions.
    unsafe {
        let (low, high) = (_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x));
        if ELEMENT == abi::I8 {
            (_mm256_cvtepi8_epi16(low), _mm256_cvtepi8_epi16(high))
        } else {
            (_mm256_cvtepu8_epi16(low), _mm256_cvtepu8_epi16(high))
        }
    }
}

/// The weights of codes `i .. i + 32`.
///
/// # Safety
///
/// `q` points to more than `i` weights, and zeros to a multiple of 32; the CPU has what this file enables.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
unsafe fn weights(q: *const u8, i: usize) -> (__m256i, __m256i) {
    // SAFETY: as the caller's.
    unsafe {
        (
            _mm256_loadu_si256(q.add(2 * i).cast()),
            _mm256_loadu_si256(q.add(2 * i + 32).cast()),
        )
    }
}

/// # Safety
///
/// The CPU has what this file enables.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
unsafe fn step<const L2: bool>(q: __m256i, r: __m256i, sum: __m256i) -> __m256i {
    // SAFETY: the CPU has the instructions.
    unsafe {
        if L2 {
            let difference = _mm256_sub_epi16(q, r);
            _mm256_add_epi32(_mm256_madd_epi16(difference, difference), sum)
        } else {
            _mm256_add_epi32(_mm256_madd_epi16(q, r), sum)
        }
    }
}

/// The numbers of differing bits of `N` rows.
///
/// # Safety
///
/// `q` and each of `r` point to `size` bytes; the CPU has what this file enables.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
unsafe fn sums_of_bits<const N: usize>(q: *const u8, r: [*const u8; N], next: [*const u8; N], size: usize) -> __m128i {
    // SAFETY: every word ends at or before `size`, and a prefetch of any address is harmless.
    unsafe {
        let mut sums = [0u32; 4];
        let mut i = 0;
        while i + 8 <= size {
            let q0 = q.add(i).cast::<u64>().read_unaligned();
            for k in 0..N {
                if N == 4 && i % 64 == 0 {
                    ask_for(next[k].wrapping_add(i));
                }
                sums[k] += (q0 ^ r[k].add(i).cast::<u64>().read_unaligned()).count_ones();
            }
            i += 8;
        }
        while i < size {
            for k in 0..N {
                sums[k] += (*q.add(i) ^ *r[k].add(i)).count_ones();
            }
            i += 1;
        }
        _mm_setr_epi32(sums[0] as i32, sums[1] as i32, sums[2] as i32, sums[3] as i32)
    }
}
