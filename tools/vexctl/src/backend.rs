// SPDX-License-Identifier: Apache-2.0
//! What the commands need from a filesystem, whoever runs it.

use std::path::Path;
use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;
use vexfs::Batch;
use vexfs::Element;
use vexfs::ExplainPart;
use vexfs::IndexKind;
use vexfs::IndexParams;
use vexfs::Metric;
use vexfs::Payload;

/// Describes a collection.
#[derive(Clone, Debug, Serialize)]
pub struct Info {
    pub path: PathBuf,
    pub id: u64,
    pub dim: u32,
    pub element: Element,
    pub metric: Metric,
    pub index: IndexKind,
    pub rows: u64,
    pub dead_rows: u64,
    pub next_id: u64,
    pub disk_bytes: u64,
    pub memory_bytes: u64,
}

/// What a collection consists of.
#[derive(Clone, Debug, Serialize)]
pub struct Stats {
    pub index: IndexParams,
    pub rows: u64,
    pub dead_rows: u64,
    pub tail_rows: u64,
    pub indexed_rows: u64,
    pub segments: u64,
    pub tail_bytes: u64,
    pub segment_bytes: u64,
    pub vector_bytes: u64,
    pub index_bytes: u64,
    pub payload_bytes: u64,
    pub field_bytes: u64,
    pub memory_bytes: u64,
    /// Rows that a build that is running has indexed, of how many.
    pub build_done: u64,
    pub build_total: u64,
}

/// State and counters of a filesystem.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    pub path: PathBuf,
    pub source: Option<String>,
    pub uuid: String,
    pub label: String,
    pub read_only: bool,
    pub aborted: bool,
    pub block_size: u32,
    pub total_bytes: u64,
    pub free_bytes: u64,
    pub inodes: u64,
    pub txg: u64,
    pub commits: u64,
    pub cached_nodes: u64,
    pub simd: String,
    /// Of a mounted filesystem only.
    pub activity: Option<Activity>,
}

/// What a filesystem has done with collections since it was mounted, and holds of them in memory.
#[derive(Clone, Debug, Serialize)]
pub struct Activity {
    pub collections_loaded: u64,
    pub vector_bytes: u64,
    pub queries: u64,
    pub rows_scanned: u64,
    pub rows_inserted: u64,
    pub rows_deleted: u64,
}

/// What a new collection is like.
#[derive(Clone, Copy, Debug)]
pub struct NewCollection {
    pub dim: u32,
    pub element: Element,
    pub metric: Metric,
    pub index: IndexKind,
}

/// How to insert.
#[derive(Clone, Copy, Default)]
pub struct InsertOptions {
    pub upsert: bool,
    pub normalize: bool,
    pub sync: bool,
}

/// What an insert did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inserted {
    pub rows: u64,
    pub replaced: u64,
    /// Id of the first row when ids were assigned.
    pub first_id: Option<u64>,
}

/// A row that was read.
#[derive(Clone, Debug)]
pub struct Row {
    pub id: u64,
    pub inode: u64,
    pub found: bool,
    pub payload: Payload,
    /// In the form of the collection's elements.
    pub vector: Option<Vec<u8>>,
}

/// What to search for.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// The queries in the form of the collection's elements, one after the other.
    pub queries: Vec<u8>,
    pub k: u32,
    pub radius: Option<f32>,
    pub exact: bool,
    pub ef: u32,
    pub nprobe: u32,
    pub rerank: u32,
    /// 0 for none.
    pub time_limit_us: u32,
    /// A program that says which rows may be found.
    pub filter: Option<Vec<u8>>,
    pub want_vectors: bool,
    pub want_payloads: bool,
}

/// A row that was found.
#[derive(Clone, Debug)]
pub struct Hit {
    pub row: Row,
    pub distance: f32,
}

/// The answer to one query.
#[derive(Clone, Debug)]
pub struct Answer {
    pub hits: Vec<Hit>,
    /// It stopped before it had seen everything.
    pub stopped_early: bool,
}

/// Answers and what they cost.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    pub answers: Vec<Answer>,
    pub scanned: u64,
}

/// How a search was answered.
#[derive(Clone, Debug, Serialize)]
pub struct Explained {
    pub hits: u64,
    pub elapsed_ns: u64,
    pub parts: Vec<ExplainPart>,
}

/// What to do about a collection's index.
#[derive(Clone, Copy, Debug)]
pub enum Build {
    /// Give it this index and build that.
    Set(IndexParams),
    /// Take it away.
    Drop,
    /// Merge everything into one segment.
    Optimize,
    /// Do what is due.
    Maintain,
}

impl Build {
    /// What is attempted, for errors.
    pub fn verb(self) -> &'static str {
        match self {
            Build::Set(_) => "build the index of",
            Build::Drop => "drop the index of",
            Build::Optimize => "optimize",
            Build::Maintain => "maintain",
        }
    }
}

/// Is told now and then how many rows of how many are done.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Sync);

/// A filesystem with collections.
pub trait Backend {
    /// Returns the roots to look at when no path is given.
    fn roots(&self) -> Result<Vec<PathBuf>>;
    /// Reads state and counters.
    fn status(&self, path: &Path) -> Result<Status>;
    /// Makes a collection and returns its id.
    fn create(&self, path: &Path, new: &NewCollection) -> Result<u64>;
    /// Removes a collection with its rows.
    fn drop_collection(&self, path: &Path) -> Result<()>;
    /// Describes every collection directly in `dir`, or with `recursive` below it, sorted by path.
    fn list(&self, dir: &Path, recursive: bool) -> Result<Vec<Info>>;
    /// Opens a collection.
    fn open(&self, path: &Path) -> Result<Box<dyn Collection>>;
    /// Writes what is still to be written. Called once, after the last command.
    fn finish(&self) -> Result<()>;
}

/// An open collection.
pub trait Collection {
    fn info(&self) -> Result<Info>;
    /// Says what it consists of.
    fn stats(&self) -> Result<Stats>;
    /// Inserts all rows or none.
    fn insert(&self, batch: &Batch, options: InsertOptions) -> Result<Inserted>;
    /// Reads rows in the order of the ids.
    fn get(&self, ids: &[u64], want_vectors: bool) -> Result<Vec<Row>>;
    /// Deletes rows and returns how many there were.
    fn delete(&self, ids: &[u64], sync: bool) -> Result<u64>;
    /// Answers every query.
    fn search(&self, search: &Search) -> Result<Answers>;
    /// Answers one query and says how.
    fn explain(&self, search: &Search) -> Result<Explained>;
    /// Changes, builds or drops the index; with `threads` of them where that can be chosen, 0 for all CPUs.
    fn build(&self, build: Build, threads: usize, progress: Progress<'_>) -> Result<()>;
}

/// Returns a uuid in its usual form.
pub fn uuid_text(bytes: &[u8; 16]) -> String {
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_has_its_dashes() {
        assert_eq!(uuid_text(&[0xab; 16]), "abababab-abab-abab-abab-abababababab");
    }
}
