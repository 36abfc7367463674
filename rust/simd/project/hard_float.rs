// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Projections of rows onto many random directions, as fixed-point integers.
//!
//! The directions are the rows of `H D3 H D2 H D1`, where `H` is a Hadamard matrix and each `D` has random signs on its
//! diagonal: they are orthogonal, nearly as good as Gaussian ones (Andoni et al.: Practical and Optimal LSH for Angular
//! Distance, NIPS 2015, section 5), and cost `width * log2(width)` additions a block of `width` of them. An element of
//! the result is a sum in one order whatever the instruction set, so all variants and CPUs give the same integers.

use super::abi::Project;
use super::abi::ROUNDS;
use crate::abi;
use crate::element::float;
use crate::norms::sqrt;

/// Projects rows in portable code.
///
/// # Safety
///
/// `args` holds its invariants; the caller is inside an FPU section.
#[no_mangle]
pub(super) unsafe extern "C" fn vexfs_simd_project(args: *const Project) {
    // SAFETY: the caller's promise.
    unsafe { run(&*args, |x, width| transform_portable(x, width)) }
}

/// [`transform`] in portable code, with the same sums in the same order; without registers for eight lanes at a time,
/// plain loops need less stack.
///
/// # Safety
///
/// As [`transform`].
#[inline(never)]
unsafe fn transform_portable(x: *mut f32, width: usize) {
    let mut half = 1;
    while half < width {
        let mut at = 0;
        while at < width {
            for j in at..at + half {
                // SAFETY: pairs of halves cover `width`.
                unsafe {
                    let (a, b) = (*x.add(j), *x.add(j + half));
                    *x.add(j) = a + b;
                    *x.add(j + half) = a - b;
                }
            }
            at += 2 * half;
        }
        half *= 2;
    }
}

/// [`transform`] with AVX2.
///
/// # Safety
///
/// As [`transform`]; the CPU has AVX2, and the OS saves the YMM state.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,f16c")]
#[inline(never)]
unsafe fn transform_avx2(x: *mut f32, width: usize) {
    // SAFETY: the caller's promise.
    unsafe { transform(x, width) }
}

/// Projects rows with AVX2.
///
/// # Safety
///
/// As [`vexfs_simd_project`]; the CPU has AVX2, and the OS saves the YMM state.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,f16c")]
#[no_mangle]
pub(super) unsafe extern "C" fn vexfs_simd_project_avx2(args: *const Project) {
    // SAFETY: the caller's promise; the CPU has what the transform needs.
    unsafe { run(&*args, |x, width| transform_avx2(x, width)) }
}

/// Projects rows; `transform` is [`transform`] for some instruction set.
///
/// # Safety
///
/// `batch` holds its invariants, and `transform` may be called with its scratch memory and width.
#[inline(always)]
unsafe fn run(batch: &Project, transform: impl Fn(*mut f32, usize)) {
    for i in 0..batch.count {
        // SAFETY: `i < count`.
        unsafe {
            let row = batch.rows.add(i * batch.stride);
            let mut factor = f32::from_bits(batch.scale);
            if !batch.norms.is_null() {
                factor *= f32::from_bits(*batch.norms.add(i));
            }
            let out = batch.out.add(i * batch.outputs);
            let scratch = batch.scratch.cast::<f32>();
            let mut first = 0;
            while first < batch.outputs {
                let signs = batch.signs.add(first * ROUNDS);
                match batch.element {
                    abi::F32 => load::<{ abi::F32 }>(batch, row, factor, signs),
                    abi::F16 => load::<{ abi::F16 }>(batch, row, factor, signs),
                    abi::BF16 => load::<{ abi::BF16 }>(batch, row, factor, signs),
                    abi::I8 => load::<{ abi::I8 }>(batch, row, factor, signs),
                    abi::U8 => load::<{ abi::U8 }>(batch, row, factor, signs),
                    _ => load::<{ abi::BINARY }>(batch, row, factor, signs),
                }
                transform(scratch, batch.width);
                for round in 1..ROUNDS {
                    flip(scratch, signs.add(round * batch.width), batch.width);
                    transform(scratch, batch.width);
                }
                let left = batch.outputs - first;
                let n = if left < batch.width { left } else { batch.width };
                for j in 0..n {
                    // The conversion saturates.
                    *out.add(first + j) = *scratch.add(j) as i32;
                }
                first += batch.width;
            }
        }
    }
}

/// Writes the scaled row with its first signs to the scratch memory, and behind it the element that makes all rows
/// equally long, if that is wanted, and zeros.
///
/// # Safety
///
/// As [`run`]; `row` is a row of the batch and `signs` points to `width` words.
#[inline(always)]
unsafe fn load<const ELEMENT: u32>(batch: &Project, row: *const u8, factor: f32, signs: *const u32) {
    // SAFETY: the row has `dim` elements, scratch memory and signs `width`, which is more if `lengthen` is set.
    unsafe {
        let to = batch.scratch.cast::<f32>();
        let mut i = 0;
        while i < batch.dim {
            let x = if ELEMENT == abi::BINARY {
                f32::from(*row.add(i / 8) >> (i % 8) & 1) * 2.0 - 1.0
            } else {
                float::<ELEMENT>(row, i)
            };
            *to.add(i) = f32::from_bits((x * factor).to_bits() ^ *signs.add(i));
            i += 1;
        }
        if batch.lengthen != 0 {
            let length = f64::from(f32::from_bits(batch.length));
            let mut square = length * length;
            for j in 0..batch.dim {
                let x = f64::from(*to.add(j));
                square -= x * x;
            }
            *to.add(i) = f32::from_bits((sqrt(square) as f32).to_bits() ^ *signs.add(i));
            i += 1;
        }
        while i < batch.width {
            // Volatile, so that the compiler makes no call to memset of it.
            to.add(i).write_volatile(0.0);
            i += 1;
        }
    }
}

/// Changes signs.
///
/// # Safety
///
/// Both point to `width` words.
#[inline(always)]
unsafe fn flip(x: *mut f32, signs: *const u32, width: usize) {
    for i in 0..width {
        // SAFETY: `i < width`.
        unsafe { *x.add(i) = f32::from_bits((*x.add(i)).to_bits() ^ *signs.add(i)) };
    }
}

/// The Hadamard transform, in place and not normalized.
///
/// # Safety
///
/// `x` points to `width` floats; `width` is a power of two and at least 8.
#[inline(always)]
unsafe fn transform(x: *mut f32, width: usize) {
    // SAFETY: blocks of 8 cover `width`, and so do pairs of halves of `2 * half`.
    unsafe {
        let mut at = 0;
        while at < width {
            let p = x.add(at).cast::<[f32; 8]>();
            let a = *p;
            let b = [
                a[0] + a[1],
                a[0] - a[1],
                a[2] + a[3],
                a[2] - a[3],
                a[4] + a[5],
                a[4] - a[5],
                a[6] + a[7],
                a[6] - a[7],
            ];
            let c = [
                b[0] + b[2],
                b[1] + b[3],
                b[0] - b[2],
                b[1] - b[3],
                b[4] + b[6],
                b[5] + b[7],
                b[4] - b[6],
                b[5] - b[7],
            ];
            *p = [
                c[0] + c[4],
                c[1] + c[5],
                c[2] + c[6],
                c[3] + c[7],
                c[0] - c[4],
                c[1] - c[5],
                c[2] - c[6],
                c[3] - c[7],
            ];
            at += 8;
        }
        let mut half = 8;
        while half < width {
            let mut at = 0;
            while at < width {
                let (low, high) = (x.add(at), x.add(at + half));
                let mut j = 0;
                while j < half {
                    // Eight at a time: `half` is a multiple of 8.
                    let (a, b) = (*low.add(j).cast::<[f32; 8]>(), *high.add(j).cast::<[f32; 8]>());
                    let (mut sum, mut difference) = (a, a);
                    for k in 0..8 {
                        sum[k] += b[k];
                        difference[k] -= b[k];
                    }
                    *low.add(j).cast::<[f32; 8]>() = sum;
                    *high.add(j).cast::<[f32; 8]>() = difference;
                    j += 8;
                }
                at += 2 * half;
            }
            half *= 2;
        }
    }
}
