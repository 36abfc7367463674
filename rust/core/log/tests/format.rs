// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The bytes of the log: written and read, torn, flipped, and made up.

use super::*;
use crate::format::log::*;
use crate::format::Kind;
use crate::log::read::Reader;
use std::string::String;
use zerocopy::FromBytes as _;
use zerocopy::IntoBytes as _;

/// A filesystem with three batches in its log, and the byte offset of the log.
fn three() -> (StdArc<Probe>, Vec<Model>, u64) {
    let (rec, dev) = recorded(16);
    let fs = mount(&dev);
    let mut states = std::vec![all(&fs)];
    put_data(&fs, 1, 2, 5);
    put_sync(&fs, 2, &[2; 3000]);
    states.push(all(&fs));
    for k in 3..9 {
        put(&fs, k, &[k as u8; 1500]);
    }
    let mut tx = fs.begin(Reserve::items(1)).unwrap();
    tx.remove(&key(2)).unwrap();
    let txg = tx.commit();
    fs.sync_txg(txg).unwrap();
    states.push(all(&fs));
    put_sync(&fs, 10, b"");
    states.push(all(&fs));
    let at = fs.geometry().byte(fs.geometry().log_start);
    (rec, states, at)
}

/// What a mount finds after `change` of an image.
fn after(rec: &Probe, change: impl FnOnce(&RamBackend)) -> Result<Model> {
    let image = rec.contents();
    change(&image);
    Fs::mount(on(image).1, READ_ONLY).map(|fs| all(&fs))
}

#[test]
fn the_log_reads_as_it_was_written() {
    let (rec, states, _) = three();
    let fs = mount(&copy(&rec).1);
    assert!(all(&fs) == states[3]);
    let (probe, dev) = copy(&rec);
    let fs = Fs::mount(dev.clone(), READ_ONLY).unwrap();
    let mut reader = Reader::new(&dev, fs.log.region, fs.log.identity, 0);
    let mut told = String::new();
    while let Some((head, mut ops)) = reader.next().unwrap() {
        told += &std::format!("[{}+{} ", head.position.get(), head.bytes() / LOG_UNIT);
        while let Some((op, mut entries)) = ops.next().unwrap() {
            told += &std::format!("{}:", op.txg.get());
            while let Some(entry) = entries.next().unwrap() {
                told += match entry {
                    LogEntry::Put(..) => "p",
                    LogEntry::Remove(_) => "r",
                    LogEntry::Adopt(..) => "a",
                    LogEntry::Free(..) => "f",
                };
            }
            told += " ";
        }
        told += "]";
    }
    assert_eq!(told, "[0+1 2:pa 2:p ][1+3 2:p 2:p 2:p 2:p 2:p 2:p 2:r ][4+1 2:p ]");
    assert_eq!(reader.position(), 5);
    assert_eq!(probe.position(), 0);
}

#[test]
fn every_flipped_bit_and_every_cut_ends_the_log_there() {
    let (rec, states, at) = three();
    let mut rng = Rng(1);
    // The second batch lies in units 1 to 3; its operations end before byte 4 * 4096.
    let used = 6 * (32 + 20 + 1500) + 32 + 20 + 64u64;
    let flips = (0..64 + 32 + 20).chain((0..150).map(|_| rng.below(used)));
    for byte in flips {
        for bit in 0..8 {
            let offset = at + 4096 + byte;
            let found = after(&rec, |image| {
                let mut b = [0];
                image.load(offset, &mut b);
                image.store(offset, &[b[0] ^ 1 << bit]);
            });
            assert!(found.unwrap() == states[1], "byte {byte}, bit {bit}");
        }
    }
    // What is behind the operations means nothing.
    let found = after(&rec, |image| image.store(at + 4096 + used, &[0xff; 100]));
    assert!(found.unwrap() == states[3]);
    for sector in 0..used.div_ceil(512) {
        let found = after(&rec, |image| {
            let from = at + 4096 + sector * 512;
            image.store(from, &std::vec![0; (at + 4 * 4096 - from) as usize]);
        });
        assert!(found.unwrap() == states[1], "cut after {sector} sectors");
    }
}

#[test]
fn a_batch_of_another_filesystem_or_place_is_none() {
    let (rec, states, at) = three();
    let mut unit = std::vec![0; 4096];
    rec.contents().load(at + 4 * 4096, &mut unit);
    // The third batch again where the next one would be.
    let found = after(&rec, |image| image.store(at + 5 * 4096, &unit));
    assert!(found.unwrap() == states[3]);
    // With the number of that place and the right checksum, but without knowing the key.
    let made_up = |identity: LogIdentity| {
        after(&rec, |image| {
            let mut bytes = unit.clone();
            let mut head = DiskLogBatch::read_from_prefix(&unit).unwrap().0;
            head.position = 5.into();
            identity.seal(&mut bytes, head.used(), &head);
            image.store(at + 5 * 4096, &bytes);
        })
    };
    let fs = mount(&copy(&rec).1);
    let ours = fs.log.identity;
    let keyless = LogIdentity {
        hash_key: [0, 0],
        ..ours
    };
    let other = LogIdentity { uuid: [0; 16], ..ours };
    assert!(made_up(keyless).unwrap() == states[3]);
    assert!(made_up(other).unwrap() == states[3]);
    // With all of it: another put of the same item.
    assert!(made_up(ours).unwrap() == states[3]);
}

/// Writes a batch of `entries` in one operation as the fourth one of [`three`]; `fix` changes headers before the
/// checksum.
fn forge(rec: &Probe, at: u64, entries: &[u8], fix: impl FnOnce(&mut DiskLogBatch, &mut DiskLogOp)) -> Result<Model> {
    let fs = mount(&copy(rec).1);
    let mut op = DiskLogOp {
        len: (entries.len() as u32).into(),
        reserved: 0.into(),
        txg: 2.into(),
        next_ino: fs.tree.read().next_ino.into(),
        inode_count: fs.tree.read().inode_count.into(),
    };
    let used = 64 + 32 + entries.len();
    let mut head = DiskLogBatch::new_for_test(5, used as u32 - 64);
    fix(&mut head, &mut op);
    let mut bytes = std::vec![0; used.next_multiple_of(4096)];
    bytes[64..96].copy_from_slice(op.as_bytes());
    bytes[96..used].copy_from_slice(entries);
    fs.log.identity.seal(&mut bytes, head.used(), &head);
    after(rec, |image| image.store(at + 5 * 4096, &bytes))
}

fn entry(what: u8, key: Key, data: &[u8]) -> Vec<u8> {
    let head = DiskLogEntry {
        what,
        kind: key.kind.0,
        len: (data.len() as u16).into(),
        obj: key.obj.into(),
        offset: key.offset.into(),
    };
    [head.as_bytes(), data].concat()
}

#[test]
fn impossible_contents_with_right_checksums_fail_the_mount() {
    let (rec, states, at) = three();
    let ok = |_: &mut DiskLogBatch, _: &mut DiskLogOp| {};
    let good = forge(&rec, at, &entry(LOG_PUT, key(77), b"forged"), ok).unwrap();
    assert_eq!(good.len(), states[3].len() + 1);
    let blocks = |block: u64, n: u64| Key::new(block, Kind(0), n);
    let (taken, _, _) = place(&states[3][&key(1)]);
    let first = 12 + 256;
    let corrupt = |what: &str, entries: &[u8]| {
        let done = forge(&rec, at, entries, ok);
        assert!(matches!(done, Err(Error::Corrupt(_))), "{what}: {done:?}");
    };
    corrupt("unknown", &entry(9, key(1), b""));
    corrupt("item too large", &entry(LOG_PUT, key(1), &[0; 3801]));
    corrupt("remove with data", &entry(LOG_REMOVE, key(3), b"x"));
    corrupt("remove what is not there", &entry(LOG_REMOVE, key(2), b""));
    corrupt("adopt what is used", &entry(LOG_ADOPT, blocks(taken, 1), b""));
    corrupt("adopt nothing", &entry(LOG_ADOPT, blocks(3000, 0), b""));
    corrupt("adopt too much", &entry(LOG_ADOPT, blocks(3000, 1 << 33), b""));
    corrupt("adopt bitmaps", &entry(LOG_ADOPT, blocks(first, 1), b""));
    corrupt("adopt the superblock", &entry(LOG_ADOPT, blocks(1, 1), b""));
    corrupt("adopt what is not there", &entry(LOG_ADOPT, blocks(u64::MAX, 2), b""));
    corrupt("adopt with a kind", &entry(LOG_ADOPT, Key::new(3000, Kind(4), 1), b""));
    corrupt(
        "adopt twice",
        &[
            entry(LOG_ADOPT, blocks(3000, 4), b""),
            entry(LOG_ADOPT, blocks(3003, 1), b""),
        ]
        .concat(),
    );
    corrupt("free what is free", &entry(LOG_FREE, blocks(3000, 1), b""));
    corrupt("free what is not there", &entry(LOG_FREE, blocks(u64::MAX, 1), b""));
    corrupt(
        "free twice",
        &[
            entry(LOG_FREE, blocks(taken, 1), b""),
            entry(LOG_FREE, blocks(taken, 1), b""),
        ]
        .concat(),
    );
    corrupt("half an entry", &entry(LOG_PUT, key(1), b"")[..19]);
    corrupt("less data than said", &entry(LOG_PUT, key(1), b"abc")[..22]);
    for (what, fix) in [
        (
            "more operations",
            (|h, _| h.ops = 2.into()) as fn(&mut DiskLogBatch, &mut DiskLogOp),
        ),
        ("fewer operations", |h, _| h.ops = 0.into()),
        ("operation too long", |_, o| o.len = u32::MAX.into()),
        ("the past", |_, o| o.txg = 1.into()),
        ("the future", |h, o| {
            o.txg = 4.into();
            h.last_txg = 4.into();
        }),
        ("later than the batch", |_, o| o.txg = 3.into()),
        ("inode numbers given out again", |_, o| o.next_ino = 3.into()),
        ("inodes out of nowhere", |_, o| o.inode_count = 1000.into()),
    ] {
        let done = forge(&rec, at, &entry(LOG_PUT, key(77), b"x"), fix);
        assert!(matches!(done, Err(Error::Corrupt(_))), "{what}: {done:?}");
    }
    // Lengths that no batch has are no batch.
    for len in [u32::MAX, 1 << 20] {
        let done = forge(&rec, at, &entry(LOG_PUT, key(77), b"x"), |h, _| h.len = len.into());
        assert!(done.unwrap() == states[3]);
    }
    // What fails the mount can still be looked at.
    let image = rec.contents();
    let (probe, dev) = on(image);
    let options = MountOptions {
        norecovery: true,
        ..READ_ONLY
    };
    assert!(all(&Fs::mount(dev, options).unwrap()) == states[0]);
    drop(probe);
}

#[test]
fn random_batches_with_right_checksums_never_panic() {
    let (rec, _, at) = three();
    let base = rec.contents();
    let fs = mount(&copy(&rec).1);
    let identity = fs.log.identity;
    let (mut refused, mut taken) = (0, 0);
    for seed in 0..3000 {
        let mut rng = Rng(seed);
        let unit = rng.below(3);
        let (position, units) = [(0, 1), (1, 3), (4, 1)][unit as usize];
        let mut bytes = std::vec![0; units * 4096];
        base.load(at + position * 4096, &mut bytes);
        let mut head = DiskLogBatch::read_from_prefix(&bytes).unwrap().0;
        for _ in 0..=rng.below(4) {
            let end = head.used() as u64;
            // Mostly headers: the values are anybody's.
            let place = match rng.below(3) {
                0 => 64 + rng.below(60),
                _ => 64 + rng.below(end - 64),
            } as usize;
            bytes[place] = match rng.below(3) {
                0 => rng.next() as u8,
                1 => bytes[place] ^ 1 << rng.below(8),
                _ => [0, 1, 0xff, 0x7f][rng.below(4) as usize],
            };
        }
        match rng.below(12) {
            0 => head.ops = (rng.below(12) as u32).into(),
            1 => head.len = (rng.below(bytes.len() as u64 - 64) as u32).into(),
            2 => head.last_txg = rng.below(5).into(),
            _ => {}
        }
        identity.seal(&mut bytes, head.used(), &head);
        let image = base.duplicate();
        image.store(at + position * 4096, &bytes);
        match Fs::mount(on(image).1, MountOptions::default()) {
            Ok(fs) => {
                // Whatever it holds, it is usable.
                put_sync(&fs, 500, b"on");
                crate::testing::shape(&fs);
                taken += 1;
            }
            Err(e) => {
                assert!(matches!(e, Error::Corrupt(_)), "seed {seed}: {e}");
                refused += 1;
            }
        }
    }
    assert!(refused > 300 && taken > 300, "{refused} {taken}");
}

impl DiskLogBatch {
    fn new_for_test(position: u64, len: u32) -> DiskLogBatch {
        DiskLogBatch {
            magic: LOG_MAGIC.into(),
            csum: 0.into(),
            position: position.into(),
            tag: 0.into(),
            first_txg: 2.into(),
            last_txg: 2.into(),
            len: len.into(),
            ops: 1.into(),
            reserved: [0; 16],
        }
    }
}
