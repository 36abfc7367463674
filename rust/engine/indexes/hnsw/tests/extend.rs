// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Graphs that grow out of others.

use super::super::Hnsw;
use super::support::*;
use crate::index::Build;
use crate::index::Codes;
use crate::index::IndexParams;
use crate::index::Kind;
use crate::index::Sections;
use crate::testing::make;
use crate::testing::NoReader;
use std::vec::Vec;
use vexfs_host::Error;
use vexfs_simd::Element;
use vexfs_simd::Metric;

fn extend(build: &Build<'_>, base: &Hnsw, map: &[u32]) -> vexfs_host::Result<Sections> {
    <Hnsw as Kind<NoReader>>::extend(build, base, map)
}

/// The rows of `set` for which `keep` holds, and the map to them.
fn part(set: &Set, keep: impl Fn(usize) -> bool) -> (Set, Vec<u32>) {
    let bytes = set.space.row_bytes();
    let mut rows = Vec::new();
    let mut map = Vec::new();
    for (i, row) in set.rows.chunks(bytes).enumerate() {
        if keep(i) {
            map.push((rows.len() / bytes) as u32);
            rows.extend_from_slice(row);
        } else {
            map.push(u32::MAX);
        }
    }
    (Set::of(set.space, rows, set.queries.clone()), map)
}

/// A graph of `set` made of that of the rows that `keep` names, and how many of them are old.
fn grown(set: &Set, params: &IndexParams, old: impl Fn(usize) -> bool, threads: usize) -> Hnsw {
    let (base, _) = part(set, &old);
    let graph = base.open(params, base.build(params, 1));
    let map: Vec<u32> = (0..set.count() as u32).filter(|row| old(*row as usize)).collect();
    let sections = set.build_with(params, threads, |b| extend(b, &graph, &map));
    set.open(params, sections)
}

#[test]
fn a_grown_graph_finds_as_much_as_a_fresh_one() {
    for (metric, seed) in [(Metric::L2, 1), (Metric::Cosine, 2)] {
        let set = Set::new(Element::F32, metric, 24, 6000, seed);
        let fresh = set.recall(&set.open(&params(), set.build(&params(), 1)), with_ef(50), None);
        for threads in [1, 3] {
            for share in [2, 10, 100] {
                let old = |row: usize| row * 7919 % 100 >= share;
                let recall = set.recall(&grown(&set, &params(), old, threads), with_ef(50), None);
                assert!(recall + 12 >= fresh, "{share} {threads}: {recall} {fresh}");
            }
            // From a tenth of the rows, which all come first.
            let recall = set.recall(&grown(&set, &params(), |row| row < 600, threads), with_ef(50), None);
            assert!(recall + 12 >= fresh, "{recall} {fresh}");
        }
    }
}

#[test]
fn dropping_rows_keeps_recall() {
    let all = Set::new(Element::F32, Metric::L2, 24, 8000, 3);
    let graph = all.open(&params(), all.build(&params(), 1));
    for percent in [1, 10, 50, 90] {
        let (left, map) = part(&all, |row| row * 7919 % 100 >= percent);
        let fresh = left.recall(&left.open(&params(), left.build(&params(), 1)), with_ef(50), None);
        let sections = left.build_with(&params(), 1, |b| extend(b, &graph, &map));
        let recall = left.recall(&left.open(&params(), sections), with_ef(50), None);
        assert!(recall + 12 >= fresh, "{percent}: {recall} {fresh}");
    }
}

#[test]
fn many_rounds_of_dropping_and_growing_keep_recall() {
    // A window that moves over the rows, a quarter of it a round.
    let all = Set::new(Element::F32, Metric::L2, 24, 12_000, 4);
    let (mut now, _) = part(&all, |row| row < 4000);
    let mut graph = now.open(&params(), now.build(&params(), 1));
    for round in 1..=8 {
        let (start, end) = (round * 1000, round * 1000 + 4000);
        let map: Vec<u32> = (0..4000)
            .map(|row: u32| row.checked_sub(1000).unwrap_or(u32::MAX))
            .collect();
        let (next, _) = part(&all, |row| (start..end).contains(&row));
        let sections = next.build_with(&params(), 1, |b| extend(b, &graph, &map));
        graph = next.open(&params(), sections);
        now = next;
    }
    let fresh = now.recall(&now.open(&params(), now.build(&params(), 1)), with_ef(50), None);
    let recall = now.recall(&graph, with_ef(50), None);
    assert!(recall + 15 >= fresh, "{recall} {fresh}");
}

#[test]
fn dropping_everything_or_nothing_works() {
    let set = Set::new(Element::U8, Metric::L2, 8, 500, 5);
    let graph = set.open(&params(), set.build(&params(), 1));
    let none: Vec<u32> = (0..500).collect();
    let same = set.build_with(&params(), 1, |b| extend(b, &graph, &none));
    assert!(set.recall(&set.open(&params(), same), with_ef(20), None) >= 950);
    for count in [0, 1, 300] {
        let other = Set::new(Element::U8, Metric::L2, 8, count, 6);
        let sections = other.build_with(&params(), 1, |b| extend(b, &graph, &[u32::MAX; 500]));
        let (found, _) = other.search(
            &other.open(&params(), sections),
            &other.queries[0],
            with_ef(20),
            None,
            10,
        );
        assert_eq!(found.len(), count.min(10));
    }
}

#[test]
fn a_graph_with_codes_grows_too() {
    let set = Set::new(Element::F32, Metric::Cosine, 64, 4000, 7);
    let coded = params().with(|p| {
        p.codes = Codes::Sq8.code();
    });
    let graph = grown(&set, &coded, |row| row % 5 != 0, 1);
    let recall = set.recall(&graph, with_ef(80), None);
    assert!(recall >= 960, "{recall}");
}

#[test]
fn a_map_of_other_rows_is_refused() {
    let set = Set::new(Element::U8, Metric::L2, 8, 50, 8);
    let graph = set.open(&params(), set.build(&params(), 1));
    let ascending: Vec<u32> = (0..50).collect();
    let mut twice = ascending.clone();
    twice[1] = 0;
    let mut outside = ascending.clone();
    outside[49] = 50;
    for map in [&ascending[..49], &twice, &outside] {
        set.build_with(&params(), 1, |b| {
            assert!(matches!(extend(b, &graph, map), Err(Error::Invalid(_))));
            make::<Hnsw>(b)
        });
    }
}
