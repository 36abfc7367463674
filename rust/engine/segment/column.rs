// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The payloads of a segment, and how what is in memory is counted.

use super::account::Held;
use super::lazy::Kept;
use super::Index;
use super::Segment;
use super::Vectors;
use crate::fields::FieldIndex;
use crate::fields::Payloads;
use core::cell::OnceCell;
use vexfs_host::mem::Buffer;
use vexfs_host::mem::Vec;
use vexfs_host::sync::Arc;
use vexfs_host::Result;

impl Held for Buffer {
    fn memory_bytes(&self) -> u64 {
        Buffer::memory_bytes(self)
    }
}

impl Held for Vectors {
    fn memory_bytes(&self) -> u64 {
        self.bytes.memory_bytes().saturating_add(self.norms.memory_bytes())
    }
}

impl Held for Index {
    fn memory_bytes(&self) -> u64 {
        crate::index::Index::memory_bytes(self)
    }

    fn trim(&self) -> u64 {
        crate::index::Index::trim(self)
    }
}

impl Held for FieldIndex {
    fn memory_bytes(&self) -> u64 {
        FieldIndex::memory_bytes(self)
    }

    fn trim(&self) -> u64 {
        FieldIndex::trim(self)
    }
}

/// The payloads of rows.
///
/// # Invariants
///
/// `ends` ascend, and the last is the length of `bytes`.
#[derive(Clone)]
pub(crate) struct Column(Option<(Section, Section)>);

/// A section in memory.
type Section = Arc<Kept<Buffer>>;

impl Column {
    /// No row has a payload.
    pub(crate) fn empty() -> Self {
        Self(None)
    }

    pub(super) fn new(ends: Section, bytes: Section) -> Self {
        Self(Some((ends, bytes)))
    }

    /// The payload of a row, empty if it has none.
    #[inline]
    pub(crate) fn get(&self, row: u32) -> &[u8] {
        let Some((ends, bytes)) = &self.0 else { return &[] };
        let (start, end) = bounds(ends.as_u64s(), row);
        bytes.get(start..end).unwrap_or_default()
    }
}

/// The payloads of a segment, of which no more is read than is asked for.
pub(crate) struct LazyColumn<'a> {
    segment: &'a Segment,
    whole: OnceCell<Column>,
}

impl<'a> LazyColumn<'a> {
    /// Those of a segment; nothing is read yet.
    pub(crate) fn new(segment: &'a Segment) -> Self {
        Self {
            segment,
            whole: OnceCell::new(),
        }
    }

    fn load(&self) -> Result<&Column> {
        if let Some(column) = self.whole.get() {
            return Ok(column);
        }
        let column = self.segment.column()?;
        Ok(self.whole.get_or_init(|| column))
    }
}

impl Payloads for LazyColumn<'_> {
    fn expect(&self, rows: usize) -> Result {
        if !self.segment.reads_payloads_singly(rows) {
            self.load()?;
        }
        Ok(())
    }

    fn payload<'a>(&'a self, row: u32, room: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        if let Some(column) = self.whole.get() {
            return Ok(column.get(row));
        }
        if !self.segment.reads_payloads_singly(1) {
            return Ok(self.load()?.get(row));
        }
        room.clear();
        self.segment.payload_into(row, room)?;
        Ok(room)
    }
}

/// Where the payload of a row begins and ends.
pub(crate) fn bounds(ends: &[u64], row: u32) -> (usize, usize) {
    let end = |row: usize| ends.get(row).copied().unwrap_or(0) as usize;
    let start = (row as usize).checked_sub(1).map_or(0, end);
    (start, end(row as usize))
}
