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
//! Two batches may be on their way at once: tasks whose batch has just become durable work towards the next one while the
//! device is busy with that of others, and its flush begins when theirs ends. A batch is durable, and its callers are told so,
//! when the one before it is, too. If one cannot be written, the one behind it does not count either.
//!
//! A batch is written with FUA. If it speaks of data written since the last flush, that has to be durable, too, and a batch that
//! reached the medium before such data must not show what was in those blocks before. Small runs of blocks have a checksum in
//! the batch: one flush behind the batch makes both durable, and a mount leaves out a batch whose data is not there, with what
//! follows it, as one that is torn: nobody was told that it is durable. That can be one of the last two only, since a batch is
//! taken when the last but one before it is durable. Where a run has no checksum, because it is large or because the memory it
//! is written from may change meanwhile, the device is flushed before the batch.
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
//! Locks: one task at a time takes what was noted, but none holds the log's lock while it does that or writes; it takes the
//! tree's. That of the commit is never taken meanwhile.

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
use vexfs_host::device::Device;
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

    /// Reads what lies at `position`, in two parts where the region ends.
    fn read(&self, dev: &Device, position: u64, buf: &mut [u8]) -> Result<()> {
        let (before, offset, start) = self.split(position, buf.len())?;
        let (first, second) = buf.split_at_mut_checked(before).ok_or(NO_LOG)?;
        dev.read(offset, first)?;
        match second {
            [] => Ok(()),
            second => dev.read(start, second),
        }
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
    /// A batch was written, or could not be, or the next one may be taken.
    written: CondVar,
    /// How many are in a sync, and how many of them came since a batch was taken last.
    callers: AtomicU64,
    waiting: AtomicU64,
    /// Number of the last operation, and of the last one that would survive a power cut. Both count from the mount.
    last: AtomicU64,
    durable: AtomicU64,
    /// Runs of blocks adopted without a checksum by the operations so far.
    adopted: AtomicU64,
    /// As many of them had their data flushed.
    flushed: AtomicU64,
    /// The state in memory has what the log held, but the device has not: the mount may not write.
    pub(crate) replayed: AtomicBool,
    batches: AtomicU64,
    ops: AtomicU64,
    bytes: AtomicU64,
    fallbacks: AtomicU64,
}

/// Batches on their way at once.
const AT_ONCE: u64 = 2;

/// What the log's lock protects.
#[derive(Default)]
struct Writer {
    /// Somebody is about to take what was noted.
    busy: bool,
    /// Batches taken since the mount, and how many of them, in their order, are durable or were given up.
    taken: u64,
    done: u64,
    /// The last one of those was given up.
    failed: bool,
    /// Where the last batch taken lies, and its last operation.
    place: u64,
    covered: u64,
    /// How many were in a sync when the last batch was done, and how long writing it took in nanoseconds.
    together: u64,
    took: u64,
    /// Memory for next batches.
    spares: [Vec<u8>; AT_ONCE as usize],
}

impl Writer {
    /// Whether a batch can be taken now.
    fn is_free(&self) -> bool {
        !self.busy && self.in_flight() < AT_ONCE
    }

    fn in_flight(&self) -> u64 {
        self.taken.saturating_sub(self.done)
    }

    /// The larger of the spares.
    fn take_spare(&mut self) -> Vec<u8> {
        let [a, b] = &mut self.spares;
        core::mem::take(if b.capacity() > a.capacity() { b } else { a })
    }

    /// Keeps the memory of a batch, if there is none that is larger.
    fn keep_spare(&mut self, mut spare: Vec<u8>) {
        spare.clear();
        let [a, b] = &mut self.spares;
        let place = if b.capacity() < a.capacity() { b } else { a };
        if spare.capacity() > place.capacity() {
            *place = spare;
        }
    }
}

/// The longest time in nanoseconds that a batch waits for others.
const GATHER_MAX: u64 = 1_000_000;

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
        Ok(Log {
            region: Region::new(sb, geo),
            identity: LogIdentity {
                uuid: sb.uuid,
                hash_key: sb.hash_key.map(|k| k.get()),
            },
            tail: sb.log_head.get(),
            writer: Mutex::new(Writer::default())?,
            written: CondVar::new()?,
            callers: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            last: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            adopted: AtomicU64::new(0),
            flushed: AtomicU64::new(0),
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
        let log = &self.log;
        let mut writer = log.writer.lock();
        let mut counted = false;
        loop {
            if log.is_durable(end) {
                return Ok(Logged::Done);
            }
            let covered = end <= writer.covered;
            if !covered && !counted {
                log.waiting.fetch_add(1, SeqCst);
                counted = true;
            }
            if !covered && writer.is_free() {
                break;
            }
            writer = log.written.wait(writer);
        }
        writer.busy = true;
        let before = (writer.in_flight() > 0).then_some(writer.place);
        let (together, took) = (writer.together, writer.took);
        let mut spare = writer.take_spare();
        drop(writer);
        self.gather(together, took);
        // Who comes from here on may be too late for it.
        let waited = log.waiting.swap(0, SeqCst);
        let taken = self.take(&mut spare, before);
        let mut writer = log.writer.lock();
        writer.busy = false;
        let batch = match taken {
            Ok(Steal::Batch(batch)) => batch,
            none => {
                writer.keep_spare(spare);
                log.waiting.fetch_add(waited.saturating_sub(1), SeqCst);
                log.written.notify_all();
                return none.map(|none| match none {
                    Steal::Refused => Logged::Refused,
                    _ => Logged::Done,
                });
            }
        };
        writer.taken = writer.taken.saturating_add(1);
        let number = writer.taken;
        (writer.place, writer.covered) = (batch.head.position.get(), batch.lsn);
        if log.waiting.load(SeqCst) > 0 {
            log.written.notify_all();
        }
        drop(writer);
        self.write_taken(batch, number, before.is_some())
    }

    /// Waits a little for others, if several wait for batches: tasks that sync again and again are about to come back, and one
    /// batch for many of them costs as much as one for the first. It waits for half of those who were there when the last
    /// batch was done, who come back while the batch of the other half is written, and for half of the time that a batch takes
    /// at most; next time only those who came count.
    fn gather(&self, together: u64, took: u64) {
        let wanted = together.div_ceil(2);
        let limit = (took / 2).min(GATHER_MAX);
        let begun = monotonic();
        while self.log.waiting.load(SeqCst) < wanted && monotonic().saturating_sub(begun) < limit {
            nap();
        }
    }

    /// Takes what was noted since the last batch. `before` is the place of one that is on its way.
    fn take(&self, spare: &mut Vec<u8>, before: Option<u64>) -> Result<Steal> {
        let mut tree = self.tree.write();
        // Who stops the filesystem because of what is in memory holds this lock: nothing of that is written after it.
        if let Some(e) = self.abort_reason() {
            return Err(e);
        }
        let nodes = tree.dirty.len().saturating_add(tree.writing.len()) as u64;
        let commit_bytes = nodes.saturating_mul(u64::from(self.store.geo.node_size));
        Ok(tree.redo.steal(spare, commit_bytes, before))
    }

    /// Writes the batch that was taken as the one with this number, while the one before it may be on its way (`follows`).
    fn write_taken(&self, mut batch: Batch, number: u64, follows: bool) -> Result<Logged> {
        let log = &self.log;
        let last = batch.head.last_txg.get();
        let lose = || self.tree.write().redo.lose(last);
        let begun = monotonic();
        let written = self.write_batch(&mut batch);
        let took = monotonic().saturating_sub(begun);
        if written.is_err() {
            lose();
        }
        let mut failed = written.is_err();
        let mut writer = log.writer.lock();
        while writer.done.saturating_add(1) < number {
            writer = log.written.wait(writer);
        }
        if !failed && follows && writer.failed {
            // Whoever reads the log does not come to this one.
            drop(writer);
            lose();
            failed = true;
            writer = log.writer.lock();
        }
        if failed {
            // Whoever relied on it has to find another way.
            writer.covered = log.durable.load(SeqCst);
        } else {
            log.settled(batch.lsn);
            log.batches.fetch_add(1, Relaxed);
            log.ops.fetch_add(u64::from(batch.head.ops.get()), Relaxed);
            log.bytes.fetch_add(batch.bytes.len() as u64, Relaxed);
        }
        (writer.done, writer.failed) = (number, failed);
        // Those it covers are still there.
        (writer.together, writer.took) = (log.callers.load(SeqCst), took);
        writer.keep_spare(batch.bytes);
        log.written.notify_all();
        drop(writer);
        if failed {
            if let Some(e) = self.abort_reason() {
                return Err(e);
            }
            if let Err(e) = written {
                log!(warn, "the intent log could not be written: {}; committing instead", e);
            }
            return Ok(Logged::Refused);
        }
        Ok(match batch.half_full {
            true => Logged::HalfFull,
            false => Logged::Done,
        })
    }

    /// Writes `batch` durably, and makes durable first what it refers to.
    fn write_batch(&self, batch: &mut Batch) -> Result<()> {
        let (log, dev) = (&self.log, &self.store.dev);
        // As in a commit: nobody can tell what a failed flush left out.
        let flush = || {
            let adopted = log.adopted.load(SeqCst);
            dev.flush().inspect_err(|e| self.abort(*e))?;
            log.flushed.fetch_max(adopted, SeqCst);
            Ok(())
        };
        let mut checked = batch.checked;
        if batch.adopted > log.flushed.load(SeqCst) {
            flush()?;
            checked = false;
        }
        // Whoever stopped the filesystem meanwhile has been told that nothing more reaches the device.
        if let Some(e) = self.abort_reason() {
            return Err(e);
        }
        log.identity.seal(&mut batch.bytes, batch.used, &batch.head);
        let region = &log.region;
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
        flush()
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
