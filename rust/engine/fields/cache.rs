// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The last filters and the rows they let through.
//!
//! A segment never changes, so what was found once stays right; there is no invalidation. They go with the field
//! indexes when memory is short.

use super::select::Selection;
use crate::filter::Program;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering;
use vexfs_host::mem::Vec;
use vexfs_host::sync::Arc;
use vexfs_host::sync::Mutex;
use vexfs_host::Result;

/// Selections kept. They are bitmaps: eight of them take a byte a row.
const KEPT: usize = 8;
/// Programs that are longer are not remembered: they seldom come again.
const PROGRAM_MAX: usize = 4096;

struct Entry {
    program: Vec<u8>,
    selection: Arc<Selection>,
}

/// The last selections, the one used last at the end.
pub(super) struct Cache {
    entries: Mutex<Vec<Entry>>,
    /// Bytes of the entries.
    bytes: AtomicU64,
}

impl Entry {
    fn memory_bytes(&self) -> u64 {
        (self.program.capacity() as u64).saturating_add(self.selection.rows.memory_bytes())
    }
}

impl Cache {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            entries: Mutex::new(Vec::new())?,
            bytes: AtomicU64::new(0),
        })
    }

    /// Bytes of memory.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Forgets everything, unless it is in use at the moment. Returns the bytes freed.
    pub(super) fn clear(&self) -> u64 {
        let Some(mut entries) = self.entries.try_lock() else {
            return 0;
        };
        let all = core::mem::take(&mut *entries);
        drop(entries);
        let mut freed = 0u64;
        for entry in all {
            let bytes = entry.memory_bytes();
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            if entry.selection.drop_last() {
                freed = freed.saturating_add(bytes);
            }
        }
        freed
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
        let bytes = entry.memory_bytes();
        if entries.push(entry).is_ok() {
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        drop(entries);
        if let Some(oldest) = oldest {
            self.bytes.fetch_sub(oldest.memory_bytes(), Ordering::Relaxed);
        }
    }
}
