// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What a graph finds when not every row may be found.

use super::support::*;
use crate::bits::Bits;
use std::vec::Vec;
use vexfs_simd::Element;
use vexfs_simd::Metric;

/// Accepts about `permille` of the rows.
fn accept(count: usize, permille: usize, seed: u64) -> Bits {
    let mut random = Random(seed);
    let mut accept = Bits::new(count).unwrap();
    for row in 0..count as u32 {
        if random.below(1000) < permille {
            accept.set(row);
        }
    }
    accept
}

#[test]
fn recall_holds_at_every_selectivity_and_only_accepted_rows_come_back() {
    let set = Set::new(Element::F32, Metric::L2, 24, 16_000, 1);
    let graph = set.open(&params(), set.build(&params(), 1));
    for permille in [990, 900, 500, 300, 120, 30, 10, 3, 1] {
        let accept = accept(set.count(), permille, permille as u64);
        let recall = set.recall(&graph, with_ef(100), Some(&accept));
        assert!(recall >= 950, "{permille}: {recall}");
        for query in set.queries.iter().take(20) {
            let (found, _) = set.search(&graph, query, with_ef(100), Some(&accept), 10);
            assert!(found.iter().all(|entry| accept.get(*entry as u32)));
        }
    }
}

#[test]
fn as_many_rows_come_back_as_match() {
    let set = Set::new(Element::U8, Metric::L2, 8, 2000, 2);
    let graph = set.open(&params(), set.build(&params(), 1));
    for matching in [0usize, 1, 5, 9, 10, 11, 200, 1999, 2000] {
        // Those farthest from the query, where the walk arrives last.
        for query in set.queries.iter().take(10) {
            let all = set.exact(query, None, 2000);
            let mut accept = Bits::new(2000).unwrap();
            all.iter()
                .rev()
                .take(matching)
                .for_each(|entry| accept.set(*entry as u32));
            for k in [1usize, 10, 100] {
                let (found, _) = set.search(&graph, query, with_ef(16), Some(&accept), k);
                assert_eq!(found.len(), matching.min(k));
            }
        }
    }
}

#[test]
fn a_cluster_far_from_the_query_is_found() {
    // All accepted rows are around one centre, and the query is elsewhere.
    let set = Set::new(Element::F32, Metric::L2, 24, 5000, 3);
    let graph = set.open(&params(), set.build(&params(), 1));
    let around: Vec<u64> = set.exact(&set.queries[0], None, 150);
    let mut accept = Bits::new(set.count()).unwrap();
    around.iter().for_each(|entry| accept.set(*entry as u32));
    let recall = set.recall(&graph, with_ef(100), Some(&accept));
    assert!(recall >= 950, "{recall}");
}

#[test]
fn a_filtered_search_never_compares_more_than_twice_what_is_accepted() {
    let set = Set::new(Element::F32, Metric::L2, 24, 8000, 4);
    let graph = set.open(&params(), set.build(&params(), 1));
    for permille in [300, 200, 30, 10] {
        let accept = accept(set.count(), permille, 7);
        for query in &set.queries {
            let (_, cost) = set.search(&graph, query, with_ef(60), Some(&accept), 10);
            // The upper levels and the last hop come on top.
            assert!(
                cost.distances <= 2 * accept.count() as u64 + 300,
                "{permille}: {cost:?}"
            );
        }
    }
}
