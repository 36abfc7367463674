// SPDX-License-Identifier: Apache-2.0
//! Rebuilds the recorded disk as a power cut at some moment would have left it.

use super::layout;
use crate::logwrites::Entry;
use crate::logwrites::Log;
use crate::powercut::Random;
use anyhow::Context;
use anyhow::Result;
use vexfs_host::device::RamBackend;

const SECTOR: usize = 512;

/// A cut to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Right after entry `at`, a flush: everything before it is there and nothing after it.
    Flush { at: usize },
    /// Right after entry `at`, a write that is durable by itself: of what was written since the last flush, only such
    /// writes are there.
    Alone { at: usize },
    /// Just before entry `at`: of what was written since the last flush, a subset that depends on `seed` is there, some
    /// of the writes torn at sectors.
    Torn { at: usize, seed: u64 },
}

impl Cut {
    /// The number of log entries that had happened.
    pub fn position(&self) -> usize {
        match *self {
            Cut::Flush { at } | Cut::Alone { at } => at + 1,
            Cut::Torn { at, .. } => at,
        }
    }
}

/// Every flush and every write of the log that is durable by itself, and `torn` random cuts between them, in the order
/// of their position.
pub fn choose_cuts(log: &Log, torn: usize, seed: u64, first: usize) -> Vec<Cut> {
    let mut random = Random::new(seed);
    let flushes = log.entries.iter().enumerate().skip(first).filter(|(_, e)| e.flush);
    let mut cuts: Vec<Cut> = flushes.map(|(at, _)| Cut::Flush { at }).collect();
    let durable = log
        .entries
        .iter()
        .enumerate()
        .skip(first)
        .filter(|(_, e)| e.fua && e.len > 0);
    cuts.extend(durable.map(|(at, _)| Cut::Alone { at }));
    let span = (log.entries.len() - first.min(log.entries.len())) as u64;
    if span > 0 {
        cuts.extend((0..torn).map(|_| Cut::Torn {
            at: first + random.below(span) as usize,
            seed: random.below(1 << 53),
        }));
    }
    cuts.sort_by_key(Cut::position);
    cuts
}

/// Replays a log up to growing positions.
pub struct Replay<'a> {
    log: &'a Log,
    fs_len: u64,
    /// The filesystem's partition with everything that is durable at `done`.
    durable: RamBackend,
    done: usize,
    acknowledged: Option<u64>,
}

impl<'a> Replay<'a> {
    /// A replay that starts from `partition`, the filesystem's partition of a disk of `disk_len` bytes before the
    /// recording.
    pub fn new(log: &'a Log, disk_len: u64, partition: RamBackend) -> Self {
        Replay {
            log,
            fs_len: layout::fs_len(disk_len),
            durable: partition,
            done: 0,
            acknowledged: None,
        }
    }

    /// The number of operations acknowledged before the last position asked for; `None` before the workload began.
    pub fn acknowledged(&self) -> Option<u64> {
        self.acknowledged
    }

    fn apply(&self, target: &RamBackend, entry: &Entry, torn: Option<&mut Random>) -> Result<()> {
        let Some(offset) = entry.offset.checked_sub(layout::FS_START).filter(|o| *o < self.fs_len) else {
            return Ok(());
        };
        if entry.len == 0 || entry.discard {
            // Discarded ranges may read as anything: the old contents are the hardest.
            return Ok(());
        }
        let data = self.log.data(entry)?;
        match torn {
            None => target.store(offset, &data),
            Some(random) => {
                for (n, sector) in data.chunks(SECTOR).enumerate() {
                    if random.below(2) == 0 {
                        target.store(offset + (n * SECTOR) as u64, sector);
                    }
                }
            }
        }
        Ok(())
    }

    /// Notes what entry `entry` acknowledges, if it is a mark.
    fn note(&mut self, entry: &Entry) -> Result<()> {
        let marks = layout::FS_START + self.fs_len;
        if entry.offset >= marks && entry.len >= layout::MARK_LEN as u64 && !entry.discard {
            if let Some(n) = layout::decode_mark(&self.log.data(entry)?) {
                self.acknowledged = Some(n);
            }
        }
        Ok(())
    }

    /// The partition as `cut` leaves it. Cuts must come in the order of their position.
    pub fn at(&mut self, cut: &Cut) -> Result<RamBackend> {
        let end = cut.position();
        let log = self.log;
        let entries = log.entries.get(self.done..end).context("cuts out of order")?;
        for entry in entries {
            self.note(entry)?;
        }
        // Everything up to the last flush becomes part of the durable state.
        let flushed = log.entries[..end].iter().rposition(|e| e.flush).map_or(0, |n| n + 1);
        let durable_from = log.entries[..self.done]
            .iter()
            .rposition(|e| e.flush)
            .map_or(0, |n| n + 1);
        for entry in &log.entries[durable_from..flushed.max(durable_from)] {
            self.apply(&self.durable, entry, None)?;
        }
        self.done = end;
        let image = self.durable.duplicate();
        let unflushed = &log.entries[flushed.min(end)..end];
        if let Cut::Alone { .. } = cut {
            for entry in unflushed.iter().filter(|e| e.fua) {
                self.apply(&image, entry, None)?;
            }
        }
        if let Cut::Torn { seed, .. } = cut {
            let mut random = Random::new(*seed);
            for entry in unflushed {
                match random.below(4) {
                    _ if entry.fua => self.apply(&image, entry, None)?,
                    0 | 1 => self.apply(&image, entry, None)?,
                    2 => self.apply(&image, entry, Some(&mut random))?,
                    _ => {}
                }
            }
        }
        Ok(image)
    }
}

/// The first entry of the log that belongs to the acknowledged part of the workload: the first mark.
pub fn first_mark(log: &Log, disk_len: u64) -> Result<usize> {
    let marks = layout::FS_START + layout::fs_len(disk_len);
    for (at, entry) in log.entries.iter().enumerate() {
        let long = entry.len >= layout::MARK_LEN as u64 && !entry.discard;
        if entry.offset >= marks && long && layout::decode_mark(&log.data(entry)?) == Some(0) {
            return Ok(at + 1);
        }
    }
    anyhow::bail!("the log holds no mark: the workload did not start")
}
