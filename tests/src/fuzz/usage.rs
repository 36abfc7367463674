// SPDX-License-Identifier: Apache-2.0
//! Uses a collection that may be damaged in every way there is. What comes back is an answer or an error.

use vexfs_engine::Batch;
use vexfs_engine::Collection;
use vexfs_engine::InsertMode;
use vexfs_engine::Search;

/// Searches, reads, deletes, inserts, and reads again what is then on disk.
pub fn everything(collection: &Collection) {
    let dim = collection.params().dim();
    for turn in 0..2 {
        let query: Vec<u8> = (0..dim).flat_map(|i| ((i as f32) - 1.5).to_le_bytes()).collect();
        for radius in [None, Some(9f32.to_bits())] {
            let found = collection.search(&Search {
                queries: &query,
                k: 5,
                radius,
                ..Search::default()
            });
            if let Ok(found) = found {
                assert!(found.hits.len() <= 5, "more hits than asked for");
                for hit in found.hits.iter() {
                    let mut vector = vec![0; 4 * dim];
                    found
                        .contents
                        .vector(&hit.row, &mut vector)
                        .expect("the vector of a hit");
                }
            }
        }
        let ids: Vec<u64> = (0..24).chain([u64::MAX]).collect();
        if let Ok(got) = collection.get(&ids) {
            for row in got.rows.iter().flatten() {
                let mut payload = vexfs_host::mem::Vec::new();
                got.contents.payload(row, &mut payload).expect("the payload of a row");
                assert_eq!(payload.len(), row.payload_len);
            }
        }
        let _ = collection.info();
        let _ = collection.delete(&[1, 3, 1000]);
        let vectors: Vec<u8> = (0..2 * dim).flat_map(|i| (1.0 + i as f32).to_le_bytes()).collect();
        let batch = Batch {
            vectors: &vectors,
            ids: Some(&[2, 500 + turn]),
            ..Batch::default()
        };
        let mode = InsertMode {
            upsert: true,
            normalize: false,
        };
        let _ = collection.insert(&batch, mode);
        collection.drop_cache();
    }
}
