// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! How much is read, and kept, for how little.

use super::support::params;
use super::support::Oracle;
use super::support::Random;
use super::support::Rows;
use super::support::World;
use super::support::PLAIN;
use crate::collection::item::Item;
use crate::filter::testing::Expr;
use crate::filter::testing::Val;
use crate::filter::Program;
use crate::payload::Builder;
use crate::payload::Value;
use crate::Collection;
use crate::IndexKind;
use crate::IndexParams;
use crate::SearchRequest;
use crate::Time;
use crate::Tuning;
use std::string::ToString;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::vec::Vec;
use vexfs_host::device::Backend;
use vexfs_host::device::RamBackend;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd::Metric;

const DIM: usize = 64;
const ROWS: u64 = 8000;
const VECTORS: u64 = ROWS * 4 * DIM as u64;
/// Bytes of a text in each payload.
const TEXT: usize = 120;
const PAYLOADS: u64 = ROWS * TEXT as u64;

/// A device that counts what is read.
struct Counting {
    ram: RamBackend,
    read: AtomicU64,
}

impl Backend for Counting {
    fn len(&self) -> u64 {
        Backend::len(&self.ram)
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.read.fetch_add(buf.len() as u64, Ordering::Relaxed);
        self.ram.read(offset, buf)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.ram.write(offset, data)
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}

/// A collection that is one segment, nothing of which is in memory. The field "n" of a row is its id, "t" a text.
fn sample(index: Option<IndexParams>) -> (Arc<Counting>, World, Oracle) {
    let backend = Arc::new(Counting {
        ram: RamBackend::new(256 << 20),
        read: AtomicU64::new(0),
    });
    let world = World::tuned(backend.clone(), &params(DIM, Metric::L2), Tuning::default());
    let mut random = Random(1);
    let mut rows = Rows::default();
    for id in 0..ROWS {
        let mut payload = Builder::new();
        payload.add("n", Value::I64(id as i64)).unwrap();
        payload.add("t", Value::Text(&"x".repeat(TEXT))).unwrap();
        rows.push(id, &random.vector(DIM), &payload.finish().unwrap());
    }
    let mut oracle = Oracle::new(DIM);
    let collection = world.collection();
    collection.insert(&rows.batch(), PLAIN).unwrap();
    oracle.insert(&rows.ids, &rows);
    match index {
        Some(params) => collection.build_index(&params, 1, &|_, _| ()).unwrap(),
        None => collection.optimize(1, &|_, _| ()).unwrap(),
    };
    drop(collection);
    (backend, world.remount(), oracle)
}

fn get(collection: &Collection, oracle: &Oracle, id: u64) -> Result<()> {
    let got = collection.get(&[id])?;
    let row = got.rows[0].unwrap();
    let (mut vector, mut payload) = (std::vec![0; 4 * DIM], vexfs_host::mem::Vec::new());
    got.contents.vector(&row, &mut vector)?;
    got.contents.payload(&row, &mut payload)?;
    assert_eq!((&vector, &payload.to_vec()), (&oracle.rows[&id].0, &oracle.rows[&id].1));
    Ok(())
}

#[test]
fn reading_a_few_rows_keeps_neither_vectors_nor_payloads_in_memory() {
    let (backend, world, oracle) = sample(None);
    let collection = world.collection();
    get(&collection, &oracle, 17).unwrap();
    // Ids and the ends of payloads, and what is known of the rest.
    let kept = collection.memory_bytes();
    assert!(kept < 2 * 8 * ROWS + 20_000, "{kept}");
    for id in [0, 1, 4000, ROWS - 1] {
        let before = backend.read.load(Ordering::Relaxed);
        get(&collection, &oracle, id).unwrap();
        let read = backend.read.load(Ordering::Relaxed) - before;
        assert!(read <= 4 * 16 * 1024, "{read} bytes for row {id}");
    }
    assert_eq!(collection.memory_bytes(), kept);
}

#[test]
fn who_reads_many_rows_one_by_one_gets_them_from_memory_in_the_end() {
    let (backend, world, oracle) = sample(None);
    let collection = world.collection();
    let from = backend.read.load(Ordering::Relaxed);
    for id in 0..300 {
        get(&collection, &oracle, id * 7 % ROWS).unwrap();
    }
    assert!(collection.memory_bytes() > VECTORS + PAYLOADS);
    let read = backend.read.load(Ordering::Relaxed) - from;
    // Read through once for the checksums, once as single rows, once as a whole.
    assert!(read < 4 * (VECTORS + 2 * PAYLOADS), "{read}");
    get(&collection, &oracle, 5555).unwrap();
    assert_eq!(backend.read.load(Ordering::Relaxed) - from, read);
    world.all.shrink(u64::MAX);
    get(&collection, &oracle, 5556).unwrap();
    assert!(collection.memory_bytes() < VECTORS / 2);
}

#[test]
fn a_hit_of_an_index_on_disk_reads_its_row_alone() {
    let disk = IndexParams::of(IndexKind::Vamana).with(|p| {
        p.m = 8;
        p.ef_construction = 20;
        p.disk_percent = 100;
    });
    let (_, world, oracle) = sample(Some(disk));
    let collection = world.collection();
    let search = SearchRequest {
        queries: &oracle.rows[&99].0,
        k: 3,
        ..SearchRequest::default()
    };
    let found = collection.search(&search).unwrap();
    let before = collection.memory_bytes();
    let mut vector = std::vec![0; 4 * DIM];
    let mut payload = vexfs_host::mem::Vec::new();
    for hit in &found.hits {
        found.contents.vector(&hit.row, &mut vector).unwrap();
        payload.clear();
        found.contents.payload(&hit.row, &mut payload).unwrap();
        assert_eq!(
            (&vector, &payload.to_vec()),
            (&oracle.rows[&hit.row.id].0, &oracle.rows[&hit.row.id].1)
        );
    }
    assert!(collection.memory_bytes() < before + 10_000);
}

#[test]
fn a_filter_that_the_field_indexes_answer_reads_no_payloads() {
    let (_, world, oracle) = sample(None);
    let collection = world.collection();
    let filter = |expr: &Expr| Program::parse(&expr.encode()).unwrap();
    let equals = |n: i64| Expr::In("n".to_string(), std::vec![Val::I64(n)]);
    let search = |program: &Program| {
        let search = SearchRequest {
            queries: &oracle.rows[&99].0,
            k: 3,
            filter: Some(program),
            ..SearchRequest::default()
        };
        let found = collection.search(&search).unwrap();
        found.hits.iter().map(|hit| hit.row.id).collect::<Vec<u64>>()
    };
    assert_eq!(search(&filter(&equals(-5))), []);
    let none = collection.memory_bytes();
    assert!(none < VECTORS / 2, "nothing is compared: {none}");
    assert_eq!(search(&filter(&equals(1234))), [1234]);
    let one = collection.memory_bytes();
    assert!(one < none + VECTORS + 9 * ROWS + PAYLOADS / 2, "{none} {one}");
    // A few in doubt: their payloads, and no others.
    let long = Expr::Prefix("t".to_string(), "x".to_string());
    let few = Expr::And(std::vec![
        Expr::In("n".to_string(), std::vec![Val::I64(7), Val::I64(8)]),
        long.clone()
    ]);
    let mut found = search(&filter(&few));
    found.sort_unstable();
    assert_eq!(found, [7, 8]);
    assert!(collection.memory_bytes() < one + PAYLOADS / 2);
    // All in doubt: they are loaded.
    assert_eq!(search(&filter(&long)).len(), 3);
    assert!(collection.memory_bytes() > one + PAYLOADS);
}

/// The file of the only segment, and where these bytes are in it.
fn place_of(world: &World, bytes: &[u8]) -> (u64, u64) {
    let mut item = vexfs_host::mem::Vec::new();
    world.fs.collection(world.dir, &mut item).unwrap();
    let file = Item::decode(&item, world.dir).unwrap().segments[0].file;
    let mut all = std::vec![0; world.fs.inode(file).unwrap().size as usize];
    world.fs.read(file, 0, &mut all).unwrap();
    let place = all.windows(bytes.len()).position(|window| window == bytes);
    (file, place.unwrap() as u64)
}

#[test]
fn a_damaged_row_is_an_error_and_never_a_wrong_answer() {
    super::support::quiet();
    for read_before in [false, true] {
        let (_, world, oracle) = sample(None);
        let collection = world.collection();
        if read_before {
            get(&collection, &oracle, 17).unwrap();
        }
        let (file, place) = place_of(&world, &oracle.rows[&4321].0);
        let changed = [oracle.rows[&4321].0[5] ^ 1];
        world.fs.write(file, place + 5, &changed, Time::now()).unwrap();
        let damaged = |id| matches!(get(&collection, &oracle, id), Err(Error::Corrupt(_)));
        assert!(damaged(4321));
        // Once read through, the others are known to be as they were.
        assert_eq!(damaged(17), !read_before);
        let search = SearchRequest {
            queries: &oracle.rows[&17].0,
            k: 1,
            ..SearchRequest::default()
        };
        assert!(matches!(collection.search(&search).err(), Some(Error::Corrupt(_))));
        world.fs.write(file, place, &oracle.rows[&4321].0, Time::now()).unwrap();
        get(&collection, &oracle, 4321).unwrap();
    }
}
