// SPDX-License-Identifier: Apache-2.0
//! Damaged metadata: whatever the bytes on the device are, every call ends with an answer or a clean error.
//!
//! `VEXFS_DAMAGE_SEED` replays a run, `VEXFS_DAMAGE_IMAGES` (default 600) sets the number of damaged images.

use std::panic::catch_unwind;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use vexfs_core::check::check;
use vexfs_core::format::SUPERBLOCK_OFFSETS;
use vexfs_core::inode::NewInode;
use vexfs_core::inode::Time;
use vexfs_core::mount::MountOptions;
use vexfs_core::Fs;
use vexfs_engine::Collections;
use vexfs_engine::SearchRequest;
use vexfs_host::device::Backend;
use vexfs_host::device::Device;
use vexfs_host::device::RamBackend;
use vexfs_host::mem;
use vexfs_host::set_log_hook;
use vexfs_tests::damage::Metadata;
use vexfs_tests::model::op::seed;
use vexfs_tests::model::op::Rng;
use vexfs_tests::model::Harness;
use vexfs_tests::model::State;

const LEN: u64 = 64 << 20;

fn populated(seed: u64) -> (RamBackend, State) {
    let ram = Arc::new(RamBackend::new(LEN));
    let dev = Device::from_backend(ram.clone());
    let mut h = Harness::new(dev, 4096, MountOptions::default()).unwrap_or_else(|e| panic!("{e}"));
    let mut rng = Rng::new(seed);
    for _ in 0..1000 {
        h.step(rng.op()).unwrap_or_else(|e| panic!("{e}"));
    }
    h.remount().unwrap_or_else(|e| panic!("{e}"));
    let state = h.state.clone();
    h.fs.unmount().unwrap_or_else(|e| panic!("{e}"));
    (ram.duplicate(), state)
}

fn times() -> NewInode<'static> {
    NewInode {
        mode: libc::S_IFREG | 0o600,
        uid: 0,
        gid: 0,
        rdev: 0,
        target: None,
        now: Time::default(),
        xattrs: &[],
    }
}

/// Does a bit of everything and does not care what comes back. Returns how many calls failed.
fn use_all(dev: &Device, state: &State, rng: &mut Rng, read_only: bool) -> usize {
    let mut errors = usize::from(check(dev).is_err());
    let Ok(fs) = Fs::mount(
        dev.clone(),
        MountOptions {
            read_only,
            cache_nodes: 8,
            ..MountOptions::default()
        },
    ) else {
        return errors + 1;
    };
    let collections = Collections::new(fs.clone()).expect("memory");
    let now = Time::default();
    let mut buf = vec![0; 70_000];
    let mut count = |failed: bool| errors += usize::from(failed);
    for (ino, node) in &state.nodes {
        let ino = *ino;
        count(fs.inode(ino).is_err());
        let mut found: Vec<Vec<u8>> = Vec::new();
        let mut room = 10_000;
        let emitted = fs.readdir(ino, 0, &mut |_, name, _, _| {
            found.push(name.to_vec());
            room -= 1;
            room > 0
        });
        count(emitted.is_err() && node.is_dir());
        for name in found.iter().take(50) {
            count(fs.lookup(ino, name).is_err());
        }
        let mut names = Vec::new();
        count(fs.list_xattr(ino, &mut |n| names.push(n.to_vec())).is_err());
        for name in &names {
            count(fs.get_xattr(ino, name, &mut mem::Vec::new()).is_err());
        }
        if node.is_file() {
            count(fs.read(ino, 0, &mut buf).is_err());
            count(fs.next_hole(ino, None, 0, node.content.size()).is_err());
            if !read_only {
                count(fs.write(ino, rng.below(30_000), &[1; 9000], now).is_err());
                count(fs.punch(ino, 100, 10_000, now).is_err());
                count(fs.truncate(ino, rng.below(9000), now).is_err());
            }
        }
        if node.is_symlink() {
            count(fs.read_link(ino, &mut mem::Vec::new()).is_err());
        }
        if let Some(rows) = &node.rows {
            match collections.get(ino) {
                Ok(c) => {
                    let queries = 1f32.to_le_bytes().repeat(rows.dim);
                    count(
                        c.search(&SearchRequest {
                            queries: &queries,
                            k: 10,
                            ..SearchRequest::default()
                        })
                        .is_err(),
                    );
                    count(!read_only && c.delete(&[1, 2, 3]).is_err());
                }
                Err(_) => count(true),
            }
        }
    }
    if !read_only {
        for (ino, node) in &state.nodes {
            count(node.is_dir() && fs.create(*ino, b"new", &times()).is_err());
            count(
                fs.set_xattr(*ino, b"user.new", &[1; 5000], vexfs_core::xattr::XattrMode::Set, now)
                    .is_err(),
            );
        }
        for node in state.nodes.iter().filter(|(_, n)| n.is_dir()) {
            for name in node.1.entries.keys() {
                if let Ok(after) = fs.unlink(*node.0, name, now) {
                    count(after.nlink == 0 && fs.evict(after.ino).is_err());
                }
            }
        }
        count(fs.sync().is_err());
        count(fs.unmount().is_err());
    }
    errors
}

fn images() -> u64 {
    std::env::var("VEXFS_DAMAGE_IMAGES")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(600)
}

/// Damages copies of an image; returns how many the checker found fault with.
fn damage(sealed: bool, seed: u64, images: u64) -> u64 {
    let (image, state) = populated(seed);
    let metadata = Metadata::find(&image, LEN);
    let mut noticed = 0;
    for i in 0..images {
        let mut rng = Rng::new(seed.wrapping_add(i).wrapping_mul(77));
        let copy = image.duplicate();
        let mut places = vec![metadata.damage(&copy, &mut rng)];
        while rng.below(3) == 0 {
            places.push(metadata.damage(&copy, &mut rng));
        }
        if sealed {
            metadata.seal(&copy);
        }
        let dev = Device::from_backend(Arc::new(copy));
        assert_eq!(dev.len(), image.len());
        let done = catch_unwind(AssertUnwindSafe(|| {
            let clean = check(&dev).is_ok_and(|r| r.is_clean());
            let errors = use_all(&dev, &state, &mut rng, i % 4 == 0);
            (clean, errors)
        }));
        match done {
            Ok((clean, errors)) => {
                noticed += u64::from(!clean);
                // A checksum shows every change of a byte, and bytes that did not change do no harm.
                // A damaged superblock slot is what a power cut leaves: the state before it is served, and is sound.
                let torn = places.iter().any(|(at, _)| SUPERBLOCK_OFFSETS.contains(at));
                let harmless = errors == 0 || i % 4 != 0 || torn;
                assert!(
                    sealed || !clean || harmless,
                    "seed {seed}, image {i}: {errors} errors after damage at {places:?}, but the check is content"
                );
            }
            Err(_) => panic!("seed {seed}, image {i}, sealed {sealed}: panic after damage at {places:?}"),
        }
    }
    noticed
}

#[test]
fn damaged_metadata_is_a_clean_error() {
    set_log_hook(Some(Box::new(|_, _| {})));
    let (seed, images) = (seed("VEXFS_DAMAGE_SEED"), images());
    let noticed = damage(false, seed, images);
    println!("{noticed} of {images} damaged images noticed");
    assert!(noticed * 10 >= images * 9);
}

#[test]
fn damaged_metadata_with_right_checksums_is_a_clean_error() {
    set_log_hook(Some(Box::new(|_, _| {})));
    let (seed, images) = (seed("VEXFS_DAMAGE_SEED"), images());
    let noticed = damage(true, seed, images);
    println!("{noticed} of {images} damaged images noticed");
    assert!(noticed * 2 >= images);
}
