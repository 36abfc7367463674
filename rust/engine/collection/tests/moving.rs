// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Moving rows into segments and merging these, while devices fail, memory runs out, the power goes, or others search.

use super::support::dump;
use super::support::mount;
use super::support::params;
use super::support::Oracle;
use super::support::Random;
use super::support::Rows;
use super::support::World;
use super::support::PLAIN;
use super::support::ROOT;
use super::support::SMALL;
use super::support::UPSERT;
use crate::Collections;
use crate::IndexKind;
use crate::IndexParams;
use crate::SearchRequest;
use crate::Time;
use crate::Tuning;
use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::vec::Vec;
use vexfs_host::device::Backend;
use vexfs_host::device::Device;
use vexfs_host::device::Event;
use vexfs_host::device::RamBackend;
use vexfs_host::device::RecordingBackend;
use vexfs_host::Error;
use vexfs_simd::Metric;

const DIM: usize = 24;
/// Ids are below this number.
const IDS: u64 = 1200;

/// Everything is due after a hundred rows.
const TINY: Tuning = Tuning {
    seal_rows: 100,
    seal_bytes: 1 << 20,
    tail_rows_max: 260,
    tail_bytes_max: 1 << 20,
    fan: 2,
    index_rows_min: 150,
};

fn silence() {
    super::support::quiet();
}

fn small_graph() -> IndexParams {
    IndexParams::of(IndexKind::Hnsw).with(|p| {
        p.m = 4;
        p.ef_construction = 16;
    })
}

/// What is done to a collection, with the rows that it has after each change.
struct History<'a> {
    world: &'a World,
    states: Vec<Oracle>,
    /// The state that was made durable last.
    durable: usize,
}

impl<'a> History<'a> {
    fn new(world: &'a World) -> Self {
        Self {
            world,
            states: std::vec![Oracle::new(DIM)],
            durable: 0,
        }
    }

    fn last(&self) -> usize {
        self.states.len() - 1
    }

    fn upsert(&mut self, random: &mut Random, ids: impl IntoIterator<Item = u64>) -> Result<(), Error> {
        let ids: BTreeSet<u64> = ids.into_iter().collect();
        let rows = Rows::random(random, ids, DIM);
        let mut next = self.states[self.last()].clone();
        next.insert(&rows.ids, &rows);
        self.states.push(next);
        self.world.collection().insert(&rows.batch(), UPSERT).map(|_| ())
    }

    fn delete(&mut self, ids: impl IntoIterator<Item = u64>) -> Result<(), Error> {
        let ids: Vec<u64> = ids.into_iter().collect();
        let mut next = self.states[self.last()].clone();
        next.rows.retain(|id, _| !ids.contains(id));
        self.states.push(next);
        self.world.collection().delete(&ids).map(|_| ())
    }

    fn sync(&mut self) -> Result<(), Error> {
        self.world.fs.sync()?;
        self.durable = self.last();
        Ok(())
    }

    /// Changes of every kind, with every kind of moving between them. `note` is called when something was made durable.
    fn run(&mut self, note: &mut dyn FnMut(&Self)) -> Result<(), Error> {
        let mut random = Random(21);
        let world = self.world;
        let collection = world.collection();
        let quiet = &|_, _| ();
        self.upsert(&mut random, 0..150)?;
        collection.maintain(1, quiet)?;
        self.upsert(&mut random, 100..260)?;
        self.sync()?;
        note(self);
        self.delete((0..200).step_by(3))?;
        collection.maintain(1, quiet)?;
        collection.maintain(1, quiet)?;
        self.upsert(&mut random, (0..600).step_by(4))?;
        collection.build_index(&small_graph(), 1, quiet)?;
        self.delete(40..90)?;
        self.upsert(&mut random, (300..1100).step_by(3))?;
        // Over the hard limit: seals first.
        self.upsert(&mut random, (0..1000).step_by(7))?;
        self.sync()?;
        note(self);
        while collection.maintain(1, quiet)? {}
        self.delete((0..1200).step_by(5))?;
        collection.optimize(1, quiet)?;
        self.upsert(&mut random, 500..520)?;
        collection.drop_index()?;
        self.delete(0..1200)?;
        self.upsert(&mut random, 7..30)?;
        self.sync()?;
        note(self);
        Ok(())
    }
}

/// Which of the states a collection is in after mounting, and that it can be used.
fn state_of(backend: Arc<dyn Backend>, dir: u64, states: &[Oracle]) -> Option<usize> {
    let fs = mount(&backend);
    let all = Collections::tuned(fs.clone(), TINY).unwrap();
    let collection = all.get(dir).unwrap();
    let found = dump(&collection, IDS);
    let state = states.iter().rposition(|state| state.rows == found);
    if let Some(state) = state {
        let oracle = &states[state];
        let mut random = Random(5);
        oracle.check(&collection, &mut random);
        let mut after = oracle.clone();
        let rows = Rows::random(&mut random, 1000..1130, DIM);
        collection.insert(&rows.batch(), UPSERT).unwrap();
        after.insert(&rows.ids, &rows);
        collection.delete(&[1000]).unwrap();
        after.rows.remove(&1000);
        while collection.maintain(1, &|_, _| ()).unwrap() {}
        after.check_all(&collection);
        after.check(&collection, &mut random);
        let mut files = Vec::new();
        fs.hidden_files(dir, &mut |ino| files.push(ino)).unwrap();
        let info = collection.info().unwrap();
        assert!(files.len() <= 1 + 2 * info.segments as usize, "nothing is left over");
    }
    drop((collection, all));
    fs.unmount().unwrap();
    let report = vexfs_core::check::check(&Device::from_backend(backend)).unwrap();
    assert!(report.is_clean(), "{:?}", report.problems);
    state
}

fn recorded() -> (Arc<RecordingBackend>, World) {
    let backend = Arc::new(RecordingBackend::new(48 << 20));
    let world = World::tuned(backend.clone(), &params(DIM, Metric::L2), TINY);
    world.fs.sync().unwrap();
    (backend, world)
}

#[test]
fn after_a_power_cut_at_any_write_no_durable_row_is_lost_and_none_is_there_twice() {
    silence();
    let (backend, world) = recorded();
    let from = backend.position();
    let mut history = History::new(&world);
    history
        .run(&mut |history| backend.mark(history.durable as u64))
        .unwrap();
    let History { states, .. } = history;
    let events = backend.events();
    let mut random = Random(8);
    let mut reached = BTreeSet::new();
    let torn = |random: &mut Random, disk: &RamBackend, offset: u64, data: &[u8]| {
        for (i, sector) in data.chunks(512).enumerate() {
            if random.below(2) == 0 {
                disk.store(offset + 512 * i as u64, sector);
            }
        }
    };
    for cut in from..=events.len() {
        let durable = events[..cut].iter().rev().find_map(|event| match event {
            Event::Mark(state) => Some(*state as usize),
            _ => None,
        });
        // Writes after the last flush may be there, be lost or be torn, each on its own.
        let flushed = events[..cut].iter().rposition(|event| matches!(event, Event::Flush));
        let disk = backend.start().duplicate();
        for (i, event) in events[..cut].iter().enumerate() {
            if let Event::Write { offset, data, fua } = event {
                if i < flushed.unwrap_or(0) || *fua || cut % 3 == 0 {
                    disk.store(*offset, data);
                } else {
                    match random.below(3) {
                        0 => {}
                        1 => disk.store(*offset, data),
                        _ => torn(&mut random, &disk, *offset, data),
                    }
                }
            }
        }
        if let (Some(Event::Write { offset, data, .. }), true) = (events.get(cut), cut % 2 == 0) {
            torn(&mut random, &disk, *offset, data);
        }
        let state = state_of(Arc::new(disk), world.dir, &states);
        let state = state.unwrap_or_else(|| panic!("cut at event {cut}: no state between two changes"));
        let durable = durable.unwrap_or(0);
        assert!(state >= durable, "cut at event {cut}: state {state}, durable {durable}");
        reached.insert(state);
    }
    assert!(reached.len() > 3, "cuts between different changes: {reached:?}");
}

#[test]
fn an_io_error_at_any_operation_loses_no_row() {
    silence();
    for n in 0.. {
        let (backend, world) = recorded();
        let mut history = History::new(&world);
        backend.fail_after(n);
        let result = history.run(&mut |_| ());
        let (states, durable) = (std::mem::take(&mut history.states), history.durable);
        let collection = world.collection();
        backend.heal();
        // The operation that failed may have done what it should or nothing: what memory shows is one of both.
        let made = states.len() - 1;
        if world.fs.abort_reason().is_none() {
            let found = dump(&collection, IDS);
            let near = &states[made.saturating_sub(1)..];
            assert!(near.iter().any(|state| state.rows == found), "after {n} operations");
        }
        drop((collection, world));
        let dir = {
            let fs = mount(&(backend.clone() as Arc<dyn Backend>));
            fs.lookup(ROOT, b"c").unwrap().unwrap().0
        };
        let state = state_of(backend, dir, &states).expect("a state between two changes");
        assert!(state >= durable, "after {n} operations");
        if result.is_ok() {
            assert!(n > 50, "{n} operations");
            return;
        }
    }
}

#[test]
fn running_out_of_memory_anywhere_while_rows_move_changes_nothing() {
    silence();
    let world = World::tuned(
        Arc::new(RamBackend::new(256 << 20)),
        &params(DIM, Metric::Cosine),
        SMALL,
    );
    let collection = world.collection();
    let mut random = Random(3);
    let mut oracle = Oracle::new(DIM);
    let mut failures = 0;
    let mut starve = |operation: &mut dyn FnMut() -> Result<(), Error>, oracle: &Oracle| {
        let mut n = 0;
        loop {
            vexfs_host::mem::fail_allocations_after(Some(n));
            let result = operation();
            vexfs_host::mem::fail_allocations_after(None);
            match result {
                Ok(()) => break,
                Err(e) => assert_eq!(e, Error::NoMemory, "after {n} allocations"),
            }
            if n % 7 == 0 {
                oracle.check_all(&collection);
            }
            failures += 1;
            // Every place at first, then ever fewer of the many that are alike.
            n += 1 + n / 40;
        }
    };
    for round in 0..3u64 {
        let rows = Rows::random(&mut random, round * 300..round * 300 + 400, DIM);
        collection.insert(&rows.batch(), UPSERT).unwrap();
        oracle.insert(&rows.ids, &rows);
        starve(&mut || collection.maintain(1, &|_, _| ()).map(|_| ()), &oracle);
        let ids: Vec<u64> = (0..60).map(|_| random.below(1000)).collect();
        starve(&mut || collection.delete(&ids).map(|_| ()), &oracle);
        oracle.rows.retain(|id, _| !ids.contains(id));
        oracle.check_all(&collection);
        starve(
            &mut || {
                collection.drop_cache();
                collection.get(&[3]).map(|_| ())
            },
            &oracle,
        );
    }
    starve(
        &mut || collection.build_index(&small_graph(), 1, &|_, _| ()).map(|_| ()),
        &oracle,
    );
    let query = random.vector(DIM);
    let search = SearchRequest {
        queries: &query,
        k: 10,
        ..SearchRequest::default()
    };
    starve(&mut || collection.search(&search).map(|_| ()), &oracle);
    collection.delete(&[1, 2, 3]).unwrap();
    oracle.rows.retain(|id, _| ![1, 2, 3].contains(id));
    starve(&mut || collection.optimize(1, &|_, _| ()).map(|_| ()), &oracle);
    starve(&mut || collection.drop_index().map(|_| ()), &oracle);
    assert!(failures > 200, "{failures}");
    assert_eq!(world.fs.abort_reason(), None);
    drop(collection);
    let world = world.remount();
    oracle.check_all(&world.collection());
    oracle.check(&world.collection(), &mut random);
}

#[test]
fn a_full_device_refuses_to_move_rows_and_keeps_them_all() {
    silence();
    let mut random = Random(1);
    let world = World::tuned(Arc::new(RamBackend::new(12 << 20)), &params(256, Metric::L2), SMALL);
    let collection = world.collection();
    let mut oracle = Oracle::new(256);
    let mut refused = 0;
    for n in 0u64.. {
        let rows = Rows::random(&mut random, n * 250..n * 250 + 250, 256);
        match collection.insert(&rows.batch(), PLAIN) {
            Ok(_) => oracle.insert(&rows.ids, &rows),
            Err(Error::NoSpace) => refused += 1,
            Err(e) => panic!("{e}"),
        }
        match collection.maintain(1, &|_, _| ()) {
            Ok(_) => {}
            Err(Error::NoSpace) => refused += 1,
            Err(e) => panic!("{e}"),
        }
        if refused > 0 {
            oracle.check_all(&collection);
        }
        if refused >= 4 {
            break;
        }
    }
    oracle.check(&collection, &mut random);
    drop(collection);
    let world = world.remount();
    oracle.check_all(&world.collection());
    let report = vexfs_core::check::check(world.fs.dev()).unwrap();
    assert!(report.is_clean(), "{:?}", report.problems);
}

#[test]
fn a_search_sees_one_moment_while_rows_are_replaced_and_moved() {
    const ROWS: u64 = 700;
    let dim = 20;
    let world = World::small(dim, Metric::L2);
    let ids: Vec<u64> = (0..ROWS).collect();
    let version = |n: u32| -> Vec<u8> {
        (0..ROWS as usize * dim)
            .flat_map(|i| (if i % dim == 0 { n as f32 } else { 0.5 }).to_le_bytes())
            .collect()
    };
    let upsert = |n: u32| {
        let vectors = version(n);
        let batch = crate::Batch {
            vectors: &vectors,
            ids: Some(&ids),
            ..crate::Batch::default()
        };
        world.collection().insert(&batch, UPSERT).unwrap();
    };
    upsert(1);
    let done = AtomicBool::new(false);
    let query = std::vec![0u8; 4 * dim];
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut last = 0.0;
            while !done.load(Ordering::Relaxed) {
                let search = SearchRequest {
                    queries: &query,
                    k: 1000,
                    ..SearchRequest::default()
                };
                let found = world.collection().search(&search).unwrap();
                let mut seen: Vec<u64> = found.hits.iter().map(|hit| hit.row.id).collect();
                seen.sort_unstable();
                assert_eq!(seen, ids, "each row once");
                let versions: BTreeSet<u32> = found
                    .hits
                    .iter()
                    .map(|hit| {
                        let mut out = std::vec![0; 4 * dim];
                        found.contents.vector(&hit.row, &mut out).unwrap();
                        u32::from_le_bytes(out[..4].try_into().unwrap())
                    })
                    .collect();
                assert_eq!(versions.len(), 1, "all of one batch");
                let version = f32::from_bits(*versions.first().unwrap());
                assert!(version >= last, "never back in time");
                last = version;
            }
        });
        let mover = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                world.collection().maintain(1, &|_, _| ()).unwrap();
                std::thread::yield_now();
            }
        });
        for n in 2..50 {
            upsert(n);
            if n % 10 == 0 {
                world.collection().optimize(1, &|_, _| ()).unwrap();
            }
            if n % 20 == 0 {
                world.collection().drop_cache();
            }
        }
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
        mover.join().unwrap();
    });
    world.collection().optimize(1, &|_, _| ()).unwrap();
    let info = world.collection().info().unwrap();
    assert_eq!(
        (info.rows, info.dead_rows, info.segments, info.tail_rows),
        (ROWS, 0, 1, 0)
    );
    assert_eq!(world.hidden_files().len(), 2, "the segment and the tail");
}

#[test]
fn an_answer_keeps_its_rows_when_their_segment_is_merged_away() {
    let mut random = Random(4);
    let world = World::small(DIM, Metric::L2);
    let collection = world.collection();
    let rows = Rows::random(&mut random, 0..600, DIM);
    collection.insert(&rows.batch(), PLAIN).unwrap();
    assert!(collection.maintain(1, &|_, _| ()).unwrap());
    collection.drop_cache();
    let search = SearchRequest {
        queries: &rows.vectors[..4 * DIM],
        k: 600,
        ..SearchRequest::default()
    };
    let found = collection.search(&search).unwrap();
    collection.delete(&rows.ids[..500]).unwrap();
    collection.optimize(1, &|_, _| ()).unwrap();
    collection.drop_cache();
    let more = Rows::random(&mut random, 5000..6400, DIM);
    collection.insert(&more.batch(), PLAIN).unwrap();
    let mut oracle = Oracle::new(DIM);
    oracle.insert(&rows.ids, &rows);
    assert_eq!(found.hits.len(), 600);
    for hit in &found.hits {
        let (vector, payload) = &oracle.rows[&hit.row.id];
        let mut out = std::vec![0; 4 * DIM];
        found.contents.vector(&hit.row, &mut out).unwrap();
        assert_eq!(&out, vector);
        let mut out = vexfs_host::mem::Vec::new();
        found.contents.payload(&hit.row, &mut out).unwrap();
        assert_eq!(&out[..], payload);
    }
    // The file of the old segment goes with the first change after the answer has gone.
    let files = world.hidden_files().len();
    drop(found);
    collection.delete(&[599]).unwrap();
    assert_eq!(world.hidden_files().len(), files - 1);
}

#[test]
fn a_tail_is_bounded_without_maintenance_and_segments_are_too() {
    let mut random = Random(6);
    let world = World::tuned(Arc::new(RamBackend::new(256 << 20)), &params(2, Metric::L2), TINY);
    let collection = world.collection();
    for n in 0..120u64 {
        let rows = Rows::random(&mut random, n * 300..n * 300 + 300, 2);
        collection.insert(&rows.without_ids(), PLAIN).unwrap();
        let info = collection.info().unwrap();
        assert!(info.tail_rows <= 600 && info.segments <= 32, "{info:?}");
        assert_eq!(info.rows, n * 300 + 300);
    }
    while collection.maintain(1, &|_, _| ()).unwrap() {}
    assert!(collection.info().unwrap().segments < 12);
    assert_eq!(
        world.fs.inode(world.tail()).map(|tail| tail.size),
        Ok(collection.info().unwrap().tail_bytes)
    );
    let leftover = world.fs.create_hidden(world.dir, Time::now()).unwrap();
    let world = world.remount();
    assert!(!world.collection().maintain(1, &|_, _| ()).unwrap());
    assert!(!world.hidden_files().contains(&leftover));
}
