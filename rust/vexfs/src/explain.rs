// SPDX-License-Identifier: Apache-2.0
//! How a search is answered.

use std::time::Duration;

use serde::Serialize;
use vexfs_uapi::ExplainPart;

/// How a search was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Explained {
    /// Each segment, and the rows that are in none yet.
    pub parts: Vec<ExplainPart>,
    /// Hits.
    pub hits: u64,
    /// How long it took.
    pub elapsed: Duration,
}
