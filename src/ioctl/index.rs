// SPDX-License-Identifier: GPL-2.0
//! Building indexes, and saying what a collection consists of.

use kernel::error::code::EINVAL;
use kernel::ffi::c_long;
use kernel::uaccess::UserPtr;
use vexfs_engine::IndexParams;
use vexfs_engine::Work;
use vexfs_host::Error;
use vexfs_uapi as uapi;
use vexfs_vfs::Result;
use zerocopy::FromZeros;

use super::caller::Access;
use super::caller::Caller;
use super::caller::Writes;
use super::copy;
use super::copy::Arg;

/// Threads that build: the caller's own.
const THREADS: usize = 1;

/// BUILD_INDEX. The caller's thread does the work; a fatal signal ends it between two steps. While it computes, the
/// filesystem can be frozen, or become read-only, which ends the build.
pub fn build(caller: &Caller<'_>, arg: UserPtr) -> Result<c_long> {
    let mut arg = Arg::<uapi::BuildIndex>::read(arg)?;
    if arg.flags & !uapi::VEXFS_BUILD_WAIT != 0 || arg.reserved != 0 {
        return Err(EINVAL.into());
    }
    let params = match arg.action {
        uapi::VEXFS_BUILD_SET => Some(IndexParams::new(&arg.params)?),
        _ if arg.params != uapi::IndexParams::new_zeroed() => return Err(EINVAL.into()),
        _ => None,
    };
    if arg.flags & uapi::VEXFS_BUILD_WAIT == 0 {
        return Err(Error::Unsupported("building in the background").into());
    }
    let (target, collection) = caller.collection(copy::name(&arg.name)?, Access::Write)?;
    // A mount that takes no changes is no reason to compute first.
    drop(caller.file.want_write()?);
    arg.write()?;
    let writes = Writes::through(caller.file);
    let work = Work {
        threads: THREADS,
        progress: &|_, _| {},
        permit: &writes,
    };
    let txg = match (arg.action, params) {
        (uapi::VEXFS_BUILD_SET, Some(params)) => Some(collection.build_index_with(&params, &work)?),
        (uapi::VEXFS_BUILD_DROP, _) => Some(collection.drop_index_with(&writes)?),
        (uapi::VEXFS_BUILD_OPTIMIZE, _) => Some(collection.optimize_with(&work)?),
        (uapi::VEXFS_BUILD_MAINTAIN, _) => {
            while collection.maintain_with(&work)? {}
            None
        }
        _ => return Err(EINVAL.into()),
    };
    // After maintenance the rows are the same: there is nothing an fsync would have to wait for.
    if let Some(txg) = txg {
        target.inode().data().note_txg(txg);
    }
    let info = collection.info()?;
    arg.indexed_rows = info.indexed_rows;
    arg.segments = info.segments;
    arg.write()?;
    Ok(0)
}

/// GET_VECTOR_STATS.
pub fn stats(caller: &Caller<'_>, arg: UserPtr) -> Result<c_long> {
    let mut arg = Arg::<uapi::GetVectorStats>::read(arg)?;
    if arg.flags != 0 {
        return Err(EINVAL.into());
    }
    let (_target, collection) = caller.collection(copy::name(&arg.name)?, Access::Read)?;
    let info = collection.info()?;
    arg.index = *info.index.raw();
    arg.rows = info.rows;
    arg.dead_rows = info.dead_rows;
    arg.tail_rows = info.tail_rows;
    arg.indexed_rows = info.indexed_rows;
    arg.segments = info.segments;
    arg.tail_bytes = info.tail_bytes;
    arg.segment_bytes = info.segment_bytes;
    arg.vector_bytes = info.vector_bytes;
    arg.index_bytes = info.index_bytes;
    arg.payload_bytes = info.payload_bytes;
    arg.field_bytes = info.field_bytes;
    arg.memory_bytes = info.memory_bytes;
    arg.build_done = info.build_done;
    arg.build_total = info.build_total;
    arg.reserved = [0; 8];
    arg.write()?;
    Ok(0)
}
