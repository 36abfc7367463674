// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Distance kernels behind an interface without floats.
//!
//! The engine is compiled soft-float in the kernel, so a float is the `u32` of its bits here, and a distance comes back as
//! an order-preserving key (see [`key_of`]). The arithmetic is in the float island: `entry.rs`, `scalar.rs` and `x86_64/`.
//! In the module the island is a separate hard-float object rooted at `island.rs`; in userspace it is part of this crate.
//!
//! # Results
//!
//! - l2 is the squared Euclidean distance, cosine is `1 - cos` in `0.0..=2.0`, inner product is `-dot`; smaller is nearer.
//! - Finite vectors never give NaN: where `f32` is too narrow the distance is computed in `f64` and rounded once.
//! - A variant's order of summation is fixed: the same query and row give the same key wherever the row lies and whatever
//!   other queries and rows share the call. Different variants may differ in the last bits, since they sum in another
//!   order and AVX2 rounds once a multiply-add; so results repeat exactly on one CPU type, not across all of them.
//!
//! # FPU sections
//!
//! In the kernel each call splits its work into sections of at most [`SECTION`] elements (some 5 µs of AVX2, under 50 µs
//! in portable code), between which the kernel may reschedule.
#![cfg_attr(not(CONFIG_RUST), no_std)]

mod abi;
mod bits;
mod fpu;

#[cfg(CONFIG_RUST)]
mod linked;
#[cfg(CONFIG_RUST)]
use linked as island;

#[cfg(not(CONFIG_RUST))]
extern crate std;
#[cfg(not(CONFIG_RUST))]
mod entry;
#[cfg(not(CONFIG_RUST))]
mod scalar;
#[cfg(all(not(CONFIG_RUST), target_arch = "x86_64"))]
mod x86_64;
#[cfg(not(CONFIG_RUST))]
use entry as island;

#[cfg(test)]
mod tests;

pub use bits::bits_of;
pub use bits::check;
pub use bits::key_of;
pub use bits::BadVector;

/// Elements of rows handled in one FPU section.
pub const SECTION: usize = 16 * 1024;

/// How two vectors are compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum Metric {
    /// Squared Euclidean distance.
    L2 = abi::L2,
    /// One minus the cosine; vectors must not be zero.
    Cosine = abi::COSINE,
    /// The negated inner product.
    InnerProduct = abi::INNER_PRODUCT,
}

/// An instruction set that the kernels exist for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Variant {
    /// Portable code.
    Scalar,
    /// SSE2, which every x86-64 has.
    #[cfg(target_arch = "x86_64")]
    Sse2,
    /// AVX2 with FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

/// The shapes of the arguments do not fit together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ShapeMismatch;

/// A query with its norm.
#[derive(Clone, Copy)]
pub struct Query<'a> {
    bits: &'a [u32],
    inv_norm: u32,
}

/// Rows of equal dimension in one buffer.
///
/// # Invariants
///
/// `1 <= dim <= stride`, and row `i < count` is `bits[i * stride..][..dim]`; `inv_norms` is empty or has `count` words.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    bits: &'a [u32],
    inv_norms: &'a [u32],
    dim: usize,
    stride: usize,
    count: usize,
}

impl<'a> Rows<'a> {
    /// Rows of `dim` elements that follow each other without a gap.
    ///
    /// `inv_norms`, as [`Kernels::inv_norms`] writes them, are needed for [`Metric::Cosine`]; else give an empty slice.
    ///
    /// # Errors
    ///
    /// `bits` is not a whole number of rows, or there are norms and not one a row.
    pub fn packed(bits: &'a [u32], dim: usize, inv_norms: &'a [u32]) -> Result<Self, ShapeMismatch> {
        let count = bits.len().checked_div(dim).ok_or(ShapeMismatch)?;
        if bits.len() % dim != 0 {
            return Err(ShapeMismatch);
        }
        Self::strided(bits, dim, dim, count, inv_norms)
    }

    /// `count` rows of `dim` elements, each starting `stride` elements after the one before.
    ///
    /// # Errors
    ///
    /// The rows do not lie in `bits`, overlap or are empty, or there are norms and not one a row.
    pub fn strided(
        bits: &'a [u32],
        dim: usize,
        stride: usize,
        count: usize,
        inv_norms: &'a [u32],
    ) -> Result<Self, ShapeMismatch> {
        if dim == 0 || stride < dim || !(inv_norms.is_empty() || inv_norms.len() == count) {
            return Err(ShapeMismatch);
        }
        if let Some(before_last) = count.checked_sub(1) {
            let end = before_last.checked_mul(stride).and_then(|start| start.checked_add(dim));
            if end.is_none_or(|end| end > bits.len()) {
                return Err(ShapeMismatch);
            }
        }
        Ok(Self {
            bits,
            inv_norms,
            dim,
            stride,
            count,
        })
    }

    /// The number of rows.
    pub fn count(&self) -> usize {
        self.count
    }
}

/// The kernels of one instruction set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Kernels {
    variant: Variant,
}

impl Kernels {
    /// The best that this CPU has and the OS has enabled.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        let variant = if fpu::has_avx2_and_fma() {
            Variant::Avx2
        } else {
            Variant::Sse2
        };
        #[cfg(not(target_arch = "x86_64"))]
        let variant = Variant::Scalar;
        Self { variant }
    }

    /// Those of the given instruction set, if the CPU has it.
    pub fn with(variant: Variant) -> Option<Self> {
        let usable = match variant {
            Variant::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Variant::Sse2 => true,
            #[cfg(target_arch = "x86_64")]
            Variant::Avx2 => fpu::has_avx2_and_fma(),
        };
        usable.then_some(Self { variant })
    }

    /// What to call them in a log.
    pub fn name(&self) -> &'static str {
        match self.variant {
            Variant::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Variant::Sse2 => "sse2",
            #[cfg(target_arch = "x86_64")]
            Variant::Avx2 => "avx2+fma",
        }
    }

    /// Makes a query of a vector that [`check`] has passed for this metric.
    pub fn query<'a>(&self, metric: Metric, bits: &'a [u32]) -> Query<'a> {
        let mut inv_norm = [0u32];
        if metric == Metric::Cosine && !bits.is_empty() {
            let _section = fpu::Section::begin();
            // SAFETY: `bits` is one row of `bits.len()` elements, `inv_norm` has one word, and this is an FPU section.
            unsafe { island::vexfs_simd_inv_norms(bits.as_ptr(), bits.len(), 1, inv_norm.as_mut_ptr()) };
        }
        Query {
            bits,
            inv_norm: inv_norm[0],
        }
    }

    /// Writes the inverse norm of each packed row.
    ///
    /// # Errors
    ///
    /// `rows` is not `out.len()` rows of `dim` elements.
    pub fn inv_norms(&self, rows: &[u32], dim: usize, out: &mut [u32]) -> Result<(), ShapeMismatch> {
        if dim == 0 || out.len().checked_mul(dim) != Some(rows.len()) {
            return Err(ShapeMismatch);
        }
        let per_section = (SECTION / dim).max(1);
        for (rows, out) in rows
            .chunks(per_section.saturating_mul(dim))
            .zip(out.chunks_mut(per_section))
        {
            let _section = fpu::Section::begin();
            // SAFETY: both chunks hold `out.len()` rows, and this is an FPU section.
            unsafe { island::vexfs_simd_inv_norms(rows.as_ptr(), dim, out.len(), out.as_mut_ptr()) };
        }
        Ok(())
    }

    /// Scales packed rows to unit length in place; zero vectors stay as they are.
    ///
    /// # Errors
    ///
    /// `rows` is not a whole number of rows of `dim` elements.
    pub fn normalize(&self, rows: &mut [u32], dim: usize) -> Result<(), ShapeMismatch> {
        if dim == 0 || rows.len() % dim != 0 {
            return Err(ShapeMismatch);
        }
        for rows in rows.chunks_mut((SECTION / dim).max(1).saturating_mul(dim)) {
            let _section = fpu::Section::begin();
            // SAFETY: the chunk holds `len / dim` rows and is borrowed exclusively, and this is an FPU section.
            unsafe { island::vexfs_simd_normalize(rows.as_mut_ptr(), dim, rows.len() / dim) };
        }
        Ok(())
    }

    /// Computes the key of every query against every row: `keys[q * rows.count() + r]`.
    ///
    /// The rows should fit a CPU cache if there are several queries: each section of rows is read once a query.
    ///
    /// # Errors
    ///
    /// A query's dimension is not the rows', `keys` has another length than queries times rows, or norms are missing.
    pub fn distances(
        &self,
        metric: Metric,
        queries: &[Query<'_>],
        rows: &Rows<'_>,
        keys: &mut [u32],
    ) -> Result<(), ShapeMismatch> {
        if queries.len().checked_mul(rows.count) != Some(keys.len())
            || queries.iter().any(|query| query.bits.len() != rows.dim)
            || (metric == Metric::Cosine && rows.inv_norms.len() != rows.count)
        {
            return Err(ShapeMismatch);
        }
        if rows.count == 0 {
            return Ok(());
        }
        let per_section = (SECTION / rows.dim).max(4);
        for (query, keys) in queries.iter().zip(keys.chunks_mut(rows.count)) {
            let mut first = 0;
            for keys in keys.chunks_mut(per_section) {
                let batch = abi::Batch {
                    query: query.bits.as_ptr(),
                    // In bounds, as `first < count`; wrapping only to need no unsafe block.
                    rows: rows.bits.as_ptr().wrapping_add(first * rows.stride),
                    inv_norms: rows.inv_norms.as_ptr().wrapping_add(first),
                    keys: keys.as_mut_ptr(),
                    dim: rows.dim,
                    stride: rows.stride,
                    count: keys.len(),
                    query_inv_norm: query.inv_norm,
                    metric: metric as u32,
                };
                let _section = fpu::Section::begin();
                // SAFETY: `Rows` guarantees that rows `first .. first + keys.len()` lie in its buffer, the checks above
                // the rest of `Batch`'s invariants; this is an FPU section, and a variant exists only on a CPU with it.
                unsafe {
                    match self.variant {
                        Variant::Scalar => island::vexfs_simd_scalar(&batch),
                        #[cfg(target_arch = "x86_64")]
                        Variant::Sse2 => island::vexfs_simd_sse2(&batch),
                        #[cfg(target_arch = "x86_64")]
                        Variant::Avx2 => island::vexfs_simd_avx2(&batch),
                    }
                }
                first += keys.len();
            }
        }
        Ok(())
    }
}
