// SPDX-License-Identifier: Apache-2.0
//! A filesystem in memory, mounted in this process, seen by paths.

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use vexfs_core::check::check;
use vexfs_core::mount::MountOptions;
use vexfs_core::Fs;
use vexfs_engine::Collections;
use vexfs_host::device::Device;
use vexfs_host::device::RamBackend;

/// The root directory.
const ROOT: u64 = 2;

/// A mounted filesystem in memory.
pub struct Image {
    ram: Arc<RamBackend>,
    fs: vexfs_host::sync::Arc<Fs>,
    collections: Collections,
}

impl Image {
    /// Runs the consistency check over `partition`.
    ///
    /// # Errors
    ///
    /// Lists what is wrong.
    pub fn check(partition: &RamBackend) -> Result<()> {
        let device = Device::from_backend(Arc::new(partition.duplicate()));
        let report = check(&device)?;
        if !report.is_clean() {
            let problems: Vec<String> = report.problems.iter().take(10).map(|p| p.to_string()).collect();
            bail!("{} problems: {}", report.problems.len(), problems.join("; "));
        }
        Ok(())
    }

    /// Mounts `partition` for reading and writing.
    pub fn mount(partition: RamBackend) -> Result<Self> {
        let ram = Arc::new(partition);
        let fs = Fs::mount(Device::from_backend(ram.clone()), MountOptions::default())?;
        let collections = Collections::new(fs.clone())?;
        Ok(Image { ram, fs, collections })
    }

    /// Unmounts and gives the partition back.
    pub fn unmount(self) -> Result<RamBackend> {
        drop(self.collections);
        self.fs.unmount()?;
        Ok(self.ram.duplicate())
    }

    fn find(&self, path: &str) -> Result<Option<u64>> {
        let mut ino = ROOT;
        for name in path.split('/') {
            match self.fs.lookup(ino, name.as_bytes())? {
                Some((next, _)) => ino = next,
                None => return Ok(None),
            }
        }
        Ok(Some(ino))
    }

    /// The content of a file, `None` if there is no such name.
    pub fn read_file(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let Some(ino) = self.find(path)? else { return Ok(None) };
        let size = usize::try_from(self.fs.inode(ino)?.size)?;
        let mut content = vec![0; size];
        let mut done = 0;
        while done < size {
            let n = self.fs.read(ino, done as u64, &mut content[done..])?;
            if n == 0 {
                bail!("{path}: {done} of {size} bytes can be read");
            }
            done += n;
        }
        Ok(Some(content))
    }

    /// The names in a folder.
    pub fn names(&self, path: &str) -> Result<BTreeSet<String>> {
        let ino = self.find(path)?.with_context(|| format!("{path}: no such folder"))?;
        let mut names = BTreeSet::new();
        self.fs.readdir(ino, 0, &mut |_, name, _, _| {
            names.insert(String::from_utf8_lossy(name).into_owned());
            true
        })?;
        Ok(names)
    }

    fn collection(&self, path: &str) -> Result<vexfs_host::sync::Arc<vexfs_engine::Collection>> {
        let ino = self
            .find(path)?
            .with_context(|| format!("{path}: no such collection"))?;
        Ok(self.collections.get(ino)?)
    }

    /// The vectors of the rows among `ids` that collection `path` has.
    pub fn rows(&self, path: &str, ids: &[u64]) -> Result<BTreeMap<u64, Vec<f32>>> {
        let collection = self.collection(path)?;
        let got = collection.get(ids)?;
        let mut vector = vec![0; collection.params().row_bytes()];
        let mut rows = BTreeMap::new();
        for row in got.rows.iter().flatten() {
            got.contents.vector(row, &mut vector)?;
            let floats = vector
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            rows.insert(row.id, floats.collect());
        }
        Ok(rows)
    }

    /// How many rows collection `path` has.
    pub fn row_count(&self, path: &str) -> Result<u64> {
        Ok(self.collection(path)?.info()?.rows)
    }
}
