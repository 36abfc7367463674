// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What operations did since the last batch, in the form in which it is written: the next batch, growing.
//!
//! It belongs to the tree, so that the tree's lock protects it and operations are in it in the order in which they
//! happened. Noting something never fails an operation: if there is no memory or no room for it, all is thrown away and
//! nothing more is noted in this transaction group, which then has to be committed to be durable.
//!
//! Invariants: an operation is in `buf` as a whole, or it is the open one and begins at `op`; all of `buf` up to
//! `sealed` is of the transaction group that is being written, or older, and all behind it is of the open one; `buf`
//! has room for the zeros at the end of the batch.

use crate::format::log::*;
use crate::format::Key;
use crate::format::Kind;
use crate::space::Run;
use core::mem::size_of;
use vexfs_host::mem::Vec;
use vexfs_host::Error;
use vexfs_host::Result;
use zerocopy::IntoBytes as _;

const HEAD: usize = size_of::<DiskLogBatch>();

/// See the top of this file.
pub(crate) struct Redo {
    /// Units of the region; 0 if there is no log.
    units: u64,
    /// Whether operations are noted.
    on: bool,
    buf: Vec<u8>,
    /// Where the open operation begins; 0 if it has noted nothing.
    op: usize,
    /// Whole operations in `buf`.
    ops: u32,
    /// Number of the last operation, counted from the mount.
    lsn: u64,
    /// The open transaction group.
    txg: u64,
    /// Transaction groups of the first and the last operation in `buf`.
    first_txg: u64,
    last_txg: u64,
    /// The last transaction group on the device.
    durable: u64,
    /// The newest transaction group of which something was thrown away.
    incomplete: u64,
    /// Runs of blocks adopted without a checksum since the mount, and how many there were when the last one in `buf`
    /// was; 0 if `buf` has none.
    adopted: u64,
    adopted_here: u64,
    /// Whether `buf` has runs of blocks with checksums, which are not counted in `adopted`.
    checked_here: bool,
    /// Where the next batch goes.
    head: u64,
    /// Where the first batch lies that is still needed.
    tail: u64,
    /// As it was when the transaction group that is being written was sealed: end of `buf`, operations, their number,
    /// `head`.
    sealed: SealMark,
}

#[derive(Clone, Copy, Default)]
struct SealMark {
    len: usize,
    ops: u32,
    lsn: u64,
    head: u64,
}

/// A batch to write.
pub(crate) struct Batch {
    /// As long as on the device; the header is yet to be filled in.
    pub(crate) bytes: Vec<u8>,
    /// Where the operations end.
    pub(crate) used: usize,
    pub(crate) head: DiskLogBatch,
    /// Number of the last operation.
    pub(crate) lsn: u64,
    /// Runs of blocks that had been adopted without a checksum, of whose data this batch speaks; 0 if it does not.
    pub(crate) adopted: u64,
    /// Whether it speaks of data that has checksums: neither it nor the data need have reached the medium before the
    /// other.
    pub(crate) checked: bool,
    /// Whether more than half of the region is in use with it.
    pub(crate) half_full: bool,
}

/// What there is to write.
pub(crate) enum Steal {
    /// Nothing: all is on the device or in the log.
    Covered,
    /// The log cannot take it; a commit can.
    Refused,
    Batch(Batch),
}

impl Redo {
    /// Nothing, and nothing is noted.
    pub(crate) const fn new() -> Redo {
        Redo {
            units: 0,
            on: false,
            buf: Vec::new(),
            op: 0,
            ops: 0,
            lsn: 0,
            txg: 0,
            first_txg: 0,
            last_txg: 0,
            durable: 0,
            incomplete: 0,
            adopted: 0,
            adopted_here: 0,
            checked_here: false,
            head: 0,
            tail: 0,
            sealed: SealMark {
                len: 0,
                ops: 0,
                lsn: 0,
                head: 0,
            },
        }
    }

    /// Starts to note what operations of `txg` and later ones do. `durable` is the transaction group on the device,
    /// whose superblock names `tail`; the next batch goes to `head`, in a region of `units`.
    pub(crate) fn start(&mut self, units: u64, durable: u64, txg: u64, tail: u64, head: u64) {
        (self.units, self.durable, self.txg) = (units, durable, txg);
        (self.tail, self.head, self.sealed.head) = (tail, head, tail);
        self.on = units > 0;
    }

    fn notes(&self) -> bool {
        self.on && self.incomplete < self.txg
    }

    /// Makes room for `more` bytes, and for an operation's header if none is open, and opens it.
    fn open(&mut self, more: usize) -> Result<()> {
        let head = if self.buf.is_empty() { HEAD } else { 0 };
        let op = if self.op == 0 { size_of::<DiskLogOp>() } else { 0 };
        let len = self.buf.len();
        let whole = len
            .checked_add(head)
            .and_then(|n| n.checked_add(op)?.checked_add(more))
            .and_then(|n| n.checked_next_multiple_of(LOG_UNIT))
            .filter(|n| *n <= LOG_BATCH_MAX)
            .ok_or(Error::TooBig("batch of the intent log"))?;
        self.buf.reserve(whole.saturating_sub(len))?;
        self.buf.resize(len.saturating_add(head), 0)?;
        if self.op == 0 {
            self.op = self.buf.len();
            self.buf.resize(self.op.saturating_add(op), 0)?;
        }
        Ok(())
    }

    fn append(&mut self, what: u8, key: &Key, data: &[u8]) -> Result<()> {
        let entry = DiskLogEntry {
            what,
            kind: key.kind.0,
            len: u16::try_from(data.len()).map_err(|_| Error::Overflow)?.into(),
            obj: key.obj.into(),
            offset: key.offset.into(),
        };
        self.open(size_of::<DiskLogEntry>().saturating_add(data.len()))?;
        self.buf.extend_from_slice(entry.as_bytes())?;
        self.buf.extend_from_slice(data)
    }

    fn note(&mut self, what: u8, key: &Key, data: &[u8]) {
        if self.notes() && self.append(what, key, data).is_err() {
            self.give_up();
        }
    }

    /// Forgets what was noted, or taken and not written: all done so far can only become durable by a commit.
    pub(crate) fn give_up(&mut self) {
        self.incomplete = self.txg;
        self.empty();
    }

    fn empty(&mut self) {
        self.buf.clear();
        (self.op, self.ops, self.adopted_here) = (0, 0, 0);
        self.checked_here = false;
        (self.sealed.len, self.sealed.ops) = (0, 0);
    }

    /// Notes that an item got a value.
    pub(crate) fn put(&mut self, key: &Key, data: &[u8]) {
        self.note(LOG_PUT, key, data);
    }

    /// Notes that an item was removed.
    pub(crate) fn remove(&mut self, key: &Key) {
        self.note(LOG_REMOVE, key, &[]);
    }

    /// Notes that blocks became part of the tree, to which something with this checksum was written.
    pub(crate) fn adopt(&mut self, run: &Run, csum: Option<u32>) {
        if let Some(csum) = csum {
            self.note(LOG_ADOPT, &blocks(run), &csum.to_le_bytes());
            self.checked_here = true;
            return;
        }
        self.adopted = self.adopted.saturating_add(1);
        self.note(LOG_ADOPT, &blocks(run), &[]);
        self.adopted_here = self.adopted;
    }

    /// Notes that blocks were freed.
    pub(crate) fn free(&mut self, run: &Run) {
        self.note(LOG_FREE, &blocks(run), &[]);
    }

    /// Runs adopted without a checksum since the mount.
    pub(crate) fn adopted(&self) -> u64 {
        self.adopted
    }

    /// Ends the open operation. Returns its number.
    pub(crate) fn end(&mut self, next_ino: u64, inode_count: u64) -> u64 {
        self.lsn = self.lsn.saturating_add(1);
        if self.notes() && self.close(next_ino, inode_count).is_err() {
            self.give_up();
        }
        self.lsn
    }

    fn close(&mut self, next_ino: u64, inode_count: u64) -> Result<()> {
        self.open(0)?;
        let body = self.op.saturating_add(size_of::<DiskLogOp>());
        let len = self.buf.len().saturating_sub(body);
        let head = DiskLogOp {
            len: u32::try_from(len).map_err(|_| Error::Overflow)?.into(),
            reserved: 0.into(),
            txg: self.txg.into(),
            next_ino: next_ino.into(),
            inode_count: inode_count.into(),
        };
        let place = self.buf.get_mut(self.op..body).ok_or(Error::Overflow)?;
        place.copy_from_slice(head.as_bytes());
        if self.ops == 0 {
            self.first_txg = self.txg;
        }
        self.last_txg = self.txg;
        self.ops = self.ops.saturating_add(1);
        self.op = 0;
        Ok(())
    }

    /// Forgets the open operation.
    pub(crate) fn rollback(&mut self) {
        if self.op != 0 {
            self.buf.truncate(self.op);
            self.op = 0;
        }
    }

    /// The open transaction group is sealed, the next one opens. Returns what its superblock has to say about the log.
    pub(crate) fn seal(&mut self) -> u64 {
        self.txg = self.txg.saturating_add(1);
        self.sealed = SealMark {
            len: self.buf.len(),
            ops: self.ops,
            lsn: self.lsn,
            head: self.head,
        };
        self.head
    }

    /// The transaction group that was sealed last is on the device. Returns the number of its last operation.
    pub(crate) fn committed(&mut self) -> u64 {
        self.durable = self.txg.saturating_sub(1);
        self.tail = self.sealed.head;
        let SealMark { len, ops, lsn, .. } = self.sealed;
        if len > HEAD {
            // An operation that is open stays: it may have given up the tree's lock to read.
            let end = self.buf.len();
            if len <= end {
                self.buf.copy_within(len..end, HEAD);
                self.buf.truncate(end - len + HEAD);
            }
            self.op = self.op.saturating_sub(len - HEAD);
            self.ops = self.ops.saturating_sub(ops);
            self.first_txg = self.txg;
            (self.sealed.len, self.sealed.ops) = (0, 0);
        }
        if self.ops == 0 && self.op == 0 {
            self.empty();
        }
        lsn
    }

    /// Units between the first batch that is needed and the next one.
    fn in_use(&self) -> u64 {
        self.head.saturating_sub(self.tail)
    }

    /// Whether more than half of the region is in use, and no commit under way that changes this.
    pub(crate) fn is_half_full(&self) -> bool {
        self.in_use() > self.units / 2 && self.sealed.head == self.tail
    }

    /// Takes the whole operations that were noted, as a batch that has its place, and leaves the memory of `spare` with
    /// what an open one has noted. `commit_bytes` is what a commit would write instead.
    pub(crate) fn steal(&mut self, spare: &mut Vec<u8>, commit_bytes: u64) -> Steal {
        if !self.on || self.incomplete > self.durable {
            return Steal::Refused;
        }
        if self.ops == 0 {
            return Steal::Covered;
        }
        let open = self.op;
        let used = if open == 0 { self.buf.len() } else { open };
        let bytes = used.checked_next_multiple_of(LOG_UNIT).unwrap_or(usize::MAX);
        let units = (bytes / LOG_UNIT) as u64;
        let end = self.in_use().saturating_add(units);
        if bytes as u64 > commit_bytes || end > self.units {
            return Steal::Refused;
        }
        spare.clear();
        if open != 0 {
            let rest = self.buf.get(open..).unwrap_or(&[]);
            if spare
                .resize(HEAD, 0)
                .and_then(|()| spare.extend_from_slice(rest))
                .is_err()
            {
                return Steal::Refused;
            }
            self.buf.truncate(open);
        }
        if self.buf.resize(bytes, 0).is_err() {
            // There was room for it.
            self.give_up();
            return Steal::Refused;
        }
        let head = DiskLogBatch {
            magic: LOG_MAGIC.into(),
            csum: 0.into(),
            position: self.head.into(),
            tag: 0.into(),
            first_txg: self.first_txg.into(),
            last_txg: self.last_txg.into(),
            len: (used.saturating_sub(HEAD) as u32).into(),
            ops: self.ops.into(),
            reserved: [0; 16],
        };
        let bytes = core::mem::replace(&mut self.buf, core::mem::take(spare));
        let (adopted, checked) = (self.adopted_here, self.checked_here);
        let open = if open == 0 { 0 } else { HEAD };
        let rest = core::mem::take(&mut self.buf);
        self.empty();
        (self.buf, self.op) = (rest, open);
        self.head = self.head.saturating_add(units);
        Steal::Batch(Batch {
            bytes,
            used,
            head,
            lsn: self.lsn,
            adopted,
            checked,
            half_full: self.is_half_full(),
        })
    }
}

/// Blocks in the form of a key.
fn blocks(run: &Run) -> Key {
    Key::new(run.block, Kind(0), u64::from(run.len))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(redo: &mut Redo, bytes: usize) {
        redo.put(&Key::new(1, Kind(1), 0), &std::vec![1; bytes]);
        redo.end(16, 1);
    }

    fn stolen(redo: &mut Redo) -> Option<Batch> {
        match redo.steal(&mut Vec::new(), u64::MAX) {
            Steal::Batch(batch) => Some(batch),
            Steal::Covered => None,
            Steal::Refused => panic!("refused"),
        }
    }

    #[test]
    fn what_is_written_after_a_seal_is_needed_until_the_next_commit() {
        let mut redo = Redo::new();
        redo.start(8, 1, 2, 100, 100);
        one(&mut redo, 3800);
        one(&mut redo, 3800);
        let batch = stolen(&mut redo).unwrap();
        assert_eq!((batch.head.position.get(), batch.bytes.len()), (100, 2 * LOG_UNIT));
        assert_eq!(redo.seal(), 102);
        for _ in 0..3 {
            one(&mut redo, 3800);
            stolen(&mut redo).unwrap();
        }
        assert_eq!(
            (redo.in_use(), redo.is_half_full()),
            (5, false),
            "a commit is on its way"
        );
        redo.committed();
        assert_eq!((redo.in_use(), redo.is_half_full()), (3, false));
        for _ in 0..5 {
            one(&mut redo, 1);
            stolen(&mut redo).unwrap();
        }
        assert!(redo.is_half_full());
        one(&mut redo, 1);
        assert!(matches!(redo.steal(&mut Vec::new(), u64::MAX), Steal::Refused));
        // It is still there, for when there is room.
        assert_eq!(redo.seal(), 110);
        redo.committed();
        assert!(stolen(&mut redo).is_none(), "the commit had it");
        one(&mut redo, 1);
        assert_eq!(stolen(&mut redo).unwrap().head.position.get(), 110);
    }

    #[test]
    fn a_commit_drops_what_it_has_and_keeps_what_came_after_its_seal() {
        let mut redo = Redo::new();
        redo.start(8, 1, 2, 0, 0);
        one(&mut redo, 100);
        redo.seal();
        one(&mut redo, 200);
        one(&mut redo, 300);
        redo.committed();
        let batch = stolen(&mut redo).unwrap();
        assert_eq!((batch.head.first_txg.get(), batch.head.last_txg.get()), (3, 3));
        assert_eq!((batch.head.ops.get(), batch.used), (2, HEAD + 2 * 52 + 500));
        // Between the seal and the end of the commit, a batch has both.
        one(&mut redo, 100);
        redo.seal();
        one(&mut redo, 100);
        let batch = stolen(&mut redo).unwrap();
        assert_eq!((batch.head.first_txg.get(), batch.head.last_txg.get()), (3, 4));
        redo.committed();
        assert!(stolen(&mut redo).is_none());
    }

    #[test]
    fn an_operation_that_is_open_when_a_commit_ends_keeps_all_that_it_has_noted() {
        for sealed in [0, 1, 3] {
            let mut redo = Redo::new();
            redo.start(8, 1, 2, 0, 0);
            for _ in 0..sealed {
                one(&mut redo, 70);
            }
            redo.seal();
            redo.put(&Key::new(1, Kind(1), 0), &[1; 100]);
            redo.committed();
            one(&mut redo, 200);
            let batch = stolen(&mut redo).unwrap();
            assert_eq!((batch.head.first_txg.get(), batch.head.ops.get()), (3, 1));
            assert_eq!(batch.used, HEAD + 32 + 2 * 20 + 300);
        }
    }

    #[test]
    fn an_operation_that_is_open_when_a_batch_is_taken_is_in_the_next_one() {
        for rest in [0, 200] {
            let mut redo = Redo::new();
            redo.start(8, 1, 2, 0, 0);
            one(&mut redo, 70);
            redo.put(&Key::new(1, Kind(1), 7), &[1; 100]);
            let batch = stolen(&mut redo).unwrap();
            assert_eq!((batch.head.ops.get(), batch.used), (1, HEAD + 32 + 20 + 70));
            assert!(batch.bytes[batch.used..].iter().all(|b| *b == 0));
            assert!(stolen(&mut redo).is_none(), "it is not whole yet");
            if rest > 0 {
                redo.remove(&Key::new(1, Kind(1), 8));
                one(&mut redo, rest);
                let batch = stolen(&mut redo).unwrap();
                assert_eq!((batch.head.ops.get(), batch.used), (1, HEAD + 32 + 3 * 20 + 100 + rest));
                assert_eq!((batch.head.position.get(), batch.lsn), (1, 2));
            } else {
                redo.rollback();
                one(&mut redo, 50);
                assert_eq!(stolen(&mut redo).unwrap().used, HEAD + 32 + 20 + 50);
            }
        }
    }

    #[test]
    fn nothing_is_noted_after_too_much_until_the_next_group_and_written_only_after_the_commit() {
        let mut redo = Redo::new();
        redo.start(1000, 1, 2, 0, 0);
        for _ in 0..300 {
            one(&mut redo, 3800);
        }
        let refused = |redo: &mut Redo| matches!(redo.steal(&mut Vec::new(), u64::MAX), Steal::Refused);
        assert!(refused(&mut redo) && redo.buf.is_empty());
        one(&mut redo, 1);
        assert!(redo.buf.is_empty());
        redo.seal();
        one(&mut redo, 1);
        assert!(refused(&mut redo), "it depends on what is not on the device yet");
        redo.committed();
        assert_eq!(stolen(&mut redo).unwrap().head.ops.get(), 1);
    }

    #[test]
    fn an_operation_that_is_taken_back_leaves_nothing() {
        let mut redo = Redo::new();
        redo.start(8, 1, 2, 0, 0);
        one(&mut redo, 10);
        redo.put(&Key::new(1, Kind(1), 0), &[1; 100]);
        redo.remove(&Key::new(1, Kind(1), 0));
        redo.rollback();
        redo.rollback();
        one(&mut redo, 20);
        let batch = stolen(&mut redo).unwrap();
        assert_eq!((batch.head.ops.get(), batch.used), (2, HEAD + 2 * 52 + 30));
    }
}
