// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Searches beside changes.

use super::support::World;
use super::support::UPSERT;
use crate::Batch;
use crate::SearchRequest;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::vec::Vec;
use vexfs_simd::Metric;

#[test]
fn a_search_sees_whole_batches_only_and_every_row_exactly_once() {
    const ROWS: u64 = 700;
    let dim = 300;
    let world = World::new(dim, Metric::L2);
    let ids: Vec<u64> = (0..ROWS).collect();
    let version = |n: u32| -> Vec<u8> {
        (0..ROWS as usize * dim)
            .flat_map(|i| (if i % dim == 0 { n as f32 } else { 0.5 }).to_le_bytes())
            .collect()
    };
    let upsert = |n: u32| {
        let vectors = version(n);
        let batch = Batch {
            vectors: &vectors,
            ids: Some(&ids),
            ..Batch::default()
        };
        world.collection().insert(&batch, UPSERT).unwrap();
    };
    upsert(1);
    let done = AtomicBool::new(false);
    let query = std::vec![0u8; 4 * dim];
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut last = 0.0;
                    let mut searches = 0;
                    while !done.load(Ordering::Relaxed) || searches < 5 {
                        searches += 1;
                        let search = SearchRequest {
                            queries: &query,
                            k: 1000,
                            radius: None,
                            ..SearchRequest::default()
                        };
                        let found = world.collection().search(&search).unwrap();
                        let mut seen: Vec<u64> = found.hits.iter().map(|hit| hit.row.id).collect();
                        seen.sort_unstable();
                        assert_eq!(seen, ids, "each row once");
                        let mut out = std::vec![0; 4 * dim];
                        let versions: Vec<f32> = found
                            .hits
                            .iter()
                            .map(|hit| {
                                found.contents.vector(&hit.row, &mut out).unwrap();
                                f32::from_le_bytes(out[..4].try_into().unwrap())
                            })
                            .collect();
                        assert!(versions.windows(2).all(|pair| pair[0] == pair[1]), "all of one batch");
                        assert!(versions[0] >= last, "never back in time");
                        last = versions[0];
                    }
                    searches
                })
            })
            .collect();
        for n in 2..60 {
            upsert(n);
            if n % 20 == 0 {
                world.collection().drop_cache();
            }
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            assert!(reader.join().unwrap() >= 5);
        }
    });
}
