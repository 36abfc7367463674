// SPDX-License-Identifier: GPL-2.0
//! Who calls, on which collection, and whether that is allowed.

use core::cell::RefCell;

use kernel::error::code::EBADF;
use kernel::error::code::EINVAL;
use kernel::error::code::EPERM;
use vexfs_bindings as bindings;
use vexfs_engine::Collection;
use vexfs_engine::Permit;
use vexfs_host::mem::Vec;
use vexfs_host::sync::Arc;
use vexfs_host::Error;
use vexfs_vfs::ioctl::WriteAccess;
use vexfs_vfs::lookup::Base;
use vexfs_vfs::lookup::Opened;
use vexfs_vfs::File;
use vexfs_vfs::Inode;
use vexfs_vfs::Result;

use super::counters::Counters;
use crate::super_block::collections;
use crate::super_block::VexFs;

/// What a call is to be allowed to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Look at rows.
    Read,
    /// Change them.
    Write,
}

/// Who calls, and where its names are looked up.
pub struct Caller<'a> {
    /// The open file.
    pub file: &'a File<VexFs>,
    /// Where names are looked up.
    pub base: Base<'a, VexFs>,
    /// Whether a name must be given: the base itself is not meant.
    pub named: bool,
}

/// The directory a call is about.
pub enum Target<'a> {
    /// The one that the caller has opened.
    Base(&'a File<VexFs>),
    /// A directory in the base.
    Child(Opened<VexFs>),
}

impl Target<'_> {
    /// It, open.
    pub fn file(&self) -> &File<VexFs> {
        match self {
            Target::Base(file) => file,
            Target::Child(file) => file,
        }
    }

    /// Its inode.
    pub fn inode(&self) -> &Inode<VexFs> {
        self.file().inode()
    }
}

impl Caller<'_> {
    /// Whether the file was opened for what is to be done. Directories cannot be opened for writing.
    pub fn check_open(&self, access: Access) -> Result {
        let open = match access {
            Access::Read => self.file.is_readable(),
            Access::Write => !self.named || self.file.is_writable(),
        };
        if open {
            Ok(())
        } else {
            Err(EBADF.into())
        }
    }

    /// Whether the caller may do this to a directory.
    pub fn check_permission(&self, inode: &Inode<VexFs>, access: Access) -> Result {
        let mask = match access {
            Access::Read => bindings::MAY_READ,
            Access::Write => bindings::MAY_WRITE,
        };
        self.file.permission(inode, mask)
    }

    /// The directory that `name` means, if the caller may do this to it.
    pub fn target(&self, name: &[u8], access: Access) -> Result<Target<'_>> {
        self.check_open(access)?;
        let target = if !name.is_empty() {
            let found = self.base.find(name)?;
            self.check_dir(found.inode(), access)?;
            Target::Child(self.file.open_found(&found)?)
        } else if self.named {
            return Err(EINVAL.into());
        } else {
            self.check_dir(self.base.inode(), access)?;
            Target::Base(self.file)
        };
        target.file().verify(access == Access::Write)?;
        Ok(target)
    }

    /// Whether this is a directory and the caller may do this to it.
    fn check_dir(&self, dir: &Inode<VexFs>, access: Access) -> Result {
        if !dir.is_dir() {
            return Err(Error::NotDir.into());
        }
        if dir.nlink() == 0 {
            // Removed, but still open here.
            return Err(Error::NotFound.into());
        }
        self.check_permission(dir, access)
    }

    /// The collection that `name` means, if the caller may do this to it.
    pub fn collection(&self, name: &[u8], access: Access) -> Result<(Target<'_>, Arc<Collection>)> {
        let target = self.target(name, access)?;
        let collection = collections(target.inode()).get(target.inode().ino())?;
        Ok((target, collection))
    }

    /// Whether rows may go from a collection that the caller may change: from a directory with the append-only flag
    /// nothing goes.
    pub fn check_removal(&self, dir: &Inode<VexFs>) -> Result {
        if dir.flags() & kernel::bindings::S_APPEND != 0 {
            return Err(EPERM.into());
        }
        Ok(())
    }

    /// The counters of the mount.
    pub fn counters(&self) -> &Counters {
        &self.file.inode().super_block().info().counters
    }

    /// Waits until transaction group `txg` is on stable storage.
    pub fn sync(&self, txg: u64) -> Result {
        Ok(self.file.inode().super_block().info().fs.sync_txg(txg)?)
    }
}

/// The right to change the filesystem through an open file, taken and given back by the engine: a freeze waits for
/// those who have it, so it is not for work that takes long.
pub struct Writes<'a> {
    file: &'a File<VexFs>,
    held: RefCell<Vec<WriteAccess<'a, VexFs>>>,
}

impl<'a> Writes<'a> {
    /// By this file.
    pub fn through(file: &'a File<VexFs>) -> Self {
        Self {
            file,
            held: RefCell::new(Vec::new()),
        }
    }
}

impl Permit for Writes<'_> {
    fn take(&self) -> vexfs_host::Result {
        let access = self.file.want_write().map_err(|_| Error::ReadOnly)?;
        self.held.try_borrow_mut().map_err(|_| Error::Busy)?.push(access)
    }

    fn give_back(&self) {
        if let Ok(mut held) = self.held.try_borrow_mut() {
            held.pop();
        }
    }
}
