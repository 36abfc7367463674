// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Every kind of index through a collection: built, read again from disk, beside deleted and replaced rows, taken away.

use super::support::Oracle;
use super::support::Random;
use super::support::Rows;
use super::support::World;
use super::support::PLAIN;
use super::support::UPSERT;
use crate::Collection;
use crate::IndexKind;
use crate::IndexParams;
use crate::SearchRequest;
use std::collections::BTreeSet;
use std::vec::Vec;
use vexfs_host::Error;
use vexfs_simd::Metric;

const DIM: usize = 16;

/// The share of the ten nearest rows that searches by the index find.
fn recall(collection: &Collection, queries: &[u8]) -> f64 {
    let find = |exact| {
        let search = SearchRequest {
            queries,
            k: 10,
            exact,
            ..SearchRequest::default()
        };
        let found = collection.search(&search).unwrap();
        assert!(found.by_query().all(|hits| hits.len() == 10));
        let ids = found.by_query().map(|hits| hits.iter().map(|hit| hit.row.id).collect());
        ids.collect::<Vec<BTreeSet<u64>>>()
    };
    let (index, exact) = (find(false), find(true));
    let common: usize = index.iter().zip(&exact).map(|(a, b)| a.intersection(b).count()).sum();
    common as f64 / (10 * exact.len()) as f64
}

#[test]
fn every_kind_of_index_is_built_stored_used_beside_changes_and_dropped() {
    let kinds = [
        IndexKind::Hnsw,
        IndexKind::Ivf,
        IndexKind::Pq,
        IndexKind::IvfPq,
        IndexKind::Lsh,
        IndexKind::Vamana,
    ];
    let mut all: Vec<IndexParams> = kinds.into_iter().map(IndexParams::of).collect();
    all.push(IndexParams::of(IndexKind::Vamana).with(|p| {
        p.disk_percent = 100;
    }));
    for params in all {
        let mut random = Random(params.kind() as u64);
        let world = World::small(DIM, Metric::L2);
        let mut oracle = Oracle::new(DIM);
        let rows = Rows::random(&mut random, 0..2500, DIM);
        world.collection().insert(&rows.batch(), PLAIN).unwrap();
        oracle.insert(&rows.ids, &rows);
        world.collection().build_index(&params, 1, &|_, _| ()).unwrap();
        let info = world.collection().info().unwrap();
        assert_eq!((info.index, info.indexed_rows, info.tail_rows), (params, 2500, 0));
        assert!(info.index_bytes > 0);

        let world = world.remount();
        let collection = world.collection();
        let queries: Vec<u8> = (0..20).flat_map(|_| random.vector(DIM)).collect();
        let share = recall(&collection, &queries);
        assert!(share >= 0.5, "{}: recall {share}", params.kind().name());
        let changed = Rows::random(&mut random, (0..300).step_by(3), DIM);
        collection.insert(&changed.batch(), UPSERT).unwrap();
        oracle.insert(&changed.ids, &changed);
        let gone: Vec<u64> = (1..1000).step_by(5).collect();
        collection.delete(&gone).unwrap();
        oracle.rows.retain(|id, _| !gone.contains(id));
        oracle.check(&collection, &mut random);
        let share = recall(&collection, &queries);
        assert!(share >= 0.5, "{}: recall {share} after changes", params.kind().name());

        while collection.maintain(1, &|_, _| ()).unwrap() {}
        collection.optimize(1, &|_, _| ()).unwrap();
        let info = collection.info().unwrap();
        assert_eq!((info.segments, info.dead_rows), (1, 0));
        assert_eq!(info.indexed_rows, oracle.rows.len() as u64);
        oracle.check(&collection, &mut random);
        assert!(recall(&collection, &queries) >= 0.5);
        collection.drop_index().unwrap();
        let info = collection.info().unwrap();
        assert_eq!(
            (info.index.kind(), info.index_bytes, info.indexed_rows),
            (IndexKind::Flat, 0, 0)
        );
        oracle.check(&collection, &mut random);
    }
}

#[test]
fn an_index_on_disk_is_searched_without_the_vectors_in_memory() {
    let mut random = Random(1);
    let dim = 384;
    let world = World::small(dim, Metric::L2);
    let rows = Rows::random(&mut random, 0..2000, dim);
    let collection = world.collection();
    for ids in [0..1000, 1000..2000] {
        let half = Rows {
            ids: ids.clone().collect(),
            vectors: rows.vectors[4 * dim * ids.start as usize..4 * dim * ids.end as usize].to_vec(),
            ..Rows::default()
        };
        collection.insert(&half.batch(), PLAIN).unwrap();
    }
    let params = IndexParams::of(IndexKind::Vamana).with(|p| {
        p.disk_percent = 100;
    });
    collection.build_index(&params, 1, &|_, _| ()).unwrap();
    collection.drop_cache();
    let search = SearchRequest {
        queries: &rows.vectors[..4 * dim],
        k: 1,
        ..SearchRequest::default()
    };
    let found = collection.search(&search).unwrap();
    assert_eq!(found.hits[0].row.id, 0);
    assert!(found.cost.reads > 0);
    let vectors = (rows.vectors.len()) as u64;
    assert!(collection.memory_bytes() < vectors / 2, "{}", collection.memory_bytes());
}

#[test]
fn an_index_that_the_collection_cannot_have_is_refused_and_nothing_changes() {
    let world = World::small(DIM, Metric::L2);
    let collection = world.collection();
    let mut random = Random(2);
    let rows = Rows::random(&mut random, 0..100, DIM);
    collection.insert(&rows.batch(), PLAIN).unwrap();
    let before = collection.info().unwrap();
    // Codes that are scanned are shorter.
    let params = IndexParams::of(IndexKind::Pq).with(|p| p.pq_bytes = 2048);
    let refused = collection.build_index(&params, 1, &|_, _| ());
    assert!(matches!(refused, Err(Error::Invalid(_))));
    assert_eq!(collection.info().unwrap(), before);
}
