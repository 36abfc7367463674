// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Fatal signals: whatever they interrupt, rows are those of before or after, and nothing is left behind for good.

use super::support::Oracle;
use super::support::Random;
use super::support::Rows;
use super::support::World;
use super::support::PLAIN;
use super::support::UPSERT;
use crate::filter::testing::Expr;
use crate::filter::Program;
use crate::IndexKind;
use crate::IndexParams;
use crate::SearchRequest;
use std::vec::Vec;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd::Metric;

const DIM: usize = 16;

/// Runs `operation` with a signal after ever more cooperative points until it is done, and `check` after each failure.
fn kill(mut operation: impl FnMut() -> Result<()>, mut check: impl FnMut()) -> u64 {
    let (mut n, mut killed) = (0, 0);
    loop {
        vexfs_host::interrupt_after(Some(n));
        let result = operation();
        vexfs_host::interrupt_after(None);
        match result {
            Ok(()) => return killed,
            Err(e) => assert_eq!(e, Error::Interrupted, "after {n} points"),
        }
        check();
        killed += 1;
        n += 1 + n / 8;
    }
}

#[test]
fn a_signal_anywhere_leaves_a_collection_of_before_or_after() {
    super::support::quiet();
    let world = World::small(DIM, Metric::L2);
    let collection = world.collection();
    let mut random = Random(3);
    let mut oracle = Oracle::new(DIM);
    let mut killed = 0;
    let quiet = &|_, _| ();
    for kind in [
        IndexKind::Hnsw,
        IndexKind::Ivf,
        IndexKind::IvfPq,
        IndexKind::Lsh,
        IndexKind::Vamana,
    ] {
        let params = IndexParams::of(kind).with(|p| {
            p.m = if kind == IndexKind::Hnsw || kind == IndexKind::Vamana {
                8
            } else {
                0
            };
            p.ef_construction = if kind == IndexKind::Hnsw || kind == IndexKind::Vamana {
                16
            } else {
                0
            };
        });
        let base = killed;
        let rows = Rows::random(&mut random, base * 3..base * 3 + 900, DIM);
        killed += kill(|| collection.insert(&rows.batch(), UPSERT).map(|_| ()), || ());
        oracle.insert(&rows.ids, &rows);
        oracle.check_all(&collection);
        killed += kill(
            || collection.maintain(1, quiet).map(|_| ()),
            || oracle.check_all(&collection),
        );
        let build = || collection.build_index(&params, 1, quiet).map(|_| ());
        killed += kill(build, || oracle.check_all(&collection));
        oracle.check(&collection, &mut random);
        let query = random.vector(DIM);
        let search = SearchRequest {
            queries: &query,
            k: 5,
            ..SearchRequest::default()
        };
        let cold = || {
            collection.drop_cache();
            collection.search(&search).map(|_| ())
        };
        killed += kill(cold, || ());
        let ids: Vec<u64> = (0..300).map(|_| random.below(2000)).collect();
        killed += kill(|| collection.delete(&ids).map(|_| ()), || ());
        oracle.rows.retain(|id, _| !ids.contains(id));
        oracle.check_all(&collection);
        killed += kill(
            || collection.optimize(1, quiet).map(|_| ()),
            || oracle.check_all(&collection),
        );
        let few = Rows::random(&mut random, [7], DIM);
        collection.insert(&few.batch(), UPSERT).unwrap();
        oracle.insert(&few.ids, &few);
        let segments = collection.info().unwrap().segments as usize;
        assert!(world.hidden_files().len() <= 1 + 2 * segments, "nothing is left over");
        oracle.check(&collection, &mut random);
    }
    assert!(killed > 100, "{killed}");
    assert_eq!(world.fs.abort_reason(), None);
    drop(collection);
    oracle.check_all(&world.remount().collection());
}

#[test]
fn a_long_filter_is_applied_in_stretches() {
    let world = World::new(DIM, Metric::L2);
    let collection = world.collection();
    let mut random = Random(4);
    let mut rows = Rows::default();
    let mut payload = crate::payload::Builder::new();
    for field in 0..256 {
        let name = std::format!("f{field:03}");
        payload.add(&name, crate::payload::Value::Bool(true)).unwrap();
    }
    let payload = payload.finish().unwrap();
    for id in 0..300 {
        rows.push(id, &random.vector(DIM), &payload);
    }
    collection.insert(&rows.batch(), PLAIN).unwrap();
    // None of the fields is there: each test looks through all names.
    let tests = (0..1000).map(|n| Expr::Exists(std::format!("z{n:04}"))).collect();
    let program = Program::parse(&Expr::Or(tests).encode()).unwrap();
    let query = random.vector(DIM);
    let search = SearchRequest {
        queries: &query,
        k: 5,
        filter: Some(&program),
        ..SearchRequest::default()
    };
    // A million fields are looked at between so many points, at most.
    let points = 300 * 1000 * 256 / 1_000_000;
    vexfs_host::interrupt_after(Some(points));
    let found = collection.search(&search).map(|found| found.hits.len());
    vexfs_host::interrupt_after(None);
    assert_eq!(found, Err(Error::Interrupted));
}
