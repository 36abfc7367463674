// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What a graph finds.

use super::support::*;
use crate::index::Index as _;
use std::vec::Vec;
use vexfs_simd::Element;
use vexfs_simd::Kernels;
use vexfs_simd::Metric;
use vexfs_simd::Space;

/// All there are.
const SPACES: [(Element, Metric); 16] = [
    (Element::F32, Metric::L2),
    (Element::F32, Metric::Cosine),
    (Element::F32, Metric::Ip),
    (Element::F16, Metric::L2),
    (Element::F16, Metric::Cosine),
    (Element::F16, Metric::Ip),
    (Element::Bf16, Metric::L2),
    (Element::Bf16, Metric::Cosine),
    (Element::Bf16, Metric::Ip),
    (Element::I8, Metric::L2),
    (Element::I8, Metric::Cosine),
    (Element::I8, Metric::Ip),
    (Element::U8, Metric::L2),
    (Element::U8, Metric::Cosine),
    (Element::U8, Metric::Ip),
    (Element::Binary, Metric::Hamming),
];

#[test]
fn nearly_all_nearest_rows_are_found_whatever_the_element_and_metric() {
    for (element, metric) in SPACES {
        let set = Set::new(element, metric, 40, 3000, 1);
        let graph = set.open(&params(), set.build(&params(), 1));
        let recall = set.recall(&graph, with_ef(80), None);
        // The largest products are a harder aim: a few long rows are near to all queries.
        let bar = if metric == Metric::Ip { 940 } else { 970 };
        assert!(recall >= bar, "{element:?} {metric:?}: {recall}");
    }
}

#[test]
fn more_width_finds_more_and_costs_more() {
    let set = Set::new(Element::F32, Metric::L2, 24, 12_000, 2);
    let graph = set.open(&params(), set.build(&params(), 1));
    let mut last = (0, 0);
    for ef in [10, 40, 160, 640] {
        let recall = set.recall(&graph, with_ef(ef), None);
        let (_, cost) = set.search(&graph, &set.queries[0], with_ef(ef), None, 10);
        assert!(recall >= last.0 && cost.distances > last.1, "{ef}: {recall} {cost:?}");
        last = (recall, cost.distances);
    }
    assert!(last.0 >= 998, "{last:?}");
}

#[test]
fn a_search_looks_at_a_small_part_of_the_rows() {
    let set = Set::new(Element::F32, Metric::L2, 24, 20_000, 3);
    let graph = set.open(&params(), set.build(&params(), 1));
    let (_, cost) = set.search(&graph, &set.queries[0], with_ef(32), None, 10);
    assert!(cost.distances < 2000, "{cost:?}");
}

#[test]
fn one_thread_builds_the_same_bytes_each_time() {
    let set = Set::new(Element::F32, Metric::Cosine, 24, 2000, 4);
    let bytes = |seed: u64| -> Vec<Vec<u8>> {
        let params = params().with(|p| {
            p.seed = seed;
        });
        set.build(&params, 1)
            .iter()
            .map(|section| section.bytes.to_vec())
            .collect()
    };
    assert!(bytes(1) == bytes(1));
    assert!(bytes(1) != bytes(2));
}

#[test]
fn several_threads_build_as_good_a_graph() {
    let set = Set::new(Element::F32, Metric::L2, 24, 5000, 5);
    let alone = set.open(&params(), set.build(&params(), 1));
    let together = set.open(&params(), set.build(&params(), 4));
    let (alone, together) = (
        set.recall(&alone, with_ef(60), None),
        set.recall(&together, with_ef(60), None),
    );
    assert!(together + 10 >= alone, "{together} {alone}");
}

#[test]
fn rows_are_found_by_their_own_vectors_even_among_many_equal_ones() {
    // A twentieth of the rows are one point, a fifth are pairs.
    let set = Set::new(Element::U8, Metric::L2, 16, 6000, 6);
    let mut rows = set.rows.clone();
    for i in 0..600 {
        if i % 2 == 0 {
            rows.copy_within(0..16, (10 * i) * 16);
        }
        rows.copy_within((10 * i + 1) * 16..(10 * i + 2) * 16, (10 * i + 2) * 16);
    }
    let set = Set::of(set.space, rows, set.queries);
    let graph = set.open(&params(), set.build(&params(), 1));
    let mut missed = 0;
    for row in 0..set.count() {
        let vector = set.rows().row(row).unwrap();
        let (found, _) = set.search(&graph, vector, with_ef(330), None, 310);
        let nearest = set.exact(vector, None, 1)[0] >> 32;
        assert_eq!(found[0] >> 32, nearest);
        missed += usize::from(!found.iter().any(|entry| *entry as u32 == row as u32));
    }
    assert!(missed * 1000 <= set.count(), "{missed}");
}

#[test]
fn as_many_rows_as_there_are_come_back() {
    for count in [0usize, 1, 2, 3, 17, 100] {
        let set = Set::new(Element::F32, Metric::L2, 5, count, 7);
        let graph = set.open(&params(), set.build(&params(), 1));
        for k in [1usize, 10, 1000] {
            let (found, _) = set.search(&graph, &set.queries[0], with_ef(0), None, k);
            assert_eq!(found, set.exact(&set.queries[0], None, k));
        }
    }
}

#[test]
fn all_rows_equal_is_a_graph_too() {
    let space = Space::new(Element::F32, Metric::L2, 4).unwrap();
    let set = Set::of(space, std::vec![0; 16 * 12_000], std::vec![std::vec![0; 16]]);
    let graph = set.open(&params(), set.build(&params(), 1));
    let (found, _) = set.search(&graph, &set.queries[0], with_ef(600), None, 600);
    assert_eq!(found.len(), 600);
}

#[test]
fn keys_do_not_depend_on_the_instruction_sets_of_build_and_search() {
    // A graph is only a way to rows: built on one machine it serves another.
    let set = Set::new(Element::F32, Metric::L2, 24, 3000, 8);
    let graph = set.open(&params(), set.build(&params(), 1));
    let portable = Kernels::with(vexfs_simd::Variant::Scalar).unwrap();
    let scope = crate::index::Scope {
        kernels: portable,
        rows: set.rows(),
        accept: None,
        stop: &|| false,
    };
    for query in &set.queries {
        let mut nearest = crate::index::Nearest::new(10, 3000, u32::MAX).unwrap();
        graph
            .search(&scope, &set.query(query), &with_ef(150), &mut nearest)
            .unwrap();
        let rows = |entries: &[u64]| entries.iter().map(|entry| *entry as u32).collect::<Vec<_>>();
        assert_eq!(rows(&nearest.into_sorted()), rows(&set.exact(query, None, 10)));
    }
}

#[test]
fn a_search_that_is_told_to_stop_returns_what_it_has() {
    let set = Set::new(Element::F32, Metric::L2, 24, 3000, 9);
    let graph = set.open(&params(), set.build(&params(), 1));
    let scope = crate::index::Scope {
        kernels: Kernels::detect(),
        rows: set.rows(),
        accept: None,
        stop: &|| true,
    };
    let mut nearest = crate::index::Nearest::new(10, 3000, u32::MAX).unwrap();
    let cost = graph
        .search(&scope, &set.query(&set.queries[0]), &with_ef(100), &mut nearest)
        .unwrap();
    assert!(cost.stopped);
    assert!(nearest.len() > 0 && cost.hops < 100);
}
