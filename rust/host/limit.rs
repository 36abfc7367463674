// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! How often one place may write to the log: what goes wrong once mostly goes wrong again at once, and a log full of
//! one message hides all others.

use crate::Level;
use core::fmt;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// Messages of one place within [`PERIOD`]. Both are those of the kernel's own limit (`DEFAULT_RATELIMIT_BURST`).
const BURST: u32 = 10;
/// Nanoseconds.
const PERIOD: u64 = 5_000_000_000;

/// The limit of one place in the code.
#[doc(hidden)]
pub struct Limit {
    /// When the present period began; 0 before the first message.
    since: AtomicU64,
    /// Messages in it, those left out included.
    count: AtomicU32,
}

impl Limit {
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Limit {
            since: AtomicU64::new(0),
            count: AtomicU32::new(0),
        }
    }

    /// Whether a message may be written at `now`, and how many were left out before it. Racing callers may count a
    /// message into the wrong period.
    fn admit(&self, now: u64) -> Option<u32> {
        let since = self.since.load(Relaxed);
        if since == 0 || now.wrapping_sub(since) >= PERIOD {
            self.since.store(now.max(1), Relaxed);
            return Some(self.count.swap(1, Relaxed).saturating_sub(BURST));
        }
        (self.count.fetch_add(1, Relaxed) < BURST).then_some(0)
    }

    /// Writes a message unless there were too many. Whoever listens in the place of the log hears them all.
    pub fn log(&self, level: Level, args: fmt::Arguments<'_>) {
        if crate::imp::has_log_hook() {
            return crate::imp::log_args(level, args);
        }
        match self.admit(crate::monotonic()) {
            None => {}
            Some(0) => crate::imp::log_args(level, args),
            Some(n) => {
                crate::imp::log_args(level, format_args!("{n} messages like the next were left out"));
                crate::imp::log_args(level, args);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_writes_a_few_messages_in_each_period_and_then_says_how_many_it_left_out() {
        let limit = Limit::new();
        let admitted = |from: u64| (from..from + 100).filter(|now| limit.admit(*now).is_some()).count();
        assert_eq!(admitted(7), BURST as usize);
        assert_eq!(limit.admit(7 + PERIOD), Some(100 - BURST));
        assert_eq!(admitted(8 + PERIOD), BURST as usize - 1);
        assert_eq!(limit.admit(7 + 2 * PERIOD), Some(101 - BURST));
        // A period that stayed within the limit left nothing out.
        assert_eq!(limit.admit(7 + 3 * PERIOD), Some(0));
    }
}
