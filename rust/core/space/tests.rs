// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Running out of space, and getting it back.

use crate::testing::*;
use crate::txn::Reserve;
use crate::Fs;
use std::vec::Vec;
use vexfs_host::Error;

fn adopt(fs: &Fs, block: u64, len: u32) -> u64 {
    let mut tx = fs.begin(Reserve::items(1).deleting()).unwrap();
    tx.adopt_extent(block, len, None).unwrap();
    tx.commit()
}

#[test]
fn a_tree_that_fills_the_device_can_be_emptied_again() {
    for block_size in [4096, 16384, 65536] {
        let (_ram, fs) = fresh(24, block_size);
        let empty = fs.statfs().free;
        let mut count = 0;
        let full = loop {
            let done = fs.begin(Reserve::items(1)).and_then(|mut tx| {
                tx.insert(&key(count * 7919 % 1_000_003), &[5; 3000])?;
                Ok(tx.commit())
            });
            match done {
                Ok(_) => count += 1,
                Err(e) => break e,
            }
        };
        assert_eq!(full, Error::NoSpace);
        assert!(count > 1000, "{count} items");
        assert_eq!(fs.begin(Reserve::items(1)).err(), Some(Error::NoSpace));
        // In another order than they came.
        for n in 0..count {
            let n = (n * 31) % count;
            let done =
                fs.begin(Reserve::items(1).deleting())
                    .and_then(|mut tx| match tx.remove(&key(n * 7919 % 1_000_003)) {
                        Ok(()) | Err(Error::NotFound) => Ok(tx.commit()),
                        Err(e) => Err(e),
                    });
            done.unwrap_or_else(|e| panic!("removing item {n} of {count}: {e}"));
        }
        for n in 0..count {
            let mut tx = fs.begin(Reserve::items(1).deleting()).unwrap();
            let _ = tx.remove(&key(n * 7919 % 1_000_003));
            tx.commit();
        }
        fs.commit().unwrap();
        let shape = verify(&fs, 0);
        assert_eq!(shape.used, 24 + 160);
        assert!(fs.statfs().free >= empty - 200 * u64::from(fs.geometry().node_blocks));
        fs.unmount().unwrap();
        verify(&mount(fs.dev()), 0);
    }
}

#[test]
fn a_small_filesystem_full_of_files_can_be_emptied_by_unlinking_them() {
    use crate::format::ROOT_INO;
    use crate::inode::testing::new;
    use crate::inode::testing::t;
    for (mib, block_size) in [(8, 4096), (16, 4096), (40, 16384), (64, 65536)] {
        let (_ram, fs) = fresh(mib, block_size);
        let empty = fs.statfs();
        let mut names = Vec::new();
        let mut fill = |size: usize| loop {
            let name = std::format!("file {}", names.len());
            let Ok(file) = fs.create(ROOT_INO, name.as_bytes(), &new(0o100644)) else {
                break;
            };
            names.push(name);
            if fs.write(file.ino, 0, &std::vec![3; size], t(1)).is_err() {
                break;
            }
        };
        fill(1 << 20);
        fill(70_000);
        fill(3000);
        fill(100);
        assert_eq!(
            fs.create(ROOT_INO, b"one more", &new(0o100644)).err(),
            Some(Error::NoSpace)
        );
        for name in names.iter() {
            let gone = fs.unlink(ROOT_INO, name.as_bytes(), t(2)).unwrap();
            fs.evict(gone.ino).unwrap();
        }
        fs.commit().unwrap();
        verify(&fs, 0);
        assert_eq!(fs.statfs().inodes, 1);
        assert!(fs.statfs().free + 64 * u64::from(fs.geometry().node_blocks) > empty.free);
        fs.unmount().unwrap();
        verify(&mount(fs.dev()), 0);
    }
}

#[test]
fn data_can_take_all_but_the_reserve_and_be_freed_again() {
    let (_ram, fs) = fresh(24, 4096);
    let mut runs = Vec::new();
    let mut blocks = 0;
    let full = loop {
        match fs.alloc_data(0, 100, false) {
            Ok((block, len)) => {
                runs.push((block, len, adopt(&fs, block, len)));
                blocks += u64::from(len);
            }
            Err(e) => break e,
        }
    };
    assert_eq!(full, Error::NoSpace);
    let stat = fs.statfs();
    assert_eq!(stat.available, 0);
    assert!(blocks * 10 > stat.blocks * 8, "{blocks} of {} blocks", stat.blocks);
    verify(&fs, blocks);
    for (block, len, birth) in runs {
        let mut tx = fs.begin(Reserve::items(1).deleting()).unwrap();
        tx.free_extent(block, len, birth).unwrap();
        tx.commit();
    }
    verify(&fs, 0);
    fs.commit().unwrap();
    assert!(fs.alloc_data(0, 100, false).is_ok());
}

#[test]
fn promised_blocks_are_there_whatever_happens_in_between() {
    let (_ram, fs) = fresh(24, 4096);
    let promised = 1500;
    fs.reserve_blocks(promised).unwrap();
    // Fill everything else, data in single blocks with holes between them, so that no place for a node is left by them.
    let mut holes = Vec::new();
    while let Ok((block, len)) = fs.alloc_data(0, 2, false) {
        adopt(&fs, block, 1);
        if len > 1 {
            holes.push(block + 1);
        }
    }
    for block in holes {
        fs.release_data(block, 1);
    }
    let mut n = 0;
    while let Ok(mut tx) = fs.begin(Reserve::items(1)) {
        tx.insert(&key(n), &[1; 2000]).unwrap();
        tx.commit();
        n += 1;
    }
    let mut left = promised;
    while left > 0 {
        let (block, len) = fs.alloc_data(0, left as u32, true).unwrap();
        left -= u64::from(len);
        let mut tx = fs.begin(Reserve::items(2).deleting()).unwrap();
        tx.adopt_extent(block, len, None).unwrap();
        tx.insert(&key(1_000_000 + left), &[7; 24]).unwrap();
        tx.commit();
    }
    assert_eq!(fs.space_info().promised, 0);
    shape(&fs);
    fs.commit().unwrap();
    shape(&mount(fs.dev()));
}

#[test]
fn a_promise_beyond_what_is_there_is_refused_and_one_taken_back_frees_its_room() {
    let (_ram, fs) = fresh(24, 4096);
    let all = fs.statfs().available;
    assert_eq!(fs.reserve_blocks(all + 1), Err(Error::NoSpace));
    fs.reserve_blocks(all / 2).unwrap();
    assert_eq!(fs.reserve_blocks(all / 2), Err(Error::NoSpace));
    fs.unreserve_blocks(all / 2);
    fs.reserve_blocks(all / 2).unwrap();
    fs.unreserve_blocks(all / 2);
    assert_eq!(fs.statfs().available, all);
}

#[test]
fn large_requests_get_contiguous_runs_and_a_goal_is_followed() {
    let (_ram, fs) = fresh(300, 4096);
    let (a, n) = fs.alloc_data(0, 5000, false).unwrap();
    assert_eq!(n, 5000);
    let (b, n) = fs.alloc_data(a + 5000, 3000, false).unwrap();
    assert_eq!((b, n), (a + 5000, 3000));
    // Next to what is taken, not in the middle of it.
    let (c, _) = fs.alloc_data(a + 100, 64, false).unwrap();
    assert_eq!(c, a + 8000);
    for (block, len) in [(a, 5000), (b, 3000), (c, 64)] {
        fs.release_data(block, len);
    }
    assert_eq!(fs.alloc_data(a, 8064, false).unwrap(), (a, 8064));
}

#[test]
fn a_device_of_many_groups_is_used_in_full() {
    let (_ram, fs) = fresh(700, 4096);
    let mut runs = Vec::new();
    while let Ok((block, len)) = fs.alloc_data(0, 30_000, false) {
        runs.push((block, len));
        adopt(&fs, block, len);
    }
    let data: u64 = runs.iter().map(|r| u64::from(r.1)).sum();
    verify(&fs, data);
    assert_eq!(fs.statfs().available, 0);
    fs.unmount().unwrap();
    let fs = mount(fs.dev());
    verify(&fs, data);
    let groups: std::collections::BTreeSet<_> = runs.iter().map(|r| fs.geometry().locate(r.0).unwrap().0).collect();
    assert_eq!(groups.len() as u64, fs.geometry().group_count);
}

#[test]
fn nodes_of_one_commit_lie_together() {
    let (_ram, fs) = fresh(300, 4096);
    for n in 0..3000u64 {
        let mut tx = fs.begin(Reserve::items(1)).unwrap();
        tx.insert(&key(n * 7919 % 100_003), &[1; 1000]).unwrap();
        tx.commit();
    }
    fs.commit().unwrap();
    let shape = verify(&fs, 0);
    let (first, last) = (shape.nodes.first().unwrap(), shape.nodes.last().unwrap());
    assert!(last - first < 2 * 4 * shape.nodes.len() as u64);
}

#[test]
fn dropping_bitmaps_under_memory_pressure_loses_nothing() {
    let (_ram, fs) = fresh(300, 4096);
    let (block, len) = fs.alloc_data(0, 500, false).unwrap();
    fs.shrink(usize::MAX);
    adopt(&fs, block, len);
    fs.shrink(usize::MAX);
    fs.commit().unwrap();
    assert!(fs.shrink(usize::MAX) > 0);
    verify(&fs, u64::from(len));
    assert_ne!(fs.alloc_data(block, 10, false).unwrap().0, block);
}

#[test]
fn a_device_with_many_blocks_of_group_table_works_and_so_does_one_of_many_tebibytes() {
    for (gib, block_size) in [(100, 4096), (20 << 10, 4096), (20 << 10, 65536)] {
        let (_ram, fs) = fresh(gib << 10, block_size);
        let geo = *fs.geometry();
        let mut data = 0;
        for round in 0..3 {
            for n in 0..10 {
                let group = geo.group_count * n / 10 + round;
                let goal = geo.group_start(group) + 100;
                let (block, len) = fs.alloc_data(goal, 50, false).unwrap();
                assert_eq!((block, len), (goal, 50));
                adopt(&fs, block, len);
                data += 50;
            }
            fs.commit().unwrap();
        }
        verify(&fs, data);
        let again = mount(fs.dev());
        verify(&again, data);
        for n in 0..10 {
            let goal = geo.group_start(geo.group_count * n / 10) + 100;
            assert_ne!(again.alloc_data(goal, 50, false).unwrap().0, goal);
        }
    }
}
