// SPDX-License-Identifier: Apache-2.0
//! A collection in an image file.

use anyhow::Context as _;
use anyhow::Result;
use std::path::Path;
use std::sync::Arc as StdArc;
use vexfs_core::inode::NewInode;
use vexfs_core::inode::Time;
use vexfs_core::mkfs::FormatOptions;
use vexfs_core::mount::MountOptions;
use vexfs_core::Fs;
use vexfs_engine::Batch;
use vexfs_engine::Collection;
use vexfs_engine::Collections;
use vexfs_engine::InsertMode;
use vexfs_engine::Params;
use vexfs_host::device::Device;
use vexfs_host::device::FileBackend;
use vexfs_host::sync::Arc;

/// The root directory.
const ROOT: u64 = 2;
/// The collection's name in it.
const NAME: &[u8] = b"vectors";

/// Rows ready to be inserted, packed, with ids from 0 on.
pub struct Table {
    pub vectors: Vec<u8>,
    pub row_bytes: usize,
    /// A length a row, or none.
    pub payload_lens: Vec<u32>,
    pub payloads: Vec<u8>,
}

impl Table {
    pub fn rows(&self) -> usize {
        self.vectors.len() / self.row_bytes
    }

    /// Gives every row a payload.
    pub fn with_payloads(mut self) -> Self {
        for row in 0..self.rows() as u64 {
            let len = crate::payload::append(row, &mut self.payloads);
            self.payload_lens.push(len);
        }
        self
    }
}

/// A mounted image with a collection.
pub struct Image {
    pub fs: Arc<Fs>,
    pub all: Collections,
    pub collection: Arc<Collection>,
}

impl Image {
    /// Makes a sparse image file that can hold `bytes` of vectors several times over, with an empty collection in it.
    pub fn create(path: &str, bytes: u64, params: &Params) -> Result<Self> {
        let file = std::fs::File::create(path).with_context(|| path.to_owned())?;
        file.set_len((12 * bytes + (1 << 30)) & !0xfff)?;
        Fs::format(&Self::device(path)?, &FormatOptions::default())?;
        let fs = Fs::mount(Self::device(path)?, MountOptions::default())?;
        let new = NewInode {
            mode: 0o040755,
            uid: 0,
            gid: 0,
            rdev: 0,
            target: None,
            now: Time::now(),
            xattrs: &[],
        };
        let dir = fs.create(ROOT, NAME, &new)?.ino;
        let all = Collections::new(fs.clone())?;
        all.create(dir, params)?;
        let collection = all.get(dir)?;
        Ok(Self { fs, all, collection })
    }

    /// Mounts an image that [`Image::create`] made.
    pub fn open(path: &str) -> Result<Self> {
        let fs = Fs::mount(Self::device(path)?, MountOptions::default())?;
        let (dir, _) = fs.lookup(ROOT, NAME)?.context("an image without the collection")?;
        let all = Collections::new(fs.clone())?;
        let collection = all.get(dir)?;
        Ok(Self { fs, all, collection })
    }

    fn device(path: &str) -> Result<Device> {
        let backend = FileBackend::open(Path::new(path), false).with_context(|| path.to_owned())?;
        Ok(Device::from_backend(StdArc::new(backend)))
    }

    /// Inserts all rows in batches and makes them durable.
    pub fn fill(&self, table: &Table, batch: usize) -> Result<()> {
        let (mut lens, mut payloads) = (&table.payload_lens[..], &table.payloads[..]);
        let mut next = 0;
        for vectors in table.vectors.chunks(batch * table.row_bytes) {
            let count = vectors.len() / table.row_bytes;
            let ids: Vec<u64> = (next..).take(count).collect();
            next += count as u64;
            let (lens_here, rest) = lens.split_at(count.min(lens.len()));
            let bytes: usize = lens_here.iter().map(|len| *len as usize).sum();
            let (payloads_here, payloads_rest) = payloads.split_at(bytes);
            (lens, payloads) = (rest, payloads_rest);
            let batch = Batch {
                vectors,
                ids: Some(&ids),
                payload_lens: lens_here,
                payloads: payloads_here,
            };
            self.collection.insert(&batch, InsertMode::default())?;
        }
        self.fs.sync()?;
        Ok(())
    }

    pub fn close(self) -> Result<()> {
        drop(self.collection);
        drop(self.all);
        Ok(self.fs.unmount()?)
    }
}
