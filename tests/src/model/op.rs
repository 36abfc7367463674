// SPDX-License-Identifier: Apache-2.0
//! Random operations.

/// What an operation does; the numbers pick objects, names and sizes when it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    CreateFile,
    Mkdir,
    Symlink,
    Mknod,
    Tmpfile,
    Link,
    LinkTmpfile,
    Unlink,
    Rmdir,
    Rename,
    Write,
    WriteCached,
    Writeback,
    Truncate,
    Punch,
    Read,
    SetAttr,
    SetXattr,
    RemoveXattr,
    GetXattr,
    ListXattr,
    Lookup,
    Readdir,
    ReadLink,
    Evict,
    Sync,
    Fsync,
    Shrink,
    Remount,
    CreateCollection,
    Insert,
    DeleteRows,
    Search,
    GetRows,
    DropCache,
    DropCollection,
    Maintain,
}

use Kind::*;

const WEIGHTS: &[(Kind, u32)] = &[
    (CreateFile, 60),
    (Mkdir, 20),
    (Symlink, 12),
    (Mknod, 4),
    (Tmpfile, 4),
    (Link, 16),
    (LinkTmpfile, 3),
    (Unlink, 22),
    (Rmdir, 10),
    (Rename, 32),
    (Write, 50),
    (WriteCached, 30),
    (Writeback, 12),
    (Truncate, 16),
    (Punch, 8),
    (Read, 20),
    (SetAttr, 8),
    (SetXattr, 20),
    (RemoveXattr, 8),
    (GetXattr, 4),
    (ListXattr, 3),
    (Lookup, 6),
    (Readdir, 6),
    (ReadLink, 3),
    (Evict, 10),
    (Sync, 4),
    (Fsync, 16),
    (Shrink, 3),
    (Remount, 2),
    (CreateCollection, 8),
    (Insert, 34),
    (DeleteRows, 6),
    (Search, 8),
    (GetRows, 4),
    (DropCache, 1),
    (DropCollection, 1),
    (Maintain, 14),
];

/// An operation: 64 random bits, most of which pick operands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Op(pub u64);

impl Op {
    pub fn kind(self) -> Kind {
        let total: u32 = WEIGHTS.iter().map(|(_, w)| w).sum();
        // The low bits choose, so that a shrinking number tends towards the first kinds and small operands.
        let mut n = (self.0 & 0xffff) as u32 % total;
        for (kind, w) in WEIGHTS {
            if n < *w {
                return *kind;
            }
            n -= w;
        }
        CreateFile
    }

    /// Operand `i`: one of eight bytes derived from the bits.
    fn bits(self, i: u32) -> u64 {
        let x = (self.0 >> 16)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .rotate_left(11 * i + 7);
        x ^ (x >> 29)
    }

    /// Operand `i`, below `n` (which is not 0).
    pub fn pick(self, i: u32, n: u64) -> u64 {
        self.bits(i) % n
    }

    /// Operand `i` as a size: mostly small, sometimes up to `max`, often at the edges that matter.
    pub fn size(self, i: u32, max: u64) -> u64 {
        const EDGES: [u64; 14] = [
            0, 1, 511, 512, 2047, 2048, 2049, 4095, 4096, 4097, 8192, 12_288, 16_384, 65_536,
        ];
        let n = self.bits(i);
        let v = match n % 8 {
            0..=2 => EDGES[(n / 8) as usize % EDGES.len()],
            3..=4 => (n / 8) % 3000,
            5..=6 => (n / 8) % 40_000,
            _ => (n / 8) % max.max(1),
        };
        v.min(max)
    }

    /// Bytes that only this operation writes.
    pub fn data(self, len: usize) -> Vec<u8> {
        let mut x = self.0 | 1;
        (0..len)
            .map(|_| {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                (x >> 24) as u8
            })
            .collect()
    }
}

impl std::fmt::Debug for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Op({:#x} /* {:?} */)", self.0, self.kind())
    }
}

/// A small generator for workloads (xorshift64*), so that a seed means the same everywhere.
#[derive(Clone)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03 | 1)
    }

    pub fn draw(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        (self.draw() >> 11) % n.max(1)
    }

    pub fn op(&mut self) -> Op {
        Op(self.draw())
    }

    /// An operation of a certain kind.
    pub fn op_of(&mut self, kind: Kind) -> Op {
        loop {
            let op = self.op();
            if op.kind() == kind {
                return op;
            }
        }
    }
}

/// The seed of a run: what the environment variable says, or a new one. It is printed, so that a failure can be
/// replayed.
pub fn seed(variable: &str) -> u64 {
    let seed = match std::env::var(variable) {
        Ok(s) => s
            .trim_start_matches("0x")
            .parse()
            .or_else(|_| u64::from_str_radix(s.trim_start_matches("0x"), 16)),
        Err(_) => {
            let mut bytes = [0; 8];
            vexfs_host::random(&mut bytes).expect("random bytes");
            Ok(u64::from_le_bytes(bytes))
        }
    };
    let seed = seed.unwrap_or_else(|e| panic!("{variable}: {e}"));
    println!("{variable}={seed}");
    seed
}
