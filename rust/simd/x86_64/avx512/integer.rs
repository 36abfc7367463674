// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! i8, u8, codes and bits, 64 bytes a step. The sums are exact, so their order is of no importance.
//!
//! `vpdpbusd` multiplies unsigned by signed bytes. One side of a product of the same type is moved by 128 to the other
//! type, and what that adds to the sum depends on the query alone. A difference of bytes is made positive, `d`, and its
//! square is taken as `d * (d - 128) + 128 * d`.

use crate::abi;
use crate::groups::in_groups;
use crate::x86_64::ask_for;
use crate::x86_64::reduce::reduce_codes;
use crate::x86_64::reduce::reduce_integers;
use core::arch::x86_64::*;

/// # Safety
///
/// `batch` holds its invariants and is of `ELEMENT`s, which are bytes; the CPU has what this file enables.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vpopcntdq")]
pub(super) unsafe fn bytes<const ELEMENT: u32, const L2: bool>(batch: &abi::Batch) {
    if L2 {
        in_groups!(batch, batch.dim, reduce_integers, squares, ELEMENT)
    } else {
        in_groups!(batch, batch.dim, reduce_integers, products, ELEMENT)
    }
}

/// # Safety
///
/// As [`bytes`], with codes.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vpopcntdq")]
pub(super) unsafe fn codes(batch: &abi::Batch) {
    in_groups!(batch, batch.dim, reduce_codes, weighted)
}

/// # Safety
///
/// As [`bytes`], with bits.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vpopcntdq")]
pub(super) unsafe fn bits(batch: &abi::Batch) {
    in_groups!(batch, batch.bytes, reduce_integers, differing)
}

/// Runs `$body` for each block of 64 bytes up to `$size`, the last of which is padded with zeros; `$at` is where it
/// begins, and `$load` is a macro that loads the block at a pointer.
macro_rules! in_blocks {
    ($size:ident, $at:ident, $load:ident, $body:block) => {{
        let mut $at = 0;
        while $at + 64 <= $size {
            macro_rules! $load {
                ($p:expr) => {
                    _mm512_loadu_si512($p.add($at).cast())
                };
            }
            $body
            $at += 64;
        }
        if $at < $size {
            let mask = (1u64 << ($size - $at)) - 1;
            macro_rules! $load {
                ($p:expr) => {
                    _mm512_maskz_loadu_epi8(mask, $p.add($at).cast())
                };
            }
            $body
        }
    }};
}

/// The sums of products of `N` rows.
///
/// # Safety
///
/// `q` and each of `r` point to `size` elements; the CPU has what this file enables.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vpopcntdq")]
unsafe fn products<const ELEMENT: u32, const N: usize>(
    q: *const u8,
    r: [*const u8; N],
    next: [*const u8; N],
    size: usize,
) -> __m128i {
    // SAFETY: whole blocks end at or before `size`, masked bytes are not read, and a prefetch of any address is
    // harmless.
    unsafe {
        let mut sums = [_mm512_setzero_si512(); 4];
        let mut of_query = _mm512_setzero_si512();
        let middle = _mm512_set1_epi8(-128);
        in_blocks!(size, at, load, {
            let q0 = load!(q);
            of_query = if ELEMENT == abi::I8 {
                _mm512_dpbusd_epi32(of_query, _mm512_set1_epi8(1), q0)
            } else {
                _mm512_dpbusd_epi32(of_query, q0, _mm512_set1_epi8(1))
            };
            for k in 0..N {
                if N == 4 {
                    ask_for(next[k].wrapping_add(at));
                }
                let r0 = _mm512_xor_si512(load!(r[k]), middle);
                sums[k] = if ELEMENT == abi::I8 {
                    _mm512_dpbusd_epi32(sums[k], r0, q0)
                } else {
                    _mm512_dpbusd_epi32(sums[k], q0, r0)
                };
            }
        });
        let moved = _mm512_slli_epi32::<7>(of_query);
        for sum in &mut sums {
            *sum = if ELEMENT == abi::I8 {
                _mm512_sub_epi32(*sum, moved)
            } else {
                _mm512_add_epi32(*sum, moved)
            };
        }
        totals(sums)
    }
}

/// The sums of squared differences of `N` rows.
///
/// # Safety
///
/// As [`products`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vpopcntdq")]
unsafe fn squares<const ELEMENT: u32, const N: usize>(
    q: *const u8,
    r: [*const u8; N],
    next: [*const u8; N],
    size: usize,
) -> __m128i {
    // SAFETY: as in `products`.
    unsafe {
        let mut sums = [_mm512_setzero_si512(); 4];
        let mut plain = [_mm512_setzero_si512(); 4];
        let (middle, ones) = (_mm512_set1_epi8(-128), _mm512_set1_epi8(1));
        // Signed bytes are moved to where unsigned ones are.
        let moved = if ELEMENT == abi::I8 {
            middle
        } else {
            _mm512_setzero_si512()
        };
        in_blocks!(size, at, load, {
            let q0 = _mm512_xor_si512(load!(q), moved);
            for k in 0..N {
                if N == 4 {
                    ask_for(next[k].wrapping_add(at));
                }
                let r0 = _mm512_xor_si512(load!(r[k]), moved);
                let d = _mm512_or_si512(_mm512_subs_epu8(q0, r0), _mm512_subs_epu8(r0, q0));
                sums[k] = _mm512_dpbusd_epi32(sums[k], d, _mm512_xor_si512(d, middle));
                plain[k] = _mm512_dpbusd_epi32(plain[k], d, ones);
            }
        });
        for k in 0..N {
            sums[k] = _mm512_add_epi32(sums[k], _mm512_slli_epi32::<7>(plain[k]));
        }
        totals(sums)
    }
}

/// The sums of weights times codes of `N` rows; blocks of 64 upper halves and 64 lower halves of weights alternate.
///
/// # Safety
///
/// `q` points to two bytes of weights for each of `size` codes, padded with zeros to a multiple of 64 of them, each of
/// `r` to `size` codes; the CPU has what this file enables.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vpopcntdq")]
unsafe fn weighted<const N: usize>(q: *const u8, r: [*const u8; N], next: [*const u8; N], size: usize) -> __m128i {
    // SAFETY: as in `products`; the query is padded.
    unsafe {
        let mut upper = [_mm512_setzero_si512(); 4];
        let mut lower = [_mm512_setzero_si512(); 4];
        in_blocks!(size, at, load, {
            let high = _mm512_loadu_si512(q.add(2 * at).cast());
            let low = _mm512_loadu_si512(q.add(2 * at + 64).cast());
            for k in 0..N {
                if N == 4 {
                    ask_for(next[k].wrapping_add(at));
                }
                let r0 = load!(r[k]);
                upper[k] = _mm512_dpbusd_epi32(upper[k], r0, high);
                lower[k] = _mm512_dpbusd_epi32(lower[k], r0, low);
            }
        });
        for k in 0..N {
            lower[k] = _mm512_add_epi32(lower[k], _mm512_slli_epi32::<8>(upper[k]));
        }
        totals(lower)
    }
}

/// The numbers of differing bits of `N` rows.
///
/// # Safety
///
/// As [`products`], with bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vpopcntdq")]
unsafe fn differing<const N: usize>(q: *const u8, r: [*const u8; N], next: [*const u8; N], size: usize) -> __m128i {
    // SAFETY: as in `products`.
    unsafe {
        let mut sums = [_mm512_setzero_si512(); 4];
        in_blocks!(size, at, load, {
            let q0 = load!(q);
            for k in 0..N {
                if N == 4 {
                    ask_for(next[k].wrapping_add(at));
                }
                let bits = _mm512_popcnt_epi32(_mm512_xor_si512(q0, load!(r[k])));
                sums[k] = _mm512_add_epi32(sums[k], bits);
            }
        });
        totals(sums)
    }
}

/// Adds each register's lanes.
///
/// # Safety
///
/// The CPU has what this file enables.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vpopcntdq")]
unsafe fn totals(v: [__m512i; 4]) -> __m128i {
    // SAFETY: the CPU has the instructions.
    unsafe {
        let half = |x: __m512i| _mm256_add_epi32(_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64::<1>(x));
        let pairs = _mm256_hadd_epi32(
            _mm256_hadd_epi32(half(v[0]), half(v[1])),
            _mm256_hadd_epi32(half(v[2]), half(v[3])),
        );
        _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256::<1>(pairs))
    }
}
