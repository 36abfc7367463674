// SPDX-License-Identifier: Apache-2.0
//! Filesystems with a collection whose files the fuzzers replace.

use std::sync::Arc;
use vexfs_core::inode::NewInode;
use vexfs_core::inode::Time;
use vexfs_core::mkfs::FormatOptions;
use vexfs_core::mount::MountOptions;
use vexfs_core::Fs;
use vexfs_engine::Collection;
use vexfs_engine::Collections;
use vexfs_engine::Params;
use vexfs_host::device::Device;
use vexfs_host::device::RamBackend;

const LEN: u64 = 64 << 20;
/// Hidden files have numbers below this in a filesystem with so little in it.
const INODES: u64 = 64;

/// An unmounted filesystem with a collection, and a file of that.
pub struct Template {
    partition: RamBackend,
    /// The collection.
    pub dir: u64,
    /// The file that inputs take the place of.
    pub file: u64,
    /// What it holds.
    pub content: Vec<u8>,
}

impl Template {
    /// A collection that `fill` fills. The file is the hidden one that begins with `magic`.
    ///
    /// # Panics
    ///
    /// If anything fails.
    pub fn new(params: &Params, magic: &[u8; 4], fill: impl FnOnce(&Collection)) -> Self {
        let ram = Arc::new(RamBackend::new(LEN));
        let dev = Device::from_backend(ram.clone());
        Fs::format(&dev, &FormatOptions::default()).expect("format");
        let fs = Fs::mount(dev, MountOptions::default()).expect("mount");
        let new = NewInode {
            mode: libc::S_IFDIR | 0o755,
            uid: 0,
            gid: 0,
            rdev: 0,
            target: None,
            now: Time::default(),
            xattrs: &[],
        };
        let dir = fs.create(2, b"rows", &new).expect("create").ino;
        let all = Collections::new(fs.clone()).expect("memory");
        all.create(dir, params).expect("create collection");
        fill(&all.get(dir).expect("collection"));
        drop(all);
        let mut files = (3..INODES).filter_map(|ino| Some((ino, content(&fs, ino)?)));
        let (file, content) = files
            .find(|(_, content)| content.starts_with(magic))
            .expect("a file with the magic");
        fs.unmount().expect("unmount");
        Self {
            partition: ram.duplicate(),
            dir,
            file,
            content,
        }
    }

    /// Mounts a copy with `content` in the file and uses the collection.
    pub fn try_content(&self, content: &[u8], usage: impl FnOnce(&Fs, &Collection)) {
        let ram = Arc::new(self.partition.duplicate());
        let fs = Fs::mount(Device::from_backend(ram), MountOptions::default()).expect("mount");
        let now = Time::default();
        fs.truncate(self.file, 0, now).expect("truncate");
        fs.write(self.file, 0, content, now).expect("write");
        let all = Collections::new(fs.clone()).expect("memory");
        if let Ok(collection) = all.get(self.dir) {
            usage(&fs, &collection);
        }
        drop(all);
        fs.unmount().expect("unmount");
    }
}

fn content(fs: &Fs, ino: u64) -> Option<Vec<u8>> {
    let inode = fs.inode(ino).ok().filter(|inode| inode.is_file())?;
    let mut content = vec![0; usize::try_from(inode.size).ok()?];
    let mut done = 0;
    while done < content.len() {
        match fs.read(ino, done as u64, &mut content[done..]) {
            Ok(0) | Err(_) => return None,
            Ok(n) => done += n,
        }
    }
    Some(content)
}
