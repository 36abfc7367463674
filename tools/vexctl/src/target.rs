// SPDX-License-Identifier: Apache-2.0
//! What a command works on: an image, or what is mounted where its paths lead.

use std::path::Path;
use std::path::PathBuf;

use anyhow::Result;
use vexfs::Collection;
use vexfs::CollectionInfo;
use vexfs::ErrorKind;
use vexfs::OpenOptions;
use vexfs::Vexfs;

use crate::error::During;
use crate::error::SysError;
use crate::error::Usage;

/// An image that is open, or all that is mounted.
pub struct Target {
    image: Option<(PathBuf, Vexfs)>,
}

/// An open collection, and how the user calls it.
pub struct Open {
    pub collection: Collection,
    pub path: PathBuf,
}

impl Open {
    /// An error of a call on it.
    pub fn error(&self, verb: &'static str) -> impl Fn(vexfs::Error) -> SysError + '_ {
        move |e| SysError::of(verb, &self.path, e)
    }
}

impl Target {
    /// Opens the image, if there is one, for writing when `write`.
    pub fn open(image: Option<&Path>, write: bool) -> Result<Self> {
        let open = |path: &Path| -> Result<_> {
            let fs = OpenOptions::new().read_only(!write).open(path).during("open", path)?;
            Ok((path.to_path_buf(), fs))
        };
        Ok(Self {
            image: image.map(open).transpose()?,
        })
    }

    /// The path of the image, if there is one.
    pub fn image(&self) -> Option<&Path> {
        self.image.as_ref().map(|(path, _)| path.as_path())
    }

    /// Where to look when no path is given.
    pub fn roots(&self) -> Result<Vec<PathBuf>> {
        match &self.image {
            Some(_) => Ok(vec!["/".into()]),
            None => Ok(vexfs::mounts()?.into_iter().map(|mount| mount.path).collect()),
        }
    }

    /// The filesystem that a path is on.
    pub fn filesystem(&self, path: &Path) -> vexfs::Result<Vexfs> {
        match &self.image {
            Some((_, fs)) => Ok(fs.clone()),
            None if path.is_file() => Vexfs::mounted(parent_of(path)),
            None => Vexfs::mounted(path),
        }
    }

    /// The filesystem that a new or a dropped collection's parent is on, and the collection's path there.
    pub fn place(&self, path: &Path, verb: &'static str) -> Result<(Vexfs, PathBuf)> {
        if let Some((_, fs)) = &self.image {
            return Ok((fs.clone(), path.to_path_buf()));
        }
        let Some(name) = path.file_name() else {
            return Err(Usage(format!("{} does not end in a name", path.display())).into());
        };
        let fs = Vexfs::mounted(parent_of(path)).during(verb, path)?;
        Ok((fs, name.into()))
    }

    /// Opens a collection.
    pub fn collection(&self, path: &Path) -> Result<Open> {
        let collection = match &self.image {
            Some((_, fs)) => fs.collection(path),
            None => Collection::open(path),
        };
        Ok(Open {
            collection: collection.during("open", path)?,
            path: path.to_path_buf(),
        })
    }

    /// The collections directly in a directory, or with `recursive` below it, sorted by path.
    pub fn list(&self, dir: &Path, recursive: bool) -> Result<Vec<(PathBuf, CollectionInfo)>> {
        if let Some((_, fs)) = &self.image {
            return Ok(fs.collections(dir, recursive).during("list", dir)?);
        }
        let found = match Vexfs::mounted(dir) {
            // Elsewhere there are none.
            Err(e) if e.kind() == ErrorKind::NotMounted => Ok(Vec::new()),
            fs => fs.and_then(|fs| fs.collections("", recursive)),
        };
        let found = found.during("list", dir)?;
        Ok(found.into_iter().map(|(path, info)| (dir.join(path), info)).collect())
    }

    /// Writes what is still to be written. Called once, after the last command.
    pub fn finish(self) -> Result<()> {
        match self.image {
            Some((path, fs)) => Ok(fs.close().during("write", &path)?),
            None => Ok(()),
        }
    }
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}
