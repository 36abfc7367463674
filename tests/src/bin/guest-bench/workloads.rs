// SPDX-License-Identifier: Apache-2.0
//! The workloads. Each runs in a folder of its own round and leaves behind what the next one reads or removes.

use anyhow::Context;
use anyhow::Result;
use nix::sys::wait::WaitStatus;
use nix::unistd::ForkResult;
use nix::unistd::Pid;
use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io::Read;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
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

/// What a step mostly exercises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Names and attributes.
    Metadata,
    /// File contents.
    Data,
    /// Waiting until a change is durable.
    Durability,
}

/// A timed step.
pub struct Step<'a> {
    /// What it is called in the table.
    pub name: String,
    /// What it mostly exercises.
    pub kind: Kind,
    /// The steps that belong together: some read what others of their group have made.
    pub group: &'static str,
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
        kind: Kind::Metadata,
        group: "files",
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
        kind: Kind::Metadata,
        group: "files",
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
        kind: Kind::Metadata,
        group: "files",
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
        kind: Kind::Metadata,
        group: "tree",
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
        kind: Kind::Data,
        group: "tree",
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
        kind: Kind::Data,
        group: "blocks",
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
        kind: Kind::Data,
        group: "blocks",
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
            kind: Kind::Data,
            group: "blocks",
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
            kind: Kind::Data,
            group: "blocks",
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

/// Writes blocks around the page cache from several tasks, as databases do.
fn direct_writes<'a>(steps: &mut Vec<Step<'a>>, tasks: u64, blocks: u64, each: u64) {
    steps.push(Step {
        name: format!("random write, 4 KiB, direct, {tasks} tasks"),
        kind: Kind::Data,
        group: "blocks",
        operations: tasks * each,
        action: Box::new(move |dir| {
            let file = open(&dir.join("blocks"), true)?;
            let tasks = Tasks::new(tasks, |task| {
                let data = Aligned([0xc3; BLOCK]);
                let mut random = Random(88_172_645_463_325_252 + task);
                for _ in 0..each {
                    file.write_all_at(&data.0, random.below(blocks) * BLOCK as u64)?;
                }
                Ok(())
            })?;
            timed(|| {
                tasks.run()?;
                Ok(file.sync_all()?)
            })
        }),
    });
}

/// Processes that wait for the start. Threads would share an address space, and with it what a kernel locks for it: in
/// User Mode Linux, one of them at a time runs in user mode.
struct Tasks {
    children: Vec<Pid>,
    start: OwnedFd,
}

impl Tasks {
    /// As many processes as there are numbers below `tasks`; each is going to run `work` with its number.
    fn new(tasks: u64, work: impl Fn(u64) -> Result<()>) -> Result<Tasks> {
        let (wait, start) = nix::unistd::pipe()?;
        let mut children = Vec::new();
        for task in 0..tasks {
            // SAFETY: This program has one thread.
            match unsafe { nix::unistd::fork() }? {
                ForkResult::Parent { child } => children.push(child),
                ForkResult::Child => {
                    drop(start);
                    // The end of the file is the start.
                    let done = File::from(wait).read_to_end(&mut Vec::new());
                    let done = done.map_err(Into::into).and_then(|_| work(task));
                    if let Err(e) = &done {
                        eprintln!("{e:#}");
                    }
                    std::process::exit(done.is_err().into());
                }
            }
        }
        Ok(Tasks { children, start })
    }

    /// Lets them go and waits for all of them.
    fn run(self) -> Result<()> {
        drop(self.start);
        for child in self.children {
            let status = nix::sys::wait::waitpid(child, None)?;
            anyhow::ensure!(status == WaitStatus::Exited(child, 0), "a task failed: {status:?}");
        }
        Ok(())
    }
}

fn appends<'a>(steps: &mut Vec<Step<'a>>, tasks: u64, each: u64) {
    let what = match tasks {
        1 => String::new(),
        _ => format!(", {tasks} tasks"),
    };
    steps.push(Step {
        name: format!("append 4 KiB and fsync{what}"),
        kind: Kind::Durability,
        group: "appends",
        operations: tasks * each,
        action: Box::new(move |dir| {
            let open = |task| {
                let path = dir.join(format!("log-{tasks}-{task}"));
                OpenOptions::new().append(true).create(true).open(path)
            };
            let files: Vec<File> = (0..tasks).map(open).collect::<std::io::Result<_>>()?;
            let data = [0x11; BLOCK];
            sync_fs(dir)?;
            let tasks = Tasks::new(tasks, |task| {
                let mut file = &files[task as usize];
                for _ in 0..each {
                    file.write_all(&data)?;
                    file.sync_all()?;
                }
                Ok(())
            })?;
            timed(|| tasks.run())
        }),
    });
}

/// Makes small files durable one by one, as mail servers and package managers do.
fn small_durable_files<'a>(steps: &mut Vec<Step<'a>>, count: u64) {
    steps.push(Step {
        name: "create, write 1 KiB, fsync, rename".into(),
        kind: Kind::Durability,
        group: "durable",
        operations: count,
        action: Box::new(move |dir| {
            let top = dir.join("durable");
            fs::create_dir(&top)?;
            sync_fs(dir)?;
            timed(|| {
                for n in 0..count {
                    let new = top.join("new");
                    let mut file = File::create_new(&new)?;
                    file.write_all(&[0x22; 1024])?;
                    file.sync_all()?;
                    fs::rename(&new, top.join(format!("message{n:06}")))?;
                }
                Ok(())
            })
        }),
    });
}

/// The name of the workload whose `tasks` each create files in a folder of their own.
fn apart_name(tasks: u64) -> String {
    match tasks {
        1 => "create, 1 task".into(),
        _ => format!("create, {tasks} tasks in {tasks} folders"),
    }
}

/// The two workloads whose ratio is the gain of a second task in a second folder.
pub fn scaling_names() -> (String, String) {
    (apart_name(2), apart_name(1))
}

fn apart<'a>(steps: &mut Vec<Step<'a>>, tasks: u64, each: u64) {
    steps.push(Step {
        name: apart_name(tasks),
        kind: Kind::Metadata,
        group: "apart",
        operations: tasks * each,
        action: Box::new(move |dir| {
            let place = |task| dir.join(format!("apart-{tasks}-{task}"));
            for task in 0..tasks {
                fs::create_dir(place(task))?;
            }
            sync_fs(dir)?;
            let tasks = Tasks::new(tasks, |task| {
                for name in names(&place(task), 1, each) {
                    File::create_new(name)?;
                }
                Ok(())
            })?;
            timed(|| {
                tasks.run()?;
                sync_fs(dir)
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
    apart(&mut steps, 1, scaled(20_000));
    apart(&mut steps, 2, scaled(20_000));
    if let Some(archive) = archive {
        unpack(&mut steps, archive);
    }
    blocks(&mut steps, scaled(16_384), scaled(4_096));
    direct_writes(&mut steps, 4, scaled(16_384), scaled(2_048));
    appends(&mut steps, 1, scaled(500));
    appends(&mut steps, 8, scaled(250));
    small_durable_files(&mut steps, scaled(500));
    steps
}
