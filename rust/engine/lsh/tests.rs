// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! LSH against exact search.

use super::*;
use crate::bits::Bits;
use crate::index::Kind;
use std::vec;
use std::vec::Vec as StdVec;
use vexfs_simd::Element;
use vexfs_simd::Kernels;
use vexfs_simd::Metric;
use vexfs_simd::Rows;

struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
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
struct Data {
    space: Space,
    rows: StdVec<u8>,
    norms: StdVec<u32>,
    queries: StdVec<StdVec<u8>>,
    count: usize,
}

const QUERIES: usize = 40;

impl Data {
    fn new(element: Element, metric: Metric, dim: usize, count: usize) -> Self {
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

    fn rows(&self) -> Rows<'_> {
        Rows::new(&self.space, &self.rows, self.space.row_bytes(), self.count, &self.norms).unwrap()
    }

    fn build(&self, params: &IndexParams, threads: usize) -> Sections {
        let build = Build {
            kernels: Kernels::detect(),
            rows: self.rows(),
            params,
            threads,
            progress: &|_, _| {},
        };
        Lsh::build(&build).unwrap()
    }

    fn open(&self, params: &IndexParams) -> Lsh {
        Lsh::open(&self.space, self.count, params, self.build(params, 2)).unwrap()
    }

    fn search(&self, lsh: &Lsh, query: usize, k: usize, accept: Option<&Bits>) -> StdVec<u64> {
        let kernels = Kernels::detect();
        let scope = Scope {
            kernels,
            rows: self.rows(),
            accept,
            stop: &|| false,
        };
        let query = kernels.query(&self.space, &self.queries[query]).unwrap();
        let mut nearest = Nearest::new(k, self.count, u32::MAX).unwrap();
        lsh.search(&scope, &query, &Knobs::default(), &mut nearest).unwrap();
        nearest.into_sorted().to_vec()
    }

    fn exact(&self, query: usize, k: usize, accept: Option<&Bits>) -> StdVec<u64> {
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

    fn recall(&self, lsh: &Lsh, k: usize, accept: Option<&Bits>) -> f64 {
        let mut found = 0;
        for query in 0..QUERIES {
            let exact = self.exact(query, k, accept);
            let got = self.search(lsh, query, k, accept);
            assert_eq!(got.len(), exact.len());
            // By distance, so that any of several rows at the same will do.
            let last = exact.last().unwrap() >> 32;
            found += got.iter().filter(|entry| *entry >> 32 <= last).count();
        }
        found as f64 / (QUERIES * k) as f64
    }
}

fn encode(space: &Space, floats: &[f32]) -> StdVec<u8> {
    let kernels = Kernels::detect();
    let _ = kernels;
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

fn params() -> IndexParams {
    IndexParams {
        seed: 42,
        ..IndexParams::new(Kind::Lsh)
    }
}

#[test]
fn the_derived_parameters_reach_the_recall_asked_for_in_every_metric_and_element() {
    let mut spaces = vec![(Element::Binary, Metric::Hamming)];
    for element in [Element::F32, Element::F16, Element::Bf16, Element::I8, Element::U8] {
        for metric in [Metric::L2, Metric::Cosine, Metric::InnerProduct] {
            spaces.push((element, metric));
        }
    }
    for (element, metric) in spaces {
        let data = Data::new(element, metric, 64, 6000);
        for (permille, least) in [(0, 0.86), (970, 0.94)] {
            let params = IndexParams {
                recall_permille: permille,
                ..params()
            };
            let lsh = data.open(&params);
            let recall = data.recall(&lsh, 10, None);
            std::println!("{element:?} {metric:?} {permille}: {recall} {:?}", lsh.derived);
            assert!(
                recall >= least,
                "{element:?} {metric:?} {permille}: {recall} {:?}",
                lsh.derived
            );
        }
    }
}

#[test]
fn few_dimensions_and_few_rows_are_searched_too() {
    for (dim, count) in [(1, 50), (2, 3000), (5, 1), (5, 0), (7, 9), (300, 12)] {
        let data = Data::new(Element::F32, Metric::L2, dim, count);
        let lsh = data.open(&params());
        for query in 0..QUERIES {
            let got = data.search(&lsh, query, 5, None);
            assert_eq!(got.len(), count.min(5));
        }
        if count > 0 {
            assert!(data.recall(&lsh, 5.min(count), None) >= 0.8);
        }
    }
}

#[test]
fn one_thread_and_several_make_the_same_bytes() {
    let data = Data::new(Element::F32, Metric::L2, 32, 9000);
    let bytes = |threads| -> StdVec<(u32, StdVec<u8>)> {
        let sections = data.build(&params(), threads);
        sections.iter().map(|s| (s.kind, s.bytes.to_vec())).collect()
    };
    let one = bytes(1);
    assert!(one == bytes(1));
    assert!(one == bytes(3));
}

#[test]
fn a_filter_gives_k_accepted_rows_whenever_there_are_k() {
    let data = Data::new(Element::F32, Metric::L2, 32, 8000);
    let lsh = data.open(&params());
    for every in [2, 10, 100, 1000, 4000] {
        let mut accept = Bits::new(data.count).unwrap();
        for row in (0..data.count).step_by(every) {
            accept.set(row as u32);
        }
        for query in 0..QUERIES {
            let got = data.search(&lsh, query, 10, Some(&accept));
            assert_eq!(got.len(), accept.count().min(10));
            assert!(got.iter().all(|entry| accept.get(*entry as u32)));
        }
        let k = accept.count().min(10);
        assert!(data.recall(&lsh, k, Some(&accept)) >= 0.86, "every {every}");
    }
    let none = Bits::new(data.count).unwrap();
    assert!(data.search(&lsh, 0, 10, Some(&none)).is_empty());
}

#[test]
fn a_search_that_is_told_to_stop_stops() {
    let data = Data::new(Element::F32, Metric::L2, 32, 20_000);
    let lsh = data.open(&params());
    let kernels = Kernels::detect();
    let scope = Scope {
        kernels,
        rows: data.rows(),
        accept: None,
        stop: &|| true,
    };
    let query = kernels.query(&data.space, &data.queries[0]).unwrap();
    let mut nearest = Nearest::new(10, data.count, u32::MAX).unwrap();
    let knobs = Knobs {
        nprobe: 1_000_000,
        ..Knobs::default()
    };
    let cost = lsh.search(&scope, &query, &knobs, &mut nearest).unwrap();
    assert!(cost.stopped && cost.codes < 20_000);
    // Later searches are not disturbed by what it left.
    assert!(data.recall(&lsh, 10, None) >= 0.86);
}

#[test]
fn damaged_sections_are_refused_or_searched_without_harm() {
    let data = Data::new(Element::F32, Metric::L2, 16, 3000);
    let params = params();
    let open = |sections: Sections| Lsh::open(&data.space, data.count, &params, sections);
    let built = data.build(&params, 1);
    let whole = || {
        let mut sections = Sections::new();
        for section in built.iter() {
            let bytes = Buffer::copy_of(&section.bytes).unwrap();
            sections
                .push(Section {
                    kind: section.kind,
                    bytes,
                })
                .unwrap();
        }
        sections
    };
    assert!(Lsh::open(&data.space, data.count + 1, &params, whole()).is_err());
    let mut random = Random(5);
    for section in 0..5 {
        let mut sections = whole();
        sections.remove(section);
        assert!(matches!(open(sections), Err(Error::Corrupt(_))));
        let mut sections = whole();
        let short = sections[section].bytes.len() - 4;
        sections[section].bytes = Buffer::copy_of(&whole()[section].bytes[..short]).unwrap();
        assert!(matches!(open(sections), Err(Error::Corrupt(_))));
        for _ in 0..60 {
            let mut sections = whole();
            let bytes = &mut sections[section].bytes;
            let at = random.next(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << random.next(8);
            match open(sections) {
                Err(error) => assert!(matches!(error, Error::Corrupt(_))),
                Ok(lsh) => {
                    for query in 0..4 {
                        let found = data.search(&lsh, query, 10, None);
                        assert!(found.iter().all(|entry| (*entry as u32) < 3000));
                    }
                }
            }
        }
    }
    // A list with a row that is not there, a directory that falls.
    for (kind, word) in [(format::LISTS, 3000), (format::DIRECTORIES, u32::MAX)] {
        let mut sections = whole();
        for section in sections.iter_mut().filter(|section| section.kind == kind) {
            if let Some(last) = section.bytes.as_u32s_mut().first_mut() {
                *last = word;
            }
        }
        let empty = sections.iter().any(|s| s.kind == kind && s.bytes.is_empty());
        assert!(empty || matches!(open(sections), Err(Error::Corrupt(_))));
    }
}
