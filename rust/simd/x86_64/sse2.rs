// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! SSE2, which every x86-64 has: four lanes, two accumulators a row, four rows a pass.
//!
//! Order of summation (fixed, whatever the row's place): lane `j` of accumulator `p` takes elements `8 t + 4 p + j` in
//! order of `t`, missing ones count as zero; accumulators are added, then lanes as in [`sums`].
#![allow(unused_unsafe)] // Intrinsics on registers became safe in Rust 1.87.

use crate::abi;
use core::arch::x86_64::*;

/// # Safety
///
/// `batch` holds its invariants.
pub(crate) unsafe fn run(batch: &abi::Batch) {
    let l2 = batch.metric == abi::L2;
    match batch.element {
        abi::F32 if l2 => in_groups!(batch, batch.dim, floats, true),
        abi::F32 => in_groups!(batch, batch.dim, floats, false),
        // SAFETY: the caller's promise.
        _ => unsafe { crate::scalar::run(batch) },
    }
}

/// The sums of `N` rows.
///
/// # Safety
///
/// `q` and each of `r` point to `dim` floats.
#[inline(always)]
unsafe fn floats<const L2: bool, const N: usize>(
    q: *const u8,
    r: [*const u8; N],
    next: [*const u8; N],
    dim: usize,
) -> __m128 {
    // SAFETY: blocks and tails end at or before `dim`, and a prefetch of any address is harmless.
    unsafe {
        let (q, r) = (q.cast::<f32>(), r.map(|row| row.cast::<f32>()));
        let mut even = [_mm_setzero_ps(); N];
        let mut odd = [_mm_setzero_ps(); N];
        let mut i = 0;
        while i + 8 <= dim {
            let (q0, q1) = (_mm_loadu_ps(q.add(i)), _mm_loadu_ps(q.add(i + 4)));
            for k in 0..N {
                if N == 4 {
                    _mm_prefetch::<_MM_HINT_T0>(next[k].wrapping_add(4 * i).cast());
                }
                even[k] = step::<L2>(q0, _mm_loadu_ps(r[k].add(i)), even[k]);
                odd[k] = step::<L2>(q1, _mm_loadu_ps(r[k].add(i + 4)), odd[k]);
            }
            i += 8;
        }
        if i + 4 <= dim {
            let q0 = _mm_loadu_ps(q.add(i));
            for k in 0..N {
                even[k] = step::<L2>(q0, _mm_loadu_ps(r[k].add(i)), even[k]);
            }
            i += 4;
            let q0 = tail(q.add(i), dim - i);
            for k in 0..N {
                odd[k] = step::<L2>(q0, tail(r[k].add(i), dim - i), odd[k]);
            }
        } else {
            let q0 = tail(q.add(i), dim - i);
            for k in 0..N {
                even[k] = step::<L2>(q0, tail(r[k].add(i), dim - i), even[k]);
            }
        }
        let mut total = [_mm_setzero_ps(); 4];
        for k in 0..N {
            total[k] = _mm_add_ps(even[k], odd[k]);
        }
        sums(total)
    }
}

/// The first `n < 4` floats at `p`, the rest zero.
///
/// # Safety
///
/// `p` points to `n` floats.
#[inline(always)]
unsafe fn tail(p: *const f32, n: usize) -> __m128 {
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
