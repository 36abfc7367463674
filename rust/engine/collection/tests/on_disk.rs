// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! A graph that stays on disk, in a filesystem.

use super::support::Oracle;
use super::support::Random;
use super::support::Rows;
use super::support::World;
use super::support::UPSERT;
use crate::IndexKind;
use crate::IndexParams;
use crate::SearchRequest;
use vexfs_host::device::RecordingBackend;
use vexfs_host::Error;
use vexfs_simd::Metric;

const DIM: usize = 64;
const ROWS: u64 = 2000;

fn graph(disk_percent: u32) -> IndexParams {
    IndexParams::of(IndexKind::Vamana).with(|p| {
        p.m = 16;
        p.ef_construction = 40;
        p.disk_percent = disk_percent;
    })
}

#[test]
fn searches_read_what_is_not_in_memory_and_hold_less_of_it() {
    let mut random = Random(9);
    let world = World::small(DIM, Metric::L2);
    let mut oracle = Oracle::new(DIM);
    let rows = Rows::random(&mut random, 0..ROWS, DIM);
    for half in [0..ROWS / 2, ROWS / 2..ROWS] {
        let collection = world.collection();
        let mut part = Rows::default();
        for id in half {
            let vector = &rows.vectors[id as usize * 4 * DIM..][..4 * DIM];
            part.push(id, vector, &[]);
        }
        collection.insert(&part.batch(), UPSERT).unwrap();
        oracle.insert(&part.ids, &part);
    }
    world.collection().build_index(&graph(100), 1, &|_, _| ()).unwrap();
    world.collection().delete(&[5, 17, 400]).unwrap();
    oracle.rows.retain(|id, _| ![5, 17, 400].contains(id));
    let mut held = std::vec::Vec::new();
    for disk_percent in [100, 50, 0] {
        world
            .collection()
            .build_index(&graph(disk_percent), 1, &|_, _| ())
            .unwrap();
        let collection = world.collection();
        collection.drop_cache();
        let mut reads = 0;
        for id in [3, 99, 1234] {
            let query = oracle.rows[&id].0.clone();
            let search = SearchRequest {
                queries: &query,
                k: 5,
                ..SearchRequest::default()
            };
            let found = collection.search(&search).unwrap();
            assert_eq!((found.hits.len(), found.hits[0].row.id), (5, id));
            assert_eq!(found.hits[0].distance, 0);
            reads += found.cost.reads;
        }
        assert_eq!(reads > 0, disk_percent > 0);
        held.push(collection.memory_bytes());
        oracle.check(&collection, &mut random);
    }
    // Vectors, and the half of them.
    let vectors = ROWS * 4 * DIM as u64;
    assert!(
        held[0] + vectors / 3 < held[1] && held[0] + vectors / 2 < held[2],
        "{held:?}"
    );
}

#[test]
fn a_read_that_fails_fails_the_search_only() {
    let backend = std::sync::Arc::new(RecordingBackend::new(256 << 20));
    let world = World::on(backend.clone(), DIM, Metric::L2);
    let mut random = Random(4);
    let rows = Rows::random(&mut random, 0..ROWS, DIM);
    let collection = world.collection();
    collection.insert(&rows.batch(), UPSERT).unwrap();
    collection.build_index(&graph(100), 1, &|_, _| ()).unwrap();
    let query = random.vector(DIM);
    let search = SearchRequest {
        queries: &query,
        k: 5,
        ..SearchRequest::default()
    };
    let ids = || {
        let found = collection.search(&search)?;
        Ok(found.hits.iter().map(|hit| hit.row.id).collect::<std::vec::Vec<u64>>())
    };
    let good = ids();
    assert!(good.is_ok());
    for n in [0, 3, 20] {
        backend.fail_after(n);
        assert!(matches!(ids(), Err(Error::Io(_))));
        backend.heal();
        assert_eq!(ids(), good);
    }
}
