// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! LSH against exact search.

use super::*;
use crate::bits::Bits;
use crate::index::IndexKind;
use crate::index::IndexParams;
use crate::testing::make;
use crate::testing::open as open_index;
use crate::testing::Data;
use crate::testing::Random;
use std::vec;
use std::vec::Vec as StdVec;
use vexfs_simd::Element;
use vexfs_simd::Metric;

fn open(data: &Data, params: &IndexParams) -> Lsh {
    let sections = make::<Lsh>(&data.build(params, 2)).unwrap();
    open_index::<Lsh>(&data.space, data.count, params, sections).unwrap()
}

fn recall(data: &Data, lsh: &Lsh, k: usize, accept: Option<&Bits>) -> f64 {
    data.recall(k, accept, |scope, query, nearest| {
        lsh.search(scope, query, &SearchParams::default(), nearest).unwrap();
    })
}

fn params() -> IndexParams {
    IndexParams::of(IndexKind::Lsh).with(|p| {
        p.seed = 42;
    })
}

#[test]
fn the_derived_parameters_reach_the_recall_asked_for_in_every_metric_and_element() {
    let mut spaces = vec![(Element::Binary, Metric::Hamming)];
    for element in [Element::F32, Element::F16, Element::Bf16, Element::I8, Element::U8] {
        for metric in [Metric::L2, Metric::Cosine, Metric::Ip] {
            spaces.push((element, metric));
        }
    }
    for (element, metric) in spaces {
        let data = Data::new(element, metric, 64, 3000);
        for (permille, least) in [(0, 0.86), (970, 0.94)] {
            let params = params().with(|p| {
                p.recall_permille = permille;
            });
            let lsh = open(&data, &params);
            let reached = recall(&data, &lsh, 10, None);
            assert!(
                reached >= least,
                "{element:?} {metric:?} {permille}: {reached} {:?}",
                lsh.derived
            );
        }
    }
}

#[test]
fn few_dimensions_and_few_rows_are_searched_too() {
    for (dim, count) in [(1, 50), (2, 3000), (5, 1), (5, 0), (7, 9), (300, 12)] {
        let data = Data::new(Element::F32, Metric::L2, dim, count);
        let lsh = open(&data, &params());
        if count > 0 {
            assert!(recall(&data, &lsh, 5, None) >= 0.8);
        } else {
            let found = data.found(5, |nearest| {
                lsh.search(&data.scope(None), &data.query(0), &SearchParams::default(), nearest)
                    .unwrap();
            });
            assert!(found.is_empty());
        }
    }
}

#[test]
fn one_thread_and_several_make_the_same_bytes() {
    let data = Data::new(Element::F32, Metric::L2, 32, 9000);
    let bytes = |threads| -> StdVec<(u32, StdVec<u8>)> {
        let params = params();
        let sections = make::<Lsh>(&data.build(&params, threads)).unwrap();
        sections.iter().map(|s| (s.kind, s.bytes.to_vec())).collect()
    };
    let one = bytes(1);
    assert!(one == bytes(1));
    assert!(one == bytes(3));
}

#[test]
fn a_filter_gives_k_accepted_rows_whenever_there_are_k() {
    let data = Data::new(Element::F32, Metric::L2, 32, 8000);
    let lsh = open(&data, &params());
    for every in [2, 10, 100, 1000, 4000] {
        let mut accept = Bits::new(data.count).unwrap();
        for row in (0..data.count).step_by(every) {
            accept.set(row as u32);
        }
        let k = accept.count().min(10);
        assert!(recall(&data, &lsh, k, Some(&accept)) >= 0.86, "every {every}");
        // More than there are.
        recall(&data, &lsh, accept.count() + 1, Some(&accept));
    }
    let none = Bits::new(data.count).unwrap();
    let found = data.found(10, |nearest| {
        lsh.search(
            &data.scope(Some(&none)),
            &data.query(0),
            &SearchParams::default(),
            nearest,
        )
        .unwrap();
    });
    assert!(found.is_empty());
}

#[test]
fn a_search_that_is_told_to_stop_stops() {
    let data = Data::new(Element::F32, Metric::L2, 32, 20_000);
    let lsh = open(&data, &params());
    let scope = Scope {
        stop: &|| true,
        ..data.scope(None)
    };
    let mut nearest = Nearest::new(10, data.count, u32::MAX).unwrap();
    let params = SearchParams {
        nprobe: 1_000_000,
        ..SearchParams::default()
    };
    let cost = lsh.search(&scope, &data.query(0), &params, &mut nearest).unwrap();
    assert!(cost.stopped && cost.codes < 20_000);
    // Later searches are not disturbed by what it left.
    assert!(recall(&data, &lsh, 10, None) >= 0.86);
}

#[test]
fn a_search_that_asks_for_every_bucket_costs_no_more_than_a_look_at_every_sketch() {
    let data = Data::new(Element::F32, Metric::L2, 32, 20_000);
    let lsh = open(&data, &params());
    for nprobe in [1200, 2000, 1_000_000, u32::MAX] {
        let mut nearest = Nearest::new(10, data.count, u32::MAX).unwrap();
        let params = SearchParams {
            nprobe,
            ..SearchParams::default()
        };
        let cost = lsh
            .search(&data.scope(None), &data.query(0), &params, &mut nearest)
            .unwrap();
        assert!(cost.hops <= 20_000 / 16 && cost.codes <= 20_000, "{nprobe}: {cost:?}");
        assert_eq!(nearest.len(), 10);
    }
}

#[test]
fn memory_that_searches_hand_on_is_counted_and_given_back() {
    let data = Data::new(Element::F32, Metric::L2, 32, 20_000);
    let lsh = open(&data, &params());
    let before = lsh.memory_bytes();
    assert!(recall(&data, &lsh, 10, None) >= 0.86);
    let with = lsh.memory_bytes();
    assert!(with >= before + 20_000 / 8, "{before} {with}");
    assert_eq!((lsh.trim(), lsh.memory_bytes()), (with - before, before));
    // What a thorough search needs beyond that does not stay.
    let params = SearchParams {
        rerank: 100_000,
        ..SearchParams::default()
    };
    let mut nearest = Nearest::new(10, data.count, u32::MAX).unwrap();
    lsh.search(&data.scope(None), &data.query(0), &params, &mut nearest)
        .unwrap();
    assert!(lsh.memory_bytes() <= with + 512 * 1024, "{} {with}", lsh.memory_bytes());
}

#[test]
fn damaged_sections_are_refused_or_searched_without_harm() {
    let data = Data::new(Element::F32, Metric::L2, 16, 3000);
    let params = params();
    let open = |sections: Sections| open_index::<Lsh>(&data.space, data.count, &params, sections);
    let built = make::<Lsh>(&data.build(&params, 1)).unwrap();
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
    assert!(open_index::<Lsh>(&data.space, data.count + 1, &params, whole()).is_err());
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
                        let found = data.found(10, |nearest| {
                            let params = SearchParams::default();
                            lsh.search(&data.scope(None), &data.query(query), &params, nearest)
                                .unwrap();
                        });
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
