// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Single rows of a segment, from memory or from its file, and giving back what is in memory.

use super::column::bounds;
use super::format::kind;
use super::format::SectionExtent;
use super::lazy::Evict;
use super::Segment;
use crate::payload::PAYLOAD_MAX;
use vexfs_host::mem::Vec;
use vexfs_host::Error;
use vexfs_host::Result;

/// Parts of a segment that can be given back.
const PARTS: usize = 9;

impl Segment {
    fn needed(&self, kind: u32) -> Result<&SectionExtent> {
        self.place(kind)
            .ok_or_else(|| self.file.damaged("segment without a section"))
    }

    /// Copies the vector of a row.
    ///
    /// # Errors
    ///
    /// `Invalid` if there is no such row, or `out` has another length; those of reading.
    pub(crate) fn vector_into(&self, row: u32, out: &mut [u8]) -> Result {
        let wrong = Error::Invalid("no such row, or a buffer of another length");
        if out.len() != self.file.context().params.row_bytes() || row >= self.header.rows {
            return Err(wrong);
        }
        let vectors = match self.vectors.get() {
            Some(vectors) => vectors,
            None => {
                let place = self.needed(kind::VECTORS)?;
                if self.single_vectors.is_worth(place, 1, out.len()) {
                    let at = u64::from(row).saturating_mul(out.len() as u64);
                    return self.single_vectors.read(&self.file, place, at, out);
                }
                self.vectors()?
            }
        };
        out.copy_from_slice(vectors.rows(self)?.row(row as usize).ok_or(wrong)?);
        Ok(())
    }

    /// Where the payload of a row begins and ends in its section.
    fn payload_bounds(&self, row: u32) -> Result<(u64, u64)> {
        if row >= self.header.rows {
            return Err(Error::Invalid("no such row"));
        }
        let Some(payloads) = self.place(kind::PAYLOADS) else {
            return Ok((0, 0));
        };
        if self.ends.get().is_none() {
            let place = self.needed(kind::PAYLOAD_ENDS)?;
            if self.single_ends.is_worth(place, 1, 16) {
                // The end of the row before it, if there is one, and its own.
                let mut ends = [0; 16];
                let before = u64::from(row).checked_sub(1);
                let (at, from) = before.map_or((0, 8), |before| (before.saturating_mul(8), 0));
                self.single_ends
                    .read(&self.file, place, at, ends.get_mut(from..).unwrap_or_default())?;
                let ends = u128::from_le_bytes(ends);
                let (start, end) = (ends as u64, (ends >> 64) as u64);
                let is_right = start <= end && end - start <= PAYLOAD_MAX as u64 && end <= payloads.len;
                return match is_right {
                    true => Ok((start, end)),
                    false => Err(self.file.damaged("segment with wrong lengths of payloads")),
                };
            }
        }
        let Some(ends) = self.payload_ends()? else {
            return Ok((0, 0));
        };
        let (start, end) = bounds(ends.as_u64s(), row);
        Ok((start as u64, end as u64))
    }

    /// Bytes of the payload of a row, 0 if it has none.
    ///
    /// # Errors
    ///
    /// `Invalid` if there is no such row; those of reading.
    pub(crate) fn payload_len(&self, row: u32) -> Result<usize> {
        let (start, end) = self.payload_bounds(row)?;
        Ok(end.saturating_sub(start) as usize)
    }

    /// Appends the payload of a row to `out`.
    ///
    /// # Errors
    ///
    /// As for [`Segment::payload_len`]; `NoMemory`.
    pub(crate) fn payload_into(&self, row: u32, out: &mut Vec<u8>) -> Result {
        if self.payloads.get().is_some() || !self.reads_payloads_singly(1) {
            return out.extend_from_slice(self.column()?.get(row));
        }
        let (start, end) = self.payload_bounds(row)?;
        if start == end {
            return Ok(());
        }
        let before = out.len();
        out.resize(before.saturating_add(end.saturating_sub(start) as usize), 0)?;
        let place = self.needed(kind::PAYLOADS)?;
        let read = self
            .single_payloads
            .read(&self.file, place, start, out.get_mut(before..).unwrap_or_default());
        if read.is_err() {
            out.truncate(before);
        }
        read
    }

    /// Whether the payloads of about so many rows are better read one by one.
    pub(crate) fn reads_payloads_singly(&self, rows: usize) -> bool {
        let Some(place) = self.place(kind::PAYLOADS) else {
            return false;
        };
        self.payloads.get().is_none() && self.single_payloads.is_worth(place, rows, 1)
    }

    fn parts(&self) -> [&dyn Evict; PARTS] {
        // What can best be done without comes first.
        [
            self.single_payloads.part(),
            self.single_ends.part(),
            self.single_vectors.part(),
            &self.payloads,
            &self.ends,
            &self.fields,
            &self.vectors,
            &self.index,
            &self.ids,
        ]
    }

    /// When each part was used last, `None` for one that is not in memory.
    pub(crate) fn last_uses(&self) -> [Option<u64>; PARTS] {
        self.parts().map(|part| part.last_use())
    }

    /// Forgets a part. Returns the bytes freed.
    pub(crate) fn evict(&self, part: usize) -> u64 {
        self.parts().get(part).map_or(0, |part| part.evict())
    }

    /// Gives back memory that only makes searches faster. Returns the bytes freed.
    pub(crate) fn trim(&self) -> u64 {
        self.parts()
            .iter()
            .fold(0u64, |freed, part| freed.saturating_add(part.trim()))
    }
}
