// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Checksums that are not those of a structure.

/// CRC-32C of data that carries no header: seeded with what a header would have said.
pub(crate) fn crc_of(uuid: &[u8; 16], numbers: [u64; 2], data: &[u8]) -> u32 {
    let [a, b] = numbers;
    let mut crc = vexfs_host::crc32c(0, uuid);
    crc = vexfs_host::crc32c(crc, &a.to_le_bytes());
    crc = vexfs_host::crc32c(crc, &b.to_le_bytes());
    vexfs_host::crc32c(crc, data)
}
