// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What the tests of inodes, directories, attributes and files share: a filesystem in memory.

use super::Ino;
use super::Inode;
use super::NewInode;
use super::Time;
use crate::check;
use crate::format::items::mode::S_IFDIR;
use crate::format::items::mode::S_IFREG;
use crate::format::ROOT_INO;
use crate::mkfs::FormatOptions;
use crate::mount::MountOptions;
use crate::xattr::XattrMode;
use crate::Fs;
use std::string::String;
use std::sync::Arc as StdArc;
use std::vec::Vec;
use vexfs_host::device::Device;
use vexfs_host::device::RamBackend;
use vexfs_host::sync::Arc;

/// A mounted filesystem in memory.
pub(crate) struct TestFs {
    pub fs: Arc<Fs>,
    ram: StdArc<RamBackend>,
}

pub(crate) fn t(sec: i64) -> Time {
    Time { sec, nsec: 5 }
}

pub(crate) fn new(mode: u32) -> NewInode<'static> {
    NewInode {
        mode,
        uid: 1,
        gid: 2,
        rdev: 0,
        target: None,
        now: t(100),
        xattrs: &[],
    }
}

fn device(ram: &StdArc<RamBackend>) -> Device {
    Device::from_backend(ram.clone())
}

fn mount(ram: &StdArc<RamBackend>) -> Arc<Fs> {
    Fs::mount(device(ram), MountOptions::default()).expect("mounts")
}

fn mount_read_only(ram: &StdArc<RamBackend>) -> Arc<Fs> {
    let options = MountOptions {
        read_only: true,
        ..MountOptions::default()
    };
    Fs::mount(device(ram), options).expect("mounts")
}

impl TestFs {
    pub fn new() -> Self {
        Self::of_size(64 << 20)
    }

    pub fn of_size(bytes: u64) -> Self {
        let ram = StdArc::new(RamBackend::new(bytes));
        Fs::format(&device(&ram), &FormatOptions::default()).expect("formats");
        TestFs { fs: mount(&ram), ram }
    }

    /// The filesystem as it is found after a power cut now; nothing that was not synced survives.
    pub fn after_crash(&self) -> TestFs {
        let ram = StdArc::new(self.ram.duplicate());
        TestFs { fs: mount(&ram), ram }
    }

    /// The same, mounted without writing anything.
    pub fn after_crash_read_only(&self) -> TestFs {
        let ram = StdArc::new(self.ram.duplicate());
        TestFs {
            fs: mount_read_only(&ram),
            ram,
        }
    }

    /// The filesystem on `ram`.
    pub fn mounted(ram: StdArc<RamBackend>) -> TestFs {
        TestFs { fs: mount(&ram), ram }
    }

    /// A copy of the device as a power cut now leaves it.
    pub fn copy(&self) -> (Device, StdArc<RamBackend>) {
        let ram = StdArc::new(self.ram.duplicate());
        (device(&ram), ram)
    }

    pub fn remount(&mut self) {
        self.fs.unmount().expect("unmounts");
        self.fs = mount(&self.ram);
    }

    /// That what is on the device is consistent.
    pub fn check(&self) {
        self.fs.sync().expect("syncs");
        let report = check::check(&device(&self.ram)).expect("can be checked");
        assert!(report.is_clean(), "{report:?}");
    }

    pub fn dir(&self, parent: Ino, name: &str) -> Ino {
        self.make(parent, name, S_IFDIR | 0o755).ino
    }

    pub fn file(&self, parent: Ino, name: &str) -> Ino {
        self.make(parent, name, S_IFREG | 0o644).ino
    }

    pub fn root_file(&self, name: &str) -> Ino {
        self.file(ROOT_INO, name)
    }

    /// A file `f` in the root that takes several transactions to delete.
    pub fn large_file(&self) -> Ino {
        let ino = self.root_file("f");
        for i in 0..300 {
            self.fs.write(ino, i * 8192, &[i as u8; 4096], t(1)).expect("writes");
        }
        self.fs
            .set_xattr(ino, b"user.big", &[1; 65_536], XattrMode::Set, t(1))
            .expect("sets an attribute");
        ino
    }

    pub fn make(&self, parent: Ino, name: &str, mode: u32) -> Inode {
        self.fs.create(parent, name.as_bytes(), &new(mode)).expect("creates")
    }

    pub fn find(&self, dir: Ino, name: &str) -> Option<Ino> {
        self.fs.lookup(dir, name.as_bytes()).expect("looks up").map(|f| f.0)
    }

    pub fn names(&self, dir: Ino) -> Vec<String> {
        let mut names = Vec::new();
        self.fs
            .readdir(dir, 0, &mut |_, name, _, _| {
                names.push(String::from_utf8(name.to_vec()).expect("UTF-8"));
                true
            })
            .expect("lists");
        names.sort();
        names
    }

    pub fn contents(&self, ino: Ino) -> Vec<u8> {
        let mut buf = std::vec![0xee; self.fs.inode(ino).expect("exists").size as usize];
        let n = self.fs.read(ino, 0, &mut buf).expect("reads");
        assert_eq!(n, buf.len());
        buf
    }

    pub fn free(&self) -> u64 {
        self.fs.sync().expect("syncs");
        // The second commit releases what the first one freed.
        self.fs.sync().expect("syncs");
        self.fs.statfs().free
    }
}
