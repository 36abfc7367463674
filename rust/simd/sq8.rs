// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! One byte a dimension for float vectors: training, encoding, and comparing a query with codes.
//!
//! `codes.rs` says what codes mean. Their keys are those of approximate distances on the scale of the exact ones, the
//! same in every variant: good for choosing candidates that are compared exactly afterwards.

use crate::abi;
use crate::convert::coding_of;
use crate::convert::fits;
use crate::convert::in_sections;
use crate::fpu;
use crate::hard_float;
use crate::kernels::prefetch;
use crate::kernels::Kernels;
use crate::kernels::Variant;
use crate::kernels::LINE;
use crate::rows::Query;
use crate::rows::Rows;
use crate::rows::ShapeMismatch;
use crate::space::Space;
use crate::Metric;
use core::ptr::null;
use core::ptr::null_mut;

/// Codes that a query's weights are made for at a time.
const BLOCK: usize = 64;

/// Sizes of what codes consist of.
#[derive(Clone, Copy, Debug)]
pub struct Sq8;

impl Sq8 {
    /// Whether rows of this space have codes: those of floats have.
    pub fn fits(space: &Space) -> bool {
        space.element().is_float()
    }

    /// Bytes of the parameters.
    pub fn params_bytes(dim: usize) -> usize {
        dim.saturating_mul(abi::PARAM_BYTES)
    }

    /// Bytes of a row's codes, its term included.
    pub fn code_bytes(space: &Space) -> usize {
        match space.metric() {
            Metric::L2 => space.dim().saturating_add(4),
            _ => space.dim(),
        }
    }

    /// Bytes of a query's weights.
    pub fn query_bytes(dim: usize) -> usize {
        dim.div_ceil(BLOCK).saturating_mul(2 * BLOCK)
    }
}

/// The codes of rows, which may be parts of larger records.
///
/// # Invariants
///
/// `bytes` begins with the first codes; those of row `i < count` are `bytes[i * stride..][..Sq8::code_bytes(&space)]`,
/// and `stride` is not less than that length.
#[derive(Clone, Copy, Debug)]
pub struct Codes<'a> {
    bytes: &'a [u8],
    stride: usize,
    count: usize,
    space: Space,
}

impl<'a> Codes<'a> {
    /// The codes of `count` rows of a space, those of row `i` at byte `offset + i * stride`.
    ///
    /// # Errors
    ///
    /// They do not lie in `bytes` or overlap, or rows of this space have no codes.
    pub fn new(
        space: &Space,
        bytes: &'a [u8],
        stride: usize,
        offset: usize,
        count: usize,
    ) -> Result<Self, ShapeMismatch> {
        if !Sq8::fits(space) {
            return Err(ShapeMismatch);
        }
        let bytes = match count {
            0 => &[],
            _ => bytes.get(offset..).ok_or(ShapeMismatch)?,
        };
        fits(bytes.len(), stride, count, Sq8::code_bytes(space))?;
        Ok(Self {
            bytes,
            stride,
            count,
            space: *space,
        })
    }

    /// The number of rows.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The codes and the term of a row.
    #[inline]
    pub fn code(&self, i: usize) -> Option<&'a [u8]> {
        if i >= self.count {
            return None;
        }
        let start = i.checked_mul(self.stride)?;
        self.bytes.get(start..start.checked_add(Sq8::code_bytes(&self.space))?)
    }

    /// Asks for codes that will soon be compared to be brought into the cache. Ids of no row are ignored.
    #[inline]
    pub fn prefetch(&self, ids: &[u32]) {
        for id in ids {
            for line in self.code(*id as usize).unwrap_or_default().chunks(LINE) {
                if let Some(first) = line.first() {
                    prefetch(first);
                }
            }
        }
    }
}

/// A query as integer weights, for the kernels that made it.
#[derive(Clone, Copy, Debug)]
pub struct Sq8Query<'a> {
    space: Space,
    variant: Variant,
    weights: &'a [u8],
    constants: abi::Constants,
}

impl Kernels {
    /// Learns the parameters of codes from some rows of floats.
    ///
    /// # Errors
    ///
    /// `params` is not as long as [`Sq8::params_bytes`] says, or the rows are not of floats.
    pub fn sq8_train(&self, sample: &Rows<'_>, params: &mut [u8]) -> Result<(), ShapeMismatch> {
        let space = sample.space();
        if !Sq8::fits(&space) || params.len() != Sq8::params_bytes(space.dim()) {
            return Err(ShapeMismatch);
        }
        {
            let _section = fpu::Section::begin();
            // SAFETY: `params` is as long as those of `dim` dimensions; this is an FPU section.
            unsafe { hard_float::vexfs_simd_codes_begin(params.as_mut_ptr(), space.dim()) };
        }
        let mut coding = coding_of(sample, params.as_mut_ptr());
        in_sections(sample.count(), &mut coding, |coding| {
            // SAFETY: the rows are some of the sample; this is called in an FPU section.
            unsafe { hard_float::vexfs_simd_codes_train(coding) }
        });
        let _section = fpu::Section::begin();
        // SAFETY: as above.
        unsafe { hard_float::vexfs_simd_codes_end(params.as_mut_ptr(), space.dim()) };
        Ok(())
    }

    /// Writes the codes of row `i` to `out[offset + i * stride..]`, for each row.
    ///
    /// # Errors
    ///
    /// They do not fit there, or `params` are not those of rows like these.
    pub fn sq8_encode(
        &self,
        params: &[u8],
        rows: &Rows<'_>,
        out: &mut [u8],
        stride: usize,
        offset: usize,
    ) -> Result<(), ShapeMismatch> {
        let space = rows.space();
        if !Sq8::fits(&space) || params.len() != Sq8::params_bytes(space.dim()) {
            return Err(ShapeMismatch);
        }
        if rows.count() == 0 {
            return Ok(());
        }
        let out = out.get_mut(offset..).ok_or(ShapeMismatch)?;
        fits(out.len(), stride, rows.count(), Sq8::code_bytes(&space))?;
        // The parameters are only read.
        let mut coding = coding_of(rows, params.as_ptr().cast_mut());
        coding.out = out.as_mut_ptr();
        coding.out_stride = stride;
        in_sections(rows.count(), &mut coding, |coding| {
            // SAFETY: the rows are some of `rows`, their codes lie in `out`; this is called in an FPU section.
            unsafe { hard_float::vexfs_simd_codes_encode(coding) }
        });
        Ok(())
    }

    /// Prepares a query for comparison with codes of these parameters.
    ///
    /// # Errors
    ///
    /// `weights` is not as long as [`Sq8::query_bytes`] says, or the parameters are not those of the query's space.
    pub fn sq8_query<'a>(
        &self,
        params: &[u8],
        query: &Query<'_>,
        weights: &'a mut [u8],
    ) -> Result<Sq8Query<'a>, ShapeMismatch> {
        let space = query.space();
        let dim = space.dim();
        if !Sq8::fits(&space) || params.len() != Sq8::params_bytes(dim) || weights.len() != Sq8::query_bytes(dim) {
            return Err(ShapeMismatch);
        }
        let coding = abi::Coding {
            // Only read.
            params: params.as_ptr().cast_mut(),
            rows: query.bytes().as_ptr(),
            out: weights.as_mut_ptr(),
            dim,
            stride: query.bytes().len(),
            out_stride: weights.len(),
            count: 1,
            element: space.element() as u32,
            metric: space.metric() as u32,
        };
        let mut constants = abi::Constants::default();
        {
            let (split, padded) = (self.splits_weights(), weights.len() / 2);
            let _section = fpu::Section::begin();
            // SAFETY: the query has `dim` floats, and `weights` two bytes for each of `padded` codes; an FPU section.
            unsafe { hard_float::vexfs_simd_codes_weigh(&coding, split, padded, &mut constants) };
        }
        Ok(Sq8Query {
            space,
            variant: self.variant(),
            weights,
            constants,
        })
    }

    /// Whether weights are in halves: AVX-512 multiplies bytes, the others words.
    fn splits_weights(&self) -> u32 {
        match self.variant() {
            #[cfg(all(target_arch = "x86_64", vexfs_avx512))]
            Variant::Avx512 => 1,
            _ => 0,
        }
    }

    /// Computes the keys of the codes of some rows: `keys[i]` is that of row `ids[i]`.
    ///
    /// # Errors
    ///
    /// The query is of another space than the codes or was made by other kernels, `keys` has not one word an id, or
    /// there is no row of some id.
    #[inline]
    pub fn sq8_gather(
        &self,
        query: &Sq8Query<'_>,
        codes: &Codes<'_>,
        ids: &[u32],
        keys: &mut [u32],
    ) -> Result<(), ShapeMismatch> {
        let count = codes.count;
        let outside = ids.iter().fold(false, |outside, id| outside | (*id as usize >= count));
        if outside || ids.len() != keys.len() || query.space != codes.space || query.variant != self.variant() {
            return Err(ShapeMismatch);
        }
        // SAFETY: every id is that of a row, and the weights are as this variant wants them.
        unsafe { self.run_some(&query.space, batch_of(query, codes), ids, keys) };
        Ok(())
    }
}

/// A batch of this query and these codes that has no keys yet.
#[inline]
fn batch_of(query: &Sq8Query<'_>, codes: &Codes<'_>) -> abi::Batch {
    abi::Batch {
        query: query.weights.as_ptr(),
        rows: codes.bytes.as_ptr(),
        ids: null(),
        inv_norms: null(),
        keys: null_mut(),
        dim: query.space.dim(),
        bytes: Sq8::code_bytes(&query.space),
        stride: codes.stride,
        count: 0,
        element: abi::SQ8,
        metric: query.space.metric() as u32,
        query_inv_norm: 0,
        constants: query.constants,
    }
}
