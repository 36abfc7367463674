// SPDX-License-Identifier: GPL-2.0
//! Symbolic links. The target is read with the inode and stays in memory with it.

use crate::inode::fs;
use crate::inode::TreeAttributes;
use crate::super_block::VexFs;
use kernel::prelude::vtable;
use vexfs_host::mem::Vec;
use vexfs_host::Error;
use vexfs_vfs::inode_ops::InodeOperations;
use vexfs_vfs::InodeOpsTable;
use vexfs_vfs::NewInode;
use vexfs_vfs::Result;

/// Sets a new inode up as a symlink.
pub fn init_inode(new: &NewInode<VexFs>) -> Result {
    new.set_ops(InodeOpsTable::of::<Symlink>());
    if new.has_link() {
        return Ok(());
    }
    let mut target = Vec::new();
    fs(new).read_link(new.ino(), &mut target)?;
    if target.is_empty() || target.contains(&0) {
        return Err(Error::corrupt("target of a symbolic link", u64::MAX, new.ino()).into());
    }
    new.set_link(&target)
}

struct Symlink;

#[vtable]
impl InodeOperations<VexFs> for Symlink {
    type Attributes = TreeAttributes;

    const IS_SYMLINK: bool = true;
}
