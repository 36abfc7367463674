// SPDX-License-Identifier: Apache-2.0
//! How long operations on the tree take, on a device in memory.
//!
//! `cargo run --release -p vexfs-core --example tree_speed [operations]`

use std::sync::Arc;
use std::time::Instant;
use vexfs_core::format::Key;
use vexfs_core::format::Kind;
use vexfs_core::mkfs::FormatOptions;
use vexfs_core::mount::MountOptions;
use vexfs_core::txn::Read;
use vexfs_core::txn::Reserve;
use vexfs_core::Fs;
use vexfs_host::device::Device;
use vexfs_host::device::RamBackend;
use vexfs_host::Result;

fn hash(n: u64) -> u64 {
    n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8 << 7
}

fn timed(what: &str, count: u64, f: impl FnOnce() -> Result<()>) -> Result<()> {
    let start = Instant::now();
    f()?;
    let ns = start.elapsed().as_nanos() as u64;
    println!("{what:34} {count:9} times {:7} ns each", ns / count.max(1));
    Ok(())
}

fn main() -> Result<()> {
    let count: u64 = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(100_000);
    let dev = Device::from_backend(Arc::new(RamBackend::new(2 << 30)));
    Fs::format(&dev, &FormatOptions::default())?;
    let fs = Fs::mount(dev, MountOptions::default())?;
    let first = 100u64;
    let dir = 2u64;

    // What creating an empty file does to the tree: an inode, a name, and the directory's attributes.
    timed("create", count, || {
        for n in 0..count {
            let mut tx = fs.begin(Reserve::items(4))?;
            let ino = first + n;
            tx.alloc_ino()?;
            tx.insert(&Key::new(ino, Kind::INODE, 0), &[1; 160])?;
            tx.insert(&Key::new(dir, Kind::DIRENT, hash(n)), &[2; 24])?;
            tx.modify(&Key::new(dir, Kind::INODE, 0), |d| {
                d[100] ^= 1;
                Ok(())
            })?;
            tx.commit();
        }
        Ok(())
    })?;
    timed("commit", 1, || fs.commit().map(|_| ()))?;
    timed("lookup", count, || {
        for n in 0..count {
            let view = fs.view()?;
            view.get(&Key::new(dir, Kind::DIRENT, hash(n * 7919 % count)), |_| Ok(()))?
                .expect("found");
            view.get(&Key::new(first + n * 7919 % count, Kind::INODE, 0), |_| Ok(()))?
                .expect("found");
        }
        Ok(())
    })?;
    timed("scan (items)", count * 2, || {
        let view = fs.view()?;
        view.scan(&Key::MIN, &Key::MAX, &mut |_, _| Ok(true))
    })?;
    timed("change attributes", count, || {
        for n in 0..count {
            let mut tx = fs.begin(Reserve::items(1))?;
            tx.modify(&Key::new(first + n * 7919 % count, Kind::INODE, 0), |d| {
                d[100] ^= 1;
                Ok(())
            })?;
            tx.commit();
        }
        Ok(())
    })?;
    timed("commit", 1, || fs.commit().map(|_| ()))?;
    timed("append an extent", count, || {
        for n in 0..count {
            let mut tx = fs.begin(Reserve::items(2))?;
            tx.insert(&Key::new(first + n % 50, Kind::EXTENT, n / 50), &[3; 24])?;
            tx.modify(&Key::new(first + n % 50, Kind::INODE, 0), |d| {
                d[100] ^= 1;
                Ok(())
            })?;
            tx.commit();
        }
        Ok(())
    })?;
    timed("allocate and release a run", count, || {
        for _ in 0..count {
            let (block, len) = fs.alloc_data(0, 256, false)?;
            fs.release_data(block, len);
        }
        Ok(())
    })?;
    timed("unlink", count, || {
        for n in 0..count {
            let mut tx = fs.begin(Reserve::items(4).deleting())?;
            tx.remove(&Key::new(dir, Kind::DIRENT, hash(n)))?;
            tx.remove(&Key::new(first + n, Kind::INODE, 0))?;
            tx.modify(&Key::new(dir, Kind::INODE, 0), |d| {
                d[100] ^= 1;
                Ok(())
            })?;
            tx.commit();
        }
        Ok(())
    })?;
    timed("commit", 1, || fs.commit().map(|_| ()))?;
    println!("{:#?}", fs.counters());
    fs.unmount()
}
