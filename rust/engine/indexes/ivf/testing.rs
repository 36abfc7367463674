// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Rows and queries of every element type, and their true neighbours.

use crate::bits::Bits;
use crate::index::Build;
use crate::index::Cost;
use crate::index::IndexParams;
use crate::index::Nearest;
use crate::index::Scope;
use crate::index::SearchParams;
use crate::index::Sections;
use crate::kmeans::Random;
use std::vec;
use std::vec::Vec;
use vexfs_host::mem::Buffer;
use vexfs_host::Result;
use vexfs_simd::Element;
use vexfs_simd::Kernels;
use vexfs_simd::Metric;
use vexfs_simd::Query;
use vexfs_simd::Rows;
use vexfs_simd::Space;

/// All combinations of elements and metrics that can be clustered.
pub(crate) fn spaces(dim: usize) -> impl Iterator<Item = Space> {
    let elements = [Element::F32, Element::F16, Element::Bf16, Element::I8, Element::U8];
    let metrics = [Metric::L2, Metric::Cosine, Metric::Ip];
    elements
        .into_iter()
        .flat_map(move |element| metrics.map(|metric| Space::new(element, metric, dim).unwrap()))
}

/// Rows around some centres, and queries around the same.
pub(crate) struct Data {
    pub(crate) space: Space,
    pub(crate) kernels: Kernels,
    bytes: Buffer,
    norms: Vec<u32>,
    count: usize,
    queries: Vec<Vec<u8>>,
}

fn row(space: &Space, centres: &[Vec<f32>], random: &mut Random) -> Vec<u8> {
    let unit = |random: &mut Random| random.below(1 << 20) as f32 / (1 << 19) as f32 - 1.0;
    let centre = &centres[random.below(centres.len())];
    // Noise of few dimensions, as that of real data, and a little of all.
    let (a, b) = (unit(random), unit(random));
    let floats = centre.iter().enumerate().map(|(d, x)| {
        let wave = a * ((d * 7 % 13) as f32 - 6.0) + b * ((d * 5 % 11) as f32 - 5.0);
        x + 0.05 * wave + 0.15 * unit(random)
    });
    let floats: Vec<f32> = floats.collect();
    let f32s = || -> Vec<u8> { floats.iter().flat_map(|x| x.to_le_bytes()).collect() };
    match space.element() {
        Element::F32 => f32s(),
        Element::I8 => floats.iter().map(|x| (x * 60.0) as i8 as u8).collect(),
        Element::U8 => floats.iter().map(|x| (x * 60.0 + 128.0) as u8).collect(),
        element => {
            let wide = Space::new(Element::F32, Metric::L2, space.dim()).unwrap();
            let (from, mut out) = (f32s(), vec![0; space.row_bytes()]);
            let rows = Rows::new(&wide, &from, from.len(), 1, &[]).unwrap();
            let stride = out.len();
            Kernels::detect().convert(&rows, element, &mut out, stride, 0).unwrap();
            out
        }
    }
}

impl Data {
    pub(crate) fn new(space: Space, count: usize, queries: usize) -> Self {
        let kernels = Kernels::detect();
        let mut random = Random::new(11);
        let centres: Vec<Vec<f32>> = (0..30)
            .map(|_| {
                (0..space.dim())
                    .map(|_| random.below(2001) as f32 / 1000.0 - 1.0)
                    .collect()
            })
            .collect();
        let bytes: Vec<u8> = (0..count).flat_map(|_| row(&space, &centres, &mut random)).collect();
        let queries = (0..queries).map(|_| row(&space, &centres, &mut random)).collect();
        let mut norms = vec![0; if space.needs_norms() { count } else { 0 }];
        if space.needs_norms() {
            kernels.inv_norms(&space, &bytes, &mut norms).unwrap();
        }
        Self {
            space,
            kernels,
            bytes: Buffer::copy_of(&bytes).unwrap(),
            norms,
            count,
            queries,
        }
    }

    pub(crate) fn rows(&self) -> Rows<'_> {
        Rows::new(
            &self.space,
            &self.bytes,
            self.space.row_bytes(),
            self.count,
            &self.norms,
        )
        .unwrap()
    }

    pub(crate) fn queries(&self) -> impl Iterator<Item = Query<'_>> {
        self.queries
            .iter()
            .map(|query| self.kernels.query(&self.space, query).unwrap())
    }

    pub(crate) fn build(
        &self,
        params: &IndexParams,
        threads: usize,
        build: impl Fn(&Build<'_>) -> Result<Sections>,
    ) -> Result<Sections> {
        build(&Build {
            kernels: self.kernels,
            rows: self.rows(),
            params,
            threads,
            progress: &|done, total| assert!(done <= total),
        })
    }

    pub(crate) fn scope<'a>(&'a self, accept: Option<&'a Bits>) -> Scope<'a> {
        Scope {
            kernels: self.kernels,
            rows: self.rows(),
            accept,
            stop: &|| false,
        }
    }

    /// The `k` nearest rows, by comparing all of them.
    pub(crate) fn exact(&self, query: &Query<'_>, k: usize, accept: Option<&Bits>) -> Vec<u64> {
        let mut keys = vec![0; self.count];
        self.kernels.scan(&[*query], &self.rows(), &mut keys).unwrap();
        let entries = keys
            .iter()
            .enumerate()
            .map(|(row, key)| u64::from(*key) << 32 | row as u64);
        let mut entries: Vec<u64> = entries.filter(|e| accept.is_none_or(|a| a.get(*e as u32))).collect();
        entries.sort();
        entries.truncate(k);
        entries
    }

    /// The share of the ten nearest rows that a search finds, over all queries.
    pub(crate) fn recall(
        &self,
        params: &SearchParams,
        accept: Option<&Bits>,
        search: impl Fn(&Scope<'_>, &Query<'_>, &SearchParams, &mut Nearest) -> Result<Cost>,
    ) -> f64 {
        let (mut hits, mut all) = (0, 0);
        for query in self.queries() {
            let mut nearest = Nearest::new(10, self.count, u32::MAX).unwrap();
            search(&self.scope(accept), &query, params, &mut nearest).unwrap();
            let found = nearest.into_sorted();
            let exact = self.exact(&query, 10, accept);
            assert_eq!(found.len(), exact.len(), "rows that exist were not returned");
            assert!(found.windows(2).all(|pair| pair[0] < pair[1]));
            hits += found.iter().filter(|entry| exact.contains(entry)).count();
            all += exact.len();
        }
        hits as f64 / all as f64
    }
}

/// Each way in which damaged sections differ from good ones: shorter, longer, missing, with a byte changed.
pub(crate) fn damaged(sections: &Sections, try_open: impl Fn(Sections, bool)) {
    let copy = |skip: Option<usize>, change: &dyn Fn(usize, &[u8]) -> Vec<u8>| {
        let mut copies = Sections::new();
        for (i, section) in sections.iter().enumerate().filter(|(i, _)| Some(*i) != skip) {
            let bytes = Buffer::copy_of(&change(i, &section.bytes)).unwrap();
            copies
                .push(crate::index::Section {
                    kind: section.kind,
                    bytes,
                })
                .unwrap();
        }
        copies
    };
    for at in 0..sections.len() {
        try_open(copy(Some(at), &|_, bytes| bytes.to_vec()), true);
        for longer in [1, 4, 64] {
            let more = |i: usize, bytes: &[u8]| {
                let mut bytes = bytes.to_vec();
                if i == at {
                    bytes.resize(bytes.len() + longer, 0);
                }
                bytes
            };
            try_open(copy(None, &more), true);
        }
        for shorter in [1, 4, 64] {
            let less = |i: usize, bytes: &[u8]| match i == at {
                true => bytes[..bytes.len().saturating_sub(shorter)].to_vec(),
                false => bytes.to_vec(),
            };
            try_open(copy(None, &less), true);
        }
        let len = sections[at].bytes.len();
        for offset in (0..len).step_by((len / 97).max(1)) {
            for flip in [0x01, 0x80, 0xff] {
                let flipped = |i: usize, bytes: &[u8]| {
                    let mut bytes = bytes.to_vec();
                    if i == at {
                        bytes[offset] ^= flip;
                    }
                    bytes
                };
                // Codes and floats may be anything: then a search just finds other rows.
                try_open(copy(None, &flipped), false);
            }
        }
    }
}
