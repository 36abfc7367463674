// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Codes of rows in the records of level 0, and queries in their form.
//!
//! - sq8: a byte a dimension, as `vexfs_simd` makes them.
//! - bf16: the upper halves of f32, rounded to even; for cosines of rows of unit length, so that an inner product
//!   compares them.
//! - binary: a bit a dimension that tells whether the element is above the median of its dimension, compared by the
//!   number of differing bits.

use super::measure::Full;
use super::measure::Measure;
use crate::heap;
use crate::index::Codes;
use crate::index::Cost;
use vexfs_host::mem::Buffer;
use vexfs_host::mem::Vec;
use vexfs_host::relax;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd::key_of;
use vexfs_simd::Element;
use vexfs_simd::Kernels;
use vexfs_simd::Metric;
use vexfs_simd::Query;
use vexfs_simd::Rows;
use vexfs_simd::Space;
use vexfs_simd::Sq8;
use vexfs_simd::Sq8Query;

/// Rows encoded between two cooperative points.
const PART: usize = 1024;
/// Rows that a median is taken of.
const MEDIAN: usize = 255;
/// Rows encoded at a time.
const BLOCK: usize = 16;

/// How rows of a space become codes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Coding {
    space: Space,
    codes: Codes,
    /// What codes are vectors of, unless they are sq8.
    code_space: Space,
}

impl Coding {
    /// # Errors
    ///
    /// `Invalid` if rows of this space have no such codes.
    pub(super) fn new(space: &Space, codes: Codes) -> Result<Self> {
        let floats = space.element().is_float();
        let code_space = match codes {
            Codes::None => Some(*space),
            Codes::Sq8 if floats => Some(*space),
            Codes::Bf16 if space.element() == Element::F32 => {
                let metric = match space.metric() {
                    Metric::Cosine => Metric::Ip,
                    other => other,
                };
                Space::new(Element::Bf16, metric, space.dim())
            }
            Codes::Binary if floats => Space::new(Element::Binary, Metric::Hamming, space.dim()),
            _ => None,
        };
        Ok(Self {
            space: *space,
            codes,
            code_space: code_space.ok_or(Error::Invalid("vectors of this type have no such codes"))?,
        })
    }

    /// Bytes of a row's code.
    pub(super) fn code_bytes(&self) -> usize {
        match self.codes {
            Codes::None => 0,
            Codes::Sq8 => Sq8::code_bytes(&self.space),
            Codes::Bf16 | Codes::Binary => self.code_space.row_bytes(),
        }
    }

    /// Bytes of the parameters.
    pub(super) fn params_bytes(&self) -> usize {
        match self.codes {
            Codes::None | Codes::Bf16 => 0,
            Codes::Sq8 => Sq8::params_bytes(self.space.dim()),
            Codes::Binary => self.space.dim().saturating_mul(4),
        }
    }

    /// Whether stored parameters and a stored code are what encoding makes.
    pub(super) fn check_params(&self, params: &Buffer) -> bool {
        params.len() == self.params_bytes()
            && (self.codes != Codes::Sq8 || params.as_u32s().iter().all(|bits| bits & 0x7f80_0000 != 0x7f80_0000))
    }

    /// Whether a stored code is one.
    pub(super) fn check_code(&self, code: &[u8]) -> bool {
        match self.codes {
            Codes::None => code.is_empty(),
            Codes::Sq8 => {
                // What is behind the codes is the row's term.
                let term = code.get(self.space.dim()..).and_then(|term| term.first_chunk::<4>());
                term.is_none_or(|term| u32::from_le_bytes(*term) & 0x7f80_0000 != 0x7f80_0000)
            }
            Codes::Bf16 | Codes::Binary => self.code_space.check(code).is_ok(),
        }
    }

    /// Learns parameters from the rows, and writes the code of row `i` to `out[offset + i * stride..]`.
    #[inline(never)] // own frame
    pub(super) fn encode(
        &self,
        kernels: Kernels,
        rows: &Rows<'_>,
        out: &mut [u8],
        stride: usize,
        offset: usize,
    ) -> Result<Buffer> {
        let misfit = |_| Error::Invalid("the rows do not fit their codes");
        let mut params = Buffer::zeroed(self.params_bytes())?;
        match self.codes {
            Codes::None => {}
            Codes::Sq8 => {
                // Of all rows: one that is not in a sample and lies outside of it would be cut off and not be found.
                kernels.sq8_train(rows, &mut params).map_err(misfit)?;
                relax()?;
                for from in (0..rows.count()).step_by(PART) {
                    let part = rows.slice(from..rows.count().min(from.saturating_add(PART)));
                    let part = part.ok_or(Error::Overflow)?;
                    let at = from.saturating_mul(stride).saturating_add(offset);
                    kernels.sq8_encode(&params, &part, out, stride, at).map_err(misfit)?;
                    relax()?;
                }
            }
            Codes::Bf16 | Codes::Binary => {
                if self.codes == Codes::Binary {
                    self.medians(rows, params.as_u32s_mut())?;
                }
                let mut scratch = Vec::new();
                for row in 0..rows.count() {
                    let at = row.saturating_mul(stride).saturating_add(offset);
                    let code = out
                        .get_mut(at..at.saturating_add(self.code_bytes()))
                        .ok_or(Error::Overflow)?;
                    let vector = rows.row(row).ok_or(Error::Overflow)?;
                    self.encode_one(kernels, params.as_u32s(), vector, code, &mut scratch)?;
                    if row % BLOCK == 0 {
                        relax()?;
                    }
                }
            }
        }
        Ok(params)
    }

    /// Writes the key of the median of each dimension.
    fn medians(&self, rows: &Rows<'_>, medians: &mut [u32]) -> Result {
        let step = rows.count().div_ceil(MEDIAN).max(1);
        let mut keys = Vec::with_capacity(MEDIAN)?;
        for (d, median) in medians.iter_mut().enumerate() {
            keys.clear();
            for row in (0..rows.count()).step_by(step) {
                let vector = rows.row(row).ok_or(Error::Overflow)?;
                keys.push(element_key(self.space.element(), vector, d))?;
            }
            heap::sort(&mut keys);
            *median = keys.get(keys.len() / 2).copied().unwrap_or(0);
            relax()?;
        }
        Ok(())
    }

    /// Writes the bf16 or binary code of one vector.
    fn encode_one(
        &self,
        kernels: Kernels,
        medians: &[u32],
        vector: &[u8],
        code: &mut [u8],
        scratch: &mut Vec<u8>,
    ) -> Result {
        if self.codes == Codes::Binary {
            code.fill(0);
            for (d, median) in medians.iter().enumerate() {
                let above = element_key(self.space.element(), vector, d) > *median;
                if let Some(byte) = code.get_mut(d / 8) {
                    *byte |= u8::from(above) << (d % 8);
                }
            }
            return Ok(());
        }
        scratch.clear();
        scratch.extend_from_slice(vector)?;
        if self.space.metric() == Metric::Cosine {
            let misfit = |_| Error::Invalid("a vector does not fit its space");
            kernels.normalize(&self.space, scratch).map_err(misfit)?;
        }
        for (float, half) in scratch.chunks_exact(4).zip(code.chunks_exact_mut(2)) {
            let bits = float.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
            // To the nearest, ties to even; what would round to infinity stays finite.
            let rounded = bits.saturating_add(0x7fff).saturating_add(bits >> 16 & 1) >> 16;
            let finite = if rounded & 0x7f80 == 0x7f80 {
                bits >> 16
            } else {
                rounded
            };
            half.copy_from_slice(&(finite as u16).to_le_bytes());
        }
        Ok(())
    }

    /// Runs `work` with a query in the form of the codes in `records`.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn with_query<W: Work>(
        &self,
        kernels: Kernels,
        (params, records): (&Buffer, &[u8]),
        (stride, offset, count): (usize, usize, usize),
        query: &Query<'_>,
        (code, scratch): (&mut Vec<u8>, &mut Vec<u8>),
        work: W,
    ) -> Result {
        let misfit = |_| Error::Invalid("the query does not fit the codes");
        if self.codes == Codes::Sq8 {
            code.resize(Sq8::query_bytes(self.space.dim()), 0)?;
            let codes = vexfs_simd::Codes::new(&self.space, records, stride, offset, count).map_err(misfit)?;
            let query = kernels.sq8_query(params, query, code).map_err(misfit)?;
            return work.with(&Bytes { kernels, query, codes });
        }
        code.resize(self.code_bytes(), 0)?;
        self.encode_one(kernels, params.as_u32s(), query.bytes(), code, scratch)?;
        let codes = records.get(offset..).ok_or(Error::Overflow)?;
        let rows = Rows::new(&self.code_space, codes, stride, count, &[]).map_err(misfit)?;
        let query = kernels.query(&self.code_space, code).map_err(misfit)?;
        work.with(&Vectors(Full { kernels, query, rows }))
    }
}

/// Something to do with a measure of any type.
pub(super) trait Work {
    fn with(self, measure: &impl Measure) -> Result;
}

/// An element as a number that orders as the elements do.
fn element_key(element: Element, vector: &[u8], d: usize) -> u32 {
    let word = |bytes: usize| vector.get(d.saturating_mul(bytes)..);
    match element {
        Element::F32 => word(4)
            .and_then(|bytes| bytes.first_chunk::<4>())
            .map_or(0, |bytes| key_of(u32::from_le_bytes(*bytes))),
        // Both halves order as floats of which they are the upper half do.
        _ => word(2)
            .and_then(|bytes| bytes.first_chunk::<2>())
            .map_or(0, |bytes| key_of(u32::from(u16::from_le_bytes(*bytes)) << 16)),
    }
}

/// Codes of a byte a dimension.
struct Bytes<'a> {
    kernels: Kernels,
    query: Sq8Query<'a>,
    codes: vexfs_simd::Codes<'a>,
}

impl Measure for Bytes<'_> {
    #[inline]
    fn keys(&self, rows: &[u32], keys: &mut [u32]) -> Result {
        self.kernels
            .sq8_gather(&self.query, &self.codes, rows, keys)
            .map_err(|_| Error::Invalid("the query does not fit the codes"))
    }

    #[inline]
    fn count(&self, rows: usize, cost: &mut Cost) {
        cost.codes = cost.codes.saturating_add(rows as u64);
    }
}

/// Codes that are vectors.
struct Vectors<'a>(Full<'a>);

impl Measure for Vectors<'_> {
    #[inline]
    fn keys(&self, rows: &[u32], keys: &mut [u32]) -> Result {
        self.0.keys(rows, keys)
    }

    #[inline]
    fn count(&self, rows: usize, cost: &mut Cost) {
        cost.codes = cost.codes.saturating_add(rows as u64);
    }
}
