// SPDX-License-Identifier: GPL-2.0
//! Inserting, reading and deleting rows.

use kernel::error::code::E2BIG;
use kernel::error::code::EINVAL;
use kernel::error::code::ERANGE;
use kernel::ffi::c_long;
use kernel::uaccess::UserPtr;
use vexfs_engine::Batch;
use vexfs_engine::InsertMode;
use vexfs_host::mem::Vec;
use vexfs_host::relax;
use vexfs_uapi as uapi;
use vexfs_vfs::Result;
use zerocopy::IntoBytes;

use super::caller::Access;
use super::caller::Caller;
use super::caller::Writes;
use super::copy;
use super::copy::check_count;
use super::copy::check_vectors;
use super::copy::fit_payloads;
use super::copy::read_array;
use super::copy::read_vectors;
use super::copy::row_flags;
use super::copy::Arg;
use super::copy::Output;
use super::copy::PayloadOutput;
use super::copy::VectorOutput;
use crate::inode;
use crate::room::with_room;

const INSERT_FLAGS: u32 = uapi::VEXFS_INSERT_SYNC | uapi::VEXFS_INSERT_UPSERT | uapi::VEXFS_INSERT_NORMALIZE;

/// INSERT_VECTORS.
pub fn insert(caller: &Caller<'_>, arg: UserPtr) -> Result<c_long> {
    let mut arg = Arg::<uapi::InsertVectors>::read(arg)?;
    if arg.flags & !INSERT_FLAGS != 0 || arg.reserved != 0 {
        return Err(EINVAL.into());
    }
    let count = check_count(arg.count, uapi::VEXFS_BATCH_ROWS_MAX)?;
    let (target, collection) = caller.collection(copy::name(&arg.name)?, Access::Write)?;
    if arg.flags & uapi::VEXFS_INSERT_UPSERT != 0 {
        caller.check_removal(target.inode())?;
    }
    let params = collection.params();
    check_vectors(arg.dim, arg.element, &params)?;
    let bytes = (count as u64)
        .saturating_mul(params.row_bytes() as u64)
        .saturating_add(arg.payload_bytes);
    if bytes > u64::from(uapi::VEXFS_BATCH_BYTES_MAX) {
        return Err(E2BIG.into());
    }
    if (arg.payload_lens == 0 || arg.payloads == 0) && arg.payload_bytes != 0 {
        return Err(EINVAL.into());
    }
    let vectors = read_vectors(arg.vectors, count, &params, arg.stride)?;
    let ids: Option<Vec<u64>> = match arg.ids {
        0 => None,
        addr => Some(read_array(addr, count)?),
    };
    let lens: Vec<u32> = match arg.payload_lens {
        0 => Vec::new(),
        addr => read_array(addr, count)?,
    };
    let payloads: Vec<u8> = match arg.payload_bytes {
        0 => Vec::new(),
        bytes => read_array(arg.payloads, bytes as usize)?,
    };
    let batch = Batch {
        vectors: &vectors,
        ids: ids.as_deref(),
        payload_lens: &lens,
        payloads: &payloads,
    };
    let mode = InsertMode {
        upsert: arg.flags & uapi::VEXFS_INSERT_UPSERT != 0,
        normalize: arg.flags & uapi::VEXFS_INSERT_NORMALIZE != 0,
    };
    arg.write()?;
    let inserted = with_room(target.inode(), || {
        Ok(collection.insert_with(&batch, mode, &Writes::through(caller.file))?)
    })?;
    caller.counters().inserted(inserted.count as u64);
    target.inode().data().note_txg(inserted.txg);
    // The rows are there by now: if their time cannot be stored any more, that is no error.
    if let Ok(_access) = caller.file.want_write() {
        inode::touch(target.inode());
    }
    target.file().notify_modified();
    if arg.flags & uapi::VEXFS_INSERT_SYNC != 0 {
        caller.sync(inserted.txg)?;
    }
    arg.first_id = inserted.first_id;
    arg.inserted = inserted.count as u32;
    arg.replaced = inserted.replaced as u32;
    arg.write()?;
    Ok(0)
}

/// DELETE_VECTORS.
pub fn delete(caller: &Caller<'_>, arg: UserPtr) -> Result<c_long> {
    let mut arg = Arg::<uapi::DeleteVectors>::read(arg)?;
    if arg.flags & !uapi::VEXFS_DELETE_SYNC != 0 {
        return Err(EINVAL.into());
    }
    let count = check_count(arg.count, uapi::VEXFS_BATCH_ROWS_MAX)?;
    let (target, collection) = caller.collection(copy::name(&arg.name)?, Access::Write)?;
    caller.check_removal(target.inode())?;
    let ids: Vec<u64> = read_array(arg.ids, count)?;
    let _access = caller.file.want_write()?;
    arg.write()?;
    let deleted = collection.delete(&ids)?;
    caller.counters().deleted(deleted.count as u64);
    target.inode().data().note_txg(deleted.txg);
    if deleted.count > 0 {
        inode::touch(target.inode());
        target.file().notify_modified();
    }
    if arg.flags & uapi::VEXFS_DELETE_SYNC != 0 {
        caller.sync(deleted.txg)?;
    }
    arg.deleted = deleted.count as u32;
    arg.write()?;
    Ok(0)
}

/// GET_VECTORS.
pub fn get(caller: &Caller<'_>, arg: UserPtr) -> Result<c_long> {
    let mut arg = Arg::<uapi::GetVectors>::read(arg)?;
    if arg.flags != 0 || arg.reserved != 0 {
        return Err(EINVAL.into());
    }
    let count = check_count(arg.count, uapi::VEXFS_BATCH_ROWS_MAX)?;
    let (_target, collection) = caller.collection(copy::name(&arg.name)?, Access::Read)?;
    let params = collection.params();
    let dim_fits = arg.dim as usize == params.dim() || arg.dim == 0 && arg.vectors == 0;
    if !dim_fits {
        return Err(EINVAL.into());
    }
    let vector_bytes = params.row_bytes();
    if arg.vectors != 0 && arg.vectors_bytes < (count * vector_bytes) as u64 {
        return Err(ERANGE.into());
    }
    let rows_out = Output::new(arg.rows, count * size_of::<uapi::Row>(), align_of::<uapi::Row>())?;
    let ids: Vec<u64> = read_array(arg.ids, count)?;
    let got = collection.get(&ids)?;

    let arg_payloads = arg.payloads;
    let needed = got.rows.iter().flatten().map(|row| row.payload_len as u64).sum();
    if !fit_payloads(&mut arg.payloads_bytes, arg_payloads, needed) {
        arg.write()?;
        return Err(ERANGE.into());
    }
    let mut payloads = PayloadOutput::new(arg.payloads, needed)?;
    let mut vectors = match arg.vectors {
        0 => None,
        addr => Some(VectorOutput::new(addr, count, &params)?),
    };
    let mut found = 0;
    for (i, (id, row)) in ids.iter().zip(&got.rows).enumerate() {
        let mut out = uapi::Row {
            id: *id,
            ..Default::default()
        };
        if let Some(row) = row {
            found += 1;
            out.flags = row_flags(row);
            out.payload_len = row.payload_len as u32;
            out.payload_offset = payloads.write(&got.contents, row)?;
        }
        rows_out.write(i * size_of::<uapi::Row>(), out.as_bytes())?;
        if let Some(vectors) = &mut vectors {
            vectors.write(i, &got.contents, row.as_ref())?;
        }
        if i % 64 == 63 {
            relax()?;
        }
    }
    arg.found = found;
    arg.write()?;
    Ok(0)
}
