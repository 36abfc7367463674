// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The intent log: what makes fsync cheap.
//!
//! A commit writes every changed node. What fsync promises takes less: each operation notes what it does to items and to
//! blocks of data ([`redo`]), and [`Fs::sync_txg`] writes what was noted since the last time as one batch, behind the batches
//! before it. A mount does again what the log holds beyond the state on the device ([`replay`]). The next commit makes all of
//! it part of that state; the log is never needed for consistency.
//!
//! The log holds the operations of the whole filesystem in the order in which they happened, not those of the file that is
//! synced. What is found after a power cut is therefore always a state that the filesystem was in, and nothing has to be
//! known about which operation depends on which other one. Whoever syncs writes for all; who waits for the log meanwhile finds
//! itself covered, or writes one batch for everybody who waited.
//!
//! A batch is written with FUA. If it speaks of data written since the last flush, that has to be durable, too, and a batch that
//! reached the medium before such data must not show what was in those blocks before. Small runs of blocks have a checksum in
//! the batch: one flush behind the batch makes both durable, and a mount leaves a last batch out whose data is not there, as
//! one that is torn: no flush followed it, so nobody was told that it is durable. A batch that another one follows had its
//! flush. Where a run has no checksum, because it is large or because the memory it is written from may change meanwhile, the
//! device is flushed before the batch.
//!
//! A commit takes no notice of the log but for two numbers. At the seal of transaction group N, the superblock of N gets the
//! place of the next batch: all before it is in N. Batches go on being written while N is, with operations of N and N + 1: a
//! power cut leaves the state before N and batches with all of N, or the state of N and batches of which those of N are passed
//! over. When N is on the device, the log before that place is free.
//!
//! The log is bounded, and what it cannot take is committed instead: operations of a transaction group with more than 1 MiB to
//! note, what could not be noted for a lack of memory, a batch that could not be written, one that is larger than what a
//! commit would write, one for which the region has no room. A commit follows a batch with which more than half of the region
//! is in use.
//!
//! Locks: whoever writes a batch is alone with that, but holds no lock of the log's; it takes the tree's. That of the commit is
//! never taken meanwhile.

mod end;
mod read;
mod redo;
mod replay;
#[cfg(test)]
mod tests;

pub(crate) use end::End;
pub(crate) use read::Reader;
pub(crate) use redo::Redo;
pub(crate) use replay::replay;

use crate::format::log::*;
use crate::format::superblock::INCOMPAT_INTENT_LOG;
use crate::format::DiskSuperblock;
use crate::format::Geometry;
use crate::mount::Fs;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::Ordering::SeqCst;
use redo::Batch;
use redo::Steal;
use vexfs_host::device::Write;
use vexfs_host::log;
use vexfs_host::mem::Vec;
use vexfs_host::monotonic;
use vexfs_host::nap;
use vexfs_host::shared;
use vexfs_host::sync::CondVar;
use vexfs_host::sync::Mutex;
use vexfs_host::Error;
use vexfs_host::Result;

/// Where the log lies.
#[derive(Clone, Copy)]
pub(crate) struct Region {
    /// Byte offset on the device.
    start: u64,
    /// Units; 0 if there is no log.
    pub(crate) units: u64,
}

impl Region {
    pub(crate) fn new(sb: &DiskSuperblock, geo: &Geometry) -> Region {
        let bytes = geo.byte(geo.log_blocks);
        Region {
            start: geo.byte(geo.log_start),
            units: match sb.incompat.get() & INCOMPAT_INTENT_LOG {
                0 => 0,
                _ => bytes / LOG_UNIT as u64,
            },
        }
    }

    /// Byte offset of unit `position`, and how many units there are from it to the end of the region.
    fn place(&self, position: u64) -> Option<(u64, u64)> {
        let at = position.checked_rem(self.units)?;
        Some((at * LOG_UNIT as u64 + self.start, self.units - at))
    }

    /// Divides `bytes` that lie at `position` where the region ends: how many are before the end, and the byte offsets of the
    /// two parts.
    fn split(&self, position: u64, bytes: usize) -> Result<(usize, u64, u64)> {
        let (offset, left) = self.place(position).ok_or(NO_LOG)?;
        let before = left.saturating_mul(LOG_UNIT as u64).min(bytes as u64);
        Ok((before as usize, offset, self.start))
    }
}

const NO_LOG: Error = Error::corrupt("intent log: no room for it", u64::MAX, 0);

/// The log of a mounted filesystem.
pub(crate) struct Log {
    pub(crate) region: Region,
    pub(crate) identity: LogIdentity,
    /// Where the log began at the mount.
    tail: u64,
    writer: Mutex<Writer>,
    /// A batch was written, or could not be.
    written: CondVar,
    /// How many wait for a batch, or write it.
    callers: AtomicU64,
    /// Number of the last operation, and of the last one that would survive a power cut. Both count from the mount.
    last: AtomicU64,
    durable: AtomicU64,
    /// Runs of blocks adopted without a checksum by the operations so far.
    adopted: AtomicU64,
    /// The state in memory has what the log held, but the device has not: the mount may not write.
    pub(crate) replayed: AtomicBool,
    batches: AtomicU64,
    ops: AtomicU64,
    bytes: AtomicU64,
    fallbacks: AtomicU64,
}

/// What the log's lock protects.
struct Writer {
    /// Somebody writes a batch, and has the rest.
    busy: bool,
    tools: Tools,
}

/// The longest time in nanoseconds that a batch waits for those who were there at the last one.
const GATHER_MAX: u64 = 2_000_000;

/// What whoever writes a batch needs.
#[derive(Default)]
struct Tools {
    /// How many waited when the last batch was written, and how long that took in nanoseconds.
    together: u64,
    took: u64,
    /// Memory for the next batch.
    spare: Vec<u8>,
    /// As many runs adopted without a checksum had their data flushed.
    flushed: u64,
}

/// What the log did since the mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogCounters {
    /// Batches written.
    pub batches: u64,
    /// Operations in them.
    pub ops: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Commits made because the log could not take what had to be synced.
    pub fallbacks: u64,
}

/// What became of an attempt to sync by the log.
enum Logged {
    /// All is durable.
    Done,
    /// Likewise, and it is time for a commit.
    HalfFull,
    /// Only a commit can do it.
    Refused,
}

impl Log {
    pub(crate) fn new(sb: &DiskSuperblock, geo: &Geometry) -> Result<Log> {
        let writer = Writer {
            busy: false,
            tools: Tools::default(),
        };
        Ok(Log {
            region: Region::new(sb, geo),
            identity: LogIdentity {
                uuid: sb.uuid,
                hash_key: sb.hash_key.map(|k| k.get()),
            },
            tail: sb.log_head.get(),
            writer: Mutex::new(writer)?,
            written: CondVar::new()?,
            callers: AtomicU64::new(0),
            last: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            adopted: AtomicU64::new(0),
            replayed: AtomicBool::new(false),
            batches: AtomicU64::new(0),
            ops: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            fallbacks: AtomicU64::new(0),
        })
    }

    /// Operation `lsn` happened; `adopted` runs were adopted without a checksum by now.
    pub(crate) fn happened(&self, lsn: u64, adopted: u64) {
        self.adopted.store(adopted, SeqCst);
        self.last.store(lsn, SeqCst);
    }

    /// Everything up to operation `lsn` is durable.
    pub(crate) fn settled(&self, lsn: u64) {
        self.durable.fetch_max(lsn, SeqCst);
    }

    fn is_durable(&self, lsn: u64) -> bool {
        self.durable.load(SeqCst) >= lsn
    }

    pub(crate) fn counters(&self) -> LogCounters {
        LogCounters {
            batches: self.batches.load(Relaxed),
            ops: self.ops.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            fallbacks: self.fallbacks.load(Relaxed),
        }
    }
}

impl Fs {
    /// Makes what was done in transaction groups up to `txg` before this call durable: by the log if it can take it, else by
    /// a commit. Concurrent callers share either.
    ///
    /// # Errors
    ///
    /// Those of [`Fs::commit`].
    pub fn sync_txg(&self, txg: u64) -> Result<()> {
        let _shared = shared();
        if self.committed.load(SeqCst) >= txg {
            return Ok(());
        }
        let _in_order = self.order.close();
        // Whatever the caller means happened before this.
        let end = self.log.last.load(SeqCst);
        let mut again = true;
        loop {
            let commits = self.commits.load(SeqCst);
            match self.sync_by_log(end)? {
                Logged::Done => return Ok(()),
                Logged::HalfFull => {
                    self.empty_log();
                    return Ok(());
                }
                Logged::Refused => {}
            }
            let mut state = self.commit.lock();
            // While this waited, a commit may have done it, or may have made what it takes for the log.
            if self.committed.load(SeqCst) >= txg {
                return Ok(());
            }
            if self.log.region.units > 0 && again && self.commits.load(SeqCst) != commits {
                again = false;
                continue;
            }
            self.log
                .fallbacks
                .fetch_add(u64::from(self.log.region.units > 0), Relaxed);
            return self.commit_locked(&mut state).map(|_| ());
        }
    }

    /// Writes what was noted since the last batch, unless that is durable up to operation `end` by then.
    fn sync_by_log(&self, end: u64) -> Result<Logged> {
        if self.log.region.units == 0 {
            return Ok(Logged::Refused);
        }
        if self.log.is_durable(end) {
            return Ok(Logged::Done);
        }
        self.log.callers.fetch_add(1, SeqCst);
        let done = self.sync_together(end);
        self.log.callers.fetch_sub(1, SeqCst);
        done
    }

    /// Waits for the batch that covers operation `end`, or writes one for everybody who waits.
    fn sync_together(&self, end: u64) -> Result<Logged> {
        let mut writer = self.log.writer.lock();
        loop {
            if self.log.is_durable(end) {
                return Ok(Logged::Done);
            }
            if !writer.busy {
                break;
            }
            writer = self.log.written.wait(writer);
        }
        writer.busy = true;
        let mut tools = core::mem::take(&mut writer.tools);
        drop(writer);
        self.gather(&tools);
        let begun = monotonic();
        let done = self.write_next(&mut tools);
        // Those it covers are still there, and those who came too late for it.
        tools.together = self.log.callers.load(SeqCst);
        tools.took = monotonic().saturating_sub(begun);
        let mut writer = self.log.writer.lock();
        (writer.busy, writer.tools) = (false, tools);
        self.log.written.notify_all();
        done
    }

    /// Waits a little for those who waited for the last batch, if they were several: tasks that sync again and again are about
    /// to come back, and one batch for all of them costs as much as one for the first. It takes as long as a batch takes at
    /// most, and next time only those who came count.
    fn gather(&self, tools: &Tools) {
        if tools.together < 2 {
            return;
        }
        let limit = tools.took.min(GATHER_MAX);
        let begun = monotonic();
        while self.log.callers.load(SeqCst) < tools.together && monotonic().saturating_sub(begun) < limit {
            nap();
        }
    }

    /// Writes what was noted since the last batch.
    fn write_next(&self, tools: &mut Tools) -> Result<Logged> {
        let stolen = {
            let mut tree = self.tree.write();
            // Who stops the filesystem because of what is in memory holds this lock: nothing of that is written after it.
            if let Some(e) = self.abort_reason() {
                return Err(e);
            }
            let nodes = tree.dirty.len().saturating_add(tree.writing.len()) as u64;
            let commit_bytes = nodes.saturating_mul(u64::from(self.store.geo.node_size));
            tree.redo.steal(&mut tools.spare, commit_bytes)
        };
        let mut batch = match stolen {
            Steal::Covered => return Ok(Logged::Done),
            Steal::Refused => return Ok(Logged::Refused),
            Steal::Batch(batch) => batch,
        };
        let written = self.write_batch(tools, &mut batch);
        let (bytes, half_full) = (batch.bytes.len() as u64, batch.half_full);
        batch.bytes.clear();
        tools.spare = batch.bytes;
        if let Err(e) = written {
            self.tree.write().redo.give_up();
            if let Some(e) = self.abort_reason() {
                return Err(e);
            }
            log!(warn, "the intent log could not be written: {}; committing instead", e);
            return Ok(Logged::Refused);
        }
        self.log.settled(batch.lsn);
        self.log.batches.fetch_add(1, Relaxed);
        self.log.ops.fetch_add(u64::from(batch.head.ops.get()), Relaxed);
        self.log.bytes.fetch_add(bytes, Relaxed);
        Ok(match half_full {
            true => Logged::HalfFull,
            false => Logged::Done,
        })
    }

    /// Writes `batch` durably, and makes durable first what it refers to.
    fn write_batch(&self, tools: &mut Tools, batch: &mut Batch) -> Result<()> {
        let dev = &self.store.dev;
        let adopted = self.log.adopted.load(SeqCst);
        // As in a commit: nobody can tell what a failed flush left out.
        let flush = || dev.flush().inspect_err(|e| self.abort(*e));
        let mut checked = batch.checked;
        if batch.adopted > tools.flushed {
            flush()?;
            tools.flushed = adopted;
            checked = false;
        }
        // Whoever stopped the filesystem meanwhile has been told that nothing more reaches the device.
        if let Some(e) = self.abort_reason() {
            return Err(e);
        }
        self.log.identity.seal(&mut batch.bytes, batch.used, &batch.head);
        let region = &self.log.region;
        let (before, offset, start) = region.split(batch.head.position.get(), batch.bytes.len())?;
        let (first, second) = batch.bytes.split_at_checked(before).ok_or(NO_LOG)?;
        if second.is_empty() && !checked {
            return dev.write_fua(offset, first);
        }
        let parts = [
            Write { offset, data: first },
            Write {
                offset: start,
                data: second,
            },
        ];
        let used = 1 + usize::from(!second.is_empty());
        dev.write_batch(parts.get(..used).unwrap_or(&parts))?;
        flush()?;
        tools.flushed = adopted;
        Ok(())
    }

    /// Commits, so that the log has room again. Who called has what it wanted: it neither waits for a commit under way nor
    /// learns of an error, which the next one meets again.
    fn empty_log(&self) {
        if let Some(mut state) = self.commit.try_lock() {
            if self.tree.read().redo.is_half_full() {
                let _ = self.commit_locked(&mut state);
            }
        }
    }
}
