// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Everything at once, with real threads.

use super::support::Random;
use super::support::World;
use super::support::UPSERT;
use crate::Batch;
use crate::IndexKind;
use crate::IndexParams;
use crate::SearchRequest;
use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::vec::Vec;
use vexfs_simd::Metric;

const DIM: usize = 16;
const WRITERS: u64 = 2;
/// Ids of one writer.
const IDS: u64 = 1500;

/// The vector of a row depends on its id alone, so whoever finds it can check it.
fn vector(id: u64) -> Vec<u8> {
    Random(id).vector(DIM)
}

/// Inserts and deletes rows; returns those that are left.
fn write(world: &World, writer: u64) -> BTreeSet<u64> {
    let mut random = Random(writer + 100);
    let mut there = BTreeSet::new();
    for step in 0..60 {
        let first = writer * IDS + random.below(IDS - 300);
        let count = 1 + random.below(300);
        let ids: Vec<u64> = (first..first + count).collect();
        if step % 3 == 2 {
            let deleted = world.collection().delete(&ids).unwrap();
            assert_eq!(deleted.count, ids.iter().filter(|id| there.remove(*id)).count());
        } else {
            let batch = Batch {
                vectors: &ids.iter().flat_map(|id| vector(*id)).collect::<Vec<u8>>(),
                ids: Some(&ids),
                ..Batch::default()
            };
            let inserted = world.collection().insert(&batch, UPSERT).unwrap();
            assert_eq!(inserted.replaced, ids.iter().filter(|id| there.contains(*id)).count());
            there.extend(ids);
        }
    }
    there
}

fn search(world: &World, seed: u64, done: &AtomicBool) {
    let mut random = Random(seed);
    while !done.load(Ordering::Relaxed) {
        let query = random.vector(DIM);
        let search = SearchRequest {
            queries: &query,
            k: 1 + random.below(50) as usize,
            exact: random.below(3) == 0,
            ..SearchRequest::default()
        };
        let collection = world.collection();
        let found = collection.search(&search).unwrap();
        let ids: BTreeSet<u64> = found.hits.iter().map(|hit| hit.row.id).collect();
        assert_eq!(ids.len(), found.hits.len(), "a row twice");
        let order: Vec<_> = found
            .hits
            .iter()
            .map(|hit| (f32::from_bits(hit.distance), hit.row.id))
            .collect();
        assert!(order.windows(2).all(|pair| pair[0] < pair[1]), "not in order");
        let mut out = [0; 4 * DIM];
        for hit in &found.hits {
            found.contents.vector(&hit.row, &mut out).unwrap();
            assert_eq!(out, vector(hit.row.id)[..], "another row's vector");
        }
        let some: Vec<u64> = (0..20).map(|_| random.below(WRITERS * IDS)).collect();
        let got = collection.get(&some).unwrap();
        for row in got.rows.iter().flatten() {
            got.contents.vector(row, &mut out).unwrap();
            assert_eq!(out, vector(row.id)[..]);
        }
        collection.info().unwrap();
    }
}

fn maintain(world: &World, done: &AtomicBool) {
    let mut random = Random(77);
    let quiet = &|_, _| ();
    while !done.load(Ordering::Relaxed) {
        let collection = world.collection();
        match random.below(6) {
            0 => {
                let params = IndexParams::of(IndexKind::Hnsw).with(|p| {
                    p.m = 4;
                    p.ef_construction = 16;
                });
                collection.build_index(&params, 1, quiet).unwrap();
            }
            1 => drop(
                collection
                    .build_index(&IndexParams::of(IndexKind::Ivf), 1, quiet)
                    .unwrap(),
            ),
            2 => drop(collection.optimize(1, quiet).unwrap()),
            3 => drop(collection.drop_index().unwrap()),
            _ => drop(collection.maintain(1, quiet).unwrap()),
        }
    }
}

#[test]
fn changes_searches_merges_and_memory_pressure_do_not_disturb_each_other() {
    let world = World::small(DIM, Metric::L2);
    let done = AtomicBool::new(false);
    let there: BTreeSet<u64> = std::thread::scope(|scope| {
        let world = &world;
        let done = &done;
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| scope.spawn(move || write(world, writer)))
            .collect();
        scope.spawn(move || search(world, 5, done));
        scope.spawn(move || search(world, 6, done));
        scope.spawn(move || maintain(world, done));
        scope.spawn(move || maintain(world, done));
        scope.spawn(move || {
            let mut random = Random(9);
            while !done.load(Ordering::Relaxed) {
                let before = world.all.memory_bytes();
                let freed = world.all.shrink(1 << random.below(22));
                assert!(before > 0 || freed == 0 || freed < 1 << 30);
                world.fs.shrink(1 + random.below(20) as usize);
                std::thread::yield_now();
            }
        });
        let there = writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
        done.store(true, Ordering::Relaxed);
        there
    });
    let check = |world: &World| {
        let collection = world.collection();
        assert_eq!(collection.info().unwrap().rows, there.len() as u64);
        let ids: Vec<u64> = (0..WRITERS * IDS).collect();
        for ids in ids.chunks(1000) {
            let got = collection.get(ids).unwrap();
            for (id, row) in ids.iter().zip(&got.rows) {
                assert_eq!(row.is_some(), there.contains(id), "row {id}");
            }
        }
    };
    check(&world);
    world.all.shrink(u64::MAX);
    assert_eq!(world.all.memory_bytes(), 0, "all that was counted is gone");
    let world = world.remount();
    check(&world);
    let report = vexfs_core::check::check(world.fs.dev()).unwrap();
    assert!(report.is_clean(), "{:?}", report.problems);
}
