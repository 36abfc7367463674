// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The vector engine: collections of rows, stored in hidden files of a [`vexfs_core::Fs`], indexed and searched.
//!
//! A row is an id, a vector and a [`payload`]. [`Collections`] hands out the collections of a mounted filesystem; a
//! [`Collection`] inserts, deletes, reads and searches. A change is a record appended to the collection's tail file.
//! Maintenance moves the rows of the tail into segments, which have an index; a search asks each segment and scans the
//! tail.
//!
//! There is no float type in this crate, since it is soft-float in the kernel: vectors, distances and radii are `u32`s
//! that hold the bits of an `f32`, and arithmetic is the business of `vexfs_simd`.
//!
//! # Semantics
//!
//! - A batch is inserted or deleted as a whole or, on any error, not at all, in memory as on disk. It is visible to
//!   every search that begins afterwards and durable with the returned transaction group (`Fs::sync_txg`).
//! - A search sees one state: all batches that ended before it began, nothing of those that end later.
//! - Hits come by ascending (distance, id); what distances are, and how exact, is said in `vexfs_simd`.
#![cfg_attr(not(CONFIG_RUST), no_std)]
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing)]
#![deny(clippy::unwrap_used)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::unwrap_used))]

#[cfg(test)]
extern crate std;

mod bits;
mod collection;
mod fields;
pub mod filter;
mod graph;
mod heap;
mod index;
mod indexes;
mod info;
mod kmeans;
pub mod limits;
mod params;
pub mod payload;
mod permit;
mod plan;
mod pool;
mod random;
mod segment;
mod tail;
#[cfg(test)]
mod testing;
mod topk;

pub use collection::Batch;
pub use collection::Collection;
pub use collection::Collections;
pub use collection::Contents;
pub use collection::Deleted;
pub use collection::Explained;
pub use collection::Found;
pub use collection::Got;
pub use collection::Hit;
pub use collection::InsertMode;
pub use collection::Inserted;
pub use collection::RowRef;
pub use collection::SearchRequest;
pub use collection::Tuning;

pub use info::CollectionStats;
pub use params::Params;
pub use permit::Always;
pub use permit::Permit;
pub use permit::Work;

pub use index::Codes;
pub use index::Cost;
pub use index::IndexKind;
pub use index::IndexParams;
pub use index::SearchParams;

pub use vexfs_simd::Element;
pub use vexfs_simd::Metric;

pub(crate) use vexfs_core::inode::Ino;
pub(crate) use vexfs_core::inode::Time;
pub(crate) use vexfs_core::inode::Txg;
