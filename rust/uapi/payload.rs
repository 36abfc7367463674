// SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note
//! The binary form of a payload: a bounded set of typed, named fields.
//!
//! JSON is what users write; userspace turns it into this. All numbers are little-endian, nothing is aligned:
//!
//! ```text
//! header   version u8 = 1 | reserved u8 = 0 | fields u16
//! field    type u8 | name_len u8 | reserved u16 = 0 | value_len u32 | name | value
//! ```
//!
//! - A payload is at most `VEXFS_PAYLOAD_MAX` bytes and ends exactly where its last field ends. A row without
//!   fields has no payload (length 0) rather than an empty one.
//! - 1 to `VEXFS_PAYLOAD_FIELDS_MAX` fields, in strictly ascending order of their names as bytes, so that a
//!   set of fields has one form only and a reader can search it.
//! - Names are 1 to 255 bytes of UTF-8 without NUL.
//! - Values by type:
//!
//! | type | value |
//! |---|---|
//! | KEYWORD | UTF-8, at most `VEXFS_KEYWORD_MAX` bytes: compared as a whole |
//! | TEXT | UTF-8 of any length |
//! | I64 | 8 bytes |
//! | F64 | 8 bytes, IEEE 754 binary64, finite |
//! | BOOL | 1 byte, 0 or 1 |
//! | LIST \| scalar type | count u32, then the elements: I64, F64 and BOOL as above, KEYWORD and TEXT each as length u32 and bytes |

/// Version of the form.
pub const VEXFS_PAYLOAD_VERSION: u32 = 1;
/// Most bytes of a payload; more is `E2BIG`.
pub const VEXFS_PAYLOAD_MAX: u32 = 65_536;
/// Most fields of a payload.
pub const VEXFS_PAYLOAD_FIELDS_MAX: u32 = 256;
/// Longest keyword in bytes.
pub const VEXFS_KEYWORD_MAX: u32 = 255;
/// Bytes of the header of a payload.
pub const VEXFS_PAYLOAD_HEADER: u32 = 4;
/// Bytes of a field before its name.
pub const VEXFS_PAYLOAD_FIELD_HEADER: u32 = 8;

/// A string that is compared as a whole.
pub const VEXFS_FIELD_KEYWORD: u32 = 1;
/// A string of any length.
pub const VEXFS_FIELD_TEXT: u32 = 2;
/// A signed 64-bit integer.
pub const VEXFS_FIELD_I64: u32 = 3;
/// A binary64 number.
pub const VEXFS_FIELD_F64: u32 = 4;
/// A truth value.
pub const VEXFS_FIELD_BOOL: u32 = 5;
/// Or-ed with one of the types above: a list of them.
pub const VEXFS_FIELD_LIST: u32 = 0x80;
