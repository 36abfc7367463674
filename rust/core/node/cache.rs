// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The cache of clean nodes.
//!
//! Nodes are immutable once written, so the cache hands out shared references and never has to be told of a change: a
//! block that holds another node by now is recognized by the birth its parent's pointer carries. Bounded by a number of
//! nodes; eviction is the clock algorithm (Corbató 1968): a hand passes over the nodes and drops the first that was not
//! used since it last came by.
//!
//! Its locks are the innermost ones; they are held neither across I/O nor while memory is allocated for nodes.

use super::Node;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;
use vexfs_host::mem::U64Map;
use vexfs_host::mem::Vec;
use vexfs_host::sync::Arc;
use vexfs_host::sync::Mutex;
use vexfs_host::sync::MutexGuard;
use vexfs_host::Result;

/// Parts of the cache with a lock each; a power of two.
const SHARDS: usize = 16;

struct CacheEntry {
    block: u64,
    node: Option<Arc<Node>>,
    used: bool,
}

struct Shard {
    /// Block to place in `entries`.
    index: U64Map<u32>,
    /// In no order; `node` is `None` in places that are free.
    entries: Vec<CacheEntry>,
    free: Vec<u32>,
    hand: usize,
}

impl Shard {
    fn evict(&mut self, place: usize) {
        if let Some(e) = self.entries.get_mut(place) {
            if e.node.take().is_some() {
                self.index.remove(e.block);
                // Losing a free place to a lack of memory costs a place, nothing else.
                let _ = self.free.push(place as u32);
            }
        }
    }

    /// Moves the hand until it has dropped a node. `rounds` bounds the way.
    fn sweep(&mut self) -> bool {
        for _ in 0..self.entries.len().saturating_mul(2) {
            if self.hand >= self.entries.len() {
                self.hand = 0;
            }
            let at = self.hand;
            self.hand += 1;
            match self.entries.get_mut(at) {
                Some(e) if e.node.is_some() && !e.used => {
                    self.evict(at);
                    return true;
                }
                Some(e) => e.used = false,
                None => return false,
            }
        }
        false
    }

    fn insert(&mut self, block: u64, node: Arc<Node>, limit: usize) -> Result<()> {
        if let Some(place) = self.index.get(block).copied() {
            if let Some(e) = self.entries.get_mut(place as usize) {
                e.node = Some(node);
                e.used = true;
            }
            return Ok(());
        }
        if self.index.len() >= limit {
            self.sweep();
        }
        let place = match self.free.pop() {
            Some(p) => p,
            None => {
                self.entries.push(CacheEntry {
                    block,
                    node: None,
                    used: false,
                })?;
                (self.entries.len() - 1) as u32
            }
        };
        if let Err(e) = self.index.insert(block, place) {
            // The place was just popped or pushed: there is room for it.
            let _ = self.free.push(place);
            return Err(e);
        }
        if let Some(e) = self.entries.get_mut(place as usize) {
            *e = CacheEntry {
                block,
                node: Some(node),
                // A node has to be asked for a second time before it outlives a round of the hand.
                used: false,
            };
        }
        Ok(())
    }
}

/// The cache of clean nodes.
pub(crate) struct NodeCache {
    shards: Vec<Mutex<Shard>>,
    limit: usize,
    next: AtomicU64,
    /// Nodes kept. Memory reclaim asks for it, possibly in a thread that holds a shard: reading it takes no lock.
    count: AtomicUsize,
}

impl NodeCache {
    /// An empty cache for up to about `nodes` nodes.
    pub(super) fn new(nodes: usize) -> Result<NodeCache> {
        let mut shards = Vec::with_capacity(SHARDS)?;
        for _ in 0..SHARDS {
            shards.push(Mutex::new(Shard {
                index: U64Map::new(),
                entries: Vec::new(),
                free: Vec::new(),
                hand: 0,
            })?)?;
        }
        Ok(NodeCache {
            shards,
            limit: (nodes / SHARDS).max(2),
            next: AtomicU64::new(0),
            count: AtomicUsize::new(0),
        })
    }

    /// Runs `f` on a locked shard and keeps count of its nodes.
    fn on<R>(&self, mut shard: MutexGuard<'_, Shard>, f: impl FnOnce(&mut Shard) -> R) -> R {
        let before = shard.index.len();
        let done = f(&mut shard);
        let after = shard.index.len();
        self.count.fetch_add(after.wrapping_sub(before), Relaxed);
        done
    }

    fn shard(&self, block: u64) -> Option<&Mutex<Shard>> {
        // Nodes lie at multiples of up to four blocks.
        self.shards.get((block >> 2) as usize % SHARDS)
    }

    /// The node at `block` if it is the one born in `birth`.
    pub(crate) fn get(&self, block: u64, birth: u64) -> Option<Arc<Node>> {
        let mut shard = self.shard(block)?.lock();
        let place = shard.index.get(block).copied()?;
        let entry = shard.entries.get_mut(place as usize)?;
        entry.used = true;
        entry.node.as_ref().filter(|n| n.birth() == birth).cloned()
    }

    /// Keeps a clean node. Out of memory, it is simply not kept.
    pub(crate) fn insert(&self, node: Arc<Node>) {
        if let Some(shard) = self.shard(node.block()) {
            let _ = self.on(shard.lock(), |s| s.insert(node.block(), node, self.limit));
        }
    }

    /// Drops what is kept of `block`.
    pub(crate) fn remove(&self, block: u64) {
        if let Some(shard) = self.shard(block) {
            self.on(shard.lock(), |s| {
                if let Some(place) = s.index.get(block).copied() {
                    s.evict(place as usize);
                }
            });
        }
    }

    /// Number of nodes kept.
    pub(crate) fn len(&self) -> usize {
        self.count.load(Relaxed)
    }

    /// Drops up to `n` nodes, those not used lately first, and returns how many.
    pub(crate) fn shrink(&self, n: usize) -> usize {
        let mut freed = 0;
        let mut idle = 0;
        while freed < n && idle < SHARDS {
            let at = self.next.fetch_add(1, Relaxed) as usize % SHARDS;
            let Some(shard) = self.shards.get(at) else { break };
            // A shrinker may run in a thread that allocates while it holds a shard: it must not wait.
            let dropped = shard.try_lock().is_some_and(|s| self.on(s, Shard::sweep));
            if dropped {
                freed += 1;
                idle = 0;
            } else {
                idle += 1;
            }
        }
        freed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(block: u64) -> Arc<Node> {
        Arc::new(Node::new(16384, block, block, 0).unwrap()).unwrap()
    }

    #[test]
    fn the_cache_stays_within_its_bound_and_keeps_what_is_used() {
        let cache = NodeCache::new(160).unwrap();
        for n in 0..1000 {
            cache.insert(node(n * 4));
            assert!(cache.get(0, 0).is_some(), "used all the time");
            let counted: usize = cache.shards.iter().map(|s| s.lock().index.len()).sum();
            assert_eq!(cache.len(), counted);
        }
        assert_eq!(cache.len(), 160);
        assert!(cache.get(4 * 999, 7).is_none(), "born at another time");
        cache.remove(4 * 999);
        assert_eq!(cache.len(), 159);
        assert_eq!(cache.shrink(100), 100);
        assert_eq!(cache.shrink(100), 59);
        assert_eq!(cache.len(), 0);
    }
}
