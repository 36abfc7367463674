// SPDX-License-Identifier: GPL-2.0
//! The control file: `.vexfs_control` in the root directory.
//!
//! It takes the ioctls that concern the whole filesystem. It exists only in memory: looking its name up finds it,
//! listing the root does not show it, and nothing about it can be changed.

use crate::inode::Inode;
use crate::ioctl;
use crate::super_block::VexFs;
use kernel::bindings;
use kernel::prelude::vtable;
use vexfs_host::Error;
use vexfs_vfs::fileattr::FileAttr;
use vexfs_vfs::inode::Attributes;
use vexfs_vfs::inode_ops::AttributeOperations;
use vexfs_vfs::inode_ops::InodeOperations;
use vexfs_vfs::stat::KStat;
use vexfs_vfs::Attr;
use vexfs_vfs::Idmap;
use vexfs_vfs::InodeOpsTable;
use vexfs_vfs::InodeRef;
use vexfs_vfs::MovingDentry;
use vexfs_vfs::Result;
use vexfs_vfs::SuperBlock;
use vexfs_vfs::Time;

/// Its name.
pub const NAME: &[u8] = b".vexfs_control";
/// Its inode number, which the format reserves.
pub const INO: u64 = 3;

/// Whether this is the control file.
pub fn is_control(inode: &Inode) -> bool {
    inode.ino() == INO
}

/// Whether `name` in `dir` is taken by the control file.
pub fn is_name(dir: &Inode, name: &[u8]) -> bool {
    dir.ino() == crate::inode::ROOT && name == NAME
}

/// The control file's inode.
pub fn get(sb: &SuperBlock<VexFs>) -> Result<InodeRef<VexFs>> {
    sb.iget(INO, |new| {
        new.set_attributes(&Attributes {
            mode: (bindings::S_IFREG | 0o666) as u16,
            uid: 0,
            gid: 0,
            atime: Time::EPOCH,
            mtime: Time::EPOCH,
            ctime: Time::EPOCH,
        });
        let keep = bindings::S_NOATIME | bindings::S_NOCMTIME;
        new.set_flags(keep, keep);
        new.set_ops(InodeOpsTable::of::<ControlInode>());
        new.set_file_ops(ioctl::control_file_ops());
        Ok(())
    })
}

/// The kind of inode the control file is.
struct ControlInode;

#[vtable]
impl InodeOperations<VexFs> for ControlInode {
    type Attributes = Self;
}

impl AttributeOperations<VexFs> for ControlInode {
    fn setattr(_: Idmap<'_>, _: &MovingDentry<VexFs>, _: &Inode, _: &mut Attr) -> Result {
        Err(Error::Permission.into())
    }

    fn getattr(idmap: Idmap<'_>, inode: &Inode, stat: &mut KStat, request_mask: u32) -> Result {
        stat.fill(idmap, request_mask, inode);
        Ok(())
    }

    fn try_store_atime(_: &Inode) -> bool {
        // Nothing of it is stored.
        true
    }

    fn listxattr(_: &Inode, _: &mut dyn FnMut(&[u8]) -> Result) -> Result {
        Ok(())
    }

    fn fileattr_get(_: &Inode, attr: &mut FileAttr) -> Result {
        attr.fill(0);
        Ok(())
    }

    fn fileattr_set(_: &Inode, _: &FileAttr) -> Result {
        Err(Error::Permission.into())
    }
}
