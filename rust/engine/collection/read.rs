// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Reading rows: by id, and what the rows of an answer contain.
//!
//! Answers refer to rows instead of copying them; the rows stay for as long as the answer does, even if they are
//! deleted meanwhile. So a caller can look at lengths first, and copy vectors and payloads with no lock held while it
//! touches user memory.

use super::Collection;
use super::Version;
use crate::limits::BATCH_ROWS_MAX;
use crate::segment::find_id;
use crate::segment::Segment;
use vexfs_host::mem::Vec;
use vexfs_host::relax;
use vexfs_host::sync::Arc;
use vexfs_host::Error;
use vexfs_host::Result;

/// In place of the number of a segment: the tail.
pub(crate) const TAIL: u32 = u32::MAX;

/// A row of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RowRef {
    /// Its id.
    pub id: u64,
    /// Bytes of its payload, 0 if it has none.
    pub payload_len: usize,
    /// The place of its segment in the version, or [`TAIL`].
    pub(super) segment: u32,
    pub(super) row: u32,
}

/// What the rows of an answer contain.
pub struct Contents {
    pub(super) version: Arc<Version>,
}

impl Contents {
    fn segment(&self, row: &RowRef) -> Option<&Arc<Segment>> {
        self.version.segments.get(row.segment as usize)
    }

    /// Copies the vector of a row of the same answer, in the form of the collection's elements.
    ///
    /// # Errors
    ///
    /// `Invalid` if `out` has another length, or the row is from elsewhere; those of reading the segment.
    pub fn vector(&self, row: &RowRef, out: &mut [u8]) -> Result {
        let wrong = Error::Invalid("no such row, or a buffer of another length");
        let copy = |vector: Option<&[u8]>, out: &mut [u8]| match vector {
            Some(vector) if vector.len() == out.len() => {
                out.copy_from_slice(vector);
                Ok(())
            }
            _ => Err(wrong),
        };
        if row.segment == TAIL {
            return copy(self.version.state.read().rows.vector(row.row), out);
        }
        self.segment(row).ok_or(wrong)?.vector_into(row.row, out)
    }

    /// Appends the payload of a row of the same answer to `out`.
    ///
    /// # Errors
    ///
    /// `NoMemory`; `Invalid` if the row is from elsewhere; those of reading the segment.
    pub fn payload(&self, row: &RowRef, out: &mut Vec<u8>) -> Result {
        let wrong = Error::Invalid("no such row");
        // Memory first: no allocation under the lock.
        out.reserve(row.payload_len)?;
        let append = |payload: Option<&[u8]>, out: &mut Vec<u8>| match payload {
            Some(payload) if payload.len() == row.payload_len => out.extend_from_slice(payload),
            _ => Err(wrong),
        };
        if row.segment == TAIL {
            return append(self.version.state.read().rows.payload(row.row), out);
        }
        let before = out.len();
        self.segment(row).ok_or(wrong)?.payload_into(row.row, out)?;
        match out.len().saturating_sub(before) == row.payload_len {
            true => Ok(()),
            false => {
                out.truncate(before);
                Err(wrong)
            }
        }
    }
}

/// The answer to a reading by ids.
pub struct Got {
    /// In the order of the ids; `None` where there is no such row.
    pub rows: Vec<Option<RowRef>>,
    /// What the rows contain.
    pub contents: Contents,
}

impl Collection {
    /// Looks rows up by id.
    ///
    /// # Errors
    ///
    /// `Invalid` for no ids, `TooBig` for too many; those of loading the collection.
    pub fn get(&self, ids: &[u64]) -> Result<Got> {
        if ids.is_empty() {
            return Err(Error::Invalid("no ids"));
        }
        if ids.len() > BATCH_ROWS_MAX {
            return Err(Error::TooBig("rows of a batch"));
        }
        let version = self.version()?;
        let mut found: Vec<Option<RowRef>> = Vec::with_capacity(ids.len())?;
        let mut dead = Vec::with_capacity(version.segments.len())?;
        {
            let index = version.index.read();
            let state = version.state.read();
            for id in ids {
                let row = index.get(*id).map(|row| RowRef {
                    id: *id,
                    payload_len: state.rows.payload(*row).map_or(0, <[u8]>::len),
                    segment: TAIL,
                    row: *row,
                });
                found.push(row)?;
            }
            for of_segment in &state.dead {
                dead.push(of_segment.clone())?;
            }
        }
        for (i, (segment, dead)) in version.segments.iter().zip(&dead).enumerate() {
            if !ids.iter().any(|id| segment.may_have(*id)) {
                continue;
            }
            let rows = segment.ids()?;
            for (n, (id, found)) in ids.iter().zip(&mut found).enumerate() {
                if n % 256 == 255 {
                    relax()?;
                }
                if found.is_some() {
                    continue;
                }
                match find_id(rows.as_u64s(), 0, *id) {
                    Ok(row) if !dead.has(row as u32) => {
                        *found = Some(RowRef {
                            id: *id,
                            payload_len: segment.payload_len(row as u32)?,
                            segment: i as u32,
                            row: row as u32,
                        });
                    }
                    _ => {}
                }
            }
        }
        Ok(Got {
            rows: found,
            contents: Contents { version },
        })
    }
}
