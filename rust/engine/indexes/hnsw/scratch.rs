// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The memory of a search, which searches hand on to each other.

use super::walk::Walk;
use crate::pool::bytes_of;
use crate::pool::Weighed;
use vexfs_host::mem::Vec;
use vexfs_host::Result;

/// The memory of a search.
pub(super) struct Scratch {
    pub(super) walk: Walk,
    /// Nodes that a filtered walk has not expanded, a heap of `!(key << 32 | node)`.
    pub(super) frontier: Vec<u64>,
    /// Rows to compare by full vectors, and their keys.
    pub(super) rows: Vec<u32>,
    pub(super) keys: Vec<u32>,
    /// The query in the form of the codes, and on the way to it.
    pub(super) code: Vec<u8>,
    pub(super) vector: Vec<u8>,
}

impl Weighed for Scratch {
    fn memory_bytes(&self) -> u64 {
        self.walk.memory_bytes()
            + bytes_of(&self.frontier)
            + bytes_of(&self.rows)
            + bytes_of(&self.keys)
            + bytes_of(&self.code)
            + bytes_of(&self.vector)
    }
}

impl Scratch {
    pub(super) fn new(count: usize, degree: usize) -> Result<Self> {
        Ok(Self {
            walk: Walk::new(count, degree)?,
            frontier: Vec::new(),
            rows: Vec::new(),
            keys: Vec::new(),
            code: Vec::new(),
            vector: Vec::new(),
        })
    }
}
