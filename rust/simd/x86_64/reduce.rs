// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! From the sums of a group of rows to their keys: `crate::reduce::reduce` for four at once, with the same results.

#![allow(unused_unsafe)] // Intrinsics on registers became safe in Rust 1.87.

use crate::abi;
use crate::norms::EXTREME;
use crate::reduce::reduce_wide;
use crate::reduce::row_term;
use core::arch::x86_64::*;

/// Writes keys `i .. i + LIVE`, given their rows' sums in the first lanes; the others are ignored.
///
/// # Safety
///
/// `batch` holds its invariants, and `i + LIVE <= batch.count`.
#[inline(always)]
pub(super) unsafe fn reduce<const LIVE: usize>(batch: &abi::Batch, i: usize, sums: __m128) {
    // SAFETY: every x86-64 has SSE2; the keys' rows have inverse norms if the metric takes them, and the keys are
    // writable.
    unsafe {
        let distances = match batch.metric {
            abi::COSINE => {
                let norm = |k: usize| {
                    let number = batch.row_number(i + if k < LIVE { k } else { 0 });
                    f32::from_bits(*batch.inv_norms.add(number))
                };
                let row_norms = _mm_setr_ps(norm(0), norm(1), norm(2), norm(3));
                let query_norm = _mm_set1_ps(f32::from_bits(batch.query_inv_norm));
                let cosines = _mm_mul_ps(_mm_mul_ps(sums, query_norm), row_norms);
                let distances = _mm_sub_ps(_mm_set1_ps(1.0), cosines);
                // The second operand is the result if one is NaN.
                let clamped = _mm_min_ps(_mm_set1_ps(2.0), _mm_max_ps(_mm_setzero_ps(), distances));
                // All ones is a NaN.
                let extreme = _mm_set1_ps(EXTREME);
                let extreme = _mm_or_ps(_mm_cmpeq_ps(row_norms, extreme), _mm_cmpeq_ps(query_norm, extreme));
                _mm_or_ps(clamped, extreme)
            }
            abi::INNER_PRODUCT => _mm_xor_ps(sums, _mm_set1_ps(-0.0)),
            _ => sums,
        };
        let bits = store::<LIVE>(batch, i, distances);
        // Infinite or NaN: the exponent is all ones.
        let exponent = _mm_set1_epi32(0x7f80_0000);
        let special = _mm_cmpeq_epi32(_mm_and_si128(bits, exponent), exponent);
        let special = _mm_movemask_ps(_mm_castsi128_ps(special));
        if special != 0 {
            for k in 0..LIVE {
                if special & 1 << k != 0 {
                    reduce_wide(batch, i + k);
                }
            }
        }
    }
}

/// The same for sums that are integers.
///
/// # Safety
///
/// As [`reduce`].
#[inline(always)]
pub(super) unsafe fn reduce_integers<const LIVE: usize>(batch: &abi::Batch, i: usize, sums: __m128i) {
    // SAFETY: as the caller's.
    unsafe { reduce::<LIVE>(batch, i, _mm_cvtepi32_ps(sums)) }
}

/// The same for sums of weights times codes.
///
/// # Safety
///
/// As [`reduce`], and the batch is of codes.
#[inline(always)]
pub(super) unsafe fn reduce_codes<const LIVE: usize>(batch: &abi::Batch, i: usize, sums: __m128i) {
    // SAFETY: every x86-64 has SSE2; rows `i .. i + LIVE` are rows of the batch.
    unsafe {
        let mut terms = _mm_set1_ps(f32::from_bits(batch.constants.base));
        if batch.metric == abi::L2 {
            let term = |k: usize| row_term(batch, i + if k < LIVE { k } else { 0 });
            terms = _mm_add_ps(terms, _mm_setr_ps(term(0), term(1), term(2), term(3)));
        }
        let centred = _mm_cvtepi32_ps(_mm_sub_epi32(sums, _mm_set1_epi32(batch.constants.bias)));
        let products = _mm_mul_ps(_mm_set1_ps(f32::from_bits(batch.constants.factor)), centred);
        let distances = _mm_add_ps(terms, products);
        store::<LIVE>(batch, i, distances);
        let special = _mm_movemask_ps(_mm_cmpunord_ps(distances, distances));
        if special != 0 {
            for k in 0..LIVE {
                if special & 1 << k != 0 {
                    *batch.keys.add(i + k) = u32::MAX;
                }
            }
        }
    }
}

/// Writes the keys of distances, and gives their bits, of which -0.0 has become 0.0. What is written for a NaN is
/// arbitrary.
///
/// # Safety
///
/// As [`reduce`].
#[inline(always)]
unsafe fn store<const LIVE: usize>(batch: &abi::Batch, i: usize, distances: __m128) -> __m128i {
    // SAFETY: every x86-64 has SSE2, and the keys are writable.
    unsafe {
        // Adding +0.0 turns -0.0 into +0.0 and changes nothing else.
        let bits = _mm_castps_si128(_mm_add_ps(distances, _mm_setzero_ps()));
        let flip = _mm_or_si128(_mm_srai_epi32::<31>(bits), _mm_set1_epi32(i32::MIN));
        let keys = _mm_xor_si128(bits, flip);
        let first = batch.keys.add(i);
        match LIVE {
            1 => *first = _mm_cvtsi128_si32(keys) as u32,
            2 => _mm_storel_epi64(first.cast(), keys),
            3 => {
                _mm_storel_epi64(first.cast(), keys);
                *first.add(2) = _mm_cvtsi128_si32(_mm_shuffle_epi32::<2>(keys)) as u32;
            }
            _ => _mm_storeu_si128(first.cast(), keys),
        }
        bits
    }
}
