// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The exported functions of the quantizers' part of the hard-float object.
//!
//! Callers are inside an FPU section, and the CPU has what `level`, a constant of `abi.rs`, stands for; that is part of
//! each function's safety.

use super::abi;
use super::portable;
use super::train;
use crate::abi as elements;

/// Turns rows into vectors.
///
/// # Safety
///
/// `args` holds its invariants.
#[no_mangle]
pub unsafe extern "C" fn vexfs_quant_unpack(args: *const abi::Unpack) {
    // SAFETY: the caller's promise.
    unsafe {
        let args = &*args;
        match args.element {
            elements::F32 => train::unpack::<{ elements::F32 }>(args),
            elements::F16 => train::unpack::<{ elements::F16 }>(args),
            elements::BF16 => train::unpack::<{ elements::BF16 }>(args),
            elements::I8 => train::unpack::<{ elements::I8 }>(args),
            _ => train::unpack::<{ elements::U8 }>(args),
        }
    }
}

/// Takes each vector's centroid off.
///
/// # Safety
///
/// As [`train::subtract`].
#[no_mangle]
pub unsafe extern "C" fn vexfs_quant_subtract(
    vectors: *const abi::Floats,
    nearest: *const u32,
    panels: *const u32,
    dim: usize,
) {
    // SAFETY: the caller's promise.
    unsafe { train::subtract(&*vectors, nearest, panels, dim) };
}

/// Writes centroids as panels.
///
/// # Safety
///
/// As [`train::fill`].
#[no_mangle]
pub unsafe extern "C" fn vexfs_quant_fill(centroids: *const abi::Floats, panels: *mut u32) {
    // SAFETY: the caller's promise.
    unsafe { train::fill(&*centroids, panels) };
}

/// Adds each vector to the sum of its centroid.
///
/// # Safety
///
/// As [`train::add`].
#[no_mangle]
pub unsafe extern "C" fn vexfs_quant_add(vectors: *const abi::Floats, nearest: *const u32, sums: *mut u64) {
    // SAFETY: the caller's promise.
    unsafe { train::add(&*vectors, nearest, sums) };
}

/// Writes a mean.
///
/// # Safety
///
/// As [`train::mean`].
#[no_mangle]
pub unsafe extern "C" fn vexfs_quant_mean(sum: *const u64, dim: usize, count: u32, out: *mut u32) {
    // SAFETY: the caller's promise.
    unsafe { train::mean(sum, dim, count, out) };
}

/// Makes two centroids of one.
///
/// # Safety
///
/// As [`train::split`].
#[no_mangle]
pub unsafe extern "C" fn vexfs_quant_split(one: *mut u32, other: *mut u32, dim: usize) {
    // SAFETY: the caller's promise.
    unsafe { train::split(one, other, dim) };
}

/// Lowers distances to the nearest seed.
///
/// # Safety
///
/// As [`train::lower`].
#[no_mangle]
pub unsafe extern "C" fn vexfs_quant_lower(vectors: *const abi::Floats, seed: *const u32, distances: *mut u32) {
    // SAFETY: the caller's promise.
    unsafe { train::lower(&*vectors, seed, distances) };
}

/// Adds squared distances to the `f64` at `sum`.
///
/// # Safety
///
/// As [`train::total`]; `sum` points to an `f64`.
#[no_mangle]
pub unsafe extern "C" fn vexfs_quant_total(distances: *const u32, count: usize, sum: *mut u64) {
    // SAFETY: the caller's promise.
    unsafe { *sum = (f64::from_bits(*sum) + train::total(distances, count)).to_bits() };
}

/// Makes a target of the `f64` total at `target`: its `draw / 2^53`-th part.
///
/// # Safety
///
/// `target` points to an `f64`.
#[no_mangle]
pub unsafe extern "C" fn vexfs_quant_target(target: *mut u64, draw: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        let part = (draw >> 11) as i64 as f64 * (1.0 / (1u64 << 53) as f64);
        *target = (f64::from_bits(*target) * part).to_bits();
    }
}

/// Walks on to the number at which the distances sum to more than the `f64` at `target`.
///
/// # Safety
///
/// As [`train::pick`]; `target` points to an `f64`.
#[no_mangle]
pub unsafe extern "C" fn vexfs_quant_pick(distances: *const u32, count: usize, target: *mut u64) -> usize {
    // SAFETY: the caller's promise.
    unsafe {
        let mut left = f64::from_bits(*target);
        let at = train::pick(distances, count, &mut left);
        *target = left.to_bits();
        at
    }
}

/// Writes the terms of codes.
///
/// # Safety
///
/// As [`train::terms`].
#[no_mangle]
pub unsafe extern "C" fn vexfs_quant_terms(args: *const abi::Terms) {
    // SAFETY: the caller's promise.
    unsafe { train::terms(&*args) };
}

/// Writes terms in 16 bits, and the step between them to `step`.
///
/// # Safety
///
/// As [`train::narrow`]; `step` points to a word.
#[no_mangle]
pub unsafe extern "C" fn vexfs_quant_narrow(
    terms: *const u32,
    count: usize,
    min: u32,
    max: u32,
    out: *mut u16,
    step: *mut u32,
) {
    // SAFETY: the caller's promise.
    unsafe { *step = train::narrow(terms, count, f32::from_bits(min), f32::from_bits(max), out).to_bits() };
}

/// Finds the nearest centroids.
///
/// # Safety
///
/// `args` holds its invariants.
#[no_mangle]
pub unsafe extern "C" fn vexfs_quant_assign(level: u32, args: *const abi::Assign) {
    // SAFETY: the caller's promise.
    unsafe {
        let args = &*args;
        match level {
            #[cfg(all(target_arch = "x86_64", vexfs_avx512))]
            abi::AVX512 => super::avx512::assign(args),
            #[cfg(target_arch = "x86_64")]
            abi::AVX2 => super::avx2::assign(args),
            _ => portable::assign(args),
        }
    }
}

/// Writes the scores of a vector against `count` panels.
///
/// # Safety
///
/// `x` points to `dim` floats, `panels` to `count` panels of that dimension, `out` to 16 words a panel.
unsafe fn scores(level: u32, x: *const f32, panels: *const f32, count: usize, dim: usize, out: *mut f32) {
    // SAFETY: the caller's promise.
    unsafe {
        match level {
            #[cfg(all(target_arch = "x86_64", vexfs_avx512))]
            abi::AVX512 => super::avx512::scores(x, panels, count, dim, out),
            #[cfg(target_arch = "x86_64")]
            abi::AVX2 => super::avx2::scores(x, panels, count, dim, out),
            _ => {
                for p in 0..count {
                    let scores = portable::scores(x, panels.add(p * abi::panel_words(dim)), dim);
                    *out.add(p * abi::LANES).cast() = scores;
                }
            }
        }
    }
}

/// Writes the keys of the distances of a vector to the centroids of `count` panels: the squared ones, or the negated
/// inner products. The keys of lanes without a centroid mean nothing.
///
/// # Safety
///
/// `x` points to `dim` words, `panels` to `count` panels of that dimension, `keys` to 16 words a panel.
#[no_mangle]
pub unsafe extern "C" fn vexfs_quant_distances(
    level: u32,
    x: *const u32,
    panels: *const u32,
    count: usize,
    dim: usize,
    l2: bool,
    keys: *mut u32,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let (x, panels) = (x.cast::<f32>(), panels.cast::<f32>());
        scores(level, x, panels, count, dim, keys.cast());
        let mut norm = 0f32;
        for d in 0..dim {
            norm += *x.add(d) * *x.add(d);
        }
        for p in 0..count {
            let halves = &*panels
                .add((p + 1) * abi::panel_words(dim) - abi::LANES)
                .cast::<[f32; abi::LANES]>();
            let lanes = &mut *keys.add(p * abi::LANES).cast::<[u32; abi::LANES]>();
            for l in 0..abi::LANES {
                let score = f32::from_bits(lanes[l]);
                let square = score * 2.0 + norm;
                // Rounding may leave less than nothing.
                let square = if square < 0.0 { 0.0 } else { square };
                lanes[l] = portable::key(if l2 { square } else { score - halves[l] });
            }
        }
    }
}

/// Makes a table of a query.
///
/// # Safety
///
/// `args` holds its invariants, and nobody else has access to what it points to.
#[no_mangle]
pub unsafe extern "C" fn vexfs_quant_table(level: u32, args: *mut abi::Table) {
    // SAFETY: the caller's promise; a part's panels follow those of the part before.
    unsafe {
        let args = &mut *args;
        let panels = 1usize << args.bits >> 4;
        let words = panels * abi::panel_words(args.part_dim);
        for part in 0..args.parts {
            let x = args.query.add(part * args.part_dim).cast();
            let out = args.values.add(part << args.bits).cast();
            scores(level, x, args.book.add(part * words).cast(), panels, args.part_dim, out);
        }
        match level {
            #[cfg(all(target_arch = "x86_64", vexfs_avx512))]
            abi::AVX512 => super::avx512::table(args),
            #[cfg(target_arch = "x86_64")]
            abi::AVX2 => super::avx2::table(args),
            _ => super::table::table::<super::table::Portable>(args),
        }
    }
}

/// Scans codes; returns the number of rows found.
///
/// # Safety
///
/// `args` holds its invariants.
#[no_mangle]
pub unsafe extern "C" fn vexfs_quant_scan(level: u32, args: *const abi::Scan) -> usize {
    // SAFETY: the caller's promise.
    unsafe {
        let args = &*args;
        let Some(resolved) = portable::resolve(args) else {
            return 0;
        };
        let args = &resolved;
        match (level, args.bits) {
            #[cfg(all(target_arch = "x86_64", vexfs_avx512))]
            (abi::AVX512, 4) => super::avx512::scan4(args),
            #[cfg(all(target_arch = "x86_64", vexfs_avx512))]
            (abi::AVX512, _) => super::avx512::scan8(args),
            #[cfg(target_arch = "x86_64")]
            (abi::AVX2, 4) => super::avx2::scan4(args),
            _ => portable::scan(args),
        }
    }
}

/// Sums up the codes of some rows.
///
/// # Safety
///
/// `args` holds its invariants.
#[no_mangle]
pub unsafe extern "C" fn vexfs_quant_gather(level: u32, args: *const abi::Gather) {
    // SAFETY: the caller's promise.
    unsafe {
        let args = &*args;
        match level {
            #[cfg(target_arch = "x86_64")]
            abi::AVX2 | abi::AVX512 => super::avx2::gather(args),
            _ => portable::gather(args),
        }
    }
}
