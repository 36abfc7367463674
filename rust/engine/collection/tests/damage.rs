// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Damaged tails: each is noticed, and nothing of the collection is shown.

use super::support::Random;
use super::support::Rows;
use super::support::World;
use super::support::PLAIN;
use super::support::UPSERT;
use crate::CollectionStats;
use crate::SearchRequest;
use crate::Time;
use std::vec;
use std::vec::Vec;
use vexfs_host::Error;
use vexfs_simd::Metric;

/// A vector.
const ONES: [u8; 8] = [0, 0, 0x80, 0x3f, 0, 0, 0x80, 0x3f];

/// A collection of three changes, and the bytes of its tail.
fn sample() -> (World, Vec<u8>) {
    super::support::quiet();
    let mut random = Random(1);
    let world = World::new(2, Metric::Cosine);
    let collection = world.collection();
    collection
        .insert(&Rows::random(&mut random, 0..3, 2).batch(), PLAIN)
        .unwrap();
    collection
        .insert(&Rows::random(&mut random, [1, 7], 2).batch(), UPSERT)
        .unwrap();
    collection.delete(&[0]).unwrap();
    collection.drop_cache();
    let mut bytes = vec![0; world.fs.inode(world.tail()).unwrap().size as usize];
    world.fs.read(world.tail(), 0, &mut bytes).unwrap();
    (world, bytes)
}

/// Puts other bytes into the tail and tries to use the collection.
fn use_with(world: &World, bytes: &[u8]) -> Result<(), Error> {
    world.fs.truncate(world.tail(), 0, Time::now()).unwrap();
    if !bytes.is_empty() {
        world.fs.write(world.tail(), 0, bytes, Time::now()).unwrap();
    }
    world.all.forget(world.dir);
    let collection = world.collection();
    let searched = collection
        .search(&SearchRequest {
            queries: &ONES,
            k: 5,
            radius: None,
            ..SearchRequest::default()
        })
        .map(|_| ());
    // Nothing is appended to a tail that is not understood.
    if let Err(e) = searched {
        let one = crate::Batch {
            vectors: &ONES,
            ..Default::default()
        };
        assert_eq!(collection.insert(&one, PLAIN).err(), Some(e));
        assert_eq!(collection.delete(&[1]).err(), Some(e));
        assert_eq!(collection.get(&[1]).err(), Some(e));
        // What only the headers tell may still be right.
        assert!(collection.info().err().is_none_or(|e| matches!(e, Error::Corrupt(_))));
    }
    searched
}

fn is_corrupt(result: Result<(), Error>) -> bool {
    matches!(result, Err(Error::Corrupt(_)))
}

#[test]
fn a_changed_byte_anywhere_is_a_clean_error() {
    let (world, bytes) = sample();
    assert_eq!(use_with(&world, &bytes), Ok(()));
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x11;
        assert!(is_corrupt(use_with(&world, &changed)), "byte {at}");
    }
    assert_eq!(use_with(&world, &bytes), Ok(()));
}

#[test]
fn a_tail_cut_anywhere_but_between_records_is_a_clean_error() {
    let (world, bytes) = sample();
    let mut whole = 0;
    for end in 0..bytes.len() {
        match use_with(&world, &bytes[..end]) {
            Ok(()) => whole += 1,
            result => assert!(is_corrupt(result), "cut at {end}"),
        }
    }
    assert_eq!(whole, 3, "before each of the three records");
}

#[test]
fn records_that_repeat_or_are_missing_are_a_clean_error() {
    let (world, bytes) = sample();
    let second = 64 + u32::from_le_bytes(bytes[16..20].try_into().unwrap()) as usize;
    assert!(is_corrupt(use_with(&world, &bytes[second..])), "the first is missing");
    let twice = [&bytes[..second], &bytes[..]].concat();
    assert!(is_corrupt(use_with(&world, &twice)), "the first is there twice");
    let zeros = [&bytes[..], &[0; 64]].concat();
    assert!(is_corrupt(use_with(&world, &zeros)), "zeros at the end");
}

#[test]
fn a_collection_whose_tail_is_gone_or_not_its_own_is_a_clean_error() {
    let (world, _) = sample();
    let other = world.fs.create_hidden(world.dir, Time::now()).unwrap();
    let params = world.collection().params();
    for tail in [other + 1000, super::support::ROOT] {
        let item = crate::collection::item::Item::new(&params, tail);
        world.fs.update_collection(world.dir, &item.encode().unwrap()).unwrap();
        world.all.forget(world.dir);
        assert!(matches!(world.collection().info(), Err(Error::Corrupt(_))), "{tail}");
    }
}

/// The (start, end) of the records of a tail.
fn records(bytes: &[u8]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let end = at + 64 + u32::from_le_bytes(bytes[at + 16..at + 20].try_into().unwrap()) as usize;
        found.push((at, end));
        at = end;
    }
    found
}

#[test]
fn nonsense_with_right_checksums_is_a_clean_error_or_a_working_collection() {
    let (world, bytes) = sample();
    let records = records(&bytes);
    let mut random = Random(5);
    let (mut refused, mut worked) = (0, 0);
    for _ in 0..4000 {
        let mut changed = bytes.clone();
        let (start, end) = records[random.below(records.len() as u64) as usize];
        for _ in 0..1 + random.below(3) {
            let at = start + 12 + random.below((end - start - 12) as u64) as usize;
            let width = 1 << random.below(4);
            let value = [
                0,
                1,
                u64::MAX,
                1 << 31,
                1 << 63,
                random.below(u64::MAX),
                random.below(16),
            ][random.below(7) as usize];
            let cut = width.min(end - at);
            changed[at..at + cut].copy_from_slice(&value.to_le_bytes()[..cut]);
        }
        let body = vexfs_host::crc32c(0, &changed[start + 64..end]);
        changed[start + 8..start + 12].copy_from_slice(&body.to_le_bytes());
        let header = vexfs_host::crc32c(0, &changed[start + 8..start + 64]);
        changed[start + 4..start + 8].copy_from_slice(&header.to_le_bytes());
        match use_with(&world, &changed) {
            Ok(()) => {
                worked += 1;
                let collection = world.collection();
                let one = crate::Batch {
                    vectors: &ONES,
                    ids: Some(&[1]),
                    ..Default::default()
                };
                assert_eq!(collection.insert(&one, UPSERT).unwrap().count, 1);
                assert_eq!(collection.delete(&[1]).unwrap().count, 1);
                let info = collection.info().unwrap();
                collection.drop_cache();
                assert_eq!(
                    collection.info().unwrap(),
                    CollectionStats {
                        memory_bytes: 0,
                        ..info
                    }
                );
                collection.get(&[1]).unwrap();
                assert_eq!(collection.info().unwrap().rows, info.rows);
            }
            result => {
                refused += 1;
                assert!(is_corrupt(result), "{result:?}");
            }
        }
    }
    assert!(refused > 1000 && worked > 100, "{refused} {worked}");
}
