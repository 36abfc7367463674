// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Portable code, in the shapes that the compiler turns into vector instructions where it may use them.
//!
//! The integer results (sums of tables, masks) are those of every variant; so are all floats but the scores of vectors
//! against panels, where variants with FMA round less often.

use super::abi;
use super::abi::BLOCK;
use super::abi::LANES;

/// The order-preserving key of a distance; a NaN orders last.
#[inline(always)]
pub(super) fn key(distance: f32) -> u32 {
    if distance.is_nan() {
        return u32::MAX;
    }
    // Adding +0.0 turns -0.0 into +0.0 and changes nothing else.
    let bits = (distance + 0.0).to_bits();
    if bits >> 31 != 0 {
        !bits
    } else {
        bits | 0x8000_0000
    }
}

/// Half the squared norm of each centroid of a panel minus its inner product with `x`: the nearest centroid has the
/// lowest.
///
/// # Safety
///
/// `x` points to `dim` floats, `panel` to a panel of that dimension.
#[inline(always)]
pub(super) unsafe fn scores(x: *const f32, panel: *const f32, dim: usize) -> [f32; LANES] {
    // SAFETY: a panel has `dim + 1` times 16 floats.
    unsafe {
        let mut sums = *panel.add(dim * LANES).cast::<[f32; LANES]>();
        for d in 0..dim {
            let (e, lanes) = (*x.add(d), &*panel.add(d * LANES).cast::<[f32; LANES]>());
            for l in 0..LANES {
                sums[l] -= e * lanes[l];
            }
        }
        sums
    }
}

/// Finds the nearest centroids.
///
/// # Safety
///
/// `args` holds its invariants.
#[inline(always)]
pub(super) unsafe fn assign(args: &abi::Assign) {
    let v = &args.vectors;
    for i in 0..v.count {
        let mut best = [f32::INFINITY; LANES];
        let mut at = [0u32; LANES];
        for p in 0..args.count {
            // SAFETY: `i` is a vector and `p` a panel.
            let scores = unsafe {
                let panel = args.panels.add(p * abi::panel_words(v.dim)).cast();
                scores(v.words.add(i * v.stride).cast(), panel, v.dim)
            };
            for l in 0..LANES {
                let less = scores[l] < best[l];
                best[l] = if less { scores[l] } else { best[l] };
                at[l] = if less { p as u32 } else { at[l] };
            }
        }
        // SAFETY: `i` is a vector.
        unsafe { offer(args, i, &best, &at) };
    }
}

/// Merges the best score of each lane, of panel `at`, into vector `i`'s best. Equal scores go to the lower centroid.
///
/// # Safety
///
/// `args` holds its invariants, and `i` is a vector.
#[inline(never)] // own frame
pub(super) unsafe fn offer(args: &abi::Assign, i: usize, best: &[f32; LANES], at: &[u32; LANES]) {
    // SAFETY: `i` is a vector, which has words in `best` and `nearest`.
    unsafe {
        let mut score = f32::from_bits(*args.best.add(i));
        let mut nearest = *args.nearest.add(i);
        for l in 0..LANES {
            let centroid = args.first + at[l] * LANES as u32 + l as u32;
            if best[l] < score || (best[l] == score && centroid < nearest) {
                (score, nearest) = (best[l], centroid);
            }
        }
        *args.best.add(i) = score.to_bits();
        *args.nearest.add(i) = nearest;
    }
}

/// The scan with its limit as the largest sum that is wanted, and the list's part in its base; `None` if no row is
/// wanted.
pub(super) fn resolve(args: &abi::Scan) -> Option<abi::Scan> {
    let base = f32::from_bits(args.base) + f32::from_bits(args.list);
    let mut limit = 0xffff;
    if args.limit < key(f32::INFINITY) {
        let bits = if args.limit >> 31 != 0 {
            args.limit & 0x7fff_ffff
        } else {
            !args.limit
        };
        let sum = (f32::from_bits(bits) - base) / f32::from_bits(args.step);
        if sum < 0.0 {
            return None;
        }
        // The conversion saturates.
        limit = u32::from(sum as u16);
    }
    Some(abi::Scan {
        base: base.to_bits(),
        limit,
        ..*args
    })
}

/// Writes the sums of the codes of one block's rows.
///
/// # Safety
///
/// `codes` points to a block of the scan, whose invariants hold.
#[inline(always)]
unsafe fn block_sums(args: &abi::Scan, codes: *const u8, sums: &mut [u16; BLOCK]) {
    for j in 0..args.bytes {
        // SAFETY: `j` is a byte of the codes, and tables have a value for whatever it is.
        unsafe {
            let codes = &*codes.add(j * BLOCK).cast::<[u8; BLOCK]>();
            if args.bits == 4 {
                let (low, high) = (args.table.add(j * 32), args.table.add(j * 32 + 16));
                for (sum, code) in sums.iter_mut().zip(codes) {
                    let parts =
                        u16::from(*low.add(usize::from(code & 15))) + u16::from(*high.add(usize::from(code >> 4)));
                    *sum = sum.wrapping_add(parts);
                }
            } else {
                let table = args.table.add(j * 256);
                for (sum, code) in sums.iter_mut().zip(codes) {
                    *sum = sum.wrapping_add(u16::from(*table.add(usize::from(*code))));
                }
            }
        }
    }
}

/// Adds the terms of a block's rows, and returns the rows whose sum is within the limit.
///
/// # Safety
///
/// `terms` is null or points to the terms of the block.
#[inline(always)]
unsafe fn reduce_sums(args: &abi::Scan, terms: *const u16, sums: &mut [u16; BLOCK]) -> u64 {
    let mut within = 0u64;
    for (i, sum) in sums.iter_mut().enumerate() {
        if !terms.is_null() {
            // SAFETY: the block has 64 terms.
            let term = (u32::from(unsafe { *terms.add(i) }) * args.factor) >> 16;
            *sum = sum.saturating_add(term as u16);
        }
        within |= u64::from(u32::from(*sum) <= args.limit) << i;
    }
    within
}

/// The rows of a block, of which the first is row `block`, that the scan is about.
#[inline(always)]
pub(super) fn mask(args: &abi::Scan, block: usize) -> u64 {
    let mut mask = u64::MAX;
    if args.first > block {
        mask &= u64::MAX << (args.first - block);
    }
    let end = args.first + args.count;
    if end - block < BLOCK {
        mask &= (1 << (end - block)) - 1;
    }
    mask
}

/// Writes out the rows of a block that are in `found`; returns how many rows are written by now.
///
/// # Safety
///
/// `args` holds its invariants, and all rows found are ones that the scan is about.
#[inline(always)]
pub(super) unsafe fn emit(
    args: &abi::Scan,
    block: usize,
    mut found: u64,
    sums: &[u16; BLOCK],
    mut written: usize,
) -> usize {
    let (base, step) = (f32::from_bits(args.base), f32::from_bits(args.step));
    while found != 0 {
        let i = found.trailing_zeros() as usize & (BLOCK - 1);
        found &= found - 1;
        // SAFETY: there is room for every row of the scan, and each is found once.
        unsafe {
            *args.keys.add(written) = key(base + step * f32::from(sums[i]));
            *args.rows.add(written) = (block + i) as u32;
        }
        written += 1;
    }
    written
}

/// Scans; returns the number of rows found.
///
/// # Safety
///
/// `args` holds its invariants.
#[inline(always)]
pub(super) unsafe fn scan(args: &abi::Scan) -> usize {
    let start = args.first / BLOCK * BLOCK;
    let mut block = start;
    let mut written = 0;
    while block < args.first + args.count {
        let mut sums = [0u16; BLOCK];
        // SAFETY: the block is one of the scan, and so are its terms.
        unsafe {
            block_sums(args, args.codes.add((block - start) * args.bytes), &mut sums);
            let terms = if args.terms.is_null() {
                args.terms
            } else {
                args.terms.add(block - start)
            };
            let found = reduce_sums(args, terms, &mut sums) & mask(args, block);
            written = emit(args, block, found, &sums, written);
        }
        block += BLOCK;
    }
    written
}

/// Sums up the codes of some rows.
///
/// # Safety
///
/// `args` holds its invariants.
#[inline(always)]
pub(super) unsafe fn gather(args: &abi::Gather) {
    for i in 0..args.count {
        // SAFETY: `i` is an id, `j` a byte of a code, and a table has 256 values a byte.
        unsafe {
            let code = args.codes.add(*args.ids.add(i) as usize * args.stride);
            let mut sum = 0u32;
            for j in 0..args.bytes {
                sum = sum.wrapping_add(u32::from(*args.table.add(j * 256 + usize::from(*code.add(j)))));
            }
            reduce_gather(args, i, sum);
        }
    }
}

/// Writes the key of the sum of id `i`.
///
/// # Safety
///
/// `args` holds its invariants, and `i` is an id.
#[inline(always)]
pub(super) unsafe fn reduce_gather(args: &abi::Gather, i: usize, sum: u32) {
    // Sums stay below 2^31, and the signed conversion is one instruction.
    let distance = f32::from_bits(args.base) + f32::from_bits(args.step) * (sum as i32 as f32);
    // SAFETY: the caller's promise.
    unsafe { *args.keys.add(i) = key(distance) };
}
