// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The power fails: at every event, with any part of what was not durable kept, also while a mount does the log again.

use super::*;
use crate::txn::Read;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::SeqCst;

/// The item that numbers the states.
const NUMBER: u64 = 60_000;

/// What the device holds for sure after the first `at` events.
pub(super) fn durable_until(rec: &RecordingBackend, at: usize, image: &RamBackend) {
    let events = rec.events();
    let mut cuts = Cuts::new(image.duplicate());
    events[..at].iter().for_each(|e| cuts.advance(e));
    for event in cuts.all {
        apply(image, &event);
    }
}

fn apply(image: &RamBackend, event: &Event) {
    if let Event::Write { offset, data, .. } = event {
        image.store(*offset, data);
    }
}

/// Goes through a stream of events and says what may be on the device.
struct Cuts {
    durable: RamBackend,
    volatile: Vec<Event>,
    /// What became durable.
    all: Vec<Event>,
}

impl Cuts {
    fn new(start: RamBackend) -> Cuts {
        Cuts {
            durable: start,
            volatile: Vec::new(),
            all: Vec::new(),
        }
    }

    fn advance(&mut self, event: &Event) {
        match event {
            Event::Flush => {
                for e in self.volatile.drain(..) {
                    apply(&self.durable, &e);
                    self.all.push(e);
                }
            }
            Event::Write { fua: true, .. } => {
                apply(&self.durable, event);
                self.all.push(event.clone());
            }
            Event::Write { .. } => self.volatile.push(event.clone()),
            Event::Mark(_) => {}
        }
    }

    /// Images that a cut may leave before `next` is done.
    fn images(&self, next: Option<&Event>, rng: &mut Rng) -> Vec<RamBackend> {
        let whole = self.durable.duplicate();
        self.volatile.iter().for_each(|e| apply(&whole, e));
        let some = self.durable.duplicate();
        for e in &self.volatile {
            if rng.below(2) == 0 {
                tear(&some, e, rng);
            }
        }
        let torn = self.durable.duplicate();
        if let Some(e) = next {
            tear(&torn, e, rng);
        }
        std::vec![whole, some, torn]
    }
}

/// Applies only some sectors of a write.
fn tear(image: &RamBackend, event: &Event, rng: &mut Rng) {
    if let Event::Write { offset, data, .. } = event {
        let keep = rng.below(4);
        for (n, sector) in data.chunks(512).enumerate() {
            if keep == 0 || rng.below(4) < keep {
                image.store(offset + n as u64 * 512, sector);
            }
        }
    }
}

/// A workload of numbered states.
struct Run {
    rec: StdArc<Probe>,
    /// What the filesystem held, by number.
    states: BTreeMap<u64, Model>,
    /// After how many events which number was acknowledged.
    acknowledged: Vec<(usize, u64)>,
}

fn number(found: &Model) -> u64 {
    found
        .get(&key(NUMBER))
        .map_or(0, |v| u64::from_le_bytes(v[..].try_into().unwrap()))
}

impl Run {
    /// Does random operations on a small device: with data that is overwritten, so that blocks are freed and used
    /// again, with syncs, commits, unmounting and pulling the plug.
    fn new(seed: u64, ops: u64, block_size: u32) -> Run {
        let (rec, dev) = recorded_with(if block_size > 4096 { 48 } else { 8 }, block_size);
        let mut run = Run {
            rec: rec.clone(),
            states: BTreeMap::from([(0, Model::new())]),
            acknowledged: std::vec![(0, 0)],
        };
        let mut rng = Rng(seed);
        let mut fs = mount(&dev);
        let mut txg = 1;
        for n in 1..=ops {
            let before = all(&fs);
            if rng.below(3) == 0 {
                let taken = before.get(&key(rng.below(9))).is_some_and(|v| is_data(v));
                let k = if taken { rng.below(9) } else { rng.below(40) };
                if before.get(&key(k)).is_none_or(|v| is_data(v)) {
                    put_data_as(&fs, k, rng.below(6) as u32 + 1, rng.next() as u8, rng.below(3) > 0);
                }
            }
            let mut tx = fs.begin(Reserve::items(8)).unwrap();
            for _ in 0..rng.below(6) {
                let k = 100 + rng.below(300);
                let there = tx.get(&key(k), |_| Ok(())).unwrap().is_some();
                match rng.below(3) {
                    0 if there => tx.remove(&key(k)).unwrap(),
                    1 if there => {
                        let fill = |v: &mut [u8]| {
                            v.fill(n as u8);
                            Ok(())
                        };
                        tx.modify(&key(k), fill).unwrap();
                    }
                    _ => tx.put(&key(k), &std::vec![n as u8; rng.below(900) as usize]).unwrap(),
                }
            }
            if rng.below(7) == 0 {
                drop(tx);
                tx = fs.begin(Reserve::items(1)).unwrap();
            }
            tx.alloc_ino().unwrap();
            tx.put(&key(NUMBER), &n.to_le_bytes()).unwrap();
            txg = tx.commit().max(txg);
            run.states.insert(n, all(&fs));
            match rng.below(40) {
                0..10 => {
                    fs.sync_txg(txg).unwrap();
                    run.acknowledge(n);
                }
                10..13 => {
                    fs.commit().unwrap();
                    run.acknowledge(n);
                }
                13 => {
                    fs.unmount().unwrap();
                    run.acknowledge(n);
                    fs = mount(&dev);
                    txg = fs.counters().open_txg;
                }
                14 | 15 => {
                    // Whoever used it is gone; the device has all it was told.
                    fs = mount(&dev);
                    let found = run.check_state(&fs, rec.position());
                    run.acknowledge(found);
                    txg = fs.counters().open_txg;
                }
                _ => {}
            }
        }
        run
    }

    fn acknowledge(&mut self, n: u64) {
        self.acknowledged.push((self.rec.position(), n));
    }

    /// Checks that a cut after `at` events left a state that was there, and not an older one than was acknowledged. The
    /// number of an operation is put last, so between two numbers there is also the state with the data written first.
    fn check_state(&self, fs: &Fs, at: usize) -> u64 {
        let found = all(fs);
        let n = number(&found);
        let least = self.acknowledged.iter().rfind(|(end, _)| *end <= at).map_or(0, |a| a.1);
        assert!(n >= least, "{least} was acknowledged, {n} is there");
        if found != self.states[&n] {
            // One operation further: only the item of its data may differ, from the next state that was reached from
            // here.
            let differ: Vec<_> = found
                .iter()
                .filter(|(k, v)| self.states[&n].get(k) != Some(v))
                .collect();
            assert!(
                differ.len() == 1 && is_data(differ[0].1),
                "state {n} and something else"
            );
            let gone = self.states[&n].keys().filter(|k| !found.contains_key(k)).count();
            assert_eq!(gone, 0, "state {n} with something missing");
        }
        verify(fs, check_data(fs, &found));
        n
    }

    /// Cuts at every event, or at every `step`-th.
    fn cut(&self, seed: u64, step: usize) -> usize {
        let mut rng = Rng(seed);
        let events = self.rec.events();
        let mut cuts = Cuts::new(self.rec.start().duplicate());
        let mut done = 0;
        for at in 0..=events.len() {
            let next = events.get(at);
            if at % step == 0 {
                for image in cuts.images(next, &mut rng) {
                    let (rec, dev) = on(image);
                    if rng.below(4) == 0 {
                        let fs = Fs::mount(dev.clone(), READ_ONLY).unwrap();
                        self.check_state(&fs, at);
                        fs.unmount().unwrap();
                        assert_eq!(rec.position(), 0);
                    }
                    let fs = mount(&dev);
                    self.check_state(&fs, at);
                    // It goes on as if nothing had happened.
                    put_sync(&fs, 500, b"on as before");
                    holds(&rec, &all(&fs));
                    done += 1;
                }
            }
            if let Some(e) = next {
                cuts.advance(e);
            }
        }
        done
    }
}

#[test]
fn any_power_cut_leaves_a_state_that_was_there_with_all_that_was_acknowledged() {
    let mut done = 0;
    for seed in 0..4 {
        let run = Run::new(seed, 130, 4096);
        done += run.cut(seed + 100, 2);
    }
    done += Run::new(9, 60, 65536).cut(3, 5);
    assert!(done > 1000, "{done}");
}

/// What is on the device if `lost` of the writes since `from` did not reach it.
fn without(rec: &RecordingBackend, from: usize, lost: usize) -> RamBackend {
    let image = rec.start().duplicate();
    let events = rec.events();
    let mut writes = 0;
    for (at, event) in events.iter().enumerate() {
        let write = at >= from && matches!(event, Event::Write { .. });
        if !write || writes != lost {
            apply(&image, event);
        }
        writes += usize::from(write);
    }
    image
}

#[test]
fn a_last_batch_without_its_data_is_left_out_and_stays_out() {
    for block_size in [4096, 65536] {
        let (rec, dev) = recorded_with(if block_size > 4096 { 48 } else { 16 }, block_size);
        let fs = mount(&dev);
        put_checked(&fs, 1, 1, 1);
        put_sync(&fs, 2, b"acknowledged");
        let promised = all(&fs);
        let at = rec.position();
        let txg = put_checked(&fs, 1, 1, 2);
        put(&fs, 3, b"of the same batch");
        fs.sync_txg(txg).unwrap();
        assert_eq!(story(&rec, at), "wwf");
        let whole = all(&fs);
        holds(&rec, &whole);
        // The batch without the data, the data without the batch.
        let (again, dev) = on(without(&rec, at, 0));
        assert!(all(&Fs::mount(dev.clone(), READ_ONLY).unwrap()) == promised);
        assert_eq!(again.position(), 0);
        assert!(all(&mount(&on(without(&rec, at, 1)).1)) == promised);
        assert_eq!(crate::check::check(&dev).unwrap().log_ops, 2);
        let fs = mount(&dev);
        assert!(all(&fs) == promised);
        // What was left out refers to blocks that get the same contents now: it must not come back.
        for _ in 0..3 {
            put_checked(&fs, 1, 1, 2);
        }
        holds(&again, &promised);
        put_sync(&fs, 4, b"behind it");
        holds(&again, &all(&fs));
        // With nothing before it, it is left out as well.
        let (rec, dev) = recorded(16);
        let fs = mount(&dev);
        let at = rec.position();
        fs.sync_txg(put_checked(&fs, 1, 1, 2)).unwrap();
        let (again, dev) = on(without(&rec, at, 0));
        let fs = mount(&dev);
        assert!(all(&fs).is_empty());
        put_sync(&fs, 2, b"on");
        holds(&again, &all(&fs));
    }
}

#[test]
fn data_of_a_batch_that_another_follows_is_not_looked_at() {
    let (rec, dev) = recorded(16);
    let fs = mount(&dev);
    fs.sync_txg(put_checked(&fs, 1, 2, 1)).unwrap();
    let data = match &rec.events()[0] {
        Event::Write { offset, .. } => *offset,
        _ => panic!("no write"),
    };
    put_sync(&fs, 2, b"follows");
    // Such damage is the reader's to find: the promise of the file's existence, and of what came after, stands.
    let image = rec.rec.contents();
    image.store(data, &[9; 512]);
    assert!(all(&mount(&on(image).1)) == all(&fs));
}

#[test]
fn a_mount_that_is_interrupted_while_it_does_the_log_again_changes_nothing() {
    let (rec, dev) = recorded(8);
    let fs = mount(&dev);
    for n in 0..30u64 {
        put_data_as(&fs, n % 7, 2, n as u8, n % 3 > 0);
        put_sync(&fs, 100 + n, &[n as u8; 600]);
    }
    assert_eq!(fs.counters().commits, 0);
    let expected = all(&fs);
    let (again, dev) = copy(&rec);
    let fs = mount(&dev);
    assert_eq!(fs.counters().commits, 1);
    drop(fs);
    let events = again.events();
    assert!(events.len() > 5);
    let mut cuts = Cuts::new(again.start().duplicate());
    let mut rng = Rng(5);
    for at in 0..=events.len() {
        for image in cuts.images(events.get(at), &mut rng) {
            holds(&on(image).0, &expected);
        }
        if let Some(e) = events.get(at) {
            cuts.advance(e);
        }
    }
    // The device fails at each operation of the mount.
    for n in 0.. {
        let (probe, dev) = copy(&rec);
        probe.fail_after(n);
        let done = Fs::mount(dev, MountOptions::default());
        probe.heal();
        if done.is_err() {
            assert!(matches!(done, Err(Error::Io(_))));
            holds(&probe, &expected);
        } else {
            assert!(n > 10);
            break;
        }
    }
    // There is no memory at each allocation of it.
    for n in 0.. {
        let (probe, dev) = copy(&rec);
        vexfs_host::mem::fail_allocations_after(Some(n));
        let done = Fs::mount(dev, MountOptions::default());
        vexfs_host::mem::fail_allocations_after(None);
        if let Err(e) = &done {
            assert_eq!(*e, Error::NoMemory);
            holds(&probe, &expected);
        } else {
            assert!(n > 20);
            break;
        }
    }
}

#[test]
fn a_sync_while_a_commit_is_written_does_not_wait_and_survives_with_either_superblock() {
    // The commit's nth operation on the device calls back; what happens then is synced through the log.
    for nth in 0.. {
        let (rec, dev) = recorded(8);
        let fs = mount(&dev);
        put_data(&fs, 1, 3, 1);
        put_sync(&fs, 2, b"in the log before the seal");
        put(&fs, 3, b"not in the log before the seal");
        let begin = rec.position();
        let left = AtomicU64::new(nth);
        let (fs2, rec2) = (fs.clone(), StdArc::downgrade(&rec));
        rec.before_each(move |_| {
            if left.load(SeqCst) > 0 {
                left.fetch_sub(1, SeqCst);
                return true;
            }
            // The commit holds its lock: a sync that had to wait for it would never return.
            put_checked(&fs2, 1, 2, 2);
            put_data_as(&fs2, 1, 4, 3, nth % 2 > 0);
            put_sync(&fs2, 4, b"between the seal and the superblock");
            rec2.upgrade().unwrap().mark(1);
            false
        });
        let done = fs.commit().unwrap();
        assert!(done.wrote);
        rec.hook.lock().unwrap().take();
        let events = rec.events();
        let Some(mark) = events.iter().position(|e| *e == Event::Mark(1)) else {
            assert!(nth > 4);
            return;
        };
        put_sync(&fs, 5, b"after the commit");
        let (end, expected) = (rec.position(), all(&fs));
        let mut cuts = Cuts::new(rec.start().duplicate());
        let mut rng = Rng(nth);
        for (at, event) in rec.events().iter().enumerate() {
            if at > begin {
                for image in cuts.images(Some(event), &mut rng) {
                    let fs = mount(&on(image).1);
                    let found = all(&fs);
                    assert!(found.contains_key(&key(2)));
                    assert!(at <= mark || (found.contains_key(&key(3)) && found.contains_key(&key(4))));
                    verify(&fs, check_data(&fs, &found));
                }
            }
            cuts.advance(event);
        }
        assert_eq!(rec.position(), end);
        holds(&rec, &expected);
        // And with the superblock of the commit torn, which is what a cut during its write leaves.
        let image = rec.rec.start().duplicate();
        durable_until(&rec, mark, &image);
        holds(&on(image).0, &{
            let mut model = expected;
            model.remove(&key(5));
            model
        });
    }
}

#[test]
fn io_errors_anywhere_leave_what_was_acknowledged() {
    for n in 0..60 {
        let (rec, dev) = recorded(8);
        let fs = mount(&dev);
        let mut known = Model::new();
        rec.fail_after(n);
        for k in 0..40u64 {
            let txg = match fs.begin(Reserve::items(1)) {
                Ok(mut tx) => {
                    if tx.put(&key(k % 9), &[k as u8; 400]).is_err() {
                        break;
                    }
                    tx.commit()
                }
                Err(_) => break,
            };
            let done = match k % 5 {
                4 => fs.sync(),
                _ => fs.sync_txg(txg),
            };
            if done.is_err() {
                break;
            }
            known = all(&fs);
        }
        let now = fs.view().map(|v| items(&v)).unwrap();
        rec.heal();
        let again = mount(&copy(&rec).1);
        let found = all(&again);
        assert!(found == known || found == now, "operation {n} on the device failed");
        verify(&again, 0);
    }
}
