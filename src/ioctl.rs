// SPDX-License-Identifier: GPL-2.0
//! Ioctls: who answers which, on what, and who may call it.
//!
//! Every collection call names a directory: the file descriptor's own, or a name in it (on the control file: in the root).
//! It is looked up as a system call would, so that permissions, security modules and idmapped mounts count. Searching and
//! reading need read permission on the directory, changing needs write permission. A directory can only be opened for
//! reading, so its permission is asked at each call; the control file must be opened for what is done through it.

use kernel::error::code::EBADF;
use kernel::error::code::EINVAL;
use kernel::error::code::ENOTTY;
use kernel::error::code::EPERM;
use kernel::ffi::c_long;
use kernel::uaccess::UserPtr;
use kernel::uaccess::UserSlice;
use vexfs_bindings as bindings;
use vexfs_engine::Collection;
use vexfs_engine::Collections;
use vexfs_host::sync::Arc;
use vexfs_host::Error;
use vexfs_uapi as uapi;
use vexfs_vfs::file_ops;
use vexfs_vfs::ioctl::IoctlOperations;
use vexfs_vfs::lookup::Base;
use vexfs_vfs::lookup::Opened;
use vexfs_vfs::File;
use vexfs_vfs::FileOpsTable;
use vexfs_vfs::Inode;
use vexfs_vfs::Result;

use crate::ioctl_arg::Arg;
use crate::ioctl_collection;
use crate::ioctl_explain;
use crate::ioctl_index;
use crate::ioctl_rows;
use crate::ioctl_search;
use crate::super_block::VexFs;

/// The control file's operations.
pub fn control_file_ops() -> FileOpsTable<VexFs> {
    file_ops::ioctl_table::<VexFs, ControlIoctl>()
}

/// The control file.
pub struct ControlIoctl;

impl IoctlOperations<VexFs> for ControlIoctl {
    fn ioctl(file: &File<VexFs>, cmd: u32, arg: UserPtr) -> Result<c_long> {
        let caller = Caller {
            file,
            base: file.root_base(),
            named: true,
        };
        collection_call(&caller, cmd, arg)
    }
}

/// Directories.
pub struct DirIoctl;

impl IoctlOperations<VexFs> for DirIoctl {
    fn ioctl(file: &File<VexFs>, cmd: u32, arg: UserPtr) -> Result<c_long> {
        let caller = Caller {
            file,
            base: file.as_base(),
            named: false,
        };
        collection_call(&caller, cmd, arg)
    }
}

fn collection_call(caller: &Caller<'_>, cmd: u32, arg: UserPtr) -> Result<c_long> {
    let Some(nr) = uapi::vexfs_nr(cmd) else {
        return any_file(caller.file, cmd, arg);
    };
    match nr {
        uapi::VEXFS_NR_CREATE_COLLECTION => ioctl_collection::create(caller, arg),
        uapi::VEXFS_NR_COLLECTION_INFO => ioctl_collection::info(caller, arg),
        uapi::VEXFS_NR_DROP_COLLECTION => ioctl_collection::remove(caller, arg),
        uapi::VEXFS_NR_INSERT_VECTORS => ioctl_rows::insert(caller, arg),
        uapi::VEXFS_NR_GET_VECTORS => ioctl_rows::get(caller, arg),
        uapi::VEXFS_NR_DELETE_VECTORS => ioctl_rows::delete(caller, arg),
        uapi::VEXFS_NR_SEARCH_VECTORS => ioctl_search::search(caller, arg),
        uapi::VEXFS_NR_EXPLAIN => ioctl_explain::explain(caller, arg),
        uapi::VEXFS_NR_BUILD_INDEX => ioctl_index::build(caller, arg),
        uapi::VEXFS_NR_GET_VECTOR_STATS => ioctl_index::stats(caller, arg),
        _ => any_file(caller.file, cmd, arg),
    }
}

/// What every file of the filesystem answers.
pub fn any_file(file: &File<VexFs>, cmd: u32, arg: UserPtr) -> Result<c_long> {
    if uapi::vexfs_nr(cmd) == Some(uapi::VEXFS_NR_GET_STATS) {
        return get_stats(file, arg);
    }
    match cmd {
        FS_IOC_SHUTDOWN => shut_down(file, arg),
        _ => Err(ENOTTY.into()),
    }
}

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

/// The collections of the filesystem an inode is on.
pub fn collections<'a>(inode: &'a Inode<VexFs>) -> &'a Collections {
    &inode.super_block().info().collections
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

    /// Whether rows may go from a collection that the caller may change: from a directory with the append-only flag nothing
    /// goes.
    pub fn check_removal(&self, dir: &Inode<VexFs>) -> Result {
        if dir.flags() & kernel::bindings::S_APPEND != 0 {
            return Err(EPERM.into());
        }
        Ok(())
    }

    /// Waits until transaction group `txg` is on stable storage.
    pub fn sync(&self, txg: u64) -> Result {
        Ok(self.file.inode().super_block().info().fs.sync_txg(txg)?)
    }
}

/// Lets go of the collection of a directory that leaves memory.
pub fn collection_evict(inode: &Inode<VexFs>) {
    collections(inode).forget(inode.ino());
}

fn get_stats(file: &File<VexFs>, arg: UserPtr) -> Result<c_long> {
    let mut arg = Arg::<uapi::GetStats>::read(arg)?;
    if arg.flags != 0 {
        return Err(EINVAL.into());
    }
    let info = file.inode().super_block().info();
    let (fs, collections) = (&info.fs, &info.collections);
    let space = fs.statfs();
    let counters = fs.counters();
    arg.state = 0;
    if fs.is_read_only() {
        arg.state |= uapi::VEXFS_STATE_READ_ONLY;
    }
    if fs.abort_reason().is_some() {
        arg.state |= uapi::VEXFS_STATE_ABORTED;
    }
    arg.block_size = fs.block_size();
    arg.uuid = *fs.uuid();
    fill_text(&mut arg.label, fs.label());
    fill_text(&mut arg.simd, collections.kernels().as_bytes());
    arg.blocks = space.blocks;
    arg.free_blocks = space.free;
    arg.inodes = space.inodes;
    arg.txg = counters.open_txg;
    arg.commits = counters.commits;
    arg.cached_nodes = counters.cached_nodes;
    arg.vector_bytes = collections.memory_bytes();
    arg.collections_loaded = collections.in_use()?.len() as u64;
    info.vectors.fill(&mut arg);
    arg.reserved = [0; 8];
    arg.write()?;
    Ok(0)
}

/// Puts `text` into a NUL-terminated array.
fn fill_text(to: &mut [u8], text: &[u8]) {
    to.fill(0);
    let room = to.len().saturating_sub(1);
    for (to, from) in to.iter_mut().zip(text).take(room) {
        *to = *from;
    }
}

/// `_IOR('X', 125, __u32)`, of XFS first and of many filesystems since.
const FS_IOC_SHUTDOWN: u32 = 0x8004_587d;
/// Everything is written first.
const SHUTDOWN_DEFAULT: u32 = 0;
/// What has been changed is written first; files' data in memory is lost.
const SHUTDOWN_LOGFLUSH: u32 = 1;
/// Nothing is written any more.
const SHUTDOWN_NOLOGFLUSH: u32 = 2;

/// Stops all writing, as a power cut would: for tests, and for those who must pull a disk.
fn shut_down(file: &File<VexFs>, arg: UserPtr) -> Result<c_long> {
    if !vexfs_vfs::ioctl::is_admin() {
        return Err(EPERM.into());
    }
    let mut how = [0u8; 4];
    UserSlice::new(arg, how.len()).reader().read_slice(&mut how)?;
    let sb = file.inode().super_block();
    let fs = &sb.info().fs;
    match u32::from_ne_bytes(how) {
        SHUTDOWN_DEFAULT => sb.sync_all()?,
        SHUTDOWN_LOGFLUSH => fs.sync()?,
        SHUTDOWN_NOLOGFLUSH => {}
        _ => return Err(EINVAL.into()),
    }
    fs.abort(Error::Shutdown);
    Ok(0)
}
