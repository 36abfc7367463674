// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! A block device that records its writes and flushes, for crash tests.
//!
//! The recorded stream can be replayed onto a copy of the starting contents up to any point, with any subset of the
//! writes after the last flush: exactly what a disk with a volatile cache may hold after a power cut. The device can
//! also be told to fail a future operation.

use crate::device::Backend;
use crate::device::RamBackend;
use crate::Error;
use crate::IoError;
use crate::Result;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::sync::Mutex;
use std::vec::Vec;

/// One thing the device was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Data for a place; volatile until a flush unless `fua`.
    Write {
        /// Byte offset.
        offset: u64,
        /// The data.
        data: Vec<u8>,
        /// Whether the write itself was durable when it returned.
        fua: bool,
    },
    /// All earlier writes became durable.
    Flush,
    /// A mark that the test left.
    Mark(u64),
}

/// A recording block device in memory.
pub struct RecordingBackend {
    start: RamBackend,
    now: RamBackend,
    events: Mutex<Vec<Event>>,
    countdown: AtomicU64,
}

impl RecordingBackend {
    /// A device of `len` zero bytes.
    pub fn new(len: u64) -> Self {
        Self::from_ram(RamBackend::new(len))
    }

    /// A device that starts with the contents of `start`.
    pub fn from_ram(start: RamBackend) -> Self {
        RecordingBackend {
            now: start.duplicate(),
            start,
            events: Mutex::new(Vec::new()),
            countdown: AtomicU64::new(u64::MAX),
        }
    }

    /// The contents before the first recorded event.
    pub fn start(&self) -> &RamBackend {
        &self.start
    }

    /// The current contents, as the running system sees them.
    pub fn contents(&self) -> RamBackend {
        self.now.duplicate()
    }

    /// A copy of what was recorded so far.
    pub fn events(&self) -> Vec<Event> {
        self.lock().clone()
    }

    /// The number of events recorded so far.
    pub fn position(&self) -> usize {
        self.lock().len()
    }

    /// Leaves a mark in the stream.
    pub fn mark(&self, mark: u64) {
        self.lock().push(Event::Mark(mark));
    }

    /// Lets `n` more operations (reads, writes, flushes) succeed and fails the one after, and every later one.
    pub fn fail_after(&self, n: u64) {
        self.countdown.store(n, Ordering::SeqCst);
    }

    /// Stops failing.
    pub fn heal(&self) {
        self.countdown.store(u64::MAX, Ordering::SeqCst);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Event>> {
        self.events.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn step(&self, op: &'static str, offset: u64) -> Result<()> {
        let left = self
            .countdown
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| match n {
                u64::MAX | 0 => None,
                n => Some(n - 1),
            });
        match left {
            Err(0) => Err(Error::Io(IoError { op, offset, errno: 5 })),
            _ => Ok(()),
        }
    }

    fn record(&self, offset: u64, data: &[u8], fua: bool) -> Result<()> {
        self.step("write", offset)?;
        let mut events = self.lock();
        self.now.store(offset, data);
        events.push(Event::Write {
            offset,
            data: data.to_vec(),
            fua,
        });
        Ok(())
    }
}

impl Backend for RecordingBackend {
    fn len(&self) -> u64 {
        self.now.len()
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.step("read", offset)?;
        self.now.read(offset, buf)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.record(offset, data, false)
    }

    fn flush(&self) -> Result<()> {
        self.step("flush", 0)?;
        self.lock().push(Event::Flush);
        Ok(())
    }

    fn write_fua(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.record(offset, data, true)
    }
}
