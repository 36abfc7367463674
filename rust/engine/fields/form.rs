// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The sections of field indexes on disk.

use zerocopy::little_endian::U16;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;
use zerocopy_derive::*;

/// Header and one entry a field.
pub(super) const DIRECTORY: u32 = 0x200;
/// Names of fields, then keywords.
pub(super) const STRINGS: u32 = 0x201;
/// The distinct values.
pub(super) const KEYS: u32 = 0x202;
/// Where the row numbers of values begin, and which values have bitmaps.
pub(super) const STARTS: u32 = 0x203;
/// Row numbers.
pub(super) const ROWS: u32 = 0x204;
/// Bitmaps.
pub(super) const BITMAPS: u32 = 0x205;

/// The version of the form.
pub(super) const VERSION: u32 = 1;

/// Most names of fields that are indexed, each with all types it occurs with. Rows could have a new name each; tests of
/// names beyond that read payloads.
pub(super) const NAMES_MAX: usize = 1024;
/// Most fields: a name can occur with each of the types.
pub(super) const FIELDS_MAX: usize = 5 * NAMES_MAX;

/// There are more names than are indexed.
pub(super) const PARTIAL: u32 = 1;

#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub(super) struct DiskHeader {
    pub(super) version: U32,
    pub(super) fields: U32,
    pub(super) rows: U32,
    pub(super) flags: U32,
    pub(super) reserved: [u8; 16],
}

/// The values are indexed.
pub(super) const INDEXED: u16 = 1;
/// All rows have the field.
pub(super) const IN_ALL: u16 = 2;
/// Which rows have the field is a bitmap, else row numbers.
pub(super) const IS_BITMAP: u16 = 4;

#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub(super) struct DiskField {
    pub(super) name: U32,
    pub(super) name_len: u8,
    pub(super) scalar: u8,
    pub(super) flags: U16,
    pub(super) rows: U32,
    pub(super) per_row: U32,
    pub(super) values: U32,
    pub(super) dense: U32,
    pub(super) keys_at: U64,
    pub(super) starts_at: U64,
    pub(super) rows_at: U64,
    pub(super) bitmaps_at: U64,
    pub(super) reserved: [u8; 8],
}

const _: () = assert!(size_of::<DiskHeader>() == 32 && size_of::<DiskField>() == 64);

/// Bits of a keyword's key that are its length.
const LEN_BITS: u32 = 8;

/// The key of a keyword: where it is, and its length in the lowest byte.
pub(super) fn string_key(at: usize, len: usize) -> u64 {
    (at as u64) << LEN_BITS | len as u64 & 0xff
}

/// Where the string of a key is: start and end.
pub(super) fn string_range(key: u64) -> (usize, usize) {
    let start = (key >> LEN_BITS) as usize;
    (start, start.saturating_add((key & 0xff) as usize))
}

/// The string that a key stands for.
pub(super) fn string(strings: &[u8], key: u64) -> &[u8] {
    let (start, end) = string_range(key);
    strings.get(start..end).unwrap_or_default()
}
