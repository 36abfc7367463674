// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! A block device over a regular file or a real block device.

use crate::device::Backend;
use crate::device::Read;
use crate::Error;
use crate::IoError;
use crate::Result;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Seek;
use std::io::SeekFrom;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A block device over a file.
pub struct FileBackend {
    file: File,
    len: u64,
    read_only: bool,
}

fn io_error(op: &'static str, offset: u64) -> impl Fn(io::Error) -> Error {
    move |e| {
        Error::Io(IoError {
            op,
            offset,
            errno: e.raw_os_error().unwrap_or(5),
        })
    }
}

impl FileBackend {
    /// Opens `path`, an image file or a block device.
    ///
    /// # Errors
    ///
    /// What opening it or finding its size says.
    pub fn open(path: &Path, read_only: bool) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(!read_only).open(path)?;
        Self::from_file(file, read_only)
    }

    /// Uses an open file, for example one opened with `O_EXCL`.
    pub fn from_file(mut file: File, read_only: bool) -> io::Result<Self> {
        // Seeking finds the size of a file and of a block device alike.
        let len = file.seek(SeekFrom::End(0))?;
        Ok(FileBackend {
            file,
            len: len & !511,
            read_only,
        })
    }
}

impl Backend for FileBackend {
    fn len(&self) -> u64 {
        self.len
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(buf, offset).map_err(io_error("read", offset))
    }

    fn read_batch(&self, reads: &mut [Read<'_>]) -> Result<()> {
        // Telling the kernel of all of them first has the device work on them at the same time.
        if reads.len() > 1 {
            for r in reads.iter() {
                let (Ok(offset), Ok(len)) = (i64::try_from(r.offset), i64::try_from(r.data.len())) else {
                    return Err(Error::Overflow);
                };
                // SAFETY: takes a descriptor, which `self.file` keeps open, and plain numbers. It is advice: that it
                // may fail does not matter.
                unsafe { libc::posix_fadvise(self.file.as_raw_fd(), offset, len, libc::POSIX_FADV_WILLNEED) };
            }
        }
        reads.iter_mut().try_for_each(|r| self.read(r.offset, r.data))
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.file.write_all_at(data, offset).map_err(io_error("write", offset))
    }

    fn flush(&self) -> Result<()> {
        self.file.sync_data().map_err(io_error("flush", 0))
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        let (Ok(off), Ok(n)) = (i64::try_from(offset), i64::try_from(len)) else {
            return Err(Error::Overflow);
        };
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        // SAFETY: `fallocate` takes a descriptor, which `self.file` keeps open, and plain numbers.
        let done = unsafe { libc::fallocate(self.file.as_raw_fd(), mode, off, n) };
        match (done, io::Error::last_os_error()) {
            (0, _) => Ok(()),
            // A discard is advice: not being able to take it is no error.
            (_, e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(()),
            (_, e) => Err(io_error("discard", offset)(e)),
        }
    }
}
