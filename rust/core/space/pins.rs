// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Keeping freed data blocks from being reused while someone may still be reading them.
//!
//! A reader of file data looks up where blocks lie, lets go of the tree, and then reads them. In between, the file may
//! be overwritten, which frees the blocks; that may be committed; and another file's data could be written to them. So
//! such a reader holds a [`ReadPin`] from before the look-up until the read has ended.
//!
//! Pins are counted in two counters, as in sleepable RCU (McKenney 2006): new pins go to the current one. Blocks that
//! become free while there are pins are *deferred frees*: they wait until the counter that was current at that time has
//! drained; the other one is current from then on. Nobody waits for anybody: each commit looks at the deferred frees.

use super::BlockAllocator;
use super::Run;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::SeqCst;
use vexfs_host::log;

/// Counts readers. The current counter is the one whose number is the lowest bit of `epoch`.
pub(crate) struct Pins {
    epoch: AtomicU64,
    held: [AtomicU64; 2],
}

impl Pins {
    pub(crate) const fn new() -> Pins {
        Pins {
            epoch: AtomicU64::new(0),
            held: [const { AtomicU64::new(0) }; 2],
        }
    }

    fn counter(&self, epoch: u64) -> &AtomicU64 {
        let [even, odd] = &self.held;
        if epoch & 1 == 0 {
            even
        } else {
            odd
        }
    }

    /// Counts a reader; returns the epoch to give to `unpin`.
    fn pin(&self) -> u64 {
        loop {
            let epoch = self.epoch.load(SeqCst);
            self.counter(epoch).fetch_add(1, SeqCst);
            if self.epoch.load(SeqCst) == epoch {
                return epoch;
            }
            self.unpin(epoch);
        }
    }

    /// Counts a reader until the pin is dropped.
    pub(crate) fn pin_reads(&self) -> ReadPin<'_> {
        ReadPin {
            pins: self,
            epoch: self.pin(),
        }
    }

    /// Ends the pin of a reader that was counted in `epoch`.
    pub(crate) fn unpin(&self, epoch: u64) {
        self.counter(epoch).fetch_sub(1, SeqCst);
    }

    /// Whether there is no reader at all.
    fn none(&self) -> bool {
        self.held.iter().all(|n| n.load(SeqCst) == 0)
    }

    /// Whether all readers from before the last `flip` are gone.
    fn drained(&self) -> bool {
        self.counter(self.epoch.load(SeqCst).wrapping_add(1)).load(SeqCst) == 0
    }

    /// Makes the other counter, which has drained, the current one.
    fn flip(&self) {
        self.epoch.fetch_add(1, SeqCst);
    }
}

/// While it lives, data blocks that were part of a file when it was made are not reused.
pub struct ReadPin<'a> {
    pins: &'a Pins,
    epoch: u64,
}

impl Drop for ReadPin<'_> {
    fn drop(&mut self) {
        self.pins.unpin(self.epoch);
    }
}

impl ReadPin<'_> {
    /// Lets the pin outlive this value: it ends when [`Fs::unpin_reads`](crate::Fs::unpin_reads) gets the number, once.
    pub fn into_number(self) -> u64 {
        let number = self.epoch;
        core::mem::forget(self);
        number
    }
}

impl BlockAllocator {
    /// Makes the blocks that the committed transaction group freed allocatable, as far as nobody may be reading them.
    pub(crate) fn committed(&mut self, pins: &Pins) {
        self.writing = None;
        self.free_deferred(pins);
        let mut sealed = core::mem::take(&mut self.sealed);
        let [waiting, later] = &mut self.deferred_free;
        if pins.none() {
            self.release(&sealed);
        } else if waiting.is_empty() {
            core::mem::swap(waiting, &mut sealed);
            pins.flip();
        } else if later.extend_from_slice(&sealed).is_err() {
            // `prepare_commit` has made room for them.
            log!(err, "{} freed runs stay unusable until the next mount", sealed.len());
        }
        sealed.clear();
        self.sealed = sealed;
    }

    /// Makes deferred frees allocatable whose readers are gone.
    pub(crate) fn free_deferred(&mut self, pins: &Pins) {
        for _ in 0..self.deferred_free.len() {
            let [waiting, later] = &mut self.deferred_free;
            if waiting.is_empty() || !pins.drained() {
                return;
            }
            let mut free = core::mem::take(waiting);
            core::mem::swap(waiting, later);
            if !waiting.is_empty() {
                pins.flip();
            }
            self.release(&free);
            free.clear();
            // Keeps the memory for the next time.
            let [_, later] = &mut self.deferred_free;
            *later = free;
        }
    }

    fn release(&mut self, runs: &[Run]) {
        for run in runs {
            if let Some((group, index)) = self.geo.locate(run.block) {
                self.unbusy(group, index as usize, run.len as usize);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_drains_when_the_readers_from_before_the_flip_are_gone() {
        let pins = Pins::new();
        assert!(pins.none() && pins.drained());
        let old = pins.pin();
        pins.flip();
        assert!(!pins.drained());
        let new = pins.pin();
        pins.unpin(old);
        assert!(pins.drained() && !pins.none());
        pins.flip();
        assert!(!pins.drained());
        pins.unpin(new);
        assert!(pins.drained() && pins.none());
    }
}
