// SPDX-License-Identifier: Apache-2.0
//! What an fsync writes, with the intent log and without: bytes, writes and flushes of the device, which are the same
//! on every machine.
//!
//! `cargo run --release -p vexfs-core --example fsync_cost FILE [files]`: FILE is made and removed, `/dev/shm/image`
//! say.

use std::fs::OpenOptions;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;
use vexfs_core::format::ROOT_INO;
use vexfs_core::inode::NewInode;
use vexfs_core::inode::Time;
use vexfs_core::mkfs::FormatOptions;
use vexfs_core::mount::MountOptions;
use vexfs_core::Fs;
use vexfs_host::device::Backend;
use vexfs_host::device::Device;
use vexfs_host::device::FileBackend;
use vexfs_host::Error;
use vexfs_host::Result;

/// Counts what a device is told.
struct Counting {
    inner: FileBackend,
    writes: AtomicU64,
    bytes: AtomicU64,
    flushes: AtomicU64,
    fua: AtomicU64,
}

impl Backend for Counting {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.inner.read(offset, buf)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.writes.fetch_add(1, Relaxed);
        self.bytes.fetch_add(data.len() as u64, Relaxed);
        self.inner.write(offset, data)
    }

    fn flush(&self) -> Result<()> {
        self.flushes.fetch_add(1, Relaxed);
        self.inner.flush()
    }

    fn write_fua(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.writes.fetch_add(1, Relaxed);
        self.fua.fetch_add(1, Relaxed);
        self.bytes.fetch_add(data.len() as u64, Relaxed);
        self.inner.write_fua(offset, data)
    }
}

fn measure(path: &str, files: u64, intent_log: bool) -> Result<()> {
    let io = |_| Error::Invalid("the image cannot be made");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
        .map_err(io)?;
    file.set_len(1 << 30).map_err(io)?;
    let counting = Arc::new(Counting {
        inner: FileBackend::from_file(file, false).map_err(io)?,
        writes: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        flushes: AtomicU64::new(0),
        fua: AtomicU64::new(0),
    });
    let dev = Device::from_backend(counting.clone());
    let format = FormatOptions {
        intent_log,
        ..FormatOptions::default()
    };
    Fs::format(&dev, &format)?;
    let fs = Fs::mount(dev, MountOptions::default())?;
    let now = Time::now();
    let new = NewInode {
        mode: 0o100644,
        uid: 0,
        gid: 0,
        rdev: 0,
        target: None,
        now,
        xattrs: &[],
    };
    // A tree of some size, so that a commit writes more than one node.
    let mut inos = std::vec::Vec::new();
    for n in 0..files {
        let ino = fs.create(ROOT_INO, format!("file-{n:06}").as_bytes(), &new)?.ino;
        fs.write(ino, 0, &[1; 4096], now)?;
        inos.push(ino);
    }
    fs.sync()?;
    let report = |what: &str, count: u64, f: &mut dyn FnMut(u64) -> Result<()>| -> Result<()> {
        let counters = [&counting.writes, &counting.bytes, &counting.flushes, &counting.fua];
        let before = counters.map(|c| c.load(Relaxed));
        for n in 0..count {
            f(n)?;
            fs.sync_txg(fs.counters().open_txg)?;
        }
        let now = counters.map(|c| c.load(Relaxed));
        let each = |i: usize| (now[i] - before[i]) as f64 / count as f64;
        println!(
            "{what:32} {:8.2} writes {:10.0} bytes {:6.2} flushes {:6.2} of the writes durable",
            each(0),
            each(1),
            each(2),
            each(3)
        );
        Ok(())
    };
    println!(
        "{}",
        if intent_log {
            "with the log, each fsync:"
        } else {
            "without it:"
        }
    );
    report("append 4 KiB to one file", 2000, &mut |n| {
        fs.write(inos[0], (n + 1) * 4096, &[2; 4096], now).map(|_| ())
    })?;
    report("append 4 KiB to files in turn", 2000, &mut |n| {
        let ino = inos[(n * 7919 % files) as usize];
        let size = fs.inode(ino)?.size;
        fs.write(ino, size, &[3; 4096], now).map(|_| ())
    })?;
    report("create a file of 100 bytes", 2000, &mut |n| {
        let ino = fs.create(ROOT_INO, format!("small-{n:06}").as_bytes(), &new)?.ino;
        fs.write(ino, 0, &[4; 100], now).map(|_| ())
    })?;
    println!("{:?}, {} commits", fs.counters().log, fs.counters().commits);
    fs.unmount()?;
    std::fs::remove_file(path).map_err(io)
}

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let Some(path) = args.next() else {
        return Err(Error::Invalid("usage: fsync_cost FILE [files]"));
    };
    let files: u64 = args.next().and_then(|a| a.parse().ok()).unwrap_or(20_000);
    measure(&path, files, false)?;
    measure(&path, files, true)
}
