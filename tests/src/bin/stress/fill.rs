// SPDX-License-Identifier: Apache-2.0
//! A full filesystem: what has to work on it, and that emptying it gives everything back.

use crate::report;
use crate::tree::free;
use crate::tree::remove_all;
use crate::Arguments;
use nix::fcntl::fallocate;
use nix::fcntl::FallocateFlags;
use std::ffi::CString;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use vexfs_tests::collection::Collection;

pub fn is_full(e: &io::Error) -> bool {
    e.raw_os_error() == Some(libc::ENOSPC)
}

/// Repeats `one` until there is no space; returns how often it succeeded.
fn until_full(mut one: impl FnMut(u64) -> io::Result<()>) -> io::Result<u64> {
    for n in 0.. {
        match one(n) {
            Ok(()) => {}
            Err(e) if is_full(&e) => return Ok(n),
            Err(e) => return Err(e),
        }
    }
    Ok(0)
}

fn small_name(n: u64) -> String {
    format!("d{}/f{n}", n / 2000)
}

pub fn set_attribute(file: &File, n: u64, value: &[u8]) -> io::Result<()> {
    let name = CString::new(format!("user.attribute{n}")).map_err(io::Error::other)?;
    // SAFETY: the name ends with a NUL and the value is as long as it says.
    match unsafe { libc::fsetxattr(file.as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn remove_attribute(file: &File, n: u64) -> io::Result<()> {
    let name = CString::new(format!("user.attribute{n}")).map_err(io::Error::other)?;
    // SAFETY: the name ends with a NUL.
    match unsafe { libc::fremovexattr(file.as_raw_fd(), name.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Fills `mount`; returns what has to work while it is full, under its names.
pub type Checks = Vec<(&'static str, io::Result<()>)>;

fn small(mount: &Path) -> io::Result<Checks> {
    let mut made = 0;
    // What is promised to files that are not written yet is more than they take: only what is full when it is written
    // is full.
    loop {
        let more = until_full(|n| {
            let n = made + n;
            if n % 2000 == 0 {
                std::fs::create_dir_all(mount.join(format!("d{}", n / 2000)))?;
            }
            let mut file = File::create(mount.join(small_name(n)))?;
            file.write_all(b"x")
        })?;
        made += more;
        println!("# {more} more files");
        nix::unistd::syncfs(File::open(mount)?)?;
        if more == 0 {
            break;
        }
    }
    println!("# {made} files of one byte");
    let truncated = OpenOptions::new().write(true).open(mount.join(small_name(1)));
    let mut checks = vec![(
        "a file of a full disk can be truncated",
        truncated.and_then(|f| f.set_len(0)),
    )];
    let removed = (0..made / 2).try_for_each(|n| std::fs::remove_file(mount.join(small_name(n))));
    checks.push(("files of a full disk can be removed", removed));
    nix::unistd::syncfs(File::open(mount)?)?;
    let again = (0..made / 4).try_for_each(|n| std::fs::write(mount.join(small_name(n)), b"y"));
    checks.push(("and made again", again));
    Ok(checks)
}

fn big(mount: &Path) -> io::Result<Checks> {
    let file = File::create(mount.join("big"))?;
    let data = vec![0x5a; 1 << 16];
    let mut len = until_full(|n| file.write_all_at(&data, n << 16))? << 16;
    len += until_full(|n| file.write_all_at(&data[..4096], len + (n << 12)))? << 12;
    println!("# one file of {len} bytes");
    file.sync_all()?;
    let mut checks = vec![("a hole can be punched into a full disk's only file", {
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        fallocate(&file, flags, 1 << 20, 1 << 20).map_err(io::Error::from)
    })];
    checks.push(("it can be truncated", file.set_len(len / 2)));
    checks.push(("and synced", file.sync_all()));
    checks.push(("and written again", file.write_all_at(&data, len / 2)));
    checks.push(("and removed", std::fs::remove_file(mount.join("big"))));
    Ok(checks)
}

fn xattrs(mount: &Path) -> io::Result<Checks> {
    let value = vec![0x33; 1000];
    let mut file = File::create(mount.join("file0"))?;
    let mut files = 1;
    // A file takes some attributes only; then the next one.
    let made = until_full(|n| {
        if n % 20 == 0 && n > 0 {
            file = File::create(mount.join(format!("file{files}")))?;
            files += 1;
        }
        set_attribute(&file, n % 20, &value)
    })?;
    println!("# {made} attributes of {files} files");
    nix::unistd::syncfs(File::open(mount)?)?;
    let first = File::open(mount.join("file0"))?;
    Ok(vec![
        (
            "an attribute of a full disk can be removed",
            remove_attribute(&first, 0),
        ),
        ("and made smaller", set_attribute(&first, 1, b"small")),
        (
            "a file with attributes can be removed",
            std::fs::remove_file(mount.join("file0")),
        ),
    ])
}

fn rows(mount: &Path) -> io::Result<Checks> {
    const BATCH: u64 = 2000;
    let collection = Collection::create(mount, "rows")?;
    let batches = until_full(|n| collection.insert(1 + n * BATCH, BATCH, false))?;
    let mut end = 1 + batches * BATCH;
    end += until_full(|n| collection.insert(end + n, 1, false))?;
    println!("# {} rows", end - 1);
    let ids: Vec<u64> = (1..end).collect();
    let mut checks = vec![("rows of a full disk can be deleted one by one", {
        ids[..50].chunks(1).try_for_each(|id| collection.delete(id, true))
    })];
    checks.push((
        "and together",
        ids[50..].chunks(5000).try_for_each(|ids| collection.delete(ids, false)),
    ));
    checks.push((
        "none is left",
        match collection.count()? {
            0 => Ok(()),
            n => Err(io::Error::other(format!("{n} rows"))),
        },
    ));
    checks.push((
        "their space is given back",
        collection.build(vexfs_uapi::VEXFS_BUILD_OPTIMIZE, 0),
    ));
    checks.push(("rows can be inserted again", collection.insert(end, BATCH, true)));
    Ok(checks)
}

/// `stress fill`
pub fn run(args: &Arguments) -> Result<bool, String> {
    let (mount, kind) = (args.path(1)?, args.text("kind", "big"));
    let text = |e: io::Error| e.to_string();
    nix::unistd::syncfs(File::open(mount).map_err(text)?).map_err(|e| e.to_string())?;
    let fresh = free(mount).map_err(text)?;
    let checks = match kind {
        "small" => small(mount),
        "promised" => crate::promised::run(mount),
        "big" => big(mount),
        "xattrs" => xattrs(mount),
        "rows" => rows(mount),
        _ => return Err(format!("no such kind: {kind}")),
    };
    let mut good = true;
    match checks {
        Ok(checks) => {
            for (name, result) in checks {
                good &= report(&format!("{kind}: {name}"), result.map_err(text));
            }
        }
        Err(e) => good = report(&format!("{kind}: the disk fills up"), Err(e.to_string())),
    }
    good &= report(
        &format!("{kind}: everything can be removed"),
        remove_all(mount).map_err(text),
    );
    let left = free(mount).map_err(text)?;
    let same = if left == fresh {
        Ok(())
    } else {
        Err(format!("{left:?} blocks and inodes, a new one has {fresh:?}"))
    };
    good &= report(&format!("{kind}: an emptied disk has as much free as a new one"), same);
    Ok(good)
}
