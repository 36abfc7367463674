// SPDX-License-Identifier: Apache-2.0
//! A filesystem whose free space is all promised to dirty data that will need little of it: whatever needs space finds
//! some.

use crate::fill::is_full;
use crate::fill::set_attribute;
use crate::fill::Checks;
use nix::sys::mman::mmap;
use nix::sys::mman::munmap;
use nix::sys::mman::MapFlags;
use nix::sys::mman::ProtFlags;
use nix::sys::statvfs::statvfs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::num::NonZero;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use vexfs_tests::collection::Collection;

/// Tasks that need space at the same time.
const TASKS: u64 = 8;

/// A counter of the filesystem on vdb.
fn counter(name: &str) -> io::Result<u64> {
    let stats = std::fs::read_to_string("/proc/fs/vexfs/vdb/stats")?;
    let line = stats
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|n| n.parse().ok())
        .ok_or_else(|| io::Error::other(format!("no counter {name}")))
}

/// The files whose dirty byte is promised a block: more than there are blocks.
struct Small {
    folder: PathBuf,
    count: u64,
}

impl Small {
    fn make(mount: &Path) -> io::Result<Self> {
        let small = Small {
            folder: mount.join("small"),
            count: statvfs(mount)?.blocks_available(),
        };
        std::fs::create_dir(&small.folder)?;
        (0..small.count).try_for_each(|n| File::create(small.name(n)).map(drop))?;
        nix::unistd::syncfs(File::open(mount)?)?;
        Ok(small)
    }

    fn name(&self, n: u64) -> PathBuf {
        self.folder.join(format!("{n}"))
    }

    /// Makes one after the other dirty until hardly a block is left.
    fn promise_all(&self) -> io::Result<()> {
        for n in 0..self.count {
            OpenOptions::new()
                .write(true)
                .open(self.name(n))?
                .write_all_at(b"x", 0)?;
            if statvfs(&self.folder)?.blocks_available() <= 1 {
                return Ok(());
            }
        }
        Err(io::Error::other("there is more space than files"))
    }
}

/// One byte of a hole, dirtied through a mapping.
fn write_mapped(file: &File) -> io::Result<()> {
    let len = NonZero::new(4096).ok_or(io::ErrorKind::InvalidInput)?;
    // SAFETY: a new mapping, which nobody else knows of.
    let map = unsafe { mmap(None, len, ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED, file, 0) }?;
    // A lack of space is a SIGBUS, which only the child is killed by.
    // SAFETY: the child calls nothing but what a signal handler may.
    let status = match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Child => {
            // SAFETY: the mapping has a page.
            unsafe {
                map.as_ptr().cast::<u8>().write_volatile(1);
                libc::_exit(0);
            }
        }
        nix::unistd::ForkResult::Parent { child } => nix::sys::wait::waitpid(child, None)?,
    };
    // SAFETY: nobody uses it any more.
    unsafe { munmap(map, len.get()) }?;
    match status {
        nix::sys::wait::WaitStatus::Exited(_, 0) => Ok(()),
        status => Err(io::Error::other(format!("{status:?}"))),
    }
}

fn write_direct(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create(true)
        .custom_flags(libc::O_DIRECT)
        .open(path)?;
    let mut buffer = vec![7; 8192];
    let start = buffer.as_ptr().align_offset(4096);
    file.write_all_at(&buffer[start..start + 4096], 0)?;
    buffer.clear();
    Ok(())
}

/// One more file for each of many tasks.
fn many_at_once(mount: &Path) -> io::Result<()> {
    let make = |n| std::fs::write(mount.join(format!("task{n}")), vec![1; 10_000]);
    std::thread::scope(|scope| {
        let tasks: Vec<_> = (0..TASKS).map(|n| scope.spawn(move || make(n))).collect();
        tasks
            .into_iter()
            .try_for_each(|task| task.join().map_err(|_| io::Error::other("a task panicked"))?)
    })
}

/// Fills the disk for good, then asks for more again and again: it must not be written back each time.
fn hopeless(mount: &Path) -> io::Result<()> {
    let file = File::create(mount.join("rest"))?;
    let data = [7; 4096];
    let mut end = 0;
    while file
        .write_all_at(&data, end)
        .map(|()| true)
        .or_else(|e| if is_full(&e) { Ok(false) } else { Err(e) })?
    {
        end += 4096;
    }
    file.sync_all()?;
    while file.write_all_at(&data, end).is_ok() {
        end += 4096;
    }
    let before = counter("rooms_made")?;
    for n in 0..200 {
        let failed = std::fs::create_dir(mount.join("more")).is_err() && file.write_at(&data, end).is_err();
        if !failed {
            return Err(io::Error::other(format!("there is space again after {n} attempts")));
        }
    }
    match counter("rooms_made")? - before {
        0..=2 => Ok(()),
        n => Err(io::Error::other(format!("the disk was written back {n} times"))),
    }
}

pub fn run(mount: &Path) -> io::Result<Checks> {
    let collection = Collection::create(mount, "rows")?;
    let (file, grown, mapped) = (mount.join("file"), mount.join("grown"), mount.join("mapped"));
    std::fs::write(&file, b"x")?;
    std::fs::write(&grown, b"x")?;
    let hole = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&mapped)?;
    hole.set_len(4096)?;
    let small = Small::make(mount)?;
    let at = |name: &str| mount.join(name);
    let open = || OpenOptions::new().write(true).open(&file);
    type Step<'a> = (&'static str, &'a dyn Fn() -> io::Result<()>);
    let steps: [Step<'_>; 14] = [
        ("a file can be made", &|| File::create(at("new")).map(drop)),
        ("and written", &|| std::fs::write(at("new"), b"y")),
        ("a directory", &|| std::fs::create_dir(at("folder"))),
        ("a symlink", &|| std::os::unix::fs::symlink("file", at("symlink"))),
        ("a link", &|| std::fs::hard_link(&file, at("link"))),
        ("renamed", &|| std::fs::rename(at("link"), at("renamed"))),
        ("an attribute set", &|| set_attribute(&open()?, 1, &[3; 1000])),
        ("a mode", &|| {
            std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600))
        }),
        ("a length", &|| {
            OpenOptions::new().write(true).open(&grown)?.set_len(9000)
        }),
        ("a mapping written to", &|| write_mapped(&hole)),
        ("a block written directly", &|| write_direct(&at("direct"))),
        ("a row inserted", &|| collection.insert(1, 1, false)),
        ("a collection made", &|| Collection::create(mount, "more").map(drop)),
        ("many find space at once", &|| many_at_once(mount)),
    ];
    let mut checks = Vec::new();
    for (name, step) in steps {
        small.promise_all()?;
        checks.push((name, step()));
    }
    checks.push(("a full disk is not written back for each that fails", hopeless(mount)));
    Ok(checks)
}
