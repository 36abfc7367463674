// SPDX-License-Identifier: Apache-2.0
//! Payloads of the rows, and the filter on them.
//!
//! `benches/ann/filtered.py` computes the same `part` to know which rows match.

use vexfs_uapi as uapi;

/// Values of the field `part`.
pub const PARTS: u64 = 1000;

/// The value of `part` of a row: the upper bits of a multiplicative hash (Knuth, TAOCP 3, 6.4), so that it has nothing
/// to do with where the row lies.
pub fn part(row: u64) -> i64 {
    (row.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as i64 % PARTS as i64
}

fn field(out: &mut Vec<u8>, kind: u32, name: &str, value: &[u8]) {
    out.extend([kind as u8, name.len() as u8, 0, 0]);
    out.extend((value.len() as u32).to_le_bytes());
    out.extend(name.as_bytes());
    out.extend(value);
}

/// Appends the payload of a row, a keyword `name` and an integer `part`, in the ABI's form; returns its length.
pub fn append(row: u64, out: &mut Vec<u8>) -> u32 {
    let start = out.len();
    out.extend([uapi::payload::VEXFS_PAYLOAD_VERSION as u8, 0, 2, 0]);
    field(
        out,
        uapi::payload::VEXFS_FIELD_KEYWORD,
        "name",
        format!("row-{row}").as_bytes(),
    );
    field(out, uapi::payload::VEXFS_FIELD_I64, "part", &part(row).to_le_bytes());
    (out.len() - start) as u32
}
