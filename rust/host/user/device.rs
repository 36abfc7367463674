// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The userspace block device: a cheap handle on any [`Backend`].

use crate::device::Read;
use crate::device::Write;
use crate::Error;
use crate::IoError;
use crate::Result;
use std::sync::Arc;

/// What a userspace block device is made of. Offsets and lengths are in bytes and multiples of the logical block size.
pub trait Backend: Send + Sync {
    /// Size in bytes.
    fn len(&self) -> u64;

    /// Whether it has no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The unit of reads and writes, a power of two.
    fn logical_block_size(&self) -> u32 {
        512
    }

    /// Whether writes are refused.
    fn is_read_only(&self) -> bool {
        false
    }

    /// Fills `buf` from byte `offset`.
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()>;

    /// Reads several places, in any order; returns when all are read.
    fn read_batch(&self, reads: &mut [Read<'_>]) -> Result<()> {
        reads.iter_mut().try_for_each(|r| self.read(r.offset, r.data))
    }

    /// Writes `data` at byte `offset`. It may stay in a volatile cache until the next flush.
    fn write(&self, offset: u64, data: &[u8]) -> Result<()>;

    /// Writes several places, in any order; returns when all are written.
    fn write_batch(&self, writes: &[Write<'_>]) -> Result<()> {
        writes.iter().try_for_each(|w| self.write(w.offset, w.data))
    }

    /// Makes everything written so far durable.
    fn flush(&self) -> Result<()>;

    /// Writes `data` at byte `offset` durably; says nothing about earlier writes.
    fn write_fua(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.write(offset, data)?;
        self.flush()
    }

    /// Tells the device that a range holds nothing of interest. Reading it afterwards may return anything.
    fn discard(&self, _offset: u64, _len: u64) -> Result<()> {
        Ok(())
    }
}

/// A block device.
#[derive(Clone)]
pub struct Device(Arc<dyn Backend>);

impl Device {
    /// A device over `backend`.
    pub fn from_backend(backend: Arc<dyn Backend>) -> Self {
        Device(backend)
    }

    /// Size in bytes.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> u64 {
        self.0.len()
    }

    /// The unit of reads and writes in bytes.
    pub fn logical_block_size(&self) -> u32 {
        self.0.logical_block_size()
    }

    /// Whether writes are refused.
    pub fn is_read_only(&self) -> bool {
        self.0.is_read_only()
    }

    fn check(&self, op: &'static str, offset: u64, len: u64) -> Result<()> {
        let unit = u64::from(self.logical_block_size());
        let aligned = offset % unit == 0 && len % unit == 0;
        match offset.checked_add(len) {
            Some(end) if aligned && end <= self.len() => Ok(()),
            _ => Err(Error::Io(IoError { op, offset, errno: 22 })),
        }
    }

    fn check_write(&self, offset: u64, len: usize) -> Result<()> {
        if self.is_read_only() {
            return Err(Error::ReadOnly);
        }
        self.check("write", offset, len as u64)
    }

    /// Fills `buf` from byte `offset`.
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.check("read", offset, buf.len() as u64)?;
        self.0.read(offset, buf)
    }

    /// Submits all `reads` together and waits for the last.
    pub fn read_batch(&self, reads: &mut [Read<'_>]) -> Result<()> {
        for r in reads.iter() {
            self.check("read", r.offset, r.data.len() as u64)?;
        }
        self.0.read_batch(reads)
    }

    /// Writes `data` at byte `offset`.
    pub fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.check_write(offset, data.len())?;
        self.0.write(offset, data)
    }

    /// Submits all `writes` together and waits for the last; their order is not defined.
    pub fn write_batch(&self, writes: &[Write<'_>]) -> Result<()> {
        for w in writes {
            self.check_write(w.offset, w.data.len())?;
        }
        self.0.write_batch(writes)
    }

    /// The same, for writes that are not in one list.
    pub fn write_all<'a>(&self, writes: &mut dyn Iterator<Item = Write<'a>>) -> Result<()> {
        let list: std::vec::Vec<Write<'a>> = writes.collect();
        self.write_batch(&list)
    }

    /// Makes everything written so far durable.
    pub fn flush(&self) -> Result<()> {
        if self.is_read_only() {
            return Ok(());
        }
        self.0.flush()
    }

    /// Writes `data` at byte `offset` durably; says nothing about earlier writes.
    pub fn write_fua(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.check_write(offset, data.len())?;
        self.0.write_fua(offset, data)
    }

    /// Tells the device that `len` bytes from `offset` hold nothing of interest.
    pub fn discard(&self, offset: u64, len: u64) -> Result<()> {
        if self.is_read_only() {
            return Err(Error::ReadOnly);
        }
        self.check("discard", offset, len)?;
        self.0.discard(offset, len)
    }
}
