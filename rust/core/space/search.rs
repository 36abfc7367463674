// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Where to allocate: which group, and where in it.
//!
//! Nodes go next-fit through one group for as long as it has room for them, so that the nodes of one commit lie
//! together and are written in few, long runs; what the commit before left free is taken up on the next round. Data
//! goes where its goal says, in a long enough run if there is one near.

use super::BlockAllocator;
use crate::format::GROUP_HEAD_BLOCKS;
use vexfs_host::Error;
use vexfs_host::Result;

/// Free places a group must have for the node allocator to begin another round in it.
const ROUND: u32 = 512;
/// Groups to look at for a run of the wanted length before a shorter one is taken.
const LOOK: usize = 8;
/// A run at the goal itself is taken from this length on, whatever there is elsewhere.
const AT_GOAL: usize = 16;

impl BlockAllocator {
    /// A free place in a group whose bitmap is loaded.
    pub(super) fn find_place(&mut self) -> Result<(u64, usize)> {
        let nb = self.nb();
        let count = self.geo.group_count;
        let (first, from) = self.node_at;
        if self.places == 0 {
            return Err(Error::NoSpace);
        }
        // The group the last node is in, from there on, and from its start if that is worth it; then the others; then
        // that one again.
        let rounds = [(first, from, 1), (first, 0, ROUND)].into_iter();
        let others = (1..count).map(|n| ((first + n) % count, 0, 1));
        for (group, from, least) in rounds.chain(others).chain([(first, 0, 1)]) {
            if self.groups.get(group as usize).is_none_or(|g| g.places < least) {
                continue;
            }
            if let Some(index) = self.maps(group)?.busy.find_place(from, nb) {
                return Ok((group, index));
            }
        }
        Err(Error::NoSpace)
    }

    /// A free run of up to `want` blocks in a group whose bitmap is loaded.
    pub(super) fn find_data(&mut self, goal: u64, want: usize) -> Result<(u64, usize, usize)> {
        let nb = self.nb();
        let aim = if goal == 0 { self.data_at } else { goal };
        let (group, index) = match self.geo.locate(aim) {
            Some((g, i)) => (g, i as usize),
            None => (0, GROUP_HEAD_BLOCKS as usize),
        };
        // Places beyond those that are kept for nodes may be broken up by data.
        let spare = self.places.saturating_sub(self.emergency + self.reserved);
        let blocks = usize::try_from(spare).unwrap_or(usize::MAX).saturating_mul(nb as usize);
        if blocks > want + 2 * nb as usize {
            if let Some(found) = self.find_in(group, index, want, goal != 0, None)? {
                return Ok(found);
            }
        }
        if let Some(found) = self.find_in(group, index, want, goal != 0, Some(nb))? {
            return Ok(found);
        }
        // What is left is in places. Keep to as many as are to spare, but never turn away data that was promised a
        // block.
        let want = want.min(blocks.max(nb as usize));
        self.find_in(group, index, want, goal != 0, None)?.ok_or(Error::NoSpace)
    }

    fn find_in(
        &mut self,
        group: u64,
        index: usize,
        want: usize,
        exact: bool,
        spare_places: Option<u32>,
    ) -> Result<Option<(u64, usize, usize)>> {
        let count = self.geo.group_count;
        let mut best: Option<(u64, usize, usize)> = None;
        let mut looked = 0;
        // The goal's group from the goal on, the other groups, the goal's group from its start.
        for n in 0..=count {
            let at = (group + n) % count.max(1);
            let Some(avail) = self.groups.get(at as usize).map(|g| g.avail as usize) else {
                continue;
            };
            if avail == 0 || (best.is_some() && avail < want) {
                continue;
            }
            let from = if n == 0 { index } else { GROUP_HEAD_BLOCKS as usize };
            let bits = &self.maps(at)?.busy;
            if n == 0 && exact && spare_places.is_none() {
                let len = bits.free_at(from, want);
                if len >= want.min(AT_GOAL) {
                    return Ok(Some((at, from, len)));
                }
            }
            if let Some((start, len)) = bits.find_run(from, usize::MAX, want, spare_places) {
                if best.is_none_or(|(_, _, l)| len > l) {
                    best = Some((at, start, len));
                }
                if len >= want {
                    break;
                }
            }
            looked += 1;
            if looked >= LOOK && best.is_some() {
                break;
            }
        }
        Ok(best)
    }
}
