// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! k-means: centroids of vectors, for inverted lists and product quantizers.
//!
//! Seeds by k-means++ (Arthur, Vassilvitskii: SODA 2007), then rounds of Lloyd's algorithm. The result depends on the
//! vectors and the seed only: vectors are assigned by several threads, but added up by one, in their order.

mod random;
#[cfg(test)]
mod tests;

pub(crate) use random::Random;

use crate::heap;
use vexfs_host::mem::Buffer;
use vexfs_host::mem::Vec;
use vexfs_host::relax;
use vexfs_host::sync::Mutex;
use vexfs_host::threads;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd::key_of;
use vexfs_simd::quant::Panels;
use vexfs_simd::quant::Vectors;
use vexfs_simd::Element;
use vexfs_simd::Kernels;
use vexfs_simd::Metric;
use vexfs_simd::ShapeMismatch;
use vexfs_simd::Space;

/// Vectors a centroid that seeds are drawn from: more make seeding slower and Lloyd's rounds start hardly better.
const SEEDING: usize = 16;
/// Multiplications between two cooperative points.
const WORK: usize = 1 << 20;
/// Bits of positive infinity.
const INFINITY: u32 = 0x7f80_0000;

/// What centroids are trained with.
pub(crate) struct Training<'a> {
    pub(crate) kernels: Kernels,
    pub(crate) vectors: Vectors<'a>,
    /// Centroids wanted.
    pub(crate) count: usize,
    /// Rounds of Lloyd's algorithm.
    pub(crate) rounds: usize,
    /// Vectors have unit length, and so shall centroids.
    pub(crate) unit: bool,
    pub(crate) seed: u64,
    pub(crate) threads: usize,
}

/// Shapes that an index's code has made and that do not fit are an error of it.
pub(crate) fn fits<T>(result: core::result::Result<T, ShapeMismatch>) -> Result<T> {
    result.map_err(|_| Error::Invalid("shapes of an index do not fit together"))
}

/// Finds `count` centroids; returns their panels. With fewer distinct vectors than centroids, some are equal.
///
/// # Errors
///
/// `Invalid` without vectors or centroids; `NoMemory`; `Interrupted`.
pub(crate) fn train(training: &Training<'_>) -> Result<Buffer> {
    let (vectors, count, dim) = (&training.vectors, training.count, training.vectors.dim());
    let kernels = &training.kernels;
    if vectors.count() == 0 || count == 0 || count > u32::MAX as usize {
        return Err(Error::Invalid("k-means needs vectors"));
    }
    let mut centroids = seeds(training)?;
    let mut panels = Buffer::zeroed(Panels::words(dim, count).checked_mul(4).ok_or(Error::NoMemory)?)?;
    let mut nearest = words(vectors.count())?;
    let mut sums = Buffer::zeroed(count.checked_mul(dim * 8).ok_or(Error::NoMemory)?)?;
    let mut sizes = words(count)?;
    for _ in 0..training.rounds {
        fits(kernels.fill_panels(&fits(Vectors::packed(centroids.as_u32s(), dim))?, panels.as_u32s_mut()))?;
        {
            let panels = fits(Panels::new(panels.as_u32s(), dim, count))?;
            assign(kernels, vectors, &panels, nearest.as_u32s_mut(), training.threads)?;
        }
        sums.fill(0);
        sizes.fill(0);
        let chunk = (WORK / 4).checked_div(dim).unwrap_or(1).max(1);
        for (i, nearest) in nearest.as_u32s().chunks(chunk).enumerate() {
            let first = i * chunk;
            let vectors = fits(vectors.slice(first..first + nearest.len()))?;
            fits(kernels.add_to_sums(&vectors, nearest, sums.as_u64s_mut()))?;
            for centroid in nearest {
                if let Some(size) = sizes.as_u32s_mut().get_mut(*centroid as usize) {
                    *size = size.saturating_add(1);
                }
            }
            relax()?;
        }
        let means = sums.as_u64s().chunks(dim).zip(centroids.as_u32s_mut().chunks_mut(dim));
        for ((sum, centroid), size) in means.zip(sizes.as_u32s()) {
            if *size > 0 {
                fits(kernels.mean(sum, *size, centroid))?;
            }
        }
        if training.unit {
            let space = Space::new(Element::F32, Metric::L2, dim).ok_or(Error::Overflow)?;
            for centroids in centroids.chunks_mut(chunk.saturating_mul(dim * 4)) {
                fits(kernels.normalize(&space, centroids))?;
                relax()?;
            }
        }
        relax()?;
        split_largest(kernels, dim, centroids.as_u32s_mut(), sizes.as_u32s_mut())?;
    }
    fits(kernels.fill_panels(&fits(Vectors::packed(centroids.as_u32s(), dim))?, panels.as_u32s_mut()))?;
    Ok(panels)
}

/// `count` words, all zero.
fn words(count: usize) -> Result<Buffer> {
    Buffer::zeroed(count.checked_mul(4).ok_or(Error::NoMemory)?)
}

/// Draws the first centroids: each a vector, with a probability in proportion to its squared distance from those
/// before.
fn seeds(training: &Training<'_>) -> Result<Buffer> {
    let (all, dim, count) = (&training.vectors, training.vectors.dim(), training.count);
    let kernels = &training.kernels;
    let mut random = Random::new(training.seed);
    let mut centroids = words(count.checked_mul(dim).ok_or(Error::NoMemory)?)?;

    // A part of the vectors, in one piece of memory.
    let some = all.count().min(count.saturating_mul(SEEDING));
    let mut sample = words(some.checked_mul(dim).ok_or(Error::NoMemory)?)?;
    for (i, to) in sample.as_u32s_mut().chunks_mut(dim).enumerate() {
        let at = random.of_slice(i, some, all.count());
        to.copy_from_slice(all.get(at).ok_or(Error::Overflow)?);
    }
    let sample = fits(Vectors::new(sample.as_u32s(), dim, dim, some))?;
    let mut distances = words(some)?;
    for distance in distances.as_u32s_mut() {
        *distance = INFINITY;
    }
    let chunk = (WORK / 4).checked_div(dim).unwrap_or(1).max(1);
    let mut next = random.below(some);
    for to in centroids.as_u32s_mut().chunks_mut(dim) {
        let seed = sample.get(next).ok_or(Error::Overflow)?;
        to.copy_from_slice(seed);
        for (i, distances) in distances.as_u32s_mut().chunks_mut(chunk).enumerate() {
            let first = i * chunk;
            let vectors = fits(sample.slice(first..first + distances.len()))?;
            fits(kernels.lower_distances(&vectors, seed, distances))?;
            relax()?;
        }
        // No distance is left where all vectors are seeds already.
        next = match kernels.draw_by_distance(distances.as_u32s(), random.next()) {
            Some(next) => next,
            None => random.below(some),
        };
    }
    Ok(centroids)
}

/// Gives each centroid that is nearest to no vector one half of the largest that is.
fn split_largest(kernels: &Kernels, dim: usize, centroids: &mut [u32], sizes: &mut [u32]) -> Result {
    let mut empty = Vec::new();
    for (i, size) in sizes.iter().enumerate() {
        if *size == 0 {
            empty.push(i)?;
        }
    }
    if empty.is_empty() {
        return Ok(());
    }
    // A heap of (size, lowest number first).
    let mut largest = Vec::with_capacity(sizes.len())?;
    for (i, size) in sizes.iter().enumerate() {
        if *size > 1 {
            largest.push((*size, core::cmp::Reverse(i)))?;
            heap::sift_up(&mut largest);
        }
    }
    for to in empty {
        relax()?;
        let Some((size, core::cmp::Reverse(from))) = largest.first().copied() else {
            return Ok(());
        };
        let (low, high) = (from.min(to), from.max(to));
        let (left, right) = centroids.split_at_mut_checked(high * dim).ok_or(Error::Overflow)?;
        let one = left
            .get_mut(low * dim..)
            .and_then(|rest| rest.get_mut(..dim))
            .ok_or(Error::Overflow)?;
        let other = right.get_mut(..dim).ok_or(Error::Overflow)?;
        if from < to {
            fits(kernels.split_centroid(one, other))?;
        } else {
            fits(kernels.split_centroid(other, one))?;
        }
        if let Some(root) = largest.first_mut() {
            root.0 = size / 2;
        }
        heap::sift_down(&mut largest, 0);
    }
    Ok(())
}

/// Finds each vector's nearest centroid, on several threads.
///
/// # Errors
///
/// `Invalid` if shapes differ; `NoMemory`; `Interrupted`.
pub(crate) fn assign(
    kernels: &Kernels,
    vectors: &Vectors<'_>,
    panels: &Panels<'_>,
    nearest: &mut [u32],
    threads: usize,
) -> Result {
    if nearest.len() != vectors.count() {
        return Err(Error::Invalid("shapes of an index do not fit together"));
    }
    let each = panels.dim().saturating_mul(panels.count()).max(1);
    let chunk = WORK.checked_div(each).unwrap_or(4).clamp(4, 1 << 14) & !3;
    let chunks = nearest.chunks_mut(chunk).enumerate();
    let left = Mutex::new(chunks)?;
    threads::run(threads.max(1), &|_| loop {
        let next = left.lock().next();
        let Some((i, nearest)) = next else {
            return Ok(());
        };
        let first = i * chunk;
        let vectors = fits(vectors.slice(first..first + nearest.len()))?;
        fits(kernels.assign(&vectors, panels, nearest))?;
        relax()?;
    })
}

/// The least and the largest of some floats, by their order; `None` if there are none.
pub(crate) fn range(floats: &[u32]) -> Option<(u32, u32)> {
    let least = floats.iter().copied().min_by_key(|bits| key_of(*bits))?;
    let largest = floats.iter().copied().max_by_key(|bits| key_of(*bits))?;
    Some((least, largest))
}
