// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Delayed allocation, as the kernel uses it.

use super::*;

fn write_back(fs: &TestFs, ino: Ino, data: &DataState, lblk: u64, contents: &[u8], size: u64) {
    let mut at = 0;
    let blocks = contents.len() as u64 / B;
    while at < blocks {
        let a = fs.fs.alloc_data_for(ino, data, lblk + at, blocks - at).unwrap();
        assert_eq!(a.lblk, lblk + at);
        let from = (at * B) as usize;
        let len = (u64::from(a.len) * B) as usize;
        fs.fs.dev().write(a.pblk * B, &contents[from..from + len]).unwrap();
        fs.fs
            .end_data_io(ino, data, &a, Some(size.min((a.lblk + u64::from(a.len)) * B)), None)
            .unwrap();
        at += u64::from(a.len);
    }
}

#[test]
fn reserved_blocks_become_extents_when_they_are_written() {
    let fs = TestFs::new();
    let ino = fs.root_file("f");
    let data = DataState::new().unwrap();
    fs.fs.reserve(ino, &data, 0, 10).unwrap();
    fs.fs.reserve(ino, &data, 5, 10).unwrap();
    assert_eq!(data.reserved_blocks(), 15);
    let m = fs.fs.map(ino, &data, 0, 100).unwrap();
    assert_eq!(
        (m.len, m.kind, m.reserved, m.in_flight),
        (15, MapKind::Hole, true, false)
    );
    let m = fs.fs.map(ino, &data, 15, 100).unwrap();
    assert_eq!((m.len, m.reserved), (100, false));
    let seq = data.sequence();
    let contents = pattern(1, 15 * B as usize);
    write_back(&fs, ino, &data, 0, &contents, 15 * B - 100);
    assert_ne!(data.sequence(), seq);
    assert_eq!(data.reserved_blocks(), 0);
    assert_eq!(fs.contents(ino), &contents[..15 * B as usize - 100]);
    assert_eq!(extents_of(&fs, ino), [(0, 15)]);
    assert_eq!(fs.fs.alloc_data_for(ino, &data, 0, 1), Err(Error::NotFound));
    fs.check();
}

#[test]
fn whoever_has_seen_a_reservation_learns_that_it_was_given_back() {
    let fs = TestFs::new();
    let ino = fs.root_file("f");
    let data = DataState::new().unwrap();
    fs.fs.reserve(ino, &data, 3, 1).unwrap();
    let seq = data.sequence();
    assert!(fs.fs.map(ino, &data, 3, 1).unwrap().reserved);
    fs.fs.unreserve(&data, 4, 10);
    assert_eq!(data.sequence(), seq, "nothing was given back");
    fs.fs.unreserve(&data, 0, 10);
    assert_ne!(data.sequence(), seq);
}

#[test]
fn the_size_on_the_device_grows_only_with_the_data() {
    let fs = TestFs::new();
    let ino = fs.root_file("f");
    let data = DataState::new().unwrap();
    fs.fs.reserve(ino, &data, 0, 4).unwrap();
    let a = fs.fs.alloc_data_for(ino, &data, 0, 4).unwrap();
    fs.fs.sync().unwrap();
    let crashed = fs.after_crash();
    assert_eq!(
        (crashed.fs.inode(ino).unwrap().size, crashed.free() > fs.free()),
        (0, false)
    );
    crashed.check();
    let m = fs.fs.map(ino, &data, 0, 9).unwrap();
    assert_eq!(
        (m.len, m.kind, m.reserved, m.in_flight),
        (4, MapKind::Hole, false, true)
    );
    assert!(!m.is_hole());
    fs.fs.dev().write(a.pblk * B, &pattern(4, 4 * B as usize)).unwrap();
    fs.fs.end_data_io(ino, &data, &a, Some(4 * B - 1), None).unwrap();
    assert!(!fs.fs.map(ino, &data, 0, 9).unwrap().in_flight);
    assert_eq!(fs.contents(ino), &pattern(4, 4 * B as usize)[..4 * B as usize - 1]);
    fs.check();
}

/// Direct writes of single blocks, on the device but not finished.
fn written(fs: &TestFs, ino: Ino, data: &DataState, lblks: &[u64]) -> StdVec<DataAlloc> {
    let write = |lblk: &u64| {
        let a = fs.fs.alloc_data_direct(ino, data, *lblk, 1).unwrap();
        fs.fs.dev().write(a.pblk * B, &pattern(*lblk, B as usize)).unwrap();
        a
    };
    lblks.iter().map(write).collect()
}

#[test]
fn runs_that_are_finished_together_become_contents_together() {
    let fs = TestFs::new();
    let ino = fs.root_file("f");
    fs.fs.write(ino, 0, &pattern(200, 40 * B as usize), t(1)).unwrap();
    let data = DataState::new().unwrap();
    let mut contents = fs.contents(ino);
    // Within an extent, twice the same block, and behind the end.
    for lblks in [&[0, 2, 3, 7, 39][..], &[2, 3, 4, 38, 39, 50], &[2, 7, 20, 21]] {
        let allocs = written(&fs, ino, &data, lblks);
        let size = (lblks[lblks.len() - 1] + 1) * B;
        let before = data.sequence();
        let csum = |a: &DataAlloc| vexfs_host::crc32c(0, &pattern(a.lblk, B as usize));
        let runs: std::vec::Vec<_> = allocs.iter().map(|a| (*a, (a.lblk != 3).then(|| csum(a)))).collect();
        fs.fs.end_data_io_together(ino, &data, &runs, Some(size)).unwrap();
        assert_ne!(data.sequence(), before);
        contents.resize(contents.len().max(size as usize), 0);
        for lblk in lblks {
            contents[(lblk * B) as usize..][..B as usize].copy_from_slice(&pattern(*lblk, B as usize));
        }
        assert!(fs.contents(ino) == contents);
        assert!(!fs.fs.map(ino, &data, lblks[0], 1).unwrap().in_flight);
        fs.check();
    }
    fs.fs.sync().unwrap();
    let crashed = fs.after_crash();
    assert!(crashed.contents(ino) == contents);
    crashed.check();
}

#[test]
fn runs_that_cannot_be_finished_together_can_be_finished_one_by_one() {
    let fs = TestFs::new();
    let ino = fs.root_file("f");
    fragment(&fs, ino, 40);
    let data = DataState::new().unwrap();
    let contents = fs.contents(ino);
    let long = fs.fs.alloc_data_direct(ino, &data, 0, 60).unwrap();
    fs.fs.dev().write(long.pblk * B, &pattern(3, 60 * B as usize)).unwrap();
    let disorder = written(&fs, ino, &data, &[70, 69]);
    let twice = written(&fs, ino, &data, &[70, 70]);
    let free = fs.free();
    for (allocs, error) in [
        (&[disorder[1], long][..], "disorder"),
        (&[long, disorder[1]], "too many extents in the way"),
        (&disorder, "disorder"),
        (&twice, "one block twice"),
    ] {
        let runs: std::vec::Vec<_> = allocs.iter().map(|a| (*a, None)).collect();
        assert!(
            fs.fs.end_data_io_together(ino, &data, &runs, Some(80 * B)).is_err(),
            "{error}"
        );
        assert!(fs.contents(ino) == contents && fs.free() == free, "{error}");
    }
    for a in [long, disorder[0], disorder[1], twice[0], twice[1]] {
        fs.fs.end_data_io(ino, &data, &a, None, None).unwrap();
    }
    assert!(fs.contents(ino)[..60 * B as usize] == pattern(3, 60 * B as usize));
    fs.check();
}

#[test]
fn a_block_can_be_dirtied_again_while_it_is_written() {
    let fs = TestFs::new();
    let ino = fs.root_file("f");
    let data = DataState::new().unwrap();
    fs.fs.reserve(ino, &data, 0, 2).unwrap();
    let a = fs.fs.alloc_data_for(ino, &data, 0, 2).unwrap();
    fs.fs.reserve(ino, &data, 0, 1).unwrap();
    let m = fs.fs.map(ino, &data, 0, 9).unwrap();
    assert_eq!((m.len, m.reserved, m.in_flight), (1, true, true));
    fs.fs.end_data_io(ino, &data, &a, Some(2 * B), None).unwrap();
    let m = fs.fs.map(ino, &data, 0, 9).unwrap();
    assert_eq!((m.len, m.reserved, m.in_flight), (1, true, false));
    write_back(&fs, ino, &data, 0, &pattern(9, B as usize), B);
    assert_eq!(fs.contents(ino)[..B as usize], pattern(9, B as usize));
    assert_eq!(fs.fs.inode(ino).unwrap().size, 2 * B);
    fs.check();
}

#[test]
fn an_aborted_write_leaves_the_old_contents_and_gives_the_blocks_back() {
    let fs = TestFs::new();
    let ino = fs.root_file("f");
    fs.fs.write(ino, 0, &pattern(1, 8 * B as usize), t(1)).unwrap();
    let free = fs.free();
    let data = DataState::new().unwrap();
    let a = fs.fs.alloc_data_direct(ino, &data, 0, 8).unwrap();
    let (x, y) = (
        DataAlloc { len: 3, ..a },
        DataAlloc {
            lblk: 3,
            pblk: a.pblk + 3,
            len: a.len - 3,
        },
    );
    fs.fs.abort_data(&data, y);
    fs.fs.abort_data(&data, x);
    assert_eq!(fs.contents(ino), pattern(1, 8 * B as usize));
    assert_eq!(fs.free(), free);
    assert!(!fs.fs.map(ino, &data, 0, 8).unwrap().in_flight);
    fs.check();
}

#[test]
fn data_for_a_deleted_inode_are_given_back() {
    let fs = TestFs::new();
    let ino = fs.root_file("f");
    let free = fs.free();
    let data = DataState::new().unwrap();
    let a = fs.fs.alloc_data_direct(ino, &data, 0, 8).unwrap();
    fs.fs.unlink(ROOT_INO, b"f", t(1)).unwrap();
    fs.fs.evict(ino).unwrap();
    assert_eq!(fs.fs.end_data_io(ino, &data, &a, None, None), Err(Error::NotFound));
    assert_eq!(fs.free(), free);
    fs.check();
}

#[test]
fn writing_back_over_many_small_extents_replaces_them_all() {
    let fs = TestFs::new();
    let ino = fs.root_file("f");
    fragment(&fs, ino, 300);
    let data = DataState::new().unwrap();
    fs.fs.reserve(ino, &data, 1, 598).unwrap();
    let contents = pattern(7, 598 * B as usize);
    write_back(&fs, ino, &data, 1, &contents, 599 * B);
    let all = fs.contents(ino);
    assert_eq!(all[..B as usize], pattern(0, B as usize));
    assert_eq!(all[B as usize..], contents);
    assert_eq!(fs.fs.inode(ino).unwrap().blocks, 599 * B / 512);
    fs.check();
}

#[test]
fn reservations_hold_against_everyone_else_until_they_are_given_back() {
    let fs = TestFs::of_size(16 << 20);
    let ino = fs.root_file("f");
    let other = fs.root_file("g");
    let data = DataState::new().unwrap();
    let mut n = 0;
    while fs.fs.reserve(ino, &data, n, 64).is_ok() {
        n += 64;
    }
    assert!(n >= 1024, "{n}");
    assert_eq!(fs.fs.write(other, 0, &[1; 1 << 20], t(1)), Err(Error::NoSpace));
    let contents = pattern(1, (n * B) as usize);
    write_back(&fs, ino, &data, 0, &contents, n * B);
    assert_eq!(fs.contents(ino), contents);
    fs.check();
    fs.fs.truncate_data(ino, &data, 0, t(1)).unwrap();
    fs.fs.sync().unwrap();
    fs.fs.reserve(ino, &data, 7, n / 2).unwrap();
    fs.fs.release_data_state(&data);
    assert_eq!(data.reserved_blocks(), 0);
    fs.fs.write(other, 0, &[1; 1 << 20], t(1)).unwrap();
    fs.check();
}

#[test]
fn cutting_drops_reservations_behind_the_end() {
    let fs = TestFs::new();
    let ino = fs.root_file("f");
    let data = DataState::new().unwrap();
    fs.fs.reserve(ino, &data, 0, 1000).unwrap();
    fs.fs.truncate_data(ino, &data, 10 * B + 1, t(1)).unwrap();
    assert_eq!(data.reserved_blocks(), 11);
    assert_eq!(fs.fs.inode(ino).unwrap().size, 10 * B + 1);
    fs.fs.punch_blocks(ino, &data, 3, 4, t(1)).unwrap();
    assert_eq!(data.reserved_blocks(), 7);
    let m = fs.fs.map(ino, &data, 0, 100).unwrap();
    assert_eq!((m.len, m.reserved), (3, true));
    fs.fs.unreserve(&data, 0, u64::MAX);
}

#[test]
fn block_0_changes_between_inline_and_extent() {
    let fs = TestFs::new();
    let ino = fs.root_file("f");
    let data = DataState::new().unwrap();
    fs.fs.reserve(ino, &data, 0, 1).unwrap();
    fs.fs.write_inline(ino, &data, b"inline").unwrap();
    assert_eq!(data.reserved_blocks(), 0);
    assert_eq!(fs.contents(ino), b"inline");
    let mut buf = [9; 10];
    assert_eq!(fs.fs.read_inline(ino, &mut buf), Ok(6));
    assert_eq!(&buf, b"inline\0\0\0\0");
    fs.fs.reserve(ino, &data, 0, 1).unwrap();
    write_back(&fs, ino, &data, 0, &pattern(1, B as usize), 100);
    assert_eq!(fs.contents(ino), &pattern(1, B as usize)[..100]);
    assert_eq!(fs.fs.read_inline(ino, &mut buf), Err(Error::NoData));
    fs.check();
    fs.fs.write_inline(ino, &data, b"again").unwrap();
    assert_eq!(fs.contents(ino).len(), 100);
    assert_eq!(fs.contents(ino)[..6], *b"again\0");
    assert_eq!(fs.fs.inode(ino).unwrap().blocks, 1);
    assert!(matches!(
        fs.fs.write_inline(ino, &data, &[0; INLINE_MAX + 1]),
        Err(Error::Invalid(_))
    ));
    fs.fs.truncate_data(ino, &data, 3, t(1)).unwrap();
    assert_eq!(fs.contents(ino), b"aga");
    fs.check();
}

#[test]
fn data_and_holes_are_found() {
    let fs = TestFs::new();
    let ino = fs.root_file("f");
    let data = DataState::new().unwrap();
    fs.fs.write(ino, 10 * B, &pattern(1, 2 * B as usize), t(1)).unwrap();
    fs.fs.truncate(ino, 100 * B + 7, t(1)).unwrap();
    fs.fs.reserve(ino, &data, 50, 3).unwrap();
    let size = 100 * B + 7;
    let next_data = |off, d| fs.fs.next_data(ino, d, off, size).unwrap();
    let next_hole = |off, d| fs.fs.next_hole(ino, d, off, size).unwrap();
    assert_eq!(next_data(0, None), Some(10 * B));
    assert_eq!(next_data(10 * B + 5, None), Some(10 * B + 5));
    assert_eq!(next_data(12 * B, None), None);
    assert_eq!(next_data(12 * B, Some(&data)), Some(50 * B));
    assert_eq!(next_data(53 * B, Some(&data)), None);
    assert_eq!(next_hole(3, None), Some(3));
    assert_eq!(next_hole(11 * B, None), Some(12 * B));
    assert_eq!(next_hole(51 * B, Some(&data)), Some(53 * B));
    assert_eq!(next_hole(size, None), None);
    fs.fs.truncate(ino, 11 * B, t(1)).unwrap();
    assert_eq!(fs.fs.next_hole(ino, None, 10 * B, 11 * B).unwrap(), Some(11 * B));
    fs.fs.release_data_state(&data);
}

#[test]
fn the_inode_of_overwritten_contents_changes_once_in_a_txg_and_says_which_txg_to_sync() {
    let fs = TestFs::new();
    let ino = fs.root_file("f");
    fs.fs.write(ino, 0, &pattern(1, 8 * B as usize), t(1)).unwrap();
    let mut contents = fs.contents(ino);
    let data = DataState::new().unwrap();
    let mut last = fs.fs.inode(ino).unwrap();
    for lblk in [2, 5] {
        fs.fs.sync().unwrap();
        let old = last;
        for at in [lblk, lblk + 1, lblk] {
            let a = fs.fs.alloc_data_direct(ino, &data, at, 1).unwrap();
            let new = pattern(at + last.change, B as usize);
            fs.fs.dev().write(a.pblk * B, &new).unwrap();
            let txg = fs.fs.end_data_io(ino, &data, &a, Some(8 * B), None).unwrap();
            contents[(at * B) as usize..][..B as usize].copy_from_slice(&new);
            last = fs.fs.inode(ino).unwrap();
            assert_eq!((last.txg, last.change), (txg, old.change + 1));
        }
        assert!(last.txg > old.txg);
        // All that somebody has who opens the file anew.
        fs.fs.sync_txg(last.txg).unwrap();
        let crashed = fs.after_crash();
        assert!(crashed.contents(ino) == contents);
        crashed.check();
    }
}
