// SPDX-License-Identifier: Apache-2.0
//! Vector collections of VexFS: of an image file, on a device or in memory, in this process, and of a mounted
//! filesystem.
//!
//! In this process runs the filesystem's own code, the same as in the kernel module, without the kernel and without
//! root. An image made here can be mounted, and a disk that was unmounted can be opened here. On a mounted one, the
//! kernel does the work, and any number of programs share it. All else here is the same for both.
//!
//! ```
//! use serde_json::json;
//! use vexfs::{Metric, Row, Search, Vexfs};
//!
//! let fs = Vexfs::in_memory(64 << 20)?;
//! let docs = fs.create_collection("/docs", 3, Metric::Cosine)?;
//! docs.insert([
//!     Row::new([0.1, 0.2, 0.3]).id(7).payload(json!({"title": "first", "year": 2023})),
//!     Row::new([0.3, 0.1, 0.0]).id(8).payload(json!({"title": "second", "year": 2024})),
//! ])?;
//!
//! let hits = docs.search(&[0.1, 0.2, 0.2], &Search::new(1).payloads())?;
//! assert_eq!(hits[0].id, 7);
//! assert_eq!(hits[0].payload()?["title"], "first");
//! fs.close()?;
//! # Ok::<(), vexfs::Error>(())
//! ```
//!
//! # What there is
//!
//! - [`Vexfs`] is an open filesystem: [`Vexfs::create`] makes one in a file, [`Vexfs::open`] opens it again, and
//!   [`Vexfs::mounted`] uses one that is mounted.
//! - A [`Collection`] is a directory of it whose rows share a dimension, an [`Element`] type and a [`Metric`].
//! - A row has a `u64` id, a vector, and a [`Payload`]: named, typed fields, written as JSON.
//! - A [`Search`] says how many rows are wanted, which ([`filter`]), and how thoroughly to look; an index
//!   ([`IndexParams`]) makes it fast.
//!
//! # What it promises
//!
//! A batch is inserted as a whole or not at all, and seen by every search that begins afterwards. It survives a crash
//! once [`Vexfs::sync`] or [`Vexfs::close`] has returned, or a call that was asked to sync. Hits are ordered by
//! distance and then by id, so that the same search of the same rows has one answer.
//!
//! Everything is `Send` and `Sync`: threads may share a [`Collection`] and search it while others insert. An image is
//! open in one place at a time; a lock keeps others off.
#![deny(unsafe_code)]
#![warn(missing_docs)]

mod backend;
mod batch;
mod build;
mod collection;
mod error;
mod explain;
mod filesystem;
pub mod filter;
mod image;
mod mounted;
mod payload;
mod search;
mod vectors;

pub use batch::Batch;
pub use batch::Row;
pub use build::Build;
pub use collection::Collection;
pub use collection::CollectionInfo;
pub use collection::InsertOptions;
pub use collection::Inserted;
pub use collection::Stored;
pub use error::Error;
pub use error::ErrorKind;
pub use error::Result;
pub use explain::Explained;
pub use filesystem::Activity;
pub use filesystem::CollectionOptions;
pub use filesystem::OpenOptions;
pub use filesystem::Stat;
pub use filesystem::Vexfs;
pub use mounted::mounts;
pub use mounted::Mount;
pub use payload::Payload;
pub use search::Answer;
pub use search::Answers;
pub use search::Hit;
pub use search::Search;
pub use vectors::decode;
pub use vectors::encode;
pub use vectors::Vectors;

pub use vexfs_uapi::Choice;
pub use vexfs_uapi::Codes;
pub use vexfs_uapi::Element;
pub use vexfs_uapi::ExplainPart;
pub use vexfs_uapi::IndexKind;
pub use vexfs_uapi::IndexParams;
pub use vexfs_uapi::Metric;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_may_share_everything() {
        fn shared<T: Send + Sync>() {}
        shared::<Vexfs>();
        shared::<Collection>();
        shared::<Batch>();
        shared::<Search>();
        shared::<Error>();
    }
}
