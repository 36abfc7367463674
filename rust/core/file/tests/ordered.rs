// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Replacing a file by rename while its contents are still being written.

use super::*;
use crate::dir::RenameFlags;
use std::thread;

/// Writes block 0 of a file as far as to the device, without recording it.
fn take_off(fs: &TestFs, ino: Ino, data: &DataState, contents: &[u8]) -> DataAlloc {
    fs.fs.reserve(ino, data, 0, 1).unwrap();
    let alloc = fs.fs.alloc_data_for(ino, data, 0, 1).unwrap();
    fs.fs.dev().write(alloc.pblk * B, contents).unwrap();
    alloc
}

fn replace(fs: &TestFs, from: &[u8], to: &[u8]) {
    fs.fs
        .rename(ROOT_INO, from, ROOT_INO, to, RenameFlags::NONE, t(1))
        .unwrap();
}

#[test]
fn a_commit_waits_for_the_data_of_a_file_that_has_replaced_another() {
    let fs = TestFs::new();
    fs.root_file("target");
    let new = fs.root_file("new");
    fs.fs.sync().unwrap();
    let data = DataState::new().unwrap();
    let contents = pattern(1, B as usize);
    let alloc = take_off(&fs, new, &data, &contents);
    assert!(fs.fs.order_data(&data));
    replace(&fs, b"new", b"target");
    let before = fs.fs.committed_txg();
    thread::scope(|s| {
        let commit = s.spawn(|| fs.fs.sync());
        while !fs.fs.is_committing() {
            thread::yield_now();
        }
        // Nothing can be added to what a commit waits for.
        let (other, more) = (fs.root_file("other"), DataState::new().unwrap());
        let second = take_off(&fs, other, &more, &contents);
        assert!(!fs.fs.order_data(&more));
        fs.fs.end_data_io(other, &more, &second, Some(B), None).unwrap();
        assert_eq!(fs.fs.committed_txg(), before);
        fs.fs.end_data_io(new, &data, &alloc, Some(B), None).unwrap();
        commit.join().unwrap().unwrap();
    });
    assert!(fs.fs.committed_txg() > before);
    let crashed = fs.after_crash();
    assert_eq!(crashed.contents(new), contents);
    crashed.check();
}

#[test]
fn a_commit_does_not_wait_for_direct_writes() {
    let fs = TestFs::new();
    let ino = fs.root_file("f");
    let data = DataState::new().unwrap();
    let direct = fs.fs.alloc_data_direct(ino, &data, 0, 1).unwrap();
    assert!(fs.fs.order_data(&data));
    fs.fs.sync().unwrap();
    fs.fs.reserve(ino, &data, 5, 1).unwrap();
    let cached = fs.fs.alloc_data_for(ino, &data, 5, 1).unwrap();
    assert!(fs.fs.order_data(&data));
    fs.fs.abort_data(&data, cached);
    fs.fs.sync().unwrap();
    fs.fs.abort_data(&data, direct);
    assert!(!fs.fs.map(ino, &data, 0, 9).unwrap().in_flight);
    fs.check();
}

#[test]
fn data_that_could_not_be_written_keeps_no_commit_waiting() {
    let fs = TestFs::new();
    let new = fs.root_file("new");
    let data = DataState::new().unwrap();
    let alloc = take_off(&fs, new, &data, &pattern(1, B as usize));
    assert!(fs.fs.order_data(&data));
    assert!(fs.fs.order_data(&data));
    fs.fs.abort_data(&data, alloc);
    fs.fs.sync().unwrap();
    assert!(fs.fs.order_data(&data));
    fs.fs.sync().unwrap();
    fs.check();
}
