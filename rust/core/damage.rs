// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Damage that was met: it is counted, and logged at a bounded rate.
//!
//! Anybody who may read can meet the same damaged block again and again, so what is logged must not depend on how
//! often.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;
use vexfs_host::log;
use vexfs_host::Error;

/// Lines within [`INTERVAL`] at most.
const LINES: u64 = 10;
/// Nanoseconds.
const INTERVAL: u64 = 5_000_000_000;

/// What was met since the mount.
pub(crate) struct Damage {
    met: AtomicU64,
    /// When the present interval began.
    since: AtomicU64,
    /// Lines in it, those that were left out included.
    lines: AtomicU64,
    /// What [`Damage::note`] was told last, as [`Damage::id`].
    last: AtomicU64,
}

impl Damage {
    pub(crate) const fn new() -> Self {
        Damage {
            met: AtomicU64::new(0),
            since: AtomicU64::new(0),
            lines: AtomicU64::new(0),
            last: AtomicU64::new(0),
        }
    }

    /// How often damage was met.
    pub(crate) fn met(&self) -> u64 {
        self.met.load(Relaxed)
    }

    /// Whether a line may be logged at `now`, and how many were left out before it. Two threads at the end of an
    /// interval may each get a line too many: that is bounded, too.
    fn line(&self, now: u64) -> Option<u64> {
        let since = self.since.load(Relaxed);
        let left_out = if now.saturating_sub(since) >= INTERVAL {
            self.since.store(now, Relaxed);
            self.lines.swap(0, Relaxed).saturating_sub(LINES)
        } else {
            0
        };
        (self.lines.fetch_add(1, Relaxed) < LINES).then_some(left_out)
    }

    /// A number that tells damage from other damage well enough for the log.
    fn id(e: &Error) -> u64 {
        match e {
            Error::Corrupt(c) => (c.block.rotate_left(32) ^ c.owner.rotate_left(8) ^ c.what.len() as u64) | 1 << 63,
            _ => 0,
        }
    }

    /// Counts and logs an error where something is read; a lack of memory is none.
    pub(crate) fn note(&self, e: &Error) {
        if *e != Error::NoMemory {
            self.last.store(Self::id(e), Relaxed);
            self.tell(e);
        }
    }

    /// Counts and logs damage that an operation failed with, unless [`Damage::note`] did so where it was read.
    pub(crate) fn note_failure(&self, e: &Error) {
        if matches!(e, Error::Corrupt(_)) && self.last.compare_exchange(Self::id(e), 0, Relaxed, Relaxed).is_err() {
            self.tell(e);
        }
    }

    fn tell(&self, e: &Error) {
        if matches!(e, Error::Corrupt(_)) {
            self.met.fetch_add(1, Relaxed);
        }
        match self.line(vexfs_host::monotonic()) {
            Some(0) => log!(err, "{}; the operation fails", e),
            Some(n) => log!(err, "{}; the operation fails ({} lines like this were left out)", e, n),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded_in_an_interval_and_those_left_out_are_counted() {
        let damage = Damage::new();
        let mut now = 100 * INTERVAL;
        for left_out in [0, 990, 990] {
            let lines: std::vec::Vec<_> = (0..1000).filter_map(|n| damage.line(now + n)).collect();
            assert_eq!(lines.len() as u64, LINES);
            assert_eq!((lines[0], lines[1]), (left_out, 0));
            now += INTERVAL;
        }
    }

    #[test]
    fn damage_is_counted_once_whether_it_is_told_where_it_is_read_or_where_the_operation_fails() {
        let damage = Damage::new();
        let (block, item) = (Error::corrupt("node", 7, 0), Error::corrupt("item", u64::MAX, 9));
        for n in 1..=3 {
            damage.note(&block);
            damage.note_failure(&block);
            assert_eq!(damage.met(), 2 * n - 1);
            damage.note_failure(&item);
            assert_eq!(damage.met(), 2 * n);
        }
        for e in [Error::NoMemory, Error::NotFound] {
            damage.note_failure(&e);
        }
        damage.note(&Error::NoMemory);
        assert_eq!(damage.met(), 6);
    }
}
