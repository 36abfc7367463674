// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Commits under pressure: no memory, memory reclaim at any moment, and being stopped half-way.

use super::*;
use crate::testing::Hooked;
use crate::testing::Op;
use std::string::String;
use std::string::ToString;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::Mutex;
use vexfs_host::mem::fail_allocations_after;
use vexfs_host::mem::failed_allocations;
use vexfs_host::sync::Arc;

/// Makes blocks of data part of the tree, one for each key from `from` on.
fn with_data(fs: &Fs, from: u64, n: u64) -> Vec<(u64, u64)> {
    (from..from + n)
        .map(|k| {
            let (block, _) = fs.alloc_data(0, 1, false).unwrap();
            let mut tx = fs.begin(Reserve::items(2)).unwrap();
            tx.adopt_extent(block, 1, None).unwrap();
            tx.insert(&key(1_000_000 + k), &[3; 24]).unwrap();
            (block, tx.commit())
        })
        .collect()
}

fn free_one(fs: &Fs, (block, birth): (u64, u64)) {
    let mut tx = fs.begin(Reserve::items(1).deleting()).unwrap();
    tx.free_extent(block, 1, birth).unwrap();
    tx.commit();
}

/// What this thread logs while `f` runs.
fn log_of(f: impl FnOnce()) -> Vec<String> {
    // There is one hook for all threads.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(|e| e.into_inner());
    let said = StdArc::new(Mutex::new(Vec::new()));
    let (hook, here) = (said.clone(), std::thread::current().id());
    vexfs_host::set_log_hook(Some(std::boxed::Box::new(move |_, text| {
        if std::thread::current().id() == here {
            hook.lock().unwrap().push(text.to_string());
        }
    })));
    f();
    vexfs_host::set_log_hook(None);
    let said = said.lock().unwrap().clone();
    said
}

#[test]
fn a_commit_needs_no_memory_once_it_is_sealed() {
    let disk = Hooked::formatted(64);
    let fs = mount(&disk.device());
    let mut runs = with_data(&fs, 0, 40);
    fs.sync().unwrap();
    let mut failed = 0;
    // From the first block that is written on, the n-th allocation fails and all after it.
    for n in 0..10 {
        add(&fs, n * 50, 50);
        // A reader of data, so that what was freed has to wait; and another from before the last commit, so that there
        // is something waiting already.
        let pins = [fs.pin_reads(), {
            free_one(&fs, runs.pop().unwrap());
            fs.sync().unwrap();
            fs.pin_reads()
        }];
        add(&fs, 10_000 + n * 50, 50);
        free_one(&fs, runs.pop().unwrap());
        let armed = AtomicU64::new(0);
        disk.set(move |op| {
            if matches!(op, Op::Write(_)) && armed.fetch_add(1, SeqCst) == 0 {
                fail_allocations_after(Some(n));
            }
        });
        let done = fs.commit();
        failed += failed_allocations();
        fail_allocations_after(None);
        disk.unset();
        assert!(done.unwrap().wrote);
        drop(pins);
        fs.sync().unwrap();
    }
    assert!(failed > 0 && !fs.is_read_only());
    verify(&fs, runs.len() as u64);
    // Every freed block can be allocated again.
    let stat = fs.space_info();
    let mut got = 0;
    fs.reserve_blocks(1).unwrap();
    fs.unreserve_blocks(1);
    while let Ok((_, len)) = fs.alloc_data(0, u32::MAX, false) {
        got += u64::from(len);
    }
    assert_eq!(got, stat.available, "of what is free");
}

#[test]
fn reclaim_at_any_moment_of_a_commit_leaves_bitmaps_usable() {
    let disk = Hooked::formatted(300);
    let fs = mount(&disk.device());
    let mut runs = with_data(&fs, 0, 40);
    for round in 0..4u64 {
        add(&fs, round * 100, 100);
        // Freed blocks keep their bitmap in memory by themselves.
        match round % 2 {
            0 => runs.extend(with_data(&fs, 1000 + round * 10, 10)),
            _ => (0..4).for_each(|_| free_one(&fs, runs.pop().unwrap())),
        }
        let used = StdArc::new(AtomicU64::new(0));
        let (inside, uses) = (fs.clone(), used.clone());
        disk.set(move |op| {
            if matches!(op, Op::Read(_)) {
                return;
            }
            inside.shrink(usize::MAX);
            let (block, len) = inside.alloc_data(0, 3, false).unwrap();
            inside.shrink(usize::MAX);
            inside.release_data(block, len);
            inside.shrink(usize::MAX);
            uses.fetch_add(1, SeqCst);
        });
        fs.sync().unwrap();
        disk.unset();
        assert!(used.load(SeqCst) > 3);
        fs.shrink(usize::MAX);
        add(&fs, 50_000 + round * 100, 10);
        assert!(!fs.is_read_only());
    }
    fs.sync().unwrap();
    verify(&fs, runs.len() as u64);
    verify(&mount(fs.dev()), runs.len() as u64);
}

#[test]
fn what_is_stopped_during_a_commit_does_not_reach_the_device() {
    let operations = |stop_at: Option<u64>| {
        let disk = Hooked::formatted(64);
        let fs = mount(&disk.device());
        add(&fs, 0, 300);
        fs.sync().unwrap();
        add(&fs, 1000, 300);
        let seen = StdArc::new(Mutex::new(Vec::new()));
        let (inside, ops) = (fs.clone(), seen.clone());
        disk.set(move |op| {
            let mut ops = ops.lock().unwrap();
            if stop_at == Some(ops.len() as u64) && !matches!(op, Op::Fua(_)) {
                inside.abort(Error::Shutdown);
            }
            ops.push(op);
        });
        let mut done = Ok(());
        let said = log_of(|| done = fs.sync());
        disk.unset();
        let seen = seen.lock().unwrap().clone();
        (seen, done, said, disk)
    };
    let (all, done, _, _) = operations(None);
    done.unwrap();
    assert!(matches!(all.last(), Some(Op::Fua(_))) && all.len() > 4, "{all:?}");
    for n in 0..all.len() as u64 - 1 {
        let (seen, done, said, disk) = operations(Some(n));
        assert_eq!(done, Err(Error::Shutdown), "stopped at operation {n}");
        assert!(
            !seen.iter().any(|op| matches!(op, Op::Fua(_))),
            "stopped at operation {n}"
        );
        assert!(
            said.iter()
                .all(|text| !text.contains("error") && !text.contains("could not")),
            "{said:?}"
        );
        assert_eq!(items(&mount(&disk.device()).view().unwrap()).len(), 300);
    }
}

#[test]
fn what_an_operation_leaves_that_stopped_the_filesystem_is_not_sealed() {
    for _ in 0..20 {
        let disk = Hooked::formatted(64);
        let fs = mount(&disk.device());
        add(&fs, 0, 30);
        let writes = StdArc::new(AtomicU64::new(0));
        let count = writes.clone();
        disk.set(move |_| {
            count.fetch_add(1, SeqCst);
        });
        let tx = fs.begin(Reserve::items(1)).unwrap();
        let other: Arc<Fs> = fs.clone();
        let commit = std::thread::spawn(move || other.sync());
        // The commit has begun, and waits for the operation.
        while fs.commit.try_lock().is_some() {
            std::thread::yield_now();
        }
        (0..1000).for_each(|_| std::thread::yield_now());
        fs.abort(Error::corrupt("an operation could not be undone", u64::MAX, 0));
        drop(tx);
        assert!(matches!(commit.join().unwrap(), Err(Error::Corrupt(_))));
        assert_eq!(writes.load(SeqCst), 0);
    }
}

#[test]
fn a_commit_that_gets_no_memory_can_be_tried_again_and_unmounting_waits_for_some() {
    let disk = Hooked::formatted(64);
    let fs = mount(&disk.device());
    add(&fs, 0, 300);
    let mut tries = 0;
    let said = log_of(|| loop {
        fail_allocations_after(Some(tries));
        let done = fs.sync();
        fail_allocations_after(None);
        assert!(!fs.is_read_only() && fs.abort_reason().is_none());
        if done == Ok(()) {
            break;
        }
        assert_eq!(done, Err(Error::NoMemory));
        tries += 1;
    });
    assert!(tries > 3, "{tries}");
    assert!(said.is_empty(), "{said:?}");
    assert_eq!(items(&mount(&disk.device()).view().unwrap()).len(), 300);
    add(&fs, 1000, 300);
    vexfs_host::mem::fail_some_allocations(0, 5);
    fs.unmount().unwrap();
    assert_eq!(failed_allocations(), 5);
    assert_eq!(items(&mount(&disk.device()).view().unwrap()).len(), 600);
}

#[test]
fn freeing_in_many_groups_commits_before_all_their_bitmaps_have_to_stay_in_memory() {
    let ram = ram(100 * 128);
    let dev = device(&ram);
    format(&dev, 4096);
    let options = MountOptions {
        dirty_nodes: 64,
        ..MountOptions::default()
    };
    let fs = Fs::mount(dev, options).unwrap();
    let groups = fs.geometry().group_count;
    assert!(groups > 90);
    let mut runs = Vec::new();
    for group in 0..groups {
        let goal = fs.geometry().group_start(group) + 5000;
        let (block, _) = fs.alloc_data(goal, 1, false).unwrap();
        let mut tx = fs.begin(Reserve::items(1)).unwrap();
        tx.adopt_extent(block, 1, None).unwrap();
        runs.push((block, tx.commit()));
        assert!(fs.space.lock().dirty_groups() <= 64);
    }
    fs.sync().unwrap();
    fs.shrink(usize::MAX);
    for run in runs {
        free_one(&fs, run);
        assert!(fs.space.lock().dirty_groups() <= 64);
    }
    verify(&fs, 0);
}
