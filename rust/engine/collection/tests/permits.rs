// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Long work and those who wait: for the right to change the filesystem, for each other, until they are killed.

use super::support::params;
use super::support::Oracle;
use super::support::Random;
use super::support::Rows;
use super::support::World;
use super::support::PLAIN;
use super::support::SMALL;
use super::support::UPSERT;
use crate::Collection;
use crate::IndexKind;
use crate::IndexParams;
use crate::Permit;
use crate::SearchRequest;
use crate::Tuning;
use crate::Work;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::sync::Arc;
use std::sync::Mutex;
use std::vec::Vec;
use vexfs_core::Fs;
use vexfs_host::device::Backend;
use vexfs_host::device::RamBackend;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd::Metric;

const DIM: usize = 24;

fn graph() -> IndexParams {
    IndexParams::of(IndexKind::Hnsw).with(|p| {
        p.m = 4;
        p.ef_construction = 16;
    })
}

/// A device that is written with the permit only.
struct Guarded {
    ram: RamBackend,
    armed: AtomicBool,
    permitted: Arc<AtomicUsize>,
}

impl Backend for Guarded {
    fn len(&self) -> u64 {
        Backend::len(&self.ram)
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.ram.read(offset, buf)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        let held = self.permitted.load(Ordering::SeqCst);
        assert!(
            held > 0 || !self.armed.load(Ordering::SeqCst),
            "a write without the permit"
        );
        self.ram.write(offset, data)
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}

/// The item of a collection and its hidden files.
type State = (Vec<u8>, Vec<u64>);

/// A permit that knows whether it is held, and that nothing changes while it is not.
struct Checked<'a> {
    fs: &'a Fs,
    dir: u64,
    held: Arc<AtomicUsize>,
    taken: AtomicUsize,
    left: Mutex<State>,
}

impl<'a> Checked<'a> {
    fn new(world: &'a World, held: Arc<AtomicUsize>) -> Self {
        let mut new = Self {
            fs: &world.fs,
            dir: world.dir,
            held,
            taken: AtomicUsize::new(0),
            left: Mutex::default(),
        };
        new.left = Mutex::new(new.state());
        new
    }

    fn state(&self) -> State {
        let (mut item, mut files) = (vexfs_host::mem::Vec::new(), Vec::new());
        self.fs.collection(self.dir, &mut item).unwrap();
        self.fs.hidden_files(self.dir, &mut |ino| files.push(ino)).unwrap();
        (item.to_vec(), files)
    }
}

impl Permit for Checked<'_> {
    fn take(&self) -> Result {
        assert_eq!(self.held.fetch_add(1, Ordering::SeqCst), 0, "taken twice");
        self.taken.fetch_add(1, Ordering::SeqCst);
        assert_eq!(*self.left.lock().unwrap(), self.state(), "changed without the permit");
        Ok(())
    }

    fn give_back(&self) {
        *self.left.lock().unwrap() = self.state();
        assert_eq!(self.held.fetch_sub(1, Ordering::SeqCst), 1);
    }
}

#[test]
fn long_work_has_the_permit_for_each_change_and_computes_without_it() {
    let held = Arc::new(AtomicUsize::new(0));
    let backend = Arc::new(Guarded {
        ram: RamBackend::new(256 << 20),
        armed: AtomicBool::new(false),
        permitted: held.clone(),
    });
    let world = World::tuned(backend.clone(), &params(DIM, Metric::L2), SMALL);
    let collection = world.collection();
    let mut random = Random(3);
    let mut oracle = Oracle::new(DIM);
    backend.armed.store(true, Ordering::SeqCst);
    let permit = Checked::new(&world, held.clone());
    let computed = AtomicUsize::new(0);
    let progress = |_, _| {
        assert_eq!(held.load(Ordering::SeqCst), 0, "computing with the permit");
        computed.fetch_add(1, Ordering::SeqCst);
    };
    let work = Work {
        threads: 1,
        progress: &progress,
        permit: &permit,
    };
    for round in 0..4u64 {
        let rows = Rows::random(&mut random, round * 700..round * 700 + 900, DIM);
        collection.insert_with(&rows.batch(), UPSERT, &permit).unwrap();
        oracle.insert(&rows.ids, &rows);
        match round {
            0 => drop(collection.build_index_with(&graph(), &work).unwrap()),
            1 => while collection.maintain_with(&work).unwrap() {},
            2 => drop(collection.optimize_with(&work).unwrap()),
            _ => drop(collection.drop_index_with(&permit).unwrap()),
        }
        assert_eq!(held.load(Ordering::SeqCst), 0);
        oracle.check(&collection, &mut random);
    }
    assert!(computed.load(Ordering::SeqCst) > 0 && permit.taken.load(Ordering::SeqCst) > 20);
    oracle.check_all(&collection);
}

/// Stands for a filesystem that has become read-only.
struct Refusing;

impl Permit for Refusing {
    fn take(&self) -> Result {
        Err(Error::ReadOnly)
    }

    fn give_back(&self) {
        panic!("not taken");
    }
}

#[test]
fn work_that_is_refused_the_permit_changes_nothing() {
    let world = World::small(DIM, Metric::L2);
    let collection = world.collection();
    let mut random = Random(5);
    let mut oracle = Oracle::new(DIM);
    let rows = Rows::random(&mut random, 0..900, DIM);
    collection.insert(&rows.batch(), UPSERT).unwrap();
    oracle.insert(&rows.ids, &rows);
    let before = collection.info().unwrap();
    let work = Work {
        permit: &Refusing,
        ..Work::new(1, &|_, _| ())
    };
    let refused = Some(Error::ReadOnly);
    assert_eq!(collection.insert_with(&rows.batch(), UPSERT, &Refusing).err(), refused);
    assert_eq!(collection.build_index_with(&graph(), &work).err(), refused);
    assert_eq!(collection.optimize_with(&work).err(), refused);
    assert_eq!(collection.maintain_with(&work).err(), refused);
    assert_eq!(collection.drop_index_with(&Refusing).err(), refused);
    assert_eq!(collection.info().unwrap(), before);
    oracle.check_all(&collection);
}

/// Starts building an index, and runs `meanwhile` while it computes.
fn while_building(collection: &Collection, meanwhile: impl FnOnce() + Send) {
    let (computing, started) = mpsc::sync_channel(0);
    let (go_on, waiting) = mpsc::channel::<()>();
    let waiting = Mutex::new(Some(waiting));
    let progress = |_, _| {
        if let Some(waiting) = waiting.lock().unwrap().take() {
            computing.send(()).unwrap();
            // Ends when the other side is dropped.
            let _ = waiting.recv();
        }
    };
    std::thread::scope(|scope| {
        let build = scope.spawn(|| collection.build_index(&graph(), 1, &progress));
        started.recv().unwrap();
        meanwhile();
        drop(go_on);
        build.join().unwrap().unwrap();
    });
}

#[test]
fn who_waits_behind_a_build_can_be_killed() {
    let world = World::small(DIM, Metric::L2);
    let collection = world.collection();
    let mut random = Random(7);
    let mut oracle = Oracle::new(DIM);
    let rows = Rows::random(&mut random, 0..900, DIM);
    collection.insert(&rows.batch(), UPSERT).unwrap();
    oracle.insert(&rows.ids, &rows);
    while_building(&collection, || {
        vexfs_host::interrupt_after(Some(0));
        let killed = Some(Error::Interrupted);
        assert_eq!(collection.build_index(&graph(), 1, &|_, _| ()).err(), killed);
        assert_eq!(collection.optimize(1, &|_, _| ()).err(), killed);
        assert_eq!(collection.maintain(1, &|_, _| ()).err(), killed);
        assert_eq!(collection.drop_index().err(), killed);
        vexfs_host::interrupt_after(None);
    });
    oracle.check(&collection, &mut random);
    assert_eq!(collection.info().unwrap().indexed_rows, 900);
}

#[test]
fn a_tail_that_is_sealed_meanwhile_does_not_make_a_build_look_done() {
    let world = World::small(DIM, Metric::L2);
    let collection = world.collection();
    let mut random = Random(8);
    let rows = Rows::random(&mut random, 0..900, DIM);
    collection.insert(&rows.batch(), PLAIN).unwrap();
    while_building(&collection, || {
        let total = collection.info().unwrap().build_total;
        assert_eq!(total, 900);
        for ids in [1000..2600, 3000..3001] {
            let rows = Rows::random(&mut random, ids, DIM);
            collection.insert(&rows.batch(), PLAIN).unwrap();
        }
        let info = collection.info().unwrap();
        assert_eq!((info.segments, info.build_total), (2, total));
    });
    assert_eq!(collection.info().unwrap().build_total, 0);
}

#[test]
fn rows_that_all_die_while_their_segment_is_merged_do_not_end_the_merge() {
    let world = World::small(DIM, Metric::L2);
    let collection = world.collection();
    let mut random = Random(9);
    let mut oracle = Oracle::new(DIM);
    for ids in [0..350u64, 1000..2000] {
        let rows = Rows::random(&mut random, ids, DIM);
        collection.insert(&rows.batch(), UPSERT).unwrap();
        oracle.insert(&rows.ids, &rows);
        assert!(collection.maintain(1, &|_, _| ()).unwrap(), "the tail is sealed");
    }
    let before = collection.info().unwrap().segments;
    assert_eq!(before, 2);
    let late = Rows::random(&mut random, 3000..4600, DIM);
    while_building(&collection, || {
        let ids: Vec<u64> = (0..350).collect();
        assert_eq!(collection.delete(&ids).unwrap().count, 350);
        // The second one seals what the first one left in the tail, and leaves the segment without live rows behind.
        collection.insert(&late.batch(), UPSERT).unwrap();
        let one = Rows::random(&mut Random(11), [5000], DIM);
        collection.insert(&one.batch(), UPSERT).unwrap();
        oracle.insert(&one.ids, &one);
        assert_eq!(collection.info().unwrap().segments, before);
    });
    oracle.insert(&late.ids, &late);
    oracle.rows.retain(|id, _| *id >= 350);
    oracle.check_all(&collection);
    oracle.check(&collection, &mut random);
    let world = {
        drop(collection);
        world.remount()
    };
    oracle.check_all(&world.collection());
}

/// A permit that says when it is given back.
struct Telling(mpsc::Sender<()>);

impl Permit for Telling {
    fn take(&self) -> Result {
        Ok(())
    }

    fn give_back(&self) {
        let _ = self.0.send(());
    }
}

/// A permit that, once something was computed, is had only after another one was given back.
struct Patient<'a> {
    has_computed: &'a AtomicBool,
    told: Mutex<Option<mpsc::Receiver<()>>>,
}

impl Permit for Patient<'_> {
    fn take(&self) -> Result {
        if self.has_computed.load(Ordering::SeqCst) {
            if let Some(told) = self.told.lock().unwrap().take() {
                told.recv().unwrap();
            }
        }
        Ok(())
    }

    fn give_back(&self) {}
}

#[test]
fn an_insert_that_waits_for_a_merge_gives_the_permit_back_first() {
    let tuning = Tuning {
        tail_rows_max: 10,
        index_rows_min: 1,
        ..SMALL
    };
    let world = World::tuned(Arc::new(RamBackend::new(256 << 20)), &params(DIM, Metric::L2), tuning);
    let collection = world.collection();
    let mut random = Random(13);
    let mut oracle = Oracle::new(DIM);
    let mut next = 0;
    let mut insert = |count: u64, oracle: &mut Oracle, permit: &dyn Permit| {
        let rows = Rows::random(&mut random, next..next + count, DIM);
        next += count;
        collection.insert_with(&rows.batch(), PLAIN, permit).unwrap();
        oracle.insert(&rows.ids, &rows);
    };
    // As many segments as there can be, and a tail that is full.
    let full = crate::collection::item::SEGMENTS_MAX as u64;
    while collection.info().unwrap().segments < full {
        insert(10, &mut oracle, &crate::Always);
    }
    let (tell, told) = mpsc::channel();
    let (computing, started) = mpsc::sync_channel(0);
    let has_computed = AtomicBool::new(false);
    let progress = |_, _| {
        if !has_computed.swap(true, Ordering::SeqCst) {
            computing.send(()).unwrap();
        }
    };
    let patient = Patient {
        has_computed: &has_computed,
        told: Mutex::new(Some(told)),
    };
    std::thread::scope(|scope| {
        let build = scope.spawn(|| {
            let work = Work {
                threads: 1,
                progress: &progress,
                permit: &patient,
            };
            collection.build_index_with(&graph(), &work)
        });
        started.recv().unwrap();
        insert(5, &mut oracle, &Telling(tell));
        build.join().unwrap().unwrap();
    });
    oracle.check_all(&collection);
    oracle.check(&collection, &mut Random(1));
}

#[test]
fn a_search_that_waits_for_rows_to_be_loaded_can_be_killed() {
    let world = World::small(DIM, Metric::L2);
    let collection = world.collection();
    let mut random = Random(15);
    let rows = Rows::random(&mut random, 0..900, DIM);
    collection.insert(&rows.batch(), UPSERT).unwrap();
    collection.drop_cache();
    let query = random.vector(DIM);
    let search = SearchRequest {
        queries: &query,
        k: 3,
        ..SearchRequest::default()
    };
    {
        let _writer = collection.writer.write();
        vexfs_host::interrupt_after(Some(0));
        let killed = Some(Error::Interrupted);
        assert_eq!(collection.search(&search).err(), killed);
        assert_eq!(collection.get(&[1]).err(), killed);
        assert_eq!(collection.info().err(), killed);
        vexfs_host::interrupt_after(None);
    }
    assert_eq!(collection.search(&search).unwrap().hits.len(), 3);
}
