// SPDX-License-Identifier: Apache-2.0
//! A collection of a mounted filesystem, used through the ioctls.

use crate::powercut::vector;
use crate::powercut::DIM;
use std::collections::BTreeMap;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::mem::size_of;
use std::os::fd::AsRawFd;
use std::path::Path;
use vexfs_uapi as uapi;
use zerocopy::FromZeros;

/// An open collection of rows with [`DIM`] floats; row `id` has the vector [`vector`] gives for it.
pub struct Collection(File);

fn ioctl<T>(file: &File, command: u32, arg: &mut T) -> io::Result<()> {
    // SAFETY: the command and the struct belong together (uapi), and the struct's pointers are to live buffers of the
    // caller.
    match unsafe { libc::ioctl(file.as_raw_fd(), command as _, std::ptr::from_mut(arg)) } {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn control(root: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).open(root.join(".vexfs_control"))
}

fn name(name: &str) -> io::Result<uapi::Name> {
    uapi::name_from(name.as_bytes()).ok_or(io::Error::from_raw_os_error(libc::ENAMETOOLONG))
}

/// Whether what is mounted at `root` has collections.
pub fn supported(root: &Path) -> bool {
    control(root).is_ok()
}

impl Collection {
    /// Makes collection `called` in the root directory of the filesystem mounted at `root`.
    pub fn create(root: &Path, called: &str) -> io::Result<Self> {
        let mut arg = uapi::CreateCollection {
            size: size_of::<uapi::CreateCollection>() as u32,
            name: name(called)?,
            dim: DIM as u32,
            element: uapi::VEXFS_ELEMENT_F32,
            metric: uapi::VEXFS_METRIC_L2,
            ..uapi::CreateCollection::new_zeroed()
        };
        ioctl(&control(root)?, uapi::VEXFS_IOC_CREATE_COLLECTION, &mut arg)?;
        Collection::open(&root.join(called))
    }

    /// Opens the collection at `path`.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Collection(File::open(path)?))
    }

    /// Removes collection `called` of the root directory with its rows.
    pub fn remove(root: &Path, called: &str) -> io::Result<()> {
        let mut arg = uapi::DropCollection {
            size: size_of::<uapi::DropCollection>() as u32,
            flags: 0,
            name: name(called)?,
        };
        ioctl(&control(root)?, uapi::VEXFS_IOC_DROP_COLLECTION, &mut arg)
    }

    /// Inserts rows `first..first + count`, durably with `sync`.
    pub fn insert(&self, first: u64, count: u64, sync: bool) -> io::Result<()> {
        let ids: Vec<u64> = (first..first + count).collect();
        let vectors: Vec<f32> = ids.iter().flat_map(|id| vector(*id)).collect();
        let mut arg = uapi::InsertVectors {
            size: size_of::<uapi::InsertVectors>() as u32,
            flags: if sync { uapi::VEXFS_INSERT_SYNC } else { 0 },
            count: count as u32,
            dim: DIM as u32,
            element: uapi::VEXFS_ELEMENT_F32,
            vectors: vectors.as_ptr() as u64,
            ids: ids.as_ptr() as u64,
            ..uapi::InsertVectors::new_zeroed()
        };
        ioctl(&self.0, uapi::VEXFS_IOC_INSERT_VECTORS, &mut arg)?;
        all_of(arg.inserted, count)
    }

    /// Deletes rows that are there, durably with `sync`.
    pub fn delete(&self, ids: &[u64], sync: bool) -> io::Result<()> {
        let mut arg = uapi::DeleteVectors {
            size: size_of::<uapi::DeleteVectors>() as u32,
            flags: if sync { uapi::VEXFS_DELETE_SYNC } else { 0 },
            count: ids.len() as u32,
            ids: ids.as_ptr() as u64,
            ..uapi::DeleteVectors::new_zeroed()
        };
        ioctl(&self.0, uapi::VEXFS_IOC_DELETE_VECTORS, &mut arg)?;
        all_of(arg.deleted, ids.len() as u64)
    }

    /// The vectors of the rows among `ids` that are there.
    pub fn get(&self, ids: &[u64]) -> io::Result<BTreeMap<u64, Vec<f32>>> {
        let mut rows = vec![uapi::Row::default(); ids.len()];
        let mut vectors = vec![0f32; ids.len() * DIM];
        let mut arg = uapi::GetVectors {
            size: size_of::<uapi::GetVectors>() as u32,
            count: ids.len() as u32,
            dim: DIM as u32,
            ids: ids.as_ptr() as u64,
            rows: rows.as_mut_ptr() as u64,
            vectors: vectors.as_mut_ptr() as u64,
            vectors_bytes: std::mem::size_of_val(&vectors[..]) as u64,
            ..uapi::GetVectors::new_zeroed()
        };
        ioctl(&self.0, uapi::VEXFS_IOC_GET_VECTORS, &mut arg)?;
        let found = rows.iter().zip(vectors.chunks(DIM));
        let found = found.filter(|(row, _)| row.flags & uapi::VEXFS_ROW_FOUND != 0);
        Ok(found.map(|(row, vector)| (row.id, vector.to_vec())).collect())
    }

    /// How many rows it has.
    pub fn count(&self) -> io::Result<u64> {
        let mut arg = uapi::CollectionInfo {
            size: size_of::<uapi::CollectionInfo>() as u32,
            ..uapi::CollectionInfo::new_zeroed()
        };
        ioctl(&self.0, uapi::VEXFS_IOC_COLLECTION_INFO, &mut arg)?;
        Ok(arg.rows)
    }

    /// The ids of the `k` rows nearest to the vector of row `id`.
    pub fn search(&self, id: u64, k: u32) -> io::Result<Vec<u64>> {
        let query = vector(id);
        let mut result = uapi::QueryResult::default();
        let mut hits = vec![uapi::Hit::default(); k as usize];
        let mut arg = uapi::SearchVectors {
            size: size_of::<uapi::SearchVectors>() as u32,
            count: 1,
            dim: DIM as u32,
            element: uapi::VEXFS_ELEMENT_F32,
            queries: query.as_ptr() as u64,
            k,
            results: std::ptr::from_mut(&mut result) as u64,
            hits: hits.as_mut_ptr() as u64,
            hits_max: u64::from(k),
            ..uapi::SearchVectors::new_zeroed()
        };
        ioctl(&self.0, uapi::VEXFS_IOC_SEARCH_VECTORS, &mut arg)?;
        Ok(hits.iter().take(result.count as usize).map(|hit| hit.id).collect())
    }

    /// Does work on the index: `VEXFS_BUILD_SET` with index `kind` and its default parameters, or another action with
    /// 0.
    pub fn build(&self, action: u32, kind: u32) -> io::Result<()> {
        let mut arg = uapi::BuildIndex {
            size: size_of::<uapi::BuildIndex>() as u32,
            flags: uapi::VEXFS_BUILD_WAIT,
            action,
            params: uapi::IndexParams {
                kind,
                ..uapi::IndexParams::new_zeroed()
            },
            ..uapi::BuildIndex::new_zeroed()
        };
        ioctl(&self.0, uapi::VEXFS_IOC_BUILD_INDEX, &mut arg)
    }

    /// Makes everything done to it so far durable.
    pub fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}

fn all_of(done: u32, wanted: u64) -> io::Result<()> {
    if u64::from(done) == wanted {
        return Ok(());
    }
    Err(io::Error::other(format!("only {done} of {wanted} rows")))
}
