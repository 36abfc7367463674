// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The payloads of a segment in memory.

use super::Index;
use super::Vectors;
use crate::fields::FieldIndex;
use crate::fields::Payloads;
use vexfs_host::mem::Buffer;
use vexfs_host::sync::Arc;

/// What knows how much memory it takes.
pub(crate) trait Held {
    /// Bytes of memory.
    fn memory_bytes(&self) -> u64;
}

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
        Index::memory_bytes(self)
    }
}

impl Held for FieldIndex {
    fn memory_bytes(&self) -> u64 {
        FieldIndex::memory_bytes(self)
    }
}

/// The payloads of rows.
///
/// # Invariants
///
/// `ends` ascend, and the last is the length of `bytes`.
#[derive(Clone)]
pub(crate) struct Column(Option<(Arc<Buffer>, Arc<Buffer>)>);

impl Column {
    /// No row has a payload.
    pub(crate) fn empty() -> Self {
        Self(None)
    }

    pub(super) fn new(ends: Arc<Buffer>, bytes: Arc<Buffer>) -> Self {
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

impl Payloads for Column {
    fn payload(&self, row: u32) -> &[u8] {
        self.get(row)
    }
}

/// Where the payload of a row begins and ends.
pub(crate) fn bounds(ends: &[u64], row: u32) -> (usize, usize) {
    let end = |row: usize| ends.get(row).copied().unwrap_or(0) as usize;
    let start = (row as usize).checked_sub(1).map_or(0, end);
    (start, end(row as usize))
}
