// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Inverted lists: the rows nearest to each centroid.
//!
//! Places are the rows in the order of lists, and within a list in their own: list `l` has places
//! `offsets[l]..offsets[l + 1]`, and the row at place `p` is `rows[p]`. Codes are stored by place, so that a list is
//! scanned in one piece.

use crate::index::take_section;
use crate::index::Build;
use crate::index::Section;
use crate::index::Sections;
use crate::kmeans;
use crate::kmeans::fits;
use crate::kmeans::Random;
use crate::kmeans::Training;
use core::ops::Range;
use vexfs_host::mem::Buffer;
use vexfs_host::relax;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd::quant::Panels;
use vexfs_simd::quant::Vectors;
use vexfs_simd::Element;
use vexfs_simd::Kernels;
use vexfs_simd::Metric;
use vexfs_simd::Rows;
use vexfs_simd::Space;

/// The centroids, as panels (see `vexfs_simd::quant`).
const CENTROIDS: u32 = 0x401;
/// Where lists begin: a word a list and one more.
const OFFSETS: u32 = 0x402;
/// The row at each place.
const ROWS: u32 = 0x403;

/// Rows a centroid that it is trained on.
const SAMPLE: usize = 64;
/// Rounds of Lloyd's algorithm.
const ROUNDS: usize = 10;
/// Words of vectors that are converted at once.
const BATCH: usize = 256 * 1024;

/// Inverted lists.
///
/// # Invariants
///
/// `centroids` are the panels of `count` centroids of `dim` elements; `offsets` has `count + 1` words, which begin at
/// 0, do not decrease and end at the number of `rows`; `rows` has each number below that once, and within a list they
/// ascend.
pub(crate) struct Lists {
    centroids: Buffer,
    offsets: Buffer,
    rows: Buffer,
    count: usize,
    dim: usize,
    /// Distances are squared Euclidean ones, of unit vectors for cosine; else negated inner products.
    l2: bool,
}

/// Checks that rows of this space can be clustered.
pub(crate) fn check(space: &Space) -> Result {
    if space.element() == Element::Binary {
        return Err(Error::Unsupported("centroids of binary vectors"));
    }
    Ok(())
}

/// A sample of rows as vectors, `stride` words apart.
pub(crate) fn sample(kernels: &Kernels, rows: &Rows<'_>, count: usize, stride: usize, seed: u64) -> Result<Buffer> {
    let count = count.min(rows.count());
    let mut random = Random::new(seed);
    let mut sample = Buffer::zeroed(count.checked_mul(stride * 4).ok_or(Error::NoMemory)?)?;
    for (i, vector) in sample.as_u32s_mut().chunks_mut(stride).enumerate() {
        let row = random.of_slice(i, count, rows.count());
        fits(kernels.unpack(rows, row..row + 1, stride, vector))?;
        if i % 64 == 0 {
            relax()?;
        }
    }
    Ok(sample)
}

impl Lists {
    /// Makes `count` lists of the rows; `progress` is told how many rows are in theirs.
    #[inline(never)] // own frame
    pub(crate) fn build(build: &Build<'_>, count: usize, progress: &dyn Fn(usize)) -> Result<Self> {
        let (kernels, rows) = (&build.kernels, &build.rows);
        let space = rows.space();
        check(&space)?;
        let dim = space.dim();
        let count = count.clamp(1, rows.count().max(1));
        let centroids = if rows.count() == 0 {
            Buffer::zeroed(Panels::words(dim, count) * 4)?
        } else {
            let wanted = count.saturating_mul(SAMPLE).max(SAMPLE * 16);
            let sample = sample(kernels, rows, wanted, dim, build.params.seed ^ 0x4956_4631)?;
            kmeans::train(&Training {
                kernels: *kernels,
                vectors: fits(Vectors::packed(sample.as_u32s(), dim))?,
                count,
                rounds: if count == 1 { 1 } else { ROUNDS },
                // Then the nearest centroid is that of the smallest angle; of the one list of pq, the mean is better.
                unit: space.metric() == Metric::Cosine && count > 1,
                seed: build.params.seed,
                threads: build.threads,
            })?
        };

        let mut nearest = Buffer::zeroed(rows.count().checked_mul(4).ok_or(Error::NoMemory)?)?;
        let batch = BATCH.checked_div(dim).unwrap_or(64).max(64);
        let mut vectors = Buffer::zeroed(batch.min(rows.count()) * dim * 4)?;
        let panels = fits(Panels::new(centroids.as_u32s(), dim, count))?;
        for (i, nearest) in nearest.as_u32s_mut().chunks_mut(batch).enumerate() {
            let vectors = vectors
                .as_u32s_mut()
                .get_mut(..nearest.len() * dim)
                .ok_or(Error::Overflow)?;
            unpack(kernels, rows, i * batch..i * batch + nearest.len(), dim, vectors)?;
            let vectors = fits(Vectors::new(vectors, dim, dim, nearest.len()))?;
            kmeans::assign(kernels, &vectors, &panels, nearest, build.threads)?;
            progress(i * batch + nearest.len());
        }
        drop(vectors);
        let (offsets, rows) = sort_by_list(nearest.as_u32s(), count)?;
        Ok(Self {
            centroids,
            offsets,
            rows,
            count,
            dim,
            l2: space.metric() != Metric::Ip,
        })
    }

    /// Takes the lists' sections, checking all of them. Centroids may be any floats: even infinities and NaNs, which
    /// vectors whose squares are beyond `f32` leave, do no more than send a search to other lists.
    #[inline(never)] // own frame
    pub(crate) fn open(space: &Space, rows: usize, sections: &mut Sections) -> Result<Self> {
        let damaged = || Error::corrupt("inverted lists are damaged", u64::MAX, 0);
        check(space)?;
        let centroids = take_section(sections, CENTROIDS).ok_or_else(damaged)?;
        let offsets = take_section(sections, OFFSETS).ok_or_else(damaged)?;
        let numbers = take_section(sections, ROWS).ok_or_else(damaged)?;
        let words = offsets.as_u32s();
        let count = words.len().checked_sub(1).ok_or_else(damaged)?;
        let dim = space.dim();
        let ascending = words.iter().zip(words.iter().skip(1)).all(|(a, b)| a <= b);
        if count == 0
            || offsets.len() % 4 != 0
            || words.first() != Some(&0)
            || words.last().map(|end| *end as usize) != Some(rows)
            || !ascending
            || Some(numbers.len()) != rows.checked_mul(4)
            || Some(centroids.len()) != Panels::words(dim, count).checked_mul(4)
        {
            return Err(damaged());
        }
        let mut seen = crate::bits::Bits::new(rows)?;
        let lists = Self {
            centroids,
            offsets,
            rows: numbers,
            count,
            dim,
            l2: space.metric() != Metric::Ip,
        };
        for list in 0..count {
            let mut last = None;
            for row in lists.rows_of(list) {
                if *row as usize >= rows || seen.get(*row) || last >= Some(*row) {
                    return Err(damaged());
                }
                seen.set(*row);
                last = Some(*row);
            }
            relax()?;
        }
        Ok(lists)
    }

    /// The sections that [`open`](Self::open) takes.
    pub(crate) fn into_sections(self, sections: &mut Sections) -> Result {
        for (kind, bytes) in [(CENTROIDS, self.centroids), (OFFSETS, self.offsets), (ROWS, self.rows)] {
            sections.push(Section { kind, bytes })?;
        }
        Ok(())
    }

    /// The number of lists.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Whether distances are squared Euclidean ones.
    pub(crate) fn l2(&self) -> bool {
        self.l2
    }

    /// Elements of a centroid.
    pub(crate) fn dim(&self) -> usize {
        self.dim
    }

    /// The centroids.
    pub(crate) fn panels(&self) -> Result<Panels<'_>> {
        fits(Panels::new(self.centroids.as_u32s(), self.dim, self.count))
    }

    /// The places of a list.
    pub(crate) fn places(&self, list: usize) -> Range<usize> {
        match self.offsets.as_u32s().get(list..) {
            Some([from, to, ..]) => *from as usize..*to as usize,
            _ => 0..0,
        }
    }

    /// The row at each place.
    pub(crate) fn rows(&self) -> &[u32] {
        self.rows.as_u32s()
    }

    /// The rows of a list.
    pub(crate) fn rows_of(&self, list: usize) -> &[u32] {
        self.rows().get(self.places(list)).unwrap_or_default()
    }

    /// Bytes of memory held.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.centroids.memory_bytes() + self.offsets.memory_bytes() + self.rows.memory_bytes()
    }
}

/// Turns rows into vectors `stride` words apart.
pub(crate) fn unpack(
    kernels: &Kernels,
    rows: &Rows<'_>,
    range: Range<usize>,
    stride: usize,
    out: &mut [u32],
) -> Result {
    /// Words between two cooperative points.
    const WORK: usize = 64 * 1024;
    let some = WORK.checked_div(stride).unwrap_or(1).max(1);
    for (i, out) in out.chunks_mut(some * stride).enumerate() {
        let first = range.start + i * some;
        fits(kernels.unpack(
            rows,
            first..first + out.len().checked_div(stride).unwrap_or(0),
            stride,
            out,
        ))?;
        relax()?;
    }
    Ok(())
}

/// Where each list begins and the rows in the order of lists, given each row's list.
fn sort_by_list(nearest: &[u32], count: usize) -> Result<(Buffer, Buffer)> {
    let mut offsets = Buffer::zeroed((count + 1) * 4)?;
    let mut rows = Buffer::zeroed(nearest.len() * 4)?;
    let ends = offsets.as_u32s_mut();
    for list in nearest {
        if let Some(size) = ends.get_mut(*list as usize + 1) {
            *size = size.saturating_add(1);
        }
    }
    relax()?;
    let mut sum = 0u32;
    for end in ends.iter_mut() {
        sum = sum.saturating_add(*end);
        *end = sum;
    }
    // Word `l` is where list `l` begins; it moves on with every row, and ends where list `l + 1` begins.
    for (row, list) in nearest.iter().enumerate() {
        let Some(place) = ends.get_mut(*list as usize) else {
            return Err(Error::Overflow);
        };
        if let Some(to) = rows.as_u32s_mut().get_mut(*place as usize) {
            *to = row as u32;
        }
        *place = place.saturating_add(1);
        if row % 16_384 == 0 {
            relax()?;
        }
    }
    let words = ends.len();
    ends.copy_within(..words - 1, 1);
    if let Some(first) = ends.first_mut() {
        *first = 0;
    }
    Ok((offsets, rows))
}
