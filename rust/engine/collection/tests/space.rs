// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The space of dead rows comes back.

use super::support::Oracle;
use super::support::Random;
use super::support::Rows;
use super::support::World;
use super::support::PLAIN;
use super::support::UPSERT;
use crate::Batch;
use crate::SearchRequest;
use crate::Time;
use std::vec::Vec;
use vexfs_simd::Metric;

#[test]
fn a_tail_stays_bounded_under_endless_replacement() {
    let mut random = Random(1);
    let dim = 64;
    let world = World::new(dim, Metric::Cosine);
    let collection = world.collection();
    let mut oracle = Oracle::new(dim);
    let mut longest = 0;
    let mut tails = Vec::new();
    for round in 0..60 {
        let rows = Rows::random(&mut random, (0..1000).map(|id| id * 3), dim);
        collection.insert(&rows.batch(), UPSERT).unwrap();
        oracle.insert(&rows.ids, &rows);
        longest = longest.max(collection.info().unwrap().disk_bytes);
        tails.push(world.tail());
        if round % 10 == 9 {
            oracle.check(&collection, &mut random);
        }
    }
    tails.dedup();
    assert!(tails.len() > 5, "rewritten several times");
    // Live rows need some 600 KiB.
    assert!(longest < 3 << 20, "{longest}");
    assert_eq!(world.hidden_files(), [world.tail()]);
    oracle.check_all(&collection);
    drop(collection);
    let world = world.remount();
    oracle.check_all(&world.collection());
    oracle.check(&world.collection(), &mut random);
}

#[test]
fn deleting_everything_empties_the_tail_and_ids_go_on() {
    let mut random = Random(2);
    let world = World::new(512, Metric::L2);
    let collection = world.collection();
    let rows = Rows::random(&mut random, 0..1000, 512);
    collection.insert(&rows.without_ids(), PLAIN).unwrap();
    assert!(collection.info().unwrap().disk_bytes > 2_000_000);
    collection.delete(&rows.ids).unwrap();
    let info = collection.info().unwrap();
    assert_eq!(
        (info.rows, info.dead_rows, info.disk_bytes, info.next_id),
        (0, 0, 0, 1000)
    );
    drop(collection);
    let world = world.remount();
    let one = Batch {
        vectors: &rows.vectors[..2048],
        ..Batch::default()
    };
    assert_eq!(world.collection().insert(&one, PLAIN).unwrap().first_id, 1000);
}

#[test]
fn a_search_that_began_before_a_rewrite_ends_as_it_began() {
    let mut random = Random(3);
    let world = World::new(512, Metric::L2);
    let collection = world.collection();
    let rows = Rows::random(&mut random, 0..1000, 512);
    collection.insert(&rows.without_ids(), PLAIN).unwrap();
    let found = collection
        .search(&SearchRequest {
            queries: &rows.vectors[..2048],
            k: 1000,
            radius: None,
            ..SearchRequest::default()
        })
        .unwrap();
    collection.delete(&rows.ids[..900]).unwrap();
    assert_eq!(collection.info().unwrap().dead_rows, 0, "rewritten");
    for hit in &found.hits {
        let mut out = [0; 2048];
        found.contents.vector(&hit.row, &mut out).unwrap();
        assert_eq!(out, rows.vectors[2048 * hit.row.id as usize..][..2048]);
    }
    let found = collection
        .search(&SearchRequest {
            queries: &rows.vectors[..2048],
            k: 1000,
            radius: None,
            ..SearchRequest::default()
        })
        .unwrap();
    assert_eq!(found.hits.len(), 100);
}

#[test]
fn files_left_by_an_interrupted_rewrite_are_removed() {
    let mut random = Random(4);
    let world = World::new(2, Metric::L2);
    let rows = Rows::random(&mut random, 0..10, 2);
    world.collection().insert(&rows.batch(), PLAIN).unwrap();
    for _ in 0..3 {
        let leftover = world.fs.create_hidden(world.dir, Time::now()).unwrap();
        world.fs.write(leftover, 0, &[7; 10_000], Time::now()).unwrap();
    }
    let world = world.remount();
    assert_eq!(world.collection().info().unwrap().rows, 10);
    assert_eq!(world.collection().get(&[1]).unwrap().rows.len(), 1);
    assert_eq!(world.hidden_files().len(), 4, "who only reads does not write");
    world.collection().delete(&[1]).unwrap();
    assert_eq!(world.hidden_files(), [world.tail()]);
}
