// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Reading parts of a section that stays on disk.

use super::file::File;
use super::format::SectionExtent;
use crate::index::ReadAt;
use vexfs_core::file::ReadAt as Read;
use vexfs_host::mem::Vec;
use vexfs_host::Error;
use vexfs_host::Result;

/// A section of a segment file in use. What is read of it has checksums of its own.
pub(crate) struct Reader {
    file: File,
    offset: u64,
    len: u64,
}

impl Reader {
    /// Keeps the file in use.
    pub(super) fn new(file: &File, place: &SectionExtent) -> Result<Self> {
        Ok(Self {
            file: File::new(file.context(), file.ino())?,
            offset: place.offset,
            len: place.len,
        })
    }
}

impl ReadAt for Reader {
    fn read_many(&self, reads: &mut [Read<'_>]) -> Result {
        let fs = &self.file.context().fs;
        let mut of_file = Vec::with_capacity(reads.len())?;
        for read in reads {
            let end = read.offset.checked_add(read.data.len() as u64).ok_or(Error::Overflow)?;
            if end > self.len {
                return Err(self.file.damaged("section of a segment is too short"));
            }
            of_file.push(Read {
                offset: self.offset.checked_add(read.offset).ok_or(Error::Overflow)?,
                data: &mut *read.data,
            })?;
        }
        // Sections begin at pages; a filesystem with larger blocks reads one after the other.
        let block = u64::from(fs.block_size());
        let blocks = |bytes: u64| bytes.checked_rem(block) == Some(0);
        let whole = |read: &Read<'_>| blocks(read.offset) && blocks(read.data.len() as u64);
        if of_file.iter().all(whole) {
            return fs.read_batch(self.file.ino(), &mut of_file);
        }
        for read in of_file {
            if fs.read(self.file.ino(), read.offset, read.data)? != read.data.len() {
                return Err(self.file.damaged("segment cut short"));
            }
        }
        Ok(())
    }
}
