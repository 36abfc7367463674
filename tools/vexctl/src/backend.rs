// SPDX-License-Identifier: Apache-2.0
//! What the commands need from a filesystem, whoever runs it.

use std::path::Path;
use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;

/// How near two vectors are. Smaller is nearer with all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// Squared Euclidean distance.
    L2,
    /// 1 - cosine similarity.
    Cosine,
    /// Negated inner product.
    Ip,
    /// Differing bits.
    Hamming,
}

impl Metric {
    pub fn name(self) -> &'static str {
        match self {
            Metric::L2 => "l2",
            Metric::Cosine => "cosine",
            Metric::Ip => "ip",
            Metric::Hamming => "hamming",
        }
    }
}

/// Describes a collection.
#[derive(Clone, Debug, Serialize)]
pub struct Info {
    pub path: PathBuf,
    pub id: u64,
    pub dim: u32,
    pub element: &'static str,
    pub metric: Metric,
    pub index: &'static str,
    pub rows: u64,
    pub dead_rows: u64,
    pub next_id: u64,
    pub disk_bytes: u64,
    pub memory_bytes: u64,
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

/// Rows to insert. `ids` is empty to have them assigned, else one a row; the other two grow with it.
#[derive(Default)]
pub struct Batch {
    pub dim: u32,
    pub rows: u32,
    pub vectors: Vec<f32>,
    pub ids: Vec<u64>,
    pub payload_lens: Vec<u32>,
    pub payloads: Vec<u8>,
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

/// A row that was read; its payload is in the binary form.
#[derive(Clone, Debug)]
pub struct Row {
    pub id: u64,
    pub inode: u64,
    pub found: bool,
    pub payload: Option<Vec<u8>>,
    pub vector: Option<Vec<f32>>,
}

/// What to search for.
pub struct Search<'a> {
    pub dim: u32,
    /// The queries, one after the other.
    pub queries: &'a [f32],
    pub k: u32,
    pub radius: Option<f32>,
    pub exact: bool,
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

/// A filesystem with collections.
pub trait Backend {
    /// Returns the roots to look at when no path is given.
    fn roots(&self) -> Result<Vec<PathBuf>>;
    /// Reads state and counters.
    fn status(&self, path: &Path) -> Result<Status>;
    /// Makes a collection and returns its id.
    fn create(&self, path: &Path, dim: u32, metric: Metric) -> Result<u64>;
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
    /// Inserts all rows or none.
    fn insert(&self, batch: &Batch, options: InsertOptions) -> Result<Inserted>;
    /// Reads rows in the order of the ids.
    fn get(&self, ids: &[u64], want_vectors: bool) -> Result<Vec<Row>>;
    /// Deletes rows and returns how many there were.
    fn delete(&self, ids: &[u64], sync: bool) -> Result<u64>;
    /// Answers every query.
    fn search(&self, search: &Search<'_>) -> Result<Answers>;
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
