// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Giving memory back, and opening collections beside each other.

use super::support::params;
use super::support::Random;
use super::support::Rows;
use super::support::World;
use super::support::PLAIN;
use super::support::SMALL;
use crate::Collection;
use crate::Collections;
use crate::IndexKind;
use crate::IndexParams;
use crate::SearchRequest;
use crate::Time;
use std::sync::mpsc;
use std::sync::Mutex;
use std::vec::Vec;
use vexfs_core::inode::NewInode;
use vexfs_host::device::Backend;
use vexfs_host::device::RamBackend;
use vexfs_host::sync::Arc;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd::Metric;

const DIM: usize = 32;

fn another(world: &World, name: &str) -> u64 {
    let new = NewInode {
        mode: 0o040755,
        uid: 0,
        gid: 0,
        rdev: 0,
        target: None,
        now: Time::now(),
        xattrs: &[],
    };
    let dir = world
        .fs
        .create(super::support::ROOT, name.as_bytes(), &new)
        .unwrap()
        .ino;
    world.all.create(dir, &params(DIM, Metric::L2)).unwrap();
    dir
}

/// A collection of rows with payloads, in one segment with an index and a few in the tail.
fn filled(all: &Collections, dir: u64) -> Arc<Collection> {
    let mut random = Random(dir);
    let collection = all.get(dir).unwrap();
    let rows = Rows::random(&mut random, 0..1000, DIM);
    collection.insert(&rows.batch(), PLAIN).unwrap();
    let graph = IndexParams::of(IndexKind::Hnsw).with(|p| {
        p.m = 4;
        p.ef_construction = 16;
    });
    collection.build_index(&graph, 1, &|_, _| ()).unwrap();
    let rows = Rows::random(&mut random, 1000..1100, DIM);
    collection.insert(&rows.batch(), PLAIN).unwrap();
    collection
}

fn search(collection: &Collection) {
    let query = Random(3).vector(DIM);
    let search = SearchRequest {
        queries: &query,
        k: 5,
        ..SearchRequest::default()
    };
    assert_eq!(collection.search(&search).unwrap().hits.len(), 5);
}

#[test]
fn memory_is_taken_from_the_collection_used_longest_ago_and_no_more_than_is_asked_for() {
    let world = World::small(DIM, Metric::L2);
    let dirs = [world.dir, another(&world, "d"), another(&world, "e")];
    let collections: Vec<_> = dirs.iter().map(|dir| filled(&world.all, *dir)).collect();
    let [a, b, c] = &collections[..] else { unreachable!() };
    for collection in [b, c, a] {
        search(collection);
    }
    for collection in [b, c, a] {
        collection.trim(u64::MAX);
    }
    let sizes = || [a, b, c].map(|collection| collection.memory_bytes());
    let [in_a, mut in_b, mut in_c] = sizes();
    let mut steps = 0;
    while in_b > 0 {
        let before = world.all.memory_bytes();
        let freed = world.all.shrink(1);
        assert!(freed > 0);
        assert_eq!(
            freed,
            before - world.all.memory_bytes(),
            "what it says is what it freed"
        );
        let now = sizes();
        assert_eq!(now[0], in_a, "the one used last keeps all");
        if b.version
            .read()
            .as_ref()
            .is_some_and(|image| image.segments.iter().any(|s| s.last_uses().iter().any(Option::is_some)))
        {
            assert_eq!(now[2], in_c, "the one used later has its turn later");
        }
        (in_b, in_c) = (now[1], now[2]);
        steps += 1;
        if steps > 8 {
            break;
        }
    }
    assert!(steps > 3, "piece by piece: {steps}");
    assert!(world.all.shrink(u64::MAX) > 0);
    assert_eq!(world.all.memory_bytes(), 0);
    for collection in &collections {
        search(collection);
        assert_eq!(collection.get(&[1050]).unwrap().rows.len(), 1);
    }
}

#[test]
fn what_somebody_is_using_is_neither_torn_away_nor_said_to_be_freed() {
    let world = World::small(DIM, Metric::L2);
    let collection = filled(&world.all, world.dir);
    search(&collection);
    let image = collection.version().unwrap();
    let (segment, got) = (image.segments[0].clone(), collection.get(&[3, 1003]).unwrap());
    let vectors = segment.vectors().unwrap();
    let before = world.all.memory_bytes();
    let freed = world.all.shrink(u64::MAX);
    assert_eq!(freed, before - world.all.memory_bytes());
    assert!(
        world.all.memory_bytes() > 1000 * 4 * DIM as u64,
        "vectors, and the rows of the tail"
    );
    assert_eq!(vectors.rows(&segment).unwrap().count(), 1000);
    let mut out = [0; 4 * DIM];
    for row in got.rows.iter().flatten() {
        got.contents.vector(row, &mut out).unwrap();
    }
    drop((vectors, got, image, segment));
    world.all.shrink(u64::MAX);
    assert_eq!(world.all.memory_bytes(), 0);
}

/// A device whose reads can be held up.
struct Slow {
    ram: RamBackend,
    /// Told of the first read, and asked when to go on.
    held_up: Mutex<Option<(mpsc::SyncSender<()>, mpsc::Receiver<()>)>>,
}

impl Backend for Slow {
    fn len(&self) -> u64 {
        Backend::len(&self.ram)
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let held_up = self.held_up.lock().unwrap().take();
        if let Some((reading, go_on)) = held_up {
            reading.send(()).unwrap();
            let _ = go_on.recv();
        }
        self.ram.read(offset, buf)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.ram.write(offset, data)
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}

#[test]
fn a_collection_that_is_being_read_from_the_device_holds_up_no_other() {
    let backend = std::sync::Arc::new(Slow {
        ram: RamBackend::new(256 << 20),
        held_up: Mutex::new(None),
    });
    let world = World::tuned(backend.clone(), &params(DIM, Metric::L2), SMALL);
    let other = another(&world, "d");
    drop(filled(&world.all, other));
    drop(filled(&world.all, world.dir));
    let world = world.remount();
    world.all.get(other).unwrap();
    world.fs.sync().unwrap();
    while world.fs.shrink(usize::MAX) > 0 {}
    let (reading, is_read) = mpsc::sync_channel(0);
    let (go_on, waiting) = mpsc::channel();
    *backend.held_up.lock().unwrap() = Some((reading, waiting));
    std::thread::scope(|scope| {
        let opening = scope.spawn(|| world.all.get(world.dir));
        is_read.recv().unwrap();
        // Neither the other collection nor memory pressure waits; who wants the same one waits, and can be killed.
        assert_eq!(world.all.get(other).unwrap().dir(), other);
        assert_eq!(&world.all.in_use().unwrap()[..], [other]);
        assert_eq!(world.all.shrink(0), 0);
        vexfs_host::interrupt_after(Some(0));
        assert_eq!(world.all.get(world.dir).err(), Some(Error::Interrupted));
        vexfs_host::interrupt_after(None);
        drop(go_on);
        let opened = opening.join().unwrap().unwrap();
        assert!(
            Arc::ptr_eq(&opened, &world.all.get(world.dir).unwrap()),
            "there is one of each"
        );
    });
}

#[test]
fn one_collection_is_made_however_many_ask_for_it_at_once() {
    let world = World::small(DIM, Metric::L2);
    for round in 0..50 {
        if round % 2 == 0 {
            world.all.forget(world.dir);
        }
        let got: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| world.all.get(world.dir).unwrap()))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(got.iter().all(|other| Arc::ptr_eq(other, &got[0])));
        assert_eq!(world.all.get(super::support::ROOT).err(), Some(Error::NotCollection));
        assert_eq!(world.all.in_use().unwrap().len(), 1);
    }
}
