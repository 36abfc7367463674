// SPDX-License-Identifier: Apache-2.0
//! Timestamps: what changes them, what range and resolution they keep.

use crate::sys;
use crate::tests;
use crate::Env;
use crate::Test;
use libc::*;
use std::fs;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

pub const TESTS: &[Test] = tests![
    times_keep_nanoseconds_and_a_wide_range,
    utime_now_and_omit_are_honoured,
    writing_changes_mtime_and_ctime,
    changing_the_inode_changes_ctime_only,
    changing_a_directory_changes_its_mtime,
    rename_changes_the_ctime_of_what_moved,
    the_birth_time_stays,
    reading_updates_atime_relative_to_mtime,
    statx_tells_the_direct_io_alignment,
];

type Stamp = (i64, i64);

fn mtime(p: impl AsRef<Path>) -> Stamp {
    let m = fs::symlink_metadata(p).unwrap();
    (m.mtime(), m.mtime_nsec())
}

fn ctime(p: impl AsRef<Path>) -> Stamp {
    let m = fs::symlink_metadata(p).unwrap();
    (m.ctime(), m.ctime_nsec())
}

/// Returns after the kernel's coarse clock has ticked, so that a later stamp is a different one.
fn tick(e: &Env) {
    let probe = e.root.join("clock-probe");
    drop(sys::rw(&probe));
    let first = ctime(&probe);
    while ctime(&probe) == first {
        sys::chmod(&probe, 0o600).unwrap();
    }
    sys::unlink(&probe).unwrap();
}

fn times_keep_nanoseconds_and_a_wide_range(e: &Env) {
    fs::write(e.p("f"), b"").unwrap();
    let mut stamps = vec![
        (0i64, 0i64),
        (1, 1),
        (1_700_000_000, 123_456_789),
        (0x7fff_ffff, 999_999_999),
    ];
    stamps.extend([(-1, 5), (-1_000_000, 500_000_000), (0x1_0000_0000, 7)]);
    if e.is_vexfs() {
        stamps.extend([(1 << 40, 999_999_999), (-(1 << 40), 1)]);
    }
    for s in stamps {
        sys::utimens(e.p("f"), s, (s.0, s.1 / 2)).unwrap();
        let m = fs::metadata(e.p("f")).unwrap();
        assert_eq!((m.atime(), m.atime_nsec()), s);
        assert_eq!((m.mtime(), m.mtime_nsec()), (s.0, s.1 / 2));
    }
    sys::utimens(e.p("f"), (1, 2), (3, 4)).unwrap();
    let dir = sys::open(&e.dir, O_RDONLY, 0).unwrap();
    sys::syncfs(&dir).unwrap();
    fs::write("/proc/sys/vm/drop_caches", "2").unwrap();
    assert_eq!(mtime(e.p("f")), (3, 4));
}

fn utime_now_and_omit_are_honoured(e: &Env) {
    fs::write(e.p("f"), b"").unwrap();
    sys::utimens(e.p("f"), (10, 0), (20, 0)).unwrap();
    sys::utimens(e.p("f"), (0, UTIME_OMIT), (30, 0)).unwrap();
    let m = fs::metadata(e.p("f")).unwrap();
    assert_eq!((m.atime(), m.mtime()), (10, 30));
    sys::utimens(e.p("f"), (0, UTIME_NOW), (0, UTIME_OMIT)).unwrap();
    let m = fs::metadata(e.p("f")).unwrap();
    assert!(m.atime() > 1_000_000_000);
    assert_eq!(m.mtime(), 30);
}

fn writing_changes_mtime_and_ctime(e: &Env) {
    let f = sys::rw(e.p("f"));
    f.write_all_at(b"one", 0).unwrap();
    type Change<'a> = (&'a str, &'a dyn Fn());
    let changes: [Change; 4] = [
        ("write", &|| f.write_all_at(b"two", 0).unwrap()),
        ("grow", &|| f.set_len(10_000).unwrap()),
        ("shrink", &|| f.set_len(5).unwrap()),
        ("open with O_TRUNC", &|| {
            drop(sys::open(e.p("f"), O_WRONLY | O_TRUNC, 0).unwrap())
        }),
    ];
    for (what, change) in changes {
        let before = (mtime(e.p("f")), ctime(e.p("f")));
        tick(e);
        change();
        assert!(mtime(e.p("f")) > before.0, "{what}: mtime");
        assert!(ctime(e.p("f")) > before.1, "{what}: ctime");
    }
    let before = mtime(e.p("f"));
    tick(e);
    f.sync_all().unwrap();
    assert_eq!(mtime(e.p("f")), before, "fsync changes nothing");
}

fn changing_the_inode_changes_ctime_only(e: &Env) {
    fs::write(e.p("f"), b"x").unwrap();
    type Change<'a> = (&'a str, &'a dyn Fn());
    let changes: [Change; 5] = [
        ("chmod", &|| sys::chmod(e.p("f"), 0o600).unwrap()),
        ("chown", &|| sys::chown(e.p("f"), 1, 1).unwrap()),
        ("link", &|| fs::hard_link(e.p("f"), e.p("l")).unwrap()),
        ("unlink", &|| sys::unlink(e.p("l")).unwrap()),
        ("setxattr", &|| sys::set_xattr(e.p("f"), "user.x", b"1", 0).unwrap()),
    ];
    for (what, change) in changes {
        let before = (mtime(e.p("f")), ctime(e.p("f")));
        tick(e);
        change();
        assert_eq!(mtime(e.p("f")), before.0, "{what}: mtime");
        assert!(ctime(e.p("f")) > before.1, "{what}: ctime");
    }
}

fn changing_a_directory_changes_its_mtime(e: &Env) {
    let d = e.p("d");
    fs::create_dir(&d).unwrap();
    fs::write(e.p("other"), b"").unwrap();
    type Change<'a> = (&'a str, &'a dyn Fn());
    let changes: [Change; 6] = [
        ("create", &|| fs::write(d.join("f"), b"").unwrap()),
        ("mkdir", &|| fs::create_dir(d.join("sub")).unwrap()),
        ("link", &|| fs::hard_link(e.p("other"), d.join("l")).unwrap()),
        ("rename", &|| fs::rename(d.join("f"), d.join("g")).unwrap()),
        ("unlink", &|| sys::unlink(d.join("g")).unwrap()),
        ("rmdir", &|| sys::rmdir(d.join("sub")).unwrap()),
    ];
    for (what, change) in changes {
        let before = (mtime(&d), ctime(&d));
        tick(e);
        change();
        assert!(mtime(&d) > before.0, "{what}: mtime");
        assert!(ctime(&d) > before.1, "{what}: ctime");
    }
    let before = mtime(&d);
    tick(e);
    fs::write(d.join("l"), b"content").unwrap();
    assert_eq!(mtime(&d), before, "writing a file does not change its directory");
}

fn rename_changes_the_ctime_of_what_moved(e: &Env) {
    fs::write(e.p("f"), b"x").unwrap();
    let before = (mtime(e.p("f")), ctime(e.p("f")));
    tick(e);
    fs::rename(e.p("f"), e.p("g")).unwrap();
    assert_eq!(mtime(e.p("g")), before.0);
    assert!(ctime(e.p("g")) > before.1);
}

fn the_birth_time_stays(e: &Env) {
    let f = sys::rw(e.p("f"));
    let birth = |p: &str| {
        let x = sys::statx(e.p(p), STATX_BTIME).unwrap();
        assert_ne!(x.stx_mask & STATX_BTIME, 0, "no birth time");
        (x.stx_btime.tv_sec, x.stx_btime.tv_nsec)
    };
    let born = birth("f");
    assert!(born.0 > 1_000_000_000);
    tick(e);
    f.write_all_at(&[1; 10_000], 0).unwrap();
    sys::utimens(e.p("f"), (1, 1), (1, 1)).unwrap();
    fs::rename(e.p("f"), e.p("g")).unwrap();
    f.sync_all().unwrap();
    fs::write("/proc/sys/vm/drop_caches", "2").unwrap();
    assert_eq!(birth("g"), born);
}

fn reading_updates_atime_relative_to_mtime(e: &Env) {
    fs::write(e.p("f"), b"x").unwrap();
    sys::utimens(e.p("f"), (100, 0), (200, 0)).unwrap();
    fs::read(e.p("f")).unwrap();
    let m = fs::metadata(e.p("f")).unwrap();
    assert!(m.atime() > 200, "atime older than mtime is brought up to date");
    let before = (m.atime(), m.atime_nsec());
    tick(e);
    fs::read(e.p("f")).unwrap();
    let m = fs::metadata(e.p("f")).unwrap();
    assert_eq!((m.atime(), m.atime_nsec()), before, "a recent atime stays");
    assert_eq!(m.mtime(), 200);
    sys::utimens(e.p("f"), (100, 0), (200, 0)).unwrap();
    let f = sys::open(e.p("f"), O_RDONLY | O_NOATIME, 0).unwrap();
    f.read_at(&mut [0], 0).unwrap();
    assert_eq!(fs::metadata(e.p("f")).unwrap().atime(), 100);
}

fn statx_tells_the_direct_io_alignment(e: &Env) {
    fs::write(e.p("f"), [1; 10_000]).unwrap();
    let x = sys::statx(e.p("f"), STATX_BASIC_STATS | 0x2000).unwrap();
    assert_eq!((x.stx_size, x.stx_nlink), (10_000, 1));
    assert!(x.stx_blksize.is_power_of_two());
    if e.is_vexfs() {
        assert_ne!(x.stx_mask & 0x2000, 0, "STATX_DIOALIGN");
        assert!(x.stx_dio_offset_align.is_power_of_two() && x.stx_dio_mem_align > 0);
    }
}
