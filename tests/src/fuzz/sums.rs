// SPDX-License-Identifier: Apache-2.0
//! Makes checksums and other seals of collection files right: `docs/format-collections.md` says where they lie.

use vexfs_host::crc32c;

fn number(bytes: &[u8], at: usize, len: usize) -> Option<u64> {
    let part = bytes.get(at..at + len)?;
    Some(part.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte)))
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

/// Makes every record of a tail one of `file` with right checksums, as far as lengths lead from one to the next.
pub fn seal_tail(bytes: &mut [u8], file: u64) {
    const HEADER: usize = 64;
    let mut at = 0;
    while let Some(len) = number(bytes, at + 16, 4) {
        let end = usize::try_from(len).ok().and_then(|len| (at + HEADER).checked_add(len));
        let Some(end) = end.filter(|end| *end <= bytes.len()) else {
            return;
        };
        put(bytes, at, b"VXTR");
        put(bytes, at + 32, &file.to_le_bytes());
        let body = crc32c(0, &bytes[at + HEADER..end]);
        put(bytes, at + 8, &body.to_le_bytes());
        let header = crc32c(0, &bytes[at + 8..at + HEADER]);
        put(bytes, at + 4, &header.to_le_bytes());
        at = end;
    }
}
