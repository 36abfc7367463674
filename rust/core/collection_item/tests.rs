// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

use super::*;
use crate::dir::RenameFlags;
use crate::format::ROOT_INO;
use crate::inode::testing::t;
use crate::inode::testing::TestFs;
use std::vec::Vec as StdVec;

fn bytes(fs: &TestFs, dir: Ino) -> Result<StdVec<u8>> {
    let mut out = Vec::new();
    fs.fs.collection(dir, &mut out).map(|()| out.to_vec())
}

fn hidden(fs: &TestFs, dir: Ino) -> StdVec<Ino> {
    let mut files = StdVec::new();
    fs.fs.hidden_files(dir, &mut |ino| files.push(ino)).unwrap();
    files
}

/// A collection with two hidden files, one of them in many extents.
fn collection(fs: &TestFs) -> (Ino, [Ino; 2]) {
    let dir = fs.dir(ROOT_INO, "c");
    let mut files = [0; 2];
    fs.fs
        .create_collection_with(dir, &mut files, t(1), &mut |f| {
            let mut v = Vec::new();
            for ino in f {
                v.extend_from_slice(&ino.to_le_bytes())?;
            }
            Ok(v)
        })
        .unwrap();
    for i in 0..200 {
        fs.fs.write(files[0], i * 8192, &[i as u8 | 1; 4096], t(1)).unwrap();
    }
    fs.fs.write(files[1], 0, b"small", t(1)).unwrap();
    (dir, files)
}

#[test]
fn a_collection_has_its_bytes_and_files_after_a_remount() {
    let mut fs = TestFs::new();
    let (dir, files) = collection(&fs);
    fs.remount();
    let expected: StdVec<u8> = files.iter().flat_map(|f| f.to_le_bytes()).collect();
    assert_eq!(bytes(&fs, dir).unwrap(), expected);
    assert_eq!(hidden(&fs, dir), files);
    assert!(fs.fs.inode(dir).unwrap().is_collection());
    let file = fs.fs.inode(files[1]).unwrap();
    assert!(file.is_hidden() && file.is_file());
    assert_eq!((file.parent, file.nlink, file.size), (dir, 1, 5));
    assert_eq!(fs.names(dir).len(), 0);
    assert_eq!(fs.fs.link(files[1], ROOT_INO, b"x", t(1)), Err(Error::Permission));
    fs.fs.update_collection(dir, b"new").unwrap();
    assert_eq!(bytes(&fs, dir).unwrap(), b"new");
    fs.check();
}

#[test]
fn only_a_live_directory_becomes_a_collection_and_only_once() {
    let fs = TestFs::new();
    let file = fs.root_file("f");
    let dir = fs.dir(ROOT_INO, "d");
    assert_eq!(fs.fs.create_collection(file, b"", t(1)), Err(Error::NotDir));
    assert_eq!(fs.fs.create_collection(999, b"", t(1)), Err(Error::NotFound));
    assert!(matches!(
        fs.fs.create_collection(dir, &[0; 5000], t(1)),
        Err(Error::TooBig(_))
    ));
    assert_eq!(bytes(&fs, dir), Err(Error::NotCollection));
    assert_eq!(bytes(&fs, 999), Err(Error::NotFound));
    assert_eq!(fs.fs.update_collection(dir, b""), Err(Error::NotCollection));
    assert_eq!(fs.fs.drop_collection(dir, t(1)), Err(Error::NotCollection));
    fs.fs.create_collection(dir, b"1", t(1)).unwrap();
    assert_eq!(fs.fs.create_collection(dir, b"2", t(1)), Err(Error::Exists));
    assert_eq!(bytes(&fs, dir).unwrap(), b"1");
    fs.fs.remove_collection(ROOT_INO, b"d", t(1)).unwrap();
    assert_eq!(fs.fs.create_hidden(dir, t(1)), Err(Error::NotFound));
    fs.fs.evict(dir).unwrap();
    fs.check();
}

#[test]
fn removing_the_directory_frees_everything() {
    let fs = TestFs::new();
    let free = fs.free();
    let (dir, files) = collection(&fs);
    fs.fs.remove_collection(ROOT_INO, b"c", t(2)).unwrap();
    fs.fs.sync().unwrap();
    fs.check();
    let crashed = fs.after_crash();
    for ino in [dir, files[0], files[1]] {
        assert_eq!(crashed.fs.inode(ino), Err(Error::NotFound));
    }
    assert_eq!(crashed.free(), free);
    crashed.check();
    // Still readable by whoever has it open.
    assert_eq!(fs.contents(files[1]), b"small");
    fs.fs.evict(dir).unwrap();
    assert_eq!(fs.free(), free);
    assert_eq!(fs.fs.inode(files[0]), Err(Error::NotFound));
    fs.check();
}

#[test]
fn dropping_a_collection_leaves_an_ordinary_directory() {
    let fs = TestFs::new();
    let (dir, files) = collection(&fs);
    fs.file(dir, "kept");
    fs.fs.drop_collection(dir, t(2)).unwrap();
    assert_eq!(bytes(&fs, dir), Err(Error::NotCollection));
    assert!(!fs.fs.inode(dir).unwrap().is_collection());
    assert_eq!(fs.fs.inode(files[0]), Err(Error::NotFound));
    assert_eq!(fs.names(dir), ["kept"]);
    fs.check();
    fs.fs.create_collection(dir, b"again", t(3)).unwrap();
    fs.check();
}

#[test]
fn an_interrupted_drop_ends_before_the_directory_becomes_a_collection_again() {
    let fs = TestFs::new();
    let (dir, files) = collection(&fs);
    let mut tx = fs.fs.begin(Reserve::items(3)).unwrap();
    tx.remove(&key::collection(dir)).unwrap();
    change(&mut tx, dir, |d| {
        d.state.set(0);
        Ok(())
    })
    .unwrap();
    orphan::add(&mut tx, dir, DISOWN).unwrap();
    tx.commit();
    fs.fs.sync().unwrap();
    let crashed = fs.after_crash();
    assert_eq!(hidden(&crashed, dir), []);
    crashed.check();
    let new = fs.fs.create_hidden(dir, t(1)).unwrap();
    assert_eq!(hidden(&fs, dir), [new]);
    assert_eq!(fs.fs.inode(files[0]), Err(Error::NotFound));
    fs.check();
}

#[test]
fn a_hidden_file_can_be_released_alone() {
    let fs = TestFs::new();
    let (dir, files) = collection(&fs);
    assert_eq!(fs.fs.release_hidden(dir, 999, t(1)), Err(Error::NotFound));
    fs.fs.release_hidden(dir, files[0], t(1)).unwrap();
    assert_eq!(hidden(&fs, dir), [files[1]]);
    fs.check();
    fs.fs.evict(files[0]).unwrap();
    fs.check();
}

#[test]
fn what_removes_and_replaces_empty_directories_leaves_collections_alone() {
    let fs = TestFs::new();
    let (dir, files) = collection(&fs);
    let plain = fs.dir(ROOT_INO, "plain");
    assert_eq!(fs.fs.rmdir(ROOT_INO, b"c", t(1)), Err(Error::NotEmpty));
    let over = |flags| {
        fs.fs
            .rename(ROOT_INO, b"plain", ROOT_INO, b"c", flags, t(1))
            .map(|done| done.replaced)
    };
    assert_eq!(over(RenameFlags::NONE), Err(Error::NotEmpty));
    assert_eq!(hidden(&fs, dir), files);
    assert_eq!(fs.find(ROOT_INO, "c"), Some(dir));
    // And the other way round: only a collection is removed as one.
    assert_eq!(
        fs.fs.remove_collection(ROOT_INO, b"plain", t(1)),
        Err(Error::NotCollection)
    );
    fs.file(dir, "entry");
    assert_eq!(fs.fs.remove_collection(ROOT_INO, b"c", t(1)), Err(Error::NotEmpty));
    assert_eq!(over(RenameFlags::OVER_COLLECTION), Err(Error::NotEmpty));
    let gone = fs.fs.unlink(dir, b"entry", t(1)).unwrap();
    fs.fs.evict(gone.ino).unwrap();
    let replaced = over(RenameFlags::OVER_COLLECTION).unwrap().unwrap();
    assert_eq!((replaced.ino, replaced.nlink), (dir, 0));
    fs.fs.evict(dir).unwrap();
    assert_eq!(fs.find(ROOT_INO, "c"), Some(plain));
    fs.check();
}

#[test]
fn the_usage_of_a_collection_is_that_of_its_hidden_files() {
    let fs = TestFs::new();
    let (dir, files) = collection(&fs);
    let attrs = files.map(|ino| fs.fs.inode(ino).unwrap());
    let sum = |f: fn(&crate::inode::Inode) -> u64| attrs.iter().map(f).sum::<u64>();
    assert_eq!(fs.fs.hidden_usage(dir), Ok((sum(|i| i.size), sum(|i| i.blocks))));
    assert!(sum(|i| i.blocks) > 0);
    assert_eq!(fs.fs.hidden_usage(fs.dir(ROOT_INO, "d")), Ok((0, 0)));
}
