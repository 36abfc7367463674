// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Product quantizers: tables of queries, and sums of codes.

use super::abi;
use super::hard_float;
use super::level;
use super::Panels;
use super::Vectors;
use super::BLOCK;
use super::LANES;
use super::WORK;
use crate::fpu;
use crate::kernels::per;
use crate::Kernels;
use crate::ShapeMismatch;
use core::ptr::null;
use core::ptr::null_mut;

/// The shape of a product quantizer: the vector is cut into parts, and each is encoded by itself.
///
/// # Invariants
///
/// `bits` is 4 or 8, `parts >= 1` and even if `bits` is 4, `part_dim >= 1`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pq {
    parts: u32,
    part_dim: u32,
    bits: u32,
}

impl Pq {
    /// The most bytes of a code.
    pub const BYTES_MAX: usize = 2048;
    /// The most bytes of a code that can be scanned in blocks, whose sums have 16 bits.
    pub const SCAN_BYTES_MAX: usize = 128;

    /// Codes of `bytes` bytes, each part of 4 or 8 bits, for vectors of `dim` elements. `None` if there are none such.
    pub fn new(dim: usize, bytes: usize, bits: usize) -> Option<Self> {
        if !matches!(bits, 4 | 8) || !(1..=Self::BYTES_MAX).contains(&bytes) || !(1..=1 << 16).contains(&dim) {
            return None;
        }
        let parts = if bits == 4 { 2 * bytes } else { bytes };
        Some(Self {
            parts: parts as u32,
            part_dim: (dim - 1).checked_div(parts)? as u32 + 1,
            bits: bits as u32,
        })
    }

    /// Parts of a vector.
    pub fn parts(&self) -> usize {
        self.parts as usize
    }

    /// Elements of a part.
    pub fn part_dim(&self) -> usize {
        self.part_dim as usize
    }

    /// Elements of all parts: the dimension of the vectors that are encoded, at least that of the space. The rest is
    /// zero.
    pub fn dim(&self) -> usize {
        self.parts() * self.part_dim()
    }

    /// Bits of a part's code.
    pub fn bits(&self) -> usize {
        self.bits as usize
    }

    /// Centroids of a part.
    pub fn centroids(&self) -> usize {
        1 << self.bits
    }

    /// Bytes of a code.
    pub fn code_bytes(&self) -> usize {
        self.parts() * self.bits() / 8
    }

    /// Words of the panels of one part.
    pub fn part_words(&self) -> usize {
        Panels::words(self.part_dim(), self.centroids())
    }

    /// Words of the panels of all parts.
    pub fn book_words(&self) -> usize {
        self.parts() * self.part_words()
    }

    /// Words of scratch memory for making a table; as many bytes has a table for scans.
    pub fn values(&self) -> usize {
        self.parts() << self.bits
    }

    /// Words of 32 bits of a table for gathering.
    pub fn gather_words(&self) -> usize {
        (self.code_bytes() * 256 + 1).div_ceil(2)
    }
}

/// The centroids of all parts of a product quantizer.
///
/// # Invariants
///
/// `words` has `pq.book_words()` words.
#[derive(Clone, Copy, Debug)]
pub struct Book<'a> {
    pq: Pq,
    words: &'a [u32],
}

impl<'a> Book<'a> {
    /// The panels of each part, one part after the other.
    ///
    /// # Errors
    ///
    /// They are not as long as the shape says.
    pub fn new(pq: Pq, words: &'a [u32]) -> Result<Self, ShapeMismatch> {
        if words.len() != pq.book_words() {
            return Err(ShapeMismatch);
        }
        Ok(Self { pq, words })
    }

    /// The shape.
    pub fn pq(&self) -> Pq {
        self.pq
    }

    /// The centroids of one part.
    ///
    /// # Errors
    ///
    /// There is no such part.
    pub fn part(&self, part: usize) -> Result<Panels<'a>, ShapeMismatch> {
        let words = self.words.chunks(self.pq.part_words()).nth(part).ok_or(ShapeMismatch)?;
        Panels::new(words, self.pq.part_dim(), self.pq.centroids())
    }
}

/// Terms of rows: 16 bits each, in steps above the least.
#[derive(Clone, Copy, Debug)]
pub struct RowTerms {
    /// `f32` of the least term.
    pub min: u32,
    /// `f32` of a step.
    pub step: u32,
}

/// A query's table for scans.
#[derive(Clone, Copy, Debug)]
pub struct ScanTable<'a> {
    pq: Pq,
    bytes: &'a [u8],
    base: u32,
    pub(super) step: u32,
    factor: u32,
}

/// A query's table for single rows.
#[derive(Clone, Copy, Debug)]
pub struct GatherTable<'a> {
    pq: Pq,
    words: &'a [u32],
    base: u32,
    step: u32,
}

impl Kernels {
    /// Makes a table for [`pq_scan`](Self::pq_scan) of a query, a vector of [`Pq::dim`] words. `values` is scratch
    /// memory of [`Pq::values`] words, and `bytes` has as many bytes.
    ///
    /// With `l2` the table is of `-2 <q, r>`, else of `-<q, r>`, where `r` is the decoded row. `terms` tell the range
    /// of the rows' terms, if they have any.
    ///
    /// # Errors
    ///
    /// A length is another, or codes are too long to be scanned.
    pub fn pq_scan_table<'a>(
        &self,
        book: &Book<'_>,
        query: &[u32],
        l2: bool,
        terms: Option<RowTerms>,
        values: &mut [u32],
        bytes: &'a mut [u8],
    ) -> Result<ScanTable<'a>, ShapeMismatch> {
        let pq = book.pq;
        if bytes.len() != pq.values() || pq.code_bytes() > Pq::SCAN_BYTES_MAX {
            return Err(ShapeMismatch);
        }
        let mut args = table_args(book, query, values)?;
        args.l2 = l2;
        args.bytes = bytes.as_mut_ptr();
        if let Some(terms) = terms {
            args.term_min = terms.min;
            args.term_step = terms.step;
        }
        {
            let _section = fpu::Section::begin();
            // SAFETY: all lengths are those of the shape, and what is written is borrowed exclusively; this is an FPU
            // section, and the level is the variant's.
            unsafe { hard_float::vexfs_quant_table(level(self), &mut args) };
        }
        Ok(ScanTable {
            pq,
            bytes,
            base: args.base,
            step: args.step,
            factor: args.factor,
        })
    }

    /// Makes a table for [`pq_gather`](Self::pq_gather) of a query, a vector of [`Pq::dim`] words. `values` is scratch
    /// memory of [`Pq::values`] words, `words` has [`Pq::gather_words`].
    ///
    /// With `l2` the keys will be of `|q - r|^2`, else of `-<q, r>`, where `r` is the decoded row.
    ///
    /// # Errors
    ///
    /// A length is another.
    pub fn pq_gather_table<'a>(
        &self,
        book: &Book<'_>,
        query: &[u32],
        l2: bool,
        values: &mut [u32],
        words: &'a mut [u32],
    ) -> Result<GatherTable<'a>, ShapeMismatch> {
        let pq = book.pq;
        if words.len() != pq.gather_words() {
            return Err(ShapeMismatch);
        }
        let mut args = table_args(book, query, values)?;
        args.l2 = l2;
        args.norms = l2;
        args.words = words.as_mut_ptr().cast();
        {
            let _section = fpu::Section::begin();
            // SAFETY: as in `pq_scan_table`.
            unsafe { hard_float::vexfs_quant_table(level(self), &mut args) };
        }
        Ok(GatherTable {
            pq,
            words,
            base: args.base,
            step: args.step,
        })
    }

    /// Scans the codes of rows `first..first + count`, in blocks of [`BLOCK`] rows: byte `j` of the code of row `i` is
    /// `codes[i / BLOCK * BLOCK * code_bytes + j * BLOCK + i % BLOCK]`, and with 4 bits part `2 j` is the low half of
    /// it.
    ///
    /// Rows whose distance is not above that of the key `limit` are found (and perhaps some with a slightly larger
    /// one): their numbers and keys are written in order, and their number is returned. A distance is what the table
    /// and the row's term give, plus `list`, an `f32`; `terms` is empty or has a term for each row of each block.
    ///
    /// # Errors
    ///
    /// There are no such rows, `rows` or `keys` is shorter than `count`, or terms are missing.
    #[allow(clippy::too_many_arguments)] // All of them differ from call to call.
    pub fn pq_scan(
        &self,
        table: &ScanTable<'_>,
        codes: &[u8],
        terms: &[u16],
        first: usize,
        count: usize,
        list: u32,
        limit: u32,
        rows: &mut [u32],
        keys: &mut [u32],
    ) -> Result<usize, ShapeMismatch> {
        let bytes = table.pq.code_bytes();
        let end = first.checked_add(count).ok_or(ShapeMismatch)?;
        let blocks = codes.len().checked_div(bytes * BLOCK).unwrap_or(0);
        if end > blocks * BLOCK
            || rows.len() < count
            || keys.len() < count
            || (!terms.is_empty() && terms.len() < blocks * BLOCK)
        {
            return Err(ShapeMismatch);
        }
        let per_section = per(4 * WORK / BLOCK, bytes) * BLOCK;
        let (mut at, mut written) = (first, 0);
        while at < end {
            let block = at / BLOCK * BLOCK;
            let stop = end.min(block + per_section);
            let args = abi::Scan {
                // All in bounds; wrapping to need no unsafe block.
                codes: codes.as_ptr().wrapping_add(block * bytes),
                table: table.bytes.as_ptr(),
                terms: if terms.is_empty() {
                    null()
                } else {
                    terms.as_ptr().wrapping_add(block)
                },
                bytes,
                bits: table.pq.bits,
                factor: table.factor,
                first: at,
                count: stop - at,
                limit,
                base: table.base,
                list,
                step: table.step,
                keys: keys.as_mut_ptr().wrapping_add(written),
                rows: rows.as_mut_ptr().wrapping_add(written),
            };
            let _section = fpu::Section::begin();
            // SAFETY: there are codes and terms for all blocks, and room for as many rows as are scanned, since no more
            // were written than scanned before; this is an FPU section, and the level is the variant's.
            written += unsafe { hard_float::vexfs_quant_scan(level(self), &args) };
            at = stop;
        }
        Ok(written)
    }

    /// Computes the keys of some rows by their codes: `keys[i]` is that of row `ids[i]`, whose code is the
    /// [`code_bytes`](Pq::code_bytes) bytes at `codes[ids[i] * stride..]`; with 4 bits, part `2 j` is the low half of
    /// byte `j`.
    ///
    /// # Errors
    ///
    /// There is no code of some row, or `keys` has not one word an id.
    #[inline]
    pub fn pq_gather(
        &self,
        table: &GatherTable<'_>,
        codes: &[u8],
        stride: usize,
        ids: &[u32],
        keys: &mut [u32],
    ) -> Result<(), ShapeMismatch> {
        let bytes = table.pq.code_bytes();
        let Some(largest) = ids.iter().max() else {
            return Ok(());
        };
        let end = (*largest as usize)
            .checked_mul(stride)
            .and_then(|start| start.checked_add(bytes));
        if ids.len() != keys.len() || end.is_none_or(|end| end > codes.len()) {
            return Err(ShapeMismatch);
        }
        let per_section = per(WORK / 4, bytes);
        for (ids, keys) in ids.chunks(per_section).zip(keys.chunks_mut(per_section)) {
            let args = abi::Gather {
                codes: codes.as_ptr(),
                table: table.words.as_ptr().cast(),
                ids: ids.as_ptr(),
                keys: keys.as_mut_ptr(),
                bytes,
                stride,
                count: ids.len(),
                base: table.base,
                step: table.step,
            };
            let _section = fpu::Section::begin();
            // SAFETY: the code of the largest id is within `codes`, so all are; the table was made for this shape; this
            // is an FPU section, and the level is the variant's.
            unsafe { hard_float::vexfs_quant_gather(level(self), &args) };
        }
        Ok(())
    }

    /// Writes the terms of rows whose residuals these are, in code `codes` (a word a part) and in list `lists` of
    /// `centroids`: what is missing from `|q - c|^2 - 2 <q, s>`, with `s` the decoded residual, to estimate the squared
    /// distance.
    ///
    /// # Errors
    ///
    /// A length is not one for each residual, or a code or list does not exist.
    pub fn pq_terms(
        &self,
        book: &Book<'_>,
        centroids: &Panels<'_>,
        residuals: &Vectors<'_>,
        codes: &[u32],
        lists: &[u32],
        terms: &mut [u32],
    ) -> Result<(), ShapeMismatch> {
        let (pq, count) = (book.pq, residuals.count());
        let below = |numbers: &[u32], end: usize| numbers.iter().all(|number| (*number as usize) < end);
        if residuals.dim() != pq.dim()
            || terms.len() != count
            || lists.len() != count
            || count.checked_mul(pq.parts()) != Some(codes.len())
            || !below(codes, pq.centroids())
            || !below(lists, centroids.count())
            || centroids.dim() > pq.dim()
        {
            return Err(ShapeMismatch);
        }
        let per_section = per(WORK / 4, pq.dim());
        let mut first = 0;
        for terms in terms.chunks_mut(per_section) {
            let args = abi::Terms {
                residuals: residuals.floats(first..first + terms.len()),
                codes: codes.as_ptr().wrapping_add(first * pq.parts()),
                book: book.words.as_ptr(),
                lists: lists.as_ptr().wrapping_add(first),
                centroids: centroids.as_ptr(),
                terms: terms.as_mut_ptr(),
                parts: pq.parts(),
                part_dim: pq.part_dim(),
                dim: centroids.dim(),
                bits: pq.bits,
            };
            let _section = fpu::Section::begin();
            // SAFETY: there are codes and lists for all these residuals, all of which exist; this is an FPU section.
            unsafe { hard_float::vexfs_quant_terms(&args) };
            first += terms.len();
        }
        Ok(())
    }

    /// Writes terms in 16 bits; `min` and `max` are `f32`s of the least and the largest.
    ///
    /// # Errors
    ///
    /// `out` is not as long as `terms`.
    pub fn pq_narrow_terms(
        &self,
        terms: &[u32],
        min: u32,
        max: u32,
        out: &mut [u16],
    ) -> Result<RowTerms, ShapeMismatch> {
        if terms.len() != out.len() {
            return Err(ShapeMismatch);
        }
        let mut step = 0;
        // At least once, for the step of no terms.
        let mut first = 0;
        loop {
            let some = (terms.len() - first).min(WORK / 16);
            let _section = fpu::Section::begin();
            // SAFETY: both have `some` words from `first` on; this is an FPU section.
            unsafe {
                hard_float::vexfs_quant_narrow(
                    terms.as_ptr().wrapping_add(first),
                    some,
                    min,
                    max,
                    out.as_mut_ptr().wrapping_add(first),
                    &mut step,
                );
            }
            first += some;
            if first >= terms.len() {
                return Ok(RowTerms { min, step });
            }
        }
    }
}

/// The arguments of making a table, without the table.
fn table_args(book: &Book<'_>, query: &[u32], values: &mut [u32]) -> Result<abi::Table, ShapeMismatch> {
    let pq = book.pq;
    if query.len() != pq.dim() || values.len() != pq.values() {
        return Err(ShapeMismatch);
    }
    Ok(abi::Table {
        query: query.as_ptr(),
        book: book.words.as_ptr(),
        values: values.as_mut_ptr(),
        bytes: null_mut(),
        words: null_mut(),
        parts: pq.parts(),
        part_dim: pq.part_dim(),
        bits: pq.bits,
        l2: false,
        norms: false,
        term_min: 0,
        term_step: 0,
        base: 0,
        step: 0,
        factor: 0,
    })
}

const _: () = assert!(LANES == 16, "16 centroids of 4 bits are one panel");
