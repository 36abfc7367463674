// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The extent list of a file: looking up, inserting with merging, and taking ranges out.
//!
//! Extents never overlap. Inserting never overwrites blocks: the range is taken out first, which frees the old blocks,
//! and what is inserted was just written elsewhere.
//!
//! Two extents merge when they continue each other in the file and on the device. The merged extent keeps the older
//! birth: a birth decides whether a snapshot may still need the blocks, and claiming that blocks are older than they
//! are can only keep them longer. (There are no snapshots between any two births in this version of the format.)

use crate::format::items::DiskExtent;
use crate::format::Key;
use crate::format::Kind;
use crate::inode::key;
use crate::inode::Ino;
use crate::txn::Read;
use crate::txn::Tx;
use vexfs_host::Error;
use vexfs_host::Result;
use zerocopy::FromZeros;
use zerocopy::IntoBytes;

/// A run of blocks of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// First logical block.
    pub lblk: u64,
    /// First block on the device.
    pub pblk: u64,
    /// Number of blocks, not 0.
    pub len: u32,
    /// The txg of the oldest of the blocks.
    pub birth: u64,
}

impl Extent {
    fn parse(data: &[u8], ino: Ino, lblk: u64) -> Result<Self> {
        let d = DiskExtent::parse(data, ino, lblk)?;
        Ok(Extent {
            lblk,
            pblk: d.pblk.get(),
            len: d.len.get(),
            birth: d.birth.get(),
        })
    }

    fn to_disk(self) -> DiskExtent {
        let mut d = DiskExtent::new_zeroed();
        d.pblk.set(self.pblk);
        d.len.set(self.len);
        d.birth.set(self.birth);
        d
    }

    /// The first logical block behind it. `parse` saw to it that this and the next do not overflow.
    pub fn end(&self) -> u64 {
        self.lblk.saturating_add(u64::from(self.len))
    }

    /// The first block on the device behind it.
    pub fn pend(&self) -> u64 {
        self.pblk.saturating_add(u64::from(self.len))
    }

    /// Whether `next` continues this one in the file and on the device.
    fn continues(&self, next: &Extent) -> bool {
        self.end() == next.lblk && self.pend() == next.pblk && self.len.checked_add(next.len).is_some()
    }
}

/// The last extent of inode `ino` that starts at or before `lblk`.
pub(crate) fn last_at_or_before(r: &impl Read, ino: Ino, lblk: u64) -> Result<Option<Extent>> {
    let found = r.last_at_or_before(&key::extent(ino, lblk), |k, data| {
        if k.obj != ino || k.kind != Kind::EXTENT {
            return Ok(None);
        }
        Extent::parse(data, ino, k.offset).map(Some)
    })?;
    Ok(found.flatten())
}

/// The first extent of inode `ino` that starts at or after `lblk`.
pub(crate) fn first_at_or_after(r: &impl Read, ino: Ino, lblk: u64) -> Result<Option<Extent>> {
    let found = r.first_at_or_after(&key::extent(ino, lblk), |k, data| {
        if k.obj != ino || k.kind != Kind::EXTENT {
            return Ok(None);
        }
        Extent::parse(data, ino, k.offset).map(Some)
    })?;
    Ok(found.flatten())
}

/// The extent of inode `ino` that holds `lblk`.
pub(crate) fn covering(r: &impl Read, ino: Ino, lblk: u64) -> Result<Option<Extent>> {
    Ok(last_at_or_before(r, ino, lblk)?.filter(|e| e.end() > lblk))
}

/// The first extent of inode `ino` that ends behind `lblk`.
pub(crate) fn next(r: &impl Read, ino: Ino, lblk: u64) -> Result<Option<Extent>> {
    match covering(r, ino, lblk)? {
        Some(e) => Ok(Some(e)),
        None => first_at_or_after(r, ino, lblk),
    }
}

/// Newly allocated blocks for a range of a file.
///
/// Adjacent ones may be merged and one may be split, as long as each block is finished or aborted once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataAlloc {
    /// First logical block.
    pub lblk: u64,
    /// First block on the device.
    pub pblk: u64,
    /// Number of blocks.
    pub len: u32,
}

/// What [`take_out`] did.
pub(crate) struct TakenOut {
    /// Blocks freed.
    pub blocks: u64,
    /// Up to where the range is empty now.
    pub done_to: u64,
}

/// Takes the blocks `from..to` out of inode `ino` and frees them, up to `budget` extents of them.
pub(crate) fn take_out(tx: &mut Tx<'_>, ino: Ino, from: u64, to: u64, budget: usize) -> Result<TakenOut> {
    let mut taken = TakenOut { blocks: 0, done_to: to };
    if from >= to {
        return Ok(taken);
    }
    let mut found = next(tx, ino, from)?;
    let mut left = budget;
    while let Some(e) = found.filter(|e| e.lblk < to) {
        if left == 0 {
            taken.done_to = e.lblk.max(from);
            return Ok(taken);
        }
        left -= 1;
        let head = from.saturating_sub(e.lblk);
        let tail = e.end().saturating_sub(to);
        // Both are below the extent's length, since it overlaps the range.
        let cut = u64::from(e.len).saturating_sub(head).saturating_sub(tail);
        let len = |n: u64| u32::try_from(n).map_err(|_| Error::corrupt("extent too long", u64::MAX, ino));
        if head > 0 {
            let kept = Extent { len: len(head)?, ..e };
            tx.put(&key::extent(ino, kept.lblk), kept.to_disk().as_bytes())?;
        } else {
            tx.remove(&key::extent(ino, e.lblk))?;
        }
        if tail > 0 {
            let kept = Extent {
                lblk: to,
                pblk: e.pend().saturating_sub(tail),
                len: len(tail)?,
                birth: e.birth,
            };
            tx.insert(&key::extent(ino, to), kept.to_disk().as_bytes())?;
        }
        tx.free_extent(e.pblk.saturating_add(head), len(cut)?, e.birth)?;
        taken.blocks += cut;
        if tail > 0 {
            break;
        }
        found = first_at_or_after(tx, ino, e.end())?;
    }
    Ok(taken)
}

/// The number of extents of inode `ino` that overlap `from..to`, up to `limit`.
pub(crate) fn count(r: &impl Read, ino: Ino, from: u64, to: u64, limit: usize) -> Result<usize> {
    let Some(last) = to.checked_sub(1) else { return Ok(0) };
    let mut n = usize::from(covering(r, ino, from)?.is_some_and(|e| e.lblk < from));
    r.scan(&key::extent(ino, from), &key::extent(ino, last), &mut |_, _| {
        n += 1;
        Ok(n < limit)
    })?;
    Ok(n)
}

/// Adds written blocks, which the transaction has adopted, to inode `ino`; the range must be empty. `left` is the
/// extent before the range, if it is known.
fn add(tx: &mut Tx<'_>, ino: Ino, new: Extent, left: Option<Extent>, right: Option<Extent>) -> Result<()> {
    let mut all = new;
    if let Some(right) = right.filter(|r| all.continues(r)) {
        tx.remove(&key::extent(ino, right.lblk))?;
        all.len = all.len.saturating_add(right.len);
        all.birth = all.birth.min(right.birth);
    }
    if let Some(left) = left.filter(|l| l.continues(&all)) {
        all = Extent {
            len: left.len.saturating_add(all.len),
            birth: left.birth.min(all.birth),
            ..left
        };
        return tx.put(&key::extent(ino, all.lblk), all.to_disk().as_bytes());
    }
    tx.insert(&key::extent(ino, all.lblk), all.to_disk().as_bytes())
}

/// The extent before `e`, and the one that begins right behind it.
fn neighbours(r: &impl Read, ino: Ino, e: &Extent) -> Result<(Option<Extent>, Option<Extent>)> {
    let left = match e.lblk.checked_sub(1) {
        Some(l) => last_at_or_before(r, ino, l)?,
        None => None,
    };
    let right = first_at_or_after(r, ino, e.end())?.filter(|r| r.lblk == e.end());
    Ok((left, right))
}

/// What there is around the first block of a range.
struct Near {
    /// The last extent that starts before it.
    before: Option<Extent>,
    /// The one that starts with it.
    at: Option<Extent>,
    /// The first one that starts behind it; none may also mean none that starts in the range or right behind.
    after: Option<Extent>,
}

/// What there is around `lblk`, the first block of a range up to `end` that is about to change, if that can be told at
/// once.
fn near(tx: &mut Tx<'_>, ino: Ino, lblk: u64, end: u64) -> Result<Option<Near>> {
    let extent = |found: Option<(Key, &[u8])>| match found {
        Some((k, data)) if k.obj == ino && k.kind == Kind::EXTENT => Extent::parse(data, ino, k.offset).map(Some),
        _ => Ok(None),
    };
    tx.around(&key::extent(ino, lblk), &key::extent(ino, end), |around| {
        Ok(Near {
            before: extent(around.before)?,
            at: around.at.map(|data| Extent::parse(data, ino, lblk)).transpose()?,
            after: extent(around.after)?,
        })
    })
}

/// Makes `pblk..pblk+len` the contents of the blocks from `lblk` on of inode `ino`: frees what was there, up to
/// `budget` extents, and adopts the new blocks.
///
/// `csum` is that of all that was written to them, if it is known. Returns how many blocks were replaced, `len` unless
/// the budget ran out, and how many were freed.
pub(crate) fn replace(
    tx: &mut Tx<'_>,
    ino: Ino,
    new: &DataAlloc,
    csum: Option<u32>,
    budget: usize,
) -> Result<(u32, u64)> {
    let DataAlloc { lblk, pblk, len } = *new;
    let end = lblk.checked_add(u64::from(len)).ok_or(Error::FileTooBig)?;
    let birth = tx.txg();
    let mut new = Extent { lblk, pblk, len, birth };
    if let Some(Near { before, at, after }) = near(tx, ino, lblk, end)? {
        let follows = after.filter(|e| e.lblk <= end);
        match (at, before.filter(|e| e.end() > lblk)) {
            // Nothing overlaps: appending, the usual case, or filling a hole.
            (None, None) if follows.is_none_or(|e| e.lblk == end) => {
                tx.adopt_extent(pblk, len, csum)?;
                add(tx, ino, new, before, follows)?;
                return Ok((len, 0));
            }
            // The same range once more, as random writes of blocks come to: its item stays where it is.
            (Some(old), _)
                if old.len == len
                    && before.is_none_or(|l| !l.continues(&new))
                    && after.is_none_or(|r| !new.continues(&r)) =>
            {
                tx.adopt_extent(pblk, len, csum)?;
                tx.free_extent(old.pblk, old.len, old.birth)?;
                tx.put(&key::extent(ino, lblk), new.to_disk().as_bytes())?;
                return Ok((len, u64::from(len)));
            }
            // Out of the middle of an extent, of whose parts neither continues what was written elsewhere.
            (None, Some(old)) if old.end() > end => {
                let cut = lblk.saturating_sub(old.lblk);
                let left = old.end().saturating_sub(end);
                let head = Extent {
                    len: u32::try_from(cut).map_err(|_| Error::Overflow)?,
                    ..old
                };
                let tail = Extent {
                    lblk: end,
                    pblk: old.pend().saturating_sub(left),
                    len: u32::try_from(left).map_err(|_| Error::Overflow)?,
                    birth: old.birth,
                };
                tx.adopt_extent(pblk, len, csum)?;
                tx.free_extent(old.pblk.saturating_add(cut), len, old.birth)?;
                tx.put(&key::extent(ino, head.lblk), head.to_disk().as_bytes())?;
                tx.insert(&key::extent(ino, end), tail.to_disk().as_bytes())?;
                tx.insert(&key::extent(ino, lblk), new.to_disk().as_bytes())?;
                return Ok((len, u64::from(len)));
            }
            _ => {}
        }
    }
    let taken = take_out(tx, ino, lblk, end, budget)?;
    let done = u32::try_from(taken.done_to.saturating_sub(lblk)).map_err(|_| Error::Overflow)?;
    if done == 0 {
        return Ok((0, taken.blocks));
    }
    new.len = done;
    tx.adopt_extent(pblk, done, csum.filter(|_| done == len))?;
    let (left, right) = neighbours(tx, ino, &new)?;
    add(tx, ino, new, left, right)?;
    Ok((done, taken.blocks))
}
