// SPDX-License-Identifier: GPL-2.0
//! Extended attributes: user, trusted and security.

use crate::control;
use crate::inode::finish;
use crate::inode::fs;
use crate::inode::Inode;
use crate::inode::Stamp;
use crate::room::with_room;
use crate::super_block::VexFs;
use vexfs_core::xattr::XattrMode;
use vexfs_host::mem::Vec;
use vexfs_host::Error;
use vexfs_vfs::xattr::may_list_trusted;
use vexfs_vfs::xattr::SetMode;
use vexfs_vfs::xattr::XattrOperations;
use vexfs_vfs::Result;

/// The attributes as the tree stores them.
pub struct TreeXattrs;

impl XattrOperations<VexFs> for TreeXattrs {
    fn get(inode: &Inode, name: &[u8], buffer: Option<&mut [u8]>) -> Result<usize> {
        if control::is_control(inode) {
            return Err(Error::NoData.into());
        }
        let mut value = Vec::new();
        fs(inode).get_xattr(inode.ino(), name, &mut value)?;
        if let Some(buffer) = buffer {
            buffer
                .get_mut(..value.len())
                .ok_or(Error::Range)?
                .copy_from_slice(&value);
        }
        Ok(value.len())
    }

    fn set(inode: &Inode, name: &[u8], value: Option<&[u8]>, mode: SetMode) -> Result {
        if control::is_control(inode) {
            return Err(Error::Permission.into());
        }
        let stamp = Stamp::new([(inode, false)]);
        let mode = match mode {
            SetMode::Any => XattrMode::Set,
            SetMode::Create => XattrMode::Create,
            SetMode::Replace => XattrMode::Replace,
        };
        let txg = with_room(inode, || {
            Ok(match value {
                Some(value) => fs(inode).set_xattr(inode.ino(), name, value, mode, stamp.now()),
                None => fs(inode).remove_xattr(inode.ino(), name, stamp.now()),
            }?)
        })?;
        stamp.keep(txg);
        finish(inode, txg)
    }
}

/// Calls `each` with the names the caller may see.
pub fn list(inode: &Inode, each: &mut dyn FnMut(&[u8]) -> Result) -> Result {
    let trusted = may_list_trusted();
    let mut result = Ok(());
    fs(inode).list_xattr(inode.ino(), &mut |name| {
        if result.is_ok() && (trusted || !name.starts_with(b"trusted.")) {
            result = each(name);
        }
    })?;
    result
}
