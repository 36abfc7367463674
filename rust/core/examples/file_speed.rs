// SPDX-License-Identifier: Apache-2.0
//! How long operations on files and directories take, on a device in memory, commits included.
//!
//! `cargo run --release -p vexfs-core --example file_speed [files]`

use std::sync::Arc;
use std::time::Instant;
use vexfs_core::dir::RenameFlags;
use vexfs_core::file::DataState;
use vexfs_core::format::ROOT_INO;
use vexfs_core::inode::NewInode;
use vexfs_core::inode::SetAttr;
use vexfs_core::inode::Time;
use vexfs_core::mkfs::FormatOptions;
use vexfs_core::mount::MountOptions;
use vexfs_core::xattr::XattrMode;
use vexfs_core::Fs;
use vexfs_host::device::Device;
use vexfs_host::device::RamBackend;
use vexfs_host::mem::Vec;
use vexfs_host::Result;

fn timed(what: &str, count: u64, f: impl FnOnce() -> Result<()>) -> Result<()> {
    let start = Instant::now();
    f()?;
    let ns = start.elapsed().as_nanos() as u64;
    println!("{what:44} {count:9} times {:8} ns each", ns / count.max(1));
    Ok(())
}

fn main() -> Result<()> {
    let count: u64 = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(20_000);
    let dev = Device::from_backend(Arc::new(RamBackend::new(4 << 30)));
    Fs::format(&dev, &FormatOptions::default())?;
    let fs = Fs::mount(dev, MountOptions::default())?;
    let now = Time::now();
    let make = |mode| NewInode {
        mode,
        uid: 0,
        gid: 0,
        rdev: 0,
        target: None,
        now,
        xattrs: &[],
    };
    let name = |i: u64| format!("file-{i:08}.txt").into_bytes();
    let names: std::vec::Vec<_> = (0..count).map(name).collect();
    let dir = fs.create(ROOT_INO, b"dir", &make(0o040755))?.ino;
    let other = fs.create(ROOT_INO, b"other", &make(0o040755))?.ino;
    let mut inos = std::vec::Vec::new();

    timed("create in one directory", count, || {
        for n in &names {
            inos.push(fs.create(dir, n, &make(0o100644))?.ino);
        }
        fs.sync()
    })?;
    timed("lookup", count, || {
        for n in &names {
            std::hint::black_box(fs.lookup(dir, n)?);
        }
        Ok(())
    })?;
    timed("lookup of a name that is not there", count, || {
        for n in &names {
            std::hint::black_box(fs.lookup(other, n)?);
        }
        Ok(())
    })?;
    timed("inode", count, || {
        for ino in &inos {
            std::hint::black_box(fs.inode(*ino)?);
        }
        Ok(())
    })?;
    timed("readdir, per entry", count, || {
        let mut n = 0;
        fs.readdir(dir, 0, &mut |_, _, _, _| {
            n += 1;
            true
        })?;
        assert_eq!(n, count);
        Ok(())
    })?;
    timed("write 100 bytes", count, || {
        for ino in &inos {
            fs.write(*ino, 0, &[7; 100], now)?;
        }
        fs.sync()
    })?;
    timed("read 100 bytes", count, || {
        let mut buf = [0; 100];
        for ino in &inos {
            fs.read(*ino, 0, &mut buf)?;
        }
        Ok(())
    })?;
    timed("write 4 KiB", count, || {
        for ino in &inos {
            fs.write(*ino, 0, &[7; 4096], now)?;
        }
        fs.sync()
    })?;
    timed("overwrite 4 KiB", count, || {
        for ino in &inos {
            fs.write(*ino, 0, &[8; 4096], now)?;
        }
        fs.sync()
    })?;
    timed("read 4 KiB", count, || {
        let mut buf = [0; 4096];
        for ino in &inos {
            fs.read(*ino, 0, &mut buf)?;
        }
        Ok(())
    })?;
    timed("write back one delayed block", count, || {
        let data = DataState::new()?;
        for ino in &inos {
            fs.reserve(*ino, &data, 1, 1)?;
            let a = fs.alloc_data_for(*ino, &data, 1, 1)?;
            fs.end_data_io(*ino, &data, &a, Some(8192), None)?;
        }
        fs.sync()
    })?;
    timed("set_attr", count, || {
        let attr = SetAttr {
            mtime: Some(now),
            ..Default::default()
        };
        for ino in &inos {
            fs.set_attr(*ino, &attr)?;
        }
        fs.sync()
    })?;
    timed("set_xattr 20 bytes", count, || {
        for ino in &inos {
            fs.set_xattr(*ino, b"user.colour", &[1; 20], XattrMode::Set, now)?;
        }
        fs.sync()
    })?;
    timed("get_xattr", count, || {
        let mut out = Vec::new();
        for ino in &inos {
            fs.get_xattr(*ino, b"user.colour", &mut out)?;
        }
        Ok(())
    })?;
    timed("rename to another directory", count, || {
        for n in &names {
            fs.rename(dir, n, other, n, RenameFlags::NONE, now)?;
        }
        fs.sync()
    })?;
    timed("unlink", count, || {
        for n in &names {
            fs.unlink(other, n, now)?;
        }
        fs.sync()
    })?;
    timed("evict", count, || {
        for ino in &inos {
            fs.evict(*ino)?;
        }
        fs.sync()
    })?;

    let big = fs.create(ROOT_INO, b"big", &make(0o100644))?.ino;
    let chunk = vec![3u8; 1 << 20];
    timed("write 1 MiB, in sequence", 512, || {
        for i in 0..512 {
            fs.write(big, i << 20, &chunk, now)?;
        }
        fs.sync()
    })?;
    let mut state = 1u64;
    timed("overwrite 4 KiB at random in 512 MiB", count, || {
        for _ in 0..count {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            fs.write(big, (state >> 20) % (512 << 8) * 4096, &[8; 4096], now)?;
        }
        fs.sync()
    })?;
    timed("read 4 KiB at random", count, || {
        let mut buf = [0; 4096];
        for _ in 0..count {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            fs.read(big, (state >> 20) % (512 << 8) * 4096, &mut buf)?;
        }
        Ok(())
    })?;
    timed("truncate 512 MiB in pieces", 1, || {
        fs.truncate(big, 0, now)?;
        fs.sync()
    })?;
    Ok(())
}
