// SPDX-License-Identifier: Apache-2.0
//! Shared mappings and direct I/O, and that all ways to a file's bytes see each other.

use crate::data::pattern;
use crate::fails;
use crate::sys;
use crate::sys::Aligned;
use crate::sys::Mapping;
use crate::tests;
use crate::Env;
use crate::Test;
use libc::*;
use std::fs;
use std::os::unix::fs::FileExt;

pub const TESTS: &[Test] = tests![
    a_shared_mapping_and_read_see_each_other,
    a_mapping_of_a_hole_allocates_what_is_written,
    a_private_mapping_changes_nothing,
    bytes_behind_the_end_of_a_mapping_do_not_reach_the_file,
    touching_a_mapping_beyond_the_end_is_sigbus,
    a_mapping_follows_truncation,
    two_mappings_of_one_file_are_one,
    msync_and_remapping_keep_the_data,
    direct_writes_are_seen_by_buffered_reads,
    buffered_writes_are_seen_by_direct_reads,
    mapped_writes_are_seen_by_direct_reads,
    direct_reads_of_holes_and_ends_are_right,
    direct_io_of_odd_sizes_is_right_or_einval,
    direct_writes_extend_and_append,
    direct_and_inline_meet,
    threads_mixing_direct_and_buffered_keep_their_own_ranges,
    random_operations_agree_with_memory,
    a_program_runs_from_the_filesystem,
];

fn a_shared_mapping_and_read_see_each_other(e: &Env) {
    for size in [100usize, 2000, 4096, 100_000] {
        let f = sys::rw(e.p(&format!("f{size}")));
        f.write_all_at(&pattern(1, size), 0).unwrap();
        let m = Mapping::shared(&f, size);
        assert!(m.read(0, size) == pattern(1, size));
        m.write(size / 2, b"mapped");
        let mut buf = [0; 6];
        f.read_exact_at(&mut buf, size as u64 / 2).unwrap();
        assert_eq!(&buf, b"mapped");
        f.write_all_at(b"written", 3).unwrap();
        assert_eq!(m.read(3, 7), b"written");
        f.sync_all().unwrap();
        m.write(20, b"after sync");
        drop(m);
        assert_eq!(&fs::read(e.p(&format!("f{size}"))).unwrap()[20..30], b"after sync");
    }
}

fn a_mapping_of_a_hole_allocates_what_is_written(e: &Env) {
    let f = sys::rw(e.p("f"));
    f.set_len(1 << 20).unwrap();
    let m = Mapping::shared(&f, 1 << 20);
    assert_eq!(m.read(500_000, 10), [0; 10]);
    m.write(600_000, b"in the hole");
    m.sync().unwrap();
    drop(m);
    assert_eq!(&fs::read(e.p("f")).unwrap()[600_000..600_011], b"in the hole");
    assert_eq!(
        sys::fiemap(&f, sys::FIEMAP_FLAG_SYNC)
            .unwrap()
            .iter()
            .map(|x| x.length)
            .sum::<u64>(),
        4096
    );
}

fn a_private_mapping_changes_nothing(e: &Env) {
    fs::write(e.p("f"), vec![1; 10_000]).unwrap();
    let f = sys::rw(e.p("f"));
    let m = Mapping::new(&f, 10_000, MAP_PRIVATE).unwrap();
    m.write(10, &[2; 5000]);
    assert!(fs::read(e.p("f")).unwrap().iter().all(|b| *b == 1));
    assert_eq!(m.read(10, 2), [2, 2]);
}

fn bytes_behind_the_end_of_a_mapping_do_not_reach_the_file(e: &Env) {
    for size in [100usize, 5000] {
        let f = sys::rw(e.p(&format!("f{size}")));
        f.write_all_at(&vec![1; size], 0).unwrap();
        let m = Mapping::shared(&f, 8192);
        let end = size.next_multiple_of(4096);
        assert!(
            m.read(size, end - size).iter().all(|b| *b == 0),
            "bytes behind the end show"
        );
        m.write(size, &vec![0xEE; end - size]);
        m.sync().unwrap();
        drop(m);
        f.set_len(size as u64 + 50).unwrap();
        fs::write("/proc/sys/vm/drop_caches", "1").unwrap();
        let data = fs::read(e.p(&format!("f{size}"))).unwrap();
        assert!(
            data[size..].iter().all(|b| *b == 0),
            "bytes written behind the end came back"
        );
    }
}

fn touching_a_mapping_beyond_the_end_is_sigbus(e: &Env) {
    let f = sys::rw(e.p("f"));
    f.write_all_at(&[1; 100], 0).unwrap();
    let m = Mapping::shared(&f, 3 * 4096);
    let status = sys::in_child(|| {
        std::hint::black_box(m.read(2 * 4096, 1));
    });
    assert!(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS, "status {status:#x}");
}

fn a_mapping_follows_truncation(e: &Env) {
    let f = sys::rw(e.p("f"));
    f.write_all_at(&vec![1; 20_000], 0).unwrap();
    let m = Mapping::shared(&f, 20_000);
    m.write(15_000, &[9; 100]);
    f.set_len(6000).unwrap();
    f.set_len(20_000).unwrap();
    assert!(m.read(6000, 14_000).iter().all(|b| *b == 0));
    assert!(m.read(0, 6000).iter().all(|b| *b == 1));
    m.write(19_000, &[7; 10]);
    assert_eq!(&fs::read(e.p("f")).unwrap()[19_000..19_010], [7; 10]);
}

fn two_mappings_of_one_file_are_one(e: &Env) {
    fs::write(e.p("a"), vec![0; 8192]).unwrap();
    fs::hard_link(e.p("a"), e.p("b")).unwrap();
    let a = Mapping::shared(&sys::rw(e.p("a")), 8192);
    let b = Mapping::shared(&sys::rw(e.p("b")), 8192);
    a.write(5000, b"here");
    assert_eq!(b.read(5000, 4), b"here");
}

fn msync_and_remapping_keep_the_data(e: &Env) {
    let size = 600_000;
    let f = sys::rw(e.p("f"));
    f.set_len(size as u64).unwrap();
    for round in 0..4u64 {
        let m = Mapping::shared(&f, size);
        for i in (0..size - 8).step_by(30_011) {
            m.write(i, &(round * 1_000_000 + i as u64).to_le_bytes());
        }
        m.sync().unwrap();
        drop(m);
        fs::write("/proc/sys/vm/drop_caches", "1").unwrap();
        let data = fs::read(e.p("f")).unwrap();
        for i in (0..size - 8).step_by(30_011) {
            assert_eq!(data[i..i + 8], (round * 1_000_000 + i as u64).to_le_bytes());
        }
    }
}

fn direct_writes_are_seen_by_buffered_reads(e: &Env) {
    let d = sys::rw_direct(e.p("f"));
    let b = sys::rw(e.p("f"));
    let first = Aligned::of(&pattern(1, 65_536));
    d.write_all_at(&first, 0).unwrap();
    assert!(fs::read(e.p("f")).unwrap() == *first, "a new file");
    // The pages are cached now; a direct write has to invalidate them.
    let second = Aligned::of(&pattern(2, 8192));
    d.write_all_at(&second, 16_384).unwrap();
    let mut buf = vec![0; 8192];
    b.read_exact_at(&mut buf, 16_384).unwrap();
    assert!(buf == *second, "over cached pages");
    // Dirty pages under a direct write.
    b.write_all_at(&[9; 65_536], 0).unwrap();
    d.write_all_at(&second, 8192).unwrap();
    let data = fs::read(e.p("f")).unwrap();
    assert!(
        data[8192..16_384] == *second && data[..8192].iter().all(|x| *x == 9),
        "over dirty pages"
    );
    d.sync_all().unwrap();
}

fn buffered_writes_are_seen_by_direct_reads(e: &Env) {
    let b = sys::rw(e.p("f"));
    b.write_all_at(&pattern(3, 100_000), 0).unwrap();
    let d = sys::rw_direct(e.p("f"));
    let mut buf = Aligned::new(32_768);
    assert_eq!(d.read_at(&mut buf, 4096).unwrap(), 32_768);
    assert!(*buf == pattern(3, 100_000)[4096..4096 + 32_768]);
    b.write_all_at(b"fresh", 5000).unwrap();
    assert_eq!(d.read_at(&mut buf, 4096).unwrap(), 32_768);
    assert_eq!(&buf[904..909], b"fresh");
}

fn mapped_writes_are_seen_by_direct_reads(e: &Env) {
    let d = sys::rw_direct(e.p("f"));
    d.write_all_at(&Aligned::of(&pattern(4, 65_536)), 0).unwrap();
    let m = Mapping::shared(&d, 65_536);
    m.write(30_000, b"through the mapping");
    let mut buf = Aligned::new(65_536);
    assert_eq!(d.read_at(&mut buf, 0).unwrap(), 65_536);
    assert_eq!(&buf[30_000..30_019], b"through the mapping");
    d.write_all_at(&Aligned::of(&[5; 4096]), 28_672).unwrap();
    assert_eq!(m.read(30_000, 4), [5; 4]);
}

fn direct_reads_of_holes_and_ends_are_right(e: &Env) {
    let b = sys::rw(e.p("f"));
    b.write_all_at(&[1; 10_000], 65_536).unwrap();
    b.sync_all().unwrap();
    let d = sys::rw_direct(e.p("f"));
    let mut buf = Aligned::of(&[7; 65_536]);
    assert_eq!(d.read_at(&mut buf, 0).unwrap(), 65_536);
    assert!(buf.iter().all(|x| *x == 0), "a hole");
    assert_eq!(d.read_at(&mut buf, 65_536).unwrap(), 10_000, "up to the end");
    assert!(buf[..10_000].iter().all(|x| *x == 1));
    assert_eq!(d.read_at(&mut buf, 81_920).unwrap(), 0, "behind the end");
}

fn direct_io_of_odd_sizes_is_right_or_einval(e: &Env) {
    let d = sys::rw_direct(e.p("f"));
    d.write_all_at(&Aligned::of(&pattern(5, 65_536)), 0).unwrap();
    let data = Aligned::of(&pattern(6, 8192));
    let mut model = pattern(5, 65_536);
    for (at, len) in [
        (512usize, 512usize),
        (4096, 512),
        (100, 512),
        (4096, 100),
        (1024, 3072),
        (3, 7),
    ] {
        match d.write_at(&data[..len], at as u64) {
            Ok(n) => model[at..at + n].copy_from_slice(&data[..n]),
            Err(err) => assert_eq!(err.raw_os_error(), Some(EINVAL), "{at} {len}"),
        }
        assert!(fs::read(e.p("f")).unwrap() == model, "write of {len} at {at}");
    }
    for (at, len) in [(512usize, 512usize), (100, 512), (4096, 100)] {
        let mut buf = Aligned::new(len);
        match d.read_at(&mut buf, at as u64) {
            Ok(n) => assert!(buf[..n] == model[at..at + n]),
            Err(err) => assert_eq!(err.raw_os_error(), Some(EINVAL)),
        }
    }
    let misaligned = Aligned::new(8192);
    if let Err(err) = d.write_at(&misaligned[1..4097], 0) {
        assert_eq!(err.raw_os_error(), Some(EINVAL));
    }
}

fn direct_writes_extend_and_append(e: &Env) {
    let d = sys::rw_direct(e.p("f"));
    let mut want = Vec::new();
    for i in 0..40u64 {
        let data = Aligned::of(&pattern(i, 4096 * (1 + i as usize % 3)));
        d.write_all_at(&data, want.len() as u64).unwrap();
        want.extend_from_slice(&data);
        assert_eq!(d.metadata().unwrap().len(), want.len() as u64);
    }
    d.write_all_at(&Aligned::of(&[1; 4096]), 1 << 20).unwrap();
    want.resize(1 << 20, 0);
    want.extend_from_slice(&[1; 4096]);
    assert!(fs::read(e.p("f")).unwrap() == want);
    use std::io::Write;
    let mut a = sys::open(e.p("a"), O_WRONLY | O_CREAT | O_APPEND | O_DIRECT, 0o644).unwrap();
    for i in 0..10u8 {
        a.write_all(&Aligned::of(&[i; 4096])).unwrap();
    }
    let data = fs::read(e.p("a")).unwrap();
    assert_eq!(data.len(), 40_960);
    assert!(data
        .chunks(4096)
        .enumerate()
        .all(|(i, c)| c.iter().all(|b| *b == i as u8)));
}

fn direct_and_inline_meet(e: &Env) {
    let b = sys::rw(e.p("f"));
    b.write_all_at(&[1; 100], 0).unwrap();
    b.sync_all().unwrap();
    let d = sys::rw_direct(e.p("f"));
    let mut buf = Aligned::of(&[9; 4096]);
    assert_eq!(d.read_at(&mut buf, 0).unwrap(), 100);
    assert!(buf[..100].iter().all(|x| *x == 1));
    d.write_all_at(&Aligned::of(&[2; 4096]), 4096).unwrap();
    let data = fs::read(e.p("f")).unwrap();
    assert_eq!(data.len(), 8192);
    assert!(data[..100].iter().all(|x| *x == 1), "the small part");
    assert!(data[100..4096].iter().all(|x| *x == 0), "the gap");
    assert!(data[4096..].iter().all(|x| *x == 2), "the direct part");
    d.write_all_at(&Aligned::of(&[3; 4096]), 0).unwrap();
    assert!(fs::read(e.p("f")).unwrap()[..4096].iter().all(|x| *x == 3));
    d.set_len(50).unwrap();
    d.sync_all().unwrap();
    assert_eq!(fs::read(e.p("f")).unwrap(), [3; 50]);
}

fn threads_mixing_direct_and_buffered_keep_their_own_ranges(e: &Env) {
    let d = sys::rw_direct(e.p("f"));
    let b = sys::rw(e.p("f"));
    std::thread::scope(|s| {
        let (d, b) = (&d, &b);
        s.spawn(move || {
            for i in 0..60u64 {
                d.write_all_at(&Aligned::of(&pattern(i, 8192)), i * 16_384).unwrap();
            }
        });
        s.spawn(move || {
            for i in 0..60u64 {
                b.write_all_at(&pattern(1000 + i, 8192), i * 16_384 + 8192).unwrap();
            }
        });
    });
    let data = fs::read(e.p("f")).unwrap();
    for i in 0..60usize {
        assert!(
            data[i * 16_384..i * 16_384 + 8192] == pattern(i as u64, 8192),
            "direct piece {i}"
        );
        assert!(
            data[i * 16_384 + 8192..(i + 1) * 16_384] == pattern(1000 + i as u64, 8192),
            "buffered piece {i}"
        );
    }
}

/// What fsx does: random reads, writes, direct writes, mapped writes, truncations and punches against a buffer.
fn random_operations_agree_with_memory(e: &Env) {
    const MAX: usize = 400_000;
    for seed in 1..=4u64 {
        let path = e.p(&format!("f{seed}"));
        let f = sys::rw(&path);
        let d = sys::rw_direct(&path);
        let mut model: Vec<u8> = Vec::new();
        let mut x = seed * 0x1234_5677 + 1;
        let mut next = |n: usize| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x >> 20) as usize % n
        };
        let mut punch = true;
        for step in 0..700 {
            let small = next(3) == 0;
            let at = next(if small { 6000 } else { MAX });
            let len = 1 + next(if small { 3000 } else { 40_000 });
            let what = next(12);
            match what {
                0..=3 => {
                    let data = pattern(step, len);
                    f.write_all_at(&data, at as u64).unwrap();
                    model.resize(model.len().max(at + len), 0);
                    model[at..at + len].copy_from_slice(&data);
                }
                4 => {
                    let (at, len) = (at / 4096 * 4096, len.next_multiple_of(4096));
                    let data = Aligned::of(&pattern(step, len));
                    d.write_all_at(&data, at as u64).unwrap();
                    model.resize(model.len().max(at + len), 0);
                    model[at..at + len].copy_from_slice(&data);
                }
                5 => {
                    let at = at / 4096 * 4096;
                    let mut buf = Aligned::new(len.next_multiple_of(4096));
                    let n = d.read_at(&mut buf, at as u64).unwrap();
                    let want = model.len().saturating_sub(at).min(buf.len());
                    assert_eq!(n, want, "seed {seed} step {step}: direct read length at {at}");
                    assert!(
                        buf[..n] == model[at.min(model.len())..][..n],
                        "seed {seed} step {step}: direct read"
                    );
                }
                6 if !model.is_empty() => {
                    let at = at % model.len();
                    let len = len.min(model.len() - at);
                    let m = Mapping::shared(&f, model.len());
                    let data = pattern(step, len);
                    m.write(at, &data);
                    model[at..at + len].copy_from_slice(&data);
                }
                7 => {
                    let size = next(if small { 5000 } else { MAX });
                    f.set_len(size as u64).unwrap();
                    model.resize(size, 0);
                }
                8 if punch => {
                    match sys::fallocate(&f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at as i64, len as i64) {
                        Ok(()) => {
                            let end = (at + len).min(model.len());
                            if at < end {
                                model[at..end].fill(0);
                            }
                        }
                        Err(err) => {
                            assert_eq!(err.raw_os_error(), Some(EOPNOTSUPP));
                            punch = false;
                        }
                    }
                }
                9 => f.sync_data().unwrap(),
                10 if step % 5 == 0 => fs::write("/proc/sys/vm/drop_caches", "1").unwrap(),
                _ => {
                    let mut buf = vec![0; len];
                    let n = f.read_at(&mut buf, at as u64).unwrap();
                    let want = model.len().saturating_sub(at).min(len);
                    assert_eq!(n, want, "seed {seed} step {step}: read length");
                    assert!(
                        buf[..n] == model[at.min(model.len())..][..n],
                        "seed {seed} step {step}: read at {at}"
                    );
                }
            }
            assert_eq!(
                f.metadata().unwrap().len(),
                model.len() as u64,
                "seed {seed} step {step} op {what}"
            );
            if step % 50 == 49 {
                let data = fs::read(&path).unwrap();
                if let Some(i) = (0..model.len()).find(|i| data.get(*i) != Some(&model[*i])) {
                    panic!(
                        "seed {seed} step {step}: byte {i} is {:?}, should be {}",
                        data.get(i),
                        model[i]
                    );
                }
            }
        }
    }
}

fn a_program_runs_from_the_filesystem(e: &Env) {
    fs::copy("/proc/self/exe", e.p("prog")).unwrap();
    sys::chmod(e.p("prog"), 0o755).unwrap();
    let out = std::process::Command::new(e.p("prog")).output().unwrap();
    assert_eq!(out.status.code(), Some(2), "usage message of this very program");
    assert!(String::from_utf8_lossy(&out.stderr).contains("usage"));
    // A running program cannot be written.
    let mut child = std::process::Command::new(e.p("prog"))
        .args(["/proc", "a-filter-that-matches-nothing"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let _ = child.wait();
    let prog = sys::cstr(e.p("prog"));
    let status = sys::in_child(|| {
        let args = [prog.as_ptr(), std::ptr::null()];
        // SAFETY: a NULL-terminated argument list; execv returns only on failure.
        unsafe {
            let null = open(c"/dev/null".as_ptr(), O_WRONLY);
            dup2(null, 2);
            execv(prog.as_ptr(), args.as_ptr());
            _exit(99);
        }
    });
    assert!(WIFEXITED(status) && WEXITSTATUS(status) == 2, "status {status:#x}");
    fails(fs::write(e.p("no-such-dir/x"), b""), ENOENT);
}
