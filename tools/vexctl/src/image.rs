// SPDX-License-Identifier: Apache-2.0
//! The backend of an image file or an unmounted device: the filesystem's own code, in this process.
//!
//! The same code runs in the kernel, so what works here works there. Commands that only read mount read-only.
//! While a command runs, other `vexctl` are kept off the image by a lock on it, and a block device is open
//! exclusively, which fails while it is mounted.

use std::fs::File;
use std::fs::OpenOptions;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc as StdArc;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use nix::fcntl::Flock;
use nix::fcntl::FlockArg;
use nix::sys::stat::umask;
use nix::sys::stat::Mode;
use vexfs_core::format::ROOT_INO;
use vexfs_core::inode::NewInode;
use vexfs_core::inode::Time;
use vexfs_core::mount::MountOptions;
use vexfs_core::Fs;
use vexfs_engine as engine;
use vexfs_engine::Collections;
use vexfs_host::device::Device;
use vexfs_host::device::FileBackend;
use vexfs_host::mem;
use vexfs_host::sync::Arc;
use vexfs_host::Error;
use vexfs_uapi as uapi;
use zerocopy::FromBytes;
use zerocopy::IntoBytes;

use crate::backend::uuid_text;
use crate::backend::Answer;
use crate::backend::Answers;
use crate::backend::Backend;
use crate::backend::Batch;
use crate::backend::Collection;
use crate::backend::Hit;
use crate::backend::Info;
use crate::backend::InsertOptions;
use crate::backend::Inserted;
use crate::backend::Metric;
use crate::backend::Row;
use crate::backend::Search;
use crate::backend::Status;
use crate::error::SysError;

/// An image that is mounted in this process.
pub struct Image {
    path: PathBuf,
    fs: Arc<Fs>,
    collections: Collections,
    /// Keeps other processes off.
    _lock: Flock<File>,
}

impl Image {
    /// Mounts the image or device at `path`, for writing when `write`.
    pub fn open(path: &Path, write: bool) -> Result<Image> {
        let name = path.display();
        let metadata = std::fs::metadata(path).with_context(|| format!("cannot open {name}"))?;
        let mut flags = libc::O_CLOEXEC;
        if metadata.file_type().is_block_device() {
            flags |= libc::O_EXCL;
        } else if !metadata.is_file() {
            bail!("{name} is neither an image file nor a block device");
        } else if let Some(device) = loop_device(path)? {
            bail!("{name} is in use by {device}");
        }
        let file = OpenOptions::new()
            .read(true)
            .write(write)
            .custom_flags(flags)
            .open(path)
            .with_context(|| format!("cannot open {name}"))?;
        let arg = if write {
            FlockArg::LockExclusiveNonblock
        } else {
            FlockArg::LockSharedNonblock
        };
        let lock = Flock::lock(file.try_clone()?, arg)
            .map_err(|(_, e)| anyhow::Error::new(e).context(format!("{name} is in use by another vexctl")))?;
        let backend = FileBackend::from_file(file, !write).with_context(|| format!("cannot use {name}"))?;
        let options = MountOptions {
            read_only: !write,
            ..MountOptions::default()
        };
        let device = Device::from_backend(StdArc::new(backend));
        let fs = Fs::mount(device, options).map_err(|e| SysError::of("mount", path, e))?;
        let collections = Collections::new(fs.clone()).map_err(|e| SysError::of("mount", path, e))?;
        Ok(Image {
            path: path.to_path_buf(),
            fs,
            collections,
            _lock: lock,
        })
    }

    /// Walks `path` from the root; symbolic links are not followed.
    fn lookup(&self, verb: &'static str, path: &Path) -> Result<u64> {
        let mut ino = ROOT_INO;
        for component in path.components() {
            match component {
                Component::RootDir | Component::CurDir => {}
                Component::Normal(name) => {
                    let found = self
                        .fs
                        .lookup(ino, name.as_bytes())
                        .and_then(|found| found.ok_or(Error::NotFound));
                    ino = found.map_err(|e| SysError::of(verb, path, e))?.0;
                }
                Component::ParentDir | Component::Prefix(_) => bail!("{}: a path without .. is needed", path.display()),
            }
        }
        Ok(ino)
    }

    /// Splits a path into its parent's inode and its last name.
    fn lookup_parent<'a>(&self, verb: &'static str, path: &'a Path) -> Result<(u64, &'a [u8])> {
        let name = path
            .file_name()
            .with_context(|| format!("{} does not end in a name", path.display()))?;
        let parent = path.parent().unwrap_or(Path::new("/"));
        Ok((self.lookup(verb, parent)?, name.as_bytes()))
    }

    fn list_dir(&self, dir: u64, path: &Path, recursive: bool, found: &mut Vec<Info>) -> Result<()> {
        let mut pending = vec![(dir, path.to_path_buf())];
        while let Some((dir, path)) = pending.pop() {
            let mut entries = Vec::new();
            let mut emit = |_, name: &[u8], ino, dtype| {
                if dtype == libc::DT_DIR {
                    entries.push((ino, path.join(std::ffi::OsStr::from_bytes(name))));
                }
                true
            };
            self.fs
                .readdir(dir, 0, &mut emit)
                .map_err(|e| SysError::of("list", &path, e))?;
            for (ino, path) in entries {
                match self.collections.get(ino).and_then(|c| c.info()) {
                    Ok(info) => found.push(info_of(&path, ino, &info)),
                    Err(Error::NotCollection) => {}
                    Err(e) => return Err(SysError::of("describe", &path, e).into()),
                }
                if recursive {
                    pending.push((ino, path));
                }
            }
        }
        Ok(())
    }
}

/// Returns the loop device that a file is behind.
fn loop_device(path: &Path) -> Result<Option<String>> {
    let path = path.canonicalize()?;
    let Ok(devices) = std::fs::read_dir("/sys/block") else {
        return Ok(None);
    };
    for device in devices.flatten() {
        let backing = device.path().join("loop/backing_file");
        if std::fs::read_to_string(backing).is_ok_and(|file| Path::new(file.trim_end()) == path) {
            return Ok(Some(format!("/dev/{}", device.file_name().to_string_lossy())));
        }
    }
    Ok(None)
}

fn info_of(path: &Path, ino: u64, info: &engine::Info) -> Info {
    Info {
        path: path.to_path_buf(),
        id: ino,
        dim: info.params.dim() as u32,
        element: "f32",
        metric: match info.params.metric() {
            engine::Metric::L2 => Metric::L2,
            engine::Metric::Cosine => Metric::Cosine,
            engine::Metric::InnerProduct => Metric::Ip,
            engine::Metric::Hamming => Metric::Hamming,
        },
        index: "flat",
        rows: info.rows,
        dead_rows: info.dead_rows,
        next_id: info.next_id,
        disk_bytes: info.disk_bytes,
        memory_bytes: info.memory_bytes,
    }
}

impl Backend for Image {
    fn roots(&self) -> Result<Vec<PathBuf>> {
        Ok(vec![PathBuf::from("/")])
    }

    fn status(&self, _path: &Path) -> Result<Status> {
        let stat = self.fs.statfs();
        let counters = self.fs.counters();
        let block = u64::from(stat.block_size);
        Ok(Status {
            path: self.path.clone(),
            source: None,
            uuid: uuid_text(&stat.uuid),
            label: String::from_utf8_lossy(self.fs.label()).into_owned(),
            read_only: self.fs.is_read_only(),
            aborted: self.fs.abort_reason().is_some(),
            block_size: stat.block_size,
            total_bytes: stat.blocks.saturating_mul(block),
            free_bytes: stat.free.saturating_mul(block),
            inodes: stat.inodes,
            txg: counters.open_txg,
            commits: counters.commits,
            cached_nodes: counters.cached_nodes,
            simd: self.collections.kernels().to_string(),
            activity: None,
        })
    }

    fn create(&self, path: &Path, dim: u32, metric: Metric) -> Result<u64> {
        let error = |e| SysError::of("create", path, e);
        let (parent, name) = self.lookup_parent("create", path)?;
        let metric = match metric {
            Metric::L2 => uapi::VEXFS_METRIC_L2,
            Metric::Cosine => uapi::VEXFS_METRIC_COSINE,
            Metric::Ip => uapi::VEXFS_METRIC_IP,
            Metric::Hamming => uapi::VEXFS_METRIC_HAMMING,
        };
        let params = engine::Params::new(dim, uapi::VEXFS_ELEMENT_F32, metric, 0).map_err(error)?;
        // Reading the umask is only possible by setting it; nothing else runs meanwhile.
        let mask = umask(Mode::empty());
        umask(mask);
        let now = Time::now();
        let new = NewInode {
            mode: libc::S_IFDIR | (0o777 & !mask.bits()),
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
            rdev: 0,
            target: None,
            now,
            xattrs: &[],
        };
        let dir = self.fs.create(parent, name, &new).map_err(error)?.ino;
        if let Err(e) = self.collections.create(dir, &params) {
            // Without rows there is nothing to keep.
            let removed = self.fs.rmdir(parent, name, now).and_then(|dir| self.fs.evict(dir.ino));
            return Err(anyhow::Error::new(error(e)).context(match removed {
                Ok(()) => "nothing was made".to_string(),
                Err(e) => format!("an empty directory is left: {e}"),
            }));
        }
        Ok(dir)
    }

    fn drop_collection(&self, path: &Path) -> Result<()> {
        let error = |e| SysError::of("drop", path, e);
        let (parent, name) = self.lookup_parent("drop", path)?;
        let dir = self.lookup("drop", path)?;
        self.collections.get(dir).map_err(error)?;
        self.fs.rmdir(parent, name, Time::now()).map_err(error)?;
        self.collections.forget(dir);
        self.fs.evict(dir).map_err(error)?;
        Ok(())
    }

    fn list(&self, dir: &Path, recursive: bool) -> Result<Vec<Info>> {
        let mut found = Vec::new();
        self.list_dir(self.lookup("list", dir)?, dir, recursive, &mut found)?;
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Collection>> {
        let ino = self.lookup("open", path)?;
        let collection = self.collections.get(ino).map_err(|e| SysError::of("open", path, e))?;
        Ok(Box::new(Open {
            fs: self.fs.clone(),
            collection,
            path: path.to_path_buf(),
        }))
    }

    fn finish(&self) -> Result<()> {
        match self.fs.is_read_only() && self.fs.abort_reason().is_none() {
            true => Ok(()),
            false => Ok(self.fs.unmount().map_err(|e| SysError::of("write", &self.path, e))?),
        }
    }
}

/// A collection in use.
struct Open {
    fs: Arc<Fs>,
    collection: Arc<engine::Collection>,
    path: PathBuf,
}

impl Open {
    fn dim(&self) -> usize {
        self.collection.params().dim()
    }

    fn row(&self, row: &engine::RowRef, contents: &engine::Contents, want: Want) -> Result<Row, Error> {
        let payload = match want.payload {
            false => None,
            true => {
                let mut bytes = mem::Vec::new();
                contents.payload(row, &mut bytes)?;
                Some(bytes.to_vec())
            }
        };
        let vector = match want.vector {
            false => None,
            true => {
                let mut vector = vec![0f32; self.dim()];
                let bits = <[u32]>::mut_from_bytes(vector.as_mut_bytes()).map_err(|_| Error::Invalid("vector"))?;
                contents.vector(row, bits)?;
                Some(vector)
            }
        };
        Ok(Row {
            id: row.id,
            inode: 0,
            found: true,
            payload,
            vector,
        })
    }

    fn search_some(&self, search: &Search<'_>, queries: &[u32], answers: &mut Answers) -> Result<(), Error> {
        let found = self.collection.search(&engine::Search {
            queries,
            k: search.k as usize,
            radius: search.radius.map(f32::to_bits),
        })?;
        let want = Want {
            payload: search.want_payloads,
            vector: search.want_vectors,
        };
        for hits in found.by_query() {
            let mut answer = Answer {
                hits: Vec::with_capacity(hits.len()),
                stopped_early: false,
            };
            for hit in hits {
                answer.hits.push(Hit {
                    row: self.row(&hit.row, &found.contents, want)?,
                    distance: f32::from_bits(hit.distance),
                });
            }
            answers.answers.push(answer);
        }
        answers.scanned += found.scanned;
        Ok(())
    }
}

/// What of a row is wanted.
#[derive(Clone, Copy)]
struct Want {
    payload: bool,
    vector: bool,
}

/// Vectors as the engine has them: bits of f32.
fn bits(vectors: &[f32]) -> &[u32] {
    // Size and alignment of the two are the same, so this cannot fail.
    <[u32]>::ref_from_bytes(vectors.as_bytes()).unwrap_or_default()
}

impl Collection for Open {
    fn info(&self) -> Result<Info> {
        let info = self
            .collection
            .info()
            .map_err(|e| SysError::of("describe", &self.path, e))?;
        Ok(info_of(&self.path, self.collection.dir(), &info))
    }

    fn insert(&self, batch: &Batch, options: InsertOptions) -> Result<Inserted> {
        let error = |e| SysError::of("insert into", &self.path, e);
        let mode = engine::InsertMode {
            upsert: options.upsert,
            normalize: options.normalize,
        };
        let rows = engine::Batch {
            vectors: bits(&batch.vectors),
            ids: (!batch.ids.is_empty()).then_some(batch.ids.as_slice()),
            payload_lens: if batch.payloads.is_empty() {
                &[]
            } else {
                &batch.payload_lens
            },
            payloads: &batch.payloads,
        };
        let done = self.collection.insert(&rows, mode).map_err(error)?;
        if options.sync {
            self.fs.sync_txg(done.txg).map_err(error)?;
        }
        Ok(Inserted {
            rows: done.count as u64,
            replaced: done.replaced as u64,
            first_id: batch.ids.is_empty().then_some(done.first_id),
        })
    }

    fn get(&self, ids: &[u64], want_vectors: bool) -> Result<Vec<Row>> {
        let error = |e| SysError::of("read from", &self.path, e);
        let want = Want {
            payload: true,
            vector: want_vectors,
        };
        let mut out = Vec::with_capacity(ids.len());
        for ids in ids.chunks(uapi::VEXFS_BATCH_ROWS_MAX as usize) {
            let got = self.collection.get(ids).map_err(error)?;
            for (id, row) in ids.iter().zip(got.rows.iter()) {
                out.push(match row {
                    Some(row) => self.row(row, &got.contents, want).map_err(error)?,
                    None => Row {
                        id: *id,
                        inode: 0,
                        found: false,
                        payload: None,
                        vector: None,
                    },
                });
            }
        }
        Ok(out)
    }

    fn delete(&self, ids: &[u64], sync: bool) -> Result<u64> {
        let error = |e| SysError::of("delete from", &self.path, e);
        let mut deleted = 0;
        for ids in ids.chunks(uapi::VEXFS_BATCH_ROWS_MAX as usize) {
            let done = self.collection.delete(ids).map_err(error)?;
            deleted += done.count as u64;
            if sync {
                self.fs.sync_txg(done.txg).map_err(error)?;
            }
        }
        Ok(deleted)
    }

    fn search(&self, search: &Search<'_>) -> Result<Answers> {
        let mut answers = Answers::default();
        let queries = (uapi::VEXFS_HITS_MAX / search.k).min(uapi::VEXFS_QUERIES_MAX) as usize;
        for queries in bits(search.queries).chunks(queries.max(1) * self.dim()) {
            self.search_some(search, queries, &mut answers)
                .map_err(|e| SysError::of("search", &self.path, e))?;
        }
        Ok(answers)
    }
}
