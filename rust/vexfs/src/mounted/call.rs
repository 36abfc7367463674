// SPDX-License-Identifier: Apache-2.0
//! Making ioctls: the one place where structs and pointers are handed to the kernel. Every function here is safe: it
//! sets all pointers and lengths of its struct itself, from slices, whatever they were before.

use std::fs::File;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use vexfs_uapi as uapi;

use crate::backend::Schema;
use crate::Batch;

/// Makes the call.
///
/// # Safety
///
/// Every user pointer in `arg` is 0 or points to memory of the length that `arg` states, alive for the call, and
/// writable where the kernel writes.
unsafe fn call<T: uapi::Argument>(file: &File, arg: &mut T) -> Result<(), Errno> {
    arg.set_size();
    // SAFETY: the fd is open, and `arg` is a struct of the ABI with its size and its command: the kernel reads and
    // writes so many bytes of it. The rest is the caller's promise.
    let ret = unsafe { libc::ioctl(file.as_raw_fd(), T::COMMAND as libc::Ioctl, std::ptr::from_mut(arg)) };
    Errno::result(ret).map(drop)
}

/// Declares calls whose structs have no pointers.
macro_rules! plain {
    ($($call:ident($type:ident);)*) => {
        $(
            pub fn $call(file: &File, arg: &mut uapi::$type) -> Result<(), Errno> {
                // SAFETY: the struct has no pointers.
                unsafe { call(file, arg) }
            }
        )*
    };
}

plain! {
    get_stats(GetStats);
    create_collection(CreateCollection);
    drop_collection(DropCollection);
    collection_info(CollectionInfo);
    build_index(BuildIndex);
    get_vector_stats(GetVectorStats);
}

/// Where a slice is, as the ABI has it; 0 for one without elements.
fn address<T>(slice: &[T]) -> u64 {
    match slice {
        [] => 0,
        slice => slice.as_ptr() as usize as u64,
    }
}

/// Where a slice is that the kernel may write; 0 for one without elements.
fn address_mut<T>(slice: &mut [T]) -> u64 {
    match slice {
        [] => 0,
        slice => slice.as_mut_ptr() as usize as u64,
    }
}

/// A length, as the ABI has it. One that does not fit is more than any call takes.
fn len32<T>(slice: &[T]) -> Result<u32, Errno> {
    u32::try_from(slice.len()).map_err(|_| Errno::E2BIG)
}

/// As many vectors of a collection as `count` says.
fn check_vectors(vectors: &[u8], count: usize, schema: &Schema) -> Result<(), Errno> {
    match count.checked_mul(schema.row_bytes()) == Some(vectors.len()) {
        true => Ok(()),
        false => Err(Errno::EINVAL),
    }
}

/// Inserts a batch, whose vectors are `vectors`.
pub fn insert(file: &File, arg: &mut uapi::InsertVectors, batch: &Batch, vectors: &[u8]) -> Result<(), Errno> {
    let bytes = batch.element().vector_bytes(batch.dim() as usize);
    let lens_fit = batch.payload_lens().len() == batch.len();
    let ids_fit = [0, batch.len()].contains(&batch.ids().len());
    if batch.len().checked_mul(bytes) != Some(vectors.len()) || !lens_fit || !ids_fit {
        return Err(Errno::EINVAL);
    }
    arg.count = u32::try_from(batch.len()).map_err(|_| Errno::E2BIG)?;
    arg.dim = batch.dim();
    arg.element = batch.element().code();
    arg.stride = 0;
    arg.vectors = address(vectors);
    arg.ids = address(batch.ids());
    arg.payloads = address(batch.payloads());
    arg.payload_bytes = batch.payloads().len() as u64;
    arg.payload_lens = match batch.payloads() {
        [] => 0,
        _ => address(batch.payload_lens()),
    };
    // SAFETY: there are `count` vectors of the stated form, ids or none, and payload lengths or none, as was checked,
    // and `payload_bytes` is the payloads' length; all outlive the call, and the kernel only reads them.
    unsafe { call(file, arg) }
}

/// Deletes rows.
pub fn delete(file: &File, arg: &mut uapi::DeleteVectors, ids: &[u64]) -> Result<(), Errno> {
    arg.count = len32(ids)?;
    arg.ids = address(ids);
    // SAFETY: `ids` holds count elements, outlives the call, and is only read.
    unsafe { call(file, arg) }
}

/// Reads rows. The kernel leaves vectors out if there is no room at all, and says in the struct how much payloads need.
pub fn get(
    file: &File,
    arg: &mut uapi::GetVectors,
    ids: &[u64],
    rows: &mut [uapi::Row],
    vectors: &mut [u8],
    payloads: &mut [u8],
) -> Result<(), Errno> {
    if rows.len() != ids.len() {
        return Err(Errno::EINVAL);
    }
    arg.count = len32(ids)?;
    arg.ids = address(ids);
    arg.rows = address_mut(rows);
    arg.vectors_bytes = vectors.len() as u64;
    arg.vectors = address_mut(vectors);
    arg.payloads_bytes = payloads.len() as u64;
    arg.payloads = address_mut(payloads);
    // SAFETY: `ids` and `rows` hold count elements, the other two are as long as stated; all live, the latter three
    // mutably borrowed, past the call.
    unsafe { call(file, arg) }
}

/// What a search is of: the queries, and the program of a filter or nothing.
pub struct Queries<'a> {
    pub schema: &'a Schema,
    pub vectors: &'a [u8],
    pub filter: &'a [u8],
}

/// Where a search's answers go. What has no room is left out.
pub struct Output<'a> {
    /// One a query.
    pub results: &'a mut [uapi::QueryResult],
    pub hits: &'a mut [uapi::Hit],
    pub vectors: &'a mut [u8],
    pub payloads: &'a mut [u8],
}

/// Searches. The kernel says in the struct how much payloads need.
pub fn search(
    file: &File,
    arg: &mut uapi::SearchVectors,
    queries: &Queries<'_>,
    out: &mut Output<'_>,
) -> Result<(), Errno> {
    check_vectors(queries.vectors, out.results.len(), queries.schema)?;
    arg.count = len32(out.results)?;
    arg.dim = queries.schema.dim;
    arg.element = queries.schema.element.code();
    arg.stride = 0;
    arg.queries = address(queries.vectors);
    arg.filter_bytes = len32(queries.filter)?;
    arg.filter = address(queries.filter);
    arg.results = address_mut(out.results);
    arg.hits_max = out.hits.len() as u64;
    arg.hits = address_mut(out.hits);
    arg.vectors_bytes = out.vectors.len() as u64;
    arg.vectors = address_mut(out.vectors);
    arg.payloads_bytes = out.payloads.len() as u64;
    arg.payloads = address_mut(out.payloads);
    // SAFETY: there are count vectors of the stated form, as was checked, `results` holds count and `hits` hits_max
    // elements; `filter`, `vectors` and `payloads` are as long as stated. All live past the call, those that are
    // written mutably borrowed.
    unsafe { call(file, arg) }
}

/// Explains a search for one query. The kernel says in the struct how many parts there are.
pub fn explain(
    file: &File,
    arg: &mut uapi::Explain,
    query: &Queries<'_>,
    parts: &mut [uapi::ExplainPart],
) -> Result<(), Errno> {
    check_vectors(query.vectors, 1, query.schema)?;
    arg.dim = query.schema.dim;
    arg.element = query.schema.element.code();
    arg.query = address(query.vectors);
    arg.filter_bytes = len32(query.filter)?;
    arg.filter = address(query.filter);
    arg.part_bytes = std::mem::size_of::<uapi::ExplainPart>() as u32;
    arg.parts_max = parts.len() as u64;
    arg.parts = address_mut(parts);
    // SAFETY: there is one vector of the stated form, as was checked, `filter` is as long as stated, `parts` has
    // parts_max elements of part_bytes and is mutably borrowed; all live past the call.
    unsafe { call(file, arg) }
}
