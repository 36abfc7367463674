// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Generated rows and queries that indexes are tested with.

use crate::bits::Bits;
use crate::index::Build;
use crate::index::Cost;
use crate::index::Costs;
use crate::index::Index;
use crate::index::IndexParams;
use crate::index::Kind;
use crate::index::Nearest;
use crate::index::Opening;
use crate::index::ReadAt;
use crate::index::Scope;
use crate::index::SearchParams;
use crate::index::Sections;
use std::vec;
use std::vec::Vec as StdVec;
use vexfs_simd::Element;
use vexfs_simd::Kernels;
use vexfs_simd::Metric;
use vexfs_simd::Query;
use vexfs_simd::Rows;
use vexfs_simd::Space;

/// Nothing stays on disk.
pub(crate) struct NoReader;

impl ReadAt for NoReader {
    fn read_many(&self, _reads: &mut [vexfs_core::file::ReadAt<'_>]) -> vexfs_host::Result {
        unreachable!()
    }
}

/// Makes the sections of an index.
pub(crate) fn make<I: Kind<NoReader>>(build: &Build<'_>) -> vexfs_host::Result<Sections> {
    I::build(build)
}

/// Opens an index that is in memory.
pub(crate) fn open<I: Kind<NoReader>>(
    space: &Space,
    count: usize,
    params: &IndexParams,
    sections: Sections,
) -> vexfs_host::Result<I> {
    I::open(Opening {
        space,
        count,
        params,
        sections,
        reader: None,
    })
}

/// Searches as the planner does: the rows that a filter accepts are compared where that costs
/// less, and all accepted ones where the index gave up or found too few.
pub(crate) fn search_or_scan(
    index: &impl Index,
    scope: &Scope<'_>,
    query: &Query<'_>,
    params: &SearchParams,
    nearest: &mut Nearest,
) -> vexfs_host::Result<Cost> {
    let count = scope.rows.count();
    let accepted = scope.accept.map_or(count, Bits::count);
    let wanted = accepted.min(nearest.k());
    let costs = Costs::new(&scope.rows.space(), count as u64);
    let mut cost = Cost {
        gave_up: scope.accept.is_some()
            && index.cost(&costs, params, nearest.k(), accepted as u64) >= index.scan_cost(&costs, accepted as u64),
        ..Cost::default()
    };
    if !cost.gave_up {
        cost = index.search(scope, query, params, nearest)?;
    }
    if (cost.gave_up || nearest.len() < wanted) && !cost.stopped {
        *nearest = Nearest::new(nearest.k(), count, u32::MAX)?;
        if index.has_vectors() {
            cost += index.scan(scope, query, nearest)?;
            return Ok(cost);
        }
        for row in scope.accepted(count) {
            let mut key = [0];
            scope.kernels.gather(query, &scope.rows, &[row], &mut key).unwrap();
            nearest.offer(key[0], row)?;
        }
    }
    Ok(cost)
}

/// A linear congruential generator.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self, below: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) % below
    }

    /// About normal: the sum of twelve even ones.
    fn normal(&mut self) -> f32 {
        (0..12)
            .map(|_| self.next(1 << 20) as f32 / (1 << 20) as f32)
            .sum::<f32>()
            - 6.0
    }
}

/// Rows around centres, and queries around the same.
pub(crate) struct Data {
    pub(crate) space: Space,
    rows: StdVec<u8>,
    norms: StdVec<u32>,
    pub(crate) queries: StdVec<StdVec<u8>>,
    pub(crate) count: usize,
}

pub(crate) const QUERIES: usize = 40;

impl Data {
    pub(crate) fn new(element: Element, metric: Metric, dim: usize, count: usize) -> Self {
        let space = Space::new(element, metric, dim).unwrap();
        let kernels = Kernels::detect();
        let mut random = Random(17);
        let centres: StdVec<StdVec<f32>> = (0..20).map(|_| (0..dim).map(|_| random.normal()).collect()).collect();
        let mut row = || {
            let centre = &centres[random.next(20) as usize];
            let floats: StdVec<f32> = centre.iter().map(|x| x + 0.5 * random.normal()).collect();
            encode(&space, &floats)
        };
        let rows: StdVec<u8> = (0..count).flat_map(|_| row()).collect();
        let queries = (0..QUERIES).map(|_| row()).collect();
        let mut norms = vec![0; if space.needs_norms() { count } else { 0 }];
        if space.needs_norms() {
            kernels.inv_norms(&space, &rows, &mut norms).unwrap();
        }
        Self {
            space,
            rows,
            norms,
            queries,
            count,
        }
    }

    pub(crate) fn rows(&self) -> Rows<'_> {
        Rows::new(&self.space, &self.rows, self.space.row_bytes(), self.count, &self.norms).unwrap()
    }

    pub(crate) fn build<'a>(&'a self, params: &'a IndexParams, threads: usize) -> Build<'a> {
        Build {
            kernels: Kernels::detect(),
            rows: self.rows(),
            params,
            threads,
            progress: &|_, _| {},
        }
    }

    pub(crate) fn scope<'a>(&'a self, accept: Option<&'a Bits>) -> Scope<'a> {
        Scope {
            kernels: Kernels::detect(),
            rows: self.rows(),
            accept,
            stop: &|| false,
        }
    }

    pub(crate) fn query(&self, query: usize) -> Query<'_> {
        Kernels::detect().query(&self.space, &self.queries[query]).unwrap()
    }

    /// What a search finds.
    pub(crate) fn found(&self, k: usize, search: impl FnOnce(&mut Nearest)) -> StdVec<u64> {
        let mut nearest = Nearest::new(k, self.count, u32::MAX).unwrap();
        search(&mut nearest);
        nearest.into_sorted().to_vec()
    }

    /// The nearest accepted rows, `key << 32 | row` each.
    pub(crate) fn exact(&self, query: usize, k: usize, accept: Option<&Bits>) -> StdVec<u64> {
        let kernels = Kernels::detect();
        let query = kernels.query(&self.space, &self.queries[query]).unwrap();
        let mut keys = vec![0; self.count];
        kernels.scan(&[query], &self.rows(), &mut keys).unwrap();
        let mut all: StdVec<u64> = keys
            .iter()
            .enumerate()
            .filter(|(row, _)| accept.is_none_or(|accept| accept.get(*row as u32)))
            .map(|(row, key)| u64::from(*key) << 32 | row as u64)
            .collect();
        all.sort();
        all.truncate(k);
        all
    }

    /// The recall of searches, of which each must find as many rows as there are, all accepted and with their exact
    /// keys.
    pub(crate) fn recall(
        &self,
        k: usize,
        accept: Option<&Bits>,
        search: impl Fn(&Scope<'_>, &Query<'_>, &mut Nearest),
    ) -> f64 {
        let mut found = 0;
        for query in 0..QUERIES {
            let exact = self.exact(query, self.count, accept);
            let got = self.found(k, |nearest| search(&self.scope(accept), &self.query(query), nearest));
            let k = k.min(exact.len());
            assert_eq!(got.len(), k);
            assert!(got.iter().all(|entry| exact.binary_search(entry).is_ok()));
            // By distance, so that any of several rows at the same will do.
            let last = exact[k - 1] >> 32;
            found += got.iter().filter(|entry| *entry >> 32 <= last).count();
        }
        found as f64 / (QUERIES * k.min(self.count)) as f64
    }
}

fn encode(space: &Space, floats: &[f32]) -> StdVec<u8> {
    match space.element() {
        Element::F32 => floats.iter().flat_map(|x| x.to_le_bytes()).collect(),
        // Cut, not rounded: any halves will do.
        Element::Bf16 => floats
            .iter()
            .flat_map(|x| ((x.to_bits() >> 16) as u16).to_le_bytes())
            .collect(),
        Element::F16 => floats
            .iter()
            .flat_map(|x| {
                let bits = (x.abs().max(0.001) * f32::from_bits(15 << 23)).to_bits() >> 13;
                ((bits as u16) | if *x < 0.0 { 0x8000 } else { 0 }).to_le_bytes()
            })
            .collect(),
        Element::I8 => floats.iter().map(|x| (x * 25.0) as i8 as u8).collect(),
        Element::U8 => floats.iter().map(|x| (x * 25.0 + 128.0) as u8).collect(),
        Element::Binary => floats
            .chunks(8)
            .map(|bits| {
                bits.iter()
                    .enumerate()
                    .fold(0, |byte, (i, x)| byte | u8::from(*x > 0.0) << i)
            })
            .collect(),
    }
}
