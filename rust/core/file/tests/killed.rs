// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What a task does that is being killed: it finishes what it has begun.

use super::*;
use crate::dir::RenameFlags;
use crate::inode::testing::new;
use std::format;

/// While it lives, a fatal signal is pending for this thread.
struct Killed;

impl Killed {
    fn new() -> Self {
        vexfs_host::interrupt_after(Some(0));
        Killed
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        vexfs_host::interrupt_after(None);
    }
}

const FILES: u64 = 300;

#[test]
fn a_fatal_signal_during_writeback_fsync_rename_and_deletion_loses_and_leaks_nothing() {
    let fs = TestFs::new();
    let dir = fs.dir(ROOT_INO, "d");
    let free = fs.free();
    // Every other block, so that there are many leaves full of extents, and files in a directory of many leaves.
    let big = fs.root_file("big");
    let data = DataState::new().unwrap();
    for b in 0..1500 {
        fs.fs.reserve(big, &data, b * 2, 1).unwrap();
    }
    let small: StdVec<Ino> = (0..FILES).map(|n| fs.file(dir, &format!("{n:0>200}"))).collect();
    let killed = Killed::new();
    for b in 0..1500 {
        let a = fs.fs.alloc_data_for(big, &data, b * 2, 1).unwrap();
        fs.fs.dev().write(a.pblk * B, &[b as u8 | 1; B as usize]).unwrap();
        let size = (b * 2 + 1) * B;
        let txg = fs.fs.end_data_io(big, &data, &a, Some(size), None).unwrap();
        if b % 100 == 0 {
            fs.fs.sync_txg(txg).unwrap();
        }
    }
    for (n, ino) in (0..).zip(&small) {
        let (old, name) = (format!("{n:0>200}"), format!("{n:1>180}"));
        let done = fs.fs.rename(
            dir,
            old.as_bytes(),
            ROOT_INO,
            name.as_bytes(),
            RenameFlags::default(),
            t(3),
        );
        assert_eq!(done.map(|_| ()), Ok(()), "renaming {n}");
        if n % 2 == 0 {
            fs.fs.unlink(ROOT_INO, name.as_bytes(), t(4)).unwrap();
            fs.fs.evict(*ino).unwrap();
        }
        assert!(fs.fs.create(dir, old.as_bytes(), &new(0o100_644)).is_ok());
    }
    fs.fs.truncate_data(big, &data, 1000 * B, t(5)).unwrap();
    fs.fs.sync().unwrap();
    drop(killed);
    let contents = fs.contents(big);
    for (b, block) in contents.chunks(B as usize).enumerate() {
        let byte = if b % 2 == 0 { (b / 2) as u8 | 1 } else { 0 };
        assert!(block.iter().all(|x| *x == byte), "block {b}");
    }
    fs.check();
    assert_eq!(fs.names(dir).len() as u64, FILES);

    // Listing may end half-way, deleting may not.
    let listed = [dir, ROOT_INO].map(|at| (at, fs.names(at)));
    let killed = Killed::new();
    for (at, names) in listed {
        for name in names.iter().filter(|name| *name != "d") {
            let ino = fs.find(at, name).unwrap();
            fs.fs.unlink(at, name.as_bytes(), t(6)).unwrap();
            fs.fs.evict(ino).unwrap();
        }
    }
    drop(killed);
    // The checker finds what leaked. The tree may be left with a node or two more: which leaves merge depends on the
    // hashes of the names, and these on the filesystem's key.
    let nodes = free.saturating_sub(fs.free()) / u64::from(fs.fs.geometry().node_blocks);
    assert!(nodes <= 4, "{nodes} nodes more than before");
    fs.check();
}
