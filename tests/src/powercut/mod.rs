// SPDX-License-Identifier: Apache-2.0
//! The power-cut workload: a deterministic sequence of operations, each acknowledged once it is durable, and the model
//! of what must be there after any number of acknowledgements.
//!
//! The guest program carries the operations out and, after each, writes a mark with its number to a second partition of
//! the same virtual disk. The write log then holds the marks in their place among the filesystem's own writes: in a
//! disk rebuilt from the log up to some position, everything marked before that position must be intact, and the one
//! operation under way may have happened, not happened, or for plain writes partly.

use std::collections::BTreeMap;

pub mod layout;
pub mod replay;
pub mod verify;

/// The dimension of the vectors that the workload inserts.
pub const DIM: usize = 16;
/// The collection's name in the root folder.
pub const COLLECTION: &str = "vectors";
/// The folder in which a second thread writes without syncing, to keep commits and writeback busy.
pub const NOISE: &str = "noise";

/// One durable operation. Files are named by number, see [`file_name`].
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Append `data`, fsync the file.
    Append { file: u32, data: Vec<u8> },
    /// Write `data` at `offset` inside the file, fdatasync.
    Overwrite { file: u32, offset: u64, data: Vec<u8> },
    /// Write `data` to a temporary file, fsync it, rename it over the file, fsync the folder.
    Replace { file: u32, data: Vec<u8> },
    /// Cut or extend the file, fsync it.
    Truncate { file: u32, len: u64 },
    /// Remove the file, fsync the folder.
    Unlink { file: u32 },
    /// Insert rows with these ids in one call with the SYNC flag.
    Insert { first: u64, count: u64 },
    /// Delete these ids, then fsync the collection's directory.
    Delete { ids: Vec<u64> },
}

/// The place of file `n`, relative to the mount point.
pub fn file_name(n: u32) -> String {
    format!("d{}/f{n:03}", n % FOLDERS)
}

/// The temporary name that a replacement of file `n` uses.
pub fn temporary_name(n: u32) -> String {
    format!("d{}/t{n:03}", n % FOLDERS)
}

/// How many folders `d0`, `d1`, ... the files are spread over.
pub const FOLDERS: u32 = 4;
const FILES: u32 = 40;

/// The vector of row `id`: small integers, so that every conversion is exact.
pub fn vector(id: u64) -> [f32; DIM] {
    let mut random = Random::new(id.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    std::array::from_fn(|_| random.below(256) as f32 - 128.0)
}

/// A small deterministic generator (xorshift64*, Vigna 2016).
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    /// A generator whose sequence depends on `seed` only.
    pub fn new(seed: u64) -> Self {
        let mut random = Random(seed ^ 0x2545_f491_4f6c_dd1d);
        if random.0 == 0 {
            random.0 = 1;
        }
        random.below(2);
        random
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) % n
    }

    fn bytes(&mut self, len: u64) -> Vec<u8> {
        (0..len).map(|_| self.below(256) as u8).collect()
    }
}

/// What must be on the filesystem.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Model {
    /// Contents by file number.
    pub files: BTreeMap<u32, Vec<u8>>,
    /// Ids of the rows.
    pub rows: std::collections::BTreeSet<u64>,
}

impl Model {
    /// Carries `op` out on the model.
    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::Append { file, data } => self.files.entry(*file).or_default().extend_from_slice(data),
            Op::Overwrite { file, offset, data } => {
                let content = self.files.entry(*file).or_default();
                let start = *offset as usize;
                content[start..start + data.len()].copy_from_slice(data);
            }
            Op::Replace { file, data } => {
                self.files.insert(*file, data.clone());
            }
            Op::Truncate { file, len } => self.files.entry(*file).or_default().resize(*len as usize, 0),
            Op::Unlink { file } => {
                self.files.remove(file);
            }
            Op::Insert { first, count } => self.rows.extend(*first..*first + *count),
            Op::Delete { ids } => self.rows.retain(|id| !ids.contains(id)),
        }
    }
}

/// The endless sequence of operations of a seed.
#[derive(Clone)]
pub struct Workload {
    random: Random,
    model: Model,
    next_row: u64,
}

impl Workload {
    /// The sequence of `seed`.
    pub fn new(seed: u64) -> Self {
        Workload {
            random: Random::new(seed),
            model: Model::default(),
            next_row: 1,
        }
    }

    /// What the operations so far must have led to.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The next operation; the model already contains its effect.
    pub fn step(&mut self) -> Op {
        let op = self.choose();
        self.model.apply(&op);
        op
    }

    fn choose(&mut self) -> Op {
        let random = &mut self.random;
        let file = random.below(u64::from(FILES)) as u32;
        let size = self.model.files.get(&file).map(|c| c.len() as u64);
        // Many small files, some of a few blocks, few large ones.
        let len = match random.below(10) {
            0..=4 => 1 + random.below(2_000),
            5..=8 => 1 + random.below(20_000),
            _ => 1 + random.below(200_000),
        };
        match (random.below(16), size) {
            (0..=2, _) | (3..=7, None) => Op::Append {
                file,
                data: random.bytes(len),
            },
            (3..=5, Some(size)) if size > 1 => {
                let offset = random.below(size - 1);
                let len = len.min(size - offset);
                Op::Overwrite {
                    file,
                    offset,
                    data: random.bytes(len),
                }
            }
            (6..=8, _) => Op::Replace {
                file,
                data: random.bytes(len),
            },
            (9, Some(size)) => Op::Truncate {
                file,
                len: random.below(size * 3 / 2 + 10),
            },
            (10, Some(_)) => Op::Unlink { file },
            (11, _) if !self.model.rows.is_empty() => {
                let ids: Vec<u64> = self.model.rows.iter().copied().collect();
                let count = 1 + random.below(ids.len().min(20) as u64);
                let start = random.below(ids.len() as u64) as usize;
                Op::Delete {
                    ids: ids.into_iter().skip(start).take(count as usize).collect(),
                }
            }
            _ => {
                let count = 1 + random.below(120);
                let first = self.next_row;
                self.next_row += count;
                Op::Insert { first, count }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_operations() {
        let (mut a, mut b) = (Workload::new(7), Workload::new(7));
        for _ in 0..500 {
            assert_eq!(a.step(), b.step());
        }
        assert_eq!(a.model(), b.model());
    }

    #[test]
    fn every_kind_of_operation_comes_up() {
        let mut workload = Workload::new(1);
        let kinds: std::collections::HashSet<_> = (0..500).map(|_| std::mem::discriminant(&workload.step())).collect();
        assert_eq!(kinds.len(), 7);
    }
}
