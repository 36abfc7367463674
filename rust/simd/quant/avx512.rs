// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! AVX-512: F, BW, VL and VBMI.

use super::abi;
use super::abi::panel_words;
use super::abi::BLOCK;
use super::abi::LANES;
use super::portable;
use super::table::steps;
use core::arch::x86_64::*;

/// Vectors compared with two panels at once.
const TOGETHER: usize = 4;
/// Panels that one vector is compared with at once: as many sums as hide an addition's latency.
const PANELS: usize = 8;

/// Finds the nearest centroids.
///
/// # Safety
///
/// `args` holds its invariants; the CPU has AVX-512F.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn assign(args: &abi::Assign) {
    let v = &args.vectors;
    let mut i = 0;
    while i < v.count {
        let live = if v.count - i < TOGETHER { v.count - i } else { TOGETHER };
        // SAFETY: vectors `i` to `i + live - 1` exist, the rest repeat the first; panels have `dim + 1` times 16
        // floats.
        unsafe {
            let x = |k: usize| v.words.add((i + if k < live { k } else { 0 }) * v.stride).cast::<f32>();
            let x = [x(0), x(1), x(2), x(3)];
            let mut best = [_mm512_set1_ps(f32::INFINITY); TOGETHER];
            let mut at = [_mm512_setzero_si512(); TOGETHER];
            let mut p = 0;
            while p < args.count {
                let panel = args.panels.add(p * panel_words(v.dim)).cast::<f32>();
                // The last panel of an odd number is its own second one, which is never nearer.
                let second = if p + 1 < args.count {
                    panel.add(panel_words(v.dim))
                } else {
                    panel
                };
                let mut sums = [_mm512_loadu_ps(panel.add(v.dim * LANES)); TOGETHER];
                let mut sums2 = [_mm512_loadu_ps(second.add(v.dim * LANES)); TOGETHER];
                for d in 0..v.dim {
                    let (lanes, lanes2) = (
                        _mm512_loadu_ps(panel.add(d * LANES)),
                        _mm512_loadu_ps(second.add(d * LANES)),
                    );
                    for k in 0..TOGETHER {
                        let e = _mm512_set1_ps(*x[k].add(d));
                        sums[k] = _mm512_fnmadd_ps(e, lanes, sums[k]);
                        sums2[k] = _mm512_fnmadd_ps(e, lanes2, sums2[k]);
                    }
                }
                let (number, number2) = (_mm512_set1_epi32(p as i32), _mm512_set1_epi32(p as i32 + 1));
                for k in 0..TOGETHER {
                    let less = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(sums[k], best[k]);
                    best[k] = _mm512_mask_mov_ps(best[k], less, sums[k]);
                    at[k] = _mm512_mask_mov_epi32(at[k], less, number);
                    let less = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(sums2[k], best[k]);
                    best[k] = _mm512_mask_mov_ps(best[k], less, sums2[k]);
                    at[k] = _mm512_mask_mov_epi32(at[k], less, number2);
                }
                p += 2;
            }
            for k in 0..live {
                let (mut scores, mut panels) = ([0f32; LANES], [0u32; LANES]);
                _mm512_storeu_ps(scores.as_mut_ptr(), best[k]);
                _mm512_storeu_si512(panels.as_mut_ptr().cast(), at[k]);
                portable::offer(args, i + k, &scores, &panels);
            }
        }
        i += TOGETHER;
    }
}

/// Writes the scores of one vector against panels.
///
/// # Safety
///
/// `x` points to `dim` floats, `panels` to `count` panels of that dimension, `out` to 16 words a panel; the CPU has
/// AVX-512F.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn scores(x: *const f32, panels: *const f32, count: usize, dim: usize, out: *mut f32) {
    if count == 1 {
        // SAFETY: the caller's promise.
        unsafe { *out.cast() = portable::scores(x, panels, dim) };
        return;
    }
    let words = panel_words(dim);
    let mut p = 0;
    while p < count {
        // SAFETY: panels `p` to `p + live - 1` exist; the rest of eight repeat the first, and are not written.
        unsafe {
            let live = if count - p < PANELS { count - p } else { PANELS };
            let mut panel = [panels.add(p * words); PANELS];
            let mut sums = [_mm512_setzero_ps(); PANELS];
            for k in 0..PANELS {
                if k < live {
                    panel[k] = panels.add((p + k) * words);
                }
                sums[k] = _mm512_loadu_ps(panel[k].add(dim * LANES));
            }
            for d in 0..dim {
                let e = _mm512_set1_ps(*x.add(d));
                for k in 0..PANELS {
                    sums[k] = _mm512_fnmadd_ps(e, _mm512_loadu_ps(panel[k].add(d * LANES)), sums[k]);
                }
            }
            for (k, sums) in sums.iter().enumerate() {
                if k < live {
                    _mm512_storeu_ps(out.add((p + k) * LANES), *sums);
                }
            }
        }
        p += PANELS;
    }
}

steps!(Avx512, "avx512f");

/// # Safety
///
/// As `Steps::lower`; the CPU has AVX-512F.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn lower(values: *mut f32, count: usize) -> (f32, f32) {
    // SAFETY: there are `count` values, a multiple of 16.
    unsafe {
        let (mut low, mut high) = (_mm512_set1_ps(f32::INFINITY), _mm512_set1_ps(f32::NEG_INFINITY));
        for i in 0..count / LANES {
            // The second operand is what a NaN leaves.
            let lanes = _mm512_loadu_ps(values.add(i * LANES));
            low = _mm512_min_ps(lanes, low);
            high = _mm512_max_ps(lanes, high);
        }
        let (low, high) = (_mm512_reduce_min_ps(low), _mm512_reduce_max_ps(high));
        let least = _mm512_set1_ps(low);
        for i in 0..count / LANES {
            let lanes = _mm512_sub_ps(_mm512_loadu_ps(values.add(i * LANES)), least);
            _mm512_storeu_ps(values.add(i * LANES), lanes);
        }
        (low, high - low)
    }
}

/// # Safety
///
/// As `Steps::bytes`; the CPU has AVX-512F.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn bytes(values: *const f32, inverse: f32, out: *mut u8) {
    // SAFETY: there are 16 values and as many bytes.
    unsafe {
        let scaled = _mm512_mul_ps(_mm512_loadu_ps(values), _mm512_set1_ps(inverse));
        let rounded = _mm512_add_ps(scaled, _mm512_set1_ps(0.5));
        // 0 for NaN, and nothing that the conversion cannot tell.
        let bounded = _mm512_min_ps(_mm512_max_ps(rounded, _mm512_setzero_ps()), _mm512_set1_ps(255.0));
        _mm_storeu_si128(out.cast(), _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(bounded)));
    }
}

/// The sums of a block's rows, given those of even rows plus 256 times those of odd ones, and those of odd ones; then
/// as [`portable`]'s scan.
///
/// # Safety
///
/// `args` holds its invariants; `block` is one of its blocks; the CPU has AVX-512 F, BW and VBMI.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
unsafe fn reduce(args: &abi::Scan, start: usize, block: usize, all: __m512i, odd: __m512i, written: usize) -> usize {
    // SAFETY: the block has 64 terms, and `sums` room for 64 words.
    unsafe {
        let even = _mm512_sub_epi16(all, _mm512_slli_epi16::<8>(odd));
        let (low, high) = (_mm512_unpacklo_epi16(even, odd), _mm512_unpackhi_epi16(even, odd));
        let first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
        let second = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
        let mut rows = [
            _mm512_permutex2var_epi64(low, first, high),
            _mm512_permutex2var_epi64(low, second, high),
        ];
        if !args.terms.is_null() {
            let factor = _mm512_set1_epi16(args.factor as i16);
            let terms = args.terms.add(block - start);
            rows[0] = _mm512_adds_epu16(rows[0], _mm512_mulhi_epu16(_mm512_loadu_si512(terms.cast()), factor));
            rows[1] = _mm512_adds_epu16(
                rows[1],
                _mm512_mulhi_epu16(_mm512_loadu_si512(terms.add(32).cast()), factor),
            );
        }
        let limit = _mm512_set1_epi16(args.limit as i16);
        let found = u64::from(_mm512_cmple_epu16_mask(rows[0], limit))
            | u64::from(_mm512_cmple_epu16_mask(rows[1], limit)) << 32;
        let found = found & portable::mask(args, block);
        if found == 0 {
            return written;
        }
        let mut sums = [0u16; BLOCK];
        _mm512_storeu_si512(sums.as_mut_ptr().cast(), rows[0]);
        _mm512_storeu_si512(sums.as_mut_ptr().add(32).cast(), rows[1]);
        portable::emit(args, block, found, &sums, written)
    }
}

/// Scans codes of 4 bits: each half of a byte is looked up by a shuffle (André, Kermarrec, Le Scouarnec: Quicker ADC,
/// arXiv 1812.09162).
///
/// # Safety
///
/// `args` holds its invariants, with 4 bits; the CPU has AVX-512 F, BW and VBMI.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub(super) unsafe fn scan4(args: &abi::Scan) -> usize {
    let start = args.first / BLOCK * BLOCK;
    let (mut block, mut written) = (start, 0);
    // SAFETY: blocks and the table are as long as what is read of them, by the invariants.
    unsafe {
        let nibble = _mm512_set1_epi8(15);
        while block < args.first + args.count {
            // Short lists begin and end within a block: half of it may be enough.
            let mask = portable::mask(args, block);
            if mask as u32 == 0 || mask >> 32 == 0 {
                written = super::avx2::block4(args, start, block, mask, written);
                block += BLOCK;
                continue;
            }
            let codes = args.codes.add((block - start) * args.bytes);
            let (mut all, mut odd) = (_mm512_setzero_si512(), _mm512_setzero_si512());
            for j in 0..args.bytes {
                let code = _mm512_loadu_si512(codes.add(j * BLOCK).cast());
                let low = _mm512_and_si512(code, nibble);
                let high = _mm512_and_si512(_mm512_srli_epi16::<4>(code), nibble);
                let tables = args.table.add(j * 32).cast();
                let low_table = _mm512_broadcast_i32x4(_mm_loadu_si128(tables));
                let high_table = _mm512_broadcast_i32x4(_mm_loadu_si128(tables.add(1)));
                let values = _mm512_add_epi8(
                    _mm512_shuffle_epi8(low_table, low),
                    _mm512_shuffle_epi8(high_table, high),
                );
                // As words, the bytes of odd rows count 256 times; they are taken off at the end.
                all = _mm512_add_epi16(all, values);
                odd = _mm512_add_epi16(odd, _mm512_srli_epi16::<8>(values));
            }
            written = reduce(args, start, block, all, odd, written);
            block += BLOCK;
        }
    }
    written
}

/// Scans codes of 8 bits: each is looked up in four registers that hold its part's table.
///
/// # Safety
///
/// `args` holds its invariants, with 8 bits; the CPU has AVX-512 F, BW and VBMI.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub(super) unsafe fn scan8(args: &abi::Scan) -> usize {
    let start = args.first / BLOCK * BLOCK;
    let (mut block, mut written) = (start, 0);
    // SAFETY: blocks and the table are as long as what is read of them, by the invariants.
    unsafe {
        while block < args.first + args.count {
            let codes = args.codes.add((block - start) * args.bytes);
            let (mut all, mut odd) = (_mm512_setzero_si512(), _mm512_setzero_si512());
            for j in 0..args.bytes {
                let code = _mm512_loadu_si512(codes.add(j * BLOCK).cast());
                let table = args.table.add(j * 256);
                let quarter = |k: usize| _mm512_loadu_si512(table.add(64 * k).cast());
                let low = _mm512_permutex2var_epi8(quarter(0), code, quarter(1));
                let high = _mm512_permutex2var_epi8(quarter(2), code, quarter(3));
                let values = _mm512_mask_blend_epi8(_mm512_movepi8_mask(code), low, high);
                all = _mm512_add_epi16(all, values);
                odd = _mm512_add_epi16(odd, _mm512_srli_epi16::<8>(values));
            }
            written = reduce(args, start, block, all, odd, written);
            block += BLOCK;
        }
    }
    written
}
