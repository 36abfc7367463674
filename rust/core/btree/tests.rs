// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The tree against a `BTreeMap`, and its shape.

use crate::format::Key;
use crate::node::fetch::Source;
use crate::testing::*;
use crate::txn::Read;
use crate::txn::Reserve;
use crate::Fs;
use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;
use vexfs_host::Error;

type Model = BTreeMap<Key, Vec<u8>>;

fn value(rng: &mut Rng) -> Vec<u8> {
    let len = match rng.below(10) {
        0 => 0,
        1..=6 => rng.below(80),
        7 | 8 => rng.below(600),
        _ => rng.below(3801),
    };
    vec![rng.next() as u8; len as usize]
}

/// One transaction of a few random changes, kept or dropped.
fn transact(fs: &Fs, rng: &mut Rng, model: &mut Model, keys: u64) {
    let mut after = model.clone();
    let steps = 1 + rng.below(12);
    let mut tx = fs.begin(Reserve::items(steps as usize)).unwrap();
    for _ in 0..steps {
        let k = key(rng.below(keys));
        match rng.below(8) {
            0..=2 => {
                let v = value(rng);
                match tx.insert(&k, &v) {
                    Ok(()) => assert_eq!(after.insert(k, v), None),
                    Err(e) => assert!(e == Error::Exists && after.contains_key(&k)),
                }
            }
            3 | 4 => {
                let v = value(rng);
                tx.put(&k, &v).unwrap();
                after.insert(k, v);
            }
            5 => {
                let fails = rng.below(3) == 0;
                let done = tx.modify(&k, |data| {
                    data.fill(7);
                    if fails {
                        return Err(Error::Busy);
                    }
                    Ok(data.len())
                });
                match (after.get_mut(&k), done) {
                    (Some(v), Ok(Some(n))) => {
                        assert_eq!(v.len(), n);
                        v.fill(7);
                    }
                    (Some(_), Err(e)) => assert!(fails && e == Error::Busy),
                    (None, Ok(None)) => {}
                    other => panic!("{other:?}"),
                }
            }
            _ => match tx.remove(&k) {
                Ok(()) => assert!(after.remove(&k).is_some()),
                Err(e) => assert!(e == Error::NotFound && !after.contains_key(&k)),
            },
        }
        assert_eq!(tx.get(&k, |v| Ok(v.to_vec())).unwrap(), after.get(&k).cloned());
    }
    if rng.below(3) == 0 {
        let ino = tx.alloc_ino().unwrap();
        assert!(ino >= 16);
        tx.add_inodes(1).unwrap();
        drop(tx);
        assert_eq!(fs.statfs().inodes, 1);
    } else {
        tx.commit();
        *model = after;
    }
}

/// The leaf that is remembered is the one to which a walk from the root comes. Returns whether there is one.
fn remembers_a_leaf(fs: &Fs) -> bool {
    let tree = fs.tree.read();
    let source = Source {
        nodes: &fs.nodes,
        fetched: None,
    };
    let Some(finger) = tree.finger.as_ref().filter(|f| f.txg == tree.txg) else {
        return false;
    };
    let lowest = finger.lower.unwrap_or(Key::MIN);
    let highest = finger.upper.map_or(Key::MAX, |k| k.pred().unwrap());
    for k in [lowest, highest] {
        let leaf = tree.walk(source, &k).unwrap();
        assert_eq!(
            (leaf.node.block(), leaf.lower, leaf.upper),
            (finger.block, finger.lower, finger.upper)
        );
    }
    true
}

/// The items around a key are those around it, or one leaf cannot tell. Returns whether it could.
fn sees_neighbours(fs: &Fs, model: &Model, k: &Key, to: &Key) -> bool {
    let mut tx = fs.begin(Reserve::items(1)).unwrap();
    let owned = |found: Option<(Key, &[u8])>| found.map(|(k, v)| (k, v.to_vec()));
    let found = tx.around(k, to, |a| {
        Ok((owned(a.before), a.at.map(<[u8]>::to_vec), owned(a.after)))
    });
    let Some((before, at, after)) = found.unwrap() else {
        return false;
    };
    let model_before = model.range(..k).next_back().map(|(k, v)| (*k, v.clone()));
    let model_after = model.iter().find(|(other, _)| *other > k).map(|(k, v)| (*k, v.clone()));
    assert_eq!(before.filter(|(k, _)| k.obj >= 1000), model_before);
    assert_eq!(at.as_ref(), model.get(k));
    assert_eq!(after.filter(|(k, _)| k <= to), model_after.filter(|(k, _)| k <= to));
    true
}

fn look_around(fs: &Fs, rng: &mut Rng, model: &Model, keys: u64) {
    let view = fs.view().unwrap();
    for _ in 0..20 {
        let k = key(rng.below(keys));
        let found = view.get(&k, |v| Ok(v.to_vec())).unwrap();
        assert_eq!(found, model.get(&k).cloned());
        let found = view.first_at_or_after(&k, |k, v| Ok((*k, v.to_vec()))).unwrap();
        assert_eq!(found, model.range(k..).next().map(|(k, v)| (*k, v.clone())));
        let found = view
            .last_at_or_before(&k, |k, _| Ok(*k))
            .unwrap()
            .filter(|k| k.obj >= 1000);
        assert_eq!(found, model.range(..=k).next_back().map(|(k, _)| *k));
        let (a, b) = (k, key(rng.below(keys)));
        let mut seen = Vec::new();
        view.scan(&a, &b, &mut |k, _| {
            seen.push(*k);
            Ok(seen.len() < 50)
        })
        .unwrap();
        let expected: Vec<Key> = match a <= b {
            true => model.range(a..=b).map(|(k, _)| *k).take(50).collect(),
            false => vec![],
        };
        assert_eq!(seen, expected);
    }
}

fn against_the_model(seed: u64, block_size: u32, rounds: u32, keys: u64) {
    let mut rng = Rng(seed);
    let (ram, mut fs) = fresh(64, block_size);
    let mut model = Model::new();
    let (mut remembered, mut told) = (0, 0);
    for round in 0..rounds {
        transact(&fs, &mut rng, &mut model, keys);
        remembered += u32::from(remembers_a_leaf(&fs));
        let (a, b) = (rng.below(keys), rng.below(30));
        told += u32::from(sees_neighbours(&fs, &model, &key(a), &key(a + b)));
        if round % 50 == 0 {
            look_around(&fs, &mut rng, &model, keys);
        }
        if rng.below(40) == 0 {
            fs.commit().unwrap();
        }
        if rng.below(300) == 0 {
            fs.unmount().unwrap();
            fs = mount(&device(&ram));
        }
        if round % 200 == 0 {
            assert!(items(&fs.view().unwrap()) == model, "seed {seed} round {round}");
            verify(&fs, 0);
        }
    }
    assert!(items(&fs.view().unwrap()) == model);
    assert!(remembered > rounds / 4, "{remembered} of {rounds}");
    assert!(told > rounds / 4, "{told} of {rounds}");
    fs.unmount().unwrap();
    let fs = mount(&device(&ram));
    assert!(items(&fs.view().unwrap()) == model);
    verify(&fs, 0);
}

#[test]
fn random_transactions_agree_with_a_model_across_rollbacks_commits_and_mounts() {
    for seed in 0..4 {
        against_the_model(seed, 4096, 3000, 2000);
    }
}

#[test]
fn random_transactions_agree_with_a_model_in_a_small_tree() {
    for seed in 10..14 {
        against_the_model(seed, 4096, 2000, 40);
    }
}

#[test]
fn random_transactions_agree_with_a_model_at_every_block_size() {
    for (seed, block_size) in [8192, 16384, 32768, 65536].into_iter().enumerate() {
        against_the_model(100 + seed as u64, block_size, 1500, 3000);
    }
}

fn insert_all(fs: &Fs, keys: impl Iterator<Item = u64>, len: usize) {
    let data = vec![1; len];
    for k in keys {
        let mut tx = fs.begin(Reserve::items(1)).unwrap();
        tx.insert(&key(k), &data).unwrap();
        tx.commit();
    }
}

#[test]
fn appending_leaves_full_nodes_behind() {
    let (_ram, fs) = fresh(64, 4096);
    insert_all(&fs, 0..20_000, 100);
    let shape = verify(&fs, 0);
    assert!(
        shape.used / shape.leaves > 15_500,
        "{} bytes a leaf",
        shape.used / shape.leaves
    );
}

#[test]
fn removing_everything_shrinks_the_tree_to_one_leaf() {
    for order in 0..3 {
        let (_ram, fs) = fresh(64, 4096);
        let count = 20_000u64;
        insert_all(&fs, (0..count).map(|i| i * 7919 % count), 60);
        assert!(fs.counters().levels >= 2);
        fs.commit().unwrap();
        for i in 0..count {
            let k = match order {
                0 => i,
                1 => count - 1 - i,
                _ => i * 6007 % count,
            };
            let mut tx = fs.begin(Reserve::items(1).deleting()).unwrap();
            tx.remove(&key(k)).unwrap();
            tx.commit();
            if i % 3000 == 0 {
                fs.commit().unwrap();
                verify(&fs, 0);
            }
        }
        let shape = verify(&fs, 0);
        assert_eq!((shape.leaves, fs.counters().levels), (1, 1), "order {order}");
        assert_eq!(items(&fs.view().unwrap()).len(), 0);
    }
}

#[test]
fn keys_below_the_first_entry_find_their_way_after_its_child_was_removed() {
    let (_ram, fs) = fresh(64, 4096);
    insert_all(&fs, 1000..9000, 200);
    // Whole leaves at the left edge go, then lower keys than ever come back in numbers that split.
    for k in 1000..5000 {
        let mut tx = fs.begin(Reserve::items(1)).unwrap();
        tx.remove(&key(k)).unwrap();
        tx.commit();
    }
    insert_all(&fs, (0..3000).rev(), 200);
    insert_all(&fs, 3000..5000, 200);
    verify(&fs, 0);
    let found = items(&fs.view().unwrap());
    assert!(found.keys().copied().eq((0..9000).map(key)));
}

#[test]
fn an_item_that_is_too_large_is_refused() {
    let (_ram, fs) = fresh(64, 4096);
    let mut tx = fs.begin(Reserve::items(2)).unwrap();
    assert_eq!(tx.insert(&key(1), &[0; 3801]), Err(Error::TooBig("tree item")));
    tx.insert(&key(1), &[0; 3800]).unwrap();
    tx.commit();
}
