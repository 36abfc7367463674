// SPDX-License-Identifier: Apache-2.0
//! What holds of a filesystem, whether it is an image in this process or a mounted one of the kernel's.

use std::fmt::Debug;
use std::time::Duration;

use serde_json::json;
use vexfs::Build;
use vexfs::Choice;
use vexfs::Collection;
use vexfs::CollectionOptions;
use vexfs::Element;
use vexfs::ErrorKind;
use vexfs::IndexKind;
use vexfs::IndexParams;
use vexfs::InsertOptions;
use vexfs::Metric;
use vexfs::Payload;
use vexfs::Result;
use vexfs::Row;
use vexfs::Search;
use vexfs::Vectors;
use vexfs::Vexfs;

/// A check by what it shows. Its filesystem's root is empty before and after.
pub type Check = (&'static str, fn(&Vexfs));

/// Every check.
pub const CHECKS: &[Check] = &[
    ("collections are made, described, listed and dropped", lifecycle),
    ("what makes no sense is refused with its kind", refusals),
    ("rows are inserted, replaced and counted", inserting),
    (
        "rows are read in the order of the ids, however long their payloads are",
        reading,
    ),
    ("rows are deleted", deleting),
    (
        "searches obey k, radius and filter and return what is wanted",
        searching,
    ),
    ("more queries than a call takes are answered", many_queries),
    ("vectors of every type are stored, and others converted", elements),
    ("a search is explained", explaining),
    ("an index is built, used, merged and dropped", indexing),
    ("threads share a collection", sharing),
    ("the state is told and everything written", state),
];

fn kind<T: Debug>(result: Result<T>) -> ErrorKind {
    result.expect_err("an error").kind()
}

fn ids(hits: &[vexfs::Hit]) -> Vec<u64> {
    hits.iter().map(|hit| hit.id).collect()
}

/// A collection of `rows` points on a line, each with its number as id, element and payload.
fn line(fs: &Vexfs, path: &str, rows: u64) -> Collection {
    let line = fs.create_collection(path, 2, Metric::L2).unwrap();
    let mut batch = line.batch();
    for i in 0..rows {
        let payload = Payload::from_json(&json!({"n": i, "even": i % 2 == 0})).unwrap();
        batch.push(i, &[i as f32, 1.0], &payload).unwrap();
    }
    assert_eq!(line.insert_batch(&batch).unwrap().rows, rows);
    line
}

fn lifecycle(fs: &Vexfs) {
    let options = CollectionOptions::new(3, Metric::Cosine)
        .element(Element::F16)
        .index(IndexKind::Hnsw);
    let b = fs.create_collection_with("/b", options).unwrap();
    assert_eq!((b.dim(), b.element(), b.metric()), (3, Element::F16, Metric::Cosine));
    let a = fs.create_collection("/a", 2, Metric::L2).unwrap();
    let inner = fs.create_collection("/a/inner", 1, Metric::Ip).unwrap();
    let info = inner.info().unwrap();
    assert_eq!((info.id, info.dim, info.rows, info.segments), (inner.id(), 1, 0, 0));
    assert_eq!(b.info().unwrap().index.kind(), Some(IndexKind::Hnsw));

    let list = |dir: &str, recursive| {
        let found = fs.collections(dir, recursive).unwrap();
        let found = found
            .into_iter()
            .map(|(path, info)| (path.display().to_string(), info.id));
        found.collect::<Vec<_>>()
    };
    assert_eq!(list("/", false), [("/a".into(), a.id()), ("/b".into(), b.id())]);
    assert_eq!(
        list("/", true),
        [
            ("/a".into(), a.id()),
            ("/a/inner".into(), inner.id()),
            ("/b".into(), b.id())
        ]
    );
    assert_eq!(list("/a", false), [("/a/inner".into(), inner.id())]);
    assert_eq!(fs.collection("a/./inner").unwrap().id(), inner.id());

    drop((a, b, inner));
    assert_eq!(kind(fs.drop_collection("/a")), ErrorKind::NotEmpty);
    for path in ["/a/inner", "/a", "/b"] {
        fs.drop_collection(path).unwrap();
    }
    assert_eq!(kind(fs.collection("/a")), ErrorKind::NotFound);
    assert!(list("/", true).is_empty());
}

fn refusals(fs: &Vexfs) {
    let create = |path: &str, dim| kind(fs.create_collection(path, dim, Metric::L2));
    drop(fs.create_collection("/here", 2, Metric::L2).unwrap());
    assert_eq!(create("/here", 2), ErrorKind::Exists);
    assert_eq!(create("/none/here", 2), ErrorKind::NotFound);
    assert_eq!(create("/zero", 0), ErrorKind::Invalid);
    assert_eq!(create("/large", 4097), ErrorKind::Invalid);
    assert_eq!(create("/", 2), ErrorKind::Invalid);
    assert_eq!(create("/here/../there", 2), ErrorKind::Invalid);
    assert_eq!(create(&format!("/{}", "x".repeat(300)), 2), ErrorKind::Invalid);
    let bits = CollectionOptions::new(8, Metric::Hamming);
    assert_eq!(kind(fs.create_collection_with("/bits", bits)), ErrorKind::Invalid);
    assert_eq!(kind(fs.collection("/")), ErrorKind::NotCollection);
    assert_eq!(kind(fs.collection("/there")), ErrorKind::NotFound);
    assert_eq!(kind(fs.collections("/there", false)), ErrorKind::NotFound);
    assert_eq!(kind(fs.drop_collection("/there")), ErrorKind::NotFound);
    fs.drop_collection("/here").unwrap();
}

fn inserting(fs: &Vexfs) {
    let docs = fs.create_collection("/docs", 2, Metric::Cosine).unwrap();
    let done = docs.insert([Row::new([1.0, 0.0]), Row::new([0.0, 1.0])]).unwrap();
    assert_eq!((done.rows, done.replaced, done.first_id), (2, 0, Some(0)));
    let done = docs.insert([Row::new([1.0, 1.0]).id(7)]).unwrap();
    assert_eq!((done.rows, done.replaced, done.first_id), (1, 0, None));
    assert_eq!(kind(docs.insert([Row::new([1.0, 1.0]).id(7)])), ErrorKind::Exists);
    let two = [Row::new([2.0, 1.0]).id(8), Row::new([1.0, 2.0]).id(7)];
    assert_eq!(docs.upsert(two).unwrap().replaced, 1);
    assert_eq!(docs.insert([Row::new([3.0, 1.0])]).unwrap().first_id, Some(9));

    // A row that is refused takes its batch with it.
    for bad in [[0.0, 0.0], [f32::NAN, 1.0], [1.0, f32::INFINITY]] {
        let rows = [Row::new([1.0, 1.0]), Row::new(bad)];
        assert_eq!(kind(docs.insert(rows)), ErrorKind::Invalid);
    }
    assert_eq!(kind(docs.insert([Row::new([1.0])])), ErrorKind::Invalid);
    assert_eq!(kind(docs.insert([])), ErrorKind::Invalid);
    assert_eq!(kind(docs.upsert([Row::new([1.0, 1.0])])), ErrorKind::Invalid);
    let twice = [Row::new([1.0, 1.0]).id(20), Row::new([1.0, 1.0]).id(20)];
    assert_eq!(kind(docs.insert(twice)), ErrorKind::Invalid);
    let mut batch = docs.batch();
    for _ in 0..=vexfs::Batch::ROWS_MAX {
        batch.push(None, &[1.0, 0.0], &Payload::default()).unwrap();
    }
    assert_eq!(kind(docs.insert_batch(&batch)), ErrorKind::TooBig);
    let info = docs.info().unwrap();
    assert_eq!((info.rows, info.dead_rows, info.next_id), (5, 1, 10));

    let mut batch = docs.batch();
    batch.push(7, &[3.0, 4.0], &Payload::default()).unwrap();
    let options = InsertOptions::new().upsert(true).normalize(true).sync(true);
    assert_eq!(docs.insert_with(&batch, options).unwrap().replaced, 1);
    assert_eq!(docs.get(&[7]).unwrap()[0].as_ref().unwrap().vector(), [0.6, 0.8]);
    fs.drop_collection("/docs").unwrap();
}

fn reading(fs: &Vexfs) {
    let docs = fs.create_collection("/docs", 2, Metric::L2).unwrap();
    let text = |i: u64| "x".repeat((i % 5 * 700) as usize);
    docs.insert((0..3000).map(|i| {
        let row = Row::new([i as f32, -1.0]).id(i * 2);
        if i % 5 == 0 {
            row
        } else {
            row.payload(json!({"text": text(i)}))
        }
    }))
    .unwrap();
    let wanted: Vec<u64> = (0..6000).rev().collect();
    let rows = docs.get(&wanted).unwrap();
    let payloads = docs.payloads(&wanted).unwrap();
    assert_eq!((rows.len(), payloads.len()), (6000, 6000));
    for ((id, row), payload) in wanted.iter().zip(&rows).zip(&payloads) {
        assert_eq!(row.is_some(), id % 2 == 0);
        assert_eq!(row.as_ref().map(|row| &row.payload), payload.as_ref());
        let Some(row) = row else { continue };
        assert_eq!((row.id, row.vector()), (*id, vec![(id / 2) as f32, -1.0]));
        match id / 2 % 5 {
            0 => assert!(row.payload.is_empty()),
            _ => assert_eq!(row.payload.to_json().unwrap()["text"], text(id / 2)),
        }
    }
    assert!(docs.get(&[]).unwrap().is_empty());
    let found = docs.search(&[2.0, -1.0], &Search::new(5).payloads()).unwrap();
    for hit in &found.hits {
        assert_eq!(Some(hit.payload.clone().unwrap()), docs.payloads(&[hit.id]).unwrap()[0]);
    }
    fs.drop_collection("/docs").unwrap();
}

fn deleting(fs: &Vexfs) {
    let line = line(fs, "/line", 10);
    assert_eq!(line.delete(&[3, 3, 99]).unwrap(), 1);
    assert_eq!(line.delete(&[]).unwrap(), 0);
    assert_eq!(line.delete_sync(&[4, 5]).unwrap(), 2);
    assert_eq!(line.delete_sync(&[]).unwrap(), 0);
    assert_eq!(line.delete(&[4]).unwrap(), 0);
    assert_eq!(
        kind(line.delete(&vec![1; vexfs::Batch::ROWS_MAX + 1])),
        ErrorKind::TooBig
    );
    assert_eq!(line.info().unwrap().rows, 7);
    assert_eq!(ids(&line.search(&[4.0, 1.0], &Search::new(2)).unwrap()), [2, 6]);
    fs.drop_collection("/line").unwrap();
}

fn searching(fs: &Vexfs) {
    let line = line(fs, "/line", 100);
    let at = |x: f32, search: Search| line.search(&[x, 1.0], &search).unwrap();
    let near = at(10.2, Search::new(3));
    assert_eq!(ids(&near), [10, 11, 9]);
    assert!(near.windows(2).all(|pair| pair[0].distance <= pair[1].distance) && !near.stopped_early);
    assert!(near[0].vector.is_none() && near[0].payload.is_none());
    // Equal distances are ordered by id.
    assert_eq!(ids(&at(10.5, Search::new(2))), [10, 11]);
    assert_eq!(ids(&at(10.2, Search::new(100).radius(1.0))), [10, 11]);
    assert_eq!(ids(&at(10.0, Search::new(1).radius(0.0).exact())), [10]);
    assert!(at(1000.0, Search::new(9).radius(1.0)).is_empty());

    let even = Search::new(3).filter(&json!({"even": true, "n": {"gte": 10}})).unwrap();
    let hits = at(10.2, even.vectors().payloads().time_limit(Duration::from_secs(600)));
    assert_eq!(ids(&hits), [10, 12, 14]);
    assert_eq!(hits[1].vector(), [12.0, 1.0]);
    assert_eq!(hits[1].payload().unwrap()["n"], 12);
    assert_eq!(hits[1].distance, (12.0f32 - 10.2) * (12.0 - 10.2));

    let refused = |query: &[f32], search: Search| kind(line.search(query, &search));
    assert_eq!(refused(&[1.0, 1.0], Search::new(0)), ErrorKind::Invalid);
    assert_eq!(refused(&[1.0, 1.0], Search::new(4097)), ErrorKind::TooBig);
    assert_eq!(refused(&[1.0], Search::new(1)), ErrorKind::Invalid);
    assert_eq!(refused(&[1.0; 4], Search::new(1)), ErrorKind::Invalid);
    assert_eq!(refused(&[1.0, f32::NAN], Search::new(1)), ErrorKind::Invalid);
    assert_eq!(
        refused(&[1.0, 1.0], Search::new(1).radius(f32::NAN)),
        ErrorKind::Invalid
    );
    assert_eq!(
        refused(&[1.0, 1.0], Search::new(1).filter_program(vec![9; 9])),
        ErrorKind::Invalid
    );
    fs.drop_collection("/line").unwrap();
}

fn many_queries(fs: &Vexfs) {
    let line = line(fs, "/line", 60);
    let queries: Vec<f32> = (0..1500).flat_map(|i| [(i % 50) as f32 + 0.1, 1.0]).collect();
    let found = line.search_many(&queries, &Search::new(50).vectors()).unwrap();
    assert_eq!((found.answers.len(), found.scanned), (1500, 1500 * 60));
    for (i, answer) in found.answers.iter().enumerate() {
        assert_eq!((answer.len(), answer[0].id), (50, i as u64 % 50), "query {i}");
        assert_eq!(answer[0].vector(), [(i % 50) as f32, 1.0], "query {i}");
    }
    fs.drop_collection("/line").unwrap();
}

fn elements(fs: &Vexfs) {
    for element in Element::ALL {
        let path = format!("/{element}");
        let metric = match element {
            Element::Binary => Metric::Hamming,
            _ => Metric::L2,
        };
        let options = CollectionOptions::new(11, metric).element(*element);
        let docs = fs.create_collection_with(&path, options).unwrap();
        let numbers: Vec<f32> = (0..11).map(|i| (i % 3 == 1) as u8 as f32).collect();
        let bytes: Vec<u8> = numbers.iter().map(|x| *x as u8).collect();
        let mut own = Vec::new();
        vexfs::encode(*element, &numbers, &mut own).unwrap();
        let mut batch = docs.batch();
        for vectors in [
            Vectors::F32(&numbers),
            Vectors::Bytes(&own),
            Vectors::Of(*element, &own),
            Vectors::Of(Element::U8, &bytes),
        ] {
            batch.push(None, vectors, &Payload::default()).unwrap();
        }
        docs.insert_batch(&batch).unwrap();
        for row in docs.get(&[0, 1, 2, 3]).unwrap() {
            let row = row.unwrap();
            assert_eq!((row.vector(), &row.vector), (numbers.clone(), &own), "{element}");
        }
        // Bytes that lie anywhere.
        let mut odd = vec![0];
        odd.extend(&own);
        let found = docs.search(&odd[1..], &Search::new(4)).unwrap();
        assert_eq!((ids(&found), found[0].distance), (vec![0, 1, 2, 3], 0.0), "{element}");
        fs.drop_collection(&path).unwrap();
    }
}

fn explaining(fs: &Vexfs) {
    let line = line(fs, "/line", 500);
    let search = Search::new(5).filter(&json!({"n": {"lt": 100}})).unwrap();
    let explained = line.explain(&[7.0, 1.0], &search).unwrap();
    assert_eq!((explained.hits, explained.parts.len()), (5, 1));
    let part = &explained.parts[0];
    assert_eq!((part.segment, part.choice(), part.live), (0, Some(Choice::Scan), 500));
    assert!((100..=500).contains(&part.distances));
    line.build_index(IndexParams::HNSW, &Build::new()).unwrap();
    let explained = line.explain(&[7.0, 1.0], &Search::new(5).ef(20)).unwrap();
    let segment = explained.parts.iter().find(|part| part.segment > 0).unwrap();
    assert_eq!((segment.index(), segment.live), (Some(IndexKind::Hnsw), 500));
    assert!(segment.distances > 0);
    assert_eq!(kind(line.explain(&[7.0, 1.0], &Search::new(0))), ErrorKind::Invalid);
    assert_eq!(kind(line.explain(&[7.0], &Search::new(1))), ErrorKind::Invalid);
    fs.drop_collection("/line").unwrap();
}

fn indexing(fs: &Vexfs) {
    let line = line(fs, "/line", 800);
    let progress = |done, total| assert!(done <= total);
    let build = Build::new().threads(1).progress(&progress);
    let index = IndexParams {
        m: 8,
        ..IndexParams::HNSW
    };
    line.build_index(index, &build).unwrap();
    let info = line.info().unwrap();
    assert_eq!((info.index, info.indexed_rows, info.tail_rows), (index, 800, 0));
    assert!(info.segments >= 1 && info.index_bytes > 0 && info.build_total == 0);
    assert_eq!(
        ids(&line.search(&[300.2, 1.0], &Search::new(3).ef(50)).unwrap()),
        [300, 301, 299]
    );
    while line.maintain(&build).unwrap() {}
    assert!(!line.maintain(&build).unwrap());

    line.delete(&[0, 1, 2]).unwrap();
    line.optimize(&build).unwrap();
    let info = line.info().unwrap();
    assert_eq!((info.rows, info.dead_rows, info.segments), (797, 0, 1));
    line.drop_index().unwrap();
    let info = line.info().unwrap();
    assert_eq!((info.index.kind(), info.indexed_rows), (Some(IndexKind::Flat), 0));
    let absurd = IndexParams {
        m: u32::MAX,
        ..IndexParams::HNSW
    };
    assert_eq!(kind(line.build_index(absurd, &build)), ErrorKind::Invalid);
    line.drop_cache();
    assert_eq!(ids(&line.search(&[300.2, 1.0], &Search::new(1)).unwrap()), [300]);
    fs.drop_collection("/line").unwrap();
}

fn sharing(fs: &Vexfs) {
    let line = line(fs, "/line", 50);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let line = line.clone();
            scope.spawn(move || {
                for i in 0..20 {
                    let id = 1000 + thread * 100 + i;
                    line.insert([Row::new([id as f32, 1.0]).id(id)]).unwrap();
                    assert_eq!(ids(&line.search(&[id as f32, 1.0], &Search::new(1)).unwrap()), [id]);
                }
            });
        }
    });
    assert_eq!(line.info().unwrap().rows, 110);
    fs.drop_collection("/line").unwrap();
}

fn state(fs: &Vexfs) {
    let before = fs.stat().unwrap();
    assert!(before.free_bytes <= before.total_bytes && !before.read_only && !before.aborted);
    assert!(before.block_size.is_power_of_two() && !before.simd.is_empty());
    let line = line(fs, "/line", 10);
    line.sync().unwrap();
    fs.sync().unwrap();
    let after = fs.clone().stat().unwrap();
    assert_eq!((after.uuid, after.total_bytes), (before.uuid, before.total_bytes));
    if let (Some(before), Some(after)) = (before.activity, after.activity) {
        assert!(after.rows_inserted >= before.rows_inserted + 10);
    }
    fs.drop_collection("/line").unwrap();
}
