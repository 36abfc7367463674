// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Directories: names by keyed hash.
//!
//! An entry lives under the key (directory, dirent, slot), slot = 56-bit SipHash of the name << 7 | sequence number.
//! The sequence number tells names with equal hashes apart. The slot is also the readdir cookie: it stays the same as
//! long as the entry lives, whatever else comes and goes, and is a positive 63-bit number above 127, so that 0 and 1
//! are left for `.` and `..`.
//!
//! Invariant: while any name with some hash exists, sequence number 0 of that hash is taken, by a name or by a
//! placeholder (an entry with inode number 0 and no name). A look-up therefore ends after one descent unless hashes
//! collide, and making an entry looks for the name and inserts it in the same descent.

mod create;
pub(crate) mod entry;
mod ops;
mod readdir;
mod rename;
#[cfg(test)]
mod tests;

pub use readdir::EmitEntry;
pub use rename::RenameFlags;
pub use rename::RenameOutcome;
