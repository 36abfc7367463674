// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The filesystem: format, tree, transactions, space, files and directories.
//!
//! This crate is host-independent: it compiles unchanged into the kernel module and into userspace programs and knows
//! neither dentries nor file descriptors. What it needs from its surroundings comes from `vexfs_host`.
//!
//! From the bottom up, each of these using only what stands before it:
//!
//! - [`format`](mod@format): what lies on disk;
//! - `block_io`: reading and writing blocks; `damage`: counting and logging what is wrong with them;
//! - `node`: a node in memory, the cache of clean ones, and reading the others;
//! - [`space`]: the allocator: which blocks are free, in use, or promised;
//! - [`log`](mod@log): the intent log: what is noted for it, and reading it;
//! - `btree`: searching and changing the tree;
//! - [`fs`](mod@fs): [`Fs`], which consists of these;
//! - [`txn`]: atomic operations, and committing them; [`log`](mod@log) again: making them durable before that;
//! - `alloc`: blocks for data, and making room on a full device;
//! - [`inode`], [`xattr`], [`dir`], [`file`](mod@file): what a filesystem does; `collection_item`: what it keeps for
//!   the engine; `orphan`: work that a crash must not lose;
//! - `recovery`: finishing that work; [`mount`]: bringing a filesystem up and down; [`mkfs`]: making one;
//! - `check`: proving that all of this did it right.
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

mod block_io;
mod damage;

mod btree;
pub mod log;
mod node;
pub mod space;

pub mod fs;

mod alloc;
pub mod txn;

mod collection_item;
pub mod dir;
pub mod file;
pub mod inode;
mod orphan;
pub mod xattr;

pub mod mkfs;
pub mod mount;
mod recovery;

// For devices that are not mounted, so for userspace: its frames and its sorts are too large for a kernel stack.
#[cfg(not(CONFIG_RUST))]
pub mod check;

pub use fs::Fs;
