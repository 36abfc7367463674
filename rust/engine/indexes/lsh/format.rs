// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The sections of an LSH index. docs/format-collections.md, "LSH", says every byte.

use vexfs_host::Error;
use vexfs_host::Result;
use zerocopy::little_endian::I32;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;
use zerocopy::FromBytes;
use zerocopy::IntoBytes;
use zerocopy_derive::*;

/// [`Header`].
pub(super) const HEADER: u32 = 0x600;
/// For each projection the `i32` at which its bit changes.
pub(super) const THRESHOLDS: u32 = 0x601;
/// For each row a sketch of [`SKETCH_BITS`] bits.
pub(super) const SKETCHES: u32 = 0x602;
/// For each table and bucket the place in the table's list where its rows begin, and the end of the last.
pub(super) const DIRECTORIES: u32 = 0x603;
/// For each table the rows, by bucket.
pub(super) const LISTS: u32 = 0x604;

/// Projections of a row, and bits of its sketch.
pub(super) const SKETCH_BITS: usize = 256;
pub(super) use vexfs_simd::SKETCH_BYTES;
const _: () = assert!(SKETCH_BITS == SKETCH_BYTES * 8);
/// Most tables.
pub(super) const TABLES_MAX: usize = 32;
/// Most functions of a table. Two moves a function are the bits of a `u64`.
pub(super) const FUNCTIONS_MAX: usize = 24;
/// Most bits of a bucket's number.
pub(super) const BUCKET_BITS_MAX: u32 = 26;

/// What a function of a table tells of a projection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Family {
    /// The side of a hyperplane (Charikar: Similarity Estimation Techniques from Rounding Algorithms, STOC 2002).
    Hyperplanes,
    /// The slot of this width (Datar et al.: Locality-Sensitive Hashing Scheme Based on p-Stable Distributions, SoCG
    /// 2004).
    PStable(i32),
}

/// How tables are made, without their contents.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Shape {
    pub(super) family: Family,
    /// 0: there are none, and a search looks at all sketches.
    pub(super) tables: usize,
    /// Functions of a table.
    pub(super) functions: usize,
    /// A table has 2 to the power of this many buckets.
    pub(super) bucket_bits: u32,
}

impl Shape {
    /// Words of a table's directory.
    pub(super) fn directory_len(&self) -> usize {
        (1 << self.bucket_bits) + 1
    }
}

/// What was derived from the rows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Derived {
    pub(super) shape: Shape,
    /// `f32` that rows are multiplied by before they are projected.
    pub(super) scale: u32,
    /// Buckets to look into.
    pub(super) probes: u32,
    /// Rows to compare by their full vectors for the 10 nearest.
    pub(super) rerank: u32,
    /// Different rows in so many buckets, on average.
    pub(super) candidates: u32,
    /// Where random numbers start.
    pub(super) seed: u64,
}

const VERSION: u32 = 1;

/// The first section.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
struct Header {
    version: U32,
    family: U32,
    slot_width: I32,
    tables: U32,
    functions: U32,
    bucket_bits: U32,
    sketch_bits: U32,
    scale: U32,
    probes: U32,
    rerank: U32,
    candidates: U32,
    reserved: U32,
    seed: U64,
    rows: U64,
}

pub(super) const HEADER_BYTES: usize = size_of::<Header>();
const _: () = assert!(HEADER_BYTES == 64);

fn bad(what: &'static str) -> Error {
    Error::corrupt(what, u64::MAX, 0)
}

impl Derived {
    /// Writes the header of an index of this many rows.
    pub(super) fn encode(&self, rows: usize, to: &mut [u8]) -> Result {
        let (family, slot_width) = match self.shape.family {
            Family::Hyperplanes => (1, 0),
            Family::PStable(width) => (2, width),
        };
        let header = Header {
            version: VERSION.into(),
            family: U32::new(family),
            slot_width: slot_width.into(),
            tables: U32::new(self.shape.tables as u32),
            functions: U32::new(self.shape.functions as u32),
            bucket_bits: self.shape.bucket_bits.into(),
            sketch_bits: U32::new(SKETCH_BITS as u32),
            scale: self.scale.into(),
            probes: self.probes.into(),
            rerank: self.rerank.into(),
            candidates: self.candidates.into(),
            reserved: U32::new(0),
            seed: self.seed.into(),
            rows: U64::new(rows as u64),
        };
        header.write_to(to).map_err(|_| Error::Overflow)
    }

    /// Reads and checks the header of an index of this many rows.
    pub(super) fn decode(rows: usize, bytes: &[u8]) -> Result<Self> {
        let header = Header::ref_from_bytes(bytes).map_err(|_| bad("lsh: header length"))?;
        if header.version.get() != VERSION {
            return Err(bad("lsh: version"));
        }
        if header.rows.get() != rows as u64 || header.sketch_bits.get() != SKETCH_BITS as u32 {
            return Err(bad("lsh: number of rows or bits"));
        }
        let family = match (header.family.get(), header.slot_width.get()) {
            (1, 0) => Family::Hyperplanes,
            (2, width @ 1..) => Family::PStable(width),
            _ => return Err(bad("lsh: family")),
        };
        let shape = Shape {
            family,
            tables: header.tables.get() as usize,
            functions: header.functions.get() as usize,
            bucket_bits: header.bucket_bits.get(),
        };
        let hyperplanes = family == Family::Hyperplanes;
        if shape.tables > TABLES_MAX
            || !(1..=FUNCTIONS_MAX).contains(&shape.functions)
            || shape.tables * shape.functions > SKETCH_BITS
            || !(1..=BUCKET_BITS_MAX).contains(&shape.bucket_bits)
            || (hyperplanes && shape.bucket_bits as usize != shape.functions)
        {
            return Err(bad("lsh: shape of the tables"));
        }
        // The sign and the exponents of infinity would make projections of nothing.
        if header.scale.get() >= 0x7f80_0000 || header.rerank.get() == 0 || header.reserved.get() != 0 {
            return Err(bad("lsh: parameters"));
        }
        Ok(Self {
            shape,
            scale: header.scale.get(),
            probes: header.probes.get(),
            rerank: header.rerank.get(),
            candidates: header.candidates.get(),
            seed: header.seed.get(),
        })
    }
}
