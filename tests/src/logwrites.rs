// SPDX-License-Identifier: Apache-2.0
//! Reads the write log of a virtual disk and rebuilds what the disk held at any moment.
//!
//! QEMU's `blklogwrites` block driver appends every write, flush and discard of a disk, in order, to a log in the
//! format of the kernel's dm-log-writes target (`Documentation/admin-guide/device-mapper/log-writes.rst`): a
//! superblock, then for each operation a header of one sector followed by its data. A disk with a volatile cache
//! promises only that what precedes a completed flush survives; of later writes any subset may.

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const VERSION: u64 = 1;

const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;

/// One operation of the log. Offsets and lengths are in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Where on the disk.
    pub offset: u64,
    /// How many bytes, 0 for a pure flush.
    pub len: u64,
    /// Whether everything before it became durable first.
    pub flush: bool,
    /// Whether it was durable itself when it completed.
    pub fua: bool,
    /// Whether it discards its range.
    pub discard: bool,
    data_at: u64,
}

/// A write log.
pub struct Log {
    file: File,
    /// Its operations, in order.
    pub entries: Vec<Entry>,
}

fn word(bytes: &[u8], at: usize) -> Result<u64> {
    let part = bytes.get(at..at + 8).context("write log: short header")?;
    Ok(u64::from_le_bytes(part.try_into()?))
}

impl Log {
    /// Reads the headers of the log at `path`.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the file: unreadable, not such a log, cut short.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| path.display().to_string())?;
        let mut header = [0u8; 512];
        file.read_exact_at(&mut header, 0).context("write log: no superblock")?;
        if word(&header, 0)? != MAGIC || word(&header, 8)? != VERSION {
            bail!("{}: not a write log", path.display());
        }
        let count = word(&header, 16)?;
        let sector = word(&header, 24)? & 0xffff_ffff;
        if !sector.is_power_of_two() || !(512..=65536).contains(&sector) {
            bail!("{}: sector size {sector}", path.display());
        }
        let mut entries = Vec::new();
        let mut at = sector;
        for n in 0..count {
            let mut raw = [0u8; 32];
            file.read_exact_at(&mut raw, at)
                .with_context(|| format!("write log: cut short at entry {n} of {count}"))?;
            let flags = word(&raw, 16)?;
            let discard = flags & DISCARD != 0;
            let len = word(&raw, 8)? * sector;
            entries.push(Entry {
                offset: word(&raw, 0)? * sector,
                len,
                flush: flags & FLUSH != 0,
                fua: flags & FUA != 0,
                discard,
                data_at: at + sector,
            });
            at += sector + if discard { 0 } else { len };
        }
        Ok(Log { file, entries })
    }

    /// The data that `entry` wrote.
    pub fn data(&self, entry: &Entry) -> Result<Vec<u8>> {
        let mut data = vec![0; usize::try_from(entry.len)?];
        if !entry.discard {
            self.file
                .read_exact_at(&mut data, entry.data_at)
                .context("write log: cut short")?;
        }
        Ok(data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn entry(sector: u64, sectors: u64, flags: u64, fill: u8) -> Vec<u8> {
        let mut out = vec![0u8; 512];
        for (n, word) in [sector, sectors, flags, 0].into_iter().enumerate() {
            out[n * 8..n * 8 + 8].copy_from_slice(&word.to_le_bytes());
        }
        if flags & DISCARD == 0 {
            out.resize(512 + sectors as usize * 512, fill);
        }
        out
    }

    fn write(count: u64, body: &[Vec<u8>]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut head = vec![0u8; 512];
        for (n, word) in [MAGIC, VERSION, count, 512].into_iter().enumerate() {
            head[n * 8..n * 8 + 8].copy_from_slice(&word.to_le_bytes());
        }
        file.write_all(&head).unwrap();
        for part in body {
            file.write_all(part).unwrap();
        }
        file
    }

    #[test]
    fn a_log_gives_back_its_operations_in_order() {
        let file = write(
            4,
            &[
                entry(8, 2, 0, 7),
                entry(0, 0, FLUSH, 0),
                entry(4, 100, DISCARD, 0),
                entry(3, 1, FUA, 9),
            ],
        );
        let log = Log::open(file.path()).unwrap();
        let seen: Vec<_> = log
            .entries
            .iter()
            .map(|e| (e.offset, e.len, e.flush, e.discard, e.fua))
            .collect();
        assert_eq!(
            seen,
            [
                (4096, 1024, false, false, false),
                (0, 0, true, false, false),
                (2048, 51200, false, true, false),
                (1536, 512, false, false, true)
            ]
        );
        assert_eq!(log.data(&log.entries[0]).unwrap(), [7; 1024]);
        assert_eq!(log.data(&log.entries[3]).unwrap(), [9; 512]);
    }

    #[test]
    fn a_log_that_is_cut_short_is_refused() {
        let file = write(2, &[entry(8, 2, 0, 7)]);
        assert!(Log::open(file.path()).is_err());
    }
}
