// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

use super::*;
use crate::format::items::DiskExtent;
use crate::format::items::DiskOrphan;
use crate::format::ROOT_INO;
use crate::inode::key;
use crate::inode::testing::t;
use crate::inode::testing::TestFs;
use crate::txn::Reserve;
use vexfs_host::mem::fail_allocations_after;
use zerocopy::FromZeros;
use zerocopy::IntoBytes;

#[test]
fn a_read_only_mount_leaves_orphans_alone_and_the_next_writable_one_deletes_them() {
    let fs = TestFs::new();
    let ino = fs.large_file();
    fs.fs.unlink(ROOT_INO, b"f", t(2)).unwrap();
    fs.fs.sync().unwrap();
    let ro = fs.after_crash_read_only();
    assert_eq!(ro.fs.inode(ino).unwrap().nlink, 0);
    assert_eq!(ro.fs.evict(ino), Err(Error::ReadOnly));
    let rw = fs.after_crash();
    assert_eq!(rw.fs.inode(ino), Err(Error::NotFound));
    rw.check();
}

/// Puts an orphan item of any form.
fn put_orphan(fs: &TestFs, ino: Ino, item: &[u8]) {
    let mut tx = fs.fs.begin(Reserve::items(1)).unwrap();
    tx.put(&key::orphan(ino), item).unwrap();
    tx.commit();
}

#[test]
fn an_orphan_that_has_links_or_makes_no_sense_is_left_alone_and_the_others_are_deleted() {
    let fs = TestFs::new();
    let named = fs.root_file("named");
    fs.fs.write(named, 0, b"kept", t(1)).unwrap();
    let large = fs.large_file();
    fs.fs.unlink(ROOT_INO, b"f", t(2)).unwrap();
    let mut delete = DiskOrphan::new_zeroed();
    delete.actions.set(DELETE);
    put_orphan(&fs, 1, b"too short");
    for ino in [ROOT_INO, named, u64::MAX - 1] {
        put_orphan(&fs, ino, delete.as_bytes());
    }
    fs.fs.sync().unwrap();
    let after = fs.after_crash();
    assert_eq!(after.fs.inode(large), Err(Error::NotFound));
    assert_eq!(after.contents(after.find(ROOT_INO, "named").unwrap()), b"kept");
    assert_eq!(after.fs.abort_reason(), None);
    assert!(after.fs.counters().damage_met >= 3);
    // The file is one like any other, and its deletion later ends what the item asked for.
    after.root_file("another");
    after.fs.unlink(ROOT_INO, b"named", t(3)).unwrap();
    after.fs.evict(named).unwrap();
    assert_eq!(orphan::pending(&after.fs.view().unwrap(), named), Ok(0));
}

#[test]
fn a_damaged_orphan_does_not_keep_a_mount_from_working() {
    let fs = TestFs::new();
    let ino = fs.large_file();
    let also = fs.root_file("g");
    fs.fs.unlink(ROOT_INO, b"f", t(2)).unwrap();
    fs.fs.unlink(ROOT_INO, b"g", t(2)).unwrap();
    // An extent of blocks that are free: deleting it cannot be right.
    let free = fs.fs.alloc_data(0, 1, false).unwrap();
    fs.fs.release_data(free.0, free.1);
    let extent = DiskExtent {
        pblk: free.0.into(),
        len: 1.into(),
        birth: 1.into(),
        ..FromZeros::new_zeroed()
    };
    let mut tx = fs.fs.begin(Reserve::items(1)).unwrap();
    tx.put(&key::extent(ino, 1), extent.as_bytes()).unwrap();
    tx.commit();
    fs.fs.sync().unwrap();
    let after = fs.after_crash();
    assert_eq!(after.fs.inode(ino).unwrap().nlink, 0, "it is left as it is");
    assert_eq!(after.fs.inode(also), Err(Error::NotFound));
    assert_eq!(after.fs.abort_reason(), None);
    after.root_file("new");
    after.fs.sync().unwrap();
}

#[test]
fn a_mount_that_runs_out_of_memory_says_so_and_leaves_everything_for_the_next() {
    let fs = TestFs::new();
    fs.large_file();
    fs.root_file("kept");
    fs.fs.unlink(ROOT_INO, b"f", t(2)).unwrap();
    fs.fs.sync().unwrap();
    let (mut failed, mut n) = (0, 0);
    loop {
        let (disk, ram) = fs.copy();
        fail_allocations_after(Some(n));
        let mounted = Fs::mount(disk.clone(), Default::default());
        fail_allocations_after(None);
        match mounted {
            Ok(_) => break,
            Err(e) => assert_eq!(e, Error::NoMemory, "after {n} allocations"),
        }
        failed += 1;
        let after = TestFs::mounted(ram);
        assert_eq!(after.names(ROOT_INO), ["kept"]);
        after.check();
        n += 1 + n / 40;
    }
    assert!(failed > 50, "{failed}");
}

#[test]
fn a_remount_that_runs_out_of_memory_leaves_the_mount_read_only_and_can_be_tried_again() {
    let fs = TestFs::new();
    let ino = fs.large_file();
    fs.fs.unlink(ROOT_INO, b"f", t(2)).unwrap();
    fs.fs.sync().unwrap();
    let ro = fs.after_crash_read_only();
    let mut failed = 0;
    loop {
        fail_allocations_after(Some(failed * 10));
        let done = ro.fs.set_read_only(false);
        fail_allocations_after(None);
        if done.is_ok() {
            break;
        }
        assert_eq!(done, Err(Error::NoMemory));
        assert!(ro.fs.is_read_only());
        assert_eq!(ro.fs.unlink(ROOT_INO, b"f", t(3)).err(), Some(Error::ReadOnly));
        failed += 1;
    }
    assert!(failed > 0);
    assert_eq!(ro.fs.inode(ino), Err(Error::NotFound));
    ro.check();
}
