// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Vectors, centroids, and the steps of k-means.

use super::abi;
use super::hard_float;
use super::level;
use super::LANES;
use super::WORK;
use crate::fpu;
use crate::kernels::per;
use crate::Element;
use crate::Kernels;
use crate::Query;
use crate::Rows;
use crate::ShapeMismatch;
use core::ops::Range;
use core::ptr::null;

/// The bits of the `f32` that is larger than all others.
const INFINITY: u32 = 0x7f80_0000;

/// Vectors of `f32`, as words.
///
/// # Invariants
///
/// `1 <= dim`; vector `i < count` is `words[i * stride + at..][..dim]`, and lies in `words`.
#[derive(Clone, Copy, Debug)]
pub struct Vectors<'a> {
    words: &'a [u32],
    at: usize,
    stride: usize,
    dim: usize,
    count: usize,
}

/// Whether `count` vectors of `dim` words, `stride` apart and the first at `at`, lie within `len` words.
fn fits(len: usize, at: usize, stride: usize, dim: usize, count: usize) -> bool {
    let end = |last: usize| last.checked_mul(stride)?.checked_add(at)?.checked_add(dim);
    dim >= 1
        && count
            .checked_sub(1)
            .is_none_or(|last| end(last).is_some_and(|end| end <= len))
}

impl<'a> Vectors<'a> {
    /// `count` vectors of `dim` words, each starting `stride` words after the one before.
    ///
    /// # Errors
    ///
    /// They do not lie in `words`, or are empty.
    pub fn new(words: &'a [u32], stride: usize, dim: usize, count: usize) -> Result<Self, ShapeMismatch> {
        if !fits(words.len(), 0, stride, dim, count) {
            return Err(ShapeMismatch);
        }
        Ok(Self {
            words,
            at: 0,
            stride,
            dim,
            count,
        })
    }

    /// Vectors of `dim` words that follow each other without a gap.
    ///
    /// # Errors
    ///
    /// `words` is not a whole number of them.
    pub fn packed(words: &'a [u32], dim: usize) -> Result<Self, ShapeMismatch> {
        let count = words.len().checked_div(dim).ok_or(ShapeMismatch)?;
        if count * dim != words.len() {
            return Err(ShapeMismatch);
        }
        Self::new(words, dim, dim, count)
    }

    /// Elements `at..at + dim` of each vector.
    ///
    /// # Errors
    ///
    /// The vectors do not have them.
    pub fn part(&self, at: usize, dim: usize) -> Result<Self, ShapeMismatch> {
        if dim == 0 || at.checked_add(dim).is_none_or(|end| end > self.dim) {
            return Err(ShapeMismatch);
        }
        Ok(Self {
            at: self.at + at,
            dim,
            ..*self
        })
    }

    /// Some of the vectors.
    ///
    /// # Errors
    ///
    /// The range is not within them.
    pub fn slice(&self, range: Range<usize>) -> Result<Self, ShapeMismatch> {
        if range.end > self.count {
            return Err(ShapeMismatch);
        }
        let count = range.end.checked_sub(range.start).ok_or(ShapeMismatch)?;
        let skip = if count == 0 { 0 } else { range.start * self.stride };
        Ok(Self {
            words: self.words.get(skip..).ok_or(ShapeMismatch)?,
            count,
            ..*self
        })
    }

    /// One of the vectors.
    pub fn get(&self, i: usize) -> Option<&'a [u32]> {
        if i >= self.count {
            return None;
        }
        self.words.get(i * self.stride + self.at..)?.get(..self.dim)
    }

    /// The number of vectors.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Elements of a vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    fn abi(&self, range: Range<usize>) -> abi::Floats {
        abi::Floats {
            // In bounds, or one past the end if there are no vectors; wrapping to need no unsafe block.
            words: self.words.as_ptr().wrapping_add(self.at + range.start * self.stride),
            stride: self.stride,
            dim: self.dim,
            count: range.len(),
        }
    }

    /// Ranges of vectors, each of at most `most` and at least one.
    pub(super) fn ranges(&self, most: usize) -> impl Iterator<Item = Range<usize>> {
        let (count, most) = (self.count, most.max(1));
        (0..count)
            .step_by(most)
            .map(move |first| first..count.min(first.saturating_add(most)))
    }

    pub(super) fn floats(&self, range: Range<usize>) -> abi::Floats {
        self.abi(range)
    }
}

/// Centroids, 16 side by side.
///
/// # Invariants
///
/// `words` is `count.div_ceil(LANES)` panels of dimension `dim`.
#[derive(Clone, Copy, Debug)]
pub struct Panels<'a> {
    words: &'a [u32],
    dim: usize,
    count: usize,
}

impl<'a> Panels<'a> {
    /// The words that `count` centroids of `dim` elements take.
    pub fn words(dim: usize, count: usize) -> usize {
        count.div_ceil(LANES).saturating_mul(abi::panel_words(dim))
    }

    /// The panels that [`Kernels::fill_panels`] wrote.
    ///
    /// # Errors
    ///
    /// `words` is not as long as that.
    pub fn new(words: &'a [u32], dim: usize, count: usize) -> Result<Self, ShapeMismatch> {
        if dim == 0 || dim > 1 << 16 || words.len() != Self::words(dim, count) {
            return Err(ShapeMismatch);
        }
        Ok(Self { words, dim, count })
    }

    /// The number of centroids.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Elements of a centroid.
    pub fn dim(&self) -> usize {
        self.dim
    }

    pub(super) fn as_ptr(&self) -> *const u32 {
        self.words.as_ptr()
    }
}

/// Whether all numbers are below `count`.
fn all_below(numbers: &[u32], count: usize) -> bool {
    numbers
        .iter()
        .fold(true, |all, number| all & ((*number as usize) < count))
}

impl Kernels {
    /// Turns rows `range` into vectors `stride` words apart, of unit length if the metric is cosine; elements behind
    /// the rows' dimension become zero.
    ///
    /// # Errors
    ///
    /// The rows are binary, there are no such rows, or `out` is not just as long as they are.
    pub fn unpack(
        &self,
        rows: &Rows<'_>,
        range: Range<usize>,
        stride: usize,
        out: &mut [u32],
    ) -> Result<(), ShapeMismatch> {
        let rows = rows.slice(range).ok_or(ShapeMismatch)?;
        let space = rows.space();
        if space.element() == Element::Binary
            || stride < space.dim()
            || rows.count().checked_mul(stride) != Some(out.len())
        {
            return Err(ShapeMismatch);
        }
        let per_section = per(WORK / 4, stride);
        let mut first = 0;
        for out in out.chunks_mut(per_section.saturating_mul(stride)) {
            let args = abi::Unpack {
                // In bounds, as there are rows left; wrapping to need no unsafe block.
                rows: rows.bytes.as_ptr().wrapping_add(first * rows.stride()),
                inv_norms: rows
                    .norms
                    .get(first..)
                    .filter(|norms| !norms.is_empty())
                    .map_or(null(), <[u32]>::as_ptr),
                out: out.as_mut_ptr(),
                element: space.element() as u32,
                stride: rows.stride(),
                dim: space.dim(),
                count: out.len().checked_div(stride).unwrap_or(0),
                out_stride: stride,
            };
            let _section = fpu::Section::begin();
            // SAFETY: `Rows` has these rows and a norm for each or none; the chunk has room for them; this is an FPU
            // section.
            unsafe { hard_float::vexfs_quant_unpack(&args) };
            first += args.count;
        }
        Ok(())
    }

    /// Turns a query into a vector, as [`unpack`](Self::unpack) does with a row; what is behind its dimension becomes
    /// zero.
    ///
    /// # Errors
    ///
    /// It is binary, or longer than `out`.
    pub fn unpack_query(&self, query: &Query<'_>, out: &mut [u32]) -> Result<(), ShapeMismatch> {
        let space = query.space();
        if space.element() == Element::Binary || out.len() < space.dim() {
            return Err(ShapeMismatch);
        }
        let args = abi::Unpack {
            rows: query.bytes.as_ptr(),
            inv_norms: if space.needs_norms() { &query.inv_norm } else { null() },
            out: out.as_mut_ptr(),
            element: space.element() as u32,
            stride: query.bytes.len(),
            dim: space.dim(),
            count: 1,
            out_stride: out.len(),
        };
        let _section = fpu::Section::begin();
        // SAFETY: a query is one row of its space, and has its norm; `out` is long enough; this is an FPU section.
        unsafe { hard_float::vexfs_quant_unpack(&args) };
        Ok(())
    }

    /// Takes off each vector, `stride` words apart, its centroid: vector `i` is near centroid `nearest[i]`.
    ///
    /// # Errors
    ///
    /// There is not one vector a number, there is no such centroid, or centroids have more elements than vectors.
    pub fn subtract(
        &self,
        panels: &Panels<'_>,
        nearest: &[u32],
        stride: usize,
        vectors: &mut [u32],
    ) -> Result<(), ShapeMismatch> {
        if panels.dim > stride
            || nearest.len().checked_mul(stride) != Some(vectors.len())
            || !all_below(nearest, panels.count)
        {
            return Err(ShapeMismatch);
        }
        let per_section = per(WORK / 4, stride);
        for (vectors, nearest) in vectors
            .chunks_mut(per_section.saturating_mul(stride))
            .zip(nearest.chunks(per_section))
        {
            let floats = abi::Floats {
                words: vectors.as_mut_ptr(),
                stride,
                dim: stride,
                count: nearest.len(),
            };
            let _section = fpu::Section::begin();
            // SAFETY: the vectors are borrowed exclusively and as many as there are numbers, which are of centroids;
            // this is an FPU section.
            unsafe { hard_float::vexfs_quant_subtract(&floats, nearest.as_ptr(), panels.as_ptr(), panels.dim) };
        }
        Ok(())
    }

    /// Writes centroids as panels; `panels` has [`Panels::words`] words.
    ///
    /// # Errors
    ///
    /// It has another number of words.
    pub fn fill_panels(&self, centroids: &Vectors<'_>, panels: &mut [u32]) -> Result<(), ShapeMismatch> {
        let panel = abi::panel_words(centroids.dim);
        if Panels::words(centroids.dim, centroids.count) != panels.len() {
            return Err(ShapeMismatch);
        }
        for (range, panels) in centroids.ranges(LANES).zip(panels.chunks_mut(panel)) {
            let _section = fpu::Section::begin();
            // SAFETY: the centroids are in their buffer, and at most 16 make one panel; this is an FPU section.
            unsafe { hard_float::vexfs_quant_fill(&centroids.abi(range), panels.as_mut_ptr()) };
        }
        Ok(())
    }

    /// Finds each vector's nearest centroid by Euclidean distance, of equally near ones the first.
    ///
    /// # Errors
    ///
    /// `nearest` has not one word a vector, dimensions differ, or there are no centroids.
    pub fn assign(&self, vectors: &Vectors<'_>, panels: &Panels<'_>, nearest: &mut [u32]) -> Result<(), ShapeMismatch> {
        if nearest.len() != vectors.count || panels.dim != vectors.dim || panels.count == 0 {
            return Err(ShapeMismatch);
        }
        /// Vectors that meet a section's panels, while these are in the first cache.
        const ROWS: usize = 32;
        let panel = abi::panel_words(panels.dim);
        let per_section = per(WORK / ROWS, panel);
        for (range, nearest) in vectors.ranges(ROWS).zip(nearest.chunks_mut(ROWS)) {
            let mut best = [INFINITY; ROWS];
            nearest.fill(0);
            let mut first = 0;
            for words in panels.words.chunks(per_section.saturating_mul(panel)) {
                let args = abi::Assign {
                    vectors: vectors.abi(range.clone()),
                    panels: words.as_ptr(),
                    count: words.len().checked_div(panel).unwrap_or(0),
                    first,
                    best: best.as_mut_ptr(),
                    nearest: nearest.as_mut_ptr(),
                };
                let _section = fpu::Section::begin();
                // SAFETY: vectors and panels are in their buffers and of one dimension, and there are as many words as
                // vectors; this is an FPU section, and the level is the variant's.
                unsafe { hard_float::vexfs_quant_assign(level(self), &args) };
                first = first.saturating_add((args.count * LANES) as u32);
            }
        }
        Ok(())
    }

    /// Writes the keys of a vector's distances to all centroids: squared Euclidean ones, or negated inner products.
    /// `keys` has room for whole panels; only the first words, one a centroid, mean anything.
    ///
    /// # Errors
    ///
    /// Dimensions differ, or `keys` is not as long as that.
    pub fn centroid_keys(
        &self,
        vector: &[u32],
        panels: &Panels<'_>,
        l2: bool,
        keys: &mut [u32],
    ) -> Result<(), ShapeMismatch> {
        if vector.len() != panels.dim || keys.len() != panels.count.div_ceil(LANES) * LANES {
            return Err(ShapeMismatch);
        }
        let panel = abi::panel_words(panels.dim);
        let per_section = per(2 * WORK, panel);
        for (words, keys) in panels
            .words
            .chunks(per_section.saturating_mul(panel))
            .zip(keys.chunks_mut(per_section.saturating_mul(LANES)))
        {
            let count = words.len().checked_div(panel).unwrap_or(0);
            let _section = fpu::Section::begin();
            // SAFETY: the chunks have `count` panels and room for their keys; this is an FPU section, and the level is
            // the variant's.
            unsafe {
                hard_float::vexfs_quant_distances(
                    level(self),
                    vector.as_ptr(),
                    words.as_ptr(),
                    count,
                    panels.dim,
                    l2,
                    keys.as_mut_ptr(),
                );
            }
        }
        Ok(())
    }

    /// Adds each vector to the sum of the centroid it is nearest to: `dim` `f64`s a centroid.
    ///
    /// # Errors
    ///
    /// `nearest` has not one word a vector, or there is no sum for one of them.
    pub fn add_to_sums(&self, vectors: &Vectors<'_>, nearest: &[u32], sums: &mut [u64]) -> Result<(), ShapeMismatch> {
        if nearest.len() != vectors.count || !all_below(nearest, sums.len().checked_div(vectors.dim).unwrap_or(0)) {
            return Err(ShapeMismatch);
        }
        let per_section = per(WORK / 4, vectors.dim);
        for (range, nearest) in vectors.ranges(per_section).zip(nearest.chunks(per_section)) {
            let _section = fpu::Section::begin();
            // SAFETY: the vectors are in their buffer, and each has a number of a sum; this is an FPU section.
            unsafe { hard_float::vexfs_quant_add(&vectors.abi(range), nearest.as_ptr(), sums.as_mut_ptr()) };
        }
        Ok(())
    }

    /// Writes the mean of `count` vectors whose sum this is.
    ///
    /// # Errors
    ///
    /// Lengths differ, or `count` is 0.
    pub fn mean(&self, sum: &[u64], count: u32, out: &mut [u32]) -> Result<(), ShapeMismatch> {
        if sum.len() != out.len() || count == 0 {
            return Err(ShapeMismatch);
        }
        let _section = fpu::Section::begin();
        // SAFETY: both have as many elements; this is an FPU section.
        unsafe { hard_float::vexfs_quant_mean(sum.as_ptr(), sum.len(), count, out.as_mut_ptr()) };
        Ok(())
    }

    /// Makes two centroids of `one`, a little to either side of it.
    ///
    /// # Errors
    ///
    /// Lengths differ.
    pub fn split_centroid(&self, one: &mut [u32], other: &mut [u32]) -> Result<(), ShapeMismatch> {
        if one.len() != other.len() {
            return Err(ShapeMismatch);
        }
        let _section = fpu::Section::begin();
        // SAFETY: both have as many words; this is an FPU section.
        unsafe { hard_float::vexfs_quant_split(one.as_mut_ptr(), other.as_mut_ptr(), one.len()) };
        Ok(())
    }

    /// Lowers each vector's squared distance to its nearest seed, an `f32`, if `seed` is nearer.
    ///
    /// # Errors
    ///
    /// `distances` has not one word a vector, or dimensions differ.
    pub fn lower_distances(
        &self,
        vectors: &Vectors<'_>,
        seed: &[u32],
        distances: &mut [u32],
    ) -> Result<(), ShapeMismatch> {
        if distances.len() != vectors.count || seed.len() != vectors.dim {
            return Err(ShapeMismatch);
        }
        let per_section = per(WORK / 4, vectors.dim).min(WORK / 16);
        for (range, distances) in vectors.ranges(per_section).zip(distances.chunks_mut(per_section)) {
            let _section = fpu::Section::begin();
            // SAFETY: the vectors are in their buffer, the seed has their dimension; this is an FPU section.
            unsafe { hard_float::vexfs_quant_lower(&vectors.abi(range), seed.as_ptr(), distances.as_mut_ptr()) };
        }
        Ok(())
    }

    /// Draws a number with a probability in proportion to its distance, given a random number. `None` if all are zero.
    pub fn draw_by_distance(&self, distances: &[u32], draw: u64) -> Option<usize> {
        let mut target = 0u64;
        for distances in distances.chunks(WORK / 16) {
            let _section = fpu::Section::begin();
            // SAFETY: these are as many distances as their length says; this is an FPU section.
            unsafe { hard_float::vexfs_quant_total(distances.as_ptr(), distances.len(), &mut target) };
        }
        {
            let _section = fpu::Section::begin();
            // SAFETY: this is an FPU section.
            unsafe { hard_float::vexfs_quant_target(&mut target, draw) };
        }
        let mut passed = 0;
        for distances in distances.chunks(WORK / 16) {
            let _section = fpu::Section::begin();
            // SAFETY: as above.
            let at = unsafe { hard_float::vexfs_quant_pick(distances.as_ptr(), distances.len(), &mut target) };
            passed += at;
            if at < distances.len() {
                return Some(passed);
            }
        }
        // The sums were rounded up to the last; or there is nothing to draw.
        distances.iter().rposition(|distance| (1..INFINITY).contains(distance))
    }
}
