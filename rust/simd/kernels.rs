// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The kernels' safe interface: shapes are checked here, and long work is split into FPU sections.

use crate::abi;
use crate::fpu;
use crate::hard_float;
use crate::prefetch::ask_for;
use crate::rows::Query;
use crate::rows::Rows;
use crate::rows::ShapeMismatch;
use crate::space::Space;
use crate::Element;
use core::ptr::null;

/// Elements of rows handled in one FPU section by portable code.
pub(crate) const SECTION: usize = 16 * 1024;

/// Bytes of rows handled in one FPU section by vector instructions.
pub(crate) const SECTION_BYTES: usize = 64 * 1024;

/// Bytes of a cache line.
pub(crate) const LINE: usize = 64;

/// An instruction set that the kernels exist for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Variant {
    /// Portable code.
    Scalar,
    /// SSE2, which every x86-64 has.
    #[cfg(target_arch = "x86_64")]
    Sse2,
    /// AVX2 with FMA, F16C and POPCNT.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 F, BW, VL, VBMI, VNNI and VPOPCNTDQ.
    #[cfg(all(target_arch = "x86_64", vexfs_avx512))]
    Avx512,
    /// NEON, which every AArch64 has.
    #[cfg(target_arch = "aarch64")]
    Neon,
}

/// The kernels of one instruction set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Kernels {
    variant: Variant,
}

impl Kernels {
    /// The best that this CPU has and the OS has enabled.
    pub fn detect() -> Self {
        let best_first = [
            #[cfg(all(target_arch = "x86_64", vexfs_avx512))]
            Variant::Avx512,
            #[cfg(target_arch = "x86_64")]
            Variant::Avx2,
            #[cfg(target_arch = "x86_64")]
            Variant::Sse2,
            #[cfg(target_arch = "aarch64")]
            Variant::Neon,
            Variant::Scalar,
        ];
        let scalar = Self {
            variant: Variant::Scalar,
        };
        best_first.into_iter().find_map(Self::with).unwrap_or(scalar)
    }

    /// Those of the given instruction set, if the CPU has it.
    pub fn with(variant: Variant) -> Option<Self> {
        let usable = match variant {
            Variant::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Variant::Sse2 => true,
            #[cfg(target_arch = "x86_64")]
            Variant::Avx2 => fpu::has_avx2(),
            #[cfg(all(target_arch = "x86_64", vexfs_avx512))]
            Variant::Avx512 => fpu::has_avx512(),
            #[cfg(target_arch = "aarch64")]
            Variant::Neon => true,
        };
        usable.then_some(Self { variant })
    }

    /// Their instruction set.
    pub fn variant(&self) -> Variant {
        self.variant
    }

    /// What to call them in a log.
    pub fn name(&self) -> &'static str {
        match self.variant {
            Variant::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Variant::Sse2 => "sse2",
            #[cfg(target_arch = "x86_64")]
            Variant::Avx2 => "avx2+fma",
            #[cfg(all(target_arch = "x86_64", vexfs_avx512))]
            Variant::Avx512 => "avx512",
            #[cfg(target_arch = "aarch64")]
            Variant::Neon => "neon",
        }
    }

    /// Makes a query of a vector that [`Space::check`] has passed.
    ///
    /// # Errors
    ///
    /// `row` is not as long as a vector of the space.
    pub fn query<'a>(&self, space: &Space, row: &'a [u8]) -> Result<Query<'a>, ShapeMismatch> {
        if row.len() != space.row_bytes() {
            return Err(ShapeMismatch);
        }
        let mut inv_norm = [0u32];
        if space.needs_norms() {
            self.inv_norms(space, row, &mut inv_norm)?;
        }
        Ok(Query {
            space: *space,
            bytes: row,
            inv_norm: inv_norm[0],
        })
    }

    /// Writes the inverse norm of each packed row.
    ///
    /// # Errors
    ///
    /// `rows` is not `out.len()` rows, or they are binary.
    pub fn inv_norms(&self, space: &Space, rows: &[u8], out: &mut [u32]) -> Result<(), ShapeMismatch> {
        let bytes = space.row_bytes();
        if space.element() == Element::Binary || out.len().checked_mul(bytes) != Some(rows.len()) {
            return Err(ShapeMismatch);
        }
        let per_section = per(SECTION, space.dim());
        let sections = rows
            .chunks(per_section.saturating_mul(bytes).max(1))
            .zip(out.chunks_mut(per_section));
        for (rows, out) in sections {
            let element = space.element() as u32;
            let _section = fpu::Section::begin();
            // SAFETY: both chunks hold `out.len()` rows, and this is an FPU section.
            unsafe {
                hard_float::vexfs_simd_inv_norms(
                    element,
                    rows.as_ptr(),
                    space.dim(),
                    bytes,
                    out.len(),
                    out.as_mut_ptr(),
                );
            }
        }
        Ok(())
    }

    /// Scales packed rows of floats to unit length in place; zero vectors stay as they are.
    ///
    /// # Errors
    ///
    /// `rows` is not a whole number of rows, or their elements are not floats.
    pub fn normalize(&self, space: &Space, rows: &mut [u8]) -> Result<(), ShapeMismatch> {
        let bytes = space.row_bytes();
        if !space.element().is_float() || rows.len().checked_rem(bytes) != Some(0) {
            return Err(ShapeMismatch);
        }
        // A division an element takes a few times as long as a product.
        let section_bytes = per(SECTION / 4, space.dim()).saturating_mul(bytes).max(1);
        for rows in rows.chunks_mut(section_bytes) {
            let count = rows.len().checked_div(bytes).unwrap_or(0);
            let _section = fpu::Section::begin();
            // SAFETY: the chunk holds `count` rows and is borrowed exclusively, and this is an FPU section.
            unsafe {
                hard_float::vexfs_simd_normalize(space.element() as u32, rows.as_mut_ptr(), space.dim(), bytes, count);
            }
        }
        Ok(())
    }

    /// Computes the key of every query against every row: `keys[q * rows.count() + r]`.
    ///
    /// The rows should fit a CPU cache if there are several queries: each section of rows is read once a query.
    ///
    /// # Errors
    ///
    /// A query is of another space than the rows, or `keys` has another length than queries times rows.
    pub fn scan(&self, queries: &[Query<'_>], rows: &Rows<'_>, keys: &mut [u32]) -> Result<(), ShapeMismatch> {
        if queries.len().checked_mul(rows.count()) != Some(keys.len())
            || queries.iter().any(|query| query.space != rows.space())
        {
            return Err(ShapeMismatch);
        }
        if rows.count() == 0 {
            return Ok(());
        }
        let per_section = self.rows_per_section(&rows.space());
        for (query, keys) in queries.iter().zip(keys.chunks_mut(rows.count())) {
            let mut batch = batch_of(query, rows);
            for keys in keys.chunks_mut(per_section) {
                batch.keys = keys.as_mut_ptr();
                batch.count = keys.len();
                // SAFETY: the rows of all chunks together are the rows of `rows`.
                unsafe { self.run(&batch) };
                // In bounds or one section past the end, where it is not used; wrapping to need no unsafe block.
                batch.rows = batch.rows.wrapping_add(keys.len().wrapping_mul(rows.stride));
                batch.inv_norms = batch.inv_norms.wrapping_add(keys.len());
            }
        }
        Ok(())
    }

    /// Computes the keys of some rows: `keys[i]` is that of row `ids[i]`.
    ///
    /// # Errors
    ///
    /// The query is of another space than the rows, `keys` has not one word an id, or there is no row of some id.
    #[inline]
    pub fn gather(
        &self,
        query: &Query<'_>,
        rows: &Rows<'_>,
        ids: &[u32],
        keys: &mut [u32],
    ) -> Result<(), ShapeMismatch> {
        let count = rows.count();
        let outside = ids.iter().fold(false, |outside, id| outside | (*id as usize >= count));
        if outside || ids.len() != keys.len() || query.space != rows.space() {
            return Err(ShapeMismatch);
        }
        // SAFETY: every id is that of a row.
        unsafe { self.run_some(&query.space, batch_of(query, rows), ids, keys) };
        Ok(())
    }

    /// Asks for rows that will soon be compared to be brought into the cache. Ids of no row are ignored.
    #[inline]
    pub fn prefetch(&self, rows: &Rows<'_>, ids: &[u32]) {
        for id in ids {
            for line in rows.row(*id as usize).unwrap_or_default().chunks(LINE) {
                if let Some(first) = line.first() {
                    prefetch(first);
                }
            }
        }
    }

    /// Whether so many rows surely fit one FPU section: what searches ask at every hop, without a division.
    #[inline]
    pub(crate) fn fits_a_section(&self, space: &Space, rows: usize) -> bool {
        rows.saturating_mul(space.dim()) <= SECTION
    }

    /// How many rows are compared in one FPU section.
    pub(crate) fn rows_per_section(&self, space: &Space) -> usize {
        // Portable code takes its time by elements, except those that it compares 64 at a time.
        if self.variant == Variant::Scalar && space.element() != Element::Binary {
            per(SECTION, space.dim()).max(4)
        } else {
            per(SECTION_BYTES, space.row_bytes()).max(4)
        }
    }

    /// Runs a batch for the rows `ids`, of which there are as many as keys.
    ///
    /// # Safety
    ///
    /// `batch` holds its invariants but for keys, and every id is that of a row.
    #[inline]
    pub(crate) unsafe fn run_some(&self, space: &Space, mut batch: abi::Batch, ids: &[u32], keys: &mut [u32]) {
        let mut run = |ids: &[u32], keys: &mut [u32]| {
            batch.ids = ids.as_ptr();
            batch.keys = keys.as_mut_ptr();
            batch.count = keys.len();
            // SAFETY: the caller's promise.
            unsafe { self.run(&batch) };
        };
        if self.fits_a_section(space, ids.len()) {
            return run(ids, keys);
        }
        let per_section = self.rows_per_section(space);
        for (ids, keys) in ids.chunks(per_section).zip(keys.chunks_mut(per_section)) {
            run(ids, keys);
        }
    }

    /// # Safety
    ///
    /// `batch` holds its invariants.
    #[inline]
    pub(crate) unsafe fn run(&self, batch: &abi::Batch) {
        let _section = fpu::Section::begin();
        // SAFETY: the caller's promise; this is an FPU section, and a variant exists only on a CPU with it.
        unsafe {
            match self.variant {
                Variant::Scalar => hard_float::vexfs_simd_scalar(batch),
                #[cfg(target_arch = "x86_64")]
                Variant::Sse2 => hard_float::vexfs_simd_sse2(batch),
                #[cfg(target_arch = "x86_64")]
                Variant::Avx2 => hard_float::vexfs_simd_avx2(batch),
                #[cfg(all(target_arch = "x86_64", vexfs_avx512))]
                Variant::Avx512 => hard_float::vexfs_simd_avx512(batch),
                #[cfg(target_arch = "aarch64")]
                Variant::Neon => hard_float::vexfs_simd_neon(batch),
            }
        }
    }
}

/// Asks for the cache line with the first byte of `at`, which will soon be read.
#[inline(always)]
pub fn prefetch<T: ?Sized>(at: &T) {
    ask_for(core::ptr::from_ref(at).cast());
}

/// How many items of `size` there are in `total`, at least one.
#[inline]
pub(crate) fn per(total: usize, size: usize) -> usize {
    total.checked_div(size).unwrap_or(1).max(1)
}

/// A batch of this query and these rows that has no keys yet.
#[inline]
fn batch_of(query: &Query<'_>, rows: &Rows<'_>) -> abi::Batch {
    abi::Batch {
        query: query.bytes.as_ptr(),
        rows: rows.bytes.as_ptr(),
        ids: null(),
        inv_norms: rows.norms.as_ptr(),
        keys: core::ptr::null_mut(),
        dim: query.space.dim(),
        bytes: query.bytes.len(),
        stride: rows.stride,
        count: 0,
        element: query.space.element() as u32,
        metric: query.space.metric() as u32,
        query_inv_norm: query.inv_norm,
        constants: abi::Constants::default(),
    }
}
