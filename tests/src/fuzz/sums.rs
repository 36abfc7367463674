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

/// Makes a segment one of `file` of the collection `dir` with right checksums, as far as its sections lie in it.
pub fn seal_segment(bytes: &mut [u8], dir: u64, file: u64) {
    const HEADER: usize = 256;
    const ENTRY: usize = 32;
    put(bytes, 0, b"VXSG");
    put(bytes, 16, &dir.to_le_bytes());
    put(bytes, 24, &file.to_le_bytes());
    let len = bytes.len() as u64;
    put(bytes, 64, &len.to_le_bytes());
    let sections = number(bytes, 84, 4).unwrap_or(0).min(64) as usize;
    for entry in (HEADER..).step_by(ENTRY).take(sections) {
        let place = number(bytes, entry + 8, 8).zip(number(bytes, entry + 16, 8));
        let section = place.and_then(|(at, len)| {
            let at = usize::try_from(at).ok()?;
            bytes.get(at..at.checked_add(usize::try_from(len).ok()?)?)
        });
        if let Some(sum) = section.map(|section| crc32c(0, section)) {
            put(bytes, entry + 4, &sum.to_le_bytes());
        }
    }
    if let Some(head) = bytes.get(8..HEADER + ENTRY * sections) {
        let sum = crc32c(0, head);
        put(bytes, 4, &sum.to_le_bytes());
    }
}
