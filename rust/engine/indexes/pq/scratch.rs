// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The memory of a search, which searches hand on to each other.

use crate::indexes::ivf::select;
use crate::indexes::ivf::Lists;
use crate::indexes::ivf::Probes;
use crate::pool::bytes_of;
use crate::pool::Weighed;
use vexfs_host::mem::Vec;
use vexfs_host::Result;
use vexfs_simd::quant::Pq;

/// Places scanned by one call of the kernels.
pub(super) const CHUNK: usize = 1024;

/// What a search needs.
pub(super) struct Scratch {
    pub(super) vector: Vec<u32>,
    pub(super) probes: Probes,
    pub(super) values: Vec<u32>,
    pub(super) table: Vec<u8>,
    pub(super) places: Vec<u32>,
    pub(super) keys: Vec<u32>,
    pub(super) candidates: Candidates,
    pub(super) ids: Vec<u32>,
}

impl Weighed for Scratch {
    fn memory_bytes(&self) -> u64 {
        bytes_of(&self.vector)
            + self.probes.memory_bytes()
            + bytes_of(&self.values)
            + bytes_of(&self.table)
            + bytes_of(&self.places)
            + bytes_of(&self.keys)
            + bytes_of(&self.candidates.entries)
            + bytes_of(&self.ids)
    }
}

impl Scratch {
    pub(super) fn new(pq: &Pq, lists: &Lists) -> Result<Self> {
        let mut scratch = Self {
            vector: Vec::new(),
            probes: Probes::new(lists)?,
            values: Vec::new(),
            table: Vec::new(),
            places: Vec::new(),
            keys: Vec::new(),
            candidates: Candidates::default(),
            ids: Vec::new(),
        };
        scratch.vector.resize(pq.dim(), 0)?;
        scratch.values.resize(pq.values(), 0)?;
        scratch.table.resize(pq.values(), 0)?;
        scratch.places.resize(CHUNK, 0)?;
        scratch.keys.resize(CHUNK, 0)?;
        Ok(scratch)
    }
}

/// The rows with the smallest keys by their codes: an array that is cut whenever it is twice as long as wanted.
#[derive(Default)]
pub(super) struct Candidates {
    /// `key << 32 | row` each.
    pub(super) entries: Vec<u64>,
    wanted: usize,
    /// Larger keys are not wanted any more.
    pub(super) limit: u32,
}

impl Candidates {
    pub(super) fn start(&mut self, wanted: usize) -> Result {
        self.entries.clear();
        self.wanted = wanted;
        self.limit = u32::MAX;
        self.entries.reserve(self.full() + CHUNK)
    }

    /// Entries from which on the array is cut.
    pub(super) fn full(&self) -> usize {
        self.wanted.saturating_mul(2)
    }

    /// Keeps only what is wanted.
    pub(super) fn cut(&mut self) {
        if self.entries.len() > self.wanted {
            select(&mut self.entries, self.wanted);
            self.entries.truncate(self.wanted);
            let largest = self.entries.iter().max();
            self.limit = largest.map_or(self.limit, |entry| (entry >> 32) as u32);
        }
    }
}
