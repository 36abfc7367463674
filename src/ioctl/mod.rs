// SPDX-License-Identifier: GPL-2.0
//! Ioctls: who answers which, on what, and who may call it.
//!
//! Every collection call names a directory: the file descriptor's own, or a name in it (on the control file: in the
//! root). It is looked up as a system call would, so that permissions, security modules and idmapped mounts count.
//! Searching and reading need read permission on the directory, changing needs write permission. A directory can only
//! be opened for reading, so its permission is asked at each call; the control file must be opened for what is done
//! through it.

mod caller;
mod collection;
mod copy;
mod counters;
mod filesystem;
mod index;
mod rows;
mod search;

pub use counters::Counters;

use kernel::error::code::ENOTTY;
use kernel::ffi::c_long;
use kernel::uaccess::UserPtr;
use vexfs_uapi as uapi;
use vexfs_vfs::file_ops;
use vexfs_vfs::ioctl::IoctlOperations;
use vexfs_vfs::File;
use vexfs_vfs::FileOpsTable;
use vexfs_vfs::Inode;
use vexfs_vfs::Result;

use crate::super_block::collections;
use crate::super_block::VexFs;
use caller::Caller;

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
        uapi::VEXFS_NR_CREATE_COLLECTION => collection::create(caller, arg),
        uapi::VEXFS_NR_COLLECTION_INFO => collection::info(caller, arg),
        uapi::VEXFS_NR_DROP_COLLECTION => collection::remove(caller, arg),
        uapi::VEXFS_NR_INSERT_VECTORS => rows::insert(caller, arg),
        uapi::VEXFS_NR_GET_VECTORS => rows::get(caller, arg),
        uapi::VEXFS_NR_DELETE_VECTORS => rows::delete(caller, arg),
        uapi::VEXFS_NR_SEARCH_VECTORS => search::search(caller, arg),
        uapi::VEXFS_NR_EXPLAIN => search::explain(caller, arg),
        uapi::VEXFS_NR_BUILD_INDEX => index::build(caller, arg),
        uapi::VEXFS_NR_GET_VECTOR_STATS => index::stats(caller, arg),
        _ => any_file(caller.file, cmd, arg),
    }
}

/// What every file of the filesystem answers.
pub fn any_file(file: &File<VexFs>, cmd: u32, arg: UserPtr) -> Result<c_long> {
    if uapi::vexfs_nr(cmd) == Some(uapi::VEXFS_NR_GET_STATS) {
        return filesystem::stats(file, arg);
    }
    match cmd {
        filesystem::FS_IOC_SHUTDOWN => filesystem::shut_down(file, arg),
        _ => Err(ENOTTY.into()),
    }
}

/// Lets go of the collection of a directory that leaves memory.
pub fn collection_evict(inode: &Inode<VexFs>) {
    collections(inode).forget(inode.ino());
}
