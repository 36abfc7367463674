// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What the tests of the tree, transactions and space share: a device in memory, random numbers, and a plain walk of
//! the whole tree that trusts nothing.

use crate::btree::Walk;
use crate::format::node::NodePtr;
use crate::format::Key;
use crate::format::Kind;
use crate::format::ROOT_INO;
use crate::mkfs::FormatOptions;
use crate::mount::MountOptions;
use crate::node::fetch::Source;
use crate::node::Node;
use crate::txn::Read;
use crate::Fs;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc as StdArc;
use std::vec::Vec;
use vexfs_host::device::Device;
use vexfs_host::device::RamBackend;
use vexfs_host::sync::Arc;

/// A linear congruential generator (Knuth's MMIX constants): plain and repeatable.
pub(crate) struct Rng(pub u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        let x = self.0 ^ self.0 >> 29;
        x.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// Key `offset` of an object that only tests have.
pub(crate) fn key(offset: u64) -> Key {
    Key::new(1000 + offset / 64, Kind::EXTENT, offset % 64)
}

pub(crate) fn ram(mib: u64) -> StdArc<RamBackend> {
    StdArc::new(RamBackend::new(mib << 20))
}

pub(crate) fn device(ram: &StdArc<RamBackend>) -> Device {
    Device::from_backend(ram.clone())
}

pub(crate) fn format(dev: &Device, block_size: u32) {
    let options = FormatOptions {
        block_size,
        uuid: Some(*b"0123456789abcdef"),
        hash_key: Some([1, 2]),
        ..FormatOptions::default()
    };
    Fs::format(dev, &options).unwrap();
}

pub(crate) fn mount(dev: &Device) -> Arc<Fs> {
    Fs::mount(dev.clone(), MountOptions::default()).unwrap()
}

/// A new filesystem in memory.
pub(crate) fn fresh(mib: u64, block_size: u32) -> (StdArc<RamBackend>, Arc<Fs>) {
    let ram = ram(mib);
    let dev = device(&ram);
    format(&dev, block_size);
    let fs = mount(&dev);
    (ram, fs)
}

/// All items but the root directory's.
pub(crate) fn items(r: &impl Read) -> BTreeMap<Key, Vec<u8>> {
    let mut map = BTreeMap::new();
    let mut last = None;
    r.scan(&Key::MIN, &Key::MAX, &mut |k, v| {
        assert!(last < Some(*k), "a scan must ascend");
        last = Some(*k);
        if k.obj != ROOT_INO {
            map.insert(*k, v.to_vec());
        }
        Ok(true)
    })
    .unwrap();
    map
}

/// What a walk of the tree found.
#[derive(Default)]
pub(crate) struct Shape {
    pub nodes: BTreeSet<u64>,
    pub leaves: usize,
    pub used: usize,
    pub empty: usize,
}

/// Walks the whole tree and checks that every key lies where its ancestors say.
pub(crate) fn shape(fs: &Fs) -> Shape {
    let guard = fs.tree.read();
    let walk = Walk {
        source: Source {
            nodes: &fs.nodes,
            fetched: None,
        },
        tree: &guard,
        anew: false,
    };
    let mut shape = Shape::default();
    let mut todo: Vec<(NodePtr, Option<Key>, Option<Key>)> = std::vec![(walk.tree.root, None, None)];
    while let Some((ptr, lower, upper)) = todo.pop() {
        let node: &Node = &walk.tree.node(walk.source, &ptr).unwrap();
        assert_eq!(
            (node.level(), node.block(), node.birth()),
            (ptr.level, ptr.block, ptr.birth)
        );
        assert!(shape.nodes.insert(ptr.block), "node {} is reached twice", ptr.block);
        assert!(walk.source.nodes.io.geo.is_node_place(ptr.block));
        assert!(ptr.birth != walk.tree.txg || walk.tree.dirty.contains(ptr.block));
        if node.level() == 0 {
            shape.leaves += 1;
            shape.used += node.used();
            shape.empty += usize::from(node.is_empty());
            for item in node.items() {
                assert!(lower.is_none_or(|l| l <= item.key()) && upper.is_none_or(|u| item.key() < u));
            }
            let live: usize = node.items().iter().map(|i| node.data(i).len()).sum();
            assert_eq!(node.used(), live + node.len() * 24);
        } else {
            assert!(!node.is_empty());
            let keys: Vec<Key> = node.entries().iter().map(|e| e.key()).collect();
            assert!(keys.windows(2).all(|w| w[0] < w[1]));
            for (i, e) in node.entries().iter().enumerate() {
                if i > 0 {
                    assert!(lower.is_none_or(|l| l <= keys[i]) && upper.is_none_or(|u| keys[i] < u));
                }
                assert!(e.birth.get() <= ptr.birth);
                let low = if i == 0 { lower } else { Some(keys[i]) };
                let up = keys.get(i + 1).copied().or(upper);
                todo.push((e.ptr(node.level() - 1), low, up));
            }
        }
    }
    let stray = walk.tree.dirty.iter().filter(|(b, _)| !shape.nodes.contains(b)).count();
    assert_eq!(stray, 0, "dirty nodes that nothing leads to");
    shape
}

/// Checks the tree's shape and that exactly its nodes and `data` blocks are in use.
pub(crate) fn verify(fs: &Fs, data: u64) -> Shape {
    let shape = shape(fs);
    let used = shape.nodes.len() as u64 * u64::from(fs.geometry().node_blocks) + data;
    assert_eq!(fs.space_info().free, fs.space_info().total - used, "free blocks");
    shape
}

/// What a device is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Read(u64),
    Write(u64),
    Flush,
    /// A write that is durable when it returns.
    Fua(u64),
}

type Hook = dyn Fn(Op) + Send + Sync;

/// A device in memory that says what it is about to do.
pub(crate) struct Hooked {
    pub ram: StdArc<RamBackend>,
    hook: std::sync::RwLock<Option<StdArc<Hook>>>,
}

impl Hooked {
    /// A new filesystem's device.
    pub fn formatted(mib: u64) -> StdArc<Hooked> {
        let ram = ram(mib);
        format(&device(&ram), 4096);
        StdArc::new(Hooked {
            ram,
            hook: std::sync::RwLock::new(None),
        })
    }

    pub fn device(self: &StdArc<Self>) -> Device {
        Device::from_backend(self.clone())
    }

    /// Calls `hook` before each operation from now on, in the thread that asks for it and with no lock of the device
    /// held.
    pub fn set(&self, hook: impl Fn(Op) + Send + Sync + 'static) {
        *self.hook.write().unwrap() = Some(StdArc::new(hook));
    }

    pub fn unset(&self) {
        *self.hook.write().unwrap() = None;
    }

    fn tell(&self, op: Op) {
        let hook = self.hook.read().unwrap().clone();
        if let Some(hook) = hook {
            hook(op);
        }
    }
}

impl vexfs_host::device::Backend for Hooked {
    fn len(&self) -> u64 {
        self.ram.len()
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> vexfs_host::Result<()> {
        self.tell(Op::Read(offset));
        self.ram.read(offset, buf)
    }

    fn write(&self, offset: u64, data: &[u8]) -> vexfs_host::Result<()> {
        self.tell(Op::Write(offset));
        self.ram.write(offset, data)
    }

    fn flush(&self) -> vexfs_host::Result<()> {
        self.tell(Op::Flush);
        self.ram.flush()
    }

    fn write_fua(&self, offset: u64, data: &[u8]) -> vexfs_host::Result<()> {
        self.tell(Op::Fua(offset));
        self.ram.write(offset, data)
    }
}
