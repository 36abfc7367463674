// SPDX-License-Identifier: GPL-2.0
//! What has been done with the collections of a mount.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering;

use vexfs_uapi as uapi;

/// What has been done to the vectors of a mount, since it was mounted.
#[derive(Default)]
pub struct Counters {
    queries: AtomicU64,
    scanned: AtomicU64,
    inserted: AtomicU64,
    deleted: AtomicU64,
}

impl Counters {
    /// Counts a search.
    pub fn searched(&self, queries: u64, scanned: u64) {
        self.queries.fetch_add(queries, Ordering::Relaxed);
        self.scanned.fetch_add(scanned, Ordering::Relaxed);
    }

    /// Counts rows that were inserted.
    pub fn inserted(&self, rows: u64) {
        self.inserted.fetch_add(rows, Ordering::Relaxed);
    }

    /// Counts rows that were deleted.
    pub fn deleted(&self, rows: u64) {
        self.deleted.fetch_add(rows, Ordering::Relaxed);
    }

    /// Puts the numbers where GET_STATS has them.
    pub fn fill(&self, stats: &mut uapi::GetStats) {
        stats.queries = self.queries.load(Ordering::Relaxed);
        stats.rows_scanned = self.scanned.load(Ordering::Relaxed);
        stats.rows_inserted = self.inserted.load(Ordering::Relaxed);
        stats.rows_deleted = self.deleted.load(Ordering::Relaxed);
    }
}
