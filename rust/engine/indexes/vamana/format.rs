// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The sections of a Vamana index. docs/format-collections.md, "Vamana", says every byte.

use vexfs_host::Error;
use vexfs_host::Result;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;
use zerocopy::FromBytes;
use zerocopy::IntoBytes;
use zerocopy_derive::*;

/// [`Header`].
pub(super) const HEADER: u32 = 0x700;
/// The lists of neighbours, if all rows are in memory.
pub(super) const GRAPH: u32 = 0x701;
/// Vectors with lists of neighbours, in whole blocks: the section that may stay on disk.
pub(crate) const RECORDS: u32 = 0x702;
/// The row of each record.
pub(super) const ORDER: u32 = 0x703;
/// The product quantizer.
pub(super) const BOOK: u32 = 0x704;
/// The code of each record's row.
pub(super) const CODES: u32 = 0x705;

/// Bytes of a block: what a device reads at once.
pub(super) const BLOCK: usize = 4096;
/// No neighbour: it and what follows is unused.
pub(super) const NONE: u32 = u32::MAX;

const VERSION: u32 = 1;

#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
struct Header {
    version: U32,
    on_disk: U32,
    rows: U64,
    degree: U32,
    entry: U32,
    row_bytes: U32,
    record_bytes: U32,
    code_bytes: U32,
    resident: U32,
    reserved: [u8; 24],
}

pub(super) const HEADER_BYTES: usize = size_of::<Header>();
const _: () = assert!(HEADER_BYTES == 64);

/// What the header says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Shape {
    pub(super) rows: usize,
    /// Most neighbours of a node.
    pub(super) degree: usize,
    /// The node that searches start from: a row, or a record if there are records.
    pub(super) entry: u32,
    pub(super) row_bytes: usize,
    /// Records with vectors, or only lists of neighbours.
    pub(super) on_disk: bool,
    /// Bytes of a product code; 0 without records.
    pub(super) code_bytes: usize,
    /// The first so many records are kept in memory.
    pub(super) resident: usize,
}

impl Shape {
    /// Words of a list of neighbours.
    pub(super) fn list_words(&self) -> usize {
        self.degree
    }

    /// Bytes of a record: the vector, its inverse norm, the checksum, the neighbours.
    pub(super) fn record_bytes(&self) -> usize {
        self.row_bytes.next_multiple_of(4) + 8 + 4 * self.degree
    }

    /// Records in a block; 0 if one takes several blocks.
    pub(super) fn per_block(&self) -> usize {
        BLOCK.checked_div(self.record_bytes()).unwrap_or(0)
    }

    /// Bytes that are read for a record.
    pub(super) fn read_bytes(&self) -> usize {
        self.record_bytes().next_multiple_of(BLOCK)
    }

    /// Where the blocks of a record begin in the section, and where the record begins in them.
    pub(super) fn place(&self, record: usize) -> (usize, usize) {
        match (
            record.checked_div(self.per_block()),
            record.checked_rem(self.per_block()),
        ) {
            (Some(block), Some(nth)) => (block * BLOCK, nth * self.record_bytes()),
            _ => (record * self.read_bytes(), 0),
        }
    }

    /// Bytes of so many records.
    pub(super) fn records_len(&self, records: usize) -> usize {
        match self.per_block() {
            0 => records * self.read_bytes(),
            n => records.div_ceil(n) * BLOCK,
        }
    }

    pub(super) fn encode(&self, to: &mut [u8]) -> Result {
        let header = Header {
            version: VERSION.into(),
            on_disk: u32::from(self.on_disk).into(),
            rows: U64::new(self.rows as u64),
            degree: U32::new(self.degree as u32),
            entry: self.entry.into(),
            row_bytes: U32::new(self.row_bytes as u32),
            record_bytes: U32::new(self.record_bytes() as u32),
            code_bytes: U32::new(self.code_bytes as u32),
            resident: U32::new(self.resident as u32),
            reserved: [0; 24],
        };
        header.write_to(to).map_err(|_| Error::Overflow)
    }

    pub(super) fn decode(rows: usize, row_bytes: usize, bytes: &[u8]) -> Result<Self> {
        let header = Header::ref_from_bytes(bytes).map_err(|_| bad("vamana: header length"))?;
        let shape = Self {
            rows,
            degree: header.degree.get() as usize,
            entry: header.entry.get(),
            row_bytes,
            on_disk: header.on_disk.get() == 1,
            code_bytes: header.code_bytes.get() as usize,
            resident: header.resident.get() as usize,
        };
        if header.version.get() != VERSION || header.on_disk.get() > 1 {
            return Err(bad("vamana: version"));
        }
        if header.rows.get() != rows as u64
            || header.row_bytes.get() as usize != row_bytes
            || !(2..=crate::index::IndexParams::M_MAX as usize).contains(&shape.degree)
            || header.record_bytes.get() as usize != shape.record_bytes()
        {
            return Err(bad("vamana: shape"));
        }
        let entry_is_there = (shape.entry as usize) < rows || (rows == 0 && shape.entry == 0);
        let codes_fit = if shape.on_disk {
            (1..=2048).contains(&shape.code_bytes)
        } else {
            shape.code_bytes == 0 && shape.resident == rows
        };
        if !entry_is_there || !codes_fit || shape.resident > rows || header.reserved != [0; 24] {
            return Err(bad("vamana: parameters"));
        }
        Ok(shape)
    }
}

/// Damage.
pub(super) fn bad(what: &'static str) -> Error {
    Error::corrupt(what, u64::MAX, 0)
}
