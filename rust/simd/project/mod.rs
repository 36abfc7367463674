// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Projections of rows onto many random directions: the safe side.

mod abi;
#[cfg(not(CONFIG_RUST))]
mod hard_float;
#[cfg(not(CONFIG_RUST))]
mod sketch;
#[cfg(test)]
mod tests;

use crate::fpu;
use crate::kernels::per;
use crate::kernels::Kernels;
use crate::kernels::Variant;
use crate::kernels::SECTION;
use crate::rows::Rows;
use crate::rows::ShapeMismatch;
use core::ptr::null;

#[cfg(CONFIG_RUST)]
mod hard_float {
    extern "C" {
        pub(super) fn vexfs_simd_project(args: *const super::abi::Project);
        #[cfg(target_arch = "x86_64")]
        pub(super) fn vexfs_simd_project_avx2(args: *const super::abi::Project);
    }
}

#[cfg(CONFIG_RUST)]
mod sketch {
    extern "C" {
        pub(super) fn vexfs_simd_sketches(args: *const super::abi::Sketches) -> usize;
        #[cfg(target_arch = "x86_64")]
        pub(super) fn vexfs_simd_sketches_avx2(args: *const super::abi::Sketches) -> usize;
        #[cfg(all(target_arch = "x86_64", vexfs_avx512))]
        pub(super) fn vexfs_simd_sketches_avx512(args: *const super::abi::Sketches) -> usize;
    }
}

/// Bytes of a sketch of 256 bits.
pub const SKETCH_BYTES: usize = abi::SKETCH;

/// Sketches to look at.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    /// All whose number is not below the first and below the second.
    Range(usize, usize),
    /// Those of these numbers.
    Ids(&'a [u32]),
}

/// Directions to project onto.
#[derive(Clone, Copy, Debug)]
pub struct Projection<'a> {
    /// Random words, each 0 or the sign bit: [`Projection::signs_len`] of them.
    pub signs: &'a [u32],
    /// A power of two, not less than 8 and the dimension.
    pub width: usize,
    /// The number of directions.
    pub outputs: usize,
    /// Bits of the `f32` that rows are multiplied by.
    pub scale: u32,
    /// Bits of the `f32` length that all multiplied rows are given by one more element; `width` is more than the
    /// dimension then.
    pub length: Option<u32>,
}

impl Projection<'_> {
    /// Words of `signs` for so many outputs.
    pub fn signs_len(width: usize, outputs: usize) -> Option<usize> {
        let blocks = outputs.checked_add(width.checked_sub(1)?)?.checked_div(width)?;
        blocks.checked_mul(width)?.checked_mul(abi::ROUNDS)
    }
}

impl Kernels {
    /// Projects rows onto random directions of length `width`: `out[r * outputs + j]` is row `r`, multiplied by the
    /// scale (and by its word of `norms`, if there are any), times direction `j`, cut to an integer.
    ///
    /// The same row gives the same integers with all variants and on all CPUs.
    ///
    /// # Errors
    ///
    /// `norms` is not empty and not a word a row, `scratch` has not `width` words, `out` not a word an output, or
    /// [`Projection`]'s fields do not fit together or the rows.
    pub fn project(
        &self,
        projection: &Projection<'_>,
        rows: &Rows<'_>,
        norms: &[u32],
        scratch: &mut [u32],
        out: &mut [i32],
    ) -> Result<(), ShapeMismatch> {
        let p = projection;
        let (space, count) = (rows.space(), rows.count());
        let used = space.dim() + usize::from(p.length.is_some());
        if !p.width.is_power_of_two()
            || p.width < used.max(8)
            || p.outputs == 0
            || Projection::signs_len(p.width, p.outputs) != Some(p.signs.len())
            || scratch.len() != p.width
            || count.checked_mul(p.outputs) != Some(out.len())
            || !(norms.is_empty() || norms.len() == count)
        {
            return Err(ShapeMismatch);
        }
        // A block of outputs takes some three times the width's logarithm passes over it, each faster than a distance.
        let work = p.signs.len().saturating_mul(4);
        let per_section = per(SECTION, work);
        let mut first = 0;
        for out in out.chunks_mut(per_section.saturating_mul(p.outputs).max(1)) {
            let args = abi::Project {
                // In bounds, as `first < count`; wrapping only to need no unsafe block.
                rows: rows.bytes.as_ptr().wrapping_add(first * rows.stride()),
                norms: match norms.get(first) {
                    Some(norm) => norm,
                    None => null(),
                },
                signs: p.signs.as_ptr(),
                scratch: scratch.as_mut_ptr(),
                out: out.as_mut_ptr(),
                stride: rows.stride(),
                dim: space.dim(),
                width: p.width,
                outputs: p.outputs,
                count: out.len().checked_div(p.outputs).unwrap_or(0),
                element: space.element() as u32,
                scale: p.scale,
                lengthen: u32::from(p.length.is_some()),
                length: p.length.unwrap_or(0),
            };
            first = first.saturating_add(args.count);
            let _section = fpu::Section::begin();
            // SAFETY: the checks above are `Project`'s invariants; this is an FPU section, and a variant with AVX2
            // exists only on a CPU with it.
            unsafe {
                match self.variant() {
                    Variant::Scalar => hard_float::vexfs_simd_project(&args),
                    #[cfg(target_arch = "x86_64")]
                    Variant::Sse2 => hard_float::vexfs_simd_project(&args),
                    // What all the others have.
                    #[cfg(target_arch = "x86_64")]
                    _ => hard_float::vexfs_simd_project_avx2(&args),
                    #[cfg(not(target_arch = "x86_64"))]
                    #[allow(unreachable_patterns)]
                    _ => hard_float::vexfs_simd_project(&args),
                }
            }
        }
        Ok(())
    }

    /// Finds the sketches that differ from `query` in at most `limit` bits, in the order they are given: writes their
    /// numbers and distances and returns how many they are.
    ///
    /// # Errors
    ///
    /// There is no sketch of some number, or `rows` or `distances` have not a word for each sketch to look at.
    pub fn near_sketches(
        &self,
        query: &[u8; SKETCH_BYTES],
        sketches: &[u8],
        which: Which<'_>,
        limit: u32,
        rows: &mut [u32],
        distances: &mut [u32],
    ) -> Result<usize, ShapeMismatch> {
        let total = sketches.len() / SKETCH_BYTES;
        let (ids, from, count) = match which {
            Which::Range(from, to) if from <= to && to <= total => (null(), from, to - from),
            Which::Ids(ids) if ids.iter().all(|id| (*id as usize) < total) => (ids.as_ptr(), 0, ids.len()),
            _ => return Err(ShapeMismatch),
        };
        if rows.len() < count || distances.len() < count || total > u32::MAX as usize {
            return Err(ShapeMismatch);
        }
        let mut found = 0;
        let mut done = 0;
        while done < count {
            let part = (count - done).min(SECTION / SKETCH_BYTES);
            let args = abi::Sketches {
                sketches: sketches.as_ptr(),
                query: query.as_ptr(),
                // In bounds, as `done < count` and `found <= done`; wrapping only to need no unsafe block.
                ids: if ids.is_null() { ids } else { ids.wrapping_add(done) },
                rows: rows.as_mut_ptr().wrapping_add(found),
                distances: distances.as_mut_ptr().wrapping_add(found),
                first: from + done,
                count: part,
                limit,
            };
            let _section = fpu::Section::begin();
            // SAFETY: the checks above are `Sketches`' invariants; this is an FPU section, and a variant exists only on
            // a CPU with its instructions.
            found += unsafe {
                match self.variant() {
                    Variant::Scalar => sketch::vexfs_simd_sketches(&args),
                    #[cfg(target_arch = "x86_64")]
                    Variant::Sse2 => sketch::vexfs_simd_sketches(&args),
                    #[cfg(all(target_arch = "x86_64", vexfs_avx512))]
                    Variant::Avx512 => sketch::vexfs_simd_sketches_avx512(&args),
                    #[cfg(target_arch = "x86_64")]
                    _ => sketch::vexfs_simd_sketches_avx2(&args),
                    #[cfg(not(target_arch = "x86_64"))]
                    #[allow(unreachable_patterns)]
                    _ => sketch::vexfs_simd_sketches(&args),
                }
            };
            done += part;
        }
        Ok(found)
    }
}
