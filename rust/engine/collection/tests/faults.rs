// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Full devices, failing devices, power cuts.

use super::support::dump;
use super::support::mount;
use super::support::Oracle;
use super::support::Random;
use super::support::Rows;
use super::support::World;
use super::support::PLAIN;
use super::support::UPSERT;
use crate::filter::testing::Expr;
use crate::filter::testing::Val;
use crate::filter::Program;
use crate::Collections;
use crate::IndexKind;
use crate::IndexParams;
use crate::SearchRequest;
use std::string::ToString;
use std::sync::Arc;
use std::vec::Vec;
use vexfs_core::Fs;
use vexfs_host::device::Backend;
use vexfs_host::device::Device;
use vexfs_host::device::Event;
use vexfs_host::device::RamBackend;
use vexfs_host::device::RecordingBackend;
use vexfs_host::Error;
use vexfs_simd::Metric;

fn silence() {
    super::support::quiet();
}

fn assert_consistent(dev: &Device) {
    let report = vexfs_core::check::check(dev).unwrap();
    assert!(report.is_clean(), "{:?}", report.problems);
}

#[test]
fn a_full_device_refuses_a_batch_and_keeps_what_there_is() {
    silence();
    let mut random = Random(1);
    let dim = 256;
    let world = World::on(Arc::new(RamBackend::new(16 << 20)), dim, Metric::L2);
    let collection = world.collection();
    let mut oracle = Oracle::new(dim);
    let mut refused = 0;
    for n in 0.. {
        let ids = (n % 40 * 500)..(n % 40 * 500 + 500);
        let rows = Rows::random(&mut random, ids, dim);
        let before = collection.info().unwrap();
        match collection.insert(&rows.batch(), UPSERT) {
            Ok(_) => oracle.insert(&rows.ids, &rows),
            Err(Error::NoSpace) => {
                refused += 1;
                assert_eq!(before.rows, collection.info().unwrap().rows);
                assert_eq!(before.disk_bytes, collection.info().unwrap().disk_bytes);
                oracle.check_all(&collection);
            }
            Err(e) => panic!("{e}"),
        }
        if refused == 3 {
            break;
        }
    }
    oracle.check(&collection, &mut random);
    drop(collection);
    let world = world.remount();
    oracle.check_all(&world.collection());
    assert!(
        vexfs_core::check::check(world.fs.dev()).is_ok(),
        "the filesystem is consistent"
    );
}

#[test]
fn inserts_that_are_refused_again_and_again_take_no_more_memory() {
    silence();
    let mut random = Random(4);
    let world = World::on(Arc::new(RamBackend::new(16 << 20)), 4, Metric::L2);
    let collection = world.collection();
    let mut rows = Rows::default();
    for id in 0..96 {
        let mut payload = crate::payload::Builder::new();
        let text = "x".repeat(60_000);
        payload.add("t", crate::payload::Value::Text(&text)).unwrap();
        rows.push(id, &random.vector(4), &payload.finish().unwrap());
    }
    let mut held = std::vec![];
    while held.len() < 5 {
        match collection.insert(&rows.without_ids(), PLAIN) {
            Ok(_) => {}
            Err(Error::NoSpace) => {
                let image = collection.version().unwrap();
                assert_eq!(image.counter.bytes(), image.memory_bytes(), "all of it is counted");
                held.push(image.memory_bytes());
            }
            Err(e) => panic!("{e}"),
        }
    }
    assert!(held.iter().all(|bytes| *bytes == held[0]), "{held:?}");
}

#[test]
fn what_is_half_written_when_the_device_is_full_goes_again() {
    silence();
    let mut random = Random(5);
    let tuning = crate::Tuning {
        tail_rows_max: 12_000,
        ..crate::Tuning::default()
    };
    let world = World::tuned(
        Arc::new(RamBackend::new(64 << 20)),
        &super::support::params(256, Metric::L2),
        tuning,
    );
    let collection = world.collection();
    for n in 0..3u64 {
        let rows = Rows::random(&mut random, n * 4000..n * 4000 + 4000, 256);
        collection.insert(&rows.batch(), PLAIN).unwrap();
    }
    // Less than a segment of all that, and more than the first piece of one.
    let new = vexfs_core::inode::NewInode {
        mode: 0o100644,
        uid: 0,
        gid: 0,
        rdev: 0,
        target: None,
        now: crate::Time::now(),
        xattrs: &[],
    };
    let filler = world.fs.create(super::support::ROOT, b"filler", &new).unwrap().ino;
    let room = |world: &World| {
        world.fs.sync().unwrap();
        world.fs.sync().unwrap();
        world.fs.space_info().available * u64::from(world.fs.block_size())
    };
    let mut at = 0;
    while room(&world) > 11 << 20 {
        world.fs.write(filler, at, &[1; 1 << 20], crate::Time::now()).unwrap();
        at += 1 << 20;
    }
    let before = room(&world);
    let one = Rows::random(&mut random, [20_000], 256);
    for n in 0..3 {
        assert_eq!(collection.insert(&one.batch(), PLAIN), Err(Error::NoSpace));
        assert_eq!(world.hidden_files(), [world.tail()], "after {n} attempts");
        assert!(room(&world) + (64 << 10) > before, "after {n} attempts");
    }
    // So is an index that nobody waits for any more.
    world.fs.truncate(filler, 0, crate::Time::now()).unwrap();
    let room_before = room(&world);
    for points in [50, 400, 2000] {
        vexfs_host::interrupt_after(Some(points));
        let built = collection.build_index(&IndexParams::of(IndexKind::Ivf), 1, &|_, _| ());
        vexfs_host::interrupt_after(None);
        assert_eq!(built, Err(Error::Interrupted));
        let files = 1 + collection.info().unwrap().segments as usize;
        assert_eq!(world.hidden_files().len(), files, "after {points} points");
    }
    assert!(room(&world) < room_before, "a segment of the tail was written");
    collection.insert(&one.batch(), PLAIN).unwrap();
    assert_eq!(collection.info().unwrap().rows, 12_001);
}

#[test]
fn rows_can_be_deleted_on_a_full_device_and_their_space_comes_back() {
    silence();
    for in_segments in [false, true] {
        let mut random = Random(2);
        let dim = 256;
        let world = match in_segments {
            false => World::on(Arc::new(RamBackend::new(24 << 20)), dim, Metric::L2),
            true => World::tuned(
                Arc::new(RamBackend::new(24 << 20)),
                &super::support::params(dim, Metric::L2),
                super::support::SMALL,
            ),
        };
        let collection = world.collection();
        let mut oracle = Oracle::new(dim);
        let mut next = 0;
        // Batches of every size, so that nothing is left.
        for size in [400, 100, 20, 5, 1] {
            loop {
                let rows = Rows::random(&mut random, next..next + size, dim);
                match collection.insert(&rows.batch(), PLAIN) {
                    Ok(_) => oracle.insert(&rows.ids, &rows),
                    Err(Error::NoSpace) => break,
                    Err(e) => panic!("{e}"),
                }
                next += size;
            }
        }
        world.fs.sync().unwrap();
        let full = world.fs.space_info().free;
        // A few rows, one by one, and then most of them.
        for id in 0..150u64 {
            assert_eq!(collection.delete(&[id * 7]).unwrap().count, 1);
            oracle.rows.remove(&(id * 7));
        }
        for first in (0..next).step_by(500) {
            let ids: Vec<u64> = (first..first + 500).filter(|id| id % 50 != 49).collect();
            collection.delete(&ids).unwrap();
            oracle.rows.retain(|id, _| !ids.contains(id));
        }
        oracle.check_all(&collection);
        collection.optimize(1, &|_, _| ()).unwrap();
        oracle.check_all(&collection);
        oracle.check(&collection, &mut random);
        world.fs.sync().unwrap();
        world.fs.sync().unwrap();
        let block = u64::from(world.fs.block_size());
        let freed = (world.fs.space_info().free - full) * block;
        assert!(
            freed > (next - next / 40) * 1024,
            "{freed} bytes of {next} rows came back"
        );
        let rows = Rows::random(&mut random, next..next + 2000, dim);
        collection.insert(&rows.batch(), PLAIN).unwrap();
        oracle.insert(&rows.ids, &rows);
        drop(collection);
        let world = world.remount();
        oracle.check_all(&world.collection());
        assert_consistent(world.fs.dev());
    }
}

/// Changes of every kind, one after the other, until one fails. `after` is called with the number of changes made.
/// Every fourth is made durable after that.
fn workload(world: &World, states: &mut Vec<Oracle>, mut after: impl FnMut(usize)) -> Result<(), Error> {
    let mut random = Random(7);
    let dim = world.collection().params().dim();
    let collection = world.collection();
    for step in 0..14u64 {
        let mut next = states.last().unwrap().clone();
        match step % 4 {
            0 => {
                let ids: Vec<u64> = (step * 50..step * 50 + 100)
                    .filter(|id| !next.rows.contains_key(id))
                    .collect();
                let rows = Rows::random(&mut random, ids, dim);
                next.insert(&rows.ids, &rows);
                states.push(next);
                collection.insert(&rows.batch(), PLAIN)?;
                after(states.len() - 1);
            }
            1 | 2 => {
                let rows = Rows::random(&mut random, 0..400, dim);
                next.insert(&rows.ids, &rows);
                states.push(next);
                collection.insert(&rows.batch(), UPSERT)?;
                after(states.len() - 1);
            }
            _ => {
                let ids: Vec<u64> = (0..300).map(|_| random.below(1000)).collect();
                next.rows.retain(|id, _| !ids.contains(id));
                states.push(next);
                let txg = collection.delete(&ids)?.txg;
                after(states.len() - 1);
                world.fs.sync_txg(txg)?;
            }
        }
    }
    Ok(())
}

/// Which of the states the collection of a new mount is in.
fn state_of(backend: Arc<dyn Backend>, dir: u64, states: &[Oracle]) -> usize {
    let fs = mount(&backend);
    let all = Collections::new(fs.clone()).unwrap();
    let collection = all.get(dir).unwrap();
    let found = dump(&collection, 1000);
    assert_eq!(collection.info().unwrap().rows, found.len() as u64);
    let state = states
        .iter()
        .position(|state| state.rows == found)
        .expect("a state between two changes");
    // It can be changed again, with ids that were never given.
    let one = crate::Batch {
        vectors: &found.first_key_value().map_or(Vec::new(), |row| row.1 .0.clone()),
        ..Default::default()
    };
    if !one.vectors.is_empty() {
        let first = collection.insert(&one, PLAIN).unwrap().first_id;
        assert!(states[..=state]
            .iter()
            .all(|s| s.rows.last_key_value().is_none_or(|row| *row.0 < first)));
    }
    drop((collection, all));
    fs.unmount().unwrap();
    assert_consistent(&Device::from_backend(backend));
    state
}

#[test]
fn an_io_error_at_any_operation_leaves_whole_changes_only() {
    silence();
    for n in 0..120 {
        let backend = Arc::new(RecordingBackend::new(64 << 20));
        let world = World::on(backend.clone(), 256, Metric::L2);
        world.fs.sync().unwrap();
        let mut states = std::vec![Oracle::new(256)];
        backend.fail_after(n);
        let mut made = 0;
        let failed = workload(&world, &mut states, |step| made = step).is_err();
        // What memory shows is the last change that succeeded, unless its rows have to be read from the broken device.
        let collection = world.collection();
        if collection.memory_bytes() > 0 {
            // A deletion may have been done and its sync have failed.
            let found = dump(&collection, 1000);
            assert!(
                states[made..].iter().any(|state| state.rows == found),
                "after {n} operations"
            );
        }
        backend.heal();
        drop((collection, world));
        let state = state_of(backend.clone(), dir_of(&backend), &states);
        // Every fourth change was made durable, unless that is what failed.
        let durable = if made % 4 == 0 {
            made.saturating_sub(4)
        } else {
            made / 4 * 4
        };
        assert!(state >= durable, "after {n} operations");
        if !failed {
            return;
        }
    }
}

fn dir_of(backend: &Arc<RecordingBackend>) -> u64 {
    let fs: vexfs_host::sync::Arc<Fs> = mount(&(backend.clone() as Arc<dyn Backend>));
    fs.lookup(super::support::ROOT, b"c").unwrap().unwrap().0
}

#[test]
fn after_a_power_cut_at_any_write_every_durable_change_is_there_and_none_by_half() {
    silence();
    let backend = Arc::new(RecordingBackend::new(64 << 20));
    let world = World::on(backend.clone(), 256, Metric::L2);
    world.fs.sync().unwrap();
    let from = backend.position();
    let mut states = std::vec![Oracle::new(256)];
    workload(&world, &mut states, |made| {
        if made % 3 == 0 {
            world.fs.sync().unwrap();
            backend.mark(made as u64);
        }
    })
    .unwrap();
    assert!(
        world.collection().info().unwrap().disk_bytes < 2 << 20,
        "the tail was rewritten on the way"
    );
    let events = backend.events();
    let mut random = Random(8);
    let mut reached = std::collections::BTreeSet::new();
    for cut in from..=events.len() {
        let durable = events[..cut].iter().rev().find_map(|event| match event {
            Event::Mark(made) => Some(*made as usize),
            _ => None,
        });
        // Writes after the last flush may be lost, each on its own.
        let flushed = events[..cut]
            .iter()
            .rposition(|event| matches!(event, Event::Flush))
            .unwrap_or(0);
        let disk = backend.start().duplicate();
        for (i, event) in events[..cut].iter().enumerate() {
            if let Event::Write { offset, data, fua } = event {
                if i < flushed || *fua || cut % 2 == 0 || random.below(2) == 0 {
                    disk.store(*offset, data);
                }
            }
        }
        let state = state_of(Arc::new(disk), world.dir, &states);
        assert!(
            state >= durable.unwrap_or(0),
            "cut at event {cut}: state {state}, durable {durable:?}"
        );
        reached.insert(state);
    }
    assert!(reached.len() > 4, "cuts between different changes: {reached:?}");
}

/// Runs `operation` with ever more memory until it succeeds, and `check` after each failure. Returns the failures.
fn starve<T>(mut operation: impl FnMut() -> Result<T, Error>, mut check: impl FnMut()) -> u64 {
    for n in 0.. {
        vexfs_host::mem::fail_allocations_after(Some(n));
        let result = operation();
        vexfs_host::mem::fail_allocations_after(None);
        match result {
            Ok(_) => return n,
            Err(e) => assert_eq!(e, Error::NoMemory, "after {n} allocations"),
        }
        check();
    }
    unreachable!()
}

#[test]
fn running_out_of_memory_in_any_operation_on_any_index_leaves_everything_usable() {
    silence();
    let mut random = Random(13);
    let dim = 16;
    let quiet = &|_, _| ();
    let mut failures = 0;
    for kind in [
        IndexKind::Hnsw,
        IndexKind::Ivf,
        IndexKind::Pq,
        IndexKind::IvfPq,
        IndexKind::Lsh,
        IndexKind::Vamana,
    ] {
        let on_disk = if kind == IndexKind::Vamana { 100 } else { 0 };
        let world = World::small(dim, Metric::L2);
        let collection = world.collection();
        let mut oracle = Oracle::new(dim);
        let rows = Rows::random(&mut random, 0..900, dim);
        collection.insert(&rows.batch(), PLAIN).unwrap();
        oracle.insert(&rows.ids, &rows);
        let params = IndexParams::of(kind).with(|p| {
            p.disk_percent = on_disk;
        });
        // The many allocations that are alike are tried now and then only.
        let mut starve_some = |operation: &mut dyn FnMut() -> Result<(), Error>, oracle: &Oracle| {
            let mut n = 0;
            loop {
                vexfs_host::mem::fail_allocations_after(Some(n));
                let result = operation();
                vexfs_host::mem::fail_allocations_after(None);
                match result {
                    Ok(()) => break,
                    Err(e) => assert_eq!(e, Error::NoMemory, "{kind:?}, after {n} allocations"),
                }
                if n % 8 == 0 {
                    oracle.check_all(&collection);
                }
                failures += 1;
                n += 1 + n / 8;
            }
        };
        starve_some(&mut || collection.build_index(&params, 1, quiet).map(|_| ()), &oracle);
        oracle.check(&collection, &mut random);
        let query = random.vector(dim);
        let expr = Expr::In("a".to_string(), std::vec![Val::I64(5)]);
        let doubt = Expr::Prefix("b".to_string(), "long".to_string());
        for filter in [None, Some(expr), Some(doubt)] {
            let program = filter.map(|filter| Program::parse(&filter.encode()).unwrap());
            let search = SearchRequest {
                queries: &query,
                k: 10,
                filter: program.as_ref(),
                ..SearchRequest::default()
            };
            let mut cold = || {
                collection.drop_cache();
                collection.search(&search).map(|_| ())
            };
            starve_some(&mut cold, &oracle);
            starve_some(&mut || collection.search(&search).map(|_| ()), &oracle);
            starve_some(&mut || collection.explain(&search).map(|_| ()), &oracle);
        }
        let mut read = || {
            world.all.shrink(u64::MAX);
            let got = collection.get(&[3])?;
            let (mut vector, mut payload) = (std::vec![0; 4 * dim], vexfs_host::mem::Vec::new());
            for row in got.rows.iter().flatten() {
                got.contents.vector(row, &mut vector)?;
                got.contents.payload(row, &mut payload)?;
            }
            collection.info().map(|_| ())
        };
        starve_some(&mut read, &oracle);
        let rows = Rows::random(&mut random, 850..2400, dim);
        starve_some(&mut || collection.insert(&rows.batch(), UPSERT).map(|_| ()), &oracle);
        oracle.insert(&rows.ids, &rows);
        // Over the hard limit: this one seals first.
        let more = Rows::random(&mut random, 2400..2500, dim);
        starve_some(&mut || collection.insert(&more.batch(), UPSERT).map(|_| ()), &oracle);
        oracle.insert(&more.ids, &more);
        let ids: Vec<u64> = (0..900).collect();
        starve_some(&mut || collection.delete(&ids).map(|_| ()), &oracle);
        oracle.rows.retain(|id, _| *id >= 900);
        // The first segment has no live rows any more.
        starve_some(&mut || collection.maintain(1, quiet).map(|_| ()), &oracle);
        starve_some(&mut || collection.optimize(1, quiet).map(|_| ()), &oracle);
        starve_some(&mut || collection.drop_index().map(|_| ()), &oracle);
        let mut open = || {
            world.all.forget(world.dir);
            world.all.get(world.dir)?.get(&[1]).map(|_| ())
        };
        starve_some(&mut open, &oracle);
        assert_eq!(world.fs.abort_reason(), None);
        let collection = world.collection();
        oracle.check(&collection, &mut random);
        let segments = collection.info().unwrap().segments as usize;
        collection.delete(&[900]).unwrap();
        oracle.rows.remove(&900);
        assert!(world.hidden_files().len() <= 1 + 2 * segments, "nothing is left over");
        drop(collection);
        drop(world.remount());
    }
    assert!(failures > 500, "{failures}");
}

#[test]
fn running_out_of_memory_at_any_allocation_changes_nothing() {
    silence();
    let mut random = Random(3);
    let dim = 64;
    let world = World::new(dim, Metric::Cosine);
    let collection = world.collection();
    let mut oracle = Oracle::new(dim);
    let mut failures = 0;
    for round in 0..6u64 {
        let rows = Rows::random(&mut random, round * 700..round * 700 + 1000, dim);
        failures += starve(
            || collection.insert(&rows.batch(), UPSERT),
            || oracle.check_all(&collection),
        );
        oracle.insert(&rows.ids, &rows);
        oracle.check_all(&collection);

        let query = random.vector(dim);
        let search = crate::SearchRequest {
            queries: &query,
            k: 10,
            radius: None,
            ..crate::SearchRequest::default()
        };
        failures += starve(|| collection.search(&search), || ());
        failures += starve(|| collection.get(&rows.ids), || ());
        let reload = || {
            collection.drop_cache();
            collection.get(&[0])
        };
        failures += starve(reload, || ());

        let ids: Vec<u64> = (0..1000).map(|_| random.below(5000)).collect();
        failures += starve(|| collection.delete(&ids), || oracle.check_all(&collection));
        oracle.rows.retain(|id, _| !ids.contains(id));
        oracle.check_all(&collection);
    }
    assert!(failures > 100, "{failures}");
    assert_eq!(world.fs.abort_reason(), None);
    drop(collection);
    oracle.check_all(&world.remount().collection());
}
