// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! A page cache in miniature: what the kernel does to a file, in random order, against a plain array.

use super::*;
use crate::testing::Rng;
use std::collections::BTreeMap;
use std::format;

const BLOCKS: u64 = 200;

/// Dirty blocks, writes under way, and what the file must read as.
struct Cache<'a> {
    fs: &'a TestFs,
    ino: Ino,
    data: DataState,
    rng: Rng,
    /// The truth: one byte for each block, 0 for a hole.
    model: BTreeMap<u64, u8>,
    /// Blocks that writeback has not taken yet.
    dirty: BTreeMap<u64, u8>,
    flying: StdVec<(DataAlloc, StdVec<u8>)>,
}

impl Cache<'_> {
    fn dirty_some(&mut self) {
        let (at, len) = (self.rng.below(BLOCKS), 1 + self.rng.below(12));
        if self.fs.fs.reserve(self.ino, &self.data, at, len).is_err() {
            return;
        }
        for b in at..at + len {
            let byte = 1 + self.rng.below(255) as u8;
            self.dirty.insert(b, byte);
            self.model.insert(b, byte);
        }
    }

    fn is_flying(&self, b: u64) -> bool {
        self.flying
            .iter()
            .any(|(a, _)| (a.lblk..a.lblk + u64::from(a.len)).contains(&b))
    }

    /// Starts writing back some blocks; one that is being written already has to wait, as a folio under writeback does.
    fn start(&mut self) {
        let Some(first) = self.dirty.keys().copied().find(|b| !self.is_flying(*b)) else {
            return;
        };
        let run = (first..)
            .take_while(|b| self.dirty.contains_key(b) && !self.is_flying(*b))
            .count() as u64;
        let m = self.fs.fs.map(self.ino, &self.data, first, run).unwrap();
        assert!(m.reserved, "a dirty block is reserved");
        let a = self.fs.fs.alloc_data_for(self.ino, &self.data, first, m.len).unwrap();
        let bytes: StdVec<u8> = (a.lblk..a.lblk + u64::from(a.len))
            .map(|b| self.dirty.remove(&b).unwrap())
            .collect();
        for (i, byte) in (0..).zip(&bytes) {
            self.fs.fs.dev().write((a.pblk + i) * B, &[*byte; B as usize]).unwrap();
        }
        self.flying.push((a, bytes));
    }

    fn land(&mut self) {
        if self.flying.is_empty() {
            return;
        }
        let n = self.rng.below(self.flying.len() as u64) as usize;
        let (a, _) = self.flying.swap_remove(n);
        let end = (a.lblk + u64::from(a.len)) * B;
        self.fs
            .fs
            .end_data_io(self.ino, &self.data, &a, Some(end), None)
            .unwrap();
    }

    fn wait(&mut self) {
        while !self.flying.is_empty() {
            self.land();
        }
    }

    fn step(&mut self) {
        match self.rng.below(20) {
            0..=7 => self.dirty_some(),
            8..=12 => self.start(),
            13..=16 => self.land(),
            17 => {
                let size = self.rng.below(BLOCKS + 12);
                self.wait();
                self.dirty.split_off(&size);
                self.model.split_off(&size);
                self.fs.fs.truncate_data(self.ino, &self.data, size * B, t(1)).unwrap();
            }
            18 => {
                let (at, len) = (self.rng.below(BLOCKS), self.rng.below(40));
                self.wait();
                self.dirty.retain(|b, _| !(at..at + len).contains(b));
                self.model.retain(|b, _| !(at..at + len).contains(b));
                self.fs.fs.punch_blocks(self.ino, &self.data, at, len, t(1)).unwrap();
            }
            _ => self.fs.fs.sync().unwrap(),
        }
        assert_eq!(self.data.reserved_blocks(), self.dirty.len() as u64);
    }

    fn flush_and_verify(&mut self) {
        while !self.dirty.is_empty() || !self.flying.is_empty() {
            self.start();
            self.land();
        }
        let contents = self.fs.contents(self.ino);
        for (b, bytes) in (0..).zip(contents.chunks(B as usize)) {
            let expected = self.model.get(&b).copied().unwrap_or(0);
            assert!(bytes.iter().all(|x| *x == expected), "block {b} of inode {}", self.ino);
        }
        if let Some((last, _)) = self.model.last_key_value() {
            assert!(contents.len() as u64 >= (last + 1) * B);
        }
    }
}

#[test]
fn page_caches_of_several_files_at_once_find_what_they_wrote() {
    let fs = TestFs::new();
    std::thread::scope(|s| {
        for thread in 0..4 {
            let fs = &fs;
            s.spawn(move || {
                let mut cache = Cache {
                    fs,
                    ino: fs.root_file(&format!("f{thread}")),
                    data: DataState::new().unwrap(),
                    rng: Rng(thread),
                    model: BTreeMap::new(),
                    dirty: BTreeMap::new(),
                    flying: StdVec::new(),
                };
                for round in 0..3000 {
                    cache.step();
                    if round % 500 == 499 {
                        cache.flush_and_verify();
                    }
                }
                assert_eq!(cache.data.reserved_blocks(), 0);
            });
        }
    });
    assert_eq!(fs.fs.counters().promised_blocks, 0);
    fs.check();
}
