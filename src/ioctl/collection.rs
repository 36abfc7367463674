// SPDX-License-Identifier: GPL-2.0
//! Making, describing and removing collections.

use kernel::error::code::EINVAL;
use kernel::ffi::c_long;
use kernel::uaccess::UserPtr;
use vexfs_engine::Params;
use vexfs_host::Error;
use vexfs_uapi as uapi;
use vexfs_vfs::Inode;
use vexfs_vfs::Result;

use super::caller::Access;
use super::caller::Caller;
use super::copy;
use super::copy::Arg;
use crate::inode::ROOT;
use crate::room::with_room;
use crate::super_block::collections;
use crate::super_block::VexFs;

/// CREATE_COLLECTION.
pub fn create(caller: &Caller<'_>, arg: UserPtr) -> Result<c_long> {
    let mut arg = Arg::<uapi::CreateCollection>::read(arg)?;
    if arg.flags != 0 || arg.reserved != 0 || arg.mode & !0o7777 != 0 {
        return Err(EINVAL.into());
    }
    let params = Params::new(arg.dim, arg.element, arg.metric, arg.index)?;
    if copy::name(&arg.name)?.is_empty() && caller.named {
        return Err(EINVAL.into());
    }
    caller.check_open(Access::Write)?;
    if copy::name(&arg.name)?.is_empty() {
        // The directory itself is changed, not the one that it is in.
        caller.target(&[], Access::Write)?;
    }
    let _access = caller.file.want_write()?;
    arg.write()?;
    arg.id = match copy::name(&arg.name)? {
        [] => convert(caller, &params)?,
        name => {
            let mode = if arg.mode == 0 { 0o777 } else { arg.mode };
            caller
                .base
                .make_dir(name, mode as u16, |dir| make(dir, &params))?
                .inode()
                .ino()
        }
    };
    arg.write()?;
    Ok(0)
}

fn make(dir: &Inode<VexFs>, params: &Params) -> Result {
    let txg = with_room(dir, || Ok(collections(dir).create(dir.ino(), params)?))?;
    dir.data().note_txg(txg);
    dir.data().note_collection();
    Ok(())
}

/// Makes the directory that the file is a collection.
fn convert(caller: &Caller<'_>, params: &Params) -> Result<u64> {
    let dir = caller.base.inode();
    if dir.ino() == ROOT {
        return Err(EINVAL.into());
    }
    let _lock = dir.lock();
    if dir.nlink() == 0 {
        return Err(Error::NotFound.into());
    }
    let fs = &dir.super_block().info().fs;
    if fs.inode(dir.ino())?.is_collection() {
        return Err(Error::Exists.into());
    }
    let mut empty = true;
    fs.readdir(dir.ino(), 0, &mut |_, _, _, _| {
        empty = false;
        false
    })?;
    if !empty {
        return Err(Error::NotEmpty.into());
    }
    make(dir, params)?;
    caller.file.notify_modified();
    Ok(dir.ino())
}

/// COLLECTION_INFO.
pub fn info(caller: &Caller<'_>, arg: UserPtr) -> Result<c_long> {
    let mut arg = Arg::<uapi::CollectionInfo>::read(arg)?;
    if arg.flags != 0 {
        return Err(EINVAL.into());
    }
    let (id, info) = {
        let (target, collection) = caller.collection(copy::name(&arg.name)?, Access::Read)?;
        (target.inode().ino(), collection.info()?)
    };
    arg.id = id;
    arg.dim = info.params.dim() as u32;
    arg.element = info.params.element().code();
    arg.metric = info.params.metric().code();
    arg.index = info.index.kind().code();
    arg.rows = info.rows;
    arg.dead_rows = info.dead_rows;
    arg.next_id = info.next_id;
    arg.disk_bytes = info.disk_bytes;
    arg.memory_bytes = info.memory_bytes;
    arg.reserved = [0; 4];
    arg.write()?;
    Ok(0)
}

/// DROP_COLLECTION: rmdir, for collections only.
pub fn remove(caller: &Caller<'_>, arg: UserPtr) -> Result<c_long> {
    let arg = Arg::<uapi::DropCollection>::read(arg)?;
    let name = copy::name(&arg.name)?;
    if arg.flags != 0 || name.is_empty() {
        return Err(EINVAL.into());
    }
    caller.check_open(Access::Write)?;
    let _access = caller.file.want_write()?;
    let mut dropped = None;
    let done = caller.base.remove_dir(name, |dir| {
        if !dir.is_dir() {
            return Err(Error::NotDir.into());
        }
        if !dir.super_block().info().fs.inode(dir.ino())?.is_collection() {
            return Err(Error::NotCollection.into());
        }
        // The removal that follows is the one of rmdir(2), which leaves a collection with rows alone.
        dir.data().begin_drop();
        dropped = Some(dir.grab());
        Ok(())
    });
    if let Some(dir) = dropped {
        dir.data().end_drop();
    }
    done?;
    Ok(0)
}
