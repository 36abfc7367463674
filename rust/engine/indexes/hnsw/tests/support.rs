// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Generated rows of every element, exact search, and how much of it a graph finds.

use super::super::Hnsw;
use crate::bits::Bits;
use crate::index::Build;
use crate::index::Cost;
use crate::index::IndexKind;
use crate::index::IndexParams;
use crate::index::Nearest;
use crate::index::Scope;
use crate::index::SearchParams;
use crate::index::Sections;
use crate::testing::make;
use crate::testing::open as open_index;
use crate::testing::search_or_scan;
use std::vec::Vec;
use vexfs_simd::Element;
use vexfs_simd::Kernels;
use vexfs_simd::Metric;
use vexfs_simd::Query;
use vexfs_simd::Rows;
use vexfs_simd::Space;

/// SplitMix64.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// Rows, queries, and what they are of.
pub(super) struct Set {
    pub(super) space: Space,
    pub(super) rows: Vec<u8>,
    pub(super) norms: Vec<u32>,
    pub(super) queries: Vec<Vec<u8>>,
}

/// A number in -100 ..= 100 as an element. No float type is needed to write a small integer in any format.
fn element(element: Element, value: i32, out: &mut Vec<u8>) {
    let float = (value as f32).to_bits();
    match element {
        Element::F32 => out.extend(float.to_le_bytes()),
        Element::Bf16 => out.extend(((float >> 16) as u16).to_le_bytes()),
        // Integers up to 2048 are exact: sign, exponent moved from bias 127 to 15, ten bits of the fraction.
        Element::F16 if value == 0 => out.extend([0, 0]),
        Element::F16 => {
            let exponent = (float >> 23 & 0xff) - 127 + 15;
            let half = float >> 31 << 15 | exponent << 10 | float >> 13 & 0x3ff;
            out.extend((half as u16).to_le_bytes());
        }
        Element::I8 => out.push(value as i8 as u8),
        Element::U8 => out.push((value + 128) as u8),
        Element::Binary => unreachable!("bits are written eight at a time"),
    }
}

impl Set {
    /// Rows around a few centres.
    pub(super) fn new(kind: Element, metric: Metric, dim: usize, count: usize, seed: u64) -> Self {
        let space = Space::new(kind, metric, dim).unwrap();
        let mut random = Random(seed);
        let centres: Vec<Vec<i32>> = (0..1 + count / 100)
            .map(|_| (0..dim).map(|_| random.below(101) as i32 - 50).collect())
            .collect();
        let mut vector = |out: &mut Vec<u8>| {
            let centre = &centres[random.below(centres.len())];
            if kind == Element::Binary {
                for eight in centre.chunks(8) {
                    let bits = eight.iter().enumerate().map(|(i, x)| {
                        let flip = random.below(6) == 0;
                        u8::from((*x > 0) != flip) << i
                    });
                    out.push(bits.sum());
                }
                return;
            }
            for x in centre {
                let noise = (random.below(61) + random.below(61)) as i32 - 60;
                element(kind, (x + noise / 2).clamp(-100, 100), out);
            }
        };
        let mut rows = Vec::new();
        (0..count).for_each(|_| vector(&mut rows));
        let queries = (0..100)
            .map(|_| {
                let mut query = Vec::new();
                vector(&mut query);
                query
            })
            .collect();
        Self::of(space, rows, queries)
    }

    /// These rows and queries.
    pub(super) fn of(space: Space, rows: Vec<u8>, queries: Vec<Vec<u8>>) -> Self {
        let mut norms = Vec::new();
        if space.needs_norms() {
            norms.resize(rows.len() / space.row_bytes(), 0);
            Kernels::detect().inv_norms(&space, &rows, &mut norms).unwrap();
        }
        Self {
            space,
            rows,
            norms,
            queries,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.rows.len() / self.space.row_bytes()
    }

    pub(super) fn rows(&self) -> Rows<'_> {
        let bytes = self.space.row_bytes();
        Rows::new(&self.space, &self.rows, bytes, self.count(), &self.norms).unwrap()
    }

    pub(super) fn query<'a>(&self, row: &'a [u8]) -> Query<'a> {
        Kernels::detect().query(&self.space, row).unwrap()
    }

    pub(super) fn build(&self, params: &IndexParams, threads: usize) -> Sections {
        self.build_with(params, threads, make::<Hnsw>)
    }

    pub(super) fn build_with(
        &self,
        params: &IndexParams,
        threads: usize,
        how: impl Fn(&Build<'_>) -> vexfs_host::Result<Sections>,
    ) -> Sections {
        how(&Build {
            kernels: Kernels::detect(),
            rows: self.rows(),
            params,
            threads,
            progress: &|_, _| {},
        })
        .unwrap()
    }

    pub(super) fn open(&self, params: &IndexParams, sections: Sections) -> Hnsw {
        open_index::<Hnsw>(&self.space, self.count(), params, sections).unwrap()
    }

    /// Keys and rows found, nearest first.
    pub(super) fn search(
        &self,
        graph: &Hnsw,
        query: &[u8],
        params: SearchParams,
        accept: Option<&Bits>,
        k: usize,
    ) -> (Vec<u64>, Cost) {
        let scope = Scope {
            kernels: Kernels::detect(),
            rows: self.rows(),
            accept,
            stop: &|| false,
        };
        let mut nearest = Nearest::new(k, self.count(), u32::MAX).unwrap();
        let cost = search_or_scan(graph, &scope, &self.query(query), &params, &mut nearest).unwrap();
        (nearest.into_sorted().to_vec(), cost)
    }

    /// Keys and rows of an exact search.
    pub(super) fn exact(&self, query: &[u8], accept: Option<&Bits>, k: usize) -> Vec<u64> {
        let mut keys = std::vec![0; self.count()];
        Kernels::detect()
            .scan(&[self.query(query)], &self.rows(), &mut keys)
            .unwrap();
        let mut all: Vec<u64> = (0..self.count() as u32)
            .filter(|row| accept.is_none_or(|accept| accept.get(*row)))
            .map(|row| u64::from(keys[row as usize]) << 32 | u64::from(row))
            .collect();
        all.sort();
        all.truncate(k);
        all
    }

    /// The share of the 10 nearest that is found, in thousandths; a found row as near as the tenth counts, as ties are
    /// common among small integers.
    pub(super) fn recall(&self, graph: &Hnsw, params: SearchParams, accept: Option<&Bits>) -> usize {
        let (mut hit, mut of) = (0, 0);
        for query in &self.queries {
            let exact = self.exact(query, accept, 10);
            let farthest = exact.last().map_or(0, |last| last >> 32);
            let (found, _) = self.search(graph, query, params, accept, 10);
            assert_eq!(found.len(), exact.len());
            assert!(found.windows(2).all(|pair| pair[0] < pair[1]));
            hit += found.iter().filter(|entry| **entry >> 32 <= farthest).count();
            of += exact.len();
        }
        1000 * hit / of
    }
}

pub(super) fn params() -> IndexParams {
    IndexParams::of(IndexKind::Hnsw).with(|p| {
        p.m = 8;
        p.ef_construction = 60;
        p.seed = 42;
    })
}

pub(super) fn with_ef(ef: u32) -> SearchParams {
    SearchParams {
        ef,
        ..SearchParams::default()
    }
}
