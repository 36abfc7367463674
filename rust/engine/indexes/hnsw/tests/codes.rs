// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Graphs that are searched by codes.

use super::super::Hnsw;
use super::support::*;
use crate::index::Build;
use crate::index::Codes;
use crate::index::IndexParams;
use crate::index::SearchParams;
use crate::testing::make;
use vexfs_host::Error;
use vexfs_simd::Element;
use vexfs_simd::Kernels;
use vexfs_simd::Metric;

fn coded(codes: Codes) -> IndexParams {
    params().with(|p| {
        p.codes = codes.code();
    })
}

#[test]
fn nearly_all_nearest_rows_are_found_by_codes_of_every_kind() {
    for metric in [Metric::L2, Metric::Cosine, Metric::Ip] {
        for (element, codes, ef, bar) in [
            (Element::F32, Codes::Sq8, 80, 960),
            (Element::F16, Codes::Sq8, 80, 960),
            (Element::Bf16, Codes::Sq8, 80, 960),
            (Element::F32, Codes::Bf16, 80, 960),
            (Element::F32, Codes::Binary, 150, 850),
            (Element::F16, Codes::Binary, 150, 850),
        ] {
            let set = Set::new(element, metric, 64, 3000, 1);
            let graph = set.open(&coded(codes), set.build(&coded(codes), 1));
            let recall = set.recall(&graph, with_ef(ef), None);
            let bar = if metric == Metric::Ip {
                bar - 250 * usize::from(codes == Codes::Binary) - 20
            } else {
                bar
            };
            assert!(recall >= bar, "{element:?} {metric:?} {codes:?}: {recall}");
        }
    }
}

#[test]
fn hits_have_exact_keys() {
    let set = Set::new(Element::F32, Metric::L2, 32, 3000, 2);
    for codes in [Codes::Sq8, Codes::Bf16, Codes::Binary] {
        let graph = set.open(&coded(codes), set.build(&coded(codes), 1));
        for query in &set.queries {
            let exact = set.exact(query, None, 3000);
            let (found, cost) = set.search(&graph, query, with_ef(50), None, 10);
            assert!(found.iter().all(|entry| exact.contains(entry)));
            assert!(cost.codes > cost.distances && cost.distances > 0, "{cost:?}");
        }
    }
}

#[test]
fn comparing_more_rows_again_finds_no_less() {
    let set = Set::new(Element::F32, Metric::L2, 64, 3000, 3);
    let graph = set.open(&coded(Codes::Binary), set.build(&coded(Codes::Binary), 1));
    let mut last = 0;
    for rerank in [1, 3, 10] {
        let recall = set.recall(
            &graph,
            SearchParams {
                ef: 120,
                rerank,
                nprobe: 0,
            },
            None,
        );
        assert!(recall >= last, "{rerank}: {recall}");
        last = recall;
    }
}

#[test]
fn filters_hold_on_codes() {
    let set = Set::new(Element::F32, Metric::Cosine, 48, 4000, 4);
    let graph = set.open(&coded(Codes::Sq8), set.build(&coded(Codes::Sq8), 1));
    let mut accept = crate::bits::Bits::new(set.count()).unwrap();
    (0..set.count() as u32)
        .filter(|row| row % 3 != 0)
        .for_each(|row| accept.set(row));
    let recall = set.recall(&graph, with_ef(80), Some(&accept));
    assert!(recall >= 950, "{recall}");
}

#[test]
fn codes_that_do_not_exist_are_refused() {
    for (element, metric, codes) in [
        (Element::U8, Metric::L2, Codes::Sq8),
        (Element::I8, Metric::L2, Codes::Bf16),
        (Element::F16, Metric::L2, Codes::Bf16),
        (Element::Binary, Metric::Hamming, Codes::Binary),
    ] {
        let set = Set::new(element, metric, 16, 20, 5);
        let refused = make::<Hnsw>(&Build {
            kernels: Kernels::detect(),
            rows: set.rows(),
            params: &coded(codes),
            threads: 1,
            progress: &|_, _| {},
        });
        assert!(matches!(refused, Err(Error::Invalid(_))));
    }
}
