// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Records: a vector with the neighbours of its row, as they lie in blocks.
//!
//! A record is the vector, filled with zeros to whole words, its inverse norm if comparing takes one, the CRC-32C of
//! all the rest, and the numbers of the records that are neighbours. Each has a checksum of its own since it is read on
//! its own.

use super::format::bad;
use super::format::Shape;
use super::format::NONE;
use vexfs_host::crc32c;
use vexfs_host::Error;
use vexfs_host::Result;

/// A record, checked or known to be good.
#[derive(Clone, Copy)]
pub(super) struct Record<'a> {
    pub(super) vector: &'a [u8],
    pub(super) norm: u32,
    neighbours: &'a [u8],
}

fn word(bytes: &[u8]) -> u32 {
    bytes.try_into().map_or(0, u32::from_le_bytes)
}

/// The parts of a record's bytes.
struct Parts<'a> {
    vector: &'a [u8],
    norm: &'a [u8],
    sum: &'a [u8],
    neighbours: &'a [u8],
}

impl<'a> Parts<'a> {
    fn new(shape: &Shape, bytes: &'a [u8]) -> Option<Self> {
        let (vector, rest) = bytes
            .get(..shape.record_bytes())?
            .split_at_checked(shape.row_bytes.next_multiple_of(4))?;
        let (norm, rest) = rest.split_at_checked(4)?;
        let (sum, neighbours) = rest.split_at_checked(4)?;
        Some(Self {
            vector,
            norm,
            sum,
            neighbours,
        })
    }

    /// The checksum of all but the checksum.
    fn sum(&self) -> u32 {
        crc32c(crc32c(crc32c(0, self.vector), self.norm), self.neighbours)
    }
}

impl<'a> Record<'a> {
    /// The record at the start of these bytes.
    pub(super) fn new(shape: &Shape, bytes: &'a [u8]) -> Result<Self> {
        let parts = Parts::new(shape, bytes).ok_or(Error::Overflow)?;
        Ok(Self {
            vector: parts.vector.get(..shape.row_bytes).ok_or(Error::Overflow)?,
            norm: word(parts.norm),
            neighbours: parts.neighbours,
        })
    }

    /// The same, of bytes that come from a device.
    ///
    /// # Errors
    ///
    /// `Corrupt` if the checksum is wrong or a neighbour does not exist.
    pub(super) fn checked(shape: &Shape, bytes: &'a [u8]) -> Result<Self> {
        let parts = Parts::new(shape, bytes).ok_or(Error::Overflow)?;
        if parts.sum() != word(parts.sum) {
            return Err(bad("vamana: checksum of a record"));
        }
        let record = Self::new(shape, bytes)?;
        if record.neighbours().any(|neighbour| neighbour as usize >= shape.rows) {
            return Err(bad("vamana: neighbour in a record"));
        }
        Ok(record)
    }

    /// The records that are neighbours.
    pub(super) fn neighbours(&self) -> impl Iterator<Item = u32> + 'a {
        self.neighbours.chunks_exact(4).map(word).take_while(|n| *n != NONE)
    }

    /// Writes a record whose neighbours are among `bytes` already.
    pub(super) fn finish(shape: &Shape, bytes: &mut [u8], vector: &[u8], norm: u32) -> Result {
        let start = shape.row_bytes.next_multiple_of(4);
        bytes
            .get_mut(..vector.len())
            .ok_or(Error::Overflow)?
            .copy_from_slice(vector);
        let norm_at = bytes.get_mut(start..start + 4).ok_or(Error::Overflow)?;
        norm_at.copy_from_slice(&norm.to_le_bytes());
        let sum = Parts::new(shape, bytes).ok_or(Error::Overflow)?.sum();
        let sum_at = bytes.get_mut(start + 4..start + 8).ok_or(Error::Overflow)?;
        sum_at.copy_from_slice(&sum.to_le_bytes());
        Ok(())
    }

    /// Where the neighbours of a record are in its bytes.
    pub(super) fn neighbours_at(shape: &Shape) -> usize {
        shape.row_bytes.next_multiple_of(4) + 8
    }
}
