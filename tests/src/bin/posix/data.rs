// SPDX-License-Identifier: Apache-2.0
//! File contents through read, write and truncate: sizes, holes, appends, mapping queries.

use crate::fails;
use crate::sys;
use crate::tests;
use crate::Env;
use crate::Test;
use libc::*;
use nix::sys::signal::SigSet;
use nix::sys::signal::Signal;
use std::fs;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;

pub const TESTS: &[Test] = tests![
    what_is_written_is_read_at_every_size,
    overwriting_changes_only_what_was_written,
    append_goes_to_the_end_whatever_the_position,
    threads_appending_lose_nothing,
    threads_writing_apart_do_not_disturb_each_other,
    a_hole_reads_as_zeros_and_takes_no_space,
    shrinking_and_growing_leaves_zeros,
    growing_a_small_file_across_the_inline_limit_keeps_it,
    a_write_beyond_the_end_leaves_a_hole_of_zeros,
    seek_data_and_seek_hole_find_the_edges,
    fiemap_covers_the_data,
    fallocate_and_punch_work_or_say_unsupported,
    fallocate_beyond_a_limit_is_efbig,
    vectored_and_copied_data_arrive,
    writes_beyond_the_largest_file_are_efbig,
    descriptors_guard_their_access_mode,
    every_kind_of_sync_succeeds,
    data_survives_dropping_the_caches,
];

/// Bytes that differ everywhere and from file to file.
pub fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..len)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x >> 32) as u8
        })
        .collect()
}

const SIZES: &[usize] = &[
    0, 1, 2, 511, 512, 513, 2047, 2048, 2049, 3000, 4095, 4096, 4097, 6000, 8191, 8192, 16_384, 65_535, 65_537,
    131_072, 1_000_000, 1_048_577, 4_194_304,
];

fn what_is_written_is_read_at_every_size(e: &Env) {
    for (i, size) in SIZES.iter().enumerate() {
        let data = pattern(i as u64, *size);
        fs::write(e.p(&format!("f{i}")), &data).unwrap();
    }
    for pass in 0..2 {
        for (i, size) in SIZES.iter().enumerate() {
            let path = e.p(&format!("f{i}"));
            assert!(
                fs::read(&path).unwrap() == pattern(i as u64, *size),
                "size {size}, pass {pass}"
            );
            let m = fs::metadata(&path).unwrap();
            assert_eq!(m.len(), *size as u64);
            if *size >= 4096 {
                assert!(
                    m.blocks() * 512 >= *size as u64 || pass == 0,
                    "{} sectors for {size} bytes",
                    m.blocks()
                );
            }
            fs::File::open(&path).unwrap().sync_all().unwrap();
        }
    }
}

fn overwriting_changes_only_what_was_written(e: &Env) {
    let mut model = pattern(1, 300_000);
    let f = sys::rw(e.p("f"));
    f.write_all_at(&model, 0).unwrap();
    for (i, (at, len)) in [
        (0usize, 1usize),
        (4095, 2),
        (8192, 4096),
        (100, 9000),
        (65_530, 70_000),
        (299_999, 1),
    ]
    .iter()
    .enumerate()
    {
        let data = pattern(100 + i as u64, *len);
        f.write_all_at(&data, *at as u64).unwrap();
        model[*at..at + len].copy_from_slice(&data);
        if i % 2 == 0 {
            f.sync_all().unwrap();
        }
        assert!(fs::read(e.p("f")).unwrap() == model, "after write {i}");
    }
}

fn append_goes_to_the_end_whatever_the_position(e: &Env) {
    let mut a = sys::open(e.p("f"), O_RDWR | O_CREAT | O_APPEND, 0o644).unwrap();
    let mut b = sys::open(e.p("f"), O_WRONLY | O_APPEND, 0).unwrap();
    for i in 0..100 {
        a.seek(SeekFrom::Start(0)).unwrap();
        a.write_all(format!("a{i:03}").as_bytes()).unwrap();
        b.write_all(format!("b{i:03}").as_bytes()).unwrap();
    }
    let want: String = (0..100).map(|i| format!("a{i:03}b{i:03}")).collect();
    assert_eq!(fs::read_to_string(e.p("f")).unwrap(), want);
}

fn threads_appending_lose_nothing(e: &Env) {
    std::thread::scope(|s| {
        for t in 0..4u8 {
            s.spawn(move || {
                let mut f = sys::open(e.p("f"), O_WRONLY | O_CREAT | O_APPEND, 0o644).unwrap();
                for i in 0..250u32 {
                    let mut record = [t; 97];
                    record[1..5].copy_from_slice(&i.to_le_bytes());
                    f.write_all(&record).unwrap();
                }
            });
        }
    });
    let data = fs::read(e.p("f")).unwrap();
    assert_eq!(data.len(), 4 * 250 * 97);
    let mut next = [0u32; 4];
    for record in data.chunks(97) {
        let t = record[0] as usize;
        let i = u32::from_le_bytes(record[1..5].try_into().unwrap());
        assert_eq!(i, next[t], "records of one thread stay in order");
        next[t] += 1;
    }
}

fn threads_writing_apart_do_not_disturb_each_other(e: &Env) {
    let f = sys::rw(e.p("f"));
    std::thread::scope(|s| {
        for t in 0..4u64 {
            let f = &f;
            s.spawn(move || {
                for i in 0..64u64 {
                    let at = (i * 4 + t) * 5000;
                    f.write_all_at(&pattern(at + 1, 5000), at).unwrap();
                    if i % 16 == 0 {
                        f.sync_data().unwrap();
                    }
                }
            });
        }
    });
    let data = fs::read(e.p("f")).unwrap();
    assert_eq!(data.len(), 256 * 5000);
    for (i, piece) in data.chunks(5000).enumerate() {
        assert!(piece == pattern(i as u64 * 5000 + 1, 5000), "piece {i}");
    }
}

fn a_hole_reads_as_zeros_and_takes_no_space(e: &Env) {
    let f = sys::rw(e.p("f"));
    f.write_all_at(b"end", 1 << 30).unwrap();
    f.sync_all().unwrap();
    let m = f.metadata().unwrap();
    assert_eq!(m.len(), (1 << 30) + 3);
    assert!(m.blocks() <= 256, "{} sectors", m.blocks());
    let mut buf = vec![1; 100_000];
    for at in [0u64, 12_345, 1 << 29, (1 << 30) - 100_000] {
        f.read_exact_at(&mut buf, at).unwrap();
        assert!(buf.iter().all(|b| *b == 0));
    }
    let mut tail = [0; 3];
    f.read_exact_at(&mut tail, 1 << 30).unwrap();
    assert_eq!(&tail, b"end");
    f.set_len(1 << 40).unwrap();
    assert_eq!(f.metadata().unwrap().len(), 1 << 40);
    assert_eq!(f.read_at(&mut buf, 1 << 39).unwrap(), buf.len());
}

fn shrinking_and_growing_leaves_zeros(e: &Env) {
    for (size, cut, synced) in [
        (100_000usize, 50_001usize, true),
        (100_000, 50_001, false),
        (100_000, 4096, true),
        (5000, 4500, true),
        (5000, 100, false),
        (2000, 1000, true),
        (2000, 1, false),
        (3000, 2048, true),
    ] {
        let f = sys::rw(e.p("f"));
        f.set_len(0).unwrap();
        f.write_all_at(&vec![0xAA; size], 0).unwrap();
        if synced {
            f.sync_all().unwrap();
        }
        f.set_len(cut as u64).unwrap();
        f.set_len(size as u64 * 2).unwrap();
        let data = fs::read(e.p("f")).unwrap();
        assert_eq!(data.len(), size * 2);
        assert!(data[..cut].iter().all(|b| *b == 0xAA), "{size} cut to {cut}: kept part");
        assert!(
            data[cut..].iter().all(|b| *b == 0),
            "{size} cut to {cut}: old bytes came back"
        );
    }
}

fn growing_a_small_file_across_the_inline_limit_keeps_it(e: &Env) {
    for step in [1usize, 7, 100, 1000] {
        let f = sys::rw(e.p(&format!("f{step}")));
        let all = pattern(step as u64, 6000);
        let (mut at, mut turn) = (1500, 0);
        f.write_all_at(&all[..at], 0).unwrap();
        while at < 6000 {
            let n = step.min(6000 - at);
            f.write_all_at(&all[at..at + n], at as u64).unwrap();
            at += n;
            turn += 1;
            if turn % 97 == 0 || step >= 100 {
                f.sync_all().unwrap();
                assert!(
                    fs::read(e.p(&format!("f{step}"))).unwrap() == all[..at],
                    "step {step} at {at}"
                );
            }
        }
        for cut in [4097u64, 4096, 2049, 2048, 2047, 10] {
            f.set_len(cut).unwrap();
            f.sync_all().unwrap();
            assert!(
                fs::read(e.p(&format!("f{step}"))).unwrap() == all[..cut as usize],
                "cut to {cut}"
            );
        }
    }
}

fn a_write_beyond_the_end_leaves_a_hole_of_zeros(e: &Env) {
    for (first, at) in [
        (10usize, 1000u64),
        (10, 3000),
        (10, 5000),
        (3000, 10_000),
        (5000, 100_000),
    ] {
        let f = sys::rw(e.p(&format!("f{first}-{at}")));
        f.write_all_at(&vec![1; first], 0).unwrap();
        f.write_all_at(b"later", at).unwrap();
        f.sync_all().unwrap();
        let data = fs::read(e.p(&format!("f{first}-{at}"))).unwrap();
        assert_eq!(data.len() as u64, at + 5);
        assert!(data[..first].iter().all(|b| *b == 1));
        assert!(data[first..at as usize].iter().all(|b| *b == 0), "{first} then {at}");
        assert_eq!(&data[at as usize..], b"later");
    }
}

fn seek_data_and_seek_hole_find_the_edges(e: &Env) {
    let f = sys::rw(e.p("f"));
    const M: i64 = 1 << 20;
    f.write_all_at(&vec![1; 65_536], M as u64).unwrap();
    f.write_all_at(&vec![1; 65_536], 4 * M as u64).unwrap();
    f.set_len(8 * M as u64).unwrap();
    for synced in [false, true] {
        if synced {
            f.sync_all().unwrap();
        }
        assert_eq!(sys::lseek(&f, 0, SEEK_DATA).unwrap(), M, "synced {synced}");
        assert_eq!(sys::lseek(&f, M + 5, SEEK_DATA).unwrap(), M + 5);
        assert_eq!(sys::lseek(&f, 0, SEEK_HOLE).unwrap(), 0);
        assert_eq!(sys::lseek(&f, M, SEEK_HOLE).unwrap(), M + 65_536);
        assert_eq!(sys::lseek(&f, M + 65_536, SEEK_DATA).unwrap(), 4 * M);
        assert_eq!(sys::lseek(&f, 4 * M + 10, SEEK_HOLE).unwrap(), 4 * M + 65_536);
        fails(sys::lseek(&f, 5 * M, SEEK_DATA), ENXIO);
        fails(sys::lseek(&f, 8 * M, SEEK_HOLE), ENXIO);
        fails(sys::lseek(&f, 8 * M, SEEK_DATA), ENXIO);
    }
    let g = sys::rw(e.p("small"));
    g.write_all_at(b"small", 0).unwrap();
    g.sync_all().unwrap();
    assert_eq!(sys::lseek(&g, 2, SEEK_DATA).unwrap(), 2);
    assert_eq!(sys::lseek(&g, 2, SEEK_HOLE).unwrap(), 5);
    fails(sys::lseek(&g, 5, SEEK_DATA), ENXIO);
    fails(sys::lseek(&f, -1, SEEK_DATA), ENXIO);
}

fn fiemap_covers_the_data(e: &Env) {
    let f = sys::rw(e.p("f"));
    f.write_all_at(&vec![1; 262_144], 0).unwrap();
    f.write_all_at(&vec![1; 8192], 1 << 20).unwrap();
    f.sync_all().unwrap();
    let extents = sys::fiemap(&f, sys::FIEMAP_FLAG_SYNC).unwrap();
    let covered: u64 = extents.iter().map(|x| x.length).sum();
    assert_eq!(covered, 262_144 + 8192, "{extents:?}");
    assert!(extents.windows(2).all(|w| w[0].logical + w[0].length <= w[1].logical));
    let last = extents.last().unwrap();
    assert_eq!(last.logical, 1 << 20);
    assert_eq!(last.flags & sys::FIEMAP_EXTENT_LAST, sys::FIEMAP_EXTENT_LAST);
    assert!(extents[..extents.len() - 1]
        .iter()
        .all(|x| x.flags & sys::FIEMAP_EXTENT_LAST == 0));
    assert!(extents
        .iter()
        .all(|x| x.physical != 0 && x.flags & sys::FIEMAP_EXTENT_DELALLOC == 0));
    // No two files share a block.
    let g = sys::rw(e.p("g"));
    g.write_all_at(&vec![2; 262_144], 0).unwrap();
    let others = sys::fiemap(&g, sys::FIEMAP_FLAG_SYNC).unwrap();
    for a in &extents {
        for b in &others {
            assert!(
                a.physical + a.length <= b.physical || b.physical + b.length <= a.physical,
                "{a:?} {b:?}"
            );
        }
    }
    let empty = sys::rw(e.p("empty"));
    assert!(sys::fiemap(&empty, 0).unwrap().is_empty());
    if e.is_vexfs() {
        let small = sys::rw(e.p("small"));
        small.write_all_at(b"inline", 0).unwrap();
        let x = sys::fiemap(&small, sys::FIEMAP_FLAG_SYNC).unwrap();
        assert_eq!(x.len(), 1);
        assert_ne!(x[0].flags & sys::FIEMAP_EXTENT_DATA_INLINE, 0);
    }
}

fn fallocate_and_punch_work_or_say_unsupported(e: &Env) {
    let f = sys::rw(e.p("f"));
    f.write_all_at(&vec![3; 100_000], 0).unwrap();
    match sys::fallocate(&f, 0, 0, 200_000) {
        Ok(()) => {
            let data = fs::read(e.p("f")).unwrap();
            assert_eq!(data.len(), 200_000);
            assert!(data[..100_000].iter().all(|b| *b == 3) && data[100_000..].iter().all(|b| *b == 0));
            f.set_len(100_000).unwrap();
        }
        Err(err) => assert_eq!(err.raw_os_error(), Some(EOPNOTSUPP)),
    }
    match sys::fallocate(&f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 10_000, 50_000) {
        Ok(()) => {
            for synced in [false, true] {
                let data = fs::read(e.p("f")).unwrap();
                assert_eq!(data.len(), 100_000);
                for (i, b) in data.iter().enumerate() {
                    assert_eq!(*b == 0, (10_000..60_000).contains(&i), "byte {i}");
                }
                if !synced {
                    f.sync_all().unwrap();
                }
            }
        }
        Err(err) => assert_eq!(err.raw_os_error(), Some(EOPNOTSUPP)),
    }
    fails(sys::fallocate(&f, 0, 0, 0), EINVAL);
    fails(sys::fallocate(&f, 0, -1, 10), EINVAL);
}

fn fallocate_beyond_a_limit_is_efbig(e: &Env) {
    let f = sys::rw(e.p("f"));
    let mut before = rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the limits live for the calls.
    let set = |limit: &rlimit| sys::cvt(unsafe { setrlimit(RLIMIT_FSIZE, limit) }).unwrap();
    // SAFETY: as above.
    sys::cvt(unsafe { getrlimit(RLIMIT_FSIZE, &mut before) }).unwrap();
    let signals = SigSet::from(Signal::SIGXFSZ);
    signals.thread_block().unwrap();
    set(&rlimit {
        rlim_cur: 1000,
        ..before
    });
    let inside = sys::fallocate(&f, 0, 0, 1000);
    let beyond = sys::fallocate(&f, 0, 999, 2);
    let now = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the set and the time live for the call, and no information about the signal is asked for.
    let signal = unsafe { sigtimedwait(signals.as_ref(), std::ptr::null_mut(), &now) };
    set(&before);
    signals.thread_unblock().unwrap();
    if let Err(err) = inside {
        assert_eq!(err.raw_os_error(), Some(EOPNOTSUPP));
    }
    fails(beyond, EFBIG);
    assert_eq!(signal, SIGXFSZ);
    fails(sys::fallocate(&f, 0, i64::MAX - 1, 1), EFBIG);
}

fn vectored_and_copied_data_arrive(e: &Env) {
    let mut f = sys::rw(e.p("f"));
    let parts = [pattern(1, 3000), pattern(2, 1), pattern(3, 9000)];
    let slices: Vec<_> = parts.iter().map(|p| std::io::IoSlice::new(p)).collect();
    let n = f.write_vectored(&slices).unwrap();
    let all = parts.concat();
    assert_eq!(n, all.len());
    let mut g = sys::rw(e.p("g"));
    f.seek(SeekFrom::Start(0)).unwrap();
    assert_eq!(std::io::copy(&mut f, &mut g).unwrap(), all.len() as u64);
    assert!(fs::read(e.p("g")).unwrap() == all);
    // copy_file_range inside one file, from the middle to beyond the end.
    let (mut from, mut to) = (1000i64, 50_000i64);
    let fd = g.as_raw_fd();
    // SAFETY: the offsets are valid for the call.
    let n = sys::cvt(unsafe { copy_file_range(fd, &mut from, fd, &mut to, 5000, 0) } as i64).unwrap() as usize;
    let data = fs::read(e.p("g")).unwrap();
    assert!(data[50_000..50_000 + n] == all[1000..1000 + n]);
    assert!(data[all.len()..50_000].iter().all(|b| *b == 0));
    // sendfile into a pipe and back.
    let (rx, tx) = nix::unistd::pipe().unwrap();
    let mut rx = fs::File::from(rx);
    let mut off = 0i64;
    // SAFETY: the offset is valid for the call.
    let n = sys::cvt(unsafe { sendfile(tx.as_raw_fd(), f.as_raw_fd(), &mut off, 4096) } as i64).unwrap();
    drop(tx);
    let mut got = Vec::new();
    rx.read_to_end(&mut got).unwrap();
    assert!(got == all[..n as usize]);
}

fn writes_beyond_the_largest_file_are_efbig(e: &Env) {
    let f = sys::rw(e.p("f"));
    fails(f.write_at(b"x", i64::MAX as u64 - 4096), EFBIG);
    f.write_all_at(b"x", 1 << 35).unwrap();
    assert_eq!(f.metadata().unwrap().len(), (1 << 35) + 1);
    fails(f.read_at(&mut [0], u64::MAX), EINVAL);
}

fn descriptors_guard_their_access_mode(e: &Env) {
    fs::write(e.p("f"), b"x").unwrap();
    let r = sys::open(e.p("f"), O_RDONLY, 0).unwrap();
    let w = sys::open(e.p("f"), O_WRONLY, 0).unwrap();
    fails(r.write_at(b"y", 0), EBADF);
    fails(w.read_at(&mut [0], 0), EBADF);
    fails(r.set_len(0), EINVAL);
    assert!(sys::Mapping::new(&r, 4096, MAP_SHARED).is_err());
}

fn every_kind_of_sync_succeeds(e: &Env) {
    let f = sys::rw(e.p("f"));
    for i in 0..20u64 {
        f.write_all_at(&pattern(i, 10_000), i * 7000).unwrap();
        match i % 4 {
            0 => f.sync_all().unwrap(),
            1 => f.sync_data().unwrap(),
            2 => sys::syncfs(&f).unwrap(),
            // SAFETY: takes no pointers.
            _ => drop(sys::cvt(unsafe { sync_file_range(f.as_raw_fd(), 0, 0, 7) }).unwrap()),
        }
    }
    let o = sys::open(e.p("o"), O_RDWR | O_CREAT | O_SYNC, 0o644).unwrap();
    let d = sys::open(e.p("d"), O_RDWR | O_CREAT | O_DSYNC, 0o644).unwrap();
    for i in 0..10u64 {
        o.write_all_at(&pattern(i, 3000), i * 3000).unwrap();
        d.write_all_at(&pattern(i, 3000), i * 3000).unwrap();
    }
    assert!(fs::read(e.p("o")).unwrap() == fs::read(e.p("d")).unwrap());
}

fn data_survives_dropping_the_caches(e: &Env) {
    for i in 0..60usize {
        fs::write(e.p(&format!("f{i}")), pattern(i as u64, i * i * 50)).unwrap();
    }
    let dir = sys::open(&e.dir, O_RDONLY, 0).unwrap();
    sys::syncfs(&dir).unwrap();
    fs::write("/proc/sys/vm/drop_caches", "3").unwrap();
    for i in 0..60usize {
        assert!(
            fs::read(e.p(&format!("f{i}"))).unwrap() == pattern(i as u64, i * i * 50),
            "file {i}"
        );
    }
    assert_eq!(fs::metadata(e.p("f59")).unwrap().nlink(), 1);
}
