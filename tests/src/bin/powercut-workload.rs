// SPDX-License-Identifier: Apache-2.0
//! Runs the power-cut workload in the guest: `powercut-workload MOUNT_POINT MARKS_DEVICE SEED OPERATIONS`.
//!
//! Operation n is acknowledged by a direct, unflushed write to the marks' partition after it returned: the mark adds no
//! flush that could hide one the filesystem forgot. A second thread keeps writing files it never syncs.

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io::Write;
use std::mem::size_of;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use vexfs_tests::powercut;
use vexfs_tests::powercut::file_name;
use vexfs_tests::powercut::layout;
use vexfs_tests::powercut::temporary_name;
use vexfs_tests::powercut::vector;
use vexfs_tests::powercut::Op;
use vexfs_tests::powercut::Random;
use vexfs_tests::powercut::Workload;
use vexfs_uapi as uapi;

/// A block for direct I/O.
#[repr(C, align(4096))]
struct Mark([u8; layout::MARK_LEN]);

struct Collection(File);

impl Collection {
    fn create(root: &Path) -> Result<Self> {
        let control = OpenOptions::new()
            .read(true)
            .write(true)
            .open(root.join(".vexfs_control"))?;
        let mut name = [0; 256];
        name[..powercut::COLLECTION.len()].copy_from_slice(powercut::COLLECTION.as_bytes());
        let mut arg = uapi::CreateCollection {
            size: size_of::<uapi::CreateCollection>() as u32,
            flags: 0,
            name,
            dim: powercut::DIM as u32,
            element: uapi::VEXFS_ELEMENT_F32,
            metric: uapi::VEXFS_METRIC_L2,
            index: 0,
            mode: 0,
            reserved: 0,
            id: 0,
        };
        ioctl(&control, uapi::VEXFS_IOC_CREATE_COLLECTION, &mut arg).context("CREATE_COLLECTION")?;
        Ok(Collection(File::open(root.join(powercut::COLLECTION))?))
    }

    fn insert(&self, first: u64, count: u64) -> Result<()> {
        let ids: Vec<u64> = (first..first + count).collect();
        let vectors: Vec<f32> = ids.iter().flat_map(|id| vector(*id)).collect();
        let mut arg = uapi::InsertVectors {
            size: size_of::<uapi::InsertVectors>() as u32,
            flags: uapi::VEXFS_INSERT_SYNC,
            name: [0; 256],
            count: count as u32,
            dim: powercut::DIM as u32,
            element: uapi::VEXFS_ELEMENT_F32,
            stride: 0,
            vectors: vectors.as_ptr() as u64,
            ids: ids.as_ptr() as u64,
            payload_lens: 0,
            payloads: 0,
            payload_bytes: 0,
            first_id: 0,
            inserted: 0,
            replaced: 0,
            reserved: 0,
        };
        ioctl(&self.0, uapi::VEXFS_IOC_INSERT_VECTORS, &mut arg).context("INSERT_VECTORS")?;
        anyhow::ensure!(
            u64::from(arg.inserted) == count,
            "{} of {count} rows inserted",
            arg.inserted
        );
        Ok(())
    }

    fn delete(&self, ids: &[u64]) -> Result<()> {
        let mut arg = uapi::DeleteVectors {
            size: size_of::<uapi::DeleteVectors>() as u32,
            flags: 0,
            name: [0; 256],
            count: ids.len() as u32,
            deleted: 0,
            ids: ids.as_ptr() as u64,
        };
        ioctl(&self.0, uapi::VEXFS_IOC_DELETE_VECTORS, &mut arg).context("DELETE_VECTORS")?;
        anyhow::ensure!(
            arg.deleted as usize == ids.len(),
            "{} of {} rows deleted",
            arg.deleted,
            ids.len()
        );
        Ok(self.0.sync_all()?)
    }
}

fn ioctl<T>(file: &File, command: u32, arg: &mut T) -> Result<()> {
    // SAFETY: the command and the struct belong together (uapi), and the struct's pointers are to live buffers of the caller.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), command as _, std::ptr::from_mut(arg)) };
    if done < 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok(())
}

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
        Op::Insert { first, count } => collection.insert(*first, *count)?,
        Op::Delete { ids } => collection.delete(ids)?,
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

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let [_, root, marks, seed, operations] = args.as_slice() else {
        bail!("usage: powercut-workload MOUNT_POINT MARKS_DEVICE SEED OPERATIONS");
    };
    let root = PathBuf::from(root);
    let marks = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(marks)
        .with_context(|| marks.clone())?;
    for n in 0..powercut::FOLDERS {
        fs::create_dir(root.join(format!("d{n}")))?;
    }
    let noise = root.join(powercut::NOISE);
    fs::create_dir(&noise)?;
    let collection = Collection::create(&root)?;
    File::open(&root)?.sync_all()?;

    let mark = |n: u64| marks.write_all_at(&Mark(layout::encode_mark(n)).0, 0);
    mark(0)?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stop = &stop;
        let noise = scope.spawn(move || make_noise(noise, stop));
        let mut workload = Workload::new(seed.parse()?);
        let result = (1..=operations.parse::<u64>()?).try_for_each(|n| {
            let op = workload.step();
            carry_out(&root, &collection, &op).with_context(|| format!("operation {n}: {op:.80?}"))?;
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
