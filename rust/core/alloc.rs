// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Blocks for the data of files: promising, allocating and giving them back, and what is done when there are none left.
//!
//! Which blocks are free is known to [`space`](crate::space). Here a commit is added, which makes what was freed before
//! available, and [`Fs::make_room`], for which the host writes dirty data back.

use crate::fs::Fs;
use crate::space::pins::ReadPin;
use crate::space::BlockAllocator;
use crate::space::Run;
use crate::space::SpaceInfo;
use vexfs_host::nofs;
use vexfs_host::shared;
use vexfs_host::Error;
use vexfs_host::Result;

impl Fs {
    /// Runs `f` on the allocator. If it finds no room but a commit could make some, commits and runs it again.
    fn with_room<R>(&self, mut f: impl FnMut(&mut BlockAllocator) -> Result<R>) -> Result<R> {
        let _shared = shared();
        self.check_writable()?;
        let mut done = self.on_space(|space| match f(space) {
            Err(Error::NoSpace) if space.has_pending() => Ok(None),
            done => done.map(Some),
        });
        if let Ok(None) = done {
            // The caller may hold folios and blocks in flight, for which an ordinary commit would wait.
            self.commit_at_once()?;
            done = self.on_space(|space| f(space).map(Some));
        }
        done.and_then(|done| done.ok_or(Error::NoSpace)).inspect_err(|e| {
            if *e == Error::NoSpace {
                self.room.refused();
            }
            self.met_changing(e);
        })
    }

    /// Allocates up to `want` blocks in a row for data that is about to be written, near block `goal` (0: anywhere).
    /// Returns the first and how many. With `promised`, [`Fs::reserve_blocks`] made room for them, and as many of the
    /// promised blocks as are returned are used up. They belong to no file until
    /// [`Tx::adopt_extent`](crate::txn::Tx::adopt_extent); [`Fs::release_data`] gives them back.
    ///
    /// # Errors
    ///
    /// `NoSpace`, `ReadOnly`; `Io` or `Corrupt` from reading bitmaps.
    pub fn alloc_data(&self, goal: u64, want: u32, promised: bool) -> Result<(u64, u32)> {
        self.with_room(|space| space.alloc_data(goal, want, promised))
            .map(|r| (r.block, r.len))
    }

    /// [`Fs::alloc_data`] for what has to be written in order to free space.
    pub(crate) fn alloc_urgent(&self, goal: u64, want: u32) -> Result<(u64, u32)> {
        self.with_room(|space| space.alloc_urgent(goal, want))
            .map(|r| (r.block, r.len))
    }

    /// Gives back blocks of [`Fs::alloc_data`].
    pub fn release_data(&self, block: u64, len: u32) {
        let _nofs = nofs();
        self.space.lock().release_data(Run { block, len });
    }

    /// Takes back [`Fs::alloc_data`]; with `promised`, the blocks are promised again.
    pub(crate) fn untake_data(&self, block: u64, len: u32, promised: bool) {
        let _nofs = nofs();
        let mut space = self.space.lock();
        space.release_data(Run { block, len });
        if promised {
            space.promise_again(u64::from(len));
        }
    }

    /// Promises `n` blocks to data that will be written later.
    ///
    /// # Errors
    ///
    /// `NoSpace`, `ReadOnly`.
    pub fn reserve_blocks(&self, n: u64) -> Result<()> {
        self.with_room(|space| match space.promise(n) {
            true => Ok(()),
            false => Err(Error::NoSpace),
        })
    }

    /// Takes back a promise of `n` blocks.
    pub fn unreserve_blocks(&self, n: u64) {
        let _nofs = nofs();
        self.space.lock().take_back(n);
    }

    /// Numbers about space.
    pub fn space_info(&self) -> SpaceInfo {
        let _nofs = nofs();
        self.space.lock().info()
    }

    /// How often somebody was told that there is no room. An operation that fails with `NoSpace` while this stays the
    /// same has met another limit, about which [`Fs::make_room`] can do nothing.
    pub fn refusals(&self) -> u64 {
        self.room.refusals()
    }

    /// After an operation failed with `NoSpace`: whether there may be room now. `write_back` writes all dirty data back
    /// and waits for that; it returns false if it could not.
    ///
    /// The caller may hold what the host locks a file or a directory with, but nothing that writing back or a commit
    /// waits for. Waiting for somebody else who is at it ends with a fatal signal.
    pub fn make_room(&self, write_back: &mut dyn FnMut() -> bool) -> bool {
        let promises = || self.space.lock().take_new_promises();
        self.room.make(promises, |promised| {
            let written = write_back();
            if !written {
                self.space.lock().put_new_promises(promised);
            }
            // What the data has replaced is free after a commit.
            written && self.sync().is_ok()
        })
    }

    /// Keeps data blocks that can be looked up from now on from being reused until the pin is dropped.
    pub fn pin_reads(&self) -> ReadPin<'_> {
        self.pins.pin_reads()
    }

    /// Ends a pin that was turned into a number. Takes no lock: a read may end in an interrupt.
    pub fn unpin_reads(&self, number: u64) {
        self.pins.unpin(number);
    }
}
