// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Delayed allocation: which blocks of a file are promised, and which are on their way to the device.
//!
//! A dirty page of the kernel's page cache has a reservation: free space that its writeback will find, however full the
//! device gets (the allocator adds a share for the extents' items). [`DataState`] remembers per inode, in memory, which
//! blocks are reserved and which are in flight (allocated and being written). A block can be both: it was dirtied again
//! while it was being written.
//!
//! Blocks are kept as bitmaps of 64 blocks in a hash map, so that random writes to a large file cost the same as
//! sequential ones. Lock order: the tree lock is never taken while a `DataState` is locked.

use super::extents;
use super::extents::DataAlloc;
use crate::fs::Fs;
use crate::txn::order::Order;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering;
use vexfs_host::mem::Box;
use vexfs_host::mem::U64Map;
use vexfs_host::nofs;
use vexfs_host::sync::Mutex;
use vexfs_host::Error;
use vexfs_host::Result;

/// A set of blocks.
struct BlockSet {
    words: U64Map<u64>,
    count: u64,
    /// No block at or above this one is in the set.
    end: u64,
    /// Whether the map has grown beyond what is worth keeping.
    large: bool,
}

/// The bits of `lblk..end` that lie in the word of `lblk`, and where the next word starts.
fn bits(lblk: u64, end: u64) -> (u64, u64) {
    let next = (lblk | 63).saturating_add(1).min(end);
    let low = u64::MAX << (lblk & 63);
    let high = match next & 63 {
        0 => u64::MAX,
        n => u64::MAX >> (64 - n),
    };
    (low & high, next)
}

impl BlockSet {
    const fn new() -> Self {
        BlockSet {
            words: U64Map::new(),
            count: 0,
            end: 0,
            large: false,
        }
    }

    /// How many of `lblk..end` are in the set.
    fn count_in(&self, mut lblk: u64, end: u64) -> u64 {
        let end = end.min(self.end);
        let mut n = 0;
        while lblk < end {
            let (mask, next) = bits(lblk, end);
            n += self
                .words
                .get(lblk >> 6)
                .map_or(0, |w| u64::from((w & mask).count_ones()));
            lblk = next;
        }
        n
    }

    /// Adds `lblk..end`; on an error, `undo` of the same range restores nothing else than what was added.
    fn add(&mut self, mut lblk: u64, end: u64) -> Result<()> {
        // Memory first, so that nothing is half done.
        let words = (end.saturating_sub(1) >> 6).saturating_sub(lblk >> 6).saturating_add(1);
        self.words
            .reserve(usize::try_from(words).map_err(|_| Error::NoMemory)?)?;
        self.end = self.end.max(end);
        self.large |= self.words.len() > 64 || words > 64;
        while lblk < end {
            let (mask, next) = bits(lblk, end);
            match self.words.get_mut(lblk >> 6) {
                Some(w) => {
                    self.count += u64::from((mask & !*w).count_ones());
                    *w |= mask;
                }
                None => {
                    self.words.insert(lblk >> 6, mask)?;
                    self.count += u64::from(mask.count_ones());
                }
            }
            lblk = next;
        }
        Ok(())
    }

    /// Takes `lblk..end` out and returns how many there were.
    fn remove(&mut self, mut lblk: u64, end: u64) -> u64 {
        let end = end.min(self.end);
        let mut n = 0;
        let words = (end >> 6).saturating_sub(lblk >> 6);
        if words > self.words.len() as u64 {
            // Fewer words than the range has: go through them instead.
            self.words.retain(|at, w| {
                let base = at << 6;
                let from = lblk.max(base);
                if from < end.min(base.saturating_add(64)) {
                    let (mask, _) = bits(from, end);
                    n += u64::from((*w & mask).count_ones());
                    *w &= !mask;
                }
                *w != 0
            });
        } else {
            while lblk < end {
                let (mask, next) = bits(lblk, end);
                if let Some(w) = self.words.get_mut(lblk >> 6) {
                    n += u64::from((*w & mask).count_ones());
                    *w &= !mask;
                    if *w == 0 {
                        self.words.remove(lblk >> 6);
                    }
                }
                lblk = next;
            }
        }
        self.count = self.count.saturating_sub(n);
        if self.count == 0 {
            self.end = 0;
            if self.large {
                // An inode whose contents are clean keeps no more than a little memory for the next time.
                self.words = U64Map::new();
                self.large = false;
            }
        }
        n
    }

    /// Adds all of another set that is not in a third.
    fn add_all_but(&mut self, other: &BlockSet, but: &BlockSet) -> Result<()> {
        self.words.reserve(other.words.len())?;
        for (at, w) in other.words.iter() {
            let more = w & !but.words.get(at).copied().unwrap_or(0);
            match self.words.get_mut(at) {
                Some(w) => {
                    self.count += u64::from((more & !*w).count_ones());
                    *w |= more;
                }
                None if more != 0 => {
                    self.words.insert(at, more)?;
                    self.count += u64::from(more.count_ones());
                }
                None => {}
            }
        }
        self.end = self.end.max(other.end);
        self.large |= other.large;
        Ok(())
    }

    /// Whether `lblk` is in the set, and how many blocks from it on, up to `max`, are likewise.
    fn run(&self, lblk: u64, max: u64) -> (bool, u64) {
        if lblk >= self.end {
            return (false, max);
        }
        let end = lblk.saturating_add(max);
        let word = |at: u64| self.words.get(at >> 6).copied().unwrap_or(0);
        let inside = word(lblk) >> (lblk & 63) & 1 == 1;
        let mut at = lblk;
        while at < end && at < self.end {
            let (mask, next) = bits(at, end);
            let differ = if inside { !word(at) } else { word(at) } & mask;
            if differ != 0 {
                let first = (at & !63) + u64::from(differ.trailing_zeros());
                return (inside, first - lblk);
            }
            at = next;
        }
        let stop = if inside { at.min(end) } else { end };
        (inside, stop - lblk)
    }
}

struct Inner {
    reserved: BlockSet,
    in_flight: BlockSet,
    /// Those in flight that do not come from the page cache.
    direct: BlockSet,
    /// Those in flight that commits wait for.
    ordered: BlockSet,
    /// Where the last allocation ended: the next one should go on there.
    last_lblk: u64,
    last_pblk: u64,
    /// The end of the last block, in the order of the file, that was allocated.
    reached: u64,
}

impl Inner {
    const EMPTY: Inner = Inner {
        reserved: BlockSet::new(),
        in_flight: BlockSet::new(),
        direct: BlockSet::new(),
        ordered: BlockSet::new(),
        last_lblk: 0,
        last_pblk: 0,
        reached: 0,
    };

    /// Where `len` blocks at `lblk` should go: behind the last allocation if they follow it, anywhere if they are a few
    /// in the middle. `None` if the tree has to be asked.
    fn goal(&self, lblk: u64, len: u64) -> Option<u64> {
        if self.last_pblk != 0 && self.last_lblk == lblk {
            return Some(self.last_pblk);
        }
        (lblk.saturating_add(len) < self.reached && len < FEW).then_some(0)
    }
}

/// An [`Inner`] that takes memory from the first write on. Most inodes in memory are only read, and there may be very
/// many.
struct Lazy(Option<Box<Inner>>);

impl Lazy {
    fn get(&self) -> &Inner {
        static EMPTY: Inner = Inner::EMPTY;
        self.0.as_deref().unwrap_or(&EMPTY)
    }

    /// `None` if it is empty.
    fn get_mut(&mut self) -> Option<&mut Inner> {
        self.0.as_deref_mut()
    }

    fn make(&mut self) -> Result<&mut Inner> {
        if self.0.is_none() {
            self.0 = Some(Box::new(Inner::EMPTY)?);
        }
        self.0.as_deref_mut().ok_or(Error::NoMemory)
    }
}

/// What the host remembers about the contents of one inode in memory.
///
/// It lives as long as the host's inode. Before it is dropped, [`Fs::release_data_state`] must give back what is
/// reserved.
pub struct DataState {
    inner: Mutex<Lazy>,
    sequence: AtomicU64,
}

impl DataState {
    /// The state of an inode with no dirty contents.
    pub fn new() -> Result<Self> {
        Ok(DataState {
            inner: Mutex::new(Lazy(None))?,
            sequence: AtomicU64::new(0),
        })
    }

    /// A number that changes whenever the mapping of existing contents changes, before the change can be seen.
    pub fn sequence(&self) -> u64 {
        self.sequence.load(Ordering::Acquire)
    }

    /// Notes that the mapping changes. Called while the tree lock is held.
    pub(crate) fn bump(&self) {
        self.sequence.fetch_add(1, Ordering::AcqRel);
    }

    /// The number of reserved blocks.
    pub fn reserved_blocks(&self) -> u64 {
        self.inner.lock().get().reserved.count
    }

    /// Whether `lblk` is reserved and in flight, and for how many blocks, up to `max`, both stay as they are.
    pub(crate) fn run(&self, lblk: u64, max: u64) -> (bool, bool, u64) {
        let state = self.inner.lock();
        let inner = state.get();
        let (reserved, n) = inner.reserved.run(lblk, max);
        let (in_flight, n) = inner.in_flight.run(lblk, n);
        (reserved, in_flight, n)
    }

    /// Takes blocks out of flight.
    pub(crate) fn landed<'a>(&self, order: &Order, allocs: impl IntoIterator<Item = &'a DataAlloc>) {
        let mut state = self.inner.lock();
        let Some(inner) = state.get_mut() else {
            return;
        };
        for a in allocs {
            let end = a.lblk.saturating_add(u64::from(a.len));
            inner.in_flight.remove(a.lblk, end);
            if inner.direct.count > 0 {
                inner.direct.remove(a.lblk, end);
            }
            if inner.ordered.count > 0 && inner.ordered.remove(a.lblk, end) > 0 && inner.ordered.count == 0 {
                order.landed();
            }
        }
    }

    /// Notes an allocation: it is in flight and, if the allocator took it out of a promise, no longer reserved.
    fn took_off(&self, a: &DataAlloc, promised: bool) -> Result<()> {
        let end = a.lblk.saturating_add(u64::from(a.len));
        let mut state = self.inner.lock();
        // What can fail comes first.
        let inner = state.make()?;
        inner.in_flight.add(a.lblk, end)?;
        if !promised {
            let Inner { in_flight, direct, .. } = inner;
            direct.add(a.lblk, end).inspect_err(|_| {
                in_flight.remove(a.lblk, end);
            })?;
        }
        if promised {
            inner.reserved.remove(a.lblk, end);
        }
        inner.last_lblk = end;
        inner.reached = inner.reached.max(end);
        inner.last_pblk = a.pblk.saturating_add(u64::from(a.len));
        Ok(())
    }
}

impl Fs {
    /// Reserves space for writing blocks `lblk..lblk+len`; what is reserved already stays so.
    ///
    /// # Errors
    ///
    /// `NoSpace`, `NoMemory`; nothing has changed then.
    pub fn reserve(&self, _ino: u64, data: &DataState, lblk: u64, len: u64) -> Result<()> {
        let _nofs = nofs();
        let end = lblk.checked_add(len).ok_or(Error::FileTooBig)?;
        // Promised, but not noted in the state yet.
        let mut have = 0u64;
        loop {
            let mut state = data.inner.lock();
            let need = len.saturating_sub(state.get().reserved.count_in(lblk, end));
            if need <= have {
                let added = match need {
                    0 => Ok(()),
                    _ => state.make().and_then(|inner| inner.reserved.add(lblk, end)),
                };
                drop(state);
                let back = if added.is_ok() { have.saturating_sub(need) } else { have };
                if back > 0 {
                    self.unreserve_blocks(back);
                }
                return added;
            }
            // Making room may take a commit, which takes the tree lock and long.
            drop(state);
            if let Err(e) = self.reserve_blocks(need.saturating_sub(have)) {
                self.unreserve_blocks(have);
                return Err(e);
            }
            have = need;
        }
    }

    /// Gives reservations of blocks `lblk..lblk+len` back; `len` may reach beyond every file.
    pub fn unreserve(&self, data: &DataState, lblk: u64, len: u64) {
        let mut state = data.inner.lock();
        let reserved = state.get_mut().map(|inner| &mut inner.reserved);
        let back = reserved.map_or(0, |reserved| reserved.remove(lblk, lblk.saturating_add(len)));
        if back > 0 {
            self.unreserve_blocks(back);
            // Whoever has seen the reservation must look again.
            data.bump();
        }
    }

    /// Lets no commit begin before the blocks of a file that are in flight from the page cache now have landed: what is
    /// done next does not become durable without them. Those of direct writes do not count: nothing is promised to a
    /// program before its write has ended, and the program can keep it from ending. Returns false, and registers
    /// nothing, if a commit is under way or memory is short; the caller has to wait for the blocks itself then.
    pub fn order_data(&self, data: &DataState) -> bool {
        let _nofs = nofs();
        let mut state = data.inner.lock();
        let Some(Inner {
            in_flight,
            direct,
            ordered,
            ..
        }) = state.get_mut()
        else {
            return true;
        };
        if in_flight.count == direct.count {
            return true;
        }
        if ordered.count > 0 {
            return !self.order.is_closed() && ordered.add_all_but(in_flight, direct).is_ok();
        }
        if !self.order.register() {
            return false;
        }
        let added = ordered.add_all_but(in_flight, direct).is_ok();
        if !added || ordered.count == 0 {
            *ordered = BlockSet::new();
            self.order.landed();
        }
        added
    }

    /// Gives back all that is reserved, when the host's inode goes away.
    pub fn release_data_state(&self, data: &DataState) {
        self.unreserve(data, 0, u64::MAX);
    }

    /// Allocates blocks for writing back reserved blocks from `lblk` on, at most `len`, and consumes their reservation.
    ///
    /// The result may be shorter. It ends where the reservation does.
    ///
    /// # Errors
    ///
    /// `NotFound` when `lblk` is not reserved; `NoMemory`, and others, after which it is reserved as before.
    pub fn alloc_data_for(&self, ino: u64, data: &DataState, lblk: u64, len: u64) -> Result<DataAlloc> {
        let _nofs = nofs();
        let (reserved, run, goal) = {
            let state = data.inner.lock();
            let inner = state.get();
            let (reserved, run) = inner.reserved.run(lblk, len);
            (reserved, run, inner.goal(lblk, run))
        };
        if !reserved {
            return Err(Error::NotFound);
        }
        let alloc = self.alloc_run(ino, data, lblk, run, goal, true);
        // Whoever has seen the reservation must look again.
        data.bump();
        alloc
    }

    /// Allocates blocks for a write that does not go through the page cache; reservations are left alone.
    ///
    /// The result may be shorter than `len`.
    pub fn alloc_data_direct(&self, ino: u64, data: &DataState, lblk: u64, len: u64) -> Result<DataAlloc> {
        let _nofs = nofs();
        let goal = data.inner.lock().get().goal(lblk, len);
        self.alloc_run(ino, data, lblk, len, goal, false)
    }

    /// Gives back blocks that could not be written.
    pub fn abort_data(&self, data: &DataState, alloc: DataAlloc) {
        let _nofs = nofs();
        data.landed(&self.order, [&alloc]);
        self.release_data(alloc.pblk, alloc.len);
    }

    /// Allocates up to `len` blocks near what the file has before `lblk`; `promised` ones are reserved.
    fn alloc_run(
        &self,
        ino: u64,
        data: &DataState,
        lblk: u64,
        len: u64,
        goal: Option<u64>,
        promised: bool,
    ) -> Result<DataAlloc> {
        let goal = match goal {
            Some(goal) => goal,
            None => self.goal_for(ino, lblk)?,
        };
        let want = len.min(u64::from(MAX_ALLOC)) as u32;
        let (pblk, len) = self.alloc_data(goal, want, promised)?;
        let alloc = DataAlloc { lblk, pblk, len };
        data.took_off(&alloc, promised)
            .inspect_err(|_| self.untake_data(pblk, len, promised))?;
        Ok(alloc)
    }

    /// Where block `lblk` of inode `ino` would continue the extent it is appended to. 0, the allocator's own choice,
    /// for anything else: overwriting at random then writes to the device in sequence. It is only a hint, for which
    /// nobody waits.
    pub(crate) fn goal_for(&self, ino: u64, lblk: u64) -> Result<u64> {
        let Some(view) = self.try_view() else {
            return Ok(0);
        };
        let left = extents::last_at_or_before(&view, ino, lblk)?;
        Ok(left.filter(|e| e.end() == lblk).map_or(0, |e| e.pend()))
    }
}

/// For fewer blocks than this in the middle of a file, the tree is not asked which extent they follow: mostly they
/// replace others.
const FEW: u64 = 16;

/// Blocks allocated in one piece at most: 8 MiB of the smallest blocks.
pub(crate) const MAX_ALLOC: u32 = 2048;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::vec::Vec;

    #[test]
    fn the_state_of_an_inode_is_not_locked_while_a_reservation_commits() {
        use crate::testing::*;
        use crate::txn::Reserve;
        let disk = Hooked::formatted(24);
        let fs = mount(&disk.device());
        let mut runs = Vec::new();
        while let Ok((block, len)) = fs.alloc_data(0, u32::MAX, false) {
            let mut tx = fs.begin(Reserve::items(1).deleting()).unwrap();
            tx.adopt_extent(block, len, None).unwrap();
            runs.push((block, len, tx.commit()));
        }
        fs.sync().unwrap();
        for (block, len, birth) in runs {
            let mut tx = fs.begin(Reserve::items(1).deleting()).unwrap();
            tx.free_extent(block, len, birth).unwrap();
            tx.commit();
        }
        let data = std::sync::Arc::new(DataState::new().unwrap());
        let (state, seen) = (data.clone(), std::sync::Arc::new(AtomicU64::new(0)));
        let writes = seen.clone();
        disk.set(move |_| {
            assert!(state.inner.try_lock().is_some());
            writes.fetch_add(1, Ordering::SeqCst);
        });
        fs.reserve(16, &data, 0, 100).unwrap();
        disk.unset();
        assert!(seen.load(Ordering::SeqCst) > 2, "a commit made the room");
        assert_eq!((data.reserved_blocks(), fs.space_info().promised), (100, 100));
        assert_eq!(fs.reserve(16, &data, 50, 1 << 40), Err(Error::NoSpace));
        assert_eq!((data.reserved_blocks(), fs.space_info().promised), (100, 100));
    }

    #[test]
    fn a_block_set_behaves_like_a_standard_set_under_random_operations() {
        let mut set = BlockSet::new();
        let mut model = BTreeSet::new();
        let mut state = 7u64;
        for _ in 0..20_000 {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            let from = (state >> 20) % 700;
            let len = 1 + (state >> 40) % 150;
            match state >> 62 {
                0 | 1 => {
                    set.add(from, from + len).unwrap();
                    model.extend(from..from + len);
                }
                2 => {
                    let end = if state >> 61 & 1 == 0 { from + len } else { u64::MAX };
                    let n = set.remove(from, end);
                    let gone: Vec<u64> = model.range(from..end).copied().collect();
                    assert_eq!(n, gone.len() as u64);
                    gone.iter().for_each(|b| assert!(model.remove(b)));
                }
                _ => {
                    assert_eq!(
                        set.count_in(from, from + len),
                        model.range(from..from + len).count() as u64
                    );
                    let inside = model.contains(&from);
                    let run = (from..from + len).take_while(|b| model.contains(b) == inside).count() as u64;
                    assert_eq!(set.run(from, len), (inside, run));
                }
            }
            assert_eq!(set.count, model.len() as u64);
        }
    }
}
