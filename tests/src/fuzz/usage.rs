// SPDX-License-Identifier: Apache-2.0
//! Uses a collection that may be damaged in every way there is. What comes back is an answer or an error.

use vexfs_engine::filter::Program;
use vexfs_engine::Batch;
use vexfs_engine::Collection;
use vexfs_engine::Found;
use vexfs_engine::InsertMode;
use vexfs_engine::SearchParams;
use vexfs_engine::SearchRequest;
use vexfs_uapi as uapi;

/// Hits asked for.
const K: usize = 5;

/// A vector of the collection's form that any metric allows.
pub fn vector(collection: &Collection, seed: u64) -> Vec<u8> {
    let params = collection.params();
    let number = |i: usize| ((i as u64 + 3 * seed) * 7 % 23) as f32 - 4.5;
    match params.element().code() {
        uapi::VEXFS_ELEMENT_F32 => (0..params.dim()).flat_map(|i| number(i).to_le_bytes()).collect(),
        // Upper halves of f32: all of them numbers as f16, too.
        uapi::VEXFS_ELEMENT_F16 | uapi::VEXFS_ELEMENT_BF16 => (0..params.dim())
            .flat_map(|i| ((number(i).to_bits() >> 16) as u16).to_le_bytes())
            .collect(),
        uapi::VEXFS_ELEMENT_BINARY => vec![0x5a ^ (seed as u8); params.dim() / 8],
        _ => (0..params.dim())
            .map(|i| (i as u64 * 5 + seed) as u8 % 100 + 1)
            .collect(),
    }
}

/// `part <= 3`.
pub fn filter() -> Program {
    let mut bytes = vec![uapi::filter::VEXFS_FILTER_VERSION as u8, 0, 1, 0];
    let flags = uapi::filter::VEXFS_RANGE_UPPER as u8;
    bytes.extend([uapi::filter::VEXFS_FILTER_RANGE as u8, 4, 0, flags, 9, 0, 0, 0]);
    bytes.extend(b"part");
    bytes.push(uapi::payload::VEXFS_FIELD_I64 as u8);
    bytes.extend(3i64.to_le_bytes());
    Program::parse(&bytes).expect("a filter")
}

/// Reads all of an answer.
fn look_at(collection: &Collection, found: &Found) {
    assert!(found.hits.len() <= K, "more hits than asked for");
    for hit in found.hits.iter() {
        let mut vector = vec![0; collection.params().row_bytes()];
        let mut payload = vexfs_host::mem::Vec::new();
        // Payloads and vectors may be read only now.
        if found.contents.vector(&hit.row, &mut vector).is_ok()
            && found.contents.payload(&hit.row, &mut payload).is_ok()
        {
            assert_eq!(payload.len(), hit.row.payload_len);
        }
    }
}

/// Searches in every way, reads, deletes, inserts, merges, and reads again what is then on disk.
pub fn everything(collection: &Collection) {
    let filter = filter();
    for turn in 0..2 {
        let query = vector(collection, turn);
        let plain = SearchRequest {
            queries: &query,
            k: K,
            ..SearchRequest::default()
        };
        let wide = SearchParams {
            ef: 100,
            nprobe: 4,
            rerank: 3,
        };
        let searches = [
            plain,
            SearchRequest { exact: true, ..plain },
            SearchRequest { params: wide, ..plain },
            SearchRequest {
                radius: Some(900f32.to_bits()),
                ..plain
            },
            SearchRequest {
                filter: Some(&filter),
                ..plain
            },
        ];
        for search in &searches {
            if let Ok(found) = collection.search(search) {
                look_at(collection, &found);
            }
        }
        let ids: Vec<u64> = (0..60).chain([u64::MAX]).collect();
        if let Ok(got) = collection.get(&ids) {
            for row in got.rows.iter().flatten() {
                let mut payload = vexfs_host::mem::Vec::new();
                let _ = got.contents.payload(row, &mut payload);
            }
        }
        let _ = collection.info();
        let _ = collection.delete(&[1, 3, 1000]);
        let vectors = [vector(collection, 5), vector(collection, 6)].concat();
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
        if turn == 0 {
            let _ = collection.optimize(1, &|_, _| {});
        }
        collection.drop_cache();
    }
}
