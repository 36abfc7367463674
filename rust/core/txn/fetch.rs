// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Reading nodes and bitmaps for an operation, with no lock held; see [`node::fetch`](crate::node::fetch).

use crate::fs::Fs;
use crate::node::fetch::Fetched;
use crate::node::fetch::Miss;
use crate::space::group::Maps;
use crate::space::BlockAllocator;
use vexfs_host::Error;
use vexfs_host::Result;

impl Fs {
    /// Reads what an operation lacked, into what it has `fetched`.
    #[inline(never)] // own frame
    pub(super) fn fetch(&self, fetched: &Fetched, miss: Miss) {
        fetched.fetch(miss, |count| match miss {
            Miss::Node(ptr) => self.nodes.read(&ptr).map(Some),
            Miss::Bitmap(group) => self.load_bitmap(group, count).map(|()| None),
        });
    }

    /// Loads the bitmaps of `group` with no lock held. They stay in memory for `keep` attempts of memory reclaim.
    ///
    /// # Errors
    ///
    /// `Io`, or `Corrupt` if the bitmap is not the one that the descriptor describes; both are logged. `NoMemory`.
    pub(crate) fn load_bitmap(&self, group: u64, keep: u32) -> Result<()> {
        let Some(described) = self.space.lock().lacking(group) else {
            return Ok(());
        };
        let read = Maps::read(self.io(), group, &described);
        let mut space = self.space.lock();
        // Somebody else may have loaded it, and it may even have been changed, written and dropped again since.
        if space.lacking(group) != Some(described) {
            return Ok(());
        }
        let maps = read.inspect_err(|e| self.io().damage.note(e))?;
        space.install(group, maps, keep);
        Ok(())
    }

    /// Runs `f` on the allocator, and again whenever it lacked a bitmap, which has been read then.
    pub(crate) fn on_space<R>(&self, mut f: impl FnMut(&mut BlockAllocator) -> Result<R>) -> Result<R> {
        let mut loads = 0u32;
        loop {
            let mut space = self.space.lock();
            let done = f(&mut space);
            match (done, space.wanted()) {
                (Err(Error::WouldBlock), Some(group)) => {
                    drop(space);
                    loads = loads.saturating_add(1);
                    self.load_bitmap(group, loads)?;
                }
                (done, _) => return done,
            }
        }
    }
}
