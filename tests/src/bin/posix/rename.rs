// SPDX-License-Identifier: Apache-2.0
//! rename and renameat2.

use crate::fails;
use crate::sys;
use crate::tests;
use crate::Env;
use crate::Test;
use libc::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

pub const TESTS: &[Test] = tests![
    rename_replaces_a_file,
    rename_between_two_names_of_one_file_does_nothing,
    rename_checks_types,
    rename_of_a_directory_into_itself_is_einval,
    rename_moves_a_directory_and_its_dotdot,
    rename_of_a_symlink_moves_the_symlink,
    noreplace_refuses_what_exists,
    exchange_swaps_two_files,
    exchange_swaps_a_file_and_a_directory_across_directories,
    exchange_needs_both_and_refuses_bad_flags,
    a_replaced_open_file_can_still_be_read,
    a_name_under_rename_is_never_missing,
    threads_renaming_across_directories_keep_every_file,
];

fn rename_replaces_a_file(e: &Env) {
    fs::write(e.p("a"), b"new").unwrap();
    fs::write(e.p("b"), vec![1; 50_000]).unwrap();
    fs::hard_link(e.p("b"), e.p("c")).unwrap();
    let ino = fs::metadata(e.p("a")).unwrap().ino();
    fs::rename(e.p("a"), e.p("b")).unwrap();
    fails(fs::metadata(e.p("a")), ENOENT);
    assert_eq!(fs::metadata(e.p("b")).unwrap().ino(), ino);
    assert_eq!(fs::read(e.p("b")).unwrap(), b"new");
    assert_eq!(fs::metadata(e.p("c")).unwrap().nlink(), 1);
}

fn rename_between_two_names_of_one_file_does_nothing(e: &Env) {
    fs::write(e.p("a"), b"x").unwrap();
    fs::hard_link(e.p("a"), e.p("b")).unwrap();
    fs::rename(e.p("a"), e.p("b")).unwrap();
    fs::rename(e.p("a"), e.p("a")).unwrap();
    assert_eq!(fs::metadata(e.p("a")).unwrap().nlink(), 2);
    assert_eq!(fs::metadata(e.p("b")).unwrap().nlink(), 2);
}

fn rename_checks_types(e: &Env) {
    fs::write(e.p("f"), b"").unwrap();
    fs::create_dir(e.p("d")).unwrap();
    fs::create_dir(e.p("full")).unwrap();
    fs::write(e.p("full/x"), b"").unwrap();
    fails(fs::rename(e.p("f"), e.p("d")), EISDIR);
    fails(fs::rename(e.p("d"), e.p("f")), ENOTDIR);
    fails(fs::rename(e.p("d"), e.p("full")), ENOTEMPTY);
    fs::rename(e.p("full"), e.p("d")).unwrap();
    assert!(fs::metadata(e.p("d/x")).is_ok());
    fails(fs::metadata(e.p("full")), ENOENT);
}

fn rename_of_a_directory_into_itself_is_einval(e: &Env) {
    fs::create_dir_all(e.p("a/b/c")).unwrap();
    fails(fs::rename(e.p("a"), e.p("a/x")), EINVAL);
    fails(fs::rename(e.p("a"), e.p("a/b/c/x")), EINVAL);
    fails(sys::renameat2(e.p("a"), e.p("a/b"), RENAME_EXCHANGE), EINVAL);
    fs::rename(e.p("a/b/c"), e.p("c")).unwrap();
    fs::rename(e.p("a"), e.p("c/a")).unwrap();
    assert!(fs::metadata(e.p("c/a/b")).is_ok());
}

fn rename_moves_a_directory_and_its_dotdot(e: &Env) {
    fs::create_dir(e.p("from")).unwrap();
    fs::create_dir(e.p("to")).unwrap();
    fs::create_dir(e.p("from/d")).unwrap();
    fs::write(e.p("from/d/x"), b"inside").unwrap();
    fs::rename(e.p("from/d"), e.p("to/e")).unwrap();
    assert_eq!(fs::read(e.p("to/e/x")).unwrap(), b"inside");
    let ino = |n: &str| fs::metadata(e.p(n)).unwrap().ino();
    assert_eq!(ino("to/e/.."), ino("to"));
    assert_eq!(fs::metadata(e.p("from")).unwrap().nlink(), 2);
    assert_eq!(fs::metadata(e.p("to")).unwrap().nlink(), 3);
    fs::create_dir(e.p("to/empty")).unwrap();
    fs::rename(e.p("to/e"), e.p("to/empty")).unwrap();
    assert_eq!(fs::metadata(e.p("to")).unwrap().nlink(), 3);
    assert_eq!(fs::read(e.p("to/empty/x")).unwrap(), b"inside");
}

fn rename_of_a_symlink_moves_the_symlink(e: &Env) {
    fs::write(e.p("f"), b"target").unwrap();
    symlink("f", e.p("l")).unwrap();
    fs::rename(e.p("l"), e.p("m")).unwrap();
    assert_eq!(fs::read_link(e.p("m")).unwrap().to_str(), Some("f"));
    fs::write(e.p("g"), b"g").unwrap();
    fs::rename(e.p("g"), e.p("m")).unwrap();
    assert_eq!(fs::read(e.p("f")).unwrap(), b"target");
    assert_eq!(fs::read(e.p("m")).unwrap(), b"g");
}

fn noreplace_refuses_what_exists(e: &Env) {
    fs::write(e.p("a"), b"a").unwrap();
    fs::write(e.p("b"), b"b").unwrap();
    fs::create_dir(e.p("d")).unwrap();
    symlink("nowhere", e.p("l")).unwrap();
    for to in ["b", "d", "l", "a"] {
        fails(sys::renameat2(e.p("a"), e.p(to), RENAME_NOREPLACE), EEXIST);
    }
    assert_eq!(fs::read(e.p("b")).unwrap(), b"b");
    sys::renameat2(e.p("a"), e.p("d/c"), RENAME_NOREPLACE).unwrap();
    assert_eq!(fs::read(e.p("d/c")).unwrap(), b"a");
}

fn exchange_swaps_two_files(e: &Env) {
    fs::write(e.p("a"), b"a").unwrap();
    fs::write(e.p("b"), vec![b'b'; 9999]).unwrap();
    let (ia, ib) = (
        fs::metadata(e.p("a")).unwrap().ino(),
        fs::metadata(e.p("b")).unwrap().ino(),
    );
    sys::renameat2(e.p("a"), e.p("b"), RENAME_EXCHANGE).unwrap();
    assert_eq!(fs::metadata(e.p("a")).unwrap().ino(), ib);
    assert_eq!(fs::metadata(e.p("b")).unwrap().ino(), ia);
    assert_eq!(fs::read(e.p("b")).unwrap(), b"a");
}

fn exchange_swaps_a_file_and_a_directory_across_directories(e: &Env) {
    fs::create_dir_all(e.p("x/dir/sub")).unwrap();
    fs::create_dir(e.p("y")).unwrap();
    fs::write(e.p("y/file"), b"f").unwrap();
    sys::renameat2(e.p("x/dir"), e.p("y/file"), RENAME_EXCHANGE).unwrap();
    assert_eq!(fs::read(e.p("x/dir")).unwrap(), b"f");
    assert!(fs::metadata(e.p("y/file/sub")).unwrap().is_dir());
    let m = |n: &str| fs::metadata(e.p(n)).unwrap();
    assert_eq!(m("y/file/..").ino(), m("y").ino());
    assert_eq!((m("x").nlink(), m("y").nlink()), (2, 3));
    // Two directories keep both counts.
    fs::create_dir(e.p("x/other")).unwrap();
    sys::renameat2(e.p("x/other"), e.p("y/file"), RENAME_EXCHANGE).unwrap();
    assert_eq!((m("x").nlink(), m("y").nlink()), (3, 3));
    assert_eq!(m("x/other/..").ino(), m("x").ino());
    assert!(m("x/other/sub").is_dir());
}

fn exchange_needs_both_and_refuses_bad_flags(e: &Env) {
    fs::write(e.p("a"), b"a").unwrap();
    fails(sys::renameat2(e.p("a"), e.p("no"), RENAME_EXCHANGE), ENOENT);
    fails(
        sys::renameat2(e.p("a"), e.p("b"), RENAME_EXCHANGE | RENAME_NOREPLACE),
        EINVAL,
    );
    fails(sys::renameat2(e.p("a"), e.p("b"), 0x4000), EINVAL);
    assert_eq!(fs::read(e.p("a")).unwrap(), b"a");
}

fn a_replaced_open_file_can_still_be_read(e: &Env) {
    fs::write(e.p("old"), vec![1; 20_000]).unwrap();
    let f = fs::File::open(e.p("old")).unwrap();
    fs::write(e.p("new"), b"new").unwrap();
    fs::rename(e.p("new"), e.p("old")).unwrap();
    let mut buf = vec![0; 20_000];
    f.read_exact_at(&mut buf, 0).unwrap();
    assert!(buf.iter().all(|b| *b == 1));
    assert_eq!(f.metadata().unwrap().nlink(), 0);
    assert_eq!(fs::read(e.p("old")).unwrap(), b"new");
}

fn a_name_under_rename_is_never_missing(e: &Env) {
    fs::write(e.p("target"), b"0").unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|s| {
        let reader = s.spawn(|| {
            let mut n = 0u64;
            while !done.load(Ordering::Relaxed) {
                let data = fs::read(e.p("target")).expect("the name always exists");
                assert!(!data.is_empty(), "an empty file showed");
                n += 1;
            }
            n
        });
        for i in 1..400 {
            fs::write(e.p("tmp"), i.to_string()).unwrap();
            fs::rename(e.p("tmp"), e.p("target")).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
    assert_eq!(fs::read(e.p("target")).unwrap(), b"399");
}

fn threads_renaming_across_directories_keep_every_file(e: &Env) {
    for d in 0..3 {
        fs::create_dir(e.p(&format!("d{d}"))).unwrap();
    }
    for t in 0..4 {
        fs::create_dir(e.p(&format!("d0/sub{t}"))).unwrap();
        fs::write(e.p(&format!("d0/f{t}")), t.to_string()).unwrap();
    }
    std::thread::scope(|s| {
        for t in 0..4usize {
            s.spawn(move || {
                let mut at = 0;
                for i in 0..200 {
                    let to = (at + 1 + (i + t) % 2) % 3;
                    for what in ["f", "sub"] {
                        fs::rename(e.p(&format!("d{at}/{what}{t}")), e.p(&format!("d{to}/{what}{t}"))).unwrap();
                    }
                    at = to;
                }
            });
        }
    });
    let (mut files, mut links) = (0, 0);
    for d in 0..3 {
        let dir = e.p(&format!("d{d}"));
        files += fs::read_dir(&dir).unwrap().count();
        links += fs::metadata(&dir).unwrap().nlink() - 2;
    }
    assert_eq!((files, links), (8, 4));
}
