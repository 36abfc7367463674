// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The intent log: what makes fsync cheap.
//!
//! A commit writes every changed node. What fsync promises takes less: each operation notes what it does to items and
//! to blocks of data ([`redo`]), and [`Fs::sync_txg`](crate::Fs::sync_txg) writes what was noted since the last time as
//! one batch, behind the batches before it. A mount does again what the log holds beyond the state on the device
//! ([`replay`]). The next commit makes all of it part of that state; the log is never needed for consistency.
//!
//! The log holds the operations of the whole filesystem in the order in which they happened, not only those of the file
//! that is synced. So a power cut always leaves a state that the filesystem was in, and nobody has to know which
//! operation depends on which other one. Whoever syncs writes a batch for all. Those who wait for the log meanwhile
//! find that the batch covers them, or one of them writes the next batch for all who waited.
//!
//! A batch is written with FUA. If it speaks of data written since the last flush, that has to be durable, too, and a
//! batch that reached the medium before such data must not show what was in those blocks before. Small runs of blocks
//! have a checksum in the batch: one flush behind the batch makes both durable, and a mount leaves a last batch out
//! whose data is not there, as one that is torn: no flush followed it, so nobody was told that it is durable. A batch
//! that another one follows had its flush. Where a run has no checksum, because it is large or because the memory it is
//! written from may change meanwhile, the device is flushed before the batch.
//!
//! A commit and the log share only two numbers. When transaction group N is sealed, its superblock gets the place of
//! the next batch: everything in the log before that place is part of N. While N is being written, batches go on being
//! written, with operations of N and N + 1. A power cut then leaves one of two things: the state before N, and batches
//! with all of N; or the state of N, and a mount passes over the operations of N in the batches. When N is on the
//! device, the log before that place is free.
//!
//! The log is bounded, and what it cannot take is committed instead: operations of a transaction group with more than 1
//! MiB to note, what could not be noted for a lack of memory, a batch that could not be written, one that is larger
//! than what a commit would write, one for which the region has no room. A commit follows a batch with which more than
//! half of the region is in use.
//!
//! Locks: one task at a time writes a batch. It holds no lock of the log meanwhile; it takes the tree's lock for a
//! moment, and never that of the commit.

pub(crate) mod end;
pub(crate) mod read;
pub(crate) mod redo;
pub(crate) mod region;
pub(crate) mod replay;
mod sync;
#[cfg(test)]
mod tests;

use crate::format::log::LogIdentity;
use crate::format::DiskSuperblock;
use crate::format::Geometry;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::Ordering::SeqCst;
use region::Region;
use vexfs_host::mem::Vec;
use vexfs_host::sync::CondVar;
use vexfs_host::sync::Mutex;
use vexfs_host::Result;

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
