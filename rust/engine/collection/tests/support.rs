// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What all tests of collections use.

use crate::collection::item::Item;
use crate::payload::Builder;
use crate::payload::Value;
use crate::Batch;
use crate::Collection;
use crate::Collections;
use crate::InsertMode;
use crate::Params;
use crate::SearchRequest;
use crate::Time;
use crate::Tuning;
use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;
use vexfs_core::inode::NewInode;
use vexfs_core::mkfs::FormatOptions;
use vexfs_core::mount::MountOptions;
use vexfs_core::Fs;
use vexfs_host::device::Backend;
use vexfs_host::device::Device;
use vexfs_host::device::RamBackend;
use vexfs_host::sync::Arc;
use vexfs_simd::Metric;
use vexfs_uapi as uapi;

pub(super) const ROOT: u64 = 2;
pub(super) const UPSERT: InsertMode = InsertMode {
    upsert: true,
    normalize: false,
};
pub(super) const PLAIN: InsertMode = InsertMode {
    upsert: false,
    normalize: false,
};

/// A filesystem with one collection.
pub(super) struct World {
    pub(super) backend: std::sync::Arc<dyn Backend>,
    pub(super) fs: Arc<Fs>,
    pub(super) all: Collections,
    pub(super) dir: u64,
    tuning: Tuning,
}

/// Sizes so small that a few batches reach them.
pub(super) const SMALL: Tuning = Tuning {
    seal_rows: 300,
    seal_bytes: 1 << 20,
    tail_rows_max: 1500,
    tail_bytes_max: 8 << 20,
    fan: 3,
    index_rows_min: 500,
};

impl World {
    pub(super) fn new(dim: usize, metric: Metric) -> Self {
        Self::on(std::sync::Arc::new(RamBackend::new(1 << 30)), dim, metric)
    }

    pub(super) fn on(backend: std::sync::Arc<dyn Backend>, dim: usize, metric: Metric) -> Self {
        Self::tuned(backend, &params(dim, metric), Tuning::default())
    }

    /// One that moves rows into segments early.
    pub(super) fn small(dim: usize, metric: Metric) -> Self {
        Self::tuned(
            std::sync::Arc::new(RamBackend::new(1 << 30)),
            &params(dim, metric),
            SMALL,
        )
    }

    pub(super) fn tuned(backend: std::sync::Arc<dyn Backend>, params: &Params, tuning: Tuning) -> Self {
        Fs::format(&Device::from_backend(backend.clone()), &FormatOptions::default()).unwrap();
        let fs = mount(&backend);
        let new = NewInode {
            mode: 0o040755,
            uid: 0,
            gid: 0,
            rdev: 0,
            target: None,
            now: Time::now(),
            xattrs: &[],
        };
        let dir = fs.create(ROOT, b"c", &new).unwrap().ino;
        let all = Collections::tuned(fs.clone(), tuning).unwrap();
        all.create(dir, params).unwrap();
        Self {
            backend,
            fs,
            all,
            dir,
            tuning,
        }
    }

    pub(super) fn collection(&self) -> Arc<Collection> {
        self.all.get(self.dir).unwrap()
    }

    /// Unmounts and mounts again.
    pub(super) fn remount(self) -> Self {
        let Self {
            backend,
            fs,
            all,
            dir,
            tuning,
        } = self;
        drop(all);
        fs.unmount().unwrap();
        drop(fs);
        let fs = mount(&backend);
        let all = Collections::tuned(fs.clone(), tuning).unwrap();
        Self {
            backend,
            fs,
            all,
            dir,
            tuning,
        }
    }

    /// The tail's inode number, from the collection item.
    pub(super) fn tail(&self) -> u64 {
        let mut item = vexfs_host::mem::Vec::new();
        self.fs.collection(self.dir, &mut item).unwrap();
        Item::decode(&item, self.dir).unwrap().tail
    }

    pub(super) fn hidden_files(&self) -> Vec<u64> {
        let mut files = Vec::new();
        self.fs.hidden_files(self.dir, &mut |ino| files.push(ino)).unwrap();
        files
    }
}

pub(super) fn mount(backend: &std::sync::Arc<dyn Backend>) -> Arc<Fs> {
    Fs::mount(Device::from_backend(backend.clone()), MountOptions::default()).unwrap()
}

pub(super) fn params(dim: usize, metric: Metric) -> Params {
    let metric = match metric {
        Metric::L2 => uapi::VEXFS_METRIC_L2,
        Metric::Cosine => uapi::VEXFS_METRIC_COSINE,
        Metric::Ip => uapi::VEXFS_METRIC_IP,
        Metric::Hamming => uapi::VEXFS_METRIC_HAMMING,
    };
    Params::new(dim as u32, uapi::VEXFS_ELEMENT_F32, metric, 0).unwrap()
}

pub(super) struct Random(pub(super) u64);

impl Random {
    /// A number below `n`.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    /// A vector of small integers, not zero: distances are exact in f32 and ties are common.
    pub(super) fn vector(&mut self, dim: usize) -> Vec<u8> {
        let mut v: Vec<f32> = (0..dim).map(|_| self.below(9) as f32 - 4.0).collect();
        if v.iter().all(|x| *x == 0.0) {
            v[0] = 1.0;
        }
        v.into_iter().flat_map(f32::to_le_bytes).collect()
    }

    pub(super) fn payload(&mut self) -> Vec<u8> {
        let mut builder = Builder::new();
        for field in 0..self.below(4) {
            let name = ["a", "b", "c", "d"][field as usize];
            match self.below(3) {
                0 => builder.add(name, Value::I64(self.below(1000) as i64)).unwrap(),
                1 => builder.add(name, Value::Keyword("word")).unwrap(),
                _ => builder
                    .add(name, Value::Text(&"long ".repeat(self.below(300) as usize)))
                    .unwrap(),
            }
        }
        builder.finish().unwrap().to_vec()
    }
}

/// A batch that owns its rows.
#[derive(Clone, Default)]
pub(super) struct Rows {
    pub(super) ids: Vec<u64>,
    pub(super) vectors: Vec<u8>,
    pub(super) payload_lens: Vec<u32>,
    pub(super) payloads: Vec<u8>,
}

impl Rows {
    pub(super) fn random(random: &mut Random, ids: impl IntoIterator<Item = u64>, dim: usize) -> Self {
        let mut rows = Self::default();
        for id in ids {
            let payload = random.payload();
            rows.push(id, &random.vector(dim), &payload);
        }
        rows
    }

    pub(super) fn push(&mut self, id: u64, vector: &[u8], payload: &[u8]) {
        self.ids.push(id);
        self.vectors.extend_from_slice(vector);
        self.payload_lens.push(payload.len() as u32);
        self.payloads.extend_from_slice(payload);
    }

    pub(super) fn batch(&self) -> Batch<'_> {
        Batch {
            vectors: &self.vectors,
            ids: Some(&self.ids),
            payload_lens: &self.payload_lens,
            payloads: &self.payloads,
        }
    }

    pub(super) fn without_ids(&self) -> Batch<'_> {
        Batch {
            ids: None,
            ..self.batch()
        }
    }
}

/// What a collection must contain.
#[derive(Clone, Default)]
pub(super) struct Oracle {
    pub(super) dim: usize,
    pub(super) rows: BTreeMap<u64, (Vec<u8>, Vec<u8>)>,
}

impl Oracle {
    pub(super) fn new(dim: usize) -> Self {
        Self {
            dim,
            rows: BTreeMap::new(),
        }
    }

    pub(super) fn insert(&mut self, ids: &[u64], rows: &Rows) {
        let mut payloads = &rows.payloads[..];
        for (i, id) in ids.iter().enumerate() {
            let vector = rows.vectors[i * 4 * self.dim..][..4 * self.dim].to_vec();
            let (payload, rest) = payloads.split_at(rows.payload_lens[i] as usize);
            payloads = rest;
            self.rows.insert(*id, (vector, payload.to_vec()));
        }
    }

    /// All distances, nearest first.
    fn distances(&self, metric: Metric, query: &[u8]) -> Vec<(f64, u64)> {
        let mut all: Vec<(f64, u64)> = self
            .rows
            .iter()
            .map(|(id, (vector, _))| (distance(metric, query, vector), *id))
            .collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        all
    }

    /// Checks a search, and that reading returns every row and no other.
    pub(super) fn check(&self, collection: &Collection, random: &mut Random) {
        let metric = collection.params().metric();
        assert_eq!(collection.info().unwrap().rows, self.rows.len() as u64);
        let count = 1 + random.below(5) as usize;
        let queries: Vec<Vec<u8>> = (0..count).map(|_| random.vector(self.dim)).collect();
        let k = 1 + random.below(40) as usize;
        let radius = (random.below(2) == 0).then(|| random.below(60) as f32 - 10.0);
        let search = SearchRequest {
            queries: &queries.concat(),
            k,
            radius: radius.map(f32::to_bits),
            exact: true,
            ..SearchRequest::default()
        };
        let found = collection.search(&search).unwrap();
        self.check_plausible(collection, &search);
        assert_eq!(found.counts.len(), count);
        for (query, hits) in queries.iter().zip(found.by_query()) {
            let mut want = self.distances(metric, query);
            want.retain(|(distance, _)| radius.is_none_or(|radius| *distance <= f64::from(radius)));
            want.truncate(k);
            let got: Vec<(f64, u64)> = hits
                .iter()
                .map(|hit| (f64::from(f32::from_bits(hit.distance)), hit.row.id))
                .collect();
            if metric == Metric::Cosine {
                // Rounded, so rows whose distances nearly agree may come in another order.
                assert_eq!(got.len(), want.len());
                for ((got, id), (want, _)) in got.iter().zip(&want) {
                    assert!((got - want).abs() < 1e-5, "{got} {want}");
                    assert!((got - distance(metric, query, &self.rows[id].0)).abs() < 1e-5);
                }
                assert!(got.windows(2).all(|pair| pair[0] < pair[1]), "order of (distance, id)");
            } else {
                assert_eq!(got, want);
            }
            for hit in hits {
                let (vector, payload) = &self.rows[&hit.row.id];
                let mut out = vec![0; 4 * self.dim];
                found.contents.vector(&hit.row, &mut out).unwrap();
                assert_eq!(&out, vector);
                let mut out = vexfs_host::mem::Vec::new();
                found.contents.payload(&hit.row, &mut out).unwrap();
                assert_eq!(&out[..], payload);
            }
        }
    }

    /// Checks what is true of a search that may use indexes: hits are live rows, each once, as many as there can be,
    /// with the distances that they have.
    fn check_plausible(&self, collection: &Collection, search: &SearchRequest<'_>) {
        let metric = collection.params().metric();
        let search = SearchRequest {
            exact: false,
            radius: None,
            ..*search
        };
        let found = collection.search(&search).unwrap();
        for (query, hits) in search.queries.chunks(4 * self.dim).zip(found.by_query()) {
            assert_eq!(hits.len(), search.k.min(self.rows.len()));
            let ids: std::collections::BTreeSet<u64> = hits.iter().map(|hit| hit.row.id).collect();
            assert_eq!(ids.len(), hits.len(), "a row twice");
            assert!(hits
                .windows(2)
                .all(|pair| pair[0].distance != pair[1].distance || pair[0].row.id < pair[1].row.id));
            for hit in hits {
                let is = f64::from(f32::from_bits(hit.distance));
                let should = distance(metric, query, &self.rows[&hit.row.id].0);
                assert!((is - should).abs() < 1e-5, "{is} {should}");
            }
        }
    }

    /// Checks that reading returns every row and no other.
    pub(super) fn check_all(&self, collection: &Collection) {
        let mut ids: Vec<u64> = self.rows.keys().copied().collect();
        let absent: Vec<u64> = (0..100).filter(|id| !self.rows.contains_key(id)).collect();
        ids.extend(absent);
        for ids in ids.chunks(1000) {
            let got = collection.get(ids).unwrap();
            for (id, row) in ids.iter().zip(&got.rows) {
                let Some((vector, payload)) = self.rows.get(id) else {
                    assert_eq!(*row, None);
                    continue;
                };
                let row = row.unwrap();
                let mut out = vec![0; 4 * self.dim];
                got.contents.vector(&row, &mut out).unwrap();
                assert_eq!((&out, row.id), (vector, *id));
                let mut out = vexfs_host::mem::Vec::new();
                got.contents.payload(&row, &mut out).unwrap();
                assert_eq!(&out[..], payload);
            }
        }
    }
}

/// Everything in a collection whose ids are below `ids`.
pub(super) fn dump(collection: &Collection, ids: u64) -> BTreeMap<u64, (Vec<u8>, Vec<u8>)> {
    let dim = collection.params().dim();
    let ids: Vec<u64> = (0..ids).collect();
    let got = collection.get(&ids).unwrap();
    let rows = got.rows.iter().flatten().map(|row| {
        let (mut vector, mut payload) = (vec![0; 4 * dim], vexfs_host::mem::Vec::new());
        got.contents.vector(row, &mut vector).unwrap();
        got.contents.payload(row, &mut payload).unwrap();
        (row.id, (vector, payload.to_vec()))
    });
    rows.collect()
}

fn distance(metric: Metric, a: &[u8], b: &[u8]) -> f64 {
    fn floats(v: &[u8]) -> impl Iterator<Item = f64> + '_ {
        v.chunks_exact(4)
            .map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap())))
    }
    let pairs = || floats(a).zip(floats(b));
    let dot: f64 = pairs().map(|(x, y)| x * y).sum();
    match metric {
        Metric::Hamming => unreachable!("floats"),
        Metric::L2 => pairs().map(|(x, y)| (x - y) * (x - y)).sum(),
        Metric::Ip => -dot,
        Metric::Cosine => {
            let norm = |v: &[u8]| floats(v).map(|x| x * x).sum::<f64>().sqrt();
            1.0 - dot / (norm(a) * norm(b))
        }
    }
}

std::thread_local! {
    static HEARD: std::cell::RefCell<std::vec::Vec<std::string::String>> = const { std::cell::RefCell::new(std::vec::Vec::new()) };
}

/// From now on, what is logged is not printed but kept for whoever asks in the same thread: tests run side by side.
pub fn quiet() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        vexfs_host::set_log_hook(Some(std::boxed::Box::new(|_, text: &str| {
            HEARD.with_borrow_mut(|heard| heard.push(text.into()));
        })));
    });
}

/// What this thread logged since it asked last.
pub fn heard() -> std::vec::Vec<std::string::String> {
    HEARD.take()
}
