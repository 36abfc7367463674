// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The filesystem: format, tree, transactions, space, files and directories.
//!
//! This crate is host-independent: it compiles unchanged into the kernel module and into userspace programs and knows
//! neither dentries nor file descriptors. What it needs from its surroundings comes from `vexfs_host`.
//!
//! From the bottom up: [`format`](mod@format) is what lies on disk; `cache` reads and keeps nodes; `btree` searches and
//! changes the tree; `space` knows which blocks are free; [`txn`] makes operations atomic and commits them; [`log`](mod@log)
//! makes them durable before that; [`mount`] ties these into an [`Fs`]. On top, `inode`, `dir`, `xattr`, `file` and `orphan` are what a filesystem does, and `check` proves
//! that it did it right.
#![cfg_attr(not(CONFIG_RUST), no_std)]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]
#![cfg_attr(not(test), deny(clippy::unwrap_used))]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::unwrap_used))]

#[cfg(test)]
extern crate std;
#[cfg(test)]
mod testing;

pub mod format;

mod btree;
mod cache;
mod damage;
pub mod log;
pub mod mkfs;
pub mod mount;
pub mod space;
pub mod txn;

// For devices that are not mounted, so for userspace: its frames and its sorts are too large for a kernel stack.
#[cfg(not(CONFIG_RUST))]
pub mod check;
pub mod dir;
pub mod file;
pub mod inode;
pub mod orphan;
pub mod xattr;

mod collection_item;

pub use mount::Fs;
