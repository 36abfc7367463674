// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Making room on a device that is all but full.
//!
//! What is promised to dirty data is the worst case: a file of one byte is promised a block and goes into a leaf in the
//! end. So an operation that finds no room may find some when the host has written dirty data back. It does that once
//! and tries again: see [`Fs::make_room`](crate::Fs::make_room).
//!
//! A device that is really full must not be written back with every operation that fails. Only promises made since the
//! last time began can give room, and what many ask for at once is done once.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::SeqCst;
use vexfs_host::sync::RwLock;
use vexfs_host::Result;

/// Who finds no room, and what has been done about it.
pub(crate) struct Room {
    refusals: AtomicU64,
    /// How often writing back for room has begun and ended.
    begun: AtomicU64,
    ended: AtomicU64,
    /// Held by who writes back. The kind of lock that a fatal signal ends the wait for.
    turn: RwLock<()>,
}

impl Room {
    pub(crate) fn new() -> Result<Room> {
        Ok(Room {
            refusals: AtomicU64::new(0),
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            turn: RwLock::new(())?,
        })
    }

    /// Somebody is told that there is no room.
    pub(crate) fn refused(&self) {
        self.refusals.fetch_add(1, SeqCst);
    }

    /// How often somebody was told that there is no room.
    pub(crate) fn refusals(&self) -> u64 {
        self.refusals.load(SeqCst)
    }

    /// How often dirty data has been written back to make room.
    pub(crate) fn made(&self) -> u64 {
        self.ended.load(SeqCst)
    }

    /// Whether there may be room now. `new_promises` takes the promises that were made since the last time; if there
    /// are any, `write_back` gets their number and says whether it succeeded.
    pub(crate) fn make(&self, new_promises: impl FnOnce() -> u64, write_back: impl FnOnce(u64) -> bool) -> bool {
        let (begun, ended) = (self.begun.load(SeqCst), self.ended.load(SeqCst));
        let Ok(_turn) = self.turn.write_killable() else {
            return false;
        };
        if self.begun.load(SeqCst) != begun {
            return true;
        }
        let promised = new_promises();
        if promised == 0 {
            // Nothing to be had, unless that has just been made room of.
            return self.ended.load(SeqCst) != ended;
        }
        self.begun.fetch_add(1, SeqCst);
        let done = write_back(promised);
        self.ended.fetch_add(1, SeqCst);
        done
    }
}

#[cfg(test)]
mod tests {
    use crate::file::DataState;
    use crate::format::items::mode::S_IFREG;
    use crate::format::ROOT_INO;
    use crate::inode::testing::new;
    use crate::inode::testing::TestFs;
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering::SeqCst;
    use std::vec::Vec;
    use vexfs_host::Error;

    fn make(fs: &TestFs, name: &str) -> Option<u64> {
        match fs.fs.create(ROOT_INO, name.as_bytes(), &new(S_IFREG | 0o644)) {
            Ok(made) => Some(made.ino),
            Err(e) => {
                assert_eq!(e, Error::NoSpace);
                None
            }
        }
    }

    /// Files with one dirty block each, until there is no room for another.
    fn dirty_files(fs: &TestFs) -> Vec<(u64, DataState)> {
        let mut files = Vec::new();
        loop {
            let Some(ino) = make(fs, &std::format!("f{}", files.len())) else {
                return files;
            };
            let data = DataState::new().unwrap();
            match fs.fs.reserve(ino, &data, 0, 1) {
                Ok(()) => files.push((ino, data)),
                Err(e) => {
                    assert_eq!(e, Error::NoSpace);
                    return files;
                }
            }
        }
    }

    fn write_back(fs: &TestFs, files: &[(u64, DataState)]) -> bool {
        for (ino, data) in files.iter().filter(|(_, data)| data.reserved_blocks() > 0) {
            fs.fs.write_inline(*ino, data, b"x").unwrap();
        }
        true
    }

    #[test]
    fn small_dirty_files_make_room_when_they_are_written_back() {
        let fs = TestFs::new();
        let before = fs.fs.refusals();
        let mut files = dirty_files(&fs);
        assert!(fs.fs.refusals() > before && make(&fs, "more").is_none());
        assert!(fs.fs.make_room(&mut || write_back(&fs, &files)));
        let more = make(&fs, "more").expect("there is room");
        let data = DataState::new().unwrap();
        fs.fs.reserve(more, &data, 0, 1).unwrap();
        files.push((more, data));
        write_back(&fs, &files);
        fs.check();
    }

    #[test]
    fn a_full_device_is_not_written_back_for_every_failure() {
        let fs = TestFs::new();
        let files = dirty_files(&fs);
        let mut times = 0;
        assert!(fs.fs.make_room(&mut || {
            times += 1;
            // Data that needs all that it was promised.
            true
        }));
        let data = DataState::new().unwrap();
        for _ in 0..10 {
            assert_eq!(fs.fs.reserve(16, &data, 0, 1 << 30), Err(Error::NoSpace));
            assert!(!fs.fs.make_room(&mut || {
                times += 1;
                true
            }));
        }
        assert_eq!(times, 1);
        // A promise that was given back is none.
        let (ino, one) = &files[0];
        fs.fs.unreserve(one, 0, 1);
        fs.fs.reserve(*ino, one, 0, 1).unwrap();
        fs.fs.unreserve(one, 0, 1);
        assert!(!fs.fs.make_room(&mut || unreachable!()));
        fs.fs.reserve(*ino, one, 0, 1).unwrap();
        assert!(fs.fs.make_room(&mut || {
            times += 1;
            true
        }));
        assert_eq!(times, 2);
        // What could not be written back is still to be had.
        fs.fs.unreserve(one, 0, 1);
        fs.fs.reserve(*ino, one, 0, 1).unwrap();
        assert!(!fs.fs.make_room(&mut || false));
        assert!(fs.fs.make_room(&mut || true));
        write_back(&fs, &files);
        fs.check();
    }

    #[test]
    fn a_limit_that_is_no_lack_of_room_is_no_refusal() {
        let fs = TestFs::new();
        let ino = fs.root_file("f");
        let set = |n: u32| {
            let name = std::format!("user.attribute{n}");
            let value = [7; 1000];
            let mode = crate::xattr::XattrMode::Set;
            fs.fs
                .set_xattr(ino, name.as_bytes(), &value, mode, crate::inode::testing::t(1))
        };
        let first_failure = (0..10_000).find_map(|n| set(n).err());
        assert_eq!(first_failure, Some(Error::NoSpace));
        assert_eq!(fs.fs.refusals(), 0);
    }

    #[test]
    fn many_who_find_no_room_at_once_are_served_at_once() {
        let fs = TestFs::new();
        let files = dirty_files(&fs);
        let (times, coming) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    coming.fetch_add(1, SeqCst);
                    fs.fs.make_room(&mut || {
                        times.fetch_add(1, SeqCst);
                        while coming.load(SeqCst) < 8 {
                            std::thread::yield_now();
                        }
                        write_back(&fs, &files)
                    })
                });
            }
        });
        assert_eq!((times.load(SeqCst), fs.fs.room.made()), (1, 1));
        assert!(make(&fs, "more").is_some());
    }
}
