// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Doing again, in memory, what the log holds beyond the state on the device.
//!
//! The log is read several times. First its end is found ([`End`]); then all blocks that its operations adopted are
//! taken from the allocator, so that no node of the replay lands on data; then the operations are done, each as one
//! transaction like the first time. Nothing is written: a power cut finds the log as it was.
//!
//! If a batch has the right checksum but impossible contents, the mount fails. Either it was written like this, or
//! somebody has forged it: in both cases nobody can know what was promised.

use super::end::End;
use super::read::Reader;
use crate::format::log::*;
use crate::fs::Fs;
use crate::space::Run;
use core::sync::atomic::Ordering::SeqCst;
use vexfs_host::log;
use vexfs_host::relax;
use vexfs_host::Error;
use vexfs_host::Result;

/// What the log holds beyond the state on the device.
#[derive(Default)]
struct LogContents {
    ops: u64,
    last_txg: u64,
}

/// Brings the tree to the state that the log promises, and lets the log go on from there. Returns whether there was
/// anything to do, which has to become part of the state on the device before anything is written.
///
/// # Errors
///
/// `Corrupt` if the log is impossible; `Io`, `NoMemory`, `NoSpace`, `Interrupted`. The filesystem cannot be used then.
pub(crate) fn replay(fs: &Fs) -> Result<bool> {
    let (region, tail) = (fs.log.region, fs.log.tail);
    if region.units == 0 {
        return Ok(false);
    }
    let base = fs.committed_txg();
    let end = End::find(fs.dev(), fs.geometry(), region, fs.log.identity, tail, base)?;
    let found = prepare(fs, &end, tail, base)?;
    if found.ops > 0 {
        fs.tree.write().txg = found.last_txg;
        let mut done = 0u64;
        let mut reader = Reader::new(fs.dev(), region, fs.log.identity, tail).until(end.position);
        while let Some((_, mut ops)) = reader.next()? {
            while let Some((op, entries)) = ops.next()? {
                if op.txg.get() > base {
                    apply(fs, &op, entries)?;
                    done = done.saturating_add(1);
                }
                relax()?;
            }
        }
        if done != found.ops || reader.position() != end.position {
            return Err(Error::corrupt("intent log: changed while it was read", u64::MAX, 0));
        }
        log!(info, "{} operations of the intent log were done again", done);
    }
    if end.torn > 0 {
        log!(
            info,
            "the end of the intent log is left out: its data was not written, and nobody was told that it was"
        );
    }
    let mut tree = fs.tree.write();
    let txg = tree.txg;
    // What is left out is passed over for good: its data may come to be there later.
    let head = end.position.saturating_add(end.torn);
    tree.redo.start(region.units, base, txg, tail, head);
    Ok(found.ops > 0 || end.torn > 0)
}

/// Reads all of the log and takes the blocks that it adopts from the allocator.
fn prepare(fs: &Fs, end: &End, tail: u64, base: u64) -> Result<LogContents> {
    let mut found = LogContents::default();
    let mut last = 0;
    let mut reader = Reader::new(fs.dev(), fs.log.region, fs.log.identity, tail).until(end.position);
    while let Some((head, mut ops)) = reader.next()? {
        while let Some((op, mut entries)) = ops.next()? {
            let txg = op.txg.get();
            if txg < last || txg > base.saturating_add(LOG_GROUPS) || txg > head.last_txg.get() {
                return Err(Error::corrupt(
                    "intent log: operation of an impossible time",
                    u64::MAX,
                    txg,
                ));
            }
            last = txg;
            let wanted = txg > base;
            found.ops += u64::from(wanted);
            while let Some(entry) = entries.next()? {
                match entry {
                    LogEntry::Adopt(block, len, _) if wanted => fs.on_space(|space| space.claim(Run { block, len }))?,
                    _ => {}
                }
            }
            relax()?;
        }
    }
    found.last_txg = last;
    Ok(found)
}

/// Does one operation again.
fn apply(fs: &Fs, op: &DiskLogOp, entries: LogEntries<'_>) -> Result<()> {
    let mut count = 0usize;
    let mut rest = entries;
    while rest.next()?.is_some() {
        count = count.saturating_add(1);
    }
    let mut tx = fs.begin_replay(count)?;
    let mut rest = entries;
    while let Some(entry) = rest.next()? {
        match entry {
            LogEntry::Put(key, data) => tx.put(&key, data)?,
            LogEntry::Remove(key) => match tx.remove(&key) {
                Err(Error::NotFound) => {
                    return Err(Error::corrupt(
                        "intent log: an item to remove is not there",
                        u64::MAX,
                        key.obj,
                    ));
                }
                done => done?,
            },
            LogEntry::Adopt(block, len, _) => tx.adopt_extent(block, len, None)?,
            LogEntry::Free(block, len) => tx.free_extent(block, len, 0)?,
        }
    }
    tx.set_counts(op.next_ino.get(), op.inode_count.get(), count as u64)?;
    tx.commit();
    match fs.abort_reason() {
        Some(e) => Err(e),
        None => Ok(()),
    }
}

impl Fs {
    /// Makes what the log held part of the state on the device, unless it is already.
    pub(crate) fn settle_replay(&self) -> Result<()> {
        if !self.log.replayed.load(SeqCst) {
            return Ok(());
        }
        self.tree.write().changed = true;
        // If that fails, the filesystem stays one that is only read: it must not be written by a sync.
        self.commit().inspect_err(|_| self.tree.write().changed = false)?;
        self.log.replayed.store(false, SeqCst);
        Ok(())
    }
}
