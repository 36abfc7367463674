// SPDX-License-Identifier: Apache-2.0
//! Trees: making large ones, removing everything, and whether all space came back.

use crate::report;
use crate::Arguments;
use nix::sys::statvfs::statvfs;
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::Path;
use vexfs_tests::collection;
use vexfs_tests::collection::Collection;

/// Files a directory gets in [`many`].
const DIRECTORY: u64 = 1000;

/// `stress many`
pub fn many(args: &Arguments) -> Result<bool, String> {
    let (dir, files) = (args.path(1)?, args.number("files", 200_000)?);
    let make = || {
        for n in 0..files {
            let folder = dir.join(format!("d{:04}", n / DIRECTORY));
            if n % DIRECTORY == 0 {
                std::fs::create_dir(&folder)?;
            }
            // Most lie in the leaf, every eighth has blocks.
            let len = if n % 8 == 0 { 3000 } else { n % 300 };
            std::fs::write(
                folder.join(format!("file{n}")),
                vec![b'a' + (n % 26) as u8; len as usize],
            )?;
        }
        Ok(nix::unistd::syncfs(File::open(dir)?)?)
    };
    Ok(report(
        "many files can be made",
        make().map_err(|e: io::Error| e.to_string()),
    ))
}

/// Removes everything below `mount`, collections too.
pub fn remove_all(mount: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(mount)? {
        let entry = entry?;
        let path = entry.path();
        if !entry.file_type()?.is_dir() {
            std::fs::remove_file(&path)?;
            continue;
        }
        // A collection that is in the root has to be empty of files; anything else is no collection.
        let name = entry.file_name();
        let dropped = collection::supported(mount) && Collection::remove(mount, &name.to_string_lossy()).is_ok();
        if !dropped {
            std::fs::remove_dir_all(&path)?;
        }
    }
    Ok(nix::unistd::syncfs(File::open(mount)?)?)
}

/// `stress clear`
pub fn clear(args: &Arguments) -> Result<bool, String> {
    let removed = remove_all(args.path(1)?);
    Ok(report("everything can be removed", removed.map_err(|e| e.to_string())))
}

/// Free blocks and free inodes.
pub fn free(mount: &Path) -> io::Result<(u64, u64)> {
    let space = statvfs(mount)?;
    Ok((space.blocks_free(), space.files_free()))
}

/// `stress space`
pub fn space(args: &Arguments) -> Result<bool, String> {
    let (mount, file) = (args.path(1)?, args.path(2)?);
    let (blocks, inodes) = free(mount).map_err(|e| e.to_string())?;
    let now = format!("{blocks} free blocks, {inodes} free inodes");
    if !file.exists() {
        std::fs::write(file, now).map_err(|e| e.to_string())?;
        return Ok(true);
    }
    let was = std::fs::read_to_string(file).map_err(|e| e.to_string())?;
    let result = if was == now {
        Ok(())
    } else {
        Err(format!("{now}, at first {was}"))
    };
    Ok(report("all space is free again", result))
}

/// Compares what two directories hold, names and contents.
fn compare(a: &Path, b: &Path) -> io::Result<()> {
    let names =
        |dir: &Path| -> io::Result<BTreeSet<_>> { std::fs::read_dir(dir)?.map(|e| Ok(e?.file_name())).collect() };
    let (in_a, in_b) = (names(a)?, names(b)?);
    if let Some(name) = in_a.symmetric_difference(&in_b).next() {
        return Err(io::Error::other(format!(
            "{} is in one of them only",
            a.join(name).display()
        )));
    }
    for name in in_a {
        let (a, b) = (a.join(&name), b.join(&name));
        if a.is_dir() {
            compare(&a, &b)?;
        } else if std::fs::read(&a)? != std::fs::read(&b)? {
            return Err(io::Error::other(format!(
                "{} differs from {}",
                b.display(),
                a.display()
            )));
        }
    }
    Ok(())
}

/// `stress alike`
pub fn alike(args: &Arguments) -> Result<bool, String> {
    let result = compare(args.path(1)?, args.path(2)?);
    Ok(report("the two trees are the same", result.map_err(|e| e.to_string())))
}
