// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Reading the log from a device, batch by batch.

use super::region::Region;
use super::region::NO_LOG;
use crate::format::log::*;
use vexfs_host::device::Device;
use vexfs_host::mem::Vec;
use vexfs_host::Result;

/// Reads batches from a position on.
pub(crate) struct Reader<'a> {
    dev: &'a Device,
    region: Region,
    identity: LogIdentity,
    position: u64,
    /// No batch from here on is read.
    end: u64,
    /// Units that may still hold batches: the region's less those that were read.
    left: u64,
    buf: Vec<u8>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(dev: &'a Device, region: Region, identity: LogIdentity, position: u64) -> Reader<'a> {
        Reader {
            dev,
            region,
            identity,
            position,
            end: u64::MAX,
            left: region.units,
            buf: Vec::new(),
        }
    }

    /// The same, for what lies before position `end`.
    pub(crate) fn until(self, end: u64) -> Reader<'a> {
        Reader { end, ..self }
    }

    /// Where the next batch is, or would be.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The next batch and its operations; `None` at the end of the log, which is where no whole batch of this
    /// filesystem with the right position lies: a power cut may have torn the last one.
    ///
    /// # Errors
    ///
    /// `Io`: what cannot be read may be a batch. `NoMemory`.
    pub(crate) fn next(&mut self) -> Result<Option<(DiskLogBatch, LogOps<'_>)>> {
        if self.left == 0 || self.position >= self.end {
            return Ok(None);
        }
        self.buf.clear();
        self.buf.resize(LOG_UNIT, 0)?;
        let (_, offset, _) = self.region.split(self.position, LOG_UNIT)?;
        self.dev.read(offset, &mut self.buf)?;
        let Some(head) = self.identity.header(&self.buf, self.position) else {
            return Ok(None);
        };
        let units = (head.bytes() / LOG_UNIT) as u64;
        if units > self.left {
            return Ok(None);
        }
        self.buf.resize(head.bytes(), 0)?;
        let (before, offset, start) = self.region.split(self.position, head.bytes())?;
        let (first, second) = self.buf.split_at_mut_checked(before).ok_or(NO_LOG)?;
        self.dev.read(offset, first)?;
        if !second.is_empty() {
            self.dev.read(start, second)?;
        }
        if !self.identity.is_whole(&head, &self.buf) {
            return Ok(None);
        }
        self.left -= units;
        self.position = self.position.saturating_add(units);
        Ok(Some((head, LogOps::new(&head, &self.buf))))
    }
}
