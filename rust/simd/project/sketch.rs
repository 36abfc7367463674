// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Which of many sketches of 256 bits differ from a query's in few bits.
//!
//! All of it is whole numbers; it is part of the hard-float object for the instructions.

// In the kernel the compiler is told of AVX-512 by `--cfg vexfs_avx512`, and elsewhere that means one that has it.
#![allow(clippy::incompatible_msrv)]

use super::abi::Sketches;
use super::abi::SKETCH;

/// How far ahead a sketch in no order is asked for.
#[cfg(target_arch = "x86_64")]
const AHEAD: usize = 16;

/// Finds near sketches in portable code; returns their number.
///
/// # Safety
///
/// `args` holds its invariants; the caller is inside an FPU section.
#[no_mangle]
pub(super) unsafe extern "C" fn vexfs_simd_sketches(args: *const Sketches) -> usize {
    // SAFETY: the caller's promise.
    unsafe { run(&*args) }
}

/// Finds near sketches with POPCNT; returns their number.
///
/// # Safety
///
/// As [`vexfs_simd_sketches`]; the CPU has AVX2 and POPCNT, and the OS saves the YMM state.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,popcnt")]
#[no_mangle]
pub(super) unsafe extern "C" fn vexfs_simd_sketches_avx2(args: *const Sketches) -> usize {
    // SAFETY: the caller's promise.
    unsafe { run(&*args) }
}

#[inline(always)]
unsafe fn run(args: &Sketches) -> usize {
    let mut found = 0;
    // SAFETY: the query and all sketches have four words, unaligned; at most one result a sketch is written.
    unsafe {
        let query = args.query.cast::<[u64; 4]>().read_unaligned();
        for i in 0..args.count {
            let row = if args.ids.is_null() {
                args.first + i
            } else {
                #[cfg(target_arch = "x86_64")]
                if i + AHEAD < args.count {
                    use core::arch::x86_64::*;
                    let next = *args.ids.add(i + AHEAD) as usize;
                    _mm_prefetch::<_MM_HINT_T0>(args.sketches.wrapping_add(next * SKETCH).cast());
                }
                *args.ids.add(i) as usize
            };
            let sketch = args.sketches.add(row * SKETCH).cast::<[u64; 4]>().read_unaligned();
            let distance = (query[0] ^ sketch[0]).count_ones()
                + (query[1] ^ sketch[1]).count_ones()
                + (query[2] ^ sketch[2]).count_ones()
                + (query[3] ^ sketch[3]).count_ones();
            // Written in any case, and kept if it is near: no branch to guess wrong.
            *args.rows.add(found) = row as u32;
            *args.distances.add(found) = distance;
            found += usize::from(distance <= args.limit);
        }
    }
    found
}

/// Finds near sketches with AVX-512; returns their number.
///
/// # Safety
///
/// As [`vexfs_simd_sketches`]; the CPU has AVX-512 F, VL and VPOPCNTDQ, and the OS saves the ZMM state.
#[cfg(all(target_arch = "x86_64", vexfs_avx512))]
#[target_feature(enable = "avx512f,avx512vl,avx512vpopcntdq,avx2,popcnt")]
#[no_mangle]
#[allow(unused_unsafe)] // Intrinsics on registers became safe in Rust 1.87.
pub(super) unsafe extern "C" fn vexfs_simd_sketches_avx512(args: *const Sketches) -> usize {
    use core::arch::x86_64::*;
    // SAFETY: groups of eight sketches end at or before `count`; the rest is done by `run`. At most one result a sketch
    // is written: a compressing store writes as many as its mask has bits.
    unsafe {
        let args = &*args;
        let query = _mm256_loadu_si256(args.query.cast());
        let wide_query = _mm512_broadcast_i64x4(query);
        let limit = _mm256_set1_epi32(args.limit as i32);
        let mut found = 0;
        let mut i = 0;
        while i + 8 <= args.count {
            let mut parts = [_mm512_setzero_si512(); 4];
            let rows;
            if args.ids.is_null() {
                let at = args.sketches.add((args.first + i) * SKETCH);
                for (k, part) in parts.iter_mut().enumerate() {
                    *part = _mm512_loadu_si512(at.add(k * 64).cast());
                }
                let count = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
                rows = _mm256_add_epi32(_mm256_set1_epi32((args.first + i) as i32), count);
            } else {
                let sketch = |k: usize| {
                    let id = *args.ids.add(i + k) as usize;
                    _mm256_loadu_si256(args.sketches.add(id * SKETCH).cast())
                };
                if i + AHEAD + 8 <= args.count {
                    for k in 0..8 {
                        let next = *args.ids.add(i + AHEAD + k) as usize;
                        _mm_prefetch::<_MM_HINT_T0>(args.sketches.wrapping_add(next * SKETCH).cast());
                    }
                }
                for (k, part) in parts.iter_mut().enumerate() {
                    let low = _mm512_castsi256_si512(sketch(2 * k));
                    *part = _mm512_inserti64x4::<1>(low, sketch(2 * k + 1));
                }
                rows = _mm256_loadu_si256(args.ids.add(i).cast());
            }
            for part in &mut parts {
                *part = _mm512_popcnt_epi64(_mm512_xor_si512(*part, wide_query));
            }
            // Lane pairs are added within registers of 128 bits, then those of one sketch.
            let pairs = |a, b| _mm512_add_epi64(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
            let (a, b) = (pairs(parts[0], parts[1]), pairs(parts[2], parts[3]));
            // Sketches 0, 2, 1, 3 of each half in this order: 0 2 | 1 3 | 4 6 | 5 7.
            let sums = _mm512_add_epi64(
                _mm512_shuffle_i64x2::<0b10_00_10_00>(a, b),
                _mm512_shuffle_i64x2::<0b11_01_11_01>(a, b),
            );
            let order = _mm512_setr_epi64(0, 2, 1, 3, 4, 6, 5, 7);
            let distances = _mm512_cvtepi64_epi32(_mm512_permutexvar_epi64(order, sums));
            let near = _mm256_cmple_epu32_mask(distances, limit);
            if near != 0 {
                _mm256_mask_compressstoreu_epi32(args.rows.add(found).cast(), near, rows);
                _mm256_mask_compressstoreu_epi32(args.distances.add(found).cast(), near, distances);
                found += near.count_ones() as usize;
            }
            i += 8;
        }
        let rest = Sketches {
            ids: if args.ids.is_null() { args.ids } else { args.ids.add(i) },
            rows: args.rows.add(found),
            distances: args.distances.add(found),
            first: args.first + i,
            count: args.count - i,
            ..*args
        };
        found + run(&rest)
    }
}
