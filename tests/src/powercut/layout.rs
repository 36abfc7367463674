// SPDX-License-Identifier: Apache-2.0
//! The recorded disk: a partition table, the filesystem's partition, and a small one for the marks.

use anyhow::ensure;
use anyhow::Result;
use std::fs::File;
use std::os::unix::fs::FileExt;

const SECTOR: u64 = 512;
/// Where the filesystem's partition starts, in bytes.
pub const FS_START: u64 = 1 << 20;
/// Length of the partition for the marks, in bytes.
pub const MARKS_LEN: u64 = 1 << 20;
/// Bytes of a mark.
pub const MARK_LEN: usize = 4096;
const MARK_MAGIC: u64 = u64::from_le_bytes(*b"VexFSack");

/// Length of the filesystem's partition on a disk of `disk` bytes.
pub fn fs_len(disk: u64) -> u64 {
    disk - FS_START - MARKS_LEN
}

/// Writes an MBR for the two partitions to a disk of `len` bytes.
///
/// # Errors
///
/// Refuses a disk that is too small or larger than an MBR can describe.
pub fn write_table(disk: &File, len: u64) -> Result<()> {
    ensure!(len >= 16 << 20, "the disk must have at least 16 MiB");
    let mut mbr = [0u8; SECTOR as usize];
    let parts = [(FS_START, fs_len(len)), (FS_START + fs_len(len), MARKS_LEN)];
    for (n, (start, size)) in parts.into_iter().enumerate() {
        let entry = &mut mbr[446 + n * 16..446 + n * 16 + 16];
        entry[4] = 0x83;
        entry[8..12].copy_from_slice(&u32::try_from(start / SECTOR)?.to_le_bytes());
        entry[12..16].copy_from_slice(&u32::try_from(size / SECTOR)?.to_le_bytes());
    }
    mbr[510] = 0x55;
    mbr[511] = 0xaa;
    Ok(disk.write_all_at(&mbr, 0)?)
}

/// The block that acknowledges the first `acknowledged` operations.
pub fn encode_mark(acknowledged: u64) -> [u8; MARK_LEN] {
    let mut block = [0; MARK_LEN];
    block[..8].copy_from_slice(&MARK_MAGIC.to_le_bytes());
    block[8..16].copy_from_slice(&acknowledged.to_le_bytes());
    block
}

/// The number of acknowledged operations that a write to the marks' partition carries.
pub fn decode_mark(block: &[u8]) -> Option<u64> {
    let word = |at: usize| Some(u64::from_le_bytes(block.get(at..at + 8)?.try_into().ok()?));
    (word(0)? == MARK_MAGIC).then(|| word(8))?
}
