// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! From vectors to fixed-point projections, sketches and buckets.
//!
//! An inner product is made a matter of angles by one more element, which gives all rows the same length and is zero in
//! a query (Neyshabur and Srebro: On Symmetric and Asymmetric LSHs for Inner Product Search, ICML 2015). A bit of a
//! binary vector is a coordinate of 1 or -1, so that the squared distance is four times the number of differing bits.

use super::format::Family;
use super::format::Shape;
use super::format::SKETCH_BITS;
use super::format::SKETCH_BYTES;
use crate::pool::bytes_of;
use crate::random::Random;
use vexfs_host::mem::Vec;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd::Element;
use vexfs_simd::Kernels;
use vexfs_simd::Metric;
use vexfs_simd::Projection;
use vexfs_simd::Query;
use vexfs_simd::Rows;
use vexfs_simd::Space;

/// The longest row has about this length, in the units of projections: they and their differences fit an `i32`.
const LENGTH_LOG2: u32 = 20;
/// Half of `1.0` in `f32` is this below it.
const EXPONENT_STEP: u32 = 1 << 23;
/// `f32` of the longest row's length in units of projections.
const LENGTH: u32 = (127 + LENGTH_LOG2) << 23;
/// Rows that are projected at once.
pub(super) const CHUNK: usize = 32;

/// The directions of an index, and how its rows are scaled.
pub(super) struct Projector {
    space: Space,
    signs: Vec<u32>,
    width: usize,
    scale: u32,
}

/// Memory for one search or one thread.
pub(super) struct Workspace {
    floats: Vec<u32>,
    norms: Vec<u32>,
    pub(super) outputs: Vec<i32>,
}

impl Workspace {
    /// Bytes of memory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        bytes_of(&self.floats) + bytes_of(&self.norms) + bytes_of(&self.outputs)
    }

    /// For `rows` rows at once.
    #[inline(never)] // own frame
    pub(super) fn new(projector: &Projector, rows: usize) -> Result<Self> {
        let mut space = Self {
            floats: Vec::new(),
            norms: Vec::new(),
            outputs: Vec::new(),
        };
        space.floats.resize(projector.width, 0)?;
        space.norms.resize(rows, 0)?;
        space.outputs.resize(rows * SKETCH_BITS, 0)?;
        Ok(space)
    }
}

/// Finds the scale for these rows.
#[inline(never)] // own frame
pub(super) fn scale_of(kernels: &Kernels, rows: &Rows<'_>) -> Result<u32> {
    let space = rows.space();
    match (space.element(), space.metric()) {
        // Coordinates are 1 and -1: a vector of 2^15 of them has length 2^7.5.
        (Element::Binary, _) => Ok((127 + LENGTH_LOG2 - 8) << 23),
        (_, Metric::Cosine) => Ok(LENGTH),
        _ => {
            let mut least = u32::MAX;
            let mut norm = [0];
            for i in 0..rows.count() {
                let row = rows.row(i).ok_or(Error::Overflow)?;
                kernels.inv_norms(&space, row, &mut norm).map_err(|_| Error::Overflow)?;
                // The order of positive floats is that of their bits; 0 is the norm of what has none.
                let [norm] = norm;
                if (1..0x7f80_0000).contains(&norm) {
                    least = least.min(norm);
                }
                if i % 256 == 0 {
                    vexfs_host::relax()?;
                }
            }
            match least {
                u32::MAX => Ok(LENGTH),
                least => Ok(least.saturating_add(LENGTH_LOG2 * EXPONENT_STEP).min(0x7f00_0000)),
            }
        }
    }
}

impl Projector {
    /// The directions that belong to this seed.
    #[inline(never)] // own frame
    pub(super) fn new(space: &Space, seed: u64, scale: u32) -> Result<Self> {
        let lengthened = usize::from(space.metric() == Metric::Ip);
        // In few dimensions the transform would give few different directions.
        let width = (space.dim() + lengthened).next_power_of_two().max(64);
        let mut random = Random(seed);
        let mut signs = Vec::new();
        let blocks = SKETCH_BITS.div_ceil(width);
        for _ in 0..blocks * 3 * width / 64 {
            let bits = random.next();
            for bit in 0..64 {
                signs.push(((bits >> bit & 1) as u32) << 31)?;
            }
        }
        Ok(Self {
            space: *space,
            signs,
            width,
            scale,
        })
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        4 * self.signs.capacity() as u64
    }

    fn projection(&self, scale: u32, lengthen: bool) -> Projection<'_> {
        // The transform makes vectors longer: three times by the root of its width, of which one remains as the sum of
        // so many coordinates of a direction.
        let shrink = self.width.trailing_zeros() * EXPONENT_STEP;
        Projection {
            signs: &self.signs,
            width: self.width,
            outputs: SKETCH_BITS,
            scale: scale.saturating_sub(shrink),
            length: if lengthen {
                Some(LENGTH.saturating_sub(shrink))
            } else {
                None
            },
        }
    }

    /// Projects at most [`CHUNK`] rows.
    pub(super) fn rows<'w>(&self, kernels: &Kernels, rows: &Rows<'_>, work: &'w mut Workspace) -> Result<&'w [i32]> {
        let outputs = work
            .outputs
            .get_mut(..rows.count() * SKETCH_BITS)
            .ok_or(Error::Overflow)?;
        let norms = work.norms.get_mut(..rows.count()).ok_or(Error::Overflow)?;
        let norms = if self.space.needs_norms() {
            for (i, norm) in norms.iter_mut().enumerate() {
                *norm = rows.norm(i).ok_or(Error::Overflow)?;
            }
            &*norms
        } else {
            &[]
        };
        let projection = self.projection(self.scale, self.space.metric() == Metric::Ip);
        kernels
            .project(&projection, rows, norms, &mut work.floats, outputs)
            .map_err(|_| Error::Overflow)?;
        Ok(outputs)
    }

    /// Projects a query.
    pub(super) fn query(&self, kernels: &Kernels, query: &Query<'_>, work: &mut Workspace) -> Result {
        let bytes = query.bytes();
        let metric = self.space.metric();
        let mut norm = [0];
        let unit = matches!(metric, Metric::Cosine | Metric::Ip);
        if unit {
            kernels
                .inv_norms(&self.space, bytes, &mut norm)
                .map_err(|_| Error::Overflow)?;
        }
        let norms: &[u32] = if unit { &norm } else { &[] };
        let own: &[u32] = if self.space.needs_norms() { &norm } else { &[] };
        let rows = Rows::new(&self.space, bytes, bytes.len(), 1, own).map_err(|_| Error::Overflow)?;
        let scale = if unit { LENGTH } else { self.scale };
        let outputs = work.outputs.get_mut(..SKETCH_BITS).ok_or(Error::Overflow)?;
        kernels
            .project(&self.projection(scale, false), &rows, norms, &mut work.floats, outputs)
            .map_err(|_| Error::Overflow)
    }
}

/// Writes the bits of projections that are at or above their thresholds.
pub(super) fn sketch(outputs: &[i32], thresholds: &[i32], to: &mut [u8]) {
    let bits = outputs.chunks(8).zip(thresholds.chunks(8));
    for (byte, (outputs, thresholds)) in to.iter_mut().zip(bits) {
        *byte = 0;
        for (bit, (output, threshold)) in outputs.iter().zip(thresholds).enumerate() {
            *byte |= u8::from(output >= threshold) << bit;
        }
    }
}

/// The functions of an index's tables.
pub(super) struct Functions {
    pub(super) shape: Shape,
    /// Where the slots of each projection begin.
    starts: Vec<i32>,
    /// What a step to the next slot adds to a bucket's hash.
    steps: Vec<u32>,
}

/// Where a query lies in one function.
pub(super) struct Position {
    /// What the function adds to the bucket's hash.
    pub(super) hash: u32,
    /// A step of the function to a higher slot adds this to the hash, one to a lower subtracts it.
    pub(super) step: u32,
    /// How far the query is from the next lower slot and the next higher one, if there is one.
    pub(super) below: Option<u32>,
    pub(super) above: Option<u32>,
}

impl Functions {
    /// The functions that belong to this seed.
    #[inline(never)] // own frame
    pub(super) fn new(shape: &Shape, seed: u64, thresholds: &[i32]) -> Result<Self> {
        let mut random = Random(seed ^ 0x6c73_6800_0000_0001);
        let used = shape.tables * shape.functions;
        let mut functions = Self {
            shape: *shape,
            starts: Vec::with_capacity(used)?,
            steps: Vec::with_capacity(used)?,
        };
        for (i, threshold) in thresholds.iter().take(used).enumerate() {
            let (start, step) = match shape.family {
                Family::Hyperplanes => (*threshold, 1 << i.checked_rem(shape.functions).unwrap_or(0)),
                Family::PStable(width) => {
                    let offset = random.next().checked_rem(width.unsigned_abs().into()).unwrap_or(0);
                    (threshold.saturating_sub(offset as i32), random.next() as u32 | 1)
                }
            };
            functions.starts.push(start)?;
            functions.steps.push(step)?;
        }
        Ok(functions)
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        8 * self.starts.capacity() as u64
    }

    /// Where a vector lies in each function of a table. `outputs` are its projections; queries of inner products have
    /// no thresholds: see [`centred`].
    pub(super) fn places<'a>(&'a self, outputs: &'a [i32], table: usize) -> impl Iterator<Item = Position> + 'a {
        let n = self.shape.functions;
        let range = table.saturating_mul(n)..table.saturating_add(1).saturating_mul(n);
        let starts = self.starts.get(range.clone()).unwrap_or_default();
        let steps = self.steps.get(range.clone()).unwrap_or_default();
        let outputs = outputs.get(range).unwrap_or_default();
        outputs.iter().zip(starts).zip(steps).map(|((output, start), step)| {
            let x = output.saturating_sub(*start);
            match self.shape.family {
                Family::Hyperplanes if x >= 0 => Position {
                    hash: *step,
                    step: *step,
                    below: Some(x.unsigned_abs()),
                    above: None,
                },
                Family::Hyperplanes => Position {
                    hash: 0,
                    step: *step,
                    below: None,
                    above: Some(x.unsigned_abs()),
                },
                Family::PStable(width) => {
                    let slot = x.checked_div_euclid(width).unwrap_or(0);
                    let within = x.checked_rem_euclid(width).unwrap_or(0).unsigned_abs();
                    Position {
                        hash: (slot as u32).wrapping_mul(*step),
                        step: *step,
                        below: Some(within),
                        above: Some(width.unsigned_abs().saturating_sub(within)),
                    }
                }
            }
        })
    }

    /// The bucket of a hash.
    #[inline]
    pub(super) fn bucket(&self, hash: u32) -> u32 {
        match self.shape.family {
            Family::Hyperplanes => hash,
            Family::PStable(_) => hash.wrapping_mul(0x9e37_79b1) >> (32 - self.shape.bucket_bits),
        }
    }

    /// The bucket of a vector in a table.
    pub(super) fn bucket_of(&self, outputs: &[i32], table: usize) -> u32 {
        let hash = self
            .places(outputs, table)
            .fold(0u32, |sum, place| sum.wrapping_add(place.hash));
        self.bucket(hash)
    }
}

/// The median of each projection over some of the rows.
#[inline(never)] // own frame
pub(super) fn medians(kernels: &Kernels, projector: &Projector, rows: &Rows<'_>) -> Result<Vec<i32>> {
    const SAMPLE: usize = 1024;
    let mut work = Workspace::new(projector, 1)?;
    let step = (rows.count() / SAMPLE).max(1);
    let mut columns = Vec::new();
    let taken = rows.count().div_ceil(step);
    columns.resize(taken * SKETCH_BITS, 0i32)?;
    for (nth, i) in (0..rows.count()).step_by(step).enumerate() {
        let row = rows.slice(i..i + 1).ok_or(Error::Overflow)?;
        let outputs = projector.rows(kernels, &row, &mut work)?;
        for (column, output) in columns.chunks_mut(taken).zip(outputs) {
            if let Some(cell) = column.get_mut(nth) {
                *cell = *output;
            }
        }
        vexfs_host::relax()?;
    }
    let mut medians = Vec::with_capacity(SKETCH_BITS)?;
    for column in columns.chunks_mut(taken.max(1)) {
        crate::heap::sort(column);
        medians.push(column.get(column.len() / 2).copied().unwrap_or(0))?;
        vexfs_host::relax()?;
    }
    medians.resize(SKETCH_BITS, 0)?;
    Ok(medians)
}

/// The bytes of all sketches of so many rows.
pub(super) fn sketches_len(rows: usize) -> Result<usize> {
    rows.checked_mul(SKETCH_BYTES).ok_or(Error::Overflow)
}
