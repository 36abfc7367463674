// SPDX-License-Identifier: Apache-2.0
//! Which operation comes next, and what it makes of the model.

use super::model::Model;
use super::model::Slot;
use super::model::BLOCK;
use super::model::BLOCKS;
use super::model::CELLS;
use super::model::SLOTS;
use super::observe::Rule;
use super::shared::UnderWay;
use crate::powercut::Random;

/// An operation of a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// One `write` of whole blocks, which makes the file where there is none.
    Write {
        slot: usize,
        first: usize,
        count: usize,
    },
    /// The same past the page cache.
    Direct {
        slot: usize,
        first: usize,
        count: usize,
    },
    /// The same through a mapping of blocks that are there; perhaps `msync`.
    Map {
        slot: usize,
        first: usize,
        count: usize,
        sync: bool,
    },
    Truncate {
        slot: usize,
        len: u64,
    },
    Punch {
        slot: usize,
        first: usize,
        count: usize,
    },
    Unlink {
        slot: usize,
    },
    Rename {
        from: usize,
        to: usize,
    },
    Exchange {
        a: usize,
        b: usize,
    },
    Fsync {
        slot: usize,
    },
    Syncfs,
    /// Syncs a file that another seat's process writes: what its pages hold is that one's.
    FsyncOther {
        slot: usize,
    },
    /// Writes the scattered file, cell by cell.
    Scatter,
    FsyncScattered,
    UnlinkScattered,
    Insert {
        count: u64,
        sync: bool,
    },
    Delete {
        count: u64,
    },
    Search {
        id: u64,
    },
    Maintain,
    Index {
        kind: u32,
    },
    Optimize,
}

/// Names of the operations; [`Op::number`] is an index.
pub const NAMES: [&str; 20] = [
    "write",
    "direct write",
    "mapped write",
    "truncate",
    "punch",
    "unlink",
    "rename",
    "exchange",
    "fsync",
    "syncfs",
    "scatter",
    "fsync of the scattered file",
    "unlink of the scattered file",
    "insert",
    "delete",
    "search",
    "maintain",
    "index",
    "optimize",
    "fsync of another seat's file",
];

impl Op {
    pub fn number(&self) -> usize {
        match self {
            Op::Write { .. } => 0,
            Op::Direct { .. } => 1,
            Op::Map { .. } => 2,
            Op::Truncate { .. } => 3,
            Op::Punch { .. } => 4,
            Op::Unlink { .. } => 5,
            Op::Rename { .. } => 6,
            Op::Exchange { .. } => 7,
            Op::Fsync { .. } => 8,
            Op::Syncfs => 9,
            Op::Scatter => 10,
            Op::FsyncScattered => 11,
            Op::UnlinkScattered => 12,
            Op::Insert { .. } => 13,
            Op::Delete { .. } => 14,
            Op::Search { .. } => 15,
            Op::Maintain => 16,
            Op::Index { .. } => 17,
            Op::Optimize => 18,
            Op::FsyncOther { .. } => 19,
        }
    }

    /// How far it may have got when it did not end, and which files it changes.
    pub fn under_way(&self) -> UnderWay {
        let (rule, touched) = match *self {
            Op::Write { slot, .. } | Op::Direct { slot, .. } | Op::Punch { slot, .. } => (Rule::Blocks, 1 << slot),
            Op::Map { slot, .. } => (Rule::Words, 1 << slot),
            Op::Truncate { slot, .. } | Op::Unlink { slot } => (Rule::Whole, 1 << slot),
            Op::Rename { from: a, to: b } | Op::Exchange { a, b } => (Rule::Whole, 1 << a | 1 << b),
            _ => (Rule::Whole, 0),
        };
        UnderWay {
            op: self.number() as u32,
            rule,
            touched,
        }
    }

    /// Changes `model` as the operation does when it succeeds. Promises of durability are not kept here.
    pub fn apply(&self, model: &mut Model) {
        match *self {
            Op::Write { slot, first, count }
            | Op::Direct { slot, first, count }
            | Op::Map { slot, first, count, .. } => {
                if model.slots[slot].content == 0 {
                    model.slots[slot].content = model.content();
                }
                let generation = model.next_generation();
                model.slots[slot].write(first, count, generation);
            }
            Op::Truncate { slot, len } => model.slots[slot].truncate(len),
            Op::Punch { slot, first, count } => model.slots[slot].punch(first, count),
            Op::Unlink { slot } => model.slots[slot] = Slot::NONE,
            Op::Rename { from, to } => {
                model.slots[to] = model.slots[from];
                model.slots[from] = Slot::NONE;
            }
            Op::Exchange { a, b } => model.slots.swap(a, b),
            Op::Scatter => {
                model.scattered = model.content();
                model.cells = CELLS;
            }
            Op::UnlinkScattered => (model.scattered, model.cells) = (0, 0),
            Op::Insert { count, .. } => model.rows_to += count,
            Op::Delete { count } => model.rows_from += count,
            Op::Fsync { .. }
            | Op::Syncfs
            | Op::FsyncOther { .. }
            | Op::FsyncScattered
            | Op::Search { .. }
            | Op::Maintain
            | Op::Index { .. }
            | Op::Optimize => {}
        }
    }
}

/// Which operations a worker does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mix {
    /// Nothing that makes anything durable.
    pub unsynced: bool,
    /// Writes, fsyncs and durable inserts only: what a failing device leaves can then be told.
    pub durable: bool,
    /// There is a collection.
    pub rows: bool,
    /// There is another seat.
    pub other: bool,
}

/// Chooses an operation that succeeds on `model`.
pub fn choose(random: &mut Random, model: &Model, mix: Mix) -> Op {
    loop {
        if let Some(op) = attempt(random, model, mix) {
            return op;
        }
    }
}

fn attempt(random: &mut Random, model: &Model, mix: Mix) -> Option<Op> {
    let slot = random.below(SLOTS as u64) as usize;
    let other = random.below(SLOTS as u64) as usize;
    let file = &model.slots[slot];
    let exists = file.content != 0;
    let most = if random.below(4) == 0 { 32 } else { 4 };
    let count = 1 + random.below(most) as usize;
    let first = random.below((BLOCKS - count) as u64 + 1) as usize;
    let rows = model.rows_to - model.rows_from;
    let op = match random.below(110) {
        0..=24 => Op::Write { slot, first, count },
        25..=30 => Op::Direct { slot, first, count },
        31..=38 if exists && (first + count) * BLOCK <= file.len as usize && !mix.durable => Op::Map {
            slot,
            first,
            count,
            sync: !mix.unsynced && random.below(3) == 0,
        },
        // Half of the time its scattered file, which takes longest.
        39..=46 if mix.other => Op::FsyncOther {
            slot: random.below(2 * SLOTS as u64) as usize,
        },
        39..=53 if exists && !mix.unsynced => Op::Fsync { slot },
        54 if !mix.unsynced => Op::Syncfs,
        55..=58 if mix.rows => Op::Search { id: model.rows_to },
        59..=68 if mix.rows && rows < 4000 && model.pending == 0 => Op::Insert {
            count: 1 + random.below(100),
            sync: mix.durable || !mix.unsynced && random.below(2) == 0,
        },
        // The rest is not for a device that fails.
        _ if mix.durable => return None,
        69..=71 if exists => Op::Truncate {
            slot,
            len: random.below((BLOCKS * BLOCK) as u64),
        },
        72..=74 if exists => Op::Punch { slot, first, count },
        75..=79 if exists => Op::Unlink { slot },
        80..=85 if exists && slot != other => Op::Rename { from: slot, to: other },
        86..=87 if exists && slot != other && model.slots[other].content != 0 => Op::Exchange { a: slot, b: other },
        88 | 89 | 100..=109 if model.scattered == 0 => Op::Scatter,
        100..=106 if !mix.unsynced => Op::FsyncScattered,
        107..=109 => Op::UnlinkScattered,
        90..=93 if mix.rows && rows > 1000 => Op::Delete {
            count: 1 + random.below(1000),
        },
        94..=96 if mix.rows && !mix.unsynced => Op::Maintain,
        97 if mix.rows && !mix.unsynced => Op::Index {
            kind: 1 + random.below(3) as u32,
        },
        98 if mix.rows && !mix.unsynced => Op::Optimize,
        _ => return None,
    };
    Some(op)
}
