// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Mounting what has a log: read-only, without doing it again, made writable later, without a log, with an impossible
//! one.

use super::*;

/// A filesystem whose log holds something, and what it promises.
fn unfinished() -> (StdArc<Probe>, Model, Model) {
    let (rec, dev) = recorded(16);
    let fs = mount(&dev);
    put(&fs, 1, b"committed");
    fs.commit().unwrap();
    let committed = all(&fs);
    put_data(&fs, 2, 5, 3);
    put_sync(&fs, 3, b"in the log");
    put(&fs, 4, b"nowhere");
    let mut promised = all(&fs);
    promised.remove(&key(4));
    (copy(&rec).0, committed, promised)
}

#[test]
fn a_read_only_mount_shows_what_the_log_holds_and_writes_nothing() {
    let (rec, _, promised) = unfinished();
    let fs = Fs::mount(copy(&rec).1, READ_ONLY).unwrap();
    assert!(all(&fs) == promised);
    verify(&fs, check_data(&fs, &promised));

    let dev = Device::from_backend(rec.clone());
    let fs = Fs::mount(dev.clone(), READ_ONLY).unwrap();
    assert!(all(&fs) == promised);
    fs.sync().unwrap();
    fs.sync_txg(fs.counters().open_txg).unwrap();
    fs.set_read_only(true).unwrap();
    fs.unmount().unwrap();
    assert_eq!(rec.position(), 0);
    // A device that cannot be written is no obstacle.
    let fs = Fs::mount(Device::from_backend(StdArc::new(Locked(rec.contents()))), READ_ONLY).unwrap();
    assert!(all(&fs) == promised);
    assert_eq!(fs.set_read_only(false), Err(Error::ReadOnly));
}

/// A device that refuses writes.
struct Locked(RamBackend);

impl Backend for Locked {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn is_read_only(&self) -> bool {
        true
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.0.read(offset, buf)
    }

    fn write(&self, _: u64, _: &[u8]) -> Result<()> {
        Err(Error::ReadOnly)
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}

#[test]
fn a_read_only_mount_made_writable_commits_what_the_log_held_first() {
    let (rec, _, promised) = unfinished();
    let fs = Fs::mount(Device::from_backend(rec.clone()), READ_ONLY).unwrap();
    // Not even memory for the commit: it stays as it was, and a sync writes nothing.
    vexfs_host::mem::fail_allocations_after(Some(0));
    let done = fs.set_read_only(false);
    vexfs_host::mem::fail_allocations_after(None);
    assert_eq!(done, Err(Error::NoMemory));
    assert!(fs.is_read_only());
    fs.sync().unwrap();
    assert_eq!(rec.position(), 0);

    fs.set_read_only(false).unwrap();
    assert_eq!(fs.counters().commits, 1);
    holds(&rec, &promised);
    put_sync(&fs, 9, b"more");
    assert_eq!(fs.counters().log.batches, 1);
    holds(&rec, &all(&fs));
    fs.set_read_only(true).unwrap();
    fs.set_read_only(false).unwrap();
    holds(&rec, &all(&fs));
}

#[test]
fn norecovery_shows_the_last_commit_and_never_becomes_writable() {
    let (rec, committed, promised) = unfinished();
    let dev = Device::from_backend(rec.clone());
    let options = MountOptions {
        norecovery: true,
        ..READ_ONLY
    };
    let fs = Fs::mount(dev.clone(), options).unwrap();
    assert!(all(&fs) == committed);
    assert_eq!(fs.set_read_only(false), Err(Error::ReadOnly));
    fs.unmount().unwrap();
    assert_eq!(rec.position(), 0);
    let options = MountOptions {
        norecovery: true,
        ..MountOptions::default()
    };
    assert!(matches!(Fs::mount(dev, options), Err(Error::Invalid(_))));
    holds(&rec, &promised);
}

#[test]
fn a_clean_unmount_leaves_an_empty_log() {
    let (rec, dev) = recorded(16);
    let fs = mount(&dev);
    put_sync(&fs, 1, b"one");
    put_sync(&fs, 2, b"two");
    fs.unmount().unwrap();
    let (again, dev) = copy(&rec);
    let fs = mount(&dev);
    assert_eq!((again.position(), fs.counters().commits), (0, 0));
    let head = fs.log.tail;
    assert_eq!(head, 2);
    // Positions go on from there.
    put_sync(&fs, 3, b"three");
    holds(&again, &all(&fs));
}

#[test]
fn a_filesystem_without_a_log_syncs_by_commits_and_its_superblock_says_nothing_of_one() {
    let ram = ram(16);
    let options = crate::mkfs::FormatOptions {
        intent_log: false,
        ..crate::mkfs::FormatOptions::default()
    };
    Fs::format(&device(&ram), &options).unwrap();
    let (rec, dev) = on(ram.duplicate());
    let fs = mount(&dev);
    put_sync(&fs, 1, b"one");
    put_sync(&fs, 2, b"two");
    let c = fs.counters();
    assert_eq!((c.commits, c.log.batches, c.log.fallbacks), (2, 0, 0));
    let mut sb = [0; 4096];
    rec.contents().load(8192, &mut sb);
    assert!(sb[272..2048].iter().all(|b| *b == 0) && sb[112..120] == [0; 8]);
    let (again, dev) = copy(&rec);
    let options = MountOptions {
        norecovery: true,
        ..READ_ONLY
    };
    let fs = Fs::mount(dev, options).unwrap();
    // There is nothing to leave alone, so it can become writable.
    fs.set_read_only(false).unwrap();
    put_sync(&fs, 3, b"three");
    holds(&again, &all(&fs));
}

#[test]
fn orphans_of_the_log_are_ended_after_it() {
    use crate::inode::NewInode;
    use crate::inode::Time;
    let (rec, dev) = recorded(16);
    let fs = mount(&dev);
    let new = NewInode {
        mode: 0o100_644,
        uid: 0,
        gid: 0,
        rdev: 0,
        target: None,
        now: Time::default(),
        xattrs: &[],
    };
    let free = fs.statfs().free;
    let i = fs.create(2, b"gone", &new).unwrap();
    fs.write(i.ino, 0, &[1; 100_000], Time::default()).unwrap();
    fs.sync_txg(fs.counters().open_txg).unwrap();
    fs.unlink(2, b"gone", Time::default()).unwrap();
    fs.sync_txg(fs.counters().open_txg).unwrap();
    assert_eq!(fs.counters().commits, 0);
    let (again, dev) = copy(&rec);
    let fs = mount(&dev);
    fs.unmount().unwrap();
    let fs = mount(&copy(&again).1);
    assert!(fs.inode(i.ino).is_err());
    assert_eq!((fs.statfs().free, fs.statfs().inodes), (free, 1));
}
