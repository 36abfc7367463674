// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

use super::testing::new;
use super::testing::t;
use super::testing::TestFs;
use super::*;
use crate::format::items::mode::*;
use crate::format::ROOT_INO;
use std::vec::Vec as StdVec;

#[test]
fn a_new_inode_has_the_attributes_it_was_made_with_after_a_remount() {
    let mut fs = TestFs::new();
    let n = NewInode {
        mode: S_IFBLK | 0o640,
        uid: 11,
        gid: 22,
        rdev: 0x1234,
        target: None,
        now: t(42),
        xattrs: &[(b"user.a", b"1"), (b"security.b", b"")],
    };
    let made = fs.fs.create(ROOT_INO, b"n", &n).unwrap();
    fs.remount();
    let got = fs.fs.inode(made.ino).unwrap();
    assert_eq!(got, made);
    assert_eq!(
        (got.mode, got.uid, got.gid, got.rdev),
        (S_IFBLK | 0o640, 11, 22, 0x1234)
    );
    assert_eq!((got.nlink, got.size, got.blocks), (1, 0, 0));
    assert_eq!([got.atime, got.mtime, got.ctime, got.btime], [t(42); 4]);
    assert_eq!(got.xattr_list, 7 + 11);
    let mut v = Vec::new();
    fs.fs.get_xattr(made.ino, b"user.a", &mut v).unwrap();
    assert_eq!(&*v, b"1");
    fs.check();
}

#[test]
fn set_attr_changes_what_is_given_and_nothing_else() {
    let fs = TestFs::new();
    let ino = fs.root_file("f");
    let before = fs.fs.inode(ino).unwrap();
    let txg = fs
        .fs
        .set_attr(
            ino,
            &SetAttr {
                mode: Some(S_IFDIR | 0o4711),
                gid: Some(9),
                mtime: Some(t(-7)),
                ..SetAttr::default()
            },
        )
        .unwrap();
    let after = fs.fs.inode(ino).unwrap();
    let expected = Inode {
        mode: S_IFREG | 0o4711,
        gid: 9,
        mtime: t(-7),
        change: before.change + 1,
        txg,
        ..before
    };
    assert_eq!(after, expected);
    assert_eq!(fs.fs.set_attr(4711, &SetAttr::default()), Err(Error::NotFound));
}

#[test]
fn a_time_of_access_is_stored_at_once_unless_somebody_has_to_be_waited_for() {
    let fs = TestFs::new();
    let ino = fs.root_file("f");
    let before = fs.fs.inode(ino).unwrap();
    assert!(fs.fs.try_set_atime(ino, t(7)));
    let after = fs.fs.inode(ino).unwrap();
    assert_eq!(
        (after.atime, after.mtime, after.ctime),
        (t(7), before.mtime, before.ctime)
    );
    let view = fs.fs.view().unwrap();
    assert!(!fs.fs.try_set_atime(ino, t(8)));
    drop(view);
    let tx = fs.fs.begin(crate::txn::Reserve::items(1)).unwrap();
    assert!(!fs.fs.try_set_atime(ino, t(8)));
    drop(tx);
    assert!(!fs.fs.try_set_atime(4711, t(8)));
    assert_eq!(fs.fs.inode(ino).unwrap().atime, t(7));
    assert!(fs.fs.try_set_atime(ino, t(8)));
}

#[test]
fn a_symbolic_link_holds_the_longest_path_there_is() {
    let mut fs = TestFs::new();
    for len in [1, 3799, 3800, 3801, 4095] {
        let target: StdVec<u8> = (0..len).map(|i| b'a' + (i % 26) as u8).collect();
        let n = NewInode {
            target: Some(&target),
            ..new(S_IFLNK | 0o777)
        };
        let ino = fs
            .fs
            .create(ROOT_INO, std::format!("l{len}").as_bytes(), &n)
            .unwrap()
            .ino;
        fs.remount();
        let mut out = Vec::new();
        fs.fs.read_link(ino, &mut out).unwrap();
        assert_eq!(&*out, &*target);
        assert_eq!(fs.fs.inode(ino).unwrap().size, len);
    }
    fs.check();
}

#[test]
fn reading_a_damaged_symbolic_link_gathers_no_more_than_its_length() {
    let fs = TestFs::new();
    let n = NewInode {
        target: Some(b"abc"),
        ..new(S_IFLNK | 0o777)
    };
    let ino = fs.fs.create(ROOT_INO, b"l", &n).unwrap().ino;
    for piece in 1..50 {
        let mut tx = fs.fs.begin(crate::txn::Reserve::items(1)).unwrap();
        tx.insert(&key::symlink(ino, piece), &[b'x'; 3000]).unwrap();
        tx.commit();
    }
    let mut out = Vec::new();
    assert!(matches!(fs.fs.read_link(ino, &mut out), Err(Error::Corrupt(_))));
    assert!(out.len() <= 3 && out.capacity() < 3000);
}

#[test]
fn a_symbolic_link_needs_a_target_that_is_a_path() {
    let fs = TestFs::new();
    let make = |target| {
        fs.fs.create(
            ROOT_INO,
            b"l",
            &NewInode {
                target,
                ..new(S_IFLNK | 0o777)
            },
        )
    };
    assert_eq!(make(Some(b"")), Err(Error::NotFound));
    assert_eq!(make(Some(&[b'x'; 4096])), Err(Error::NameTooLong));
    assert!(matches!(make(Some(b"a\0b")), Err(Error::Invalid(_))));
    assert!(matches!(make(None), Err(Error::Invalid(_))));
    let with_target = NewInode {
        target: Some(b"x"),
        ..new(S_IFREG)
    };
    assert!(matches!(
        fs.fs.create(ROOT_INO, b"l", &with_target),
        Err(Error::Invalid(_))
    ));
    assert!(matches!(
        fs.fs.create(ROOT_INO, b"l", &new(0o644)),
        Err(Error::Invalid(_))
    ));
    let file = fs.root_file("f");
    assert!(matches!(fs.fs.read_link(file, &mut Vec::new()), Err(Error::Invalid(_))));
    assert_eq!(fs.names(ROOT_INO), ["f"]);
}

#[test]
fn a_temporary_file_is_deleted_by_the_next_mount_unless_it_was_linked() {
    let fs = TestFs::new();
    let kept = fs.fs.create_tmpfile(&new(S_IFREG | 0o600)).unwrap();
    let lost = fs.fs.create_tmpfile(&new(S_IFREG | 0o600)).unwrap();
    assert_eq!(kept.nlink, 0);
    fs.fs.write(kept.ino, 0, b"kept", t(1)).unwrap();
    fs.fs.write(lost.ino, 0, &[1; 10_000], t(1)).unwrap();
    assert_eq!(fs.fs.link(kept.ino, ROOT_INO, b"k", t(2)).unwrap().nlink, 1);
    fs.fs.sync().unwrap();
    let fs = fs.after_crash();
    assert_eq!(fs.contents(kept.ino), b"kept");
    assert_eq!(fs.fs.inode(lost.ino), Err(Error::NotFound));
    assert_eq!(fs.fs.create_tmpfile(&new(S_IFDIR | 0o755)), Err(Error::IsDir));
    fs.check();
}

#[test]
fn inode_numbers_are_never_used_again() {
    let mut fs = TestFs::new();
    let first = fs.root_file("a");
    fs.fs.unlink(ROOT_INO, b"a", t(1)).unwrap();
    fs.fs.evict(first).unwrap();
    fs.remount();
    assert!(fs.root_file("a") > first);
}

#[test]
fn a_failed_creation_leaves_nothing_behind() {
    let fs = TestFs::new();
    fs.root_file("f");
    let before = (fs.fs.inode(ROOT_INO).unwrap(), fs.fs.statfs().inodes);
    let dup: &[(&[u8], &[u8])] = &[(b"user.a", b"1"), (b"user.a", b"2")];
    let n = NewInode {
        xattrs: dup,
        ..new(S_IFDIR | 0o755)
    };
    assert_eq!(fs.fs.create(ROOT_INO, b"f", &new(S_IFDIR)), Err(Error::Exists));
    assert_eq!(fs.fs.create(ROOT_INO, b"g", &n), Err(Error::Exists));
    assert_eq!((fs.fs.inode(ROOT_INO).unwrap(), fs.fs.statfs().inodes), before);
    assert_eq!(fs.names(ROOT_INO), ["f"]);
    fs.check();
}
