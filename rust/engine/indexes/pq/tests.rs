// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! PQ, IVF-PQ and the quantizer against exact search.

use super::*;
use crate::bits::Bits;
use crate::index::Index as _;
use crate::index::IndexKind;
use crate::index::IndexParams;
use crate::index::Nearest;
use crate::index::Scope;
use crate::index::SearchParams;
use crate::indexes::ivf::testing::damaged;
use crate::indexes::ivf::testing::spaces;
use crate::indexes::ivf::testing::Data;
use crate::testing::make;
use crate::testing::open as open_index;
use crate::testing::NoReader;
use std::vec;
use vexfs_host::mem::fail_allocations_after;
use vexfs_simd::Element;
use vexfs_simd::Metric;
use vexfs_simd::Space;

fn params() -> IndexParams {
    IndexParams::of(IndexKind::IvfPq).with(|p| {
        p.nlist = 20;
        p.seed = 3;
    })
}

fn open(data: &Data, count: usize, params: &IndexParams) -> PqIndex {
    let sections = data.build(params, 1, make::<PqIndex>).unwrap();
    open_index::<PqIndex>(&data.space, count, params, sections).unwrap()
}

fn f32s(metric: Metric) -> Space {
    Space::new(Element::F32, metric, 24).unwrap()
}

#[test]
fn every_element_and_metric_reaches_its_recall_with_defaults() {
    for space in spaces(24) {
        let data = Data::new(space, 3000, 30);
        for kind in [IndexKind::Pq, IndexKind::IvfPq] {
            for bits in [4, 8] {
                let params = params().with(|p| {
                    p.kind = kind.code();
                    p.nlist = 0;
                    p.pq_bits = bits;
                });
                let index = open(&data, 3000, &params);
                let recall = data.recall(&SearchParams::default(), None, |s, q, k, n| index.search(s, q, k, n));
                assert!(recall >= 0.9, "{space:?} {kind:?} {bits} bits: {recall}");
            }
        }
    }
}

#[test]
fn comparing_all_candidates_in_all_lists_is_exact_search() {
    for space in spaces(10) {
        let data = Data::new(space, 700, 20);
        let index = open(&data, 700, &params());
        let params = SearchParams {
            nprobe: 20,
            rerank: 70,
            ..SearchParams::default()
        };
        let recall = data.recall(&params, None, |s, q, k, n| index.search(s, q, k, n));
        assert_eq!(recall, 1.0, "{space:?}");
    }
}

#[test]
fn with_a_filter_k_rows_come_back_if_there_are_k_and_they_are_the_nearest() {
    let data = Data::new(f32s(Metric::Cosine), 3000, 10);
    let index = open(&data, 3000, &params());
    let params = SearchParams {
        nprobe: 1,
        ..SearchParams::default()
    };
    for every in [2, 10, 100, 290, 1000, 5000] {
        let mut accept = Bits::new(3000).unwrap();
        (0..3000).filter(|row| row % every == 7).for_each(|row| accept.set(row));
        let recall = data.recall(&params, Some(&accept), |s, q, k, n| index.search(s, q, k, n));
        // As many rows as candidates are wanted are looked for: few accepted rows are all compared.
        assert!(every < 100 || recall == 1.0, "{every}: {recall}");
    }
}

#[test]
fn threads_do_not_change_the_index() {
    let data = Data::new(f32s(Metric::L2), 900, 0);
    for bits in [4, 8] {
        let params = params().with(|p| {
            p.pq_bits = bits;
        });
        let bytes = |threads| {
            let sections = data.build(&params, threads, make::<PqIndex>).unwrap();
            sections
                .iter()
                .map(|s| (s.kind, s.bytes.to_vec()))
                .collect::<std::vec::Vec<_>>()
        };
        assert_eq!(bytes(1), bytes(3));
    }
}

#[test]
fn damaged_sections_are_refused_or_harmless() {
    let data = Data::new(f32s(Metric::L2), 300, 2);
    let sections = data.build(&params(), 1, make::<PqIndex>).unwrap();
    damaged(&sections, |sections, shape| {
        match open_index::<PqIndex>(&data.space, 300, &params(), sections) {
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
    let sections = data.build(&params(), 1, make::<PqIndex>).unwrap();
    let flat = params().with(|p| {
        p.kind = IndexKind::Pq.code();
    });
    assert!(
        open_index::<PqIndex>(&data.space, 300, &flat, sections).is_err(),
        "pq has one list"
    );
}

#[test]
fn few_rows_are_found_all() {
    for count in [0, 1, 2, 70] {
        for (kind, dim) in [(IndexKind::Pq, 1), (IndexKind::IvfPq, 1), (IndexKind::IvfPq, 5)] {
            let data = Data::new(Space::new(Element::F32, Metric::L2, dim).unwrap(), count, 3);
            let params = params().with(|p| {
                p.kind = kind.code();
                p.nlist = 0;
            });
            let index = open(&data, count, &params);
            for query in data.queries() {
                let mut nearest = Nearest::new(80, count, u32::MAX).unwrap();
                index
                    .search(&data.scope(None), &query, &SearchParams::default(), &mut nearest)
                    .unwrap();
                assert_eq!(nearest.into_sorted().to_vec(), data.exact(&query, 80, None));
            }
        }
    }
}

#[test]
fn equal_rows_and_extreme_values_are_indexed() {
    // All rows equal: no distance tells centroids apart.
    let space = Space::new(Element::U8, Metric::L2, 8).unwrap();
    let bytes = [9u8; 8 * 300];
    let kernels = vexfs_simd::Kernels::detect();
    let build = |space: &Space, bytes: &[u8], norms: &[u32], params: &IndexParams| {
        let rows =
            vexfs_simd::Rows::new(space, bytes, space.row_bytes(), bytes.len() / space.row_bytes(), norms).unwrap();
        let sections = make::<PqIndex>(&crate::index::Build {
            kernels,
            rows,
            params,
            threads: 1,
            progress: &|_, _| (),
        })
        .unwrap();
        let index = open_index::<PqIndex>(space, rows.count(), params, sections).unwrap();
        let scope = Scope {
            kernels,
            rows,
            accept: None,
            stop: &|| false,
        };
        let query = kernels.query(space, rows.row(0).unwrap()).unwrap();
        let mut nearest = Nearest::new(10, rows.count(), u32::MAX).unwrap();
        index
            .search(&scope, &query, &SearchParams::default(), &mut nearest)
            .unwrap();
        nearest.len()
    };
    assert_eq!(build(&space, &bytes, &[], &params()), 10);
    // Squares beyond f32, which leave infinities and NaNs in what is trained.
    for metric in [Metric::L2, Metric::Ip, Metric::Cosine] {
        let space = Space::new(Element::F32, metric, 4).unwrap();
        let bytes: vec::Vec<u8> = (0..4 * 200)
            .flat_map(|i| (1e30f32 * (i % 7 + 1) as f32).to_le_bytes())
            .collect();
        let mut norms = vec![0; if space.needs_norms() { 200 } else { 0 }];
        if space.needs_norms() {
            kernels.inv_norms(&space, &bytes, &mut norms).unwrap();
        }
        for kind in [IndexKind::Pq, IndexKind::IvfPq] {
            assert_eq!(
                build(
                    &space,
                    &bytes,
                    &norms,
                    &params().with(|p| {
                        p.kind = kind.code();
                    })
                ),
                10
            );
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
    let query = data.queries().next().unwrap();
    assert!(
        index
            .search(&scope, &query, &SearchParams::default(), &mut nearest)
            .unwrap()
            .stopped
    );
}

#[test]
fn what_is_not_supported_is_refused() {
    let space = Space::new(Element::Binary, Metric::Hamming, 64).unwrap();
    assert!(matches!(
        <PqIndex as crate::index::Kind<NoReader>>::check(&space, &params()),
        Err(Error::Unsupported(_))
    ));
    let long = params().with(|p| {
        p.pq_bytes = 129;
    });
    assert!(matches!(
        <PqIndex as crate::index::Kind<NoReader>>::check(&f32s(Metric::L2), &long),
        Err(Error::Invalid(_))
    ));
}

#[test]
fn default_codes_divide_common_dimensions() {
    for (dim, bytes) in [
        (1, 1),
        (2, 1),
        (24, 3),
        (100, 10),
        (128, 16),
        (384, 48),
        (768, 96),
        (1536, 128),
        (4096, 128),
    ] {
        assert_eq!(default_bytes(dim), bytes, "{dim}");
    }
}

#[test]
fn out_of_memory_is_an_error_wherever_it_happens() {
    let data = Data::new(f32s(Metric::L2), 100, 1);
    let params = params().with(|p| {
        p.nlist = 2;
    });
    for n in 0.. {
        fail_allocations_after(Some(n));
        let result = data.build(&params, 1, make::<PqIndex>);
        let result = result.and_then(|sections| open_index::<PqIndex>(&data.space, 100, &params, sections));
        let result = result.and_then(|index| {
            let mut nearest = Nearest::new(10, 100, u32::MAX)?;
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

#[test]
fn a_quantizer_ranks_rows_nearly_as_their_vectors_do() {
    for space in spaces(24) {
        let data = Data::new(space, 1000, 10);
        for bits in [4, 8] {
            let rows = data.rows();
            let quantizer = Quantizer::train(&data.kernels, &rows, 12, bits, 1, 1).unwrap();
            let mut codes = vec![0; 1000 * 12];
            quantizer.encode(&data.kernels, &rows, 0..1000, &mut codes).unwrap();
            let mut some = vec![0; 50 * 12];
            quantizer.encode(&data.kernels, &rows, 400..450, &mut some).unwrap();
            assert_eq!(some[..], codes[400 * 12..450 * 12]);

            let again = Quantizer::from_bytes(&space, 12, bits, quantizer.into_bytes()).unwrap();
            let mut scratch = QueryScratch::new(&again).unwrap();
            let ids: vec::Vec<u32> = (0..1000).collect();
            let (mut hits, mut keys) = (0, vec![0; 1000]);
            for query in data.queries() {
                let table = again.table(&data.kernels, &query, &mut scratch).unwrap();
                data.kernels.pq_gather(&table, &codes, 12, &ids, &mut keys).unwrap();
                let mut order = ids.clone();
                order.sort_by_key(|id| keys[*id as usize]);
                let exact = data.exact(&query, 10, None);
                hits += exact
                    .iter()
                    .filter(|entry| order[..60].contains(&(**entry as u32)))
                    .count();
            }
            assert!(hits >= 90, "{space:?} {bits} bits: {hits}");
        }
        assert!(Quantizer::from_bytes(&space, 12, 4, Buffer::zeroed(64).unwrap()).is_err());
    }
}
