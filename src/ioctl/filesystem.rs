// SPDX-License-Identifier: GPL-2.0
//! What concerns a whole filesystem, asked of any of its files.

use kernel::error::code::EINVAL;
use kernel::error::code::EPERM;
use kernel::ffi::c_long;
use kernel::uaccess::UserPtr;
use kernel::uaccess::UserSlice;
use vexfs_host::Error;
use vexfs_uapi as uapi;
use vexfs_vfs::File;
use vexfs_vfs::Result;

use super::copy::Arg;
use crate::super_block::VexFs;

/// GET_STATS.
pub fn stats(file: &File<VexFs>, arg: UserPtr) -> Result<c_long> {
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
    info.counters.fill(&mut arg);
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
pub const FS_IOC_SHUTDOWN: u32 = 0x8004_587d;
/// Everything is written first.
const SHUTDOWN_DEFAULT: u32 = 0;
/// What has been changed is written first; files' data in memory is lost.
const SHUTDOWN_LOGFLUSH: u32 = 1;
/// Nothing is written any more.
const SHUTDOWN_NOLOGFLUSH: u32 = 2;

/// Stops all writing, as a power cut would: for tests, and for those who must pull a disk.
pub fn shut_down(file: &File<VexFs>, arg: UserPtr) -> Result<c_long> {
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
