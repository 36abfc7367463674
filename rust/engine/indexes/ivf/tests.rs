// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! IVF against exact search.

use super::testing::damaged;
use super::testing::spaces;
use super::testing::Data;
use super::*;
use crate::bits::Bits;
use crate::index::IndexKind;
use crate::testing::make;
use crate::testing::open as open_index;
use crate::testing::NoReader;
use vexfs_host::mem::fail_allocations_after;
use vexfs_simd::Element;
use vexfs_simd::Metric;

fn params() -> IndexParams {
    IndexParams::of(IndexKind::Ivf).with(|p| {
        p.nlist = 40;
        p.seed = 3;
    })
}

fn open(data: &Data, count: usize, params: &IndexParams) -> Ivf {
    let sections = data.build(params, 1, make::<Ivf>).unwrap();
    open_index::<Ivf>(&data.space, count, params, sections).unwrap()
}

fn f32s(metric: Metric) -> Space {
    Space::new(Element::F32, metric, 24).unwrap()
}

#[test]
fn every_element_and_metric_reaches_its_recall_with_defaults() {
    for space in spaces(24) {
        let data = Data::new(space, 3000, 30);
        let params = params().with(|p| {
            p.nlist = 0;
        });
        let index = open(&data, 3000, &params);
        let recall = data.recall(&SearchParams::default(), None, |s, q, k, n| index.search(s, q, k, n));
        assert!(recall >= 0.95, "{space:?}: {recall}");
    }
}

#[test]
fn looking_into_all_lists_is_exact_search() {
    for space in spaces(9) {
        let data = Data::new(space, 700, 20);
        let index = open(&data, 700, &params());
        let params = SearchParams {
            nprobe: 40,
            ..SearchParams::default()
        };
        let recall = data.recall(&params, None, |s, q, k, n| index.search(s, q, k, n));
        assert_eq!(recall, 1.0, "{space:?}");
    }
}

#[test]
fn with_a_filter_k_rows_come_back_if_there_are_k() {
    let data = Data::new(f32s(Metric::L2), 3000, 10);
    let index = open(&data, 3000, &params());
    let params = SearchParams {
        nprobe: 1,
        ..SearchParams::default()
    };
    for every in [2, 10, 100, 290, 1000, 5000] {
        let mut accept = Bits::new(3000).unwrap();
        (0..3000).filter(|row| row % every == 7).for_each(|row| accept.set(row));
        // `recall` checks the number of rows.
        data.recall(&params, Some(&accept), |s, q, k, n| index.search(s, q, k, n));
    }
}

#[test]
fn threads_do_not_change_the_index() {
    let data = Data::new(f32s(Metric::Cosine), 900, 0);
    let bytes = |threads| {
        let sections = data.build(&params(), threads, make::<Ivf>).unwrap();
        sections
            .iter()
            .map(|s| (s.kind, s.bytes.to_vec()))
            .collect::<std::vec::Vec<_>>()
    };
    assert_eq!(bytes(1), bytes(3));
}

#[test]
fn damaged_sections_are_refused_or_harmless() {
    let data = Data::new(f32s(Metric::Ip), 300, 2);
    let sections = data.build(&params(), 1, make::<Ivf>).unwrap();
    damaged(&sections, |sections, shape| {
        match open_index::<Ivf>(&data.space, 300, &params(), sections) {
            Ok(index) => {
                assert!(!shape, "a wrong shape was accepted");
                for query in data.queries() {
                    let mut nearest = Nearest::new(10, 300, u32::MAX).unwrap();
                    index
                        .search(&data.scope(None), &query, &SearchParams::default(), &mut nearest)
                        .unwrap();
                    assert_eq!(nearest.len(), 10);
                }
            }
            Err(error) => assert!(matches!(error, Error::Corrupt(_)), "{error}"),
        }
    });
    // Numbers of rows: any change makes one too large or doubles one.
    for (kind, word, to) in [(0x402, 0, 1u32), (0x402, 5, u32::MAX), (0x403, 0, 300), (0x403, 7, 0)] {
        let mut sections = data.build(&params(), 1, make::<Ivf>).unwrap();
        let section = sections.iter_mut().find(|section| section.kind == kind).unwrap();
        if section.bytes.as_u32s()[word] == to {
            section.bytes.as_u32s_mut()[word] = 1;
        } else {
            section.bytes.as_u32s_mut()[word] = to;
        }
        assert!(matches!(
            open_index::<Ivf>(&data.space, 300, &params(), sections),
            Err(Error::Corrupt(_))
        ));
    }
    let sections = data.build(&params(), 1, make::<Ivf>).unwrap();
    assert!(open_index::<Ivf>(&data.space, 299, &params(), sections).is_err());
}

#[test]
fn few_rows_are_found_all() {
    for count in [0, 1, 2, 17] {
        for nlist in [0, 40] {
            let data = Data::new(Space::new(Element::F32, Metric::Cosine, 1).unwrap(), count, 3);
            let params = params().with(|p| {
                p.nlist = nlist;
            });
            let index = open(&data, count, &params);
            for query in data.queries() {
                let mut nearest = Nearest::new(20, count, u32::MAX).unwrap();
                index
                    .search(&data.scope(None), &query, &SearchParams::default(), &mut nearest)
                    .unwrap();
                assert_eq!(nearest.into_sorted().to_vec(), data.exact(&query, 20, None));
            }
        }
    }
}

#[test]
fn a_search_that_is_told_to_stop_says_that_it_did() {
    let data = Data::new(f32s(Metric::L2), 500, 1);
    let index = open(&data, 500, &params());
    let scope = Scope {
        stop: &|| true,
        ..data.scope(None)
    };
    let mut nearest = Nearest::new(10, 500, u32::MAX).unwrap();
    let cost = index.search(
        &scope,
        &data.queries().next().unwrap(),
        &SearchParams::default(),
        &mut nearest,
    );
    assert!(cost.unwrap().stopped);
    assert_eq!(nearest.len(), 0);
}

#[test]
fn binary_vectors_are_not_supported() {
    let space = Space::new(Element::Binary, Metric::Hamming, 64).unwrap();
    assert!(matches!(
        <Ivf as crate::index::Kind<NoReader>>::check(&space, &params()),
        Err(Error::Unsupported(_))
    ));
}

#[test]
fn out_of_memory_is_an_error_wherever_it_happens() {
    let data = Data::new(f32s(Metric::L2), 300, 1);
    for n in 0.. {
        fail_allocations_after(Some(n));
        let result = data.build(&params(), 1, make::<Ivf>);
        let result = result.and_then(|sections| open_index::<Ivf>(&data.space, 300, &params(), sections));
        let result = result.and_then(|index| {
            let mut nearest = Nearest::new(10, 300, u32::MAX)?;
            let query = data.queries().next().unwrap();
            index
                .search(&data.scope(None), &query, &SearchParams::default(), &mut nearest)
                .map(|_| ())
        });
        fail_allocations_after(None);
        match result {
            Ok(()) => {
                assert!(n > 10);
                break;
            }
            Err(error) => assert_eq!(error, Error::NoMemory),
        }
    }
}
