// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! A block device in memory, sparse: pages that were never written read as zeros and take no memory.

use crate::device::Backend;
use crate::Result;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::RwLock;

const PAGE: u64 = 4096;

/// A block device in memory.
pub struct RamBackend {
    len: u64,
    pages: RwLock<HashMap<u64, Arc<[u8; PAGE as usize]>>>,
}

impl RamBackend {
    /// A device of `len` bytes, all zero.
    pub fn new(len: u64) -> Self {
        RamBackend {
            len,
            pages: RwLock::new(HashMap::new()),
        }
    }

    /// A device that holds `image`.
    pub fn from_image(image: &[u8]) -> Self {
        let ram = Self::new(image.len() as u64);
        ram.store(0, image);
        ram
    }

    /// A device with the same contents, independent of this one. Pages are shared until one of the two writes them.
    pub fn duplicate(&self) -> Self {
        RamBackend {
            len: self.len,
            pages: RwLock::new(self.pages.read().unwrap_or_else(|e| e.into_inner()).clone()),
        }
    }

    /// Writes `data` at byte `offset` of the memory.
    pub fn store(&self, offset: u64, data: &[u8]) {
        let mut pages = self.pages.write().unwrap_or_else(|e| e.into_inner());
        let mut done = 0;
        while done < data.len() {
            let at = offset + done as u64;
            let within = (at % PAGE) as usize;
            let n = (PAGE as usize - within).min(data.len() - done);
            let page = pages.entry(at / PAGE).or_insert_with(|| Arc::new([0; PAGE as usize]));
            Arc::make_mut(page)[within..within + n].copy_from_slice(&data[done..done + n]);
            done += n;
        }
    }

    /// Reads from byte `offset` of the memory.
    pub fn load(&self, offset: u64, buf: &mut [u8]) {
        let pages = self.pages.read().unwrap_or_else(|e| e.into_inner());
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let within = (at % PAGE) as usize;
            let n = (PAGE as usize - within).min(buf.len() - done);
            let part = &mut buf[done..done + n];
            match pages.get(&(at / PAGE)) {
                Some(page) => part.copy_from_slice(&page[within..within + n]),
                None => part.fill(0),
            }
            done += n;
        }
    }
}

impl Backend for RamBackend {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.load(offset, buf);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.store(offset, data);
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        let mut pages = self.pages.write().unwrap_or_else(|e| e.into_inner());
        let gone = offset.div_ceil(PAGE)..(offset + len) / PAGE;
        pages.retain(|page, _| !gone.contains(page));
        Ok(())
    }
}
