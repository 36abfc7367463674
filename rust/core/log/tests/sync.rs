// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What a sync writes, and when it is a commit after all.

use super::*;
use vexfs_host::mem::fail_allocations_after;

#[test]
fn a_lone_sync_is_one_durable_write_and_a_flush_before_it_only_for_data() {
    let (rec, dev) = recorded(16);
    let fs = mount(&dev);
    let at = rec.position();
    put_sync(&fs, 1, b"one");
    assert_eq!(story(&rec, at), "F");
    let at = rec.position();
    let txg = put_data(&fs, 2, 3, 7);
    assert_eq!(story(&rec, at), "w");
    fs.sync_txg(txg).unwrap();
    assert_eq!(story(&rec, at), "wfF");
    // Data that was flushed is not flushed again.
    let at = rec.position();
    put_sync(&fs, 3, b"three");
    assert_eq!(story(&rec, at), "F");
    assert!(matches!(&rec.events()[at], Event::Write { data, .. } if data.len() == 4096));
    let counters = fs.counters();
    assert_eq!((counters.commits, counters.committed_txg), (0, 1));
    assert_eq!(
        (counters.log.batches, counters.log.ops, counters.log.fallbacks),
        (3, 3, 0)
    );
    assert_eq!(counters.log.bytes, 3 * 4096);
    holds(&rec, &all(&fs));
}

#[test]
fn a_sync_of_data_with_checksums_takes_one_flush() {
    let (rec, dev) = recorded(16);
    let fs = mount(&dev);
    let at = rec.position();
    fs.sync_txg(put_checked(&fs, 1, 3, 7)).unwrap();
    assert_eq!(story(&rec, at), "wwf");
    let at = rec.position();
    put_sync(&fs, 2, b"no data");
    assert_eq!(story(&rec, at), "F");
    // One run without a checksum: the flush before the batch does for all.
    let at = rec.position();
    put_checked(&fs, 3, 1, 7);
    fs.sync_txg(put_data(&fs, 4, 1, 8)).unwrap();
    assert_eq!(story(&rec, at), "wwfF");
    // Too long for one.
    let at = rec.position();
    fs.sync_txg(put_checked(&fs, 7, 17, 7)).unwrap();
    assert_eq!(story(&rec, at), "wfF");
    holds(&rec, &all(&fs));
}

#[test]
fn what_is_durable_is_not_written_again() {
    let (rec, dev) = recorded(16);
    let fs = mount(&dev);
    let txg = put(&fs, 1, b"one");
    put_sync(&fs, 2, b"two");
    let at = rec.position();
    fs.sync_txg(txg).unwrap();
    let mut tx = fs.begin(Reserve::items(1)).unwrap();
    tx.put(&key(3), b"not to be").unwrap();
    drop(tx);
    fs.sync_txg(txg).unwrap();
    assert_eq!(story(&rec, at), "");
    holds(&rec, &all(&fs));
    put(&fs, 4, b"four");
    fs.commit().unwrap();
    let at = rec.position();
    fs.sync_txg(txg).unwrap();
    assert_eq!(story(&rec, at), "");
}

#[test]
fn many_callers_share_batches_and_each_is_durable_when_its_sync_returns() {
    const THREADS: u64 = 8;
    const ROUNDS: u64 = 60;
    let (rec, dev) = recorded(64);
    let fs = mount(&dev);
    let events = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|s| {
        for t in 0..THREADS {
            let (fs, rec, events) = (&fs, &rec, &events);
            s.spawn(move || {
                for n in 0..ROUNDS {
                    let k = t * 1000 + n;
                    let txg = match n % 3 {
                        0 => put_data(fs, k, 1, n as u8),
                        _ => put(fs, k, &[n as u8; 300]),
                    };
                    fs.sync_txg(txg).unwrap();
                    events.lock().unwrap().push((rec.position(), k));
                }
            });
        }
    });
    let log = fs.counters().log;
    assert_eq!(log.ops, THREADS * ROUNDS);
    assert!(log.batches <= log.ops && log.fallbacks == 0);
    let durable = story(&rec, 0).matches('F').count() as u64;
    let commits = fs.counters().commits;
    assert_eq!(durable, log.batches + commits);
    let now = all(&fs);
    // The power fails right after a sync returned.
    let events = events.into_inner().unwrap();
    for (n, (at, _)) in events.iter().enumerate().step_by(37) {
        let image = rec.start().duplicate();
        cuts::durable_until(&rec, *at, &image);
        let fs = mount(&on(image).1);
        let found = all(&fs);
        for (_, k) in &events[..=n] {
            assert!(found.get(&key(*k)) == now.get(&key(*k)), "item {k}");
        }
        verify(&fs, check_data(&fs, &found));
    }
}

#[test]
fn callers_that_wait_for_the_log_are_covered_by_one_batch() {
    let (rec, dev) = recorded(16);
    let fs = mount(&dev);
    // All have done their work before one of them syncs: one batch is enough.
    let txgs: Vec<u64> = (0..20).map(|k| put(&fs, k, b"x")).collect();
    let at = rec.position();
    std::thread::scope(|s| {
        for txg in &txgs {
            let fs = &fs;
            s.spawn(move || fs.sync_txg(*txg).unwrap());
        }
    });
    assert_eq!(story(&rec, at), "F");
}

#[test]
fn the_region_is_used_in_a_circle_and_commits_make_room() {
    let (rec, dev) = recorded(16);
    let fs = mount(&dev);
    let units = fs.log.region.units;
    assert_eq!(units, 256);
    let mut model = Model::new();
    for n in 0..3000u64 {
        let value = std::vec![n as u8; (n * 331 % 3800) as usize];
        // Batches of one to a few units, so that some cross the end.
        for k in 0..=n % 4 {
            put(&fs, (n * 7 + k) % 97, &value);
            model.insert(key((n * 7 + k) % 97), value.clone());
        }
        put_sync(&fs, 200, &n.to_le_bytes());
        model.insert(key(200), n.to_le_bytes().to_vec());
        if n % 61 == 0 {
            holds(&rec, &model);
        }
    }
    let counters = fs.counters();
    assert!(counters.log.bytes > 8 * units * 4096, "{counters:?}");
    assert_eq!(counters.log.batches, 3000);
    // Each is worth about half the region.
    assert!(counters.commits >= 20 && counters.commits < 60, "{counters:?}");
    assert!(story(&rec, 0).contains("wwf"), "some batches crossed the region's end");
    holds(&rec, &model);
}

#[test]
fn what_the_log_cannot_take_is_committed() {
    let (rec, dev) = recorded(64);
    let fs = mount(&dev);
    let expect = |what: &str, fallbacks: u64, commits: u64| {
        let c = fs.counters();
        assert_eq!((c.log.fallbacks, c.commits), (fallbacks, commits), "{what}");
        holds(&rec, &all(&fs));
    };
    // More than a batch can hold. Nothing is noted until the next transaction group.
    for k in 0..400 {
        put(&fs, 1000 + k, &[3; 3000]);
    }
    put_sync(&fs, 1, b"a");
    expect("too much for one batch", 1, 1);
    put_sync(&fs, 2, b"b");
    expect("the next one is small again", 1, 1);

    // The same item again and again: a commit writes less.
    for _ in 0..100 {
        put(&fs, 3, &[4; 3000]);
    }
    put_sync(&fs, 3, b"c");
    expect("longer than a commit", 2, 2);
}

#[test]
fn an_operation_does_not_fail_because_the_log_finds_no_memory() {
    let (rec, dev) = recorded(16);
    let fs = mount(&dev);
    // Made dirty, and the memory to undo it is there: from now on only noting needs more.
    put_sync(&fs, 1, &[1; 3000]);
    put(&fs, 1, &[2; 3000]);
    let mut refused = false;
    for n in 0..5u8 {
        let mut tx = fs.begin(Reserve::items(1)).unwrap();
        fail_allocations_after(Some(0));
        let done = tx.put(&key(1), &[n; 3000]);
        tx.commit();
        fail_allocations_after(None);
        done.unwrap();
        let fallbacks = fs.counters().log.fallbacks;
        fs.sync_txg(fs.counters().open_txg).unwrap();
        refused |= fs.counters().log.fallbacks > fallbacks;
        holds(&rec, &Model::from([(key(1), std::vec![n; 3000])]));
        put(&fs, 1, &[2; 3000]);
    }
    assert!(refused, "at least once there was no memory to note it");
}

#[test]
fn running_out_of_memory_anywhere_loses_nothing_that_was_acknowledged() {
    let mut failed = 0;
    for n in 0.. {
        let (rec, dev) = recorded(16);
        let fs = mount(&dev);
        put_sync(&fs, 1, b"one");
        let before = all(&fs);
        fail_allocations_after(Some(n));
        let done = fs.begin(Reserve::items(40)).and_then(|mut tx| {
            (2..40).try_for_each(|k| tx.put(&key(k), &[k as u8; 700]))?;
            Ok(tx.commit())
        });
        let synced = done.and_then(|txg| fs.sync_txg(txg));
        let left = vexfs_host::mem::Vec::<u8>::with_capacity(1).is_ok();
        fail_allocations_after(None);
        assert!(matches!(synced, Ok(()) | Err(Error::NoMemory)), "{synced:?}");
        assert!(!fs.is_read_only());
        let now = all(&fs);
        match (synced, done) {
            (Ok(()), _) => drop(holds(&rec, &now)),
            (_, Err(_)) => assert!(now == before),
            _ => {}
        }
        // It goes on.
        put_sync(&fs, 100, b"later");
        holds(&rec, &all(&fs));
        if left {
            break;
        }
        failed += 1;
    }
    assert!(failed > 5, "{failed}");
}

#[test]
fn a_region_without_room_is_no_obstacle() {
    let (rec, dev) = recorded(64);
    let fs = mount(&dev);
    // Batches of almost a megabyte in a region of one: the second finds no room.
    for round in 0..3u64 {
        for k in 0..260 {
            put(&fs, round * 1000 + k, &[round as u8; 3800]);
        }
        put_sync(&fs, 1, &round.to_le_bytes());
        holds(&rec, &all(&fs));
    }
    let c = fs.counters();
    assert!(c.log.batches + c.log.fallbacks >= 3 && c.commits >= 2, "{c:?}");
}

#[test]
fn a_batch_that_cannot_be_written_is_committed_instead_and_the_log_goes_on() {
    let (rec, dev) = recorded(16);
    let fs = mount(&dev);
    put_sync(&fs, 1, b"one");
    let txg = put(&fs, 2, b"two");
    let log = fs.geometry().byte(fs.geometry().log_start);
    rec.fail_writes(log..log + (1 << 20));
    fs.sync_txg(txg).unwrap();
    let c = fs.counters();
    assert_eq!((c.log.batches, c.log.fallbacks, c.commits), (1, 1, 1));
    holds(&rec, &all(&fs));
    // The region is still bad: each sync is a commit, as if there were no log.
    put_sync(&fs, 3, b"three");
    assert_eq!(fs.counters().commits, 2);
    holds(&rec, &all(&fs));
    rec.fail_writes(0..0);
    put_sync(&fs, 4, b"four");
    assert_eq!((fs.counters().log.batches, fs.counters().commits), (2, 2));
    holds(&rec, &all(&fs));
}

#[test]
fn after_an_abort_nothing_is_written_to_the_log() {
    let (rec, dev) = recorded(16);
    let fs = mount(&dev);
    put_sync(&fs, 1, b"one");
    let txg = put(&fs, 2, b"two");
    fs.abort(Error::Shutdown);
    let at = rec.position();
    assert_eq!(fs.sync_txg(txg), Err(Error::Shutdown));
    assert_eq!(rec.position(), at);
}

#[test]
fn a_flush_that_fails_stops_the_filesystem() {
    let (rec, dev) = recorded(16);
    let fs = mount(&dev);
    put_sync(&fs, 1, b"one");
    let before = all(&fs);
    let txg = put_data(&fs, 2, 1, 9);
    let at = rec.position();
    rec.fail_after(0);
    assert!(matches!(fs.sync_txg(txg), Err(Error::Io(_))));
    rec.heal();
    assert!(fs.is_read_only() && fs.abort_reason().is_some());
    assert!(fs.sync_txg(txg).is_err());
    assert_eq!(rec.position(), at);
    holds(&rec, &before);
}
