// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Giving memory back: first what only makes searches faster, then sections of segments, then the rest.
//!
//! Memory pressure may call from inside an allocation: nobody is waited for here who might be waiting for memory. What
//! is in use is not torn from its user, and not reported as freed either.

use super::Collection;
use super::Writer;
use crate::segment::Segment;
use vexfs_host::mem::Vec;
use vexfs_host::sync::Arc;

impl Collection {
    /// Bytes of memory that its rows take. Takes no lock.
    pub fn memory_bytes(&self) -> u64 {
        self.context.account.bytes()
    }

    /// When it was used last: a number that grows with every use of any collection.
    pub(super) fn last_use(&self) -> u64 {
        self.context.account.last_use()
    }

    /// Forgets the rows in memory, unless a change is being made. The next use reads them again. Returns the bytes
    /// freed, of which those that others are using at the moment are none.
    pub fn drop_cache(&self) -> u64 {
        let trimmed = self.trim(u64::MAX);
        let evicted = self.evict_sections(u64::MAX);
        trimmed
            .saturating_add(evicted)
            .saturating_add(self.evict_rows(u64::MAX))
    }

    /// Gives back memory that only makes searches faster, until so many bytes are freed. Returns how many were.
    pub(super) fn trim(&self, bytes: u64) -> u64 {
        let Some(version) = self.version.read().clone() else {
            return 0;
        };
        let mut freed = 0u64;
        for segment in &version.segments {
            if freed >= bytes {
                break;
            }
            freed = freed.saturating_add(segment.trim());
        }
        freed
    }

    /// Forgets sections of segments, the one that was used last at the end, until so many bytes are freed. Returns how
    /// many were.
    pub(super) fn evict_sections(&self, bytes: u64) -> u64 {
        let Some(version) = self.version.read().clone() else {
            return 0;
        };
        let mut freed = 0u64;
        // What is used from now on is left alone, so that this ends.
        let now = self.context.account.now();
        let mut before: Option<(u64, usize, usize)> = None;
        while freed < bytes {
            let mut next: Option<(u64, usize, usize)> = None;
            for (place, segment) in version.segments.iter().enumerate() {
                for (part, used) in segment.last_uses().into_iter().enumerate() {
                    let Some(used) = used.filter(|used| *used <= now) else {
                        continue;
                    };
                    let key = (used, part, place);
                    if before.is_none_or(|before| key > before) && next.is_none_or(|next| key < next) {
                        next = Some(key);
                    }
                }
            }
            let Some((_, part, place)) = next else { break };
            before = next;
            let segment: Option<&Arc<Segment>> = version.segments.get(place);
            freed = freed.saturating_add(segment.map_or(0, |segment| segment.evict(part)));
        }
        freed
    }

    /// Forgets the rows that are in no segment and everything else. Returns the bytes freed.
    pub(super) fn evict_rows(&self, _bytes: u64) -> u64 {
        match self.writer.try_write() {
            Some(mut writer) => self.forget(&mut writer),
            None => 0,
        }
    }

    /// Forgets everything in memory. Returns the bytes of it that nobody else uses, without those of segments.
    pub(super) fn forget(&self, writer: &mut Writer) -> u64 {
        writer.end = None;
        writer.record = Vec::new();
        let version = self.version.write().take();
        let Some(version) = version else { return 0 };
        let bytes = version.counter.bytes();
        if version.drop_last() {
            bytes
        } else {
            0
        }
    }
}
