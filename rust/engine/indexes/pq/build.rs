// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Making the index: lists, a book trained on a sample's residuals, then codes and terms block by block.

use super::encode;
use super::index::PqIndex;
use super::pack;
use super::sample_rows;
use super::train;
use crate::index::Build;
use crate::index::IndexKind;
use crate::indexes::ivf;
use crate::indexes::ivf::Lists;
use crate::kmeans;
use crate::kmeans::fits;
use crate::pool::Pool;
use vexfs_host::mem::Buffer;
use vexfs_host::relax;
use vexfs_host::sync::Mutex;
use vexfs_host::threads;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd::quant::Book;
use vexfs_simd::quant::Pq;
use vexfs_simd::quant::RowTerms;
use vexfs_simd::quant::Vectors;
use vexfs_simd::quant::BLOCK;
use vexfs_simd::Kernels;

/// Rows encoded at once.
const BATCH: usize = 4 * BLOCK;

impl PqIndex {
    /// Makes the sections of an index.
    ///
    /// # Errors
    ///
    /// Those of [`check`](Self::check); `NoMemory`; `Interrupted`.
    #[inline(never)] // own frame
    pub(super) fn of_rows(build: &Build<'_>) -> Result<Self> {
        let (kernels, rows) = (&build.kernels, &build.rows);
        let space = rows.space();
        let pq = Self::shape(&space, build.params)?;
        let count = match (build.params.kind(), build.params.nlist) {
            (IndexKind::Pq, _) => 1,
            (_, 0) => ivf::default_lists(rows.count()),
            (_, count) => count as usize,
        };
        // A row is assigned, then encoded.
        let total = rows.count() as u64 * 2;
        let lists = Lists::build(build, count, &|done| (build.progress)(done as u64, total))?;
        let book = match rows.count() {
            0 => Buffer::zeroed(pq.book_words() * 4)?,
            _ => book(build, pq, &lists)?,
        };
        let (codes, terms) = encoded(build, pq, &lists, &book)?;
        let narrow = match lists.l2() {
            true => Some(narrowed(kernels, &terms, rows.count())?),
            false => None,
        };
        Ok(Self {
            pq,
            lists,
            book,
            codes,
            terms: narrow,
            scratch: Pool::new()?,
        })
    }
}

/// The codes of all rows and their terms.
#[inline(never)] // own frame
fn encoded(build: &Build<'_>, pq: Pq, lists: &Lists, book: &Buffer) -> Result<(Buffer, Buffer)> {
    let rows = &build.rows;
    // A row is assigned, then encoded.
    let total = rows.count() as u64 * 2;
    let places = rows.count().div_ceil(BLOCK) * BLOCK;
    let mut codes = Buffer::zeroed(places.checked_mul(pq.code_bytes()).ok_or(Error::NoMemory)?)?;
    let mut terms = Buffer::zeroed(places.checked_mul(4).ok_or(Error::NoMemory)?)?;
    {
        let book = fits(Book::new(pq, book.as_u32s()))?;
        let blocks = codes.chunks_mut(BATCH * pq.code_bytes());
        let batches = blocks.zip(terms.as_u32s_mut().chunks_mut(BATCH)).enumerate();
        let left = Mutex::new(batches)?;
        threads::run(build.threads.max(1), &|_| {
            let mut encoder = Encoder::new(build, pq, lists, &book)?;
            loop {
                let next = left.lock().next();
                let Some((i, (codes, terms))) = next else {
                    return Ok(());
                };
                encoder.batch(i * BATCH, codes, terms)?;
                let done = rows.count().min((i + 1) * BATCH) + rows.count();
                (build.progress)(done as u64, total);
            }
        })?;
    }
    Ok((codes, terms))
}

/// The terms of `rows` rows in two bytes each; places behind them keep term 0.
#[inline(never)] // own frame
fn narrowed(kernels: &Kernels, terms: &Buffer, rows: usize) -> Result<(RowTerms, Buffer)> {
    let mut out = Buffer::zeroed(terms.len() / 2)?;
    let used = terms.as_u32s().get(..rows).unwrap_or_default();
    let (min, max) = kmeans::range(used).unwrap_or_default();
    let mut range = RowTerms { min, step: 0 };
    let mut word = [0u16; BLOCK];
    for (terms, out) in used.chunks(BLOCK).zip(out.chunks_mut(BLOCK * 2)) {
        let word = word.get_mut(..terms.len()).ok_or(Error::Overflow)?;
        range = fits(kernels.pq_narrow_terms(terms, min, max, word))?;
        for (out, term) in out.chunks_exact_mut(2).zip(word.iter()) {
            out.copy_from_slice(&term.to_le_bytes());
        }
    }
    Ok((range, out))
}

/// Trains the book on the residuals of some rows.
fn book(build: &Build<'_>, pq: Pq, lists: &Lists) -> Result<Buffer> {
    let (kernels, dim) = (&build.kernels, pq.dim());
    let mut sample = ivf::sample(
        kernels,
        &build.rows,
        sample_rows(pq),
        dim,
        build.params.seed ^ 0x5051_4231,
    )?;
    let count = fits(Vectors::packed(sample.as_u32s(), dim))?.count();
    let mut nearest = Buffer::zeroed(count * 4)?;
    let panels = lists.panels()?;
    {
        let vectors = fits(Vectors::packed(sample.as_u32s(), dim))?;
        let vectors = fits(vectors.part(0, lists.dim()))?;
        kmeans::assign(kernels, &vectors, &panels, nearest.as_u32s_mut(), build.threads)?;
    }
    for (vectors, nearest) in sample
        .as_u32s_mut()
        .chunks_mut(BATCH * dim)
        .zip(nearest.as_u32s().chunks(BATCH))
    {
        fits(kernels.subtract(&panels, nearest, dim, vectors))?;
        relax()?;
    }
    let vectors = fits(Vectors::packed(sample.as_u32s(), dim))?;
    train(kernels, &vectors, pq, build.params.seed, build.threads)
}

/// What encodes batches of places.
struct Encoder<'a> {
    build: &'a Build<'a>,
    pq: Pq,
    lists: &'a Lists,
    book: &'a Book<'a>,
    vectors: Buffer,
    list_of: Buffer,
    nearest: Buffer,
    codes: Buffer,
}

impl<'a> Encoder<'a> {
    #[inline(never)] // own frame
    fn new(build: &'a Build<'a>, pq: Pq, lists: &'a Lists, book: &'a Book<'a>) -> Result<Self> {
        Ok(Self {
            build,
            pq,
            lists,
            book,
            vectors: Buffer::zeroed(BATCH * pq.dim() * 4)?,
            list_of: Buffer::zeroed(BATCH * 4)?,
            nearest: Buffer::zeroed(BATCH * 4)?,
            codes: Buffer::zeroed(BATCH * pq.parts() * 4)?,
        })
    }

    /// Writes the codes and terms of the places from `first` on.
    fn batch(&mut self, first: usize, codes: &mut [u8], terms: &mut [u32]) -> Result {
        let (kernels, pq, dim) = (&self.build.kernels, self.pq, self.pq.dim());
        let all = self.lists.rows();
        let rows = all.get(first..all.len().min(first + BATCH)).unwrap_or_default();
        let count = rows.len();
        let list_of = self.list_of.as_u32s_mut().get_mut(..count).ok_or(Error::Overflow)?;
        lists_of(self.lists, first, list_of);

        let vectors = self
            .vectors
            .as_u32s_mut()
            .get_mut(..count * dim)
            .ok_or(Error::Overflow)?;
        for (row, vector) in rows.iter().zip(vectors.chunks_mut(dim)) {
            let row = *row as usize;
            fits(kernels.unpack(&self.build.rows, row..row + 1, dim, vector))?;
        }
        let panels = self.lists.panels()?;
        fits(kernels.subtract(&panels, list_of, dim, vectors))?;
        relax()?;
        let vectors = fits(Vectors::new(vectors, dim, dim, count))?;
        let nearest = self.nearest.as_u32s_mut().get_mut(..count).ok_or(Error::Overflow)?;
        let parts = self
            .codes
            .as_u32s_mut()
            .get_mut(..count * pq.parts())
            .ok_or(Error::Overflow)?;
        encode(kernels, self.book, &vectors, nearest, parts)?;
        if self.lists.l2() {
            let terms = terms.get_mut(..count).ok_or(Error::Overflow)?;
            fits(kernels.pq_terms(self.book, &panels, &vectors, parts, list_of, terms))?;
        }
        let blocks = codes
            .chunks_mut(BLOCK * pq.code_bytes())
            .zip(parts.chunks(BLOCK * pq.parts()));
        for (block, parts) in blocks {
            for (i, parts) in parts.chunks(pq.parts()).enumerate() {
                let places = block.iter_mut().skip(i).step_by(BLOCK);
                for (to, byte) in places.zip(pack(pq, parts)) {
                    *to = byte;
                }
            }
        }
        relax()
    }
}

/// Writes the list of each place from `first` on.
fn lists_of(lists: &Lists, first: usize, out: &mut [u32]) {
    // The list of the first place, then on from list to list.
    let (mut low, mut high) = (0, lists.count());
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if lists.places(middle).start <= first {
            low = middle;
        } else {
            high = middle;
        }
    }
    let mut list = low;
    for (i, out) in out.iter_mut().enumerate() {
        while list + 1 < lists.count() && first + i >= lists.places(list).end {
            list += 1;
        }
        *out = list as u32;
    }
}
