// SPDX-License-Identifier: Apache-2.0
//! How a search is answered.

use std::time::Duration;

use serde::Serialize;
use vexfs_engine as engine;

use crate::IndexKind;

/// What is done in a part of a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
#[repr(u32)]
pub enum Choice {
    /// All matching rows are compared.
    Scan = vexfs_uapi::VEXFS_CHOICE_SCAN,
    /// The index is searched; there is no filter.
    Index = vexfs_uapi::VEXFS_CHOICE_INDEX,
    /// The index is searched for rows that match only.
    Filtered = vexfs_uapi::VEXFS_CHOICE_FILTERED,
    /// The index is searched for more rows than wanted, and those that do not match are thrown away.
    PostFilter = vexfs_uapi::VEXFS_CHOICE_POST_FILTER,
}

/// How one part of a collection was searched: a segment, or the rows that are in none yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Part {
    /// Number of the segment; 0 for the rows that are in none yet.
    pub segment: u64,
    /// Its index.
    pub index: IndexKind,
    /// What was done.
    pub choice: Choice,
    /// Rows, live and dead.
    pub rows: u64,
    /// Rows that a search can return.
    pub live: u64,
    /// Rows, live and dead, that were expected to match the filter.
    pub expected: u64,
    /// How few they could be.
    pub expected_min: u64,
    /// How many they could be.
    pub expected_max: u64,
    /// Live rows that do match, if they were counted.
    pub matching: Option<u64>,
    /// What comparing all matching rows was expected to cost, in compared rows.
    pub scan_cost: u64,
    /// What using the index was expected to cost, in compared rows, if there is one that could be used.
    pub index_cost: Option<u64>,
    /// Whether the rows that match were known from an earlier search.
    pub cached: bool,
    /// Payloads that the filter was evaluated for one by one.
    pub evaluated: u64,
    /// Times that the index found too few rows and the matching ones were compared after all.
    pub fallbacks: u64,
    /// Rows whose vector was compared with the query.
    pub distances: u64,
    /// Rows whose code was compared with the query.
    pub codes: u64,
    /// Nodes, lists or buckets that were looked into.
    pub hops: u64,
    /// Reads of the device.
    pub reads: u64,
    /// Whether the time limit stopped it.
    pub stopped: bool,
}

/// How a search was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Explained {
    /// Each segment, and the rows that are in none yet.
    pub parts: Vec<Part>,
    /// Hits.
    pub hits: u64,
    /// How long it took.
    pub elapsed: Duration,
}

impl Part {
    pub(crate) fn of(part: &engine::PartFacts) -> Self {
        let facts = &part.facts;
        Part {
            segment: part.segment,
            index: IndexKind::from_code(part.kind as u32).unwrap_or_default(),
            choice: match facts.choice {
                engine::Choice::Scan => Choice::Scan,
                engine::Choice::Index => Choice::Index,
                engine::Choice::Filtered => Choice::Filtered,
                engine::Choice::PostFilter => Choice::PostFilter,
            },
            rows: facts.rows,
            live: facts.alive,
            expected: facts.estimate.expected,
            expected_min: facts.estimate.lower,
            expected_max: facts.estimate.upper,
            matching: facts.matching,
            scan_cost: facts.scan_cost,
            index_cost: (facts.index_cost != u64::MAX).then_some(facts.index_cost),
            cached: facts.cached,
            evaluated: facts.evaluated,
            fallbacks: facts.fallbacks,
            distances: facts.cost.distances,
            codes: facts.cost.codes,
            hops: facts.cost.hops,
            reads: facts.cost.reads,
            stopped: facts.cost.stopped,
        }
    }
}

impl Choice {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Choice::Scan => "scan",
            Choice::Index => "index",
            Choice::Filtered => "filtered",
            Choice::PostFilter => "post-filter",
        }
    }

    /// What has this number in the user ABI.
    pub fn from_code(code: u32) -> Option<Self> {
        [Choice::Scan, Choice::Index, Choice::Filtered, Choice::PostFilter]
            .into_iter()
            .find(|choice| *choice as u32 == code)
    }
}
