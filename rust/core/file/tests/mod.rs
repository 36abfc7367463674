// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

mod delayed;
mod faults;
mod killed;
mod ordered;
mod page_cache;

use super::*;
use crate::format::items::orphan::TRUNCATE;
use crate::format::items::state;
use crate::format::items::FILE_SIZE_MAX;
use crate::format::items::INLINE_MAX;
use crate::format::ROOT_INO;
use crate::inode::change;
use crate::inode::testing::t;
use crate::inode::testing::TestFs;
use crate::inode::Ino;
use crate::orphan;
use crate::txn::Reserve;
use std::vec;
use std::vec::Vec as StdVec;
use vexfs_host::Error;

const B: u64 = 4096;

fn pattern(seed: u64, len: usize) -> StdVec<u8> {
    (0..len as u64)
        .map(|i| (i.wrapping_mul(31) ^ (i >> 8) ^ seed.wrapping_mul(97)) as u8 | 1)
        .collect()
}

fn extents_of(fs: &TestFs, ino: Ino) -> StdVec<(u64, u64)> {
    let mut list = StdVec::new();
    let mut at = 0;
    while at < 1 << 30 {
        let m = fs.fs.map_tree(ino, at, (1 << 30) - at).unwrap();
        if matches!(m.kind, MapKind::Extent { .. }) {
            list.push((m.lblk, m.len));
        }
        at += m.len;
    }
    list
}

/// A file and what it must contain.
struct Checked {
    fs: TestFs,
    ino: Ino,
    model: StdVec<u8>,
}

impl Checked {
    fn new() -> Self {
        let fs = TestFs::new();
        let ino = fs.root_file("f");
        Checked {
            fs,
            ino,
            model: StdVec::new(),
        }
    }

    fn write(&mut self, off: usize, data: &[u8]) {
        self.fs.fs.write(self.ino, off as u64, data, t(1)).unwrap();
        if self.model.len() < off + data.len() {
            self.model.resize(off + data.len(), 0);
        }
        self.model[off..off + data.len()].copy_from_slice(data);
    }

    fn truncate(&mut self, size: usize) {
        self.fs.fs.truncate(self.ino, size as u64, t(2)).unwrap();
        self.model.resize(size, 0);
    }

    fn punch(&mut self, off: usize, len: usize) {
        self.fs.fs.punch(self.ino, off as u64, len as u64, t(3)).unwrap();
        let end = (off + len).min(self.model.len());
        if off < end {
            self.model[off..end].fill(0);
        }
    }

    fn verify(&self) {
        assert_eq!(self.fs.contents(self.ino), self.model);
    }
}

#[test]
fn what_was_written_is_read_back_at_every_alignment() {
    let mut f = Checked::new();
    for (i, off) in [0, 1, 511, 2047, 2048, 2049, 4095, 4096, 4097, 12_288, 20_001, 3]
        .into_iter()
        .enumerate()
    {
        for len in [1, 2, 511, 512, 2048, 4095, 4096, 4097, 10_000] {
            f.write(off, &pattern(i as u64, len));
        }
        f.verify();
    }
    f.fs.remount();
    f.verify();
    let mut part = [0; 100];
    let end = f.model.len() as u64;
    assert_eq!(f.fs.fs.read(f.ino, end - 40, &mut part), Ok(40));
    assert_eq!(f.fs.fs.read(f.ino, end, &mut part), Ok(0));
    assert_eq!(f.fs.fs.read(f.ino, u64::MAX, &mut part), Ok(0));
    f.fs.check();
}

#[test]
fn random_writes_cuts_and_holes_leave_what_a_plain_array_would_hold() {
    let mut f = Checked::new();
    let mut state = 99u64;
    for step in 0..1500u64 {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        let small = (state >> 62) & 1 == 1;
        let at = (state >> 20) as usize % if small { 3000 } else { 200_000 };
        let len = 1 + (state >> 40) as usize % if small { 900 } else { 30_000 };
        match (state >> 58) % 8 {
            0..=4 => f.write(at, &pattern(step, len)),
            5 => f.truncate(at),
            6 => f.punch(at, len),
            _ if step % 50 == 7 => f.fs.remount(),
            _ => f.fs.fs.sync().map(|_| ()).unwrap(),
        }
        if step % 10 == 0 {
            f.verify();
        }
        if step % 300 == 299 {
            f.fs.check();
        }
    }
    f.verify();
    f.fs.check();
}

#[test]
fn small_files_take_no_blocks_and_grow_out_of_it() {
    let mut f = Checked::new();
    f.write(0, b"hello");
    assert_eq!(f.fs.fs.map_tree(f.ino, 0, 9).unwrap().kind, MapKind::Inline { len: 5 });
    assert_eq!(f.fs.fs.inode(f.ino).unwrap().blocks, 1);
    f.write(INLINE_MAX - 1, b"x");
    assert_eq!(f.fs.fs.inode(f.ino).unwrap().blocks, 4);
    // Another block may have an extent while block 0 stays inline.
    f.write(3 * B as usize, &pattern(1, 100));
    assert!(matches!(
        f.fs.fs.map_tree(f.ino, 0, 9).unwrap().kind,
        MapKind::Inline { .. }
    ));
    assert_eq!(extents_of(&f.fs, f.ino), [(3, 1)]);
    f.verify();
    f.write(INLINE_MAX, b"y");
    assert_eq!(extents_of(&f.fs, f.ino), [(0, 1), (3, 1)]);
    f.verify();
    f.truncate(100);
    assert_eq!(
        f.fs.fs.map_tree(f.ino, 0, 9).unwrap().kind,
        MapKind::Inline { len: 100 }
    );
    f.truncate(0);
    assert_eq!(f.fs.fs.inode(f.ino).unwrap().blocks, 0);
    f.fs.check();
}

#[test]
fn a_file_that_grows_again_after_a_cut_reads_zeros() {
    for size in [1, 100, 2047, 2048, 2049, 4095, 4096, 4097, 8191, 50_001] {
        let mut f = Checked::new();
        f.write(0, &pattern(1, 60_000));
        f.truncate(size);
        f.truncate(60_000);
        f.verify();
        f.truncate(size);
        f.write(70_000, b"far");
        f.verify();
        f.fs.check();
    }
}

#[test]
fn holes_take_no_blocks() {
    let mut f = Checked::new();
    f.write(1 << 20, b"end");
    assert_eq!(f.fs.fs.inode(f.ino).unwrap().blocks, B / 512);
    f.verify();
    f.write(0, &pattern(3, 64 * B as usize));
    f.punch(8 * B as usize, 16 * B as usize);
    assert_eq!(extents_of(&f.fs, f.ino), [(0, 8), (24, 40), (256, 1)]);
    assert_eq!(f.fs.fs.inode(f.ino).unwrap().blocks, 49 * B / 512);
    f.punch(5, 3 * B as usize);
    f.verify();
    f.punch(24 * B as usize, 1 << 30);
    assert_eq!(f.model.len() as u64, f.fs.fs.inode(f.ino).unwrap().size);
    assert_eq!(extents_of(&f.fs, f.ino).last().map(|e| e.0 + e.1), Some(8));
    f.verify();
    f.fs.check();
}

#[test]
fn appends_merge_into_one_extent() {
    let mut f = Checked::new();
    for i in 0..50 {
        f.write(i * B as usize, &pattern(i as u64, B as usize));
        f.fs.fs.sync().unwrap();
    }
    f.verify();
    assert!(extents_of(&f.fs, f.ino).len() <= 2);
    f.fs.check();
}

#[test]
fn space_comes_back_when_files_are_overwritten_cut_and_deleted() {
    let mut f = Checked::new();
    f.write(0, b"x");
    let free = f.fs.free();
    for round in 0..5 {
        f.write(0, &pattern(round, 3 << 20));
        f.write(1 << 20, &pattern(round + 10, 1 << 20));
    }
    assert_eq!(f.fs.free(), free - 3 * 256);
    f.truncate(1);
    assert_eq!(f.fs.free(), free);
    f.fs.check();
}

#[test]
fn a_write_is_there_wholly_or_not_at_all_after_a_crash() {
    let mut f = Checked::new();
    let old = pattern(1, 5 << 20);
    f.write(0, &old);
    f.fs.fs.sync().unwrap();
    f.write(12_345, &pattern(2, 4 << 20));
    let crashed = f.fs.after_crash();
    assert_eq!(crashed.contents(f.ino), old);
    f.fs.fs.sync().unwrap();
    let crashed = f.fs.after_crash();
    assert_eq!(crashed.contents(f.ino), f.model);
    assert!(f.fs.fs.write_atomic_max() >= 64 << 20);
    crashed.check();
}

#[test]
fn only_regular_files_have_contents() {
    let fs = TestFs::new();
    let dir = fs.dir(ROOT_INO, "d");
    assert_eq!(fs.fs.write(dir, 0, b"x", t(1)), Err(Error::IsDir));
    assert_eq!(fs.fs.write(dir, 0, &[1; 5000], t(1)), Err(Error::IsDir));
    assert_eq!(fs.fs.read(dir, 0, &mut [0]), Err(Error::IsDir));
    assert_eq!(fs.fs.truncate(dir, 0, t(1)), Err(Error::IsDir));
    assert_eq!(fs.fs.punch(dir, 0, 1, t(1)), Err(Error::IsDir));
    assert_eq!(fs.fs.write(999, 0, b"x", t(1)), Err(Error::NotFound));
}

#[test]
fn the_largest_file_ends_where_signed_offsets_do() {
    let fs = TestFs::new();
    let ino = fs.root_file("f");
    fs.fs.write(ino, FILE_SIZE_MAX - 3, b"end", t(1)).unwrap();
    assert_eq!(
        fs.fs.write(ino, FILE_SIZE_MAX - 2, b"end", t(1)),
        Err(Error::FileTooBig)
    );
    assert_eq!(fs.fs.write(ino, u64::MAX, b"x", t(1)), Err(Error::FileTooBig));
    assert_eq!(fs.fs.truncate(ino, FILE_SIZE_MAX + 1, t(1)), Err(Error::FileTooBig));
    let mut end = [0; 8];
    assert_eq!(fs.fs.read(ino, FILE_SIZE_MAX - 5, &mut end), Ok(5));
    assert_eq!(&end[..5], b"\0\0end");
    fs.fs.truncate(ino, FILE_SIZE_MAX, t(1)).unwrap();
    fs.check();
}

fn fragment(fs: &TestFs, ino: Ino, blocks: u64) {
    // Every other block first, so that nothing merges.
    for i in 0..blocks {
        fs.fs.write(ino, i * 2 * B, &pattern(i, B as usize), t(1)).unwrap();
    }
}

#[test]
fn cutting_a_fragmented_file_takes_several_transactions_and_ends() {
    let fs = TestFs::new();
    let ino = fs.root_file("f");
    let free = fs.free();
    fragment(&fs, ino, 500);
    assert_eq!(extents_of(&fs, ino).len(), 500);
    fs.fs.truncate(ino, 10 * B, t(2)).unwrap();
    assert_eq!(extents_of(&fs, ino).len(), 5);
    let inode = fs.fs.inode(ino).unwrap();
    assert_eq!((inode.state, inode.blocks), (0, 5 * B / 512));
    fs.check();
    fs.fs.truncate(ino, 0, t(2)).unwrap();
    assert_eq!(fs.free(), free);
}

/// The state in which a crash in the middle of a cut leaves a file.
fn half_cut(fs: &TestFs, ino: Ino, size: u64) {
    let mut tx = fs.fs.begin(Reserve::items(4)).unwrap();
    change(&mut tx, ino, |d| {
        d.size.set(size);
        d.state.set(d.state.get() | state::TRUNCATING);
        Ok(())
    })
    .unwrap();
    orphan::add(&mut tx, ino, TRUNCATE).unwrap();
    tx.commit();
}

#[test]
fn an_interrupted_cut_is_finished_by_the_next_mount() {
    let fs = TestFs::new();
    let ino = fs.root_file("f");
    fragment(&fs, ino, 200);
    half_cut(&fs, ino, 6 * B);
    fs.fs.sync().unwrap();
    let fs = fs.after_crash();
    let inode = fs.fs.inode(ino).unwrap();
    assert_eq!((inode.state, inode.size, inode.blocks), (0, 6 * B, 3 * B / 512));
    assert_eq!(extents_of(&fs, ino).len(), 3);
    fs.check();
}

#[test]
fn an_interrupted_cut_is_finished_before_the_file_grows() {
    let grow: [fn(&TestFs, Ino); 4] = [
        |fs, ino| fs.fs.truncate(ino, 400 * B, t(3)).map(|_| ()).unwrap(),
        |fs, ino| fs.fs.write(ino, 400 * B - 1, b"\0", t(3)).map(|_| ()).unwrap(),
        |fs, ino| {
            let data = DataState::new().unwrap();
            let a = fs.fs.alloc_data_direct(ino, &data, 399, 1).unwrap();
            fs.fs.dev().write(a.pblk * B, &[0; B as usize]).unwrap();
            fs.fs
                .end_data_io(ino, &data, &a, Some(400 * B), None)
                .map(|_| ())
                .unwrap()
        },
        |fs, ino| {
            let data = DataState::new().unwrap();
            fs.fs.truncate_data(ino, &data, 400 * B, t(3)).map(|_| ()).unwrap()
        },
    ];
    for grow in grow {
        let fs = TestFs::new();
        let ino = fs.root_file("f");
        fragment(&fs, ino, 200);
        half_cut(&fs, ino, 2 * B);
        grow(&fs, ino);
        let contents = fs.contents(ino);
        assert_eq!(contents.len() as u64, 400 * B);
        assert_eq!(contents[..B as usize], pattern(0, B as usize));
        assert!(contents[B as usize..].iter().all(|b| *b == 0));
        fs.check();
    }
}

#[test]
fn a_full_device_says_so_and_can_be_emptied() {
    let fs = TestFs::of_size(16 << 20);
    let ino = fs.root_file("f");
    let data = pattern(1, 256 << 10);
    let mut off = 0;
    let full = loop {
        match fs.fs.write(ino, off, &data, t(1)) {
            Ok(_) => off += data.len() as u64,
            Err(e) => break e,
        }
    };
    assert_eq!(full, Error::NoSpace);
    assert!(off > 8 << 20, "{off}");
    while fs.fs.write(ino, off, &data[..4096], t(1)).is_ok() {
        off += 4096;
    }
    assert_eq!(fs.contents(ino).len() as u64, off);
    fs.check();
    let mut n = 0;
    while fs
        .fs
        .create(
            ROOT_INO,
            std::format!("file-{n}").as_bytes(),
            &crate::inode::testing::new(0o100644),
        )
        .is_ok()
    {
        n += 1;
    }
    fs.fs.truncate(ino, 12_345, t(2)).unwrap();
    assert_eq!(fs.contents(ino).len(), 12_345);
    fs.fs.write(ino, off / 2, &data, t(3)).unwrap();
    fs.fs.unlink(ROOT_INO, b"f", t(4)).unwrap();
    fs.fs.evict(ino).unwrap();
    fs.check();
}

#[test]
fn threads_may_write_different_files_at_once() {
    let fs = TestFs::new();
    let inos: StdVec<Ino> = (0..4).map(|i| fs.root_file(&std::format!("f{i}"))).collect();
    std::thread::scope(|s| {
        for (i, ino) in inos.iter().enumerate() {
            let fs = &fs;
            s.spawn(move || {
                for round in 0..60u64 {
                    let data = pattern(i as u64 + round, 40_000);
                    fs.fs.write(*ino, round * 7001 % 90_000, &data, t(1)).unwrap();
                    let mut back = vec![0; 40_000];
                    fs.fs.read(*ino, round * 7001 % 90_000, &mut back).unwrap();
                    assert_eq!(back, data);
                    if round % 16 == 0 {
                        fs.fs.sync().unwrap();
                    }
                }
            });
        }
    });
    fs.check();
}

#[test]
fn a_batch_of_reads_finds_what_single_reads_find() {
    for (head, holes) in [
        (100usize, false),
        (5 * B as usize + 9, false),
        (300, true),
        (3 * B as usize, true),
    ] {
        let mut f = Checked::new();
        f.write(0, &pattern(1, head));
        if holes {
            f.write(9 * B as usize, &pattern(2, 2 * B as usize + 5));
            f.write(40 * B as usize, &pattern(3, B as usize));
        }
        let blocks = (f.model.len() as u64).div_ceil(B);
        let mut buffers: StdVec<_> = (0..blocks)
            .map(|i| vec![0xee; ((blocks - i).min(3) * B) as usize])
            .collect();
        let mut reads: StdVec<_> = buffers
            .iter_mut()
            .enumerate()
            .map(|(i, data)| ReadAt {
                offset: i as u64 * B,
                data,
            })
            .collect();
        f.fs.fs.read_batch(f.ino, &mut reads).unwrap();
        f.model.resize((blocks * B) as usize, 0);
        for (i, buffer) in buffers.iter().enumerate() {
            assert_eq!(
                buffer[..],
                f.model[i * B as usize..][..buffer.len()],
                "{head} {holes} {i}"
            );
        }
        let end = blocks * B;
        for (offset, len) in [(1, B), (0, B + 1), (end, B), (u64::MAX - B + 1, B), (end - B, 2 * B)] {
            let mut data = vec![0; len as usize];
            let refused = f.fs.fs.read_batch(
                f.ino,
                &mut [ReadAt {
                    offset,
                    data: &mut data,
                }],
            );
            assert!(matches!(refused, Err(Error::Invalid(_))), "{offset} {len}");
        }
    }
}
