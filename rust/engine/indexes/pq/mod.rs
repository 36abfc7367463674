// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Product quantization (Jégou, Douze, Schmid: Product quantization for nearest neighbor search, TPAMI 33(1), 2011).
//!
//! [`PqIndex`] is the pq and ivf-pq index; [`Quantizer`] makes codes for others to search on.

mod build;
mod index;
mod quantizer;
mod scratch;
mod search;
#[cfg(test)]
mod tests;

pub(crate) use index::PqIndex;
pub(crate) use quantizer::Quantizer;
pub(crate) use quantizer::QueryScratch;

use crate::kmeans;
use crate::kmeans::fits;
use crate::kmeans::Training;
use vexfs_host::mem::Buffer;
use vexfs_host::relax;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd::quant::Book;
use vexfs_simd::quant::Pq;
use vexfs_simd::quant::Vectors;
use vexfs_simd::Kernels;

/// Vectors a centroid of a part that it is trained on.
const SAMPLE: usize = 64;
/// The fewest vectors to train on, as far as there are that many: 4 bits have so few centroids.
const SAMPLE_MIN: usize = 4096;
/// Rounds of Lloyd's algorithm.
const ROUNDS: usize = 12;

/// The number of vectors that a quantizer is trained on.
fn sample_rows(pq: Pq) -> usize {
    (pq.centroids() * SAMPLE).max(SAMPLE_MIN)
}

/// Bytes of a code if the user does not say it: a byte for eight elements, in whole parts as far as possible.
pub(crate) fn default_bytes(dim: usize) -> usize {
    let most = dim.div_ceil(8).clamp(1, Pq::SCAN_BYTES_MAX);
    (most / 2 + 1..=most)
        .rev()
        .find(|bytes| dim % (bytes * 2) == 0)
        .unwrap_or(most)
}

/// Bits of a part if the user does not say it: 4, whose codes are scanned fastest.
pub(crate) const DEFAULT_BITS: usize = 4;

/// Trains the centroids of all parts on vectors of `pq.dim()` elements.
///
/// # Errors
///
/// `Invalid` without vectors; `NoMemory`; `Interrupted`.
fn train(kernels: &Kernels, vectors: &Vectors<'_>, pq: Pq, seed: u64, threads: usize) -> Result<Buffer> {
    let mut book = Buffer::zeroed(pq.book_words() * 4)?;
    for (part, words) in book.as_u32s_mut().chunks_mut(pq.part_words()).enumerate() {
        let trained = kmeans::train(&Training {
            kernels: *kernels,
            vectors: fits(vectors.part(part * pq.part_dim(), pq.part_dim()))?,
            count: pq.centroids(),
            rounds: ROUNDS,
            unit: false,
            seed: seed.wrapping_add(part as u64),
            threads,
        })?;
        words.copy_from_slice(trained.as_u32s());
    }
    Ok(book)
}

/// Finds the codes of vectors: part `p` of vector `i` is `codes[i * parts + p]`. `nearest` is scratch memory, a word a
/// vector.
fn encode(kernels: &Kernels, book: &Book<'_>, vectors: &Vectors<'_>, nearest: &mut [u32], codes: &mut [u32]) -> Result {
    let pq = book.pq();
    for part in 0..pq.parts() {
        let elements = fits(vectors.part(part * pq.part_dim(), pq.part_dim()))?;
        fits(kernels.assign(&elements, &fits(book.part(part))?, nearest))?;
        for (code, nearest) in codes.chunks_mut(pq.parts()).zip(nearest.iter()) {
            *code.get_mut(part).ok_or(Error::Overflow)? = *nearest;
        }
        relax()?;
    }
    Ok(())
}

/// The bytes of a code: two parts a byte with 4 bits, the first in the low half.
fn pack(pq: Pq, parts: &[u32]) -> impl Iterator<Item = u8> + '_ {
    let each = if pq.bits() == 4 { 2 } else { 1 };
    parts.chunks(each).map(move |parts| {
        let byte = parts.iter().rev().fold(0, |byte, part| byte << 4 | *part & 0xff);
        byte as u8
    })
}
