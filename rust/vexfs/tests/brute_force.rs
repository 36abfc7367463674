// SPDX-License-Identifier: Apache-2.0
//! Searches of collections of every element type and metric, against plain loops in double precision.

use serde_json::json;
use vexfs::Build;
use vexfs::CollectionOptions;
use vexfs::Element;
use vexfs::IndexParams;
use vexfs::Metric;
use vexfs::Payload;
use vexfs::Search;
use vexfs::Vexfs;

const DIM: usize = 24;
const ROWS: usize = 600;

/// xorshift64: the same numbers everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A vector that every type can hold as it is, and that is not zero.
    fn vector(&mut self, element: Element) -> Vec<f32> {
        let mut vector: Vec<f32> = (0..DIM)
            .map(|_| match element {
                Element::Binary => (self.next() >> 40 & 1) as f32,
                Element::U8 => (self.next() >> 40 & 63) as f32,
                _ => (self.next() >> 40 & 63) as f32 - 32.0,
            })
            .collect();
        vector[0] = 1.0;
        vector
    }
}

fn distance(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
        let pairs = a.iter().zip(b);
        pairs.map(|(x, y)| f(f64::from(*x), f64::from(*y))).sum()
    };
    match metric {
        Metric::L2 => sum(&|x, y| (x - y) * (x - y)),
        Metric::Ip => -sum(&|x, y| x * y),
        Metric::Cosine => 1.0 - sum(&|x, y| x * y) / (sum(&|x, _| x * x) * sum(&|_, y| y * y)).sqrt(),
        Metric::Hamming => sum(&|x, y| f64::from(u8::from(x != y))),
    }
}

fn spaces() -> Vec<(Element, Metric)> {
    let mut spaces = vec![(Element::Binary, Metric::Hamming)];
    for element in [Element::F32, Element::F16, Element::Bf16, Element::I8, Element::U8] {
        spaces.extend([Metric::L2, Metric::Cosine, Metric::Ip].map(|metric| (element, metric)));
    }
    spaces
}

/// Whether these are the `k` nearest of the rows whose number passes, as far as distances can tell.
fn check(
    what: &str,
    metric: Metric,
    rows: &[Vec<f32>],
    passes: &dyn Fn(usize) -> bool,
    query: &[f32],
    found: &[vexfs::Hit],
) {
    let mut truth: Vec<(f64, u64)> = rows
        .iter()
        .enumerate()
        .filter(|(i, _)| passes(*i))
        .map(|(i, row)| (distance(metric, query, row), i as u64))
        .collect();
    truth.sort_by(|a, b| a.partial_cmp(b).unwrap());
    // Cosines are rounded; everything else is a sum of small whole numbers.
    let tolerance = if metric == Metric::Cosine { 2e-6 } else { 0.0 };
    assert_eq!(found.len(), 10.min(truth.len()), "{what}");
    for (hit, (distance, id)) in found.iter().zip(&truth) {
        assert!(
            (f64::from(hit.distance) - distance).abs() <= tolerance,
            "{what}: {hit:?}"
        );
        assert!(passes(hit.id as usize), "{what}: {hit:?}");
        if tolerance == 0.0 {
            assert_eq!(hit.id, *id, "{what}");
        }
    }
}

#[test]
fn exact_searches_of_every_type_and_metric_find_what_a_plain_loop_finds() {
    let fs = Vexfs::in_memory(256 << 20).unwrap();
    for (element, metric) in spaces() {
        let what = format!("{element} {metric}");
        let options = CollectionOptions::new(DIM as u32, metric).element(element);
        let collection = fs
            .create_collection_with(format!("/{element}-{metric}"), options)
            .unwrap();
        let mut random = Random(0x1234_5678_9abc_def1);
        let rows: Vec<Vec<f32>> = (0..ROWS).map(|_| random.vector(element)).collect();
        let mut batch = collection.batch();
        for (i, row) in rows.iter().enumerate() {
            batch.push(i as u64, row, &Payload::default()).unwrap();
        }
        collection.insert_batch(&batch).unwrap();
        let queries: Vec<Vec<f32>> = (0..10).map(|_| random.vector(element)).collect();
        for sealed in [false, true] {
            if sealed {
                collection.optimize(&Build::new()).unwrap();
                let info = collection.info().unwrap();
                assert_eq!(
                    (info.tail_rows, info.segments, info.rows),
                    (0, 1, ROWS as u64),
                    "{what}"
                );
            }
            for query in &queries {
                let found = collection.search(query, &Search::new(10).vectors()).unwrap();
                check(&what, metric, &rows, &|_| true, query, &found);
                assert_eq!(found[0].vector(), rows[found[0].id as usize], "{what}");
            }
        }
    }
}

#[test]
fn rows_that_are_deleted_or_replaced_are_not_found_in_any_type() {
    let fs = Vexfs::in_memory(256 << 20).unwrap();
    for (element, metric) in spaces() {
        let options = CollectionOptions::new(DIM as u32, metric).element(element);
        let collection = fs
            .create_collection_with(format!("/{element}-{metric}"), options)
            .unwrap();
        let mut random = Random(99);
        let mut rows: Vec<Vec<f32>> = (0..200).map(|_| random.vector(element)).collect();
        let mut batch = collection.batch();
        for (i, row) in rows.iter().enumerate() {
            batch.push(i as u64, row, &Payload::default()).unwrap();
        }
        collection.insert_batch(&batch).unwrap();
        collection.optimize(&Build::new()).unwrap();
        let gone: Vec<u64> = (0..200).filter(|id| id % 3 == 0).collect();
        assert_eq!(collection.delete(&gone).unwrap(), gone.len() as u64);
        batch.clear();
        for id in (1..200).step_by(3) {
            rows[id] = random.vector(element);
            batch.push(id as u64, &rows[id], &Payload::default()).unwrap();
        }
        assert_eq!(collection.upsert_batch(&batch).unwrap().replaced, batch.len() as u64);
        for _ in 0..5 {
            let query = random.vector(element);
            let found = collection.search(&query, &Search::new(10)).unwrap();
            check(
                &format!("{element} {metric}"),
                metric,
                &rows,
                &|i| i % 3 != 0,
                &query,
                &found,
            );
        }
    }
}

/// Rows around a few centres, as embeddings are: rows and queries.
fn clusters(seed: u64, element: Element, rows: usize) -> Vec<Vec<f32>> {
    let mut random = Random(4242);
    let centres: Vec<Vec<f32>> = (0..16).map(|_| random.vector(element)).collect();
    let mut random = Random(seed);
    (0..rows)
        .map(|_| {
            let centre = &centres[(random.next() >> 40) as usize % centres.len()];
            let mut near = random.vector(element);
            for (x, c) in near.iter_mut().zip(centre) {
                *x = match element {
                    Element::Binary if random.next() >> 40 & 3 != 0 => *c,
                    Element::Binary => *x,
                    Element::U8 => (c + *x / 4.0).trunc(),
                    _ => (c + *x / 4.0).trunc().clamp(-127.0, 127.0),
                };
            }
            near[0] = 1.0;
            near
        })
        .collect()
}

#[test]
fn every_kind_of_index_finds_nearly_what_the_exact_search_finds_with_and_without_a_filter() {
    let fs = Vexfs::in_memory(512 << 20).unwrap();
    let cases = [
        (
            IndexParams {
                seed: 1,
                ..IndexParams::HNSW
            },
            Search::new(10).ef(100),
            Element::F32,
            Metric::L2,
        ),
        (
            IndexParams {
                codes: vexfs::Codes::Sq8.code(),
                ..IndexParams::HNSW
            },
            Search::new(10).ef(100),
            Element::F32,
            Metric::Cosine,
        ),
        (IndexParams::HNSW, Search::new(10).ef(100), Element::I8, Metric::Cosine),
        (
            IndexParams::HNSW,
            Search::new(10).ef(200),
            Element::Binary,
            Metric::Hamming,
        ),
        (
            IndexParams {
                nlist: 32,
                ..IndexParams::IVF
            },
            Search::new(10).nprobe(16),
            Element::F32,
            Metric::L2,
        ),
        (
            IndexParams {
                pq_bytes: 12,
                pq_bits: 8,
                ..IndexParams::PQ
            },
            Search::new(10).rerank(20),
            Element::F32,
            Metric::L2,
        ),
        (
            IndexParams {
                nlist: 16,
                pq_bytes: 12,
                pq_bits: 8,
                ..IndexParams::IVF_PQ
            },
            Search::new(10).nprobe(12).rerank(20),
            Element::F32,
            Metric::L2,
        ),
        (
            IndexParams {
                recall_permille: 950,
                ..IndexParams::LSH
            },
            Search::new(10),
            Element::F32,
            Metric::Cosine,
        ),
        (IndexParams::VAMANA, Search::new(10).ef(100), Element::F32, Metric::L2),
    ];
    for (number, (index, search, element, metric)) in cases.into_iter().enumerate() {
        let what = format!("{} {element} {metric}", index.kind);
        let options = CollectionOptions::new(DIM as u32, metric).element(element);
        let collection = fs.create_collection_with(format!("/{number}"), options).unwrap();
        let rows = clusters(7, element, 3000);
        let mut batch = collection.batch();
        for (i, row) in rows.iter().enumerate() {
            let payload = Payload::from_json(&json!({"tenth": i % 10, "half": i % 2 == 0})).unwrap();
            batch.push(i as u64, row, &payload).unwrap();
        }
        collection.insert_batch(&batch).unwrap();
        collection.build_index(index, &Build::new().threads(1)).unwrap();
        let info = collection.info().unwrap();
        assert_eq!(
            (info.index, info.indexed_rows, info.segments),
            (index, 3000, 1),
            "{what}"
        );
        assert!(info.index_bytes > 0, "{what}");

        let filters = [None, Some(json!({"half": true})), Some(json!({"tenth": 3}))];
        for filter in filters {
            let (mut search, what) = (search.clone(), format!("{what}, filter {filter:?}"));
            if let Some(filter) = &filter {
                search = search.filter(filter).unwrap();
            }
            let (mut found, mut wanted) = (0, 0);
            for query in clusters(8, element, 40) {
                let truth = collection.search(&query, &search.clone().exact()).unwrap();
                let hits = collection.search(&query, &search).unwrap();
                assert_eq!((truth.len(), hits.len()), (10, 10), "{what}");
                wanted += truth.len();
                found += hits.iter().filter(|hit| hit.distance <= truth[9].distance).count();
                for hit in hits.iter() {
                    let passes = match &filter {
                        None => true,
                        Some(filter) if filter["half"].is_boolean() => hit.id % 2 == 0,
                        Some(_) => hit.id % 10 == 3,
                    };
                    assert!(passes, "{what}: {hit:?}");
                }
            }
            assert!(found * 100 >= wanted * 90, "{what}: {found} of {wanted}");
        }
        collection.drop_index().unwrap();
        assert_eq!(
            collection.info().unwrap().index.kind(),
            Some(vexfs::IndexKind::Flat),
            "{what}"
        );
    }
}

#[test]
fn a_time_limit_that_has_passed_stops_a_search_and_is_told() {
    let fs = Vexfs::in_memory(256 << 20).unwrap();
    let collection = fs.create_collection("/c", DIM as u32, Metric::L2).unwrap();
    let mut batch = collection.batch();
    for row in clusters(7, Element::F32, 20_000) {
        batch.push(None, &row, &Payload::default()).unwrap();
    }
    collection.insert_batch(&batch).unwrap();
    let query = clusters(8, Element::F32, 1).remove(0);
    let search = Search::new(10);
    assert!(!collection.search(&query, &search).unwrap().stopped_early);
    let limited = search.time_limit(std::time::Duration::ZERO);
    assert!(collection.search(&query, &limited).unwrap().stopped_early);
}
