// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! A hash map keyed by `u64`, with fallible growth.
//!
//! Open addressing with linear probing over a power-of-two table and backward-shift deletion, so that there are no
//! tombstones and look-ups never degrade. Keys are block, inode and row numbers: multiplying by a large odd constant
//! (Knuth, TAOCP 6.4, "multiplicative hashing") spreads their runs well enough.
//!
//! Invariant: the table is at most 7/8 full, so every probe sequence ends at a free slot.

use crate::mem::Vec;
use crate::Result;

/// A hash map from `u64` to `V`.
pub struct U64Map<V> {
    slots: Vec<Option<(u64, V)>>,
    len: usize,
}

const HASH: u64 = 0x9e37_79b9_7f4a_7c15;

impl<V> U64Map<V> {
    /// An empty map, which holds no memory.
    pub const fn new() -> Self {
        U64Map {
            slots: Vec::new(),
            len: 0,
        }
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The slot at which the probe sequence of `key` starts. The table must not be empty.
    fn home(&self, key: u64) -> usize {
        let bits = self.slots.len().trailing_zeros();
        // A table has at least 8 slots: the shift is at most 61.
        (key.wrapping_mul(HASH) >> (64 - bits)) as usize
    }

    fn find(&self, key: u64) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let mask = self.slots.len() - 1;
        let mut at = self.home(key);
        loop {
            match self.slots.get(at)? {
                None => return None,
                Some((k, _)) if *k == key => return Some(at),
                Some(_) => at = (at + 1) & mask,
            }
        }
    }

    /// The value of `key`.
    pub fn get(&self, key: u64) -> Option<&V> {
        let at = self.find(key)?;
        self.slots.get(at)?.as_ref().map(|(_, v)| v)
    }

    /// The value of `key`, to change.
    pub fn get_mut(&mut self, key: u64) -> Option<&mut V> {
        let at = self.find(key)?;
        self.slots.get_mut(at)?.as_mut().map(|(_, v)| v)
    }

    /// Whether `key` has a value.
    pub fn contains(&self, key: u64) -> bool {
        self.find(key).is_some()
    }

    /// Makes room for `more` further entries, so that inserting them cannot fail.
    pub fn reserve(&mut self, more: usize) -> Result<()> {
        let want = self.len.checked_add(more).ok_or(crate::Error::NoMemory)?;
        if want <= self.slots.len() / 8 * 7 {
            return Ok(());
        }
        let size = want
            .checked_mul(8)
            .map(|n| (n / 7 + 1).max(8))
            .and_then(usize::checked_next_power_of_two)
            .ok_or(crate::Error::NoMemory)?;
        let mut slots = Vec::with_capacity(size)?;
        for _ in 0..size {
            slots.push(None)?;
        }
        let old = core::mem::replace(&mut self.slots, slots);
        for entry in old.into_iter().flatten() {
            self.place(entry);
        }
        Ok(())
    }

    /// Puts an entry whose key is absent into a table that has room.
    fn place(&mut self, entry: (u64, V)) {
        let mask = self.slots.len() - 1;
        let mut at = self.home(entry.0);
        while let Some(slot) = self.slots.get_mut(at) {
            if slot.is_none() {
                *slot = Some(entry);
                return;
            }
            at = (at + 1) & mask;
        }
    }

    /// Sets the value of `key` and returns the one it had.
    ///
    /// # Errors
    ///
    /// `NoMemory`; the map is unchanged then.
    pub fn insert(&mut self, key: u64, value: V) -> Result<Option<V>> {
        if let Some(old) = self.get_mut(key) {
            return Ok(Some(core::mem::replace(old, value)));
        }
        self.reserve(1)?;
        self.place((key, value));
        self.len += 1;
        Ok(None)
    }

    /// Removes `key` and returns its value.
    pub fn remove(&mut self, key: u64) -> Option<V> {
        let mut hole = self.find(key)?;
        let (_, value) = self.slots.get_mut(hole)?.take()?;
        self.len -= 1;
        let mask = self.slots.len() - 1;
        let mut at = hole;
        // Pull back every following entry whose probe sequence passes over the hole.
        loop {
            at = (at + 1) & mask;
            let Some(Some((k, _))) = self.slots.get(at) else {
                return Some(value);
            };
            let home = self.home(*k);
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.slots.swap(hole, at);
                hole = at;
            }
        }
    }

    /// The entries, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &V)> {
        self.slots.iter().flatten().map(|(k, v)| (*k, v))
    }

    /// The entries, in no particular order, with values to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u64, &mut V)> {
        self.slots.iter_mut().flatten().map(|(k, v)| (*k, v))
    }

    /// Removes all entries and keeps the memory.
    pub fn clear(&mut self) {
        for slot in self.slots.iter_mut() {
            *slot = None;
        }
        self.len = 0;
    }

    /// Hands every entry to `f` and leaves the map empty, with its memory kept.
    pub fn drain(&mut self, mut f: impl FnMut(u64, V)) {
        self.len = 0;
        for slot in self.slots.iter_mut() {
            if let Some((k, v)) = slot.take() {
                f(k, v);
            }
        }
    }

    /// Removes the entries for which `keep` returns false.
    pub fn retain(&mut self, mut keep: impl FnMut(u64, &mut V) -> bool) {
        // A removal pulls later entries back into the slot, which is therefore looked at again. Entries that wrap round the
        // end of the table were asked about already; being asked twice must not matter to `keep`.
        let mut at = 0;
        while at < self.slots.len() {
            let gone = match self.slots.get_mut(at) {
                Some(Some((k, v))) => (!keep(*k, v)).then_some(*k),
                _ => None,
            };
            match gone {
                Some(k) => drop(self.remove(k)),
                None => at += 1,
            }
        }
    }
}

impl<V> Default for U64Map<V> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(CONFIG_RUST)))]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn behaves_like_a_standard_map_under_random_operations() {
        let mut map = U64Map::new();
        let mut model = BTreeMap::new();
        let mut state = 12345u64;
        for step in 0..200_000u64 {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            let key = (state >> 33) % 700;
            match (state >> 60) % 4 {
                0 | 1 => assert_eq!(map.insert(key, step).unwrap(), model.insert(key, step)),
                2 => assert_eq!(map.remove(key), model.remove(&key)),
                _ => assert_eq!(map.get(key), model.get(&key)),
            }
            assert_eq!(map.len(), model.len());
            if step % 10_000 == 0 {
                map.retain(|k, _| k % 3 != 0);
                model.retain(|k, _| k % 3 != 0);
                let mut got: std::vec::Vec<_> = map.iter().map(|(k, v)| (k, *v)).collect();
                got.sort_unstable();
                assert_eq!(got, model.iter().map(|(k, v)| (*k, *v)).collect::<std::vec::Vec<_>>());
            }
        }
    }

    #[test]
    fn reserving_makes_the_following_inserts_keep_the_table() {
        let mut map = U64Map::new();
        map.reserve(1000).unwrap();
        let size = map.slots.len();
        for k in 0..1000 {
            map.insert(k << 20, k).unwrap();
        }
        assert_eq!(map.slots.len(), size);
    }
}
