// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Tables of a query: what each part of a code adds to the distance, in bytes for scans and in 16 bits for single rows.
//!
//! Values are rounded to steps above the least value of their part (as in André, Kermarrec, Le Scouarnec: Quicker ADC,
//! arXiv 1812.09162). All variants compute the same, apart from the rounding of the scores they start from.

use super::abi;
use super::abi::LANES;

/// The most that terms may add to a sum, in steps: the rest of 65,535 is for the table.
const TERM_STEPS: f32 = 32_000.0;

/// The two steps of making a table that each variant has instructions of its own for. All give the same.
pub(super) trait Steps {
    /// Takes the least of one part's values off all of them; returns it, and the largest of what is left.
    ///
    /// # Safety
    ///
    /// `values` points to `count` floats, a multiple of 16.
    unsafe fn lower(values: *mut f32, count: usize) -> (f32, f32);

    /// Writes 16 values, which are not negative, times `inverse` as bytes, rounded.
    ///
    /// # Safety
    ///
    /// `values` points to 16 floats, `out` to 16 bytes.
    unsafe fn bytes(values: *const f32, inverse: f32, out: *mut u8);
}

/// Defines `table` for a CPU with `$feature`, of the functions `lower` and `bytes` beside it.
macro_rules! steps {
    ($name:ident, $feature:literal) => {
        struct $name;

        impl super::table::Steps for $name {
            #[inline(always)]
            unsafe fn lower(values: *mut f32, count: usize) -> (f32, f32) {
                // SAFETY: the caller's promise; only `table` uses this, on a CPU with the feature.
                unsafe { lower(values, count) }
            }

            #[inline(always)]
            unsafe fn bytes(values: *const f32, inverse: f32, out: *mut u8) {
                // SAFETY: as above.
                unsafe { bytes(values, inverse, out) }
            }
        }

        /// A table of the values of scores.
        ///
        /// # Safety
        ///
        /// As that of the module `table`; the CPU has what this file enables.
        #[target_feature(enable = $feature)]
        pub(super) unsafe fn table(args: &mut abi::Table) {
            // SAFETY: the caller's promise.
            unsafe { super::table::table::<$name>(args) };
        }
    };
}
pub(super) use steps;

/// Portable code.
pub(super) struct Portable;

impl Steps for Portable {
    #[inline(always)]
    unsafe fn lower(values: *mut f32, count: usize) -> (f32, f32) {
        let mut low = [f32::INFINITY; LANES];
        let mut high = [f32::NEG_INFINITY; LANES];
        for i in 0..count / LANES {
            // SAFETY: these are 16 of the values.
            let lanes = unsafe { &*values.add(i * LANES).cast::<[f32; LANES]>() };
            for l in 0..LANES {
                low[l] = if lanes[l] < low[l] { lanes[l] } else { low[l] };
                high[l] = if lanes[l] > high[l] { lanes[l] } else { high[l] };
            }
        }
        // Halves against each other, until one is left.
        let mut half = LANES / 2;
        while half > 0 {
            for l in 0..half {
                let (a, b) = (low[l + half], high[l + half]);
                low[l] = if a < low[l] { a } else { low[l] };
                high[l] = if b > high[l] { b } else { high[l] };
            }
            half /= 2;
        }
        for i in 0..count / LANES {
            // SAFETY: as above.
            let lanes = unsafe { &mut *values.add(i * LANES).cast::<[f32; LANES]>() };
            for lane in lanes {
                *lane -= low[0];
            }
        }
        (low[0], high[0] - low[0])
    }

    #[inline(always)]
    unsafe fn bytes(values: *const f32, inverse: f32, out: *mut u8) {
        for l in 0..LANES {
            // SAFETY: `l` is one of 16. The conversion saturates, and makes 0 of NaN.
            unsafe { *out.add(l) = (*values.add(l) * inverse + 0.5) as u8 };
        }
    }
}

/// Makes the values of the scores at `values`, then a table of them.
///
/// # Safety
///
/// `args` holds its invariants, and `values` has the score of each centroid.
#[inline(always)]
pub(super) unsafe fn table<S: Steps>(args: &mut abi::Table) {
    let count = 1usize << args.bits;
    let panel = abi::panel_words(args.part_dim);
    let values = args.values.cast::<f32>();
    let scale = if args.l2 { 2.0f32 } else { 1.0 };
    for part in 0..args.parts {
        for group in 0..count / LANES {
            // SAFETY: these are the values and the half norms of one panel.
            unsafe {
                let halves = args.book.add((part * (count / LANES) + group + 1) * panel - LANES);
                let halves = &*halves.cast::<[f32; LANES]>();
                let lanes = &mut *values.add(part * count + group * LANES).cast::<[f32; LANES]>();
                for l in 0..LANES {
                    let half = if args.norms { 0.0 } else { halves[l] };
                    lanes[l] = (lanes[l] - half) * scale;
                }
            }
        }
    }

    let mut base = f32::from_bits(args.term_min);
    if args.norms && args.l2 {
        for d in 0..args.parts * args.part_dim {
            // SAFETY: the query has these elements.
            let x = f32::from_bits(unsafe { *args.query.add(d) });
            base += x * x;
        }
    }
    // Parts whose values share a byte of the table's sums.
    let together = if args.bits == 4 { 2 } else { 1 };
    let (mut widest, mut wide) = (0f32, 0f32);
    for part in 0..args.parts {
        // SAFETY: `part` has `count` values.
        let (min, range) = unsafe { S::lower(values.add(part * count), count) };
        base += min;
        wide = if part % together == 0 { range } else { wide + range };
        widest = if wide > widest { wide } else { widest };
    }
    // One less than fits, since two values may both be rounded up.
    let most = if args.bytes.is_null() { 65_534.0 } else { 254.0 };
    let term_step = f32::from_bits(args.term_step);
    let mut step = widest / most;
    let least = term_step * (65_535.0 / TERM_STEPS);
    step = if step > least { step } else { least };
    // Also if it is NaN.
    if !(step > f32::MIN_POSITIVE && step < f32::MAX) {
        step = 1.0;
    }
    args.base = base.to_bits();
    args.step = step.to_bits();
    args.factor = (term_step / step * 65_536.0 + 0.5) as u32 & 0xffff;

    let inverse = 1.0 / step;
    for part in 0..args.parts {
        // SAFETY: `part` has `count` values, and its table as many entries.
        unsafe {
            let values = values.add(part * count);
            if args.bytes.is_null() {
                words(args, part, values, inverse);
                continue;
            }
            for group in 0..count / LANES {
                let at = part * count + group * LANES;
                S::bytes(values.add(group * LANES), inverse, args.bytes.add(at));
            }
        }
    }
}

/// Writes one part of a table of words: with 8 bits 256 entries, with 4 bits what it adds to the 256 entries of its
/// pair.
///
/// # Safety
///
/// As [`table`]; `values` are those of `part`.
#[inline(always)]
unsafe fn words(args: &abi::Table, part: usize, values: *const f32, inverse: f32) {
    for i in 0..256 {
        // SAFETY: the pair has 256 entries, and the part a value for half a byte.
        unsafe {
            if args.bits == 8 {
                *args.words.add(part * 256 + i) = (*values.add(i) * inverse + 0.5) as u16;
            } else if part % 2 == 0 {
                *args.words.add(part / 2 * 256 + i) = (*values.add(i & 15) * inverse + 0.5) as u16;
            } else {
                let entry = args.words.add(part / 2 * 256 + i);
                *entry = (*entry).saturating_add((*values.add(i >> 4) * inverse + 0.5) as u16);
            }
        }
    }
}
