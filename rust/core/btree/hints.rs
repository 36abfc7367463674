// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Which leaves a transaction left nearly empty, for [`shrink`](super::shrink).

use crate::format::Key;
use vexfs_host::mem::Vec;

/// Leaves of one transaction that are remembered.
const MAX_HINTS: usize = 64;

/// Keys that were in leaves which are now nearly empty.
pub(super) struct Hints {
    pub(super) keys: Vec<Key>,
    pub(super) last: u64,
}

impl Hints {
    pub(super) const fn new() -> Hints {
        Hints {
            keys: Vec::new(),
            last: u64::MAX,
        }
    }

    /// Remembers the leaf `block`, which `key` belongs into, if there is room.
    pub(super) fn note(&mut self, key: &Key, block: u64) {
        if self.last != block && self.keys.len() < MAX_HINTS && self.keys.push(*key).is_ok() {
            self.last = block;
        }
    }
}
