// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! AVX2 and FMA.

use super::abi;
use super::abi::panel_words;
use super::abi::BLOCK;
use super::abi::LANES;
use super::portable;
use super::table::steps;
use core::arch::x86_64::*;

/// Vectors compared with a panel at once, which it is loaded once for.
const TOGETHER: usize = 4;

/// Finds the nearest centroids.
///
/// # Safety
///
/// `args` holds its invariants; the CPU has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
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
            let mut best = [[_mm256_set1_ps(f32::INFINITY); 2]; TOGETHER];
            let mut at = [[_mm256_setzero_ps(); 2]; TOGETHER];
            for p in 0..args.count {
                let panel = args.panels.add(p * panel_words(v.dim)).cast::<f32>();
                let halves = panel.add(v.dim * LANES);
                let halves = [_mm256_loadu_ps(halves), _mm256_loadu_ps(halves.add(8))];
                let mut sums = [halves; TOGETHER];
                for d in 0..v.dim {
                    let (low, high) = (
                        _mm256_loadu_ps(panel.add(d * LANES)),
                        _mm256_loadu_ps(panel.add(d * LANES + 8)),
                    );
                    for k in 0..TOGETHER {
                        let e = _mm256_broadcast_ss(&*x[k].add(d));
                        sums[k][0] = _mm256_fnmadd_ps(e, low, sums[k][0]);
                        sums[k][1] = _mm256_fnmadd_ps(e, high, sums[k][1]);
                    }
                }
                let number = _mm256_castsi256_ps(_mm256_set1_epi32(p as i32));
                for k in 0..TOGETHER {
                    for h in 0..2 {
                        let less = _mm256_cmp_ps::<_CMP_LT_OQ>(sums[k][h], best[k][h]);
                        best[k][h] = _mm256_blendv_ps(best[k][h], sums[k][h], less);
                        at[k][h] = _mm256_blendv_ps(at[k][h], number, less);
                    }
                }
            }
            for k in 0..live {
                let (mut scores, mut panels) = ([0f32; LANES], [0u32; LANES]);
                for h in 0..2 {
                    _mm256_storeu_ps(scores.as_mut_ptr().add(8 * h), best[k][h]);
                    _mm256_storeu_ps(panels.as_mut_ptr().add(8 * h).cast(), at[k][h]);
                }
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
/// AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn scores(x: *const f32, panels: *const f32, count: usize, dim: usize, out: *mut f32) {
    if count == 1 {
        // SAFETY: the caller's promise.
        unsafe { *out.cast() = portable::scores(x, panels, dim) };
        return;
    }
    let words = panel_words(dim);
    let mut p = 0;
    while p < count {
        // SAFETY: panels `p` to `p + live - 1` exist; the rest of four repeat the first, and are not written.
        unsafe {
            let live = if count - p < 4 { count - p } else { 4 };
            let panel = |k: usize| panels.add((p + if k < live { k } else { 0 }) * words);
            let panel = [panel(0), panel(1), panel(2), panel(3)];
            let mut sums = [[_mm256_setzero_ps(); 2]; 4];
            for k in 0..4 {
                sums[k][0] = _mm256_loadu_ps(panel[k].add(dim * LANES));
                sums[k][1] = _mm256_loadu_ps(panel[k].add(dim * LANES + 8));
            }
            for d in 0..dim {
                let e = _mm256_broadcast_ss(&*x.add(d));
                for k in 0..4 {
                    let lanes = panel[k].add(d * LANES);
                    sums[k][0] = _mm256_fnmadd_ps(e, _mm256_loadu_ps(lanes), sums[k][0]);
                    sums[k][1] = _mm256_fnmadd_ps(e, _mm256_loadu_ps(lanes.add(8)), sums[k][1]);
                }
            }
            for (k, sums) in sums.iter().enumerate() {
                if k < live {
                    _mm256_storeu_ps(out.add((p + k) * LANES), sums[0]);
                    _mm256_storeu_ps(out.add((p + k) * LANES + 8), sums[1]);
                }
            }
        }
        p += 4;
    }
}

steps!(Avx2, "avx2");

/// # Safety
///
/// As `Steps::lower`; the CPU has AVX2.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn lower(values: *mut f32, count: usize) -> (f32, f32) {
    // SAFETY: there are `count` values, a multiple of 16.
    unsafe {
        let (mut low, mut high) = (_mm256_set1_ps(f32::INFINITY), _mm256_set1_ps(f32::NEG_INFINITY));
        for i in 0..count / 8 {
            // The second operand is what a NaN leaves.
            let lanes = _mm256_loadu_ps(values.add(i * 8));
            low = _mm256_min_ps(lanes, low);
            high = _mm256_max_ps(lanes, high);
        }
        let low = _mm_min_ps(_mm256_castps256_ps128(low), _mm256_extractf128_ps::<1>(low));
        let high = _mm_max_ps(_mm256_castps256_ps128(high), _mm256_extractf128_ps::<1>(high));
        let low = _mm_min_ps(low, _mm_movehl_ps(low, low));
        let high = _mm_max_ps(high, _mm_movehl_ps(high, high));
        let low = _mm_cvtss_f32(_mm_min_ss(low, _mm_shuffle_ps::<1>(low, low)));
        let high = _mm_cvtss_f32(_mm_max_ss(high, _mm_shuffle_ps::<1>(high, high)));
        let least = _mm256_set1_ps(low);
        for i in 0..count / 8 {
            let lanes = _mm256_sub_ps(_mm256_loadu_ps(values.add(i * 8)), least);
            _mm256_storeu_ps(values.add(i * 8), lanes);
        }
        (low, high - low)
    }
}

/// # Safety
///
/// As `Steps::bytes`; the CPU has AVX2.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn bytes(values: *const f32, inverse: f32, out: *mut u8) {
    // SAFETY: there are 16 values and as many bytes.
    unsafe {
        let eight = |at: usize| {
            let scaled = _mm256_mul_ps(_mm256_loadu_ps(values.add(at)), _mm256_set1_ps(inverse));
            let rounded = _mm256_add_ps(scaled, _mm256_set1_ps(0.5));
            // 0 for NaN, and nothing that the conversion cannot tell.
            let bounded = _mm256_min_ps(_mm256_max_ps(rounded, _mm256_setzero_ps()), _mm256_set1_ps(255.0));
            _mm256_cvttps_epi32(bounded)
        };
        let words = _mm256_permute4x64_epi64::<0b1101_1000>(_mm256_packus_epi32(eight(0), eight(8)));
        let (low, high) = (_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
        _mm_storeu_si128(out.cast(), _mm_packus_epi16(low, high));
    }
}

/// Scans codes of 4 bits: each half of a byte is looked up by a shuffle (André, Kermarrec, Le Scouarnec: Cache locality
/// is not enough, VLDB 2015).
///
/// # Safety
///
/// `args` holds its invariants, with 4 bits; the CPU has AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn scan4(args: &abi::Scan) -> usize {
    let start = args.first / BLOCK * BLOCK;
    let (mut block, mut written) = (start, 0);
    while block < args.first + args.count {
        // SAFETY: this is one of the blocks.
        written = unsafe { block4(args, start, block, portable::mask(args, block), written) };
        block += BLOCK;
    }
    written
}

/// Scans those halves of a block that have rows in `mask`; returns the number of rows found by now.
///
/// # Safety
///
/// As [`scan4`]; `block` is the first row of one of the blocks, the first of which is `start`.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn block4(args: &abi::Scan, start: usize, block: usize, mask: u64, written: usize) -> usize {
    // SAFETY: blocks, terms and the table are as long as what is read of them, by the invariants.
    unsafe {
        let nibble = _mm256_set1_epi8(15);
        let limit = _mm256_set1_epi16(args.limit as i16);
        let factor = _mm256_set1_epi16(args.factor as i16);
        let codes = args.codes.add((block - start) * args.bytes);
        let mut sums = [0u16; BLOCK];
        let mut found = 0u64;
        for half in 0..2 {
            if (mask >> (half * 32)) as u32 == 0 {
                continue;
            }
            let (mut all, mut odd) = (_mm256_setzero_si256(), _mm256_setzero_si256());
            for j in 0..args.bytes {
                let code = _mm256_loadu_si256(codes.add(j * BLOCK + half * 32).cast());
                let low = _mm256_and_si256(code, nibble);
                let high = _mm256_and_si256(_mm256_srli_epi16::<4>(code), nibble);
                let tables = args.table.add(j * 32).cast();
                let low_table = _mm256_broadcastsi128_si256(_mm_loadu_si128(tables));
                let high_table = _mm256_broadcastsi128_si256(_mm_loadu_si128(tables.add(1)));
                let low = _mm256_shuffle_epi8(low_table, low);
                let values = _mm256_add_epi8(low, _mm256_shuffle_epi8(high_table, high));
                // As words, the bytes of odd rows count 256 times; they are taken off at the end.
                all = _mm256_add_epi16(all, values);
                odd = _mm256_add_epi16(odd, _mm256_srli_epi16::<8>(values));
            }
            let even = _mm256_sub_epi16(all, _mm256_slli_epi16::<8>(odd));
            let (low, high) = (_mm256_unpacklo_epi16(even, odd), _mm256_unpackhi_epi16(even, odd));
            let rows = [
                _mm256_permute2x128_si256::<0x20>(low, high),
                _mm256_permute2x128_si256::<0x31>(low, high),
            ];
            for (part, mut sum) in rows.into_iter().enumerate() {
                let at = half * 32 + part * 16;
                if !args.terms.is_null() {
                    let terms = _mm256_loadu_si256(args.terms.add(block - start + at).cast());
                    sum = _mm256_adds_epu16(sum, _mm256_mulhi_epu16(terms, factor));
                }
                let within = _mm256_cmpeq_epi16(_mm256_min_epu16(sum, limit), sum);
                let packed = _mm256_packs_epi16(within, _mm256_setzero_si256());
                let bits = _mm256_movemask_epi8(_mm256_permute4x64_epi64::<0b1000>(packed)) as u32 & 0xffff;
                found |= u64::from(bits) << at;
                _mm256_storeu_si256(sums.as_mut_ptr().add(at).cast(), sum);
            }
        }
        if found & mask == 0 {
            return written;
        }
        portable::emit(args, block, found & mask, &sums, written)
    }
}

/// Sums up the codes of some rows, eight bytes of a code at a time.
///
/// # Safety
///
/// `args` holds its invariants; the CPU has AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn gather(args: &abi::Gather) {
    /// How many rows ahead codes are asked for.
    const AHEAD: usize = 8;
    // SAFETY: each code has `bytes` bytes, and the table 256 entries a byte and one more, so that whole words can be
    // read; a prefetch of any address is harmless, and its id is one of them.
    unsafe {
        let places = _mm256_setr_epi32(0, 256, 512, 768, 1024, 1280, 1536, 1792);
        let entry = _mm256_set1_epi32(0xffff);
        for i in 0..args.count {
            if i + AHEAD < args.count {
                let code = args.codes.add(*args.ids.add(i + AHEAD) as usize * args.stride);
                _mm_prefetch::<_MM_HINT_T0>(code.cast());
                _mm_prefetch::<_MM_HINT_T0>(code.wrapping_add(args.bytes - 1).cast());
            }
            let code = args.codes.add(*args.ids.add(i) as usize * args.stride);
            let mut sums = _mm256_setzero_si256();
            let mut j = 0;
            while j + 8 <= args.bytes {
                let values = _mm256_cvtepu8_epi32(_mm_loadl_epi64(code.add(j).cast()));
                let entries =
                    _mm256_i32gather_epi32::<2>(args.table.add(j * 256).cast(), _mm256_add_epi32(values, places));
                sums = _mm256_add_epi32(sums, _mm256_and_si256(entries, entry));
                j += 8;
            }
            let four = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
            let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b1110>(four));
            let one = _mm_add_epi32(two, _mm_shuffle_epi32::<0b0001>(two));
            let mut sum = _mm_cvtsi128_si32(one) as u32;
            while j < args.bytes {
                sum = sum.wrapping_add(u32::from(*args.table.add(j * 256 + usize::from(*code.add(j)))));
                j += 1;
            }
            portable::reduce_gather(args, i, sum);
        }
    }
}
