// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The last filters and the rows they let through.
//!
//! A segment never changes, so what was found once stays right; there is no invalidation. They go with the field indexes when
//! memory is short.

use super::select::Selection;
use crate::filter::Program;
use vexfs_host::mem::Vec;
use vexfs_host::sync::Arc;
use vexfs_host::sync::Mutex;
use vexfs_host::Result;

/// Selections kept. They are bitmaps: eight of them take a byte a row.
const KEPT: usize = 8;
/// Programs that are longer are not remembered: they seldom come again.
const PROGRAM_MAX: usize = 4096;

/// Bytes that the cache of a segment of so many rows takes when it is full.
pub(super) fn most_bytes(count: usize) -> u64 {
    (KEPT as u64).saturating_mul(count.div_ceil(8) as u64)
}

struct Entry {
    program: Vec<u8>,
    selection: Arc<Selection>,
}

/// The last selections, the one used last at the end.
pub(super) struct Cache {
    entries: Mutex<Vec<Entry>>,
}

impl Cache {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            entries: Mutex::new(Vec::new())?,
        })
    }

    /// The rows that the program lets through, if they are known.
    pub(super) fn get(&self, program: &Program) -> Option<Arc<Selection>> {
        let mut entries = self.entries.lock();
        let at = entries
            .iter()
            .position(|entry| entry.program[..] == *program.as_bytes())?;
        let entry = entries.remove(at)?;
        let found = entry.selection.clone();
        // There is room for it: it was there before.
        let _ = entries.push(entry);
        Some(found)
    }

    /// Remembers the rows that the program lets through. Without memory for it, it is not remembered.
    pub(super) fn keep(&self, program: &Program, selection: &Arc<Selection>) {
        let bytes = program.as_bytes();
        let mut copy = Vec::new();
        if bytes.len() > PROGRAM_MAX || copy.extend_from_slice(bytes).is_err() {
            return;
        }
        let entry = Entry {
            program: copy,
            selection: selection.clone(),
        };
        let mut entries = self.entries.lock();
        if entries.iter().any(|other| other.program[..] == *bytes) {
            return;
        }
        // What goes is dropped behind the lock.
        let oldest = if entries.len() >= KEPT { entries.remove(0) } else { None };
        let _ = entries.push(entry);
        drop(entries);
        drop(oldest);
    }
}
