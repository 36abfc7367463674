// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! File contents.
//!
//! Contents are blocks in extents; a block without an extent reads as zeros. Block 0 of a small file may lie in the
//! tree instead, as inline data. Data are never overwritten: changed blocks go to newly allocated places, and the
//! extent list changes in the transaction that follows the I/O, so that the tree never refers to data that are not on
//! the device.
//!
//! Invariant: behind the end of a file, up to the end of its last block, there are zeros on the device, so that
//! extending a file needs no I/O. Whoever writes the last block pads it ([`write`], the kernel's page cache), whoever
//! shrinks a file rewrites its last block ([`truncate`]) or has the page cache do it.
//!
//! Two ways lead here: the kernel's page cache with delayed allocation ([`delalloc`], [`map`], [`end_io`]), and the
//! synchronous calls of everyone else ([`read`], [`write`], [`truncate`], [`punch`]).

mod block_size;
pub(crate) mod delalloc;
pub(crate) mod end_io;
pub(crate) mod extents;
pub(crate) mod inline;
pub(crate) mod map;
pub(crate) mod punch;
pub(crate) mod read;
mod replace;
pub(crate) mod seek;
#[cfg(test)]
mod tests;
pub(crate) mod truncate;
mod usage;
pub(crate) mod write;

pub use delalloc::DataState;
pub use extents::DataAlloc;
pub use map::MapKind;
pub use map::Mapping;
pub use read::ReadAt;
