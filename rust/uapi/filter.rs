// SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note
//! The binary form of a filter: a bounded program that says for a payload whether its row may be found.
//!
//! JSON is what users write; userspace turns it into this. All numbers are little-endian, nothing is aligned:
//!
//! ```text
//! header       version u8 = 1 | reserved u8 = 0 | instructions u16
//! instruction  op u8 | name_len u8 | type u8 | flags u8 | body_len u32 | name | body
//! ```
//!
//! A program is its header and one instruction, and ends where that ends. An instruction is a group, whose body is
//! instructions again, or a test of the field that it names. `instructions` counts all of them; there are no loops and
//! no jumps, so the number bounds the work for a value.
//!
//! | op | name | type | flags | body | true if |
//! |---|---|---|---|---|---|
//! | AND | no | 0 | 0 | any number of instructions | all of them are; so is one without any |
//! | OR | no | 0 | 0 | any number of instructions | one of them is |
//! | NOT | no | 0 | 0 | one instruction | that is not |
//! | EXISTS | yes | 0 | 0 | empty | the field has a value; an empty list has none |
//! | IN | yes | of the elements | 0 | count u32 >= 1, elements in strictly ascending order | a value equals an element |
//! | RANGE | yes | 0 | VEXFS_RANGE_* | the bounds that the flags name, each a type u8 and an element | a value is within |
//! | PREFIX | yes | KEYWORD | 0 | UTF-8 | a string begins with it |
//!
//! - A test looks at each element of a list and is true if it is true for one of them. On a row without the field, or
//!   with values of another type only, it is false.
//! - Elements are written as in lists of payloads: I64 and F64 (finite) in 8 bytes, BOOL in 1 byte, KEYWORD as length
//!   u32 and UTF-8. KEYWORD stands for both types of strings, TEXT is not used.
//! - Strings are compared by their bytes, which is by code points. Numbers are compared by what they are, whether I64
//!   or F64, without rounding; 0.0 and -0.0 are equal.
//! - A RANGE has at least one bound and either two numbers, each of any type, or two strings. One that nothing can be
//!   within is valid.
//! - Names are 1 to 255 bytes of UTF-8 without NUL.

/// Version of the form of filters.
pub const VEXFS_FILTER_VERSION: u32 = 1;
/// Most bytes of a filter; more is `E2BIG`.
pub const VEXFS_FILTER_MAX: u32 = 65_536;
/// Most instructions of a filter; more is `E2BIG`.
pub const VEXFS_FILTER_INSTRUCTIONS_MAX: u32 = 1024;
/// Most groups inside each other, the outermost counted; more is `E2BIG`.
pub const VEXFS_FILTER_DEPTH_MAX: u32 = 16;
/// Bytes of the header of a filter.
pub const VEXFS_FILTER_HEADER: u32 = 4;
/// Bytes of an instruction before its name.
pub const VEXFS_FILTER_INSTRUCTION_HEADER: u32 = 8;

/// Group: all of them.
pub const VEXFS_FILTER_AND: u32 = 1;
/// Group: at least one of them.
pub const VEXFS_FILTER_OR: u32 = 2;
/// Group of one: not it.
pub const VEXFS_FILTER_NOT: u32 = 3;
/// The field has a value.
pub const VEXFS_FILTER_EXISTS: u32 = 16;
/// A value of the field is in a set.
pub const VEXFS_FILTER_IN: u32 = 17;
/// A value of the field is within bounds.
pub const VEXFS_FILTER_RANGE: u32 = 18;
/// A string of the field begins with another.
pub const VEXFS_FILTER_PREFIX: u32 = 19;

/// There is a lower bound.
pub const VEXFS_RANGE_LOWER: u32 = 1 << 0;
/// The lower bound itself is outside.
pub const VEXFS_RANGE_LOWER_OPEN: u32 = 1 << 1;
/// There is an upper bound.
pub const VEXFS_RANGE_UPPER: u32 = 1 << 2;
/// The upper bound itself is outside.
pub const VEXFS_RANGE_UPPER_OPEN: u32 = 1 << 3;
