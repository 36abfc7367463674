// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! A product quantizer without lists, for indexes that look at single codes.
//!
//! Vectors are encoded by what they differ from their mean; for inner products the mean counts as zero, since the
//! query's product with it is the same for all rows.

use super::encode;
use super::pack;
use super::sample_rows;
use super::train;
use crate::indexes::ivf;
use crate::kmeans;
use crate::kmeans::fits;
use crate::kmeans::Training;
use crate::pool::bytes_of;
use core::ops::Range;
use vexfs_host::mem::Buffer;
use vexfs_host::mem::Vec;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd::quant::Book;
use vexfs_simd::quant::GatherTable;
use vexfs_simd::quant::Panels;
use vexfs_simd::quant::Pq;
use vexfs_simd::quant::Vectors;
use vexfs_simd::Kernels;
use vexfs_simd::Metric;
use vexfs_simd::Query;
use vexfs_simd::Rows;
use vexfs_simd::Space;

/// Rows encoded at once.
const BATCH: usize = 64;

/// A product quantizer.
///
/// # Invariants
///
/// `words` is the panel of the mean, then the book.
pub(crate) struct Quantizer {
    pq: Pq,
    space: Space,
    words: Buffer,
}

/// Scratch memory of a query's table.
pub(crate) struct QueryScratch {
    vector: Vec<u32>,
    values: Vec<u32>,
    words: Vec<u32>,
}

impl QueryScratch {
    /// Bytes of memory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        bytes_of(&self.vector) + bytes_of(&self.values) + bytes_of(&self.words)
    }

    /// Memory for tables of this quantizer.
    pub(crate) fn new(quantizer: &Quantizer) -> Result<Self> {
        let pq = quantizer.pq;
        let mut scratch = Self {
            vector: Vec::new(),
            values: Vec::new(),
            words: Vec::new(),
        };
        scratch.vector.resize(pq.dim(), 0)?;
        scratch.values.resize(pq.values(), 0)?;
        scratch.words.resize(pq.gather_words(), 0)?;
        Ok(scratch)
    }
}

impl Quantizer {
    /// Trains one on some of the rows; a code will have `bytes` bytes, and each part of it `bits`, 4 or 8.
    ///
    /// # Errors
    ///
    /// `Unsupported` for binary vectors; `Invalid` if there are no rows or no such codes; `NoMemory`; `Interrupted`.
    #[inline(never)] // own frame
    pub(crate) fn train(
        kernels: &Kernels,
        rows: &Rows<'_>,
        bytes: usize,
        bits: usize,
        seed: u64,
        threads: usize,
    ) -> Result<Self> {
        let space = rows.space();
        ivf::check(&space)?;
        let pq = Pq::new(space.dim(), bytes, bits).ok_or(Error::Invalid("no such codes"))?;
        let mut sample = ivf::sample(kernels, rows, sample_rows(pq), pq.dim(), seed)?;
        let centre_words = Panels::words(space.dim(), 1);
        let mut words = Buffer::zeroed((centre_words + pq.book_words()) * 4)?;
        let (centre, book) = words
            .as_u32s_mut()
            .split_at_mut_checked(centre_words)
            .ok_or(Error::Overflow)?;
        if space.metric() != Metric::Ip {
            let mean = kmeans::train(&Training {
                kernels: *kernels,
                vectors: fits(fits(Vectors::packed(sample.as_u32s(), pq.dim()))?.part(0, space.dim()))?,
                count: 1,
                rounds: 1,
                unit: false,
                seed,
                threads,
            })?;
            centre.copy_from_slice(mean.as_u32s());
        }
        subtract(
            kernels,
            &fits(Panels::new(centre, space.dim(), 1))?,
            pq.dim(),
            sample.as_u32s_mut(),
        )?;
        let vectors = fits(Vectors::packed(sample.as_u32s(), pq.dim()))?;
        book.copy_from_slice(train(kernels, &vectors, pq, seed, threads)?.as_u32s());
        Ok(Self { pq, space, words })
    }

    /// The quantizer stored in these bytes, which [`as_bytes`](Self::as_bytes) gave.
    ///
    /// # Errors
    ///
    /// `Corrupt` if they cannot be that.
    pub(crate) fn from_bytes(space: &Space, bytes: usize, bits: usize, words: Buffer) -> Result<Self> {
        let damaged = || Error::corrupt("a product quantizer is damaged", u64::MAX, 0);
        ivf::check(space)?;
        let pq = Pq::new(space.dim(), bytes, bits).ok_or_else(damaged)?;
        if words.len() != (Panels::words(space.dim(), 1) + pq.book_words()) * 4 {
            return Err(damaged());
        }
        Ok(Self {
            pq,
            space: *space,
            words,
        })
    }

    /// What is stored of it.
    pub(crate) fn into_bytes(self) -> Buffer {
        self.words
    }

    /// Bytes of memory held.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.words.memory_bytes()
    }

    fn parts(&self) -> Result<(Panels<'_>, Book<'_>)> {
        let dim = self.space.dim();
        let words = self.words.as_u32s();
        let (centre, book) = words.split_at_checked(Panels::words(dim, 1)).ok_or(Error::Overflow)?;
        Ok((fits(Panels::new(centre, dim, 1))?, fits(Book::new(self.pq, book))?))
    }

    /// Writes the codes of some rows, one after the other.
    ///
    /// # Errors
    ///
    /// `Invalid` if `out` is not as long as that; `NoMemory`; `Interrupted`.
    #[inline(never)] // own frame
    pub(crate) fn encode(&self, kernels: &Kernels, rows: &Rows<'_>, range: Range<usize>, out: &mut [u8]) -> Result {
        let (pq, (centre, book)) = (self.pq, self.parts()?);
        if range.len().checked_mul(pq.code_bytes()) != Some(out.len()) {
            return Err(Error::Invalid("codes are not as long as rows are many"));
        }
        let mut vectors = Buffer::zeroed(BATCH * pq.dim() * 4)?;
        let mut nearest = [0; BATCH];
        let mut codes = Buffer::zeroed(BATCH * pq.parts() * 4)?;
        let mut first = range.start;
        for out in out.chunks_mut(BATCH * pq.code_bytes()) {
            let count = out.len().checked_div(pq.code_bytes()).unwrap_or(0);
            let vectors = vectors
                .as_u32s_mut()
                .get_mut(..count * pq.dim())
                .ok_or(Error::Overflow)?;
            ivf::unpack(kernels, rows, first..first + count, pq.dim(), vectors)?;
            subtract(kernels, &centre, pq.dim(), vectors)?;
            let vectors = fits(Vectors::new(vectors, pq.dim(), pq.dim(), count))?;
            let nearest = nearest.get_mut(..count).ok_or(Error::Overflow)?;
            let codes = codes
                .as_u32s_mut()
                .get_mut(..count * pq.parts())
                .ok_or(Error::Overflow)?;
            encode(kernels, &book, &vectors, nearest, codes)?;
            for (out, codes) in out.chunks_mut(pq.code_bytes()).zip(codes.chunks(pq.parts())) {
                for (out, byte) in out.iter_mut().zip(pack(pq, codes)) {
                    *out = byte;
                }
            }
            first += count;
        }
        Ok(())
    }

    /// Makes a query's table: the keys it gives are on the scale of the metric's, except that cosine distances are
    /// doubled and inner products lack a constant.
    ///
    /// # Errors
    ///
    /// `Invalid` if the query is of another space.
    pub(crate) fn table<'a>(
        &self,
        kernels: &Kernels,
        query: &Query<'_>,
        scratch: &'a mut QueryScratch,
    ) -> Result<GatherTable<'a>> {
        if query.space() != self.space {
            return Err(Error::Invalid("the query is of another space"));
        }
        let (centre, book) = self.parts()?;
        fits(kernels.unpack_query(query, &mut scratch.vector))?;
        subtract(kernels, &centre, self.pq.dim(), &mut scratch.vector)?;
        let l2 = self.space.metric() != Metric::Ip;
        fits(kernels.pq_gather_table(&book, &scratch.vector, l2, &mut scratch.values, &mut scratch.words))
    }
}

/// Takes the mean off vectors `stride` words apart.
fn subtract(kernels: &Kernels, centre: &Panels<'_>, stride: usize, vectors: &mut [u32]) -> Result {
    const ZEROS: [u32; 64] = [0; 64];
    for vectors in vectors.chunks_mut(stride * ZEROS.len()) {
        let zeros = ZEROS
            .get(..vectors.len().checked_div(stride).unwrap_or(0))
            .ok_or(Error::Overflow)?;
        fits(kernels.subtract(centre, zeros, stride, vectors))?;
    }
    Ok(())
}
