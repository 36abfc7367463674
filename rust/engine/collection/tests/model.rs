// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Random histories against the oracle.

use super::support::Oracle;
use super::support::Random;
use super::support::Rows;
use super::support::World;
use super::support::PLAIN;
use super::support::UPSERT;
use crate::CollectionStats;
use crate::IndexKind;
use crate::IndexParams;
use std::collections::BTreeSet;
use std::vec::Vec;
use vexfs_host::Error;
use vexfs_simd::Metric;

fn history(seed: u64, dim: usize, metric: Metric, steps: u32) {
    history_of(World::new(dim, metric), seed, dim, steps);
}

fn history_of(mut world: World, seed: u64, dim: usize, steps: u32) {
    let mut random = Random(seed);
    let mut oracle = Oracle::new(dim);
    let mut next_id = 0;
    for _ in 0..steps {
        let collection = world.collection();
        let count = 1 + if random.below(10) == 0 {
            // A batch has at most 16 MiB.
            random.below(3000).min((10 << 20) / (4 * dim as u64 + 1600))
        } else {
            random.below(20)
        };
        match random.below(17) {
            // Assigned ids.
            0..3 => {
                let rows = Rows::random(&mut random, 0..count, dim);
                let inserted = collection.insert(&rows.without_ids(), PLAIN).unwrap();
                assert_eq!(
                    (inserted.first_id, inserted.count as u64, inserted.replaced),
                    (next_id, count, 0)
                );
                let ids: Vec<u64> = (next_id..next_id + count).collect();
                oracle.insert(&ids, &rows);
                next_id += count;
            }
            // Given ids, of which some may be there.
            step @ 3..6 => {
                let ids: BTreeSet<u64> = (0..count).map(|_| random.below(next_id + 50)).collect();
                let rows = Rows::random(&mut random, ids.iter().copied(), dim);
                let there = ids.iter().filter(|id| oracle.rows.contains_key(id)).count();
                let result = collection.insert(&rows.batch(), if step == 3 { PLAIN } else { UPSERT });
                if step == 3 && there > 0 {
                    assert_eq!(result, Err(Error::Exists));
                } else {
                    let inserted = result.unwrap();
                    assert_eq!(
                        (inserted.first_id, inserted.count, inserted.replaced),
                        (0, ids.len(), there)
                    );
                    oracle.insert(&rows.ids, &rows);
                    next_id = next_id.max(ids.last().unwrap() + 1);
                }
            }
            6..8 => {
                let mut ids: Vec<u64> = (0..count).map(|_| random.below(next_id + 5)).collect();
                ids.push(ids[0]);
                let before = oracle.rows.len();
                oracle.rows.retain(|id, _| !ids.contains(id));
                assert_eq!(collection.delete(&ids).unwrap().count, before - oracle.rows.len());
            }
            8 => {
                let info = collection.info().unwrap();
                collection.drop_cache();
                assert_eq!(
                    collection.info().unwrap(),
                    CollectionStats {
                        memory_bytes: 0,
                        ..info
                    }
                );
            }
            9 => {
                drop(collection);
                world = world.remount();
            }
            10 => oracle.check_all(&collection),
            // What a program would do in the background.
            11..15 => _ = collection.maintain(1, &|_, _| ()).unwrap(),
            15 if random.below(3) == 0 => match random.below(3) {
                0 => _ = collection.optimize(1, &|_, _| ()).unwrap(),
                1 => _ = collection.drop_index().unwrap(),
                _ => {
                    let params = IndexParams::of(IndexKind::Hnsw).with(|p| {
                        p.m = 4;
                        p.ef_construction = 20;
                    });
                    collection.build_index(&params, 1, &|_, _| ()).unwrap();
                }
            },
            _ => oracle.check(&collection, &mut random),
        }
        assert_eq!(world.collection().info().unwrap().next_id, next_id);
    }
    oracle.check_all(&world.collection());
    oracle.check(&world.collection(), &mut random);
    let world = world.remount();
    oracle.check_all(&world.collection());
    oracle.check(&world.collection(), &mut random);
}

#[test]
fn l2_collections_answer_as_the_oracle_does() {
    history(1, 3, Metric::L2, 300);
    history(2, 128, Metric::L2, 100);
}

#[test]
fn rows_in_segments_are_those_of_the_oracle() {
    history_of(World::small(3, Metric::L2), 11, 3, 400);
    history_of(World::small(40, Metric::Cosine), 12, 40, 200);
    history_of(World::small(16, Metric::Ip), 13, 16, 200);
}

#[test]
fn inner_product_collections_answer_as_the_oracle_does() {
    history(3, 17, Metric::Ip, 300);
}

#[test]
fn cosine_collections_answer_as_the_oracle_does() {
    history(4, 24, Metric::Cosine, 300);
    history(5, 1, Metric::Cosine, 100);
}

#[test]
fn rows_of_the_largest_dimension_answer_as_the_oracle_does() {
    history(6, 4096, Metric::L2, 12);
}
