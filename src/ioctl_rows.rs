// SPDX-License-Identifier: GPL-2.0
//! Inserting, reading and deleting rows.

use core::cell::RefCell;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering;

use kernel::error::code::E2BIG;
use kernel::error::code::EINVAL;
use kernel::error::code::ERANGE;
use kernel::ffi::c_long;
use kernel::uaccess::UserPtr;
use vexfs_engine::Batch;
use vexfs_engine::Contents;
use vexfs_engine::InsertMode;
use vexfs_engine::Params;
use vexfs_engine::Permit;
use vexfs_engine::RowRef;
use vexfs_host::mem::Vec;
use vexfs_host::relax;
use vexfs_host::Error;
use vexfs_uapi as uapi;
use vexfs_vfs::ioctl::WriteAccess;
use vexfs_vfs::File;
use vexfs_vfs::Result;
use zerocopy::IntoBytes;

use crate::inode;
use crate::ioctl::Access;
use crate::ioctl::Caller;
use crate::ioctl_arg;
use crate::ioctl_arg::element_bytes;
use crate::ioctl_arg::read_array;
use crate::ioctl_arg::read_vectors;
use crate::ioctl_arg::Arg;
use crate::ioctl_arg::Output;
use crate::room::with_room;
use crate::super_block::VexFs;

/// What has been done to the vectors of a mount, since it was mounted.
#[derive(Default)]
pub struct VectorCounters {
    queries: AtomicU64,
    scanned: AtomicU64,
    inserted: AtomicU64,
    deleted: AtomicU64,
}

impl VectorCounters {
    /// Counts a search.
    pub fn searched(&self, queries: u64, scanned: u64) {
        self.queries.fetch_add(queries, Ordering::Relaxed);
        self.scanned.fetch_add(scanned, Ordering::Relaxed);
    }

    /// Puts the numbers where GET_STATS has them.
    pub fn fill(&self, stats: &mut uapi::GetStats) {
        stats.queries = self.queries.load(Ordering::Relaxed);
        stats.rows_scanned = self.scanned.load(Ordering::Relaxed);
        stats.rows_inserted = self.inserted.load(Ordering::Relaxed);
        stats.rows_deleted = self.deleted.load(Ordering::Relaxed);
    }
}

/// The counters of the mount a call is on.
pub fn counters<'a>(caller: &'a Caller<'_>) -> &'a VectorCounters {
    &caller.file.inode().super_block().info().vectors
}

/// Checks the number of elements of an array.
pub fn check_count(count: u32, max: u32) -> Result<usize> {
    match count {
        0 => Err(EINVAL.into()),
        count if count > max => Err(E2BIG.into()),
        count => Ok(count as usize),
    }
}

/// Checks that a caller's vectors are of the collection's dimension and element type.
pub fn check_vectors(dim: u32, element: u32, params: &Params) -> Result {
    if element > uapi::VEXFS_ELEMENT_BINARY {
        return Err(Error::Unsupported("element type").into());
    }
    if dim as usize != params.dim() || element != params.element_code() {
        return Err(EINVAL.into());
    }
    Ok(())
}

/// The right to change the filesystem through an open file, taken and given back by the engine: a freeze waits for those who
/// have it, so it is not for work that takes long.
pub struct Writes<'a> {
    file: &'a File<VexFs>,
    held: RefCell<Vec<WriteAccess<'a, VexFs>>>,
}

impl<'a> Writes<'a> {
    /// By this file.
    pub fn through(file: &'a File<VexFs>) -> Self {
        Self {
            file,
            held: RefCell::new(Vec::new()),
        }
    }
}

impl Permit for Writes<'_> {
    fn take(&self) -> vexfs_host::Result {
        let access = self.file.want_write().map_err(|_| Error::ReadOnly)?;
        self.held.try_borrow_mut().map_err(|_| Error::Busy)?.push(access)
    }

    fn give_back(&self) {
        if let Ok(mut held) = self.held.try_borrow_mut() {
            held.pop();
        }
    }
}

const INSERT_FLAGS: u32 = uapi::VEXFS_INSERT_SYNC | uapi::VEXFS_INSERT_UPSERT | uapi::VEXFS_INSERT_NORMALIZE;

/// INSERT_VECTORS.
pub fn insert(caller: &Caller<'_>, arg: UserPtr) -> Result<c_long> {
    let mut arg = Arg::<uapi::InsertVectors>::read(arg)?;
    if arg.flags & !INSERT_FLAGS != 0 || arg.reserved != 0 {
        return Err(EINVAL.into());
    }
    let count = check_count(arg.count, uapi::VEXFS_BATCH_ROWS_MAX)?;
    let (target, collection) = caller.collection(ioctl_arg::name(&arg.name)?, Access::Write)?;
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
    counters(caller)
        .inserted
        .fetch_add(inserted.count as u64, Ordering::Relaxed);
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
    let (target, collection) = caller.collection(ioctl_arg::name(&arg.name)?, Access::Write)?;
    caller.check_removal(target.inode())?;
    let ids: Vec<u64> = read_array(arg.ids, count)?;
    let _access = caller.file.want_write()?;
    arg.write()?;
    let deleted = collection.delete(&ids)?;
    counters(caller)
        .deleted
        .fetch_add(deleted.count as u64, Ordering::Relaxed);
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
    let (_target, collection) = caller.collection(ioctl_arg::name(&arg.name)?, Access::Read)?;
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

/// VEXFS_ROW_* of a row that exists.
pub fn row_flags(row: &RowRef) -> u32 {
    uapi::VEXFS_ROW_FOUND
        | if row.payload_len > 0 {
            uapi::VEXFS_ROW_PAYLOAD
        } else {
            0
        }
}

/// Where vectors of an answer go, one after the other.
pub struct VectorOutput {
    out: Output,
    vector: Vec<u8>,
}

impl VectorOutput {
    /// Room for `count` vectors; the caller has checked that they fit.
    pub fn new(addr: u64, count: usize, params: &Params) -> Result<Self> {
        let bytes = params.row_bytes();
        let mut vector = Vec::new();
        vector.resize(bytes, 0)?;
        Ok(Self {
            out: Output::new(addr, count * bytes, element_bytes(params))?,
            vector,
        })
    }

    /// Copies the vector of a row to the `at`th place, zeros if there is none.
    pub fn write(&mut self, at: usize, contents: &Contents, row: Option<&RowRef>) -> Result {
        match row {
            Some(row) => contents.vector(row, &mut self.vector)?,
            None => self.vector.fill(0),
        }
        self.out.write(at * self.vector.len(), &self.vector)
    }
}

/// Sets the number of bytes at `payloads` to those that are needed; whether there is room for them.
pub fn fit_payloads(room: &mut u64, payloads: u64, needed: u64) -> bool {
    let before = core::mem::replace(room, if payloads == 0 { 0 } else { needed });
    payloads == 0 || needed <= before
}

/// Where payloads of an answer go, one after the other.
pub struct PayloadOutput {
    out: Option<Output>,
    used: usize,
    payload: Vec<u8>,
}

impl PayloadOutput {
    /// Room for `bytes` bytes, or for nothing if there is no address.
    pub fn new(addr: u64, bytes: u64) -> Result<Self> {
        let out = match addr {
            0 => None,
            addr => Some(Output::new(addr, usize::try_from(bytes).map_err(|_| E2BIG)?, 1)?),
        };
        Ok(Self {
            out,
            used: 0,
            payload: Vec::new(),
        })
    }

    /// Copies the payload of a row and returns where it begins.
    pub fn write(&mut self, contents: &Contents, row: &RowRef) -> Result<u64> {
        let Some(out) = &self.out else { return Ok(0) };
        if row.payload_len == 0 {
            return Ok(0);
        }
        self.payload.clear();
        contents.payload(row, &mut self.payload)?;
        let at = self.used;
        out.write(at, &self.payload)?;
        self.used += self.payload.len();
        Ok(at as u64)
    }
}
