// SPDX-License-Identifier: GPL-2.0
//! What to do about a lack of space: dirty data has been promised the worst case, so writing it back may make room.
//!
//! As on XFS, an operation that finds none has everything written back and is tried once more. It may hold the locks of
//! files and directories meanwhile: writing back takes none of them. It must not hold folios, the invalidate lock or
//! anything of a collection.

use crate::inode::fs;
use crate::inode::Inode;
use vexfs_bindings as bindings;
use vexfs_vfs::Result;

/// Writes the filesystem's dirty data back, if that may make room. Returns whether it is worth to try again.
#[inline(never)] // own frame
pub fn make_room(inode: &Inode) -> bool {
    fs(inode).make_room(&mut || inode.super_block().write_back())
}

/// Runs `f`, and once more if it found no space but there may be some by now. `f` has done nothing when it fails.
pub fn with_room<R>(inode: &Inode, mut f: impl FnMut() -> Result<R>) -> Result<R> {
    let refusals = fs(inode).refusals();
    let mut again = false;
    loop {
        match f() {
            Err(failure)
                if !again
                    && failure.to_errno() == -(bindings::ENOSPC as i32)
                    && fs(inode).refusals() != refusals
                    && make_room(inode) =>
            {
                again = true;
            }
            done => return done,
        }
    }
}
