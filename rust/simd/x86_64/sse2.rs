// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! SSE2, which every x86-64 has: four lanes, two accumulators a row, four rows a pass.
//!
//! Order of summation (fixed, whatever the row's place): lane `j` of accumulator `p` takes elements `8 t + 4 p + j` in
//! order of `t`, missing ones count as zero; accumulators are added, then lanes as in [`sums`].

use crate::abi;
use core::arch::x86_64::*;

/// How far ahead of its use a cache line is asked for, in floats. On consecutive rows that is the line of a later row; 8 KiB
/// was the best of 2, 4, 8 and 16 for rows of 0.5 to 3 KiB, and beats the hardware prefetcher alone by a tenth.
const AHEAD: usize = 2048;

/// # Safety
///
/// `batch` holds its invariants.
pub(crate) unsafe fn run<const METRIC: u32>(batch: &abi::Batch) {
    in_fours!(batch, METRIC, four::<METRIC>)
}

/// The sums of four rows.
///
/// # Safety
///
/// `q` and each of `r` point to `dim` floats.
#[inline(always)]
unsafe fn four<const METRIC: u32>(q: *const f32, r: [*const f32; 4], dim: usize) -> __m128 {
    // SAFETY: blocks and tails end at or before `dim`, and a prefetch of any address is harmless.
    unsafe {
        let mut even = [_mm_setzero_ps(); 4];
        let mut odd = [_mm_setzero_ps(); 4];
        let mut i = 0;
        while i + 8 <= dim {
            let (q0, q1) = (_mm_loadu_ps(q.add(i)), _mm_loadu_ps(q.add(i + 4)));
            for k in 0..4 {
                _mm_prefetch::<_MM_HINT_T0>(r[k].wrapping_add(i + AHEAD).cast());
                even[k] = step::<METRIC>(q0, _mm_loadu_ps(r[k].add(i)), even[k]);
                odd[k] = step::<METRIC>(q1, _mm_loadu_ps(r[k].add(i + 4)), odd[k]);
            }
            i += 8;
        }
        if i + 4 <= dim {
            let q0 = _mm_loadu_ps(q.add(i));
            for k in 0..4 {
                even[k] = step::<METRIC>(q0, _mm_loadu_ps(r[k].add(i)), even[k]);
            }
            i += 4;
            let q0 = tail(q.add(i), dim - i);
            for k in 0..4 {
                odd[k] = step::<METRIC>(q0, tail(r[k].add(i), dim - i), odd[k]);
            }
        } else {
            let q0 = tail(q.add(i), dim - i);
            for k in 0..4 {
                even[k] = step::<METRIC>(q0, tail(r[k].add(i), dim - i), even[k]);
            }
        }
        sums([
            _mm_add_ps(even[0], odd[0]),
            _mm_add_ps(even[1], odd[1]),
            _mm_add_ps(even[2], odd[2]),
            _mm_add_ps(even[3], odd[3]),
        ])
    }
}

/// The first `n < 4` floats at `p`, the rest zero.
///
/// # Safety
///
/// `p` points to `n` floats.
#[inline(always)]
pub(super) unsafe fn tail(p: *const f32, n: usize) -> __m128 {
    // SAFETY: each arm reads `n` floats.
    unsafe {
        match n {
            0 => _mm_setzero_ps(),
            1 => _mm_load_ss(p),
            2 => _mm_castpd_ps(_mm_load_sd(p.cast())),
            _ => _mm_movelh_ps(_mm_castpd_ps(_mm_load_sd(p.cast())), _mm_load_ss(p.add(2))),
        }
    }
}

/// # Safety
///
/// None beyond SSE2, which every x86-64 has.
#[inline(always)]
#[allow(unused_unsafe)] // Intrinsics on registers became safe in Rust 1.87.
unsafe fn step<const METRIC: u32>(q: __m128, r: __m128, sum: __m128) -> __m128 {
    // SAFETY: every x86-64 has SSE2.
    unsafe {
        if METRIC == abi::L2 {
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
#[allow(unused_unsafe)] // Intrinsics on registers became safe in Rust 1.87.
unsafe fn sums(v: [__m128; 4]) -> __m128 {
    // SAFETY: every x86-64 has SSE2.
    unsafe {
        // A transpose by unpacking: two rounds, each adding what lies side by side.
        let ab = _mm_add_ps(_mm_unpacklo_ps(v[0], v[1]), _mm_unpackhi_ps(v[0], v[1]));
        let cd = _mm_add_ps(_mm_unpacklo_ps(v[2], v[3]), _mm_unpackhi_ps(v[2], v[3]));
        _mm_add_ps(_mm_movelh_ps(ab, cd), _mm_movehl_ps(cd, ab))
    }
}
