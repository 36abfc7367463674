// SPDX-License-Identifier: Apache-2.0
//! What a seat must contain, byte for byte.

use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;

/// Files of a seat.
pub const SLOTS: usize = 12;
/// Blocks a file has at most.
pub const BLOCKS: usize = 64;
pub const BLOCK: usize = 4096;
/// Cells of the scattered file: as many extents as fill several leaves of the tree.
pub const CELLS: u64 = 3000;
/// Bytes from one cell to the next.
pub const CELL_STRIDE: u64 = 8192;

/// What a block of a file holds: `valid` bytes that its `generation` defines, then zeros.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Part {
    pub generation: u32,
    pub valid: u32,
}

/// A file; `content` 0 is none.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Slot {
    /// What tells this file's bytes from any other's.
    pub content: u64,
    pub len: u64,
    pub parts: [Part; BLOCKS],
}

impl Slot {
    pub const NONE: Slot = Slot {
        content: 0,
        len: 0,
        parts: [Part {
            generation: 0,
            valid: 0,
        }; BLOCKS],
    };

    /// The bytes of block `n` in a file that reaches beyond it.
    pub fn block(&self, n: usize) -> Vec<u8> {
        let mut bytes = fill(self.content, n, self.parts[n].generation);
        bytes[self.parts[n].valid as usize..].fill(0);
        bytes
    }

    /// Writes blocks `first..first + count` anew.
    pub fn write(&mut self, first: usize, count: usize, generation: u32) {
        self.len = self.len.max(((first + count) * BLOCK) as u64);
        self.parts[first..first + count].fill(Part {
            generation,
            valid: BLOCK as u32,
        });
    }

    pub fn truncate(&mut self, len: u64) {
        self.len = len;
        for (n, part) in self.parts.iter_mut().enumerate() {
            part.valid = part.valid.min(len.saturating_sub((n * BLOCK) as u64) as u32);
            if part.valid == 0 {
                part.generation = 0;
            }
        }
    }

    pub fn punch(&mut self, first: usize, count: usize) {
        self.parts[first..first + count].fill(Part::default());
    }
}

/// The word of `content` at byte `offset`, written in `generation`; no other file, place or generation has it.
pub fn word(content: u64, offset: u64, generation: u32) -> u64 {
    let mut x = content.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ offset.rotate_left(32) ^ u64::from(generation);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (x ^ (x >> 31)) | 1
}

/// A block as a write leaves it; zeros for generation 0.
pub fn fill(content: u64, block: usize, generation: u32) -> Vec<u8> {
    if generation == 0 {
        return vec![0; BLOCK];
    }
    let start = (block * BLOCK) as u64;
    let offsets = (start..start + BLOCK as u64).step_by(8);
    offsets
        .flat_map(|at| word(content, at, generation).to_le_bytes())
        .collect()
}

/// Everything a seat has.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Model {
    pub slots: [Slot; SLOTS],
    /// What an fsync that succeeded promised of each file.
    pub synced: [Slot; SLOTS],
    /// The last generation at which promising failed.
    pub broken: [u64; SLOTS],
    /// A file with one word in every second block, `cells` of them; `scattered` 0 is none.
    pub scattered: u64,
    pub cells: u64,
    /// The collection has rows `rows_from..rows_to`.
    pub rows_from: u64,
    pub rows_to: u64,
    /// And perhaps the batch after them, whose insertion failed.
    pub pending: u64,
    pub next_content: u64,
    pub generation: u64,
}

impl Model {
    pub fn new(seat: u64) -> Self {
        Model {
            slots: [Slot::NONE; SLOTS],
            synced: [Slot::NONE; SLOTS],
            broken: [0; SLOTS],
            scattered: 0,
            cells: 0,
            rows_from: 1,
            rows_to: 1,
            pending: 0,
            next_content: (seat + 1) << 40,
            generation: 0,
        }
    }

    /// A number for a new content.
    pub fn content(&mut self) -> u64 {
        self.next_content += 1;
        self.next_content
    }

    /// A generation for a write.
    pub fn next_generation(&mut self) -> u32 {
        self.generation += 1;
        self.generation as u32
    }
}

/// The name of file `slot` in the seat's directory.
pub fn slot_name(slot: usize) -> String {
    format!("file{slot:02}")
}

/// The name of the scattered file.
pub const SCATTERED: &str = "scattered";

/// The name of seat `n`'s directory.
pub fn seat_name(n: usize) -> String {
    format!("seat{n}")
}

/// The name of seat `n`'s collection.
pub fn rows_name(n: usize) -> String {
    format!("rows{n}")
}
