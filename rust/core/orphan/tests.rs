// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

use super::*;
use crate::format::ROOT_INO;
use crate::inode::testing::t;
use crate::inode::testing::TestFs;
use crate::xattr::XattrMode;

fn large_file(fs: &TestFs) -> Ino {
    let ino = fs.root_file("f");
    for i in 0..300 {
        fs.fs.write(ino, i * 8192, &[i as u8; 4096], t(1)).unwrap();
    }
    fs.fs
        .set_xattr(ino, b"user.big", &[1; 65_536], XattrMode::Set, t(1))
        .unwrap();
    ino
}

#[test]
fn an_unlinked_file_keeps_its_contents_until_it_is_evicted() {
    let fs = TestFs::new();
    let free = fs.free();
    let ino = large_file(&fs);
    let contents = fs.contents(ino);
    fs.fs.unlink(ROOT_INO, b"f", t(2)).unwrap();
    fs.check();
    assert_eq!(fs.contents(ino), contents);
    fs.fs.write(ino, 0, b"still written to", t(3)).unwrap();
    fs.fs.evict(ino).unwrap();
    assert_eq!(fs.fs.inode(ino), Err(Error::NotFound));
    assert_eq!(fs.free(), free);
    fs.check();
}

#[test]
fn a_deletion_goes_on_after_a_crash_at_any_of_its_transactions() {
    let fs = TestFs::new();
    let free = fs.free();
    let ino = large_file(&fs);
    fs.fs.unlink(ROOT_INO, b"f", t(2)).unwrap();
    let mut steps = 0;
    loop {
        fs.fs.sync().unwrap();
        let crashed = fs.after_crash();
        assert_eq!(crashed.fs.inode(ino), Err(Error::NotFound));
        crashed.check();
        assert_eq!(crashed.free(), free);
        let (mut tx, mut budget) = fs.fs.begin_step().unwrap();
        let gone = purge(&mut tx, ino, &mut budget).unwrap();
        tx.commit();
        fs.check();
        if gone {
            break;
        }
        steps += 1;
    }
    assert!(steps >= 4, "{steps}");
    fs.fs.evict(ino).unwrap();
    fs.check();
}

#[test]
fn actions_for_one_inode_add_up_and_are_struck_off_one_by_one() {
    let fs = TestFs::new();
    let mut tx = fs.fs.begin(Reserve::items(8)).unwrap();
    add(&mut tx, 99, TRUNCATE).unwrap();
    add(&mut tx, 99, DELETE).unwrap();
    assert_eq!(pending(&tx, 99), Ok(TRUNCATE | DELETE));
    remove(&mut tx, 99, TRUNCATE).unwrap();
    assert_eq!(pending(&tx, 99), Ok(DELETE));
    remove(&mut tx, 99, DELETE).unwrap();
    assert_eq!(pending(&tx, 99), Ok(0));
    assert!(matches!(remove(&mut tx, 99, DELETE), Err(Error::Corrupt(_))));
}

#[test]
fn a_read_only_mount_leaves_orphans_alone_and_the_next_writable_one_deletes_them() {
    let fs = TestFs::new();
    let ino = large_file(&fs);
    fs.fs.unlink(ROOT_INO, b"f", t(2)).unwrap();
    fs.fs.sync().unwrap();
    let ro = fs.after_crash_read_only();
    assert_eq!(ro.fs.inode(ino).unwrap().nlink, 0);
    assert_eq!(ro.fs.evict(ino), Err(Error::ReadOnly));
    let rw = fs.after_crash();
    assert_eq!(rw.fs.inode(ino), Err(Error::NotFound));
    rw.check();
}
