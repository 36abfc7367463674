// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Atomicity and durability: rollbacks, commits, power cuts and failing devices.

mod fetching;
mod pressure;

use crate::format::Key;
use crate::mkfs::FormatOptions;
use crate::mount::MountOptions;
use crate::testing::*;
use crate::txn::Reserve;
use crate::txn::Tx;
use crate::Fs;
use std::collections::BTreeMap;
use std::sync::Arc as StdArc;
use std::vec;
use std::vec::Vec;
use vexfs_host::device::Device;
use vexfs_host::device::Event;
use vexfs_host::device::RamBackend;
use vexfs_host::device::RecordingBackend;
use vexfs_host::Error;
use vexfs_host::Result;

type Model = BTreeMap<Key, Vec<u8>>;

/// A new filesystem on a device that records.
fn recorded(mib: u64) -> (StdArc<RecordingBackend>, Device) {
    let ram = ram(mib);
    format(&device(&ram), 4096);
    let rec = StdArc::new(RecordingBackend::from_ram(ram.duplicate()));
    let dev = Device::from_backend(rec.clone());
    (rec, dev)
}

fn put(tx: &mut Tx<'_>, model: &mut Model, k: u64, v: Vec<u8>) -> Result<()> {
    tx.put(&key(k), &v)?;
    model.insert(key(k), v);
    Ok(())
}

fn add(fs: &Fs, from: u64, n: u64) {
    let mut tx = fs.begin(Reserve::items(0).clustered(n as usize)).unwrap();
    for k in from..from + n {
        tx.insert(&key(k), &[k as u8; 100]).unwrap();
    }
    tx.commit();
}

#[test]
fn a_commit_with_nothing_to_write_writes_nothing_and_says_so() {
    let (rec, dev) = recorded(16);
    let fs = mount(&dev);
    let done = fs.commit().unwrap();
    assert!(!done.wrote && done.txg == 1);
    assert_eq!(rec.position(), 0);
    add(&fs, 0, 10);
    let done = fs.commit().unwrap();
    assert!(done.wrote && done.txg == 2);
    let events = rec.position();
    assert!(events > 0);
    assert!(!fs.commit().unwrap().wrote);
    fs.sync().unwrap();
    fs.unmount().unwrap();
    assert_eq!(rec.position(), events);
}

#[test]
fn waiting_for_a_transaction_group_commits_only_if_it_is_not_on_the_device() {
    let (rec, dev) = recorded(16);
    let without_log = FormatOptions {
        intent_log: false,
        ..FormatOptions::default()
    };
    Fs::format(&dev, &without_log).unwrap();
    let start = rec.position();
    let fs = mount(&dev);
    let mut tx = fs.begin(Reserve::items(1)).unwrap();
    tx.insert(&key(1), b"x").unwrap();
    let txg = tx.commit();
    fs.sync_txg(txg - 1).unwrap();
    assert_eq!(rec.position(), start);
    fs.sync_txg(txg).unwrap();
    assert_eq!(fs.committed_txg(), txg);
    let events = rec.position();
    fs.sync_txg(txg).unwrap();
    assert_eq!(rec.position(), events);
}

#[test]
fn the_superblock_slots_are_written_in_turn() {
    let (rec, dev) = recorded(16);
    let fs = mount(&dev);
    for n in 0..5 {
        add(&fs, n * 10, 1);
        fs.commit().unwrap();
    }
    let slots: Vec<u64> = rec
        .events()
        .iter()
        .filter_map(|e| match e {
            Event::Write { offset, fua: true, .. } => Some(*offset),
            _ => None,
        })
        .collect();
    assert_eq!(slots, [8192, 4096, 8192, 4096, 8192]);
}

#[test]
fn a_transaction_dropped_at_any_point_leaves_tree_and_counters_as_they_were() {
    let (_rec, dev) = recorded(32);
    let fs = mount(&dev);
    add(&fs, 0, 2000);
    fs.commit().unwrap();
    let before = items(&fs.view().unwrap());
    let stat = fs.statfs();
    for stop in 0..60 {
        let (block, len) = fs.alloc_data(0, 7, false).unwrap();
        let mut tx = fs.begin(Reserve::items(60)).unwrap();
        for step in 0..stop {
            let k = step * 331 % 2000;
            match step % 4 {
                0 => tx.put(&key(k), &vec![9; 3000]).unwrap(),
                1 => tx.remove(&key(k)).unwrap(),
                2 => tx.insert(&key(5000 + k), &vec![8; 2000]).unwrap(),
                _ => {
                    tx.modify(&key(k), |d| {
                        d.fill(1);
                        Ok(())
                    })
                    .unwrap();
                }
            }
        }
        tx.alloc_ino().unwrap();
        tx.add_inodes(1).unwrap();
        tx.adopt_extent(block, len, None).unwrap();
        drop(tx);
        fs.release_data(block, len);
        assert!(items(&fs.view().unwrap()) == before, "stopped before step {stop}");
        assert_eq!(fs.statfs().inodes, stat.inodes);
        verify(&fs, 0);
    }
    let mut tx = fs.begin(Reserve::items(1)).unwrap();
    assert_eq!(tx.alloc_ino().unwrap(), 16);
}

#[test]
fn an_operation_that_cannot_read_fails_and_changes_nothing() {
    let (rec, dev) = recorded(32);
    let fs = mount(&dev);
    add(&fs, 0, 3000);
    fs.unmount().unwrap();
    let fs = mount(&dev);
    let before = items(&fs.view().unwrap());
    let mut failures = 0;
    for n in 0..12 {
        fs.shrink(usize::MAX);
        rec.fail_after(n);
        let done = fs.begin(Reserve::items(3)).and_then(|mut tx| {
            tx.put(&key(10), &[1; 2000])?;
            tx.remove(&key(2000))?;
            tx.put(&key(1000), &[1; 3000])?;
            Ok(tx)
        });
        match done {
            Ok(tx) => drop(tx),
            Err(e) => {
                assert!(matches!(e, Error::Io(_)), "{e}");
                failures += 1;
            }
        }
        rec.heal();
        assert!(items(&fs.view().unwrap()) == before);
        verify(&fs, 0);
        assert!(!fs.is_read_only());
    }
    assert!(failures > 2);
}

#[test]
fn an_operation_or_commit_without_memory_fails_and_changes_nothing() {
    use vexfs_host::mem::fail_allocations_after;
    let (rec, dev) = recorded(32);
    let fs = mount(&dev);
    add(&fs, 0, 3000);
    fs.commit().unwrap();
    let before = items(&fs.view().unwrap());
    let (mut operations, mut commits) = (0, 0);
    for n in 0..40 {
        fs.shrink(usize::MAX);
        fail_allocations_after(Some(n));
        let done = fs.begin(Reserve::items(20)).and_then(|mut tx| {
            tx.put(&key(10), &[1; 2000])?;
            tx.remove(&key(2000))?;
            (0..8).try_for_each(|k| tx.insert(&key(100_000 + k), &[1; 3000]))?;
            let (block, len) = (fs.geometry().group_start(0) + 2, 1);
            assert!(matches!(
                tx.adopt_extent(block, len, None),
                Err(Error::Corrupt(_) | Error::NoMemory)
            ));
            Ok(tx)
        });
        fail_allocations_after(None);
        match done {
            Ok(tx) => drop(tx),
            Err(e) => {
                assert_eq!(e, Error::NoMemory);
                operations += 1;
            }
        }
        assert!(items(&fs.view().unwrap()) == before);
        verify(&fs, 0);

        let mut tx = fs.begin(Reserve::items(1)).unwrap();
        tx.modify(&key(3), |_| Ok(())).unwrap();
        tx.commit();
        let position = rec.position();
        fail_allocations_after(Some(n));
        let done = fs.commit();
        fail_allocations_after(None);
        match done {
            Ok(_) => {}
            Err(e) => {
                assert_eq!(e, Error::NoMemory);
                assert_eq!(rec.position(), position, "nothing was written");
                commits += 1;
            }
        }
        assert!(!fs.is_read_only());
        fs.commit().unwrap();
        assert!(items(&mount(&dev).view().unwrap()) == before);
    }
    assert!(operations > 10 && commits > 3, "{operations} {commits}");
}

#[test]
fn a_mount_without_memory_fails_and_does_not_panic() {
    use vexfs_host::mem::fail_allocations_after;
    let (_rec, dev) = recorded(32);
    add(&mount(&dev), 0, 30);
    let mut n = 0;
    loop {
        fail_allocations_after(Some(n));
        let done = Fs::mount(dev.clone(), MountOptions::default());
        fail_allocations_after(None);
        match done {
            Ok(_) => break,
            Err(e) => assert_eq!(e, Error::NoMemory),
        }
        n += 1;
    }
    assert!(n > 10);
}

#[test]
fn a_commit_that_cannot_write_stops_all_writing_and_loses_only_what_was_not_committed() {
    for n in 0..12 {
        let (rec, dev) = recorded(16);
        let fs = mount(&dev);
        add(&fs, 0, 1000);
        fs.commit().unwrap();
        let committed = items(&fs.view().unwrap());
        add(&fs, 1000, 1000);
        let now = items(&fs.view().unwrap());
        rec.fail_after(n);
        let failed = fs.commit();
        rec.heal();
        if failed.is_ok() {
            assert!(n > 3);
            continue;
        }
        assert!(matches!(failed, Err(Error::Io(_))));
        assert_eq!(fs.sync().err(), failed.err());
        assert_eq!(fs.begin(Reserve::items(1)).err(), Some(Error::ReadOnly));
        assert_eq!(fs.alloc_data(0, 1, false).err(), Some(Error::ReadOnly));
        assert!(fs.is_read_only());
        // What was done can still be read.
        assert!(items(&fs.view().unwrap()) == now);
        let again = mount(&Device::from_backend(StdArc::new(rec.contents())));
        assert!(items(&again.view().unwrap()) == committed);
        verify(&again, 0);
    }
}

#[test]
fn a_shut_down_filesystem_says_so() {
    let (_ram, fs) = fresh(16, 4096);
    fs.abort(Error::Shutdown);
    assert_eq!(fs.begin(Reserve::items(1)).err(), Some(Error::Shutdown));
    assert_eq!(fs.sync().err(), Some(Error::Shutdown));
}

/// A workload with commits; returns what had been committed with each of them, by transaction group.
fn workload(rec: &RecordingBackend, dev: &Device, seed: u64) -> BTreeMap<u64, Model> {
    let mut rng = Rng(seed);
    let mut fs = mount(dev);
    let mut model = Model::new();
    let mut at = BTreeMap::from([(1, model.clone())]);
    for _ in 0..160 {
        let mut tx = fs.begin(Reserve::items(20)).unwrap();
        let mut after = model.clone();
        for _ in 0..rng.below(20) {
            let k = rng.below(800);
            if rng.below(3) == 0 && after.contains_key(&key(k)) {
                tx.remove(&key(k)).unwrap();
                after.remove(&key(k));
            } else {
                let v = vec![rng.next() as u8; rng.below(900) as usize];
                put(&mut tx, &mut after, k, v).unwrap();
            }
        }
        if rng.below(5) > 0 {
            tx.commit();
            model = after;
        } else {
            drop(tx);
        }
        if rng.below(4) == 0 {
            let done = fs.commit().unwrap();
            at.insert(done.txg, model.clone());
            rec.mark(done.txg);
        }
        if rng.below(60) == 0 {
            fs.unmount().unwrap();
            at.insert(fs.committed_txg(), model.clone());
            fs = mount(dev);
        }
    }
    at
}

fn apply(image: &RamBackend, event: &Event) {
    if let Event::Write { offset, data, .. } = event {
        image.store(*offset, data);
    }
}

/// Applies only some sectors of a write, from the start or to the end.
fn tear(image: &RamBackend, event: &Event, rng: &mut Rng) {
    if let Event::Write { offset, data, .. } = event {
        let cut = rng.below(data.len() as u64 / 512 + 1) as usize * 512;
        match rng.below(2) {
            0 => image.store(*offset, &data[..cut]),
            _ => image.store(*offset + cut as u64, &data[cut..]),
        }
    }
}

/// Mounts what a power cut left and compares it with what had been committed, which is at least `synced`.
fn check_cut(image: RamBackend, at: &BTreeMap<u64, Model>, synced: u64, what: &str) {
    let fs = Fs::mount(Device::from_backend(StdArc::new(image)), MountOptions::default())
        .unwrap_or_else(|e| panic!("{what}: {e}"));
    let txg = fs.committed_txg();
    assert!(
        txg >= synced,
        "{what}: transaction group {synced} was synced, {txg} is there"
    );
    assert!(items(&fs.view().unwrap()) == at[&txg], "{what}");
    verify(&fs, 0);
}

#[test]
fn any_power_cut_leaves_exactly_what_some_commit_wrote_and_all_that_was_synced() {
    for seed in 0..3 {
        // Small, so that freed blocks are taken again soon.
        let (rec, dev) = recorded(8);
        let at = workload(&rec, &dev, seed);
        let events = rec.events();
        let mut rng = Rng(seed + 1000);
        // Everything up to the last flush, and what came after it.
        let durable = rec.start().duplicate();
        let mut volatile: Vec<&Event> = Vec::new();
        let mut synced = 1;
        for (n, event) in events.iter().enumerate() {
            match event {
                Event::Flush => volatile.drain(..).for_each(|e| apply(&durable, e)),
                Event::Write { fua: true, .. } => {
                    let image = durable.duplicate();
                    tear(&image, event, &mut rng);
                    check_cut(image, &at, synced, &std::format!("seed {seed}, event {n} torn"));
                    apply(&durable, event);
                }
                Event::Write { .. } => volatile.push(event),
                Event::Mark(txg) => synced = *txg,
            }
            // Every prefix in order now and then; always one random subset of what was not flushed.
            if n % 5 == 0 {
                let image = durable.duplicate();
                volatile.iter().for_each(|e| apply(&image, e));
                check_cut(
                    image,
                    &at,
                    synced,
                    &std::format!("seed {seed}, all of the first {n} events"),
                );
            }
            if n % 3 == 0 {
                let image = durable.duplicate();
                let mut some: Vec<&Event> = volatile.iter().copied().filter(|_| rng.below(2) == 0).collect();
                for i in (1..some.len()).rev() {
                    some.swap(i, rng.below(i as u64 + 1) as usize);
                }
                for e in some {
                    match rng.below(4) {
                        0 => tear(&image, e, &mut rng),
                        _ => apply(&image, e),
                    }
                }
                check_cut(
                    image,
                    &at,
                    synced,
                    &std::format!("seed {seed}, some of the first {n} events"),
                );
            }
        }
    }
}

#[test]
fn data_in_flight_is_in_no_commit_until_it_is_adopted() {
    let (_ram, fs) = fresh(16, 4096);
    let (block, len) = fs.alloc_data(0, 20, false).unwrap();
    add(&fs, 0, 10);
    fs.commit().unwrap();
    verify(&fs, 0);
    let again = mount(fs.dev());
    verify(&again, 0);
    let mut tx = fs.begin(Reserve::items(1)).unwrap();
    tx.adopt_extent(block, len, None).unwrap();
    let txg = tx.commit();
    fs.commit().unwrap();
    verify(&fs, u64::from(len));
    verify(&mount(fs.dev()), u64::from(len));
    // Only an orphan may have such an extent without stopping everything.
    let mut tx = fs.begin(Reserve::items(1)).unwrap().for_orphan();
    assert!(matches!(tx.adopt_extent(block, len, None), Err(Error::Corrupt(_))));
    tx.free_extent(block, len, txg).unwrap();
    assert!(matches!(tx.free_extent(block + 20, 1, txg), Err(Error::Corrupt(_))));
    tx.commit();
    verify(&fs, 0);
    fs.commit().unwrap();
    verify(&mount(fs.dev()), 0);
}

#[test]
fn blocks_of_a_committed_group_are_not_reused_before_their_release_is_committed() {
    let (_ram, fs) = fresh(16, 4096);
    let (block, len) = fs.alloc_data(0, 20, false).unwrap();
    let adopt = |block, len| {
        let mut tx = fs.begin(Reserve::items(1)).unwrap();
        tx.adopt_extent(block, len, None).unwrap();
        tx.commit()
    };
    let free = |block, len, birth| {
        let mut tx = fs.begin(Reserve::items(1)).unwrap();
        tx.free_extent(block, len, birth).unwrap();
        tx.commit();
    };
    let birth = adopt(block, len);
    fs.commit().unwrap();
    free(block, len, birth);
    assert_ne!(fs.alloc_data(block, 20, false).unwrap().0, block);
    fs.commit().unwrap();
    let again = fs.alloc_data(block, 20, false).unwrap();
    assert_eq!(again.0, block);
    // Born and freed in one group: no earlier, for the sake of readers.
    let birth = adopt(again.0, again.1);
    free(again.0, again.1, birth);
    assert_ne!(fs.alloc_data(block, 20, false).unwrap().0, block);
    fs.commit().unwrap();
    assert_eq!(fs.alloc_data(block, 20, false).unwrap().0, block);
}

#[test]
fn blocks_are_not_reused_while_a_reader_from_before_they_were_freed_is_there() {
    let (_ram, fs) = fresh(16, 4096);
    let take = |goal| {
        let (block, len) = fs.alloc_data(goal, 20, false).unwrap();
        let mut tx = fs.begin(Reserve::items(1)).unwrap();
        tx.adopt_extent(block, len, None).unwrap();
        tx.commit();
        fs.commit().unwrap();
        (block, len)
    };
    let free = |(block, len): (u64, u32)| {
        let mut tx = fs.begin(Reserve::items(1)).unwrap();
        tx.free_extent(block, len, 1).unwrap();
        tx.commit();
        fs.commit().unwrap();
    };
    // Whether the blocks can be allocated; gives them back.
    let is_free = |(block, _): (u64, u32)| {
        let (b, len) = fs.alloc_data(block, 20, false).unwrap();
        fs.release_data(b, len);
        b == block
    };
    let (a, b, c) = (take(0), take(0), take(0));
    let early = fs.pin_reads();
    free(a);
    let late = fs.pin_reads();
    free(b);
    assert!(!is_free(a) && !is_free(b));
    drop(early);
    fs.commit().unwrap();
    assert!(is_free(a), "its readers are gone");
    assert!(!is_free(b), "a later one is not");
    free(c);
    drop(late);
    fs.commit().unwrap();
    assert!(is_free(b) && is_free(c));
    let again = take(a.0);
    free(again);
    assert!(is_free(again), "without readers nothing waits");
}

#[test]
fn operations_commits_and_readers_in_many_threads_get_along() {
    let (_ram, fs) = fresh(64, 4096);
    std::thread::scope(|s| {
        for t in 0..3u64 {
            let fs = &fs;
            s.spawn(move || {
                for n in 0..400 {
                    let mut tx = fs.begin(Reserve::items(2)).unwrap();
                    tx.put(&key(t * 10_000 + n), &[t as u8; 200]).unwrap();
                    tx.put(&key(t * 10_000 + 5000 + n), &[t as u8; 200]).unwrap();
                    if n % 7 == 0 {
                        drop(tx);
                    } else {
                        let txg = tx.commit();
                        if n % 50 == 1 {
                            fs.sync_txg(txg).unwrap();
                        }
                    }
                }
            });
        }
        let fs = &fs;
        s.spawn(move || {
            for _ in 0..100 {
                fs.commit().unwrap();
                fs.shrink(5);
            }
        });
        s.spawn(move || {
            for _ in 0..100 {
                let found = items(&fs.view().unwrap());
                // Both items of a transaction or neither.
                assert_eq!(found.len() % 2, 0);
            }
        });
    });
    fs.unmount().unwrap();
    let again = mount(fs.dev());
    assert_eq!(items(&again.view().unwrap()).len(), 3 * 2 * (400 - 58));
    verify(&again, 0);
}
