// SPDX-License-Identifier: Apache-2.0
//! Hard links, unlinked open files, nameless files.

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

pub const TESTS: &[Test] = tests![
    hard_links_are_one_file,
    a_link_to_a_directory_is_eperm,
    a_link_over_something_is_eexist,
    a_link_to_a_symlink_is_a_link_to_the_symlink,
    an_unlinked_open_file_lives_until_it_is_closed,
    an_unlinked_file_cannot_be_linked_again,
    many_unlinked_open_files_give_their_space_back,
    a_tmpfile_has_no_name_until_it_is_linked,
    an_exclusive_tmpfile_cannot_be_linked,
    a_file_can_have_a_thousand_names,
];

fn hard_links_are_one_file(e: &Env) {
    fs::write(e.p("a"), b"one").unwrap();
    fs::create_dir(e.p("d")).unwrap();
    fs::hard_link(e.p("a"), e.p("d/b")).unwrap();
    let (a, b) = (fs::metadata(e.p("a")).unwrap(), fs::metadata(e.p("d/b")).unwrap());
    assert_eq!((a.ino(), a.nlink()), (b.ino(), 2));
    fs::write(e.p("d/b"), b"two and more").unwrap();
    assert_eq!(fs::read(e.p("a")).unwrap(), b"two and more");
    sys::chmod(e.p("a"), 0o600).unwrap();
    assert_eq!(fs::metadata(e.p("d/b")).unwrap().mode() & 0o777, 0o600);
    sys::unlink(e.p("a")).unwrap();
    assert_eq!(fs::metadata(e.p("d/b")).unwrap().nlink(), 1);
    assert_eq!(fs::read(e.p("d/b")).unwrap(), b"two and more");
}

fn a_link_to_a_directory_is_eperm(e: &Env) {
    fs::create_dir(e.p("d")).unwrap();
    fails(fs::hard_link(e.p("d"), e.p("l")), EPERM);
}

fn a_link_over_something_is_eexist(e: &Env) {
    fs::write(e.p("a"), b"a").unwrap();
    fs::write(e.p("b"), b"b").unwrap();
    fs::create_dir(e.p("d")).unwrap();
    symlink("nowhere", e.p("l")).unwrap();
    for name in ["a", "b", "d", "l"] {
        fails(fs::hard_link(e.p("a"), e.p(name)), EEXIST);
    }
    assert_eq!(fs::metadata(e.p("a")).unwrap().nlink(), 1);
}

fn a_link_to_a_symlink_is_a_link_to_the_symlink(e: &Env) {
    symlink("target", e.p("s")).unwrap();
    fs::hard_link(e.p("s"), e.p("t")).unwrap();
    assert_eq!(fs::read_link(e.p("t")).unwrap().to_str(), Some("target"));
    assert_eq!(fs::symlink_metadata(e.p("s")).unwrap().nlink(), 2);
}

fn an_unlinked_open_file_lives_until_it_is_closed(e: &Env) {
    for size in [100usize, 10_000, 1_000_000] {
        let f = sys::rw(e.p("f"));
        f.write_all_at(&vec![5; size], 0).unwrap();
        sys::unlink(e.p("f")).unwrap();
        fails(fs::metadata(e.p("f")), ENOENT);
        assert_eq!(f.metadata().unwrap().nlink(), 0);
        f.write_all_at(b"still here", size as u64).unwrap();
        f.sync_all().unwrap();
        let mut buf = vec![0; size + 10];
        f.read_exact_at(&mut buf, 0).unwrap();
        assert_eq!(&buf[size..], b"still here");
        assert!(buf[..size].iter().all(|b| *b == 5));
        f.set_len(3).unwrap();
        assert_eq!(f.metadata().unwrap().len(), 3);
    }
}

fn an_unlinked_file_cannot_be_linked_again(e: &Env) {
    let f = sys::rw(e.p("f"));
    sys::unlink(e.p("f")).unwrap();
    fails(sys::link_fd(&f, e.p("g")), ENOENT);
}

fn many_unlinked_open_files_give_their_space_back(e: &Env) {
    let dir = sys::open(&e.dir, O_RDONLY, 0).unwrap();
    sys::syncfs(&dir).unwrap();
    let before = sys::statfs(&e.dir).unwrap();
    let files: Vec<_> = (0..100)
        .map(|i| {
            let f = sys::rw(e.p(&format!("f{i}")));
            f.write_all_at(&[1; 40_000], 0).unwrap();
            sys::unlink(e.p(&format!("f{i}"))).unwrap();
            f
        })
        .collect();
    sys::syncfs(&dir).unwrap();
    assert!(sys::statfs(&e.dir).unwrap().f_bfree * 4096 + 3_900_000 <= before.f_bfree * 4096);
    drop(files);
    // Freeing may be finished by a later transaction.
    for _ in 0..3 {
        sys::syncfs(&dir).unwrap();
    }
    let after = sys::statfs(&e.dir).unwrap();
    assert!(
        after.f_bfree + 64 >= before.f_bfree,
        "{} blocks free before, {} after",
        before.f_bfree,
        after.f_bfree
    );
}

fn a_tmpfile_has_no_name_until_it_is_linked(e: &Env) {
    let f = sys::open(&e.dir, O_TMPFILE | O_RDWR, 0o640).unwrap();
    assert_eq!(fs::read_dir(&e.dir).unwrap().count(), 0);
    assert_eq!(f.metadata().unwrap().nlink(), 0);
    f.write_all_at(&[9; 100_000], 0).unwrap();
    f.sync_all().unwrap();
    sys::link_fd(&f, e.p("named")).unwrap();
    let m = fs::metadata(e.p("named")).unwrap();
    assert_eq!((m.nlink(), m.len(), m.mode() & 0o777), (1, 100_000, 0o640));
    fails(sys::link_fd(&f, e.p("named")), EEXIST);
    sys::link_fd(&f, e.p("again")).unwrap();
    drop(f);
    assert_eq!(fs::read(e.p("again")).unwrap(), vec![9; 100_000]);
    drop(sys::open(&e.dir, O_TMPFILE | O_RDWR, 0o640).unwrap());
    fails(sys::open(&e.dir, O_TMPFILE | O_RDONLY, 0o640), EINVAL);
}

fn an_exclusive_tmpfile_cannot_be_linked(e: &Env) {
    let f = sys::open(&e.dir, O_TMPFILE | O_RDWR | O_EXCL, 0o640).unwrap();
    fails(sys::link_fd(&f, e.p("named")), ENOENT);
}

fn a_file_can_have_a_thousand_names(e: &Env) {
    fs::write(e.p("first"), b"shared").unwrap();
    for i in 0..1000 {
        fs::hard_link(e.p("first"), e.p(&format!("l{i}"))).unwrap();
    }
    assert_eq!(fs::metadata(e.p("l999")).unwrap().nlink(), 1001);
    sys::unlink(e.p("first")).unwrap();
    for i in 0..999 {
        sys::unlink(e.p(&format!("l{i}"))).unwrap();
    }
    assert_eq!(fs::metadata(e.p("l999")).unwrap().nlink(), 1);
    assert_eq!(fs::read(e.p("l999")).unwrap(), b"shared");
}
