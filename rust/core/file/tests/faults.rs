// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! A device that fails at any of its operations, and memory that runs out at any allocation.

use super::*;
use crate::check;
use crate::dir::RenameFlags;
use crate::format::items::mode::S_IFREG;
use crate::inode::testing::new;
use crate::mount::MountOptions;
use crate::testing::Rng;
use crate::xattr::XattrMode;
use crate::Fs;
use std::collections::BTreeMap;
use std::format;
use std::string::String;
use std::sync::Arc as StdArc;
use std::vec::Vec;
use vexfs_host::device::Device;
use vexfs_host::device::RecordingBackend;
use vexfs_host::mem::fail_allocations_after;
use vexfs_host::mem::fail_some_allocations;
use vexfs_host::mem::failed_allocations;
use vexfs_host::Result;

type Model = BTreeMap<String, Vec<u8>>;

/// What an operation made of the model, which holds only if the operation succeeds.
fn step(fs: &Fs, rng: &mut Rng, model: &Model) -> Result<Model> {
    let mut after = model.clone();
    let name = format!("f{}", rng.below(12));
    let other = format!("f{}", rng.below(12));
    let find = |name: &str| -> Result<Option<Ino>> { Ok(fs.lookup(ROOT_INO, name.as_bytes())?.map(|f| f.0)) };
    let Some(ino) = find(&name)? else {
        fs.create(ROOT_INO, name.as_bytes(), &new(S_IFREG | 0o644))?;
        after.insert(name, Vec::new());
        return Ok(after);
    };
    let contents = after.entry(name.clone()).or_default();
    match rng.below(9) {
        0..=3 => {
            let off = rng.below(50_000) as usize;
            let data = vec![rng.next() as u8; 1 + rng.below(30_000) as usize];
            fs.write(ino, off as u64, &data, t(1))?;
            contents.resize(contents.len().max(off + data.len()), 0);
            contents[off..off + data.len()].copy_from_slice(&data);
        }
        4 => {
            let size = rng.below(60_000);
            fs.truncate(ino, size, t(2))?;
            contents.resize(size as usize, 0);
        }
        5 => {
            fs.unlink(ROOT_INO, name.as_bytes(), t(3))?;
            after.remove(&name);
            // If this fails, the orphan stays until the next mount.
            let _ = fs.evict(ino);
        }
        6 => {
            let done = fs.rename(
                ROOT_INO,
                name.as_bytes(),
                ROOT_INO,
                other.as_bytes(),
                RenameFlags::NONE,
                t(4),
            )?;
            if name != other {
                let moved = after.remove(&name).unwrap_or_default();
                after.insert(other, moved);
            }
            if let Some(i) = done.replaced {
                let _ = fs.evict(i.ino);
            }
        }
        7 => {
            let value = vec![7; rng.below(60_000) as usize];
            fs.set_xattr(ino, b"user.x", &value, XattrMode::Set, t(5))?;
        }
        _ => fs.sync()?,
    }
    Ok(after)
}

fn verify(fs: &Fs, model: &Model, seed: u64) {
    let mut names = Vec::new();
    fs.readdir(ROOT_INO, 0, &mut |_, name, ino, _| {
        names.push((String::from_utf8(name.to_vec()).unwrap(), ino));
        true
    })
    .unwrap();
    names.sort();
    assert_eq!(
        names.iter().map(|n| &n.0).collect::<Vec<_>>(),
        model.keys().collect::<Vec<_>>(),
        "seed {seed}"
    );
    for (name, ino) in names {
        let mut buf = vec![1; fs.inode(ino).unwrap().size as usize];
        fs.read(ino, 0, &mut buf).unwrap();
        assert!(buf == model[&name], "contents of {name}, seed {seed}");
    }
}

#[test]
fn an_operation_that_fails_with_the_device_changes_nothing() {
    let options = MountOptions {
        // Small, so that nodes are read again and commits happen within operations.
        cache_nodes: 16,
        dirty_nodes: 64,
        ..MountOptions::default()
    };
    let (mut failed, mut stopped) = (0, 0);
    for seed in 0..400 {
        let mut rng = Rng(seed);
        let disk = StdArc::new(RecordingBackend::new(16 << 20));
        let dev = Device::from_backend(disk.clone());
        crate::testing::format(&dev, 4096);
        let fs = Fs::mount(dev, options).unwrap();
        let mut model = Model::new();
        for _ in 0..2 {
            for _ in 0..rng.below(60) {
                model = step(&fs, &mut rng, &model).unwrap();
            }
            disk.fail_after(rng.below(40));
            for _ in 0..30 {
                match step(&fs, &mut rng, &model) {
                    Ok(after) => model = after,
                    Err(Error::Io(_)) => {
                        failed += 1;
                        break;
                    }
                    Err(e) => panic!("{e}, seed {seed}"),
                }
            }
            disk.heal();
            if fs.abort_reason().is_some() {
                break;
            }
            fs.shrink(100);
            verify(&fs, &model, seed);
        }
        if fs.abort_reason().is_some() {
            stopped += 1;
            let late = fs.create(ROOT_INO, b"late", &new(S_IFREG));
            assert!(matches!(late, Err(Error::ReadOnly | Error::Shutdown)), "{late:?}");
            assert!(fs.sync().is_err());
        } else {
            fs.sync().unwrap();
        }
        let aborted = fs.abort_reason().is_some();
        drop(fs);
        let ram = Device::from_backend(StdArc::new(disk.contents()));
        let report = check::check(&ram).unwrap();
        assert!(report.is_clean(), "seed {seed}: {report:?}");
        let again = Fs::mount(ram, options).unwrap();
        if !aborted {
            verify(&again, &model, seed);
        }
    }
    assert!(failed > 200 && stopped > 20, "{failed} failures, {stopped} stops");
}

#[test]
fn an_operation_that_runs_out_of_memory_changes_nothing() {
    let mut failed = 0;
    for seed in 0..150 {
        let mut rng = Rng(seed);
        let (ram, fs) = crate::testing::fresh(16, 4096);
        let mut model = Model::new();
        for _ in 0..200 {
            if rng.below(4) == 0 {
                fs.shrink(100);
            }
            let short = rng.below(2) == 0;
            fail_allocations_after(short.then(|| rng.below(30)));
            let done = step(&fs, &mut rng, &model);
            fail_allocations_after(None);
            match done {
                Ok(after) => model = after,
                Err(Error::NoMemory) => failed += 1,
                Err(e) => panic!("{e}, seed {seed}"),
            }
        }
        assert!(!fs.is_read_only());
        verify(&fs, &model, seed);
        fs.sync().unwrap();
        let dev = crate::testing::device(&ram);
        let report = check::check(&dev).unwrap();
        assert!(report.is_clean(), "seed {seed}: {report:?}");
        verify(&crate::testing::mount(&dev), &model, seed);
    }
    assert!(failed > 500, "{failed}");
}

/// Runs `f` with three allocations failing after the first `n`; whether any did.
fn lacking(n: u64, f: impl FnOnce()) -> bool {
    fail_some_allocations(n, 3);
    f();
    let failed = failed_allocations();
    fail_allocations_after(None);
    failed > 0
}

#[test]
fn writing_back_under_a_passing_lack_of_memory_loses_no_data_and_no_promise() {
    const B: u64 = 4096;
    let fs = TestFs::new();
    let free = fs.free();
    let ino = fs.root_file("f");
    let (mut refused, mut n) = (0, 0);
    let mut write_block = |n: u64, data: &DataState| {
        let promised = fs.fs.space_info().promised;
        let lblk = n * 2;
        while fs.fs.reserve(ino, data, lblk, 1).is_err() {}
        assert_eq!(fs.fs.space_info().promised, promised + 1);
        fs.fs.shrink(usize::MAX);
        let alloc = loop {
            match fs.fs.alloc_data_for(ino, data, lblk, 1) {
                Ok(alloc) => break alloc,
                Err(e) => assert_eq!(e, Error::NoMemory),
            }
            refused += 1;
            assert_eq!((fs.fs.space_info().promised, data.reserved_blocks()), (promised + 1, 1));
        };
        assert_eq!((fs.fs.space_info().promised, data.reserved_blocks()), (promised, 0));
        fs.fs.dev().write(alloc.pblk * B, &[n as u8; B as usize]).unwrap();
        fs.fs.shrink(usize::MAX);
        fs.fs
            .end_data_io(ino, data, &alloc, Some((lblk + 1) * B), None)
            .unwrap();
    };
    loop {
        fs.fs.sync().unwrap();
        let data = DataState::new().unwrap();
        if !lacking(n, || write_block(n, &data)) {
            break;
        }
        n += 1;
    }
    assert!(n > 10 && refused > 3, "{n} allocations, refused {refused} times");
    for (b, block) in fs.contents(ino).chunks(B as usize).enumerate() {
        let byte = if b % 2 == 0 { (b / 2) as u8 } else { 0 };
        assert!(block.iter().all(|x| *x == byte), "block {b}");
    }
    fs.check();
    fs.fs.unlink(ROOT_INO, b"f", t(2)).unwrap();
    fs.fs.evict(ino).unwrap();
    assert_eq!(fs.free(), free);
}

#[test]
fn deleting_and_cutting_under_a_passing_lack_of_memory_finish() {
    let fs = TestFs::new();
    let free = fs.free();
    let file = || {
        let ino = fs.root_file("f");
        for i in 0..100 {
            fs.fs.write(ino, i * 8192, &[1; 4096], t(1)).unwrap();
        }
        ino
    };
    let mut n = 0;
    loop {
        let ino = file();
        fs.fs.unlink(ROOT_INO, b"f", t(2)).unwrap();
        fs.fs.sync().unwrap();
        fs.fs.shrink(usize::MAX);
        if !lacking(n, || fs.fs.evict(ino).unwrap()) {
            break;
        }
        n += 1;
    }
    assert!(n > 10, "{n} allocations");
    n = 0;
    loop {
        let ino = file();
        // A cut that has been begun: the size is set, the blocks behind it are still there.
        let (mut tx, _) = fs.fs.begin_step().unwrap();
        change(&mut tx, ino, |d| {
            d.size.set(0);
            d.state.set(d.state.get() | state::TRUNCATING);
            Ok(())
        })
        .unwrap();
        orphan::add(&mut tx, ino, TRUNCATE).unwrap();
        tx.commit();
        fs.fs.sync().unwrap();
        fs.fs.shrink(usize::MAX);
        let lacked = lacking(n, || truncate::resume(&fs.fs, ino).unwrap());
        assert_eq!(fs.fs.inode(ino).unwrap().blocks, 0);
        fs.fs.unlink(ROOT_INO, b"f", t(2)).unwrap();
        fs.fs.evict(ino).unwrap();
        if !lacked {
            break;
        }
        n += 1;
    }
    assert!(n > 5, "{n} allocations");
    assert_eq!(fs.free(), free);
    fs.check();
}
