// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Who waits for the device: whoever needs what is read, and nobody else.

use super::*;
use crate::testing::Hooked;
use crate::testing::Op;
use crate::testing::Rng;
use crate::txn::Read as _;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc;
use std::sync::Mutex;
use std::thread;
use vexfs_host::sync::Arc;

/// Stops the first read that `of` picks, in whichever thread, until it is let go.
struct Stopped {
    reached: mpsc::Receiver<()>,
    go: mpsc::Sender<()>,
}

fn stop_first_read(disk: &Hooked, of: impl Fn(u64) -> bool + Send + Sync + 'static) -> Stopped {
    let (reach, reached) = mpsc::channel();
    let (go, gone) = mpsc::channel();
    let (reach, gone, armed) = (Mutex::new(reach), Mutex::new(gone), AtomicBool::new(true));
    disk.set(move |op| {
        let Op::Read(offset) = op else { return };
        if of(offset) && armed.swap(false, SeqCst) {
            reach.lock().unwrap().send(()).unwrap();
            gone.lock().unwrap().recv().unwrap();
        }
    });
    Stopped { reached, go }
}

/// A filesystem with items whose leaves are not in memory, but for those of the first keys.
fn cold() -> (StdArc<Hooked>, Arc<Fs>) {
    let disk = Hooked::formatted(64);
    let fs = mount(&disk.device());
    for n in 0..60 {
        add(&fs, n * 50, 50);
    }
    fs.sync().unwrap();
    fs.shrink(usize::MAX);
    assert!(read_one(&fs, 0));
    (disk, fs)
}

fn read_one(fs: &Fs, k: u64) -> bool {
    fs.view().unwrap().get(&key(k), |_| Ok(())).unwrap().is_some()
}

fn put_one(fs: &Fs, k: u64, value: &[u8]) {
    let mut tx = fs.begin(Reserve::items(1)).unwrap();
    tx.put(&key(k), value).unwrap();
    tx.commit();
}

#[test]
fn nobody_waits_behind_a_reader_that_waits_for_the_device() {
    let (disk, fs) = cold();
    let stopped = stop_first_read(&disk, |_| true);
    thread::scope(|s| {
        let reader = s.spawn(|| read_one(&fs, 2500));
        stopped.reached.recv().unwrap();
        // Reading, changing and committing what is in memory.
        assert!(read_one(&fs, 0));
        put_one(&fs, 1, b"changed");
        fs.sync().unwrap();
        stopped.go.send(()).unwrap();
        assert!(reader.join().unwrap());
    });
    disk.unset();
    shape(&fs);
}

#[test]
fn readers_do_not_wait_behind_an_operation_that_waits_for_the_device_nor_see_half_of_it() {
    // Before and after its first change; at the node it changes, and at the one it reads.
    for changes in 0..3u64 {
        let (disk, fs) = cold();
        let inodes = fs.statfs().inodes;
        let stopped = stop_first_read(&disk, |_| true);
        thread::scope(|s| {
            let writer = s.spawn(|| {
                let mut tx = fs.begin(Reserve::items(10)).unwrap();
                for k in 0..changes {
                    tx.put(&key(k), &[9; 700]).unwrap();
                    tx.remove(&key(10 + k)).unwrap();
                    tx.insert(&key(9_000_000 + k), b"new").unwrap();
                    tx.put(&key(k), &[8; 300]).unwrap();
                    tx.add_inodes(1).unwrap();
                }
                tx.put(&key(2500), &[7; 50]).unwrap();
                assert!(tx.get(&key(1200), |_| Ok(())).unwrap().is_some());
                for k in 0..changes {
                    assert_eq!(tx.get(&key(k), |d| Ok(d.to_vec())).unwrap().unwrap(), [8; 300]);
                    assert!(tx.get(&key(10 + k), |_| Ok(())).unwrap().is_none());
                }
                tx.commit();
            });
            stopped.reached.recv().unwrap();
            for k in 0..changes {
                assert_eq!(
                    fs.view().unwrap().get(&key(k), |d| Ok(d.to_vec())).unwrap().unwrap(),
                    [k as u8; 100]
                );
                assert!(read_one(&fs, 10 + k));
            }
            assert_eq!(fs.statfs().inodes, inodes);
            stopped.go.send(()).unwrap();
            writer.join().unwrap();
        });
        disk.unset();
        assert_eq!(fs.statfs().inodes, inodes + changes);
        for k in 0..changes {
            assert_eq!(
                fs.view().unwrap().get(&key(k), |d| Ok(d.to_vec())).unwrap().unwrap(),
                [8; 300]
            );
            assert!(!read_one(&fs, 10 + k) && read_one(&fs, 9_000_000 + k));
        }
        fs.sync().unwrap();
        verify(&fs, 0);
    }
}

#[test]
fn an_fsync_does_not_wait_behind_an_operation_that_waits_for_the_device() {
    for changes in 0..3u64 {
        let (disk, fs) = cold();
        put_one(&fs, 1, b"synced");
        let txg = fs.counters().open_txg;
        let stopped = stop_first_read(&disk, |_| true);
        // What a power cut would leave.
        let after_cut = || mount(&device(&StdArc::new(disk.ram.duplicate())));
        thread::scope(|s| {
            let writer = s.spawn(|| {
                let mut tx = fs.begin(Reserve::items(10)).unwrap();
                for k in 0..changes {
                    tx.put(&key(20 + k), &[9; 700]).unwrap();
                }
                tx.put(&key(2500), b"the last change").unwrap();
                tx.commit()
            });
            stopped.reached.recv().unwrap();
            fs.sync_txg(txg).unwrap();
            assert_eq!(fs.counters().log.batches, 1);
            let cut = after_cut();
            assert_eq!(
                cut.view().unwrap().get(&key(1), |d| Ok(d.to_vec())).unwrap().unwrap(),
                b"synced"
            );
            assert!(read_one(&cut, 20));
            verify(&cut, 0);
            stopped.go.send(()).unwrap();
            fs.sync_txg(writer.join().unwrap()).unwrap();
        });
        disk.unset();
        assert_eq!((fs.counters().log.batches, fs.counters().log.ops), (2, 2));
        let cut = after_cut();
        let value = |k| cut.view().unwrap().get(&key(k), |d| Ok(d.to_vec())).unwrap().unwrap();
        assert_eq!(value(2500), b"the last change");
        for k in 0..changes {
            assert_eq!(value(20 + k), [9; 700]);
        }
        verify(&cut, 0);
    }
}

#[test]
fn nobody_waits_behind_the_reading_of_a_bitmap() {
    let disk = Hooked::formatted(300);
    let fs = mount(&disk.device());
    add(&fs, 0, 100);
    let goal = fs.geometry().group_start(2) + 1000;
    let (block, len) = fs.alloc_data(goal, 5, false).unwrap();
    let mut tx = fs.begin(Reserve::items(1)).unwrap();
    tx.adopt_extent(block, len, None).unwrap();
    tx.commit();
    fs.sync().unwrap();
    fs.shrink(usize::MAX);
    read_one(&fs, 0);
    put_one(&fs, 0, b"loads the bitmap of the nodes");
    let stopped = stop_first_read(&disk, |_| true);
    thread::scope(|s| {
        let other = s.spawn(|| fs.alloc_data(goal, 5, false).unwrap());
        stopped.reached.recv().unwrap();
        assert!(read_one(&fs, 0));
        put_one(&fs, 1, b"changed");
        assert!(fs.statfs().available > 0);
        fs.sync().unwrap();
        stopped.go.send(()).unwrap();
        let (block, len) = other.join().unwrap();
        fs.release_data(block, len);
    });
    disk.unset();
    verify(&fs, 5);
}

#[test]
fn a_place_that_is_written_anew_while_it_is_read_is_no_damage() {
    let (disk, fs) = cold();
    let node_bytes = u64::from(fs.geometry().node_blocks) * 4096;
    for round in 0..6u64 {
        let k = 400 * (round + 1);
        fs.shrink(usize::MAX);
        let stopped = stop_first_read(&disk, |_| true);
        thread::scope(|s| {
            let reader = s.spawn(|| fs.view().unwrap().get(&key(k), |d| Ok(d.to_vec())));
            stopped.reached.recv().unwrap();
            // Changed and committed meanwhile; what was there may be anything then.
            let before = disk.ram.duplicate();
            put_one(&fs, k, &[round as u8; 33]);
            fs.sync().unwrap();
            put_one(&fs, k, &[round as u8; 33]);
            fs.sync().unwrap();
            // Every place of a node that is not one any more.
            let live = shape(&fs).nodes;
            let mut lost = 0;
            for at in (0..64 << 20).step_by(node_bytes as usize) {
                let mut old = [0; 4096];
                before.load(at, &mut old);
                if &old[..4] == b"VNod" && !live.contains(&(at / 4096)) {
                    disk.ram.store(at, &[0xee; 4096]);
                    lost += 1;
                }
            }
            assert!(lost > 0);
            stopped.go.send(()).unwrap();
            assert_eq!(reader.join().unwrap().unwrap().unwrap(), [round as u8; 33]);
        });
        disk.unset();
        assert!(!fs.is_read_only());
    }
}

#[test]
fn reclaim_that_takes_everything_at_once_does_not_keep_an_operation_from_ending() {
    let (disk, fs) = cold();
    let reads = StdArc::new(AtomicU64::new(0));
    let (inside, count) = (fs.clone(), reads.clone());
    disk.set(move |op| {
        if matches!(op, Op::Read(_)) {
            inside.shrink(usize::MAX);
            inside.shrink(usize::MAX);
            count.fetch_add(1, SeqCst);
        }
    });
    let mut rng = Rng(5);
    for _ in 0..60 {
        let from = rng.below(2900);
        fs.shrink(usize::MAX);
        let before = reads.load(SeqCst);
        let mut n = 0;
        let view = fs.view().unwrap();
        view.scan(&key(from), &key(from + 99), &mut |_, _| {
            n += 1;
            Ok(true)
        })
        .unwrap();
        drop(view);
        assert_eq!(n, 100);
        let mut tx = fs.begin(Reserve::items(4).deleting()).unwrap();
        tx.put(&key(from), &[4; 100]).unwrap();
        tx.put(&key((from + 1500) % 3000), &[4; 100]).unwrap();
        tx.commit();
        fs.sync().unwrap();
        assert!(reads.load(SeqCst) - before < 60);
    }
    disk.unset();
    verify(&fs, 0);
}

#[test]
fn readers_of_a_tree_that_changes_all_the_time_see_one_state_of_it() {
    let (disk, fs) = cold();
    let stop = AtomicBool::new(false);
    let inside = fs.clone();
    disk.set(move |op| {
        if matches!(op, Op::Read(_)) {
            inside.shrink(20);
        }
    });
    // Each operation gives two items far apart the same value.
    let pair = |n: u64| (key(n), key(n + 1500));
    for n in 0..100 {
        let mut tx = fs.begin(Reserve::items(2)).unwrap();
        let (a, b) = pair(n);
        tx.put(&a, &0u64.to_le_bytes()).unwrap();
        tx.put(&b, &0u64.to_le_bytes()).unwrap();
        tx.commit();
    }
    thread::scope(|s| {
        let readers: Vec<_> = (0..3)
            .map(|seed| {
                let (fs, stop) = (&fs, &stop);
                s.spawn(move || {
                    let mut rng = Rng(seed);
                    let mut seen = 0u64;
                    while !stop.load(SeqCst) || seen < 200 {
                        let (a, b) = pair(rng.below(100));
                        let view = fs.view().unwrap();
                        let first = view.get(&a, |d| Ok(d.to_vec())).unwrap();
                        let second = view.get(&b, |d| Ok(d.to_vec())).unwrap();
                        assert!(first.is_some() && first == second);
                        seen += 1;
                    }
                })
            })
            .collect();
        let mut rng = Rng(77);
        for value in 1..1500u64 {
            let (a, b) = pair(rng.below(100));
            let mut tx = fs.begin(Reserve::items(2)).unwrap();
            tx.put(&a, &value.to_le_bytes()).unwrap();
            tx.put(&b, &value.to_le_bytes()).unwrap();
            match rng.below(10) {
                0 => drop(tx),
                _ => drop(tx.commit()),
            }
            if rng.below(20) == 0 {
                fs.sync().unwrap();
                fs.shrink(usize::MAX);
            }
        }
        stop.store(true, SeqCst);
        readers.into_iter().for_each(|r| r.join().unwrap());
    });
    disk.unset();
    fs.sync().unwrap();
    verify(&fs, 0);
}
