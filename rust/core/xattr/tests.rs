// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

use super::*;
use crate::format::ROOT_INO;
use crate::inode::testing::t;
use crate::inode::testing::TestFs;
use std::collections::BTreeSet;
use std::format;
use std::vec::Vec as StdVec;
use XattrMode::*;

fn get(fs: &TestFs, ino: Ino, name: &str) -> Result<StdVec<u8>> {
    let mut v = Vec::new();
    fs.fs.get_xattr(ino, name.as_bytes(), &mut v).map(|()| v.to_vec())
}

fn set(fs: &TestFs, ino: Ino, name: &str, value: &[u8], mode: XattrMode) -> Result<()> {
    fs.fs.set_xattr(ino, name.as_bytes(), value, mode, t(9)).map(|_| ())
}

fn list(fs: &TestFs, ino: Ino) -> BTreeSet<StdVec<u8>> {
    let mut names = BTreeSet::new();
    fs.fs
        .list_xattr(ino, &mut |n| assert!(names.insert(n.to_vec())))
        .unwrap();
    names
}

#[test]
fn values_of_every_length_up_to_64_kib_come_back_as_they_were_set() {
    let mut fs = TestFs::new();
    let ino = fs.root_file("f");
    let bytes: StdVec<u8> = (0..XATTR_SIZE_MAX).map(|i| (i * 7 + i / 251) as u8).collect();
    let first = first_piece("user.x".len());
    for len in [
        0,
        1,
        first - 1,
        first,
        first + 1,
        first + ITEM_MAX,
        first + ITEM_MAX + 1,
        65_535,
        65_536,
        3,
        20_000,
        0,
    ] {
        set(&fs, ino, "user.x", &bytes[..len], Set).unwrap();
        assert_eq!(get(&fs, ino, "user.x").unwrap(), &bytes[..len]);
        fs.remount();
        assert_eq!(get(&fs, ino, "user.x").unwrap(), &bytes[..len]);
        fs.check();
    }
    assert_eq!(
        set(&fs, ino, "user.x", &[0; XATTR_SIZE_MAX + 1], Set),
        Err(Error::TooBig("attribute value"))
    );
    assert_eq!(get(&fs, ino, "user.x"), Ok(StdVec::new()));
}

#[test]
fn create_and_replace_are_told_apart() {
    let fs = TestFs::new();
    let ino = fs.root_file("f");
    assert_eq!(set(&fs, ino, "user.a", b"0", Replace), Err(Error::NoData));
    assert_eq!(set(&fs, ino, "user.a", b"1", Create), Ok(()));
    assert_eq!(set(&fs, ino, "user.a", b"2", Create), Err(Error::Exists));
    assert_eq!(get(&fs, ino, "user.a").unwrap(), b"1");
    assert_eq!(set(&fs, ino, "user.a", b"3", Replace), Ok(()));
    assert_eq!(set(&fs, ino, "user.a", b"4", Set), Ok(()));
    assert_eq!(get(&fs, ino, "user.a").unwrap(), b"4");
    assert_eq!(get(&fs, ino, "trusted.a"), Err(Error::NoData));
    assert_eq!(fs.fs.inode(ino).unwrap().ctime, t(9));
    fs.check();
}

#[test]
fn a_removed_attribute_is_gone_with_all_its_chunks() {
    let fs = TestFs::new();
    let ino = fs.root_file("f");
    assert_eq!(fs.fs.remove_xattr(ino, b"user.a", t(1)), Err(Error::NoData));
    set(&fs, ino, "user.a", &[7; 65_536], Set).unwrap();
    set(&fs, ino, "user.b", b"b", Set).unwrap();
    fs.fs.remove_xattr(ino, b"user.a", t(1)).unwrap();
    assert_eq!(get(&fs, ino, "user.a"), Err(Error::NoData));
    assert_eq!(list(&fs, ino).len(), 1);
    fs.fs.remove_xattr(ino, b"user.b", t(1)).unwrap();
    assert_eq!(fs.fs.inode(ino).unwrap().xattr_list, 0);
    assert_eq!(list(&fs, ino).len(), 0);
    fs.check();
}

#[test]
fn names_with_equal_hashes_live_side_by_side() {
    let fs = TestFs::new();
    let ino = fs.root_file("f");
    let name = |i: usize| format!("user.collide-{i}");
    for i in 0..16 {
        set(&fs, ino, &name(i), &[i as u8; 5000], Create).unwrap();
    }
    assert_eq!(set(&fs, ino, &name(16), b"", Create), Err(Error::NoSpace));
    fs.fs.remove_xattr(ino, name(3).as_bytes(), t(1)).unwrap();
    set(&fs, ino, &name(16), b"in the gap", Create).unwrap();
    for i in (0..16).filter(|i| *i != 3) {
        assert_eq!(get(&fs, ino, &name(i)).unwrap(), [i as u8; 5000]);
    }
    assert_eq!(get(&fs, ino, &name(16)).unwrap(), b"in the gap");
    assert_eq!(list(&fs, ino).len(), 16);
    fs.check();
}

#[test]
fn a_list_has_every_name_once_however_many_there_are() {
    let fs = TestFs::new();
    let ino = fs.root_file("f");
    let long = "n".repeat(240);
    let mut names = BTreeSet::new();
    let full = loop {
        let name = format!("user.{}-{long}", names.len());
        match set(&fs, ino, &name, b"v", Create) {
            Ok(()) => assert!(names.insert(name.into_bytes())),
            Err(e) => break e,
        }
    };
    assert_eq!(
        full,
        Error::NoSpace,
        "a list of all names must fit into what listxattr returns"
    );
    assert!(names.len() > 250);
    assert_eq!(list(&fs, ino), names);
    fs.check();
}

#[test]
fn bad_names_are_refused() {
    let fs = TestFs::new();
    let ino = fs.root_file("f");
    assert_eq!(set(&fs, ino, "", b"", Set), Err(Error::Range));
    assert_eq!(set(&fs, ino, &"x".repeat(256), b"", Set), Err(Error::Range));
    assert!(matches!(set(&fs, ino, "user.a\0b", b"", Set), Err(Error::Invalid(_))));
    assert_eq!(set(&fs, ino, &"x".repeat(255), b"", Set), Ok(()));
    assert_eq!(set(&fs, 999, "user.a", b"", Set), Err(Error::NotFound));
    assert_eq!(get(&fs, 999, "user.a"), Err(Error::NotFound));
}

#[test]
fn attributes_go_with_their_inode() {
    let fs = TestFs::new();
    fs.root_file("other");
    let free = fs.free();
    let ino = fs.root_file("f");
    for i in 0..5 {
        set(&fs, ino, &format!("user.{i}"), &[1; 65_536], Set).unwrap();
    }
    fs.fs.unlink(ROOT_INO, b"f", t(1)).unwrap();
    fs.fs.evict(ino).unwrap();
    fs.check();
    assert_eq!(fs.free(), free);
}
