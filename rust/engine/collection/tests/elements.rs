// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Every type of elements with every metric that it has, in the tail and in segments.

use super::support::Random;
use super::support::World;
use super::support::PLAIN;
use super::support::SMALL;
use super::support::UPSERT;
use crate::Batch;
use crate::InsertMode;
use crate::Params;
use crate::SearchRequest;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::vec::Vec;
use vexfs_host::device::RamBackend;
use vexfs_host::Error;
use vexfs_uapi as uapi;

/// Whole numbers that every type but bits can hold; of bits the sign is used.
fn encode(element: u32, values: &[i32]) -> Vec<u8> {
    let f16 = |x: i32| -> u16 {
        let size = [0, 0x3c00, 0x4000, 0x4200, 0x4400][x.unsigned_abs() as usize];
        size | if x < 0 { 0x8000 } else { 0 }
    };
    match element {
        uapi::VEXFS_ELEMENT_F32 => values.iter().flat_map(|x| (*x as f32).to_le_bytes()).collect(),
        uapi::VEXFS_ELEMENT_F16 => values.iter().flat_map(|x| f16(*x).to_le_bytes()).collect(),
        uapi::VEXFS_ELEMENT_BF16 => values
            .iter()
            .flat_map(|x| (((*x as f32).to_bits() >> 16) as u16).to_le_bytes())
            .collect(),
        uapi::VEXFS_ELEMENT_I8 | uapi::VEXFS_ELEMENT_U8 => values.iter().map(|x| *x as u8).collect(),
        _ => values
            .chunks(8)
            .map(|bits| bits.iter().rev().fold(0, |byte, x| byte << 1 | u8::from(*x > 0)))
            .collect(),
    }
}

fn distance(metric: u32, a: &[i32], b: &[i32]) -> f64 {
    let pairs = || a.iter().zip(b).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    let dot: f64 = pairs().map(|(a, b)| a * b).sum();
    let norm = |v: &[i32]| v.iter().map(|x| f64::from(x * x)).sum::<f64>().sqrt();
    match metric {
        uapi::VEXFS_METRIC_L2 => pairs().map(|(a, b)| (a - b) * (a - b)).sum(),
        uapi::VEXFS_METRIC_COSINE => 1.0 - dot / (norm(a) * norm(b)),
        uapi::VEXFS_METRIC_IP => -dot,
        _ => pairs().filter(|(a, b)| (*a > 0.0) != (*b > 0.0)).count() as f64,
    }
}

struct Model {
    world: World,
    element: u32,
    metric: u32,
    rows: BTreeMap<u64, Vec<i32>>,
    random: Random,
}

const DIM: usize = 21;

impl Model {
    fn vector(&mut self) -> Vec<i32> {
        let low = if self.element == uapi::VEXFS_ELEMENT_U8 { 0 } else { -4 };
        let mut vector: Vec<i32> = (0..DIM)
            .map(|_| low + self.random.below((5 - low) as u64) as i32)
            .collect();
        vector[0] = 1;
        vector
    }

    fn insert(&mut self, ids: impl Iterator<Item = u64>) {
        let ids: Vec<u64> = ids.collect();
        let mut bytes = Vec::new();
        for id in &ids {
            let vector = self.vector();
            bytes.extend(encode(self.element, &vector));
            self.rows.insert(*id, vector);
        }
        let batch = Batch {
            vectors: &bytes,
            ids: Some(&ids),
            ..Batch::default()
        };
        self.world.collection().insert(&batch, UPSERT).unwrap();
    }

    fn check(&mut self) {
        let query = self.vector();
        let collection = self.world.collection();
        let queries = encode(self.element, &query);
        let search = SearchRequest {
            queries: &queries,
            k: 30,
            exact: true,
            ..SearchRequest::default()
        };
        let found = collection.search(&search).unwrap();
        let mut want: Vec<(f64, u64)> = self
            .rows
            .iter()
            .map(|(id, vector)| (distance(self.metric, &query, vector), *id))
            .collect();
        want.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        want.truncate(30);
        assert_eq!(found.hits.len(), want.len());
        for (hit, (distance, id)) in found.hits.iter().zip(want) {
            let is = f64::from(f32::from_bits(hit.distance));
            if self.metric == uapi::VEXFS_METRIC_COSINE {
                assert!((is - distance).abs() < 1e-5, "{is} {distance}");
            } else {
                assert_eq!((is, hit.row.id), (distance, id));
            }
            let mut out = std::vec![0; collection.params().row_bytes()];
            found.contents.vector(&hit.row, &mut out).unwrap();
            assert_eq!(out, encode(self.element, &self.rows[&hit.row.id]));
        }
    }
}

#[test]
fn every_element_type_and_metric_is_stored_moved_and_found() {
    for element in 1..=6 {
        for metric in 1..=4 {
            let Ok(params) = Params::new(DIM as u32, element, metric, 0) else {
                continue;
            };
            let world = World::tuned(Arc::new(RamBackend::new(128 << 20)), &params, SMALL);
            let mut model = Model {
                world,
                element,
                metric,
                rows: BTreeMap::new(),
                random: Random(u64::from(10 * element + metric)),
            };
            model.insert(0..400);
            model.check();
            while model.world.collection().maintain(1, &|_, _| ()).unwrap() {}
            model.insert((0..700).step_by(3));
            let gone: Vec<u64> = (0..100).step_by(7).collect();
            model.world.collection().delete(&gone).unwrap();
            model.rows.retain(|id, _| !gone.contains(id));
            model.check();
            while model.world.collection().maintain(1, &|_, _| ()).unwrap() {}
            model.insert(1000..1010);
            model.world = model.world.remount();
            model.check();
            model.world.collection().optimize(1, &|_, _| ()).unwrap();
            model.world.collection().drop_cache();
            model.check();
            let info = model.world.collection().info().unwrap();
            assert_eq!((info.segments, info.rows), (1, model.rows.len() as u64));
        }
    }
}

#[test]
fn vectors_that_their_type_forbids_are_refused() {
    let refused = |element, metric, vector: &[u8], normalize| {
        let params = Params::new(4, element, metric, 0).unwrap();
        let world = World::tuned(Arc::new(RamBackend::new(32 << 20)), &params, SMALL);
        let batch = Batch {
            vectors: vector,
            ..Batch::default()
        };
        let mode = InsertMode { normalize, ..PLAIN };
        matches!(world.collection().insert(&batch, mode), Err(Error::Invalid(_)))
    };
    let (f16, bf16, i8, binary) = (
        uapi::VEXFS_ELEMENT_F16,
        uapi::VEXFS_ELEMENT_BF16,
        uapi::VEXFS_ELEMENT_I8,
        uapi::VEXFS_ELEMENT_BINARY,
    );
    assert!(refused(f16, 1, &[0, 0x7c, 0, 0, 0, 0, 0, 0], false), "an infinity");
    assert!(refused(bf16, 1, &[0xc0, 0x7f, 0, 0, 0, 0, 0, 0], false), "a NaN");
    assert!(refused(i8, 2, &[0; 4], false), "zero");
    assert!(refused(i8, 1, &[1, 2, 3], false), "a byte is missing");
    assert!(refused(i8, 1, &[1, 2, 3, 4], true), "bytes have no unit vectors");
    assert!(refused(binary, 4, &[0x1f], false), "a bit too many");
    assert!(!refused(binary, 4, &[0x0f], false));
    assert!(!refused(i8, 1, &[0; 4], false));
}
