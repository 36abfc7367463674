// SPDX-License-Identifier: Apache-2.0
//! The guest's part of the power-cut test:
//!
//! - `powercut-workload partition DISK` makes the partitions for the filesystem and for the marks;
//! - `powercut-workload run MOUNT_POINT MARKS_DEVICE SEED OPERATIONS` carries the workload out;
//! - `powercut-workload check MOUNT_POINT SEED ACKNOWLEDGED` checks a mounted filesystem after a cut.
//!
//! Operation n is acknowledged by a direct, unflushed write to the marks' partition after it returned: the mark adds no
//! flush that could hide one the filesystem forgot. A second thread keeps writing files it never syncs.

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io::Seek;
use std::io::SeekFrom;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use vexfs_tests::collection::Collection;
use vexfs_tests::powercut;
use vexfs_tests::powercut::file_name;
use vexfs_tests::powercut::layout;
use vexfs_tests::powercut::temporary_name;
use vexfs_tests::powercut::verify::verify;
use vexfs_tests::powercut::verify::Contents;
use vexfs_tests::powercut::Op;
use vexfs_tests::powercut::Random;
use vexfs_tests::powercut::Workload;

/// A block for direct I/O.
#[repr(C, align(4096))]
struct Mark([u8; layout::MARK_LEN]);

/// `_IO(0x12, 95)` of `linux/fs.h`.
const BLKRRPART: u32 = 0x125f;

fn sync_folder(path: &Path) -> Result<()> {
    Ok(File::open(path.parent().context("a file without a folder")?)?.sync_all()?)
}

fn carry_out(root: &Path, collection: &Collection, op: &Op) -> Result<()> {
    let place = |file: &u32| root.join(file_name(*file));
    match op {
        Op::Append { file, data } => {
            let mut f = OpenOptions::new().append(true).create(true).open(place(file))?;
            f.write_all(data)?;
            f.sync_all()?;
        }
        Op::Overwrite { file, offset, data } => {
            let f = OpenOptions::new().write(true).open(place(file))?;
            f.write_all_at(data, *offset)?;
            f.sync_data()?;
        }
        Op::Replace { file, data } => {
            let temporary = root.join(temporary_name(*file));
            let mut f = File::create(&temporary)?;
            f.write_all(data)?;
            f.sync_all()?;
            fs::rename(&temporary, place(file))?;
            sync_folder(&place(file))?;
        }
        Op::Truncate { file, len } => {
            let f = OpenOptions::new().write(true).open(place(file))?;
            f.set_len(*len)?;
            f.sync_all()?;
        }
        Op::Unlink { file } => {
            fs::remove_file(place(file))?;
            sync_folder(&place(file))?;
        }
        Op::Insert { first, count } => collection.insert(*first, *count, true)?,
        Op::Delete { ids } => {
            collection.delete(ids, false)?;
            collection.sync()?;
        }
    }
    Ok(())
}

/// Writes, renames and removes files without ever syncing, until told to stop.
fn make_noise(dir: PathBuf, stop: &AtomicBool) -> Result<()> {
    let mut random = Random::new(99);
    let mut n = 0u64;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        let path = dir.join(format!("n{}", n % 50));
        match random.below(4) {
            0 => drop(fs::remove_file(&path)),
            1 => drop(fs::rename(&path, dir.join(format!("n{}", random.below(50))))),
            _ => fs::write(&path, vec![n as u8; random.below(30_000) as usize])?,
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    Ok(())
}

fn partition(disk: &str) -> Result<()> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(disk)
        .with_context(|| disk.to_string())?;
    let len = file.seek(SeekFrom::End(0))?;
    layout::write_table(&file, len)?;
    file.sync_all()?;
    // SAFETY: BLKRRPART takes an open block device and no argument.
    if unsafe { libc::ioctl(file.as_raw_fd(), BLKRRPART as _, 0) } < 0 {
        return Err(std::io::Error::last_os_error()).context("reading the partition table again");
    }
    Ok(())
}

fn run(root: &Path, marks: &str, seed: u64, operations: u64) -> Result<()> {
    let marks = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(marks)
        .with_context(|| marks.to_string())?;
    for n in 0..powercut::FOLDERS {
        fs::create_dir(root.join(format!("d{n}")))?;
    }
    let noise = root.join(powercut::NOISE);
    fs::create_dir(&noise)?;
    let collection = Collection::create(root, powercut::COLLECTION)?;
    File::open(root)?.sync_all()?;

    let mark = |n: u64| marks.write_all_at(&Mark(layout::encode_mark(n)).0, 0);
    mark(0)?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stop = &stop;
        let noise = scope.spawn(move || make_noise(noise, stop));
        let mut workload = Workload::new(seed);
        let result = (1..=operations).try_for_each(|n| {
            let op = workload.step();
            carry_out(root, &collection, &op).with_context(|| format!("operation {n}: {op:.80?}"))?;
            anyhow::Ok(mark(n)?)
        });
        stop.store(true, Ordering::Relaxed);
        noise
            .join()
            .map_err(|_| anyhow::anyhow!("the noise thread panicked"))??;
        result
    })?;
    println!("{operations} operations acknowledged");
    Ok(())
}

/// A mounted filesystem after a cut.
struct Mounted<'a> {
    root: &'a Path,
    collection: Collection,
}

impl Contents for Mounted<'_> {
    fn file(&self, path: &str) -> Result<Option<Vec<u8>>> {
        match fs::read(self.root.join(path)) {
            Ok(content) => Ok(Some(content)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).with_context(|| path.to_string()),
        }
    }

    fn names(&self, folder: &str) -> Result<BTreeSet<String>> {
        let entries = fs::read_dir(self.root.join(folder)).with_context(|| folder.to_string())?;
        entries
            .map(|e| Ok(e?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    fn rows(&self, ids: &[u64]) -> Result<BTreeMap<u64, Vec<f32>>> {
        Ok(self.collection.get(ids)?)
    }

    fn row_count(&self) -> Result<u64> {
        Ok(self.collection.count()?)
    }
}

fn check(root: &Path, seed: u64, acknowledged: u64) -> Result<()> {
    let collection = Collection::open(&root.join(powercut::COLLECTION))?;
    let mut workload = Workload::new(seed);
    for _ in 0..acknowledged {
        workload.step();
    }
    let before = workload.model().clone();
    let op = workload.step();
    verify(&Mounted { root, collection }, &before, Some(&op))
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["partition", disk] => partition(disk),
        ["run", root, marks, seed, operations] => run(Path::new(root), marks, seed.parse()?, operations.parse()?),
        ["check", root, seed, acknowledged] => check(Path::new(root), seed.parse()?, acknowledged.parse()?),
        _ => bail!("usage: powercut-workload partition DISK | run MOUNT_POINT MARKS_DEVICE SEED OPERATIONS | check MOUNT_POINT SEED ACKNOWLEDGED"),
    }
}
