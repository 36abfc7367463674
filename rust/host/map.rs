// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! A hash map keyed by `u64`, with fallible growth.
//!
//! Open addressing with linear probing over a power-of-two table and backward-shift deletion, so that there are no
//! tombstones and look-ups never degrade.
//!
//! Some keys are chosen by callers: row ids, offsets in files. Where a key lies therefore depends on a secret, or
//! chosen keys could all lie in one place and make every look-up a walk over all of them (Crosby and Wallach 2003).
//! Each table gets a key of its own: were it the same for two maps, putting the entries of one into the other in their
//! order would fill it from one end, which linear probing does not bear. The hash is a multiplication of 64 by 64 bits
//! whose halves are folded together, twice, as in wyhash (Wang Yi 2019), with secret factors: a few cycles, where
//! SipHash would take a few dozen.
//!
//! Invariant: the table is at most 7/8 full, so every probe sequence ends at a free slot.

use crate::mem::Vec;
use crate::Result;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// A hash map from `u64` to `V`.
pub struct U64Map<V> {
    slots: Vec<Option<(u64, V)>>,
    len: usize,
    /// What the hash of this table is keyed by; anew with each table.
    secret: Secret,
}

/// The key of a hash.
#[derive(Clone, Copy)]
struct Secret(u64, u64);

/// What the secrets of all tables are made from: random words, 0 until they are needed.
static SEED: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
/// Tables made so far.
static TABLES: AtomicU64 = AtomicU64::new(0);

/// The product of two words, its upper half folded over the lower one.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

impl Secret {
    /// One that no table has had yet.
    fn new() -> Result<Secret> {
        let word = |seed: &AtomicU64| {
            let known = seed.load(Relaxed);
            if known != 0 {
                return Ok(known);
            }
            let mut bytes = [0; 8];
            crate::random(&mut bytes)?;
            // Two threads may both come here: either word does.
            let random = u64::from_le_bytes(bytes) | 1;
            seed.store(random, Relaxed);
            Ok(random)
        };
        let [a, b] = &SEED;
        let (a, b) = (word(a)?, word(b)?);
        let table = TABLES.fetch_add(2, Relaxed);
        // An odd factor loses no bit of the other one.
        Ok(Secret(
            fold(table ^ a, b | 1),
            fold(table.wrapping_add(1) ^ b, a | 1) | 1,
        ))
    }

    #[inline]
    fn hash(self, key: u64) -> u64 {
        let Secret(a, b) = self;
        fold(fold(key ^ a, b) ^ b, a | 1)
    }
}

impl<V> U64Map<V> {
    /// An empty map, which holds no memory.
    pub const fn new() -> Self {
        U64Map {
            slots: Vec::new(),
            len: 0,
            secret: Secret(0, 0),
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
        (self.secret.hash(key) >> (64 - bits)) as usize
    }

    fn find(&self, key: u64) -> Option<usize> {
        // Also when the table has memory: such a map is asked for every node on the way down a tree.
        if self.len == 0 {
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
        let secret = Secret::new()?;
        let mut slots = Vec::with_capacity(size)?;
        for _ in 0..size {
            slots.push(None)?;
        }
        let old = core::mem::replace(&mut self.slots, slots);
        self.secret = secret;
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
    /// `NoMemory`, or what the host says when it has no random numbers; the map is unchanged then.
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

    /// Removes the entries for which `keep` returns false.
    pub fn retain(&mut self, mut keep: impl FnMut(u64, &mut V) -> bool) {
        // A removal pulls later entries back into the slot, which is therefore looked at again. Entries that wrap round
        // the end of the table were asked about already; being asked twice must not matter to `keep`.
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

    /// Slots looked at in order to find `key`, or to find that it is absent.
    fn probes<V>(map: &U64Map<V>, key: u64) -> usize {
        let mask = map.slots.len() - 1;
        let home = map.home(key);
        let mut n = 0;
        while map.slots[(home + n) & mask].as_ref().is_some_and(|(k, _)| *k != key) {
            n += 1;
        }
        n + 1
    }

    /// Fills a map and returns the mean and the largest number of probes, of keys that are there.
    fn cost(keys: impl Iterator<Item = u64> + Clone) -> (usize, usize) {
        let mut map = U64Map::new();
        for k in keys.clone() {
            map.insert(k, ()).unwrap();
        }
        let (mut sum, mut worst) = (0, 0);
        for k in keys {
            let n = probes(&map, k);
            sum += n;
            worst = worst.max(n);
        }
        (sum / map.len(), worst)
    }

    /// The inverse of an odd number modulo 2^64 (Newton's iteration).
    fn inverse(n: u64) -> u64 {
        (0..6).fold(n, |x, _| x.wrapping_mul(2u64.wrapping_sub(n.wrapping_mul(x))))
    }

    /// A kind of keys.
    type Keys = (&'static str, fn(u64) -> u64);

    #[test]
    fn keys_chosen_to_collide_lie_as_far_apart_as_any_others() {
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        const KEYS: u64 = 50_000;
        let undo = inverse(GOLDEN);
        assert_eq!(undo.wrapping_mul(GOLDEN), 1);
        // A hash without a secret is undone: these all have the home 0 under a multiplication by a known constant.
        let multiplied = move |n: u64| n.wrapping_mul(undo);
        let spread: [Keys; 5] = [
            ("in a row", |n| n),
            ("multiples of 4", |n| 4 * n),
            ("multiples of 2^32", |n| n << 32),
            ("multiples of 2^48 and rests", |n| n.rotate_right(16)),
            ("counted down from the top", |n| !n),
        ];
        let mut costs = std::vec![("multiplied", cost((0..KEYS).map(multiplied)))];
        for (name, key) in spread {
            costs.push((name, cost((0..KEYS).map(key))));
        }
        // A table at 3/4 of its room takes 2.5 probes on average (Knuth, TAOCP 6.4). Runs of thousands do not come
        // about by chance.
        for (name, (mean, worst)) in costs {
            assert!(mean <= 6 && worst < 2000, "{name}: {mean} probes, {worst} at worst");
        }
    }

    #[test]
    fn a_map_can_be_copied_into_another_in_its_own_order() {
        let mut from = U64Map::new();
        for k in 0..50_000 {
            from.insert(k, ()).unwrap();
        }
        let mut to = U64Map::new();
        let mut most = 0;
        for (k, ()) in from.iter() {
            to.insert(k, ()).unwrap();
            most = most.max(probes(&to, k));
        }
        assert!(most < 2000, "{most} probes");
    }

    #[test]
    fn two_tables_have_different_secrets() {
        let (a, b) = (Secret::new().unwrap(), Secret::new().unwrap());
        let same = (0..1000).filter(|k| a.hash(*k) >> 54 == b.hash(*k) >> 54).count();
        assert!(same < 50, "{same} of 1000 keys have the same place");
    }
}
