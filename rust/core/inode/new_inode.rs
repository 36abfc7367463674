// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What a new inode is to be.

use super::Time;
use crate::format::items::is_valid_type;
use crate::format::items::mode;
use crate::format::items::SYMLINK_MAX;
use vexfs_host::Error;
use vexfs_host::Result;

/// What a new inode is to be.
#[derive(Clone, Copy)]
pub struct NewInode<'a> {
    /// Type and permission bits; the type bits say what is made.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device node, otherwise 0.
    pub rdev: u32,
    /// Target of a symbolic link, `None` for anything else.
    pub target: Option<&'a [u8]>,
    /// The time for all four timestamps.
    pub now: Time,
    /// Extended attributes to start with: full names and values.
    pub xattrs: &'a [(&'a [u8], &'a [u8])],
}

impl NewInode<'_> {
    pub(crate) fn validate(&self) -> Result<()> {
        if !is_valid_type(self.mode) {
            return Err(Error::Invalid("unknown file type"));
        }
        let is_link = self.mode & mode::S_IFMT == mode::S_IFLNK;
        match self.target {
            Some(_) if !is_link => Err(Error::Invalid("a target for something that is no symbolic link")),
            None if is_link => Err(Error::Invalid("symbolic link without a target")),
            Some([]) => Err(Error::NotFound),
            Some(t) if t.len() > SYMLINK_MAX => Err(Error::NameTooLong),
            Some(t) if t.contains(&0) => Err(Error::Invalid("zero byte in a symbolic link's target")),
            _ => Ok(()),
        }
    }
}
