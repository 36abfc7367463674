// SPDX-License-Identifier: Apache-2.0
//! Changes, commits, reclaim, eviction and searches at the same time, under many schedules.

use shuttle::thread;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::Arc as StdArc;
use std::sync::OnceLock;
use vexfs_concurrency::explore;
use vexfs_concurrency::SlowDisk;
use vexfs_core::check;
use vexfs_core::dir::RenameFlags;
use vexfs_core::inode::NewInode;
use vexfs_core::inode::Time;
use vexfs_core::mkfs::FormatOptions;
use vexfs_core::mount::MountOptions;
use vexfs_core::Fs;
use vexfs_engine::Batch;
use vexfs_engine::Collections;
use vexfs_engine::InsertMode;
use vexfs_engine::Params;
use vexfs_engine::SearchRequest;
use vexfs_engine::Tuning;
use vexfs_host::device::Device;
use vexfs_host::device::RamBackend;
use vexfs_host::sync::Arc;
use vexfs_uapi as uapi;

const ROOT: u64 = 2;
const NOW: Time = Time { sec: 1, nsec: 0 };
const DIR: u32 = 0o040755;
const FILE: u32 = 0o100644;
/// Bytes of the file that nobody changes.
const KEPT: usize = 60_000;

fn new(mode: u32) -> NewInode<'static> {
    NewInode {
        mode,
        uid: 0,
        gid: 0,
        rdev: 0,
        target: None,
        now: NOW,
        xattrs: &[],
    }
}

fn mount(device: Device) -> Arc<Fs> {
    // So small that nodes are evicted and operations have to commit.
    let options = MountOptions {
        cache_nodes: 64,
        dirty_nodes: 64,
        ..MountOptions::default()
    };
    Fs::mount(device, options).expect("mounts")
}

/// The device that each schedule starts with a copy of.
fn image() -> &'static RamBackend {
    static IMAGE: OnceLock<RamBackend> = OnceLock::new();
    // The first to come here is alone: no test has started a thread yet.
    IMAGE.get_or_init(|| {
        // Several groups: data and nodes lie in different ones, so that there are groups in which nothing was freed.
        let disk = SlowDisk::copy(&RamBackend::new(512 << 20));
        Fs::format(&disk.device(), &FormatOptions::default()).expect("formats");
        let fs = mount(disk.device());
        for name in [b"a", b"b", b"c"] {
            fs.create(ROOT, name, &new(DIR)).expect("creates");
        }
        let kept = fs.create(ROOT, b"kept", &new(FILE)).expect("creates").ino;
        fs.write(kept, 0, &[7; KEPT], NOW).expect("writes");
        fs.unmount().expect("unmounts");
        disk.0.duplicate()
    })
}

fn dir(fs: &Fs, name: &[u8]) -> u64 {
    fs.lookup(ROOT, name).expect("looks up").expect("is there").0
}

/// That a power cut now leaves a sound filesystem, orphans and all.
fn check(disk: &SlowDisk, when: &str) {
    let report = check::check(&disk.cut()).expect("can be checked");
    assert!(report.is_clean(), "{when}: {report:?}");
}

/// Makes, fills, renames and deletes files.
fn change(fs: &Fs, dir: u64, rounds: u64) {
    for n in 0..rounds {
        let name = [b'f', b'0' + n as u8];
        let ino = fs.create(dir, &name, &new(FILE)).expect("creates").ino;
        fs.write(ino, n * 5000, &[n as u8; 9000], NOW).expect("writes");
        if n % 2 == 1 {
            let before = [b'f', b'0' + n as u8 - 1];
            let done = fs
                .rename(dir, &name, dir, &before, RenameFlags::NONE, NOW)
                .expect("renames");
            fs.evict(done.replaced.expect("there was one").ino).expect("deletes");
        }
    }
}

/// Runs `work` in a thread again and again, until `writers` threads have said that they are done.
fn meanwhile(writers: &StdArc<AtomicU64>, work: impl Fn() + Send + 'static) -> thread::JoinHandle<()> {
    let writers = writers.clone();
    thread::spawn(move || {
        while writers.load(SeqCst) > 0 {
            work();
            thread::yield_now();
        }
    })
}

#[test]
fn new_data_beside_commits_and_reclaim_meets_no_damage() {
    explore(600, || {
        let disk = SlowDisk::copy(image());
        let fs = mount(disk.device());
        let writers = StdArc::new(AtomicU64::new(1));
        let (other, done) = (fs.clone(), writers.clone());
        let writer = thread::spawn(move || {
            let dir = dir(&other, b"a");
            // Nothing is freed where the data goes: its bitmap is the same in memory and, soon, on the device.
            for n in 0..6 {
                let ino = other.create(dir, &[b'0' + n], &new(FILE)).expect("creates").ino;
                other.write(ino, 0, &[n; 9000], NOW).expect("writes");
            }
            done.fetch_sub(1, SeqCst);
        });
        let (commits, reclaims) = (fs.clone(), fs.clone());
        let others = [
            meanwhile(&writers, move || commits.sync().expect("commits")),
            meanwhile(&writers, move || _ = reclaims.shrink(usize::MAX)),
        ];
        writer.join().expect("no panic");
        for other in others {
            other.join().expect("no panic");
        }
        assert_eq!(fs.abort_reason(), None);
        fs.unmount().expect("unmounts");
        check(&disk, "at the end");
    });
}

#[test]
fn changes_beside_commits_and_reclaim_leave_a_sound_filesystem_at_every_moment() {
    explore(600, || {
        let disk = SlowDisk::copy(image());
        let fs = mount(disk.device());
        let mut threads = Vec::new();
        let writers = StdArc::new(AtomicU64::new(2));
        for name in [b"a", b"b"] {
            let (fs, done) = (fs.clone(), writers.clone());
            threads.push(thread::spawn(move || {
                change(&fs, dir(&fs, name), 4);
                done.fetch_sub(1, SeqCst);
            }));
        }
        let (commits, reclaims) = (fs.clone(), fs.clone());
        threads.push(meanwhile(&writers, move || commits.sync().expect("commits")));
        threads.push(meanwhile(&writers, move || _ = reclaims.shrink(usize::MAX)));
        let other = fs.clone();
        threads.push(thread::spawn(move || {
            let kept = dir(&other, b"kept");
            for _ in 0..3 {
                let mut bytes = vec![0; KEPT];
                assert_eq!(other.read(kept, 0, &mut bytes), Ok(KEPT));
                assert!(bytes.iter().all(|b| *b == 7));
            }
        }));
        let cut = disk.clone();
        threads.push(thread::spawn(move || (0..2).for_each(|_| check(&cut, "in the middle"))));
        for thread in threads {
            thread.join().expect("no panic");
        }
        assert_eq!(fs.abort_reason(), None);
        fs.unmount().expect("unmounts");
        check(&disk, "at the end");
        let after = mount(disk.cut());
        for name in [b"a", b"b"] {
            let mut names = 0;
            after
                .readdir(dir(&after, name), 0, &mut |_, _, _, _| {
                    names += 1;
                    true
                })
                .expect("lists");
            assert_eq!(names, 2);
        }
    });
}

/// Numbers so small that a few batches lead to segments, merges and indexes.
const TUNING: Tuning = Tuning {
    seal_rows: 8,
    seal_bytes: 1 << 20,
    tail_rows_max: 40,
    tail_bytes_max: 8 << 20,
    fan: 2,
    index_rows_min: 16,
};
const BATCH: u64 = 5;
const BATCHES: u64 = 5;

fn vector(id: u64) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&(id as f32).to_le_bytes());
    bytes
}

/// Searches for everything: each row of the first `floor` must be there, and what is there must be right.
fn search(all: &Collections, dir: u64, floor: u64) {
    let query = vector(0);
    let search = SearchRequest {
        queries: &query,
        k: 1000,
        exact: true,
        ..SearchRequest::default()
    };
    let found = all.get(dir).expect("opens").search(&search).expect("searches");
    let mut out = [0; 8];
    for (n, hit) in (0..).zip(found.hits.iter()) {
        assert_eq!(hit.row.id, n, "each row once, the nearest first");
        found.contents.vector(&hit.row, &mut out).expect("reads");
        assert_eq!(out, vector(n));
    }
    let count = found.hits.len() as u64;
    assert!(count >= floor && count % BATCH == 0, "{count} rows of at least {floor}");
}

#[test]
fn searches_beside_inserts_merges_commits_and_eviction_see_every_row_that_was_acknowledged() {
    explore(300, || {
        let disk = SlowDisk::copy(image());
        let fs = mount(disk.device());
        let all = Arc::new(Collections::tuned(fs.clone(), TUNING).expect("starts")).expect("shares");
        let dir = dir(&fs, b"c");
        let params = Params::new(
            2,
            uapi::VEXFS_ELEMENT_F32,
            uapi::VEXFS_METRIC_L2,
            uapi::VEXFS_INDEX_HNSW,
        );
        all.create(dir, &params.expect("is right")).expect("creates");
        let acknowledged = StdArc::new(AtomicU64::new(0));
        let mut threads = Vec::new();
        let (other, told) = (all.clone(), acknowledged.clone());
        threads.push(thread::spawn(move || {
            for batch in 0..BATCHES {
                let vectors: Vec<u8> = (0..BATCH).flat_map(|n| vector(batch * BATCH + n)).collect();
                let rows = Batch {
                    vectors: &vectors,
                    ..Batch::default()
                };
                let collection = other.get(dir).expect("opens");
                collection.insert(&rows, InsertMode::default()).expect("inserts");
                told.store((batch + 1) * BATCH, SeqCst);
            }
        }));
        let (other, told) = (all.clone(), acknowledged.clone());
        threads.push(thread::spawn(move || {
            for _ in 0..4 {
                search(&other, dir, told.load(SeqCst));
            }
        }));
        let other = all.clone();
        threads.push(thread::spawn(move || {
            for _ in 0..4 {
                other.get(dir).expect("opens").maintain(1, &|_, _| ()).expect("merges");
            }
        }));
        let (other, rows) = (fs.clone(), all.clone());
        threads.push(thread::spawn(move || {
            for _ in 0..4 {
                rows.shrink(u64::MAX);
                other.shrink(usize::MAX);
                thread::yield_now();
            }
        }));
        let (other, cut) = (fs.clone(), disk.clone());
        threads.push(thread::spawn(move || {
            for _ in 0..2 {
                other.sync().expect("commits");
                check(&cut, "in the middle");
            }
        }));
        for thread in threads {
            thread.join().expect("no panic");
        }
        assert_eq!(fs.abort_reason(), None);
        search(&all, dir, BATCH * BATCHES);
        drop(all);
        fs.unmount().expect("unmounts");
        check(&disk, "at the end");
        let after = mount(disk.cut());
        let all = Collections::tuned(after, TUNING).expect("starts");
        search(&all, dir, BATCH * BATCHES);
    });
}
