// SPDX-License-Identifier: Apache-2.0
//! What may be relied on while a device fails: what a sync that succeeded covered, and nothing that an error stood in
//! the way of.
//!
//! An error of writing back is told once, by the next sync of each open file, and what could not be written is not
//! tried again. A sync that succeeds later speaks of what was written since then only.

use super::choose::Op;
use super::model::Model;
use super::model::Slot;
use super::model::SLOTS;
use std::ops::Range;

/// The files that `op` syncs.
fn synced_by(op: Op) -> Range<usize> {
    match op {
        Op::Fsync { slot } => slot..slot + 1,
        Op::Syncfs => 0..SLOTS,
        _ => 0..0,
    }
}

/// Keeps what `op` promises, which succeeded and led to `after`.
pub fn note_success(op: Op, after: &mut Model) {
    for n in synced_by(op) {
        let (slot, broken) = (after.slots[n], after.broken[n]);
        let synced = &mut after.synced[n];
        (synced.content, synced.len) = (slot.content, if broken == 0 { slot.len } else { synced.len });
        for (promised, part) in synced.parts.iter_mut().zip(slot.parts) {
            if u64::from(part.generation) > broken {
                *promised = part;
            }
        }
    }
}

/// Notes that `op` failed with an error of the device, which was to lead from `before` to `after`.
pub fn note_failure(op: Op, before: &Model, after: &mut Model) {
    for n in synced_by(op) {
        after.broken[n] = after.generation;
    }
    match op {
        // Perhaps the file is there now, and perhaps some of the blocks are written. A sync promises no more of them
        // than it would have before.
        Op::Write { slot, .. } | Op::Direct { slot, .. } => {
            after.slots[slot] = Slot {
                content: after.slots[slot].content,
                ..before.slots[slot]
            };
        }
        Op::Insert { count, .. } => (after.rows_to, after.pending) = (before.rows_to, count),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn succeed(model: &mut Model, op: Op) {
        op.apply(model);
        note_success(op, model);
    }

    fn fail(model: &mut Model, op: Op) {
        let before = *model;
        op.apply(model);
        note_failure(op, &before, model);
    }

    fn write(first: usize, count: usize) -> Op {
        Op::Write { slot: 1, first, count }
    }

    fn promised(model: &Model) -> Vec<u32> {
        model.synced[1].parts[..4].iter().map(|part| part.generation).collect()
    }

    #[test]
    fn a_sync_does_not_promise_what_a_write_that_failed_was_to_write() {
        for failing in [
            write(1, 2),
            Op::Direct {
                slot: 1,
                first: 1,
                count: 2,
            },
        ] {
            let mut model = Model::new(0);
            fail(&mut model, failing);
            succeed(&mut model, Op::Fsync { slot: 1 });
            assert_eq!((model.synced[1].len, promised(&model)), (0, vec![0; 4]));
            succeed(&mut model, write(0, 2));
            fail(&mut model, failing);
            succeed(&mut model, Op::Syncfs);
            assert_eq!((model.synced[1].len, promised(&model)), (8192, vec![2, 2, 0, 0]));
        }
    }

    #[test]
    fn a_sync_after_one_that_failed_promises_only_what_was_written_in_between() {
        for (failing, next) in [(Op::Fsync { slot: 1 }, Op::Syncfs), (Op::Syncfs, Op::Fsync { slot: 1 })] {
            let mut model = Model::new(0);
            succeed(&mut model, write(0, 1));
            succeed(&mut model, Op::Fsync { slot: 1 });
            succeed(&mut model, write(0, 3));
            fail(&mut model, failing);
            succeed(&mut model, next);
            assert_eq!(promised(&model), [1, 0, 0, 0]);
            succeed(&mut model, write(1, 1));
            succeed(&mut model, next);
            assert_eq!(promised(&model), [1, 3, 0, 0]);
        }
    }
}
