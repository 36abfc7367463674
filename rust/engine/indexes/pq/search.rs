// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The search: scan the codes of the nearest lists, then compare the best candidates exactly.

use super::index::PqIndex;
use crate::index::Cost;
use crate::index::Knobs;
use crate::index::Nearest;
use crate::index::Scope;
use crate::indexes::ivf;
use crate::indexes::ivf::select;
use crate::indexes::ivf::Probes;
use crate::kmeans::fits;
use crate::pool::bytes_of;
use crate::pool::Weighed;
use vexfs_host::mem::Vec;
use vexfs_host::relax;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd::bits_of;
use vexfs_simd::Query;
use zerocopy::FromBytes as _;

/// Places scanned by one call of the kernels.
const CHUNK: usize = 1024;
/// Rows compared exactly by one call of the kernels.
const GATHER: usize = 128;
/// Candidates for each hit, if the user does not say it.
pub(super) const RERANK: usize = 12;

/// What a search needs.
pub(super) struct Scratch {
    vector: Vec<u32>,
    probes: Probes,
    values: Vec<u32>,
    table: Vec<u8>,
    places: Vec<u32>,
    keys: Vec<u32>,
    candidates: Candidates,
    ids: Vec<u32>,
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
    pub(super) fn new(index: &PqIndex) -> Result<Self> {
        let mut scratch = Self {
            vector: Vec::new(),
            probes: Probes::new(&index.lists)?,
            values: Vec::new(),
            table: Vec::new(),
            places: Vec::new(),
            keys: Vec::new(),
            candidates: Candidates::default(),
            ids: Vec::new(),
        };
        scratch.vector.resize(index.pq.dim(), 0)?;
        scratch.values.resize(index.pq.values(), 0)?;
        scratch.table.resize(index.pq.values(), 0)?;
        scratch.places.resize(CHUNK, 0)?;
        scratch.keys.resize(CHUNK, 0)?;
        Ok(scratch)
    }
}

/// The rows with the smallest keys by their codes: an array that is cut whenever it is twice as long as wanted.
#[derive(Default)]
struct Candidates {
    /// `key << 32 | row` each.
    entries: Vec<u64>,
    wanted: usize,
    /// Larger keys are not wanted any more.
    limit: u32,
}

impl Candidates {
    fn start(&mut self, wanted: usize) -> Result {
        self.entries.clear();
        self.wanted = wanted;
        self.limit = u32::MAX;
        self.entries.reserve(self.full() + CHUNK)
    }

    /// Entries from which on the array is cut.
    fn full(&self) -> usize {
        self.wanted.saturating_mul(2)
    }

    /// Keeps only what is wanted.
    fn cut(&mut self) {
        if self.entries.len() > self.wanted {
            select(&mut self.entries, self.wanted);
            self.entries.truncate(self.wanted);
            let largest = self.entries.iter().max();
            self.limit = largest.map_or(self.limit, |entry| (entry >> 32) as u32);
        }
    }
}

impl PqIndex {
    /// Offers the rows nearest to the query.
    pub(super) fn search_with(
        &self,
        scratch: &mut Scratch,
        scope: &Scope<'_>,
        query: &Query<'_>,
        knobs: &Knobs,
        nearest: &mut Nearest,
    ) -> Result<Cost> {
        let kernels = &scope.kernels;
        let rows = self.lists.rows();
        let probes = match knobs.nprobe {
            0 => ivf::default_probes(self.lists.count()),
            probes => probes as usize,
        };
        let rerank = match knobs.rerank {
            0 => RERANK,
            rerank => rerank as usize,
        };
        let wanted = nearest.k().saturating_mul(rerank).min(rows.len());
        let candidates = &mut scratch.candidates;
        candidates.start(wanted)?;

        fits(kernels.unpack_query(query, &mut scratch.vector))?;
        let vector = scratch.vector.get(..self.lists.dim()).ok_or(Error::Overflow)?;
        scratch.probes.rank(kernels, &self.lists, vector, probes)?;
        let (range, terms) = match &self.terms {
            Some((range, terms)) => (Some(*range), terms.as_bytes()),
            None => (None, [].as_slice()),
        };
        let terms = <[u16]>::ref_from_bytes(terms).unwrap_or_default();
        let table = fits(kernels.pq_scan_table(
            &self.book()?,
            &scratch.vector,
            self.lists.l2(),
            range,
            &mut scratch.values,
            &mut scratch.table,
        ))?;

        let mut cost = Cost::default();
        let (mut at, mut accepted, mut work) = (0, 0, 0);
        // With a filter, on until there are as many candidates as without.
        while at < probes || accepted < wanted {
            let Some((key, list)) = scratch.probes.get(at) else {
                break;
            };
            if (scope.stop)() {
                cost.stopped = true;
                break;
            }
            at += 1;
            cost.hops += 1;
            let places = self.lists.places(list);
            let mut first = places.start;
            while first < places.end {
                let count = CHUNK.min(places.end - first);
                let found = fits(kernels.pq_scan(
                    &table,
                    self.codes.as_bytes(),
                    terms,
                    first,
                    count,
                    bits_of(key),
                    candidates.limit,
                    &mut scratch.places,
                    &mut scratch.keys,
                ))?;
                for (place, key) in scratch.places.iter().zip(&scratch.keys).take(found) {
                    let row = rows.get(*place as usize).copied().unwrap_or_default();
                    if scope.accepts(row) {
                        accepted += 1;
                        candidates.entries.push(u64::from(*key) << 32 | u64::from(row))?;
                    }
                }
                if candidates.entries.len() >= candidates.full() {
                    candidates.cut();
                }
                first += count;
                cost.codes += count as u64;
                work += count;
                if work >= CHUNK {
                    work = 0;
                    relax()?;
                }
            }
        }
        candidates.cut();

        for entries in candidates.entries.chunks(GATHER) {
            scratch.ids.clear();
            for entry in entries {
                scratch.ids.push(*entry as u32)?;
            }
            let keys = scratch.keys.get_mut(..entries.len()).ok_or(Error::Overflow)?;
            fits(kernels.gather(query, &scope.rows, &scratch.ids, keys))?;
            for (key, row) in keys.iter().zip(&scratch.ids) {
                if *key <= nearest.limit() {
                    nearest.offer(*key, *row)?;
                }
            }
            relax()?;
        }
        cost.distances += candidates.entries.len() as u64;
        Ok(cost)
    }
}
