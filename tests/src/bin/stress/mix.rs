// SPDX-License-Identifier: Apache-2.0
//! Processes that do everything at once to one tree and to a few collections.

use crate::report;
use crate::Arguments;
use nix::errno::Errno;
use nix::fcntl::copy_file_range;
use nix::fcntl::fallocate;
use nix::fcntl::renameat2;
use nix::fcntl::FallocateFlags;
use nix::fcntl::RenameFlags;
use nix::fcntl::AT_FDCWD;
use std::ffi::CString;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;
use vexfs_tests::collection;
use vexfs_tests::collection::Collection;
use vexfs_tests::powercut::Random;
use vexfs_tests::stress::carry::Aligned;
use zerocopy::IntoBytes;

/// Names of a directory: few, so that processes meet.
const NAMES: u64 = 24;
const COLLECTIONS: u64 = 4;

/// Answers that mean only that another process came first, or that the tree is as it is.
const EXPECTED: &[Errno] = &[
    Errno::ENOENT,
    Errno::EEXIST,
    Errno::ENOTDIR,
    Errno::EISDIR,
    Errno::ENOTEMPTY,
    Errno::ELOOP,
    Errno::EINVAL,
    Errno::EXDEV,
    Errno::EMLINK,
    Errno::ENXIO,
    Errno::ENODATA,
    Errno::ETXTBSY,
    Errno::EPERM,
    Errno::ENAMETOOLONG,
    Errno::ENOTTY,
    Errno::EBUSY,
    Errno::ENOSPC,
];

struct Mixer {
    mount: PathBuf,
    random: Random,
    next_row: u64,
}

impl Mixer {
    fn below(&mut self, n: u64) -> u64 {
        self.random.below(n)
    }

    /// A place up to three directories deep.
    fn place(&mut self) -> PathBuf {
        let mut path = self.mount.join("tree");
        for _ in 0..self.below(3) {
            path.push(format!("d{}", self.below(4)));
        }
        path.push(match self.below(3) {
            0 => format!("d{}", self.below(4)),
            _ => format!("n{}", self.below(NAMES)),
        });
        path
    }

    fn open(&mut self, flags: i32) -> io::Result<File> {
        let path = self.place();
        OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags | libc::O_NONBLOCK | libc::O_NOFOLLOW)
            .open(path)
    }

    fn attribute(&mut self) -> io::Result<()> {
        let path = CString::new(self.place().as_os_str().as_bytes())?;
        let name = CString::new(format!("user.a{}", self.below(6)))?;
        let value = vec![7u8; self.below(5000) as usize];
        let done = match self.below(3) {
            // SAFETY: both strings end with a NUL.
            0 => unsafe { libc::lremovexattr(path.as_ptr(), name.as_ptr()) },
            // SAFETY: both strings end with a NUL, and the value is as long as it says.
            _ => unsafe { libc::lsetxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) },
        };
        if done == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    fn rows(&mut self) -> io::Result<()> {
        let name = format!("collection{}", self.below(COLLECTIONS));
        let path = self.mount.join(&name);
        match self.below(40) {
            0 => return Collection::remove(&self.mount, &name),
            1..=4 => return Collection::create(&self.mount, &name).map(drop),
            _ => {}
        }
        let collection = Collection::open(&path)?;
        match self.below(20) {
            0..=7 => {
                let count = 1 + self.below(200);
                self.next_row += count;
                collection.insert(self.next_row - count, count, self.below(4) == 0)
            }
            8..=9 => {
                let first = self.next_row.saturating_sub(300);
                let ids: Vec<u64> = collection
                    .get(&(first..self.next_row).collect::<Vec<_>>())?
                    .into_keys()
                    .collect();
                match collection.delete(&ids[..ids.len().min(100)], false) {
                    // Another process was faster with some of them.
                    Err(e) if e.raw_os_error().is_none() => Ok(()),
                    done => done,
                }
            }
            10..=14 => collection.search(self.next_row, 10).map(drop),
            15 => collection.build(vexfs_uapi::VEXFS_BUILD_MAINTAIN, 0),
            16 => collection.build(vexfs_uapi::VEXFS_BUILD_SET, 1 + self.below(3) as u32),
            17 => collection.build(vexfs_uapi::VEXFS_BUILD_OPTIMIZE, 0),
            18 => collection.sync(),
            _ => collection.count().map(drop),
        }
    }

    fn step(&mut self) -> io::Result<()> {
        match self.below(100) {
            0..=9 => File::create_new(self.place()).map(drop),
            10..=14 => std::fs::create_dir(self.place()),
            15..=17 => symlink(self.place(), self.place()),
            18..=22 => std::fs::hard_link(self.place(), self.place()),
            23..=30 => {
                let flags = [
                    RenameFlags::empty(),
                    RenameFlags::RENAME_EXCHANGE,
                    RenameFlags::RENAME_NOREPLACE,
                ];
                let flags = flags[self.below(3) as usize];
                Ok(renameat2(AT_FDCWD, &self.place(), AT_FDCWD, &self.place(), flags)?)
            }
            31..=37 => std::fs::remove_file(self.place()),
            38..=40 => std::fs::remove_dir(self.place()),
            41..=55 => {
                let (len, at) = (self.below(30_000), self.below(200_000));
                self.open(0)?.write_all_at(&vec![9; len as usize], at)
            }
            56..=59 => {
                let at = self.below(40) * 4096;
                let blocks = vec![Aligned([3; 4096]); 1 + self.below(8) as usize];
                self.open(libc::O_DIRECT)?
                    .write_all_at(blocks.as_slice().as_bytes(), at)
            }
            60..=64 => {
                let len = self.below(200_000);
                self.open(0)?.set_len(len)
            }
            65..=68 => {
                let (at, len) = (self.below(200_000) as i64, 1 + self.below(60_000) as i64);
                let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
                Ok(fallocate(&self.open(0)?, flags, at, len)?)
            }
            69..=73 => self.open(0)?.read_to_end(&mut Vec::new()).map(drop),
            74..=77 => self.attribute(),
            78..=80 => {
                let file = self.open(0)?;
                match self.below(2) {
                    0 => file.sync_all(),
                    _ => file.sync_data(),
                }
            }
            81 => Ok(nix::unistd::syncfs(File::open(&self.mount)?)?),
            82..=84 => std::fs::read_dir(self.place())?.try_for_each(|e| e.map(drop)),
            85 => std::fs::set_permissions(
                self.place(),
                PermissionsExt::from_mode(0o600 + self.below(2) as u32 * 0o100),
            ),
            86..=87 => {
                let (from, to) = (self.open(0)?, self.open(0)?);
                match copy_file_range(&from, Some(&mut 0), &to, Some(&mut 100_000), 50_000) {
                    Ok(_) => Ok(()),
                    Err(e) => Err(e.into()),
                }
            }
            88 => File::options()
                .write(true)
                .custom_flags(libc::O_TMPFILE)
                .open(self.mount.join("tree"))?
                .write_all_at(b"temporary", 5000),
            _ if collection::supported(&self.mount) => self.rows(),
            _ => Ok(()),
        }
    }
}

/// `stress mixer MOUNT --seconds N --seed N`: one of the processes.
pub fn mixer(args: &Arguments) -> Result<bool, String> {
    let seed = args.number("seed", 1)?;
    let end = Instant::now() + Duration::from_secs(args.number("seconds", 20)?);
    let mut mixer = Mixer {
        mount: args.path(1)?.to_path_buf(),
        random: Random::new(seed),
        next_row: 1 + (seed << 32),
    };
    let mut done = 0u64;
    while Instant::now() < end {
        done += 1;
        match mixer.step() {
            Ok(()) => {}
            Err(e) if EXPECTED.iter().any(|x| e.raw_os_error() == Some(*x as i32)) => {}
            Err(e) => return Err(format!("process {seed}, operation {done}: {e}")),
        }
    }
    println!("# {done} operations");
    Ok(true)
}

/// `stress mix`
pub fn run(args: &Arguments) -> Result<bool, String> {
    let mount: &Path = args.path(1)?;
    let (workers, seed) = (args.number("workers", 8)?, args.number("seed", 1)?);
    let tree = mount.join("tree");
    std::fs::create_dir_all(&tree).map_err(|e| format!("{}: {e}", tree.display()))?;
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let start = |n: u64| {
        let mut command = Command::new(&program);
        command
            .arg("mixer")
            .arg(mount)
            .args(["--seed", &(seed * 100 + n).to_string()]);
        command.args(["--seconds", args.text("seconds", "20")]).spawn()
    };
    let children: Vec<_> = (0..workers)
        .map(start)
        .collect::<io::Result<_>>()
        .map_err(|e| e.to_string())?;
    let mut result = Ok(());
    for mut child in children {
        let status = child.wait().map_err(|e| e.to_string())?;
        if !status.success() {
            result = Err(format!("a process ended with {status}"));
        }
    }
    Ok(report(
        "processes that do everything to one tree get no error that they should not",
        result,
    ))
}
