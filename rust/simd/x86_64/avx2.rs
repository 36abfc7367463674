// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! AVX2 with FMA: eight lanes, two accumulators a row, four rows a pass.
//!
//! Order of summation (fixed, whatever the row's place): lane `j` of accumulator `p` takes elements `16 t + 8 p + j` in
//! order of `t`, missing ones count as zero; accumulators are added, then lanes as in [`sums`].

use super::sse2::tail as tail4;
use crate::abi;
use core::arch::x86_64::*;

/// How far ahead of its use a cache line is asked for, in floats. On consecutive rows that is the line of a later row; 8 KiB
/// was the best of 2, 4, 8 and 16 for rows of 0.5 to 3 KiB, and beats the hardware prefetcher alone by a tenth.
const AHEAD: usize = 2048;

/// # Safety
///
/// `batch` holds its invariants; the CPU has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn run<const METRIC: u32>(batch: &abi::Batch) {
    in_fours!(batch, METRIC, four::<METRIC>)
}

/// The sums of four rows.
///
/// # Safety
///
/// `q` and each of `r` point to `dim` floats; the CPU has AVX2 and FMA.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn four<const METRIC: u32>(q: *const f32, r: [*const f32; 4], dim: usize) -> __m128 {
    // SAFETY: whole blocks and tails end at or before `dim`, and a prefetch of any address is harmless.
    unsafe {
        let mut even = [_mm256_setzero_ps(); 4];
        let mut odd = [_mm256_setzero_ps(); 4];
        let mut i = 0;
        while i + 16 <= dim {
            let (q0, q1) = (_mm256_loadu_ps(q.add(i)), _mm256_loadu_ps(q.add(i + 8)));
            for k in 0..4 {
                _mm_prefetch::<_MM_HINT_T0>(r[k].wrapping_add(i + AHEAD).cast());
                even[k] = step::<METRIC>(q0, _mm256_loadu_ps(r[k].add(i)), even[k]);
                odd[k] = step::<METRIC>(q1, _mm256_loadu_ps(r[k].add(i + 8)), odd[k]);
            }
            i += 16;
        }
        if i + 8 <= dim {
            let q0 = _mm256_loadu_ps(q.add(i));
            for k in 0..4 {
                even[k] = step::<METRIC>(q0, _mm256_loadu_ps(r[k].add(i)), even[k]);
            }
            i += 8;
            if i < dim {
                let q0 = tail(q.add(i), dim - i);
                for k in 0..4 {
                    odd[k] = step::<METRIC>(q0, tail(r[k].add(i), dim - i), odd[k]);
                }
            }
        } else if i < dim {
            let q0 = tail(q.add(i), dim - i);
            for k in 0..4 {
                even[k] = step::<METRIC>(q0, tail(r[k].add(i), dim - i), even[k]);
            }
        }
        sums([
            _mm256_add_ps(even[0], odd[0]),
            _mm256_add_ps(even[1], odd[1]),
            _mm256_add_ps(even[2], odd[2]),
            _mm256_add_ps(even[3], odd[3]),
        ])
    }
}

/// The first `n < 8` floats at `p`, the rest zero.
///
/// Not by a masked load: emulated CPUs read all of its 32 bytes, and a real one is slow where they cross into an absent page.
///
/// # Safety
///
/// `p` points to `n` floats; the CPU has AVX2.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn tail(p: *const f32, n: usize) -> __m256 {
    // SAFETY: both parts together are the `n` floats.
    unsafe {
        match n {
            0..=3 => _mm256_set_m128(_mm_setzero_ps(), tail4(p, n)),
            _ => _mm256_set_m128(tail4(p.add(4), n - 4), _mm_loadu_ps(p)),
        }
    }
}

/// # Safety
///
/// The CPU has AVX2 and FMA.
#[inline]
#[target_feature(enable = "avx2,fma")]
#[allow(unused_unsafe)] // Intrinsics on registers became safe in Rust 1.87.
unsafe fn step<const METRIC: u32>(q: __m256, r: __m256, sum: __m256) -> __m256 {
    // SAFETY: the CPU has the instructions.
    unsafe {
        if METRIC == abi::L2 {
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
/// The CPU has AVX2 and FMA.
#[inline]
#[target_feature(enable = "avx2,fma")]
#[allow(unused_unsafe)] // Intrinsics on registers became safe in Rust 1.87.
unsafe fn sums(v: [__m256; 4]) -> __m128 {
    // SAFETY: the CPU has the instructions.
    unsafe {
        let pairs = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
        _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps::<1>(pairs))
    }
}
