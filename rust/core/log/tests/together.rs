// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Two batches on their way at once.

use super::cuts::apply;
use super::cuts::Cuts;
use super::*;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use std::time::Instant;

/// Waits until `done` says so; panics after a long time.
fn until(done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it never happens");
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// Two tasks sync; the device is called by the first one's `nth` write (or flush, if `flush`) of its sync when the second one
/// has done all of its own that it can do alone, which is `theirs`. Returns where the recording of both begins.
fn overlapping(
    rec: &StdArc<Probe>,
    fs: &Fs,
    first: impl Fn(&Fs) -> u64 + Sync,
    second: impl Fn(&Fs) -> u64 + Sync,
    flush: bool,
    theirs: &str,
) -> usize {
    let (go, done) = (StdArc::new(AtomicBool::new(false)), StdArc::new(AtomicBool::new(false)));
    let txg = first(fs);
    let from = rec.position();
    let expected = theirs.len();
    {
        let (rec2, go, done) = (StdArc::downgrade(rec), go.clone(), done.clone());
        rec.before_each(move |offset| {
            if offset.is_none() != flush {
                return true;
            }
            let rec = rec2.upgrade().unwrap();
            let at = rec.position();
            go.store(true, SeqCst);
            until(|| story(&rec, at).len() >= expected);
            // It has done what it can. It must not be told so before this one is durable.
            std::thread::sleep(Duration::from_millis(5));
            assert!(!done.load(SeqCst));
            false
        });
    }
    std::thread::scope(|s| {
        s.spawn(|| {
            until(|| go.load(SeqCst));
            let txg = second(fs);
            fs.sync_txg(txg).unwrap();
            done.store(true, SeqCst);
        });
        fs.sync_txg(txg).unwrap();
    });
    from
}

#[test]
fn a_batch_is_written_while_the_one_before_is_flushed_and_durable_only_after_it() {
    let checked = |k| move |fs: &Fs| put_checked(fs, k, 1, k as u8);
    let plain = |k: u64| move |fs: &Fs| put(fs, k, b"no data");
    for (kind, theirs) in ["wwf", "F"].into_iter().enumerate() {
        let (rec, dev) = recorded(8);
        let fs = mount(&dev);
        put_sync(&fs, 9, b"before");
        let states: [Model; 3] = {
            let fs = mount(&copy(&rec).1);
            let none = all(&fs);
            checked(1)(&fs);
            let one = all(&fs);
            match kind {
                0 => checked(2)(&fs),
                _ => plain(2)(&fs),
            };
            [none, one, all(&fs)]
        };
        let from = match kind {
            0 => overlapping(&rec, &fs, checked(1), checked(2), true, theirs),
            _ => overlapping(&rec, &fs, checked(1), plain(2), true, theirs),
        };
        // The second one's flush does not wait, but only the first one's makes both durable.
        assert_eq!(story(&rec, from), ["w", theirs, "f"].concat());
        assert!(all(&fs) == states[2]);
        holds(&rec, &states[2]);
        let events = rec.events();
        let mut rng = Rng(kind as u64);
        let mut cuts = Cuts::new(rec.start().duplicate());
        let mut seen = [0; 3];
        for (at, event) in events.iter().enumerate() {
            for _ in 0..if at >= from { 60 } else { 0 } {
                for image in cuts.images(Some(event), &mut rng) {
                    let (again, dev) = on(image);
                    let fs = mount(&dev);
                    let found = all(&fs);
                    let n = states.iter().position(|s| *s == found).expect("a state that was there");
                    seen[n] += 1;
                    verify(&fs, check_data(&fs, &found));
                    // What is written next lies where the batches that do not count lay, or behind them.
                    put_sync(&fs, 3, b"on");
                    holds(&again, &all(&fs));
                }
            }
            cuts.advance(event);
        }
        assert!(seen.iter().all(|n| *n > 0), "{seen:?}");
    }
}

#[test]
fn a_batch_behind_one_that_was_torn_never_counts() {
    let (rec, dev) = recorded(8);
    let fs = mount(&dev);
    put_sync(&fs, 9, b"before");
    let promised = all(&fs);
    let log = fs.geometry().byte(fs.geometry().log_start);
    let from = overlapping(
        &rec,
        &fs,
        |fs| put_checked(fs, 1, 1, 1),
        |fs| put(fs, 2, b"x"),
        true,
        "F",
    );
    // All but the first one's batch reached the medium.
    let image = rec.start().duplicate();
    for (at, event) in rec.events().iter().enumerate() {
        let torn =
            matches!(event, Event::Write { offset, .. } if at >= from && *offset < log + (1 << 20) && *offset >= log);
        if !torn || at > from {
            apply(&image, event);
        }
    }
    let (again, dev) = on(image);
    assert!(all(&Fs::mount(dev.clone(), READ_ONLY).unwrap()) == promised);
    assert_eq!(again.position(), 0);
    let fs = mount(&dev);
    assert!(all(&fs) == promised);
    // A batch as long as the torn one: were it in its place, the one behind it would follow.
    put_sync(&fs, 3, b"as long");
    holds(&again, &all(&fs));
}

#[test]
fn a_batch_behind_one_that_could_not_be_written_is_committed_with_it() {
    let (rec, dev) = recorded(8);
    let fs = mount(&dev);
    put_sync(&fs, 9, b"before");
    let log = fs.geometry().byte(fs.geometry().log_start);
    // The unit of the first one.
    rec.fail_writes(log + 4096..log + 4097);
    let commits = fs.counters().commits;
    overlapping(&rec, &fs, |fs| put(fs, 1, b"x"), |fs| put(fs, 2, b"x"), false, "F");
    let counters = fs.counters();
    assert!(counters.commits > commits && counters.log.batches == 1, "{counters:?}");
    holds(&rec, &all(&fs));
    assert_eq!(all(&fs).len(), 3);
    put_sync(&fs, 3, b"goes on");
    assert_eq!(fs.counters().log.batches, 2);
    holds(&rec, &all(&fs));
}

#[test]
fn a_power_cut_while_many_sync_leaves_what_was_acknowledged_and_no_operation_without_those_before() {
    const THREADS: u64 = 6;
    const ROUNDS: u64 = 25;
    const NUMBER: u64 = 70_000;
    let (rec, dev) = recorded(64);
    // A flush takes time once it has begun: what is written meanwhile is not part of it.
    rec.slow.store(300, SeqCst);
    let fs = mount(&dev);
    let (last, acknowledged) = (Mutex::new(0u64), Mutex::new(Vec::new()));
    let most = AtomicU64::new(0);
    std::thread::scope(|s| {
        for t in 0..THREADS {
            let (fs, rec, last, acknowledged, most) = (&fs, &rec, &last, &acknowledged, &most);
            s.spawn(move || {
                for n in 0..ROUNDS {
                    let (number, txg) = {
                        let mut last = last.lock().unwrap();
                        *last += 1;
                        let k = *last;
                        match (t + n) % 4 {
                            0 => put_data(fs, k, 1, k as u8),
                            1 => put(fs, k, &[n as u8; 500]),
                            _ => put_checked(fs, k, 1, k as u8),
                        };
                        (k, put(fs, NUMBER, &k.to_le_bytes()))
                    };
                    fs.sync_txg(txg).unwrap();
                    acknowledged.lock().unwrap().push((rec.position(), number));
                    most.fetch_max(fs.log.writer.lock().in_flight(), SeqCst);
                }
            });
        }
    });
    assert!(most.load(SeqCst) > 0, "none was on its way when another was done");
    let events = rec.events();
    let acknowledged = acknowledged.into_inner().unwrap();
    let mut cuts = Cuts::new(rec.start().duplicate());
    let mut rng = Rng(7);
    for (at, event) in events.iter().enumerate() {
        if at % 3 == 0 {
            let least = acknowledged.iter().filter(|(end, _)| *end <= at).map(|(_, n)| *n).max();
            for image in cuts.images(Some(event), &mut rng) {
                let fs = mount(&on(image).1);
                let found = all(&fs);
                let number = |v: &Vec<u8>| u64::from_le_bytes(v[..].try_into().unwrap());
                let n = found.get(&key(NUMBER)).map_or(0, number);
                assert!(n >= least.unwrap_or(0), "{least:?} was acknowledged, {n} is there");
                assert!((1..=n).all(|k| found.contains_key(&key(k))));
                verify(&fs, check_data(&fs, &found));
            }
        }
        cuts.advance(event);
    }
}
