// SPDX-License-Identifier: Apache-2.0
//! The workloads. Each runs in a folder of its own round and leaves behind what the next one reads or removes.

use anyhow::Context;
use anyhow::Result;
use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

const BLOCK: usize = 4096;

/// Runs a step below a folder and says how long its measured part took.
type Action<'a> = Box<dyn Fn(&Path) -> Result<Duration> + 'a>;

/// A timed step.
pub struct Step<'a> {
    /// What it is called in the table.
    pub name: String,
    /// How many operations one run makes.
    pub operations: u64,
    action: Action<'a>,
}

impl Step<'_> {
    /// Runs it below `dir` and says how long the measured part took.
    pub fn run(&self, dir: &Path) -> Result<Duration> {
        (self.action)(dir)
    }
}

/// Makes everything written to the filesystem of `dir` durable.
pub fn sync_fs(dir: &Path) -> Result<()> {
    let handle = File::open(dir).with_context(|| dir.display().to_string())?;
    // SAFETY: `syncfs` takes an open descriptor and nothing else.
    if unsafe { libc::syncfs(handle.as_raw_fd()) } != 0 {
        return Err(std::io::Error::last_os_error()).context("syncfs");
    }
    Ok(())
}

/// Writes back and drops clean pages, dentries and inodes of all filesystems.
fn drop_caches(dir: &Path) -> Result<()> {
    sync_fs(dir)?;
    fs::write("/proc/sys/vm/drop_caches", "3").context("/proc/sys/vm/drop_caches (are you root?)")
}

fn timed(f: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let start = Instant::now();
    f()?;
    Ok(start.elapsed())
}

/// A small deterministic generator (Marsaglia's xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// The `count` file names of a workload spread over `dirs` folders of `top`.
fn names(top: &Path, dirs: u64, count: u64) -> Vec<PathBuf> {
    (0..count)
        .map(|n| match dirs {
            1 => top.join(format!("file{n:06}")),
            _ => top.join(format!("dir{:03}/file{n:06}", n % dirs)),
        })
        .collect()
}

fn files<'a>(steps: &mut Vec<Step<'a>>, dirs: u64, count: u64) {
    let place = move |dir: &Path| dir.join(format!("files-{dirs}"));
    let label = |what: &str| match dirs {
        1 => format!("{what}, {count} files in one folder"),
        _ => format!("{what}, {count} files in {dirs}"),
    };
    steps.push(Step {
        name: label("create"),
        operations: count,
        action: Box::new(move |dir| {
            let top = place(dir);
            let all = names(&top, dirs, count);
            timed(|| {
                fs::create_dir(&top)?;
                if dirs > 1 {
                    for n in 0..dirs {
                        fs::create_dir(top.join(format!("dir{n:03}")))?;
                    }
                }
                for name in &all {
                    File::create_new(name)?;
                }
                sync_fs(dir)
            })
        }),
    });
    steps.push(Step {
        name: label("stat"),
        operations: count,
        action: Box::new(move |dir| {
            let all = names(&place(dir), dirs, count);
            drop_caches(dir)?;
            timed(|| {
                for name in &all {
                    anyhow::ensure!(fs::symlink_metadata(name)?.len() == 0, "{} has grown", name.display());
                }
                Ok(())
            })
        }),
    });
    steps.push(Step {
        name: label("unlink"),
        operations: count,
        action: Box::new(move |dir| {
            let all = names(&place(dir), dirs, count);
            timed(|| {
                for name in &all {
                    fs::remove_file(name)?;
                }
                sync_fs(dir)
            })
        }),
    });
}

fn unpack<'a>(steps: &mut Vec<Step<'a>>, archive: &'a [u8]) {
    let entries = tar::Archive::new(archive).entries().map_or(0, |e| e.count() as u64);
    steps.push(Step {
        name: format!("untar, {entries} entries"),
        operations: entries,
        action: Box::new(move |dir| {
            let top = dir.join("untar");
            timed(|| {
                fs::create_dir(&top)?;
                let mut archive = tar::Archive::new(archive);
                archive.set_preserve_permissions(true);
                archive.unpack(&top)?;
                sync_fs(dir)
            })
        }),
    });
    steps.push(Step {
        name: "read the unpacked tree".into(),
        operations: entries,
        action: Box::new(move |dir| {
            let top = dir.join("untar");
            drop_caches(dir)?;
            timed(|| read_tree(&top))
        }),
    });
}

fn read_tree(top: &Path) -> Result<()> {
    let mut folders = vec![top.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                let expected = entry.metadata()?.size();
                let got = fs::read(entry.path())?.len() as u64;
                anyhow::ensure!(got == expected, "{}: {got} of {expected} bytes", entry.path().display());
            }
        }
    }
    Ok(())
}

fn open(path: &Path, direct: bool) -> Result<File> {
    let flags = if direct { libc::O_DIRECT } else { 0 };
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags(flags)
        .open(path)
        .with_context(|| path.display().to_string())
}

/// A buffer aligned for direct I/O.
#[repr(C, align(4096))]
struct Aligned([u8; BLOCK]);

fn blocks<'a>(steps: &mut Vec<Step<'a>>, blocks: u64, some: u64) {
    let file = |dir: &Path| dir.join("blocks");
    steps.push(Step {
        name: "sequential write, 4 KiB".into(),
        operations: blocks,
        action: Box::new(move |dir| {
            let f = open(&file(dir), false)?;
            let data = Aligned([0xa5; BLOCK]);
            timed(|| {
                for n in 0..blocks {
                    f.write_all_at(&data.0, n * BLOCK as u64)?;
                }
                Ok(f.sync_all()?)
            })
        }),
    });
    steps.push(Step {
        name: "sequential read, 4 KiB".into(),
        operations: blocks,
        action: Box::new(move |dir| {
            drop_caches(dir)?;
            let f = open(&file(dir), false)?;
            let mut data = Aligned([0; BLOCK]);
            timed(|| {
                for n in 0..blocks {
                    f.read_exact_at(&mut data.0, n * BLOCK as u64)?;
                }
                Ok(())
            })
        }),
    });
    for direct in [false, true] {
        let suffix = if direct { ", direct" } else { "" };
        steps.push(Step {
            name: format!("random write, 4 KiB{suffix}"),
            operations: some,
            action: Box::new(move |dir| {
                let f = open(&file(dir), direct)?;
                let data = Aligned([0x5a; BLOCK]);
                let mut random = Random(88_172_645_463_325_252);
                timed(|| {
                    for _ in 0..some {
                        f.write_all_at(&data.0, random.below(blocks) * BLOCK as u64)?;
                    }
                    Ok(f.sync_all()?)
                })
            }),
        });
        steps.push(Step {
            name: format!("random read, 4 KiB{suffix}"),
            operations: some,
            action: Box::new(move |dir| {
                drop_caches(dir)?;
                let f = open(&file(dir), direct)?;
                let mut data = Aligned([0; BLOCK]);
                let mut random = Random(2_463_534_242);
                timed(|| {
                    for _ in 0..some {
                        f.read_exact_at(&mut data.0, random.below(blocks) * BLOCK as u64)?;
                    }
                    Ok(())
                })
            }),
        });
    }
}

fn appends<'a>(steps: &mut Vec<Step<'a>>, count: u64) {
    steps.push(Step {
        name: "append 4 KiB and fsync".into(),
        operations: count,
        action: Box::new(move |dir| {
            let mut f = OpenOptions::new().append(true).create(true).open(dir.join("log"))?;
            let data = [0x11; BLOCK];
            timed(|| {
                for _ in 0..count {
                    f.write_all(&data)?;
                    f.sync_all()?;
                }
                Ok(())
            })
        }),
    });
}

/// All workloads, their sizes scaled by `percent`.
pub fn all(percent: u64, archive: Option<&[u8]>) -> Vec<Step<'_>> {
    let scaled = |n: u64| (n * percent / 100).max(1);
    let mut steps = Vec::new();
    files(&mut steps, 1, scaled(20_000));
    files(&mut steps, 200, scaled(20_000));
    if let Some(archive) = archive {
        unpack(&mut steps, archive);
    }
    blocks(&mut steps, scaled(16_384), scaled(4_096));
    appends(&mut steps, scaled(500));
    steps
}
