// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What is refused, and that a refusal changes nothing.

use super::support::Oracle;
use super::support::Random;
use super::support::Rows;
use super::support::World;
use super::support::PLAIN;
use super::support::UPSERT;
use crate::limits;
use crate::Batch;
use crate::InsertMode;
use crate::SearchRequest;
use crate::Time;
use std::vec;
use std::vec::Vec;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd::Metric;

fn bytes<const N: usize>(values: [f32; N]) -> Vec<u8> {
    values.into_iter().flat_map(f32::to_le_bytes).collect()
}

fn of(vectors: &[u8]) -> Batch<'_> {
    Batch {
        vectors,
        ..Batch::default()
    }
}

fn is_invalid<T>(result: Result<T>) -> bool {
    matches!(result, Err(Error::Invalid(_)))
}

fn is_too_big<T>(result: Result<T>) -> bool {
    matches!(result, Err(Error::TooBig(_)))
}

#[test]
fn a_collection_counts_as_empty_exactly_while_it_has_no_live_rows() {
    let mut random = Random(9);
    let world = World::small(2, Metric::L2);
    let collection = world.collection();
    // What it asks comes to nothing, so the collection stays.
    let empty = || collection.if_empty(|| Err::<(), _>(Error::NoSpace));
    assert_eq!(empty(), Err(Error::NoSpace));
    let rows = Rows::random(&mut random, 0..400, 2);
    for sealed in [false, true] {
        collection.insert(&rows.batch(), UPSERT).unwrap();
        if sealed {
            while collection.maintain(1, &|_, _| ()).unwrap() {}
            assert!(collection.info().unwrap().segments > 0);
        }
        assert_eq!(empty(), Err(Error::NotEmpty));
        collection.drop_cache();
        assert_eq!(empty(), Err(Error::NotEmpty), "from what is on disk");
        collection.delete(&rows.ids[1..]).unwrap();
        assert_eq!(empty(), Err(Error::NotEmpty), "one row is enough");
        collection.delete(&rows.ids[..1]).unwrap();
        assert_eq!(empty(), Err(Error::NoSpace));
        collection.drop_cache();
        assert_eq!(empty(), Err(Error::NoSpace));
    }
    assert_eq!(collection.if_empty(|| Ok("removed")), Ok("removed"));
}

#[test]
fn a_refused_batch_changes_nothing_in_memory_or_on_disk() {
    let mut random = Random(1);
    let world = World::new(2, Metric::Cosine);
    let collection = world.collection();
    let rows = Rows::random(&mut random, [3, 5], 2);
    collection.insert(&rows.batch(), PLAIN).unwrap();
    let mut oracle = Oracle::new(2);
    oracle.insert(&rows.ids, &rows);
    let before = collection.info().unwrap();

    let v = bytes([1.0, 2.0, 3.0, 4.0]);
    let ids = |vectors, ids| Batch {
        vectors,
        ids: Some(ids),
        ..Batch::default()
    };
    assert!(is_invalid(collection.insert(&of(&[]), PLAIN)), "no rows");
    assert!(is_invalid(collection.insert(&of(&v[..12]), PLAIN)), "half a row");
    assert!(
        is_invalid(collection.insert(&of(&bytes([1.0, f32::NAN])), PLAIN)),
        "NaN"
    );
    assert!(
        is_invalid(collection.insert(&of(&bytes([1.0, 1.0, f32::INFINITY, 0.0])), PLAIN)),
        "infinity"
    );
    assert!(is_invalid(collection.insert(&of(&bytes([0.0, -0.0])), PLAIN)), "zero");
    assert!(is_invalid(collection.insert(&ids(&v, &[1]), PLAIN)), "too few ids");
    assert!(is_invalid(collection.insert(&ids(&v, &[7, 7]), UPSERT)), "an id twice");
    assert!(is_invalid(collection.insert(&of(&v), UPSERT)), "upsert without ids");
    assert_eq!(collection.insert(&ids(&v, &[9, 5]), PLAIN), Err(Error::Exists));
    let payload = |lens, payloads| Batch {
        vectors: &v,
        ids: None,
        payload_lens: lens,
        payloads,
    };
    assert!(
        is_invalid(collection.insert(&payload(&[1], &[0]), PLAIN)),
        "too few lengths"
    );
    assert!(
        is_invalid(collection.insert(&payload(&[1, 0], &[0]), PLAIN)),
        "malformed"
    );
    assert!(
        is_invalid(collection.insert(&payload(&[1, u32::MAX], &[0]), PLAIN)),
        "lengths beyond the bytes"
    );
    assert!(
        is_invalid(collection.insert(&payload(&[0, 0], &[0]), PLAIN)),
        "bytes beyond the lengths"
    );
    let many = bytes([1.0]).repeat(2 * (limits::BATCH_ROWS_MAX + 1));
    assert!(is_too_big(collection.insert(&of(&many), PLAIN)));
    let huge = vec![0; limits::BATCH_BYTES_MAX];
    assert!(is_too_big(collection.insert(&payload(&[0, 0], &huge), PLAIN)));
    assert!(is_invalid(collection.delete(&[])));
    assert!(is_too_big(collection.delete(&vec![0; limits::BATCH_ROWS_MAX + 1])));

    assert_eq!(collection.info().unwrap(), before);
    oracle.check_all(&collection);
    drop(collection);
    oracle.check_all(&world.remount().collection());
}

#[test]
fn bad_searches_and_reads_are_refused() {
    let world = World::new(2, Metric::Cosine);
    let collection = world.collection();
    let q = bytes([1.0, 2.0]);
    let search = |queries: &[u8], k, radius| {
        collection.search(&SearchRequest {
            queries,
            k,
            radius,
            ..SearchRequest::default()
        })
    };
    assert!(search(&q, 1, None).is_ok());
    assert!(is_invalid(search(&[], 1, None)));
    assert!(is_invalid(search(&q[..4], 1, None)));
    assert!(is_invalid(search(&q, 0, None)));
    assert!(is_too_big(search(&q, limits::K_MAX + 1, None)));
    assert!(is_invalid(search(&q, 1, Some(f32::NAN.to_bits()))));
    assert!(is_invalid(search(&q, 1, Some((-f32::NAN).to_bits()))));
    assert!(is_invalid(search(&bytes([1.0, f32::NEG_INFINITY]), 1, None)));
    assert!(is_invalid(search(&bytes([0.0, 0.0]), 1, None)));
    let many = bytes([1.0]).repeat(2 * (limits::QUERIES_MAX + 1));
    assert!(is_too_big(search(&many, 1, None)));
    assert!(is_too_big(search(
        &many[8..],
        limits::HITS_MAX / limits::QUERIES_MAX + 1,
        None
    )));
    assert!(is_invalid(collection.get(&[])));
    assert!(is_too_big(collection.get(&vec![0; limits::BATCH_ROWS_MAX + 1])));
}

#[test]
fn the_largest_k_and_an_infinite_radius_return_every_row_in_order() {
    let mut random = Random(2);
    let world = World::new(3, Metric::L2);
    let collection = world.collection();
    let rows = Rows::random(&mut random, 0..500, 3);
    collection.insert(&rows.without_ids(), PLAIN).unwrap();
    let radius = Some(f32::INFINITY.to_bits());
    let found = collection
        .search(&SearchRequest {
            queries: &rows.vectors[..12],
            k: limits::K_MAX,
            radius,
            ..SearchRequest::default()
        })
        .unwrap();
    assert_eq!(found.hits.len(), 500);
    assert_eq!(found.scanned, 500);
    let order: Vec<(f32, u64)> = found
        .hits
        .iter()
        .map(|hit| (f32::from_bits(hit.distance), hit.row.id))
        .collect();
    assert!(order.windows(2).all(|pair| pair[0] < pair[1]));
}

#[test]
fn a_radius_is_inclusive_and_zero_finds_equal_vectors_only() {
    let world = World::new(1, Metric::L2);
    let collection = world.collection();
    collection
        .insert(
            &Batch {
                vectors: &bytes([0.0, 1.0, 2.0, -1.0, 0.0]),
                ..Batch::default()
            },
            PLAIN,
        )
        .unwrap();
    let ids = |radius: f32| {
        let search = SearchRequest {
            queries: &bytes([0.0]),
            k: 10,
            radius: Some(radius.to_bits()),
            ..SearchRequest::default()
        };
        collection
            .search(&search)
            .unwrap()
            .hits
            .iter()
            .map(|hit| hit.row.id)
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(0.0), [0, 4]);
    assert_eq!(ids(-0.0), [0, 4]);
    assert_eq!(ids(1.0), [0, 4, 1, 3]);
    assert_eq!(ids(0.99), [0, 4]);
    assert_eq!(ids(-1.0), []);
    assert_eq!(ids(4.0), [0, 4, 1, 3, 2]);
}

#[test]
fn normalizing_stores_unit_vectors_and_refuses_zero() {
    let world = World::new(2, Metric::Ip);
    let collection = world.collection();
    let normalize = InsertMode {
        normalize: true,
        ..PLAIN
    };
    collection
        .insert(
            &Batch {
                vectors: &bytes([3.0, -4.0]),
                ..Batch::default()
            },
            normalize,
        )
        .unwrap();
    assert!(is_invalid(collection.insert(
        &Batch {
            vectors: &bytes([0.0, 0.0]),
            ..Batch::default()
        },
        normalize
    )));
    // Without normalizing, the inner product has a use for zero.
    collection
        .insert(
            &Batch {
                vectors: &bytes([0.0, 0.0]),
                ..Batch::default()
            },
            PLAIN,
        )
        .unwrap();
    drop(collection);
    let world = world.remount();
    let got = world.collection().get(&[0, 1]).unwrap();
    let mut out = [0; 8];
    got.contents.vector(&got.rows[0].unwrap(), &mut out).unwrap();
    assert_eq!(out[..], bytes([0.6, -0.8]));
    got.contents.vector(&got.rows[1].unwrap(), &mut out).unwrap();
    assert_eq!(out[..], bytes([0.0, 0.0]));
}

#[test]
fn an_answer_keeps_its_rows_when_they_are_deleted_and_the_cache_is_dropped() {
    let mut random = Random(3);
    let world = World::new(4, Metric::L2);
    let collection = world.collection();
    let rows = Rows::random(&mut random, 0..10, 4);
    collection.insert(&rows.batch(), PLAIN).unwrap();
    let found = collection
        .search(&SearchRequest {
            queries: &rows.vectors[..16],
            k: 1,
            radius: None,
            ..SearchRequest::default()
        })
        .unwrap();
    let id = found.hits[0].row.id as usize;
    collection.delete(&rows.ids).unwrap();
    let held = collection.memory_bytes();
    assert_eq!(collection.drop_cache(), 0, "the answer still has them");
    assert_eq!(collection.memory_bytes(), held);
    let mut out = [0; 16];
    found.contents.vector(&found.hits[0].row, &mut out).unwrap();
    assert_eq!(out, rows.vectors[16 * id..][..16]);
    drop(found);
    assert_eq!(collection.memory_bytes(), 0);
    assert!(collection
        .search(&SearchRequest {
            queries: &out,
            k: 1,
            radius: None,
            ..SearchRequest::default()
        })
        .unwrap()
        .hits
        .is_empty());
}

#[test]
fn ids_end_at_the_largest_and_are_never_given_again() {
    let world = World::new(1, Metric::L2);
    let collection = world.collection();
    let one = Batch {
        vectors: &bytes([1.0]),
        ..Batch::default()
    };
    let with_id = |id: &'static [u64; 1]| Batch { ids: Some(id), ..one };
    assert_eq!(collection.insert(&one, PLAIN).unwrap().first_id, 0);
    collection.insert(&with_id(&[41]), PLAIN).unwrap();
    collection.delete(&[41]).unwrap();
    assert_eq!(collection.insert(&one, PLAIN).unwrap().first_id, 42);
    collection.insert(&with_id(&[u64::MAX - 1]), PLAIN).unwrap();
    assert_eq!(collection.insert(&one, PLAIN), Err(Error::Overflow));
    collection.insert(&with_id(&[u64::MAX]), PLAIN).unwrap();
    assert_eq!(collection.insert(&one, PLAIN), Err(Error::Overflow));
    drop(collection);
    let world = world.remount();
    let collection = world.collection();
    assert_eq!(collection.insert(&one, PLAIN), Err(Error::Overflow));
    assert_eq!(collection.info().unwrap().rows, 4);
    collection.insert(&with_id(&[u64::MAX]), UPSERT).unwrap();
}

#[test]
fn the_largest_number_as_an_id_does_not_end_numbering() {
    let world = World::new(1, Metric::L2);
    let collection = world.collection();
    let one = Batch {
        vectors: &bytes([1.0]),
        ..Batch::default()
    };
    let with_id = |id: &'static [u64; 1]| Batch { ids: Some(id), ..one };
    collection.insert(&with_id(&[u64::MAX]), PLAIN).unwrap();
    assert_eq!(collection.insert(&one, PLAIN).unwrap().first_id, 0);
    collection.insert(&with_id(&[9]), PLAIN).unwrap();
    collection.optimize(1, &|_, _| ()).unwrap();
    assert_eq!(collection.insert(&with_id(&[u64::MAX]), PLAIN), Err(Error::Exists));
    drop(collection);
    let world = world.remount();
    let collection = world.collection();
    assert_eq!(collection.insert(&one, PLAIN).unwrap().first_id, 10);
    assert_eq!(collection.delete(&[u64::MAX]).unwrap().count, 1);
    assert_eq!(collection.insert(&one, PLAIN).unwrap().first_id, 11);
    assert_eq!(collection.info().unwrap().rows, 4);
}

#[test]
fn files_that_cannot_be_removed_are_spoken_of_once() {
    let world = World::new(1, Metric::L2);
    let collection = world.collection();
    let one = Batch {
        vectors: &bytes([1.0]),
        ..Batch::default()
    };
    collection.insert(&one, PLAIN).unwrap();
    // An item with another tail: somebody else must have written it.
    let item = crate::collection::item::Item::new(&collection.params(), world.tail() + 1000);
    world.fs.update_collection(world.dir, &item.encode().unwrap()).unwrap();
    world.all.forget(world.dir);
    super::support::quiet();
    super::support::heard();
    collection.writer.write().end.as_mut().unwrap().is_alone = false;
    for _ in 0..43 {
        collection.insert(&one, PLAIN).unwrap();
    }
    let spoken = super::support::heard();
    let of_it = |text: &&std::string::String| text.contains("hidden file") || text.contains("read again");
    assert_eq!(spoken.iter().filter(of_it).count(), 1, "{spoken:?}");
}

#[test]
fn what_is_no_collection_is_said_to_be_none() {
    let world = World::new(1, Metric::L2);
    assert_eq!(world.all.get(super::support::ROOT).err(), Some(Error::NotCollection));
    assert_eq!(
        world.all.create(world.dir, &world.collection().params()).err(),
        Some(Error::Exists)
    );
}

#[test]
fn no_row_comes_to_a_collection_that_was_removed_for_having_none() {
    let world = World::new(1, Metric::L2);
    let collection = world.collection();
    let one = Batch {
        vectors: &bytes([1.0]),
        ..Batch::default()
    };
    // A removal that fails removes nothing.
    let refused = collection.if_empty(|| Err::<(), _>(Error::NoSpace));
    assert_eq!(refused, Err(Error::NoSpace));
    collection.insert(&one, PLAIN).unwrap();
    assert_eq!(collection.if_empty(|| Ok(())), Err(Error::NotEmpty));
    collection.delete(&[0]).unwrap();
    let remove = || world.fs.remove_collection(super::support::ROOT, b"c", Time::now());
    collection.if_empty(remove).unwrap();
    // Somebody found it before that, and waited for the lock.
    assert_eq!(collection.insert(&one, PLAIN), Err(Error::NotFound));
    assert_eq!(collection.info().unwrap().rows, 0);
}

#[test]
fn memory_is_counted_as_rows_come_and_go() {
    let mut random = Random(9);
    let world = World::new(128, Metric::Cosine);
    assert_eq!(world.all.memory_bytes(), 0);
    let collection = world.collection();
    let mut last = 0;
    for _ in 0..5 {
        collection
            .insert(&Rows::random(&mut random, 0..1000, 128).without_ids(), PLAIN)
            .unwrap();
        let now = collection.memory_bytes();
        assert!(now - last >= 1000 * 128 * 4 || now > last + 100_000, "{last} {now}");
        assert_eq!(
            (world.all.memory_bytes(), collection.info().unwrap().memory_bytes),
            (now, now)
        );
        last = now;
    }
    // Vectors, ids and bookkeeping of 5,000 rows take 2.9 MB, payloads some more; chunks grow by doubling.
    assert!((2_900_000..9_000_000).contains(&last), "{last}");
    assert_eq!(world.all.shrink(1), last, "rows that are in no segment go together");
    assert_eq!(world.all.memory_bytes(), 0);
    let info = collection.info().unwrap();
    assert_eq!((info.rows, info.memory_bytes), (5000, 0), "known from the headers");
    collection.get(&[0]).unwrap();
    assert!(world.all.memory_bytes() > 2_900_000);
    drop(collection);
    world.all.forget(world.dir);
    assert_eq!(world.all.memory_bytes(), 0);
}
