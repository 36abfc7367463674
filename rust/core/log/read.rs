// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Reading the log from a device, batch by batch.

use super::End;
use super::Region;
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

    /// The same, for what lies before `end`.
    pub(crate) fn until(self, end: &End) -> Reader<'a> {
        Reader {
            end: end.position,
            ..self
        }
    }

    /// Where the next batch is, or would be.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The next batch and its operations; `None` at the end of the log, which is where no whole batch of this filesystem with
    /// the right position lies: a power cut may have torn the last one.
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
        self.region.read(self.dev, self.position, &mut self.buf)?;
        let Some(head) = self.identity.header(&self.buf, self.position) else {
            return Ok(None);
        };
        let units = (head.bytes() / LOG_UNIT) as u64;
        if units > self.left {
            return Ok(None);
        }
        self.buf.resize(head.bytes(), 0)?;
        self.region.read(self.dev, self.position, &mut self.buf)?;
        if !self.identity.is_whole(&head, &self.buf) {
            return Ok(None);
        }
        self.left -= units;
        self.position = self.position.saturating_add(units);
        Ok(Some((head, LogOps::new(&head, &self.buf))))
    }
}
