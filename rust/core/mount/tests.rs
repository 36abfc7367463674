// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What mounting and reading make of damaged, foreign and impossible devices.

use super::*;
use crate::format::node::*;
use crate::format::Key;
use crate::node::Node;
use crate::testing::*;
use crate::txn::Read;
use crate::txn::Reserve;
use std::sync::Arc as StdArc;
use std::vec;
use std::vec::Vec;
use vexfs_host::device::RamBackend;

/// An image with a tree of three levels, after several commits.
fn image(mib: u64) -> Vec<u8> {
    let (ram, fs) = fresh(mib, 4096);
    for round in 0..4u64 {
        let mut n = 0;
        while n < 1200 {
            let mut tx = fs.begin(Reserve::items(30)).unwrap();
            for _ in 0..30 {
                tx.put(&key(n * 7919 % 30_011 + round), &[round as u8; 700]).unwrap();
                n += 1;
            }
            tx.commit();
        }
        fs.commit().unwrap();
    }
    assert!(fs.counters().levels >= 2);
    fs.unmount().unwrap();
    let mut bytes = vec![0; (mib << 20) as usize];
    ram.load(0, &mut bytes);
    bytes
}

fn device_of(bytes: &[u8]) -> Device {
    Device::from_backend(StdArc::new(RamBackend::from_image(bytes)))
}

fn try_mount(bytes: &[u8]) -> Result<Arc<Fs>> {
    Fs::mount(device_of(bytes), MountOptions::default())
}

/// Uses everything: reads all items, loads a bitmap, changes and commits.
fn use_all(bytes: &[u8]) -> Result<()> {
    let fs = try_mount(bytes)?;
    fs.view()?.scan(&Key::MIN, &Key::MAX, &mut |_, _| Ok(true))?;
    for group in 0..fs.geometry().group_count {
        let (block, len) = fs.alloc_data(fs.geometry().group_start(group) + 9000, 1, false)?;
        fs.release_data(block, len);
    }
    let mut tx = fs.begin(Reserve::items(1))?;
    tx.put(&key(1), b"x")?;
    tx.commit();
    fs.unmount()
}

fn corrupt_block(e: Error) -> u64 {
    match e {
        Error::Corrupt(c) => {
            assert!(!c.what.is_empty());
            c.block
        }
        e => panic!("not reported as damage: {e:?}"),
    }
}

#[test]
fn a_flipped_byte_anywhere_in_a_node_is_found_and_the_block_is_named() {
    let good = image(16);
    use_all(&good).unwrap();
    let ram = StdArc::new(RamBackend::from_image(&good));
    let read_all = || {
        let options = MountOptions {
            read_only: true,
            ..MountOptions::default()
        };
        let fs = Fs::mount(Device::from_backend(ram.clone()), options)?;
        let view = fs.view()?;
        view.scan(&Key::MIN, &Key::MAX, &mut |_, _| Ok(true))
    };
    let mut rng = Rng(3);
    for block in shape(&try_mount(&good).unwrap()).nodes {
        for at in [0, 5, 9, 30, 33, 41, 43, 45, 100, rng.below(16384), 16383] {
            let at = block * 4096 + at;
            let byte = good[at as usize];
            ram.store(at, &[byte ^ 1 << rng.below(8)]);
            assert_eq!(corrupt_block(read_all().unwrap_err()), block, "byte {at}");
            ram.store(at, &[byte]);
        }
    }
    read_all().unwrap();
}

#[test]
fn a_node_from_an_earlier_transaction_group_is_not_taken_for_the_present_one() {
    let good = image(16);
    let fs = try_mount(&good).unwrap();
    let root = fs.tree.read().root;
    let geo = *fs.geometry();
    drop(fs);
    // A lost write: what lies at the root's place is valid in itself but not what the superblock points to.
    let mut bad = good.clone();
    let at = geo.byte(root.block) as usize;
    let mut old = Node::new(geo.node_size, root.block, root.birth - 1, root.level).unwrap();
    if root.level > 0 {
        old.insert_entry(0, &DiskEntry::new(&Key::MIN, &root));
    }
    old.seal(b"0123456789abcdef");
    bad[at..at + 16384].copy_from_slice(old.bytes());
    assert_eq!(corrupt_block(use_all(&bad).unwrap_err()), root.block);
}

#[test]
fn a_flipped_byte_in_the_group_table_is_found_and_the_block_is_named() {
    let good = image(16);
    let sb = read_superblock(&device_of(&good), false).unwrap().bytes;
    let sb = DiskSuperblock::parse(&sb).unwrap();
    let block = sb.gdt_start.get() + u64::from(sb.table_slot(0));
    for at in [0, 4, 8, 20, 33, 41, 64, 70, 90, 4095] {
        let mut bad = good.clone();
        bad[(block * 4096 + at) as usize] ^= 4;
        assert_eq!(corrupt_block(use_all(&bad).unwrap_err()), block, "byte {at}");
    }
}

#[test]
fn a_flipped_byte_in_a_bitmap_is_found_and_the_block_is_named() {
    let good = image(16);
    let fs = try_mount(&good).unwrap();
    let first = fs.geometry().first_group;
    drop(fs);
    let mut found = 0;
    for block in [first, first + 1] {
        let mut bad = good.clone();
        bad[(block * 4096 + 1000) as usize] ^= 16;
        match use_all(&bad) {
            Ok(()) => {}
            Err(e) => {
                assert_eq!(corrupt_block(e), block);
                found += 1;
            }
        }
    }
    assert_eq!(found, 1, "one of the slots is the current one");
}

#[test]
fn a_damaged_superblock_slot_makes_the_other_one_count_and_two_are_an_error() {
    let good = image(16);
    let newest = try_mount(&good).unwrap().committed_txg();
    let slot = read_superblock(&device_of(&good), false).unwrap().slot;
    let damage = |bytes: &mut Vec<u8>, slot: usize| bytes[SUPERBLOCK_OFFSETS[slot] as usize + 200] ^= 1;
    let mut older = good.clone();
    damage(&mut older, 1 - slot);
    assert_eq!(try_mount(&older).unwrap().committed_txg(), newest);
    let mut newer = good.clone();
    damage(&mut newer, slot);
    let fs = try_mount(&newer).unwrap();
    assert_eq!(fs.committed_txg(), newest - 1);
    shape(&fs);
    damage(&mut newer, 1 - slot);
    assert!(matches!(try_mount(&newer).err(), Some(Error::Corrupt(_))));
}

/// A device with a sector that cannot be read until it is healed.
struct BadSector {
    ram: RamBackend,
    at: u64,
    healed: std::sync::atomic::AtomicBool,
}

impl BadSector {
    fn new(bytes: &[u8], at: u64) -> StdArc<BadSector> {
        StdArc::new(BadSector {
            ram: RamBackend::from_image(bytes),
            at,
            healed: false.into(),
        })
    }
}

impl vexfs_host::device::Backend for BadSector {
    fn len(&self) -> u64 {
        self.ram.len()
    }
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        if offset == self.at && !self.healed.load(SeqCst) {
            return Err(Error::Io(vexfs_host::IoError {
                op: "read",
                offset,
                errno: 5,
            }));
        }
        self.ram.read(offset, buf)
    }
    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.ram.write(offset, data)
    }
    fn flush(&self) -> Result<()> {
        Ok(())
    }
}

const READ_ONLY: fn() -> MountOptions = || MountOptions {
    read_only: true,
    ..MountOptions::default()
};

#[test]
fn a_superblock_slot_that_cannot_be_read_allows_only_reading() {
    let good = image(16);
    for slot in SUPERBLOCK_OFFSETS {
        let dev = Device::from_backend(BadSector::new(&good, slot));
        assert!(matches!(
            Fs::mount(dev.clone(), MountOptions::default()).err(),
            Some(Error::Io(_))
        ));
        shape(&Fs::mount(dev, READ_ONLY()).unwrap());
    }
}

#[test]
fn a_mount_beside_a_superblock_slot_that_could_not_be_read_never_becomes_writable() {
    let good = image(16);
    for slot in SUPERBLOCK_OFFSETS {
        let disk = BadSector::new(&good, slot);
        let dev = Device::from_backend(disk.clone());
        let newest = try_mount(&good).unwrap().committed_txg();
        let fs = Fs::mount(dev.clone(), READ_ONLY()).unwrap();
        for healed in [false, true] {
            disk.healed.store(healed, SeqCst);
            assert_eq!(fs.set_read_only(false), Err(Error::ReadOnly));
            assert_eq!(fs.begin(Reserve::items(1)).err(), Some(Error::ReadOnly));
        }
        fs.unmount().unwrap();
        drop(fs);
        let mut after = vec![0; good.len()];
        disk.ram.load(0, &mut after);
        assert!(after == good, "it was written to");
        // A mount that can read both slots finds what was acknowledged, and may write.
        let fs = Fs::mount(dev, READ_ONLY()).unwrap();
        assert_eq!(fs.committed_txg(), newest);
        fs.set_read_only(false).unwrap();
    }
}

#[test]
fn the_log_is_left_alone_beside_a_superblock_slot_that_could_not_be_read() {
    let (ram, fs) = fresh(16, 4096);
    let put = |k: u64| {
        let mut tx = fs.begin(Reserve::items(1)).unwrap();
        tx.put(&key(k), b"x").unwrap();
        tx.commit();
    };
    put(1);
    fs.commit().unwrap();
    let older = items(&fs.view().unwrap());
    // What the commit has is not in the log; what comes next builds upon it.
    put(2);
    fs.commit().unwrap();
    let mut tx = fs.begin(Reserve::items(1)).unwrap();
    tx.remove(&key(2)).unwrap();
    let txg = tx.commit();
    fs.sync_txg(txg).unwrap();
    let mut bytes = vec![0; 16 << 20];
    ram.load(0, &mut bytes);
    let newest = read_superblock(&device_of(&bytes), true).unwrap().slot;
    let dev = Device::from_backend(BadSector::new(&bytes, SUPERBLOCK_OFFSETS[newest]));
    let fs = Fs::mount(dev, READ_ONLY()).unwrap();
    assert!(items(&fs.view().unwrap()) == older);
}

#[test]
fn an_unreadable_superblock_slot_beside_a_damaged_one_is_an_error_of_the_device() {
    let good = image(16);
    for (n, slot) in SUPERBLOCK_OFFSETS.into_iter().enumerate() {
        let mut bad = good.clone();
        bad[SUPERBLOCK_OFFSETS[1 - n] as usize + 200] ^= 1;
        for options in [READ_ONLY(), MountOptions::default()] {
            let dev = Device::from_backend(BadSector::new(&bad, slot));
            assert!(matches!(Fs::mount(dev, options).err(), Some(Error::Io(_))));
        }
    }
}

#[test]
fn a_valid_superblock_with_a_damaged_tree_is_an_error_and_not_a_step_back() {
    let good = image(16);
    let root = try_mount(&good).unwrap().tree.read().root.block;
    let mut bad = good.clone();
    bad[(root * 4096 + 77) as usize] ^= 1;
    assert_eq!(corrupt_block(try_mount(&bad).err().unwrap()), root);
}

#[test]
fn what_is_there_instead_of_a_filesystem_is_named() {
    let named = |bytes: &[u8]| match try_mount(bytes) {
        Err(Error::Invalid(what)) => what,
        other => panic!("{:?}", other.err()),
    };
    let mut bytes = vec![0u8; 1 << 20];
    assert!(named(&bytes).contains("not a VexFS"));
    bytes[1080..1082].copy_from_slice(&[0x53, 0xef]);
    assert!(named(&bytes).contains("ext4"));
    bytes[4096..4100].copy_from_slice(b"VEXF");
    assert!(named(&bytes).contains("older VexFS prototype"));
    bytes[4096..4100].copy_from_slice(b"FXEV");
    assert!(named(&bytes).contains("older VexFS prototype"));
    let mut bytes = vec![0u8; 1 << 20];
    bytes[..4].copy_from_slice(b"VEXF");
    assert!(named(&bytes).contains("older VexFS prototype"));
    bytes[..4].copy_from_slice(b"XFSB");
    assert!(named(&bytes).contains("XFS"));
    bytes[65600..65608].copy_from_slice(b"_BHRfS_M");
    bytes[0] = 0;
    assert!(named(&bytes).contains("btrfs"));
}

/// Changes both superblock slots and makes their checksums right again.
fn with_superblock(bytes: &[u8], f: impl Fn(&mut DiskSuperblock)) -> Vec<u8> {
    use zerocopy::FromBytes as _;
    let mut bytes = bytes.to_vec();
    for at in SUPERBLOCK_OFFSETS {
        let (sb, _) = DiskSuperblock::mut_from_prefix(&mut bytes[at as usize..]).unwrap();
        f(sb);
        let csum = sb.compute_csum();
        sb.csum = csum.into();
    }
    bytes
}

#[test]
fn unknown_features_are_refused_as_far_as_they_have_to_be() {
    let good = image(16);
    let read_only = MountOptions {
        read_only: true,
        ..MountOptions::default()
    };
    let compat = with_superblock(&good, |sb| sb.compat = (1 << 40).into());
    assert!(try_mount(&compat).is_ok());
    let ro = with_superblock(&good, |sb| sb.ro_compat = (1 << 40).into());
    assert!(matches!(try_mount(&ro).err(), Some(Error::Unsupported(_))));
    let fs = Fs::mount(device_of(&ro), read_only).unwrap();
    assert_eq!(fs.set_read_only(false), Err(Error::ReadOnly));
    for bit in [0, 2, 3, 50] {
        let incompat = with_superblock(&good, |sb| sb.incompat = (1 << bit).into());
        assert!(matches!(try_mount(&incompat).err(), Some(Error::Unsupported(_))));
        assert!(Fs::mount(device_of(&incompat), read_only).is_err());
    }
    let version = with_superblock(&good, |sb| sb.version = 2.into());
    assert!(matches!(try_mount(&version).err(), Some(Error::Unsupported(_))));
}

#[test]
fn a_superblock_with_impossible_values_is_an_error() {
    let good = image(16);
    let changes: [fn(&mut DiskSuperblock); 12] = [
        |sb| sb.root_block = 7.into(),
        |sb| sb.root_block = u64::MAX.into(),
        |sb| sb.root_level = 9,
        |sb| sb.root_birth = (sb.txg.get() + 1).into(),
        |sb| sb.free_blocks = 1.into(),
        |sb| sb.gdt_csum = 1.into(),
        |sb| sb.next_ino = 0.into(),
        |sb| sb.inode_count = 0.into(),
        |sb| sb.inode_count = (sb.next_ino.get() - FIRST_INO + 2).into(),
        |sb| sb.inode_count = u64::MAX.into(),
        |sb| sb.txg = u64::MAX.into(),
        |sb| sb.total_blocks = 3.into(),
    ];
    for (n, change) in changes.into_iter().enumerate() {
        let bad = with_superblock(&good, change);
        assert!(matches!(try_mount(&bad).err(), Some(Error::Corrupt(_))), "change {n}");
    }
    assert!(matches!(try_mount(&good[..12 << 20]).err(), Some(Error::Invalid(_))));
}

#[test]
fn a_read_only_mount_writes_nothing() {
    let good = image(16);
    let ram = StdArc::new(RamBackend::from_image(&good));
    let options = MountOptions {
        read_only: true,
        ..MountOptions::default()
    };
    let fs = Fs::mount(Device::from_backend(ram.clone()), options).unwrap();
    assert_eq!(fs.begin(Reserve::items(1)).err(), Some(Error::ReadOnly));
    assert_eq!(fs.reserve_blocks(1), Err(Error::ReadOnly));
    fs.sync().unwrap();
    fs.unmount().unwrap();
    let mut after = vec![0; good.len()];
    ram.load(0, &mut after);
    assert!(after == good);
}

#[test]
fn a_remount_read_only_writes_everything_out_and_one_back_goes_on() {
    let (_ram, fs) = fresh(16, 4096);
    let put = |k: u64| {
        fs.begin(Reserve::items(1)).map(|mut tx| {
            tx.put(&key(k), b"x").unwrap();
            tx.commit();
        })
    };
    put(1).unwrap();
    fs.set_read_only(true).unwrap();
    assert_eq!(put(2), Err(Error::ReadOnly));
    assert_eq!(items(&mount(fs.dev()).view().unwrap()).len(), 1);
    fs.set_read_only(false).unwrap();
    put(3).unwrap();
    fs.unmount().unwrap();
    assert_eq!(put(4), Err(Error::ReadOnly));
    assert_eq!(items(&mount(fs.dev()).view().unwrap()).len(), 2);
    fs.abort(Error::Shutdown);
    assert_eq!(fs.set_read_only(false), Err(Error::ReadOnly));
    fs.set_read_only(true).unwrap();
}

/// A mount of [`image`] with a damaged leaf, and keys in it and in another leaf.
fn with_damaged_leaf() -> (Arc<Fs>, Key, Key) {
    let mut bytes = image(16);
    let fs = try_mount(&bytes).unwrap();
    let keys: Vec<u64> = items(&fs.view().unwrap())
        .keys()
        .map(|k| (k.obj - 1000) * 64 + k.offset)
        .collect();
    let middle = key(keys[keys.len() / 2]);
    let source = crate::node::fetch::Source {
        nodes: &fs.nodes,
        fetched: None,
    };
    let leaf = fs.tree.read().leaf(source, &middle).unwrap().node.block();
    drop(fs);
    bytes[(leaf * 4096 + 777) as usize] ^= 1;
    (try_mount(&bytes).unwrap(), middle, key(keys[0]))
}

#[test]
fn damage_that_is_met_by_reading_is_an_error_of_that_read_and_stops_nothing() {
    let (fs, bad, good) = with_damaged_leaf();
    for n in 1..=3 {
        let read = fs.view().unwrap().get(&bad, |_| Ok(()));
        corrupt_block(read.unwrap_err());
        assert_eq!(fs.counters().damage_met, n);
        let mut tx = fs.begin(Reserve::items(1)).unwrap();
        tx.put(&good, b"changed").unwrap();
        tx.commit();
        fs.commit().unwrap();
    }
    assert_eq!(fs.abort_reason(), None);
    fs.unmount().unwrap();
}

#[test]
fn damage_that_is_met_while_changing_something_stops_all_changes_but_no_reads() {
    type Change = fn(&mut crate::txn::Tx<'_>, &Key) -> Result<()>;
    let changes: [Change; 5] = [
        |tx, k| tx.put(k, b"x"),
        |tx, k| tx.insert(k, b"x"),
        |tx, k| tx.remove(k),
        |tx, k| tx.modify(k, |_| Ok(())).map(|_| ()),
        |tx, k| tx.get(k, |_| Ok(())).map(|_| ()),
    ];
    for change in changes {
        let (fs, bad, good) = with_damaged_leaf();
        let mut tx = fs.begin(Reserve::items(1)).unwrap();
        tx.put(&good, b"changed").unwrap();
        corrupt_block(change(&mut tx, &bad).unwrap_err());
        drop(tx);
        assert!(matches!(fs.abort_reason(), Some(Error::Corrupt(_))));
        assert_eq!(fs.begin(Reserve::items(1)).err(), Some(Error::ReadOnly));
        assert!(fs.commit().is_err());
        let before = fs.view().unwrap().get(&good, |v| Ok(v != b"changed"));
        assert_eq!(before, Ok(Some(true)));
    }
}

#[test]
fn a_damaged_bitmap_that_an_allocation_needs_stops_all_changes() {
    let mut bytes = image(16);
    let geo = *try_mount(&bytes).unwrap().geometry();
    for slot in [geo.first_group, geo.first_group + 1] {
        bytes[(slot * 4096 + 1000) as usize] ^= 16;
    }
    let fs = try_mount(&bytes).unwrap();
    corrupt_block(fs.alloc_data(geo.group_start(0) + 9000, 1, false).unwrap_err());
    assert!(matches!(fs.abort_reason(), Some(Error::Corrupt(_))));
}

/// Nodes with a right checksum and random contents otherwise: parsing refuses them or they are safe to use.
#[test]
fn crafted_nodes_are_refused_or_harmless() {
    let good = image(16);
    let fs = try_mount(&good).unwrap();
    let geo = *fs.geometry();
    let uuid = *fs.uuid();
    let mut scratch = vec![0u8; 16384];
    let mut rng = Rng(17);
    let (mut taken, mut refused) = (0, 0);
    for block in shape(&fs).nodes {
        let mut original = vec![0; 16384];
        fs.dev().read(geo.byte(block), &mut original).unwrap();
        for _ in 0..60 {
            let mut bytes = original.clone();
            for _ in 0..1 + rng.below(4) {
                // Mostly in the header and the first elements, where it matters.
                let range = if rng.below(4) == 0 { 16000 } else { 200 };
                let at = 32 + rng.below(range) as usize;
                bytes[at] = rng.next() as u8;
            }
            let csum = vexfs_host::crc32c(0, &bytes[8..]);
            bytes[4..8].copy_from_slice(&csum.to_le_bytes());
            let ptr = NodePtr {
                block,
                birth: u64::from_le_bytes(bytes[32..40].try_into().unwrap()),
                csum,
                level: bytes[40],
            };
            let mut buf = vexfs_host::mem::Vec::new();
            buf.extend_from_slice(&bytes).unwrap();
            let Ok(mut node) = Node::parse(buf, &geo, &uuid, &ptr) else {
                refused += 1;
                continue;
            };
            taken += 1;
            let mut right = Node::new(geo.node_size, 4096, 9, node.level()).unwrap();
            for i in 0..50 {
                let k = key(rng.below(30_000));
                let _ = node.child_of(&k);
                match node.find(&k) {
                    Ok(at) => {
                        node.replace(at, &vec![1; i * 40], &mut scratch);
                    }
                    Err(at) => {
                        node.insert(at, &k, &vec![1; i * 40], &mut scratch);
                    }
                }
                node.remove(i);
            }
            node.move_tail(node.len() / 2, &mut right, &mut scratch);
            node.seal(&uuid);
        }
    }
    assert!(taken > 100 && refused > 100, "{taken} taken, {refused} refused");
}
