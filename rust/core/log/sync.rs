// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Writing the log: what fsync does.

use super::redo::Batch;
use super::redo::Steal;
use super::region::NO_LOG;
use super::Tools;
use crate::fs::Fs;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::Ordering::SeqCst;
use vexfs_host::device::Write;
use vexfs_host::log;
use vexfs_host::monotonic;
use vexfs_host::nap;
use vexfs_host::shared;
use vexfs_host::Result;

/// The longest time in nanoseconds that a batch waits for those who were there at the last one.
const GATHER_MAX: u64 = 2_000_000;

/// What became of an attempt to sync by the log.
enum Logged {
    /// All is durable.
    Done,
    /// Likewise, and it is time for a commit.
    HalfFull,
    /// Only a commit can do it.
    Refused,
}

impl Fs {
    /// Makes what was done in transaction groups up to `txg` before this call durable: by the log if it can take it,
    /// else by a commit. Concurrent callers share either.
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
        // Those whom the batch covers still count, and so do those who came too late for it.
        tools.together = self.log.callers.load(SeqCst);
        tools.took = monotonic().saturating_sub(begun);
        let mut writer = self.log.writer.lock();
        (writer.busy, writer.tools) = (false, tools);
        self.log.written.notify_all();
        done
    }

    /// Waits a little for those who waited for the last batch, if they were several: tasks that sync again and again
    /// are about to come back, and one batch for all of them costs as much as one for the first. It takes as long as a
    /// batch takes at most, and next time only those who came count.
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
            // Whoever stops the filesystem because of what is in memory holds this lock: none of that is written
            // afterwards.
            if let Some(e) = self.abort_reason() {
                return Err(e);
            }
            let nodes = tree.dirty.len().saturating_add(tree.writing.len()) as u64;
            let commit_bytes = nodes.saturating_mul(u64::from(self.io().geo.node_size));
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
        let dev = &self.io().dev;
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

    /// Commits, so that the log has room again. What the caller asked for is durable already. So it does not wait for a
    /// commit that is under way, and it is not told of an error, which the next commit meets again.
    fn empty_log(&self) {
        if let Some(mut state) = self.commit.try_lock() {
            if self.tree.read().redo.is_half_full() {
                let _ = self.commit_locked(&mut state);
            }
        }
    }
}
