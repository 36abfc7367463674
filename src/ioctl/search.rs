// SPDX-License-Identifier: GPL-2.0
//! Searching, and saying how a search is done.

use kernel::error::code::E2BIG;
use kernel::error::code::EINVAL;
use kernel::error::code::ERANGE;
use kernel::ffi::c_long;
use kernel::uaccess::UserPtr;
use vexfs_engine::filter::Program;
use vexfs_engine::Found;
use vexfs_engine::SearchParams;
use vexfs_engine::SearchRequest;
use vexfs_host::mem::Vec;
use vexfs_host::monotonic;
use vexfs_host::relax;
use vexfs_uapi as uapi;
use vexfs_vfs::Result;
use zerocopy::IntoBytes;

use super::caller::Access;
use super::caller::Caller;
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

/// What a search may be told.
const SEARCH_FLAGS: u32 = uapi::VEXFS_SEARCH_EXACT | uapi::VEXFS_SEARCH_RADIUS;

/// SEARCH_VECTORS.
pub fn search(caller: &Caller<'_>, arg: UserPtr) -> Result<c_long> {
    let mut arg = Arg::<uapi::SearchVectors>::read(arg)?;
    if arg.flags & !SEARCH_FLAGS != 0 || arg.reserved != 0 {
        return Err(EINVAL.into());
    }
    let deadline = Deadline::new(arg.time_limit_us);
    let radius = radius(arg.flags, arg.radius)?;
    let count = check_count(arg.count, uapi::VEXFS_QUERIES_MAX)?;
    let k = check_count(arg.k, uapi::VEXFS_K_MAX)?;
    let slots = count * k;
    if slots > uapi::VEXFS_HITS_MAX as usize {
        return Err(E2BIG.into());
    }
    let (_target, collection) = caller.collection(copy::name(&arg.name)?, Access::Read)?;
    let params = collection.params();
    check_vectors(arg.dim, arg.element, &params)?;
    if arg.hits_max < slots as u64 {
        arg.hits_max = slots as u64;
        arg.write()?;
        return Err(ERANGE.into());
    }
    if arg.vectors != 0 && arg.vectors_bytes < (slots * params.row_bytes()) as u64 {
        return Err(ERANGE.into());
    }
    let results = Output::new(
        arg.results,
        count * size_of::<uapi::QueryResult>(),
        align_of::<uapi::QueryResult>(),
    )?;
    let hits = Output::new(arg.hits, slots * size_of::<uapi::Hit>(), align_of::<uapi::Hit>())?;
    let queries = read_vectors(arg.queries, count, &params, arg.stride)?;
    let filter = read_filter(arg.filter, arg.filter_bytes)?;
    let stop = || deadline.is_over();
    let found = collection.search(&SearchRequest {
        queries: &queries,
        k,
        radius,
        params: SearchParams {
            ef: arg.ef,
            nprobe: arg.nprobe,
            rerank: arg.rerank,
        },
        exact: arg.flags & uapi::VEXFS_SEARCH_EXACT != 0,
        filter: filter.as_ref(),
        stop: deadline.is_set().then_some(&stop),
    })?;
    caller.counters().searched(count as u64, found.scanned);

    let payloads_at = arg.payloads;
    let needed = found.hits.iter().map(|hit| hit.row.payload_len as u64).sum();
    if !fit_payloads(&mut arg.payloads_bytes, payloads_at, needed) {
        arg.write()?;
        return Err(ERANGE.into());
    }
    let vectors = match arg.vectors {
        0 => None,
        addr => Some(VectorOutput::new(addr, slots, &params)?),
    };
    let mut answer = Answer {
        results,
        hits,
        vectors,
        payloads: PayloadOutput::new(arg.payloads, needed)?,
        k,
    };
    answer.write(&found)?;
    arg.scanned = found.scanned;
    arg.write()?;
    Ok(0)
}

/// The radius of a search, if its flags say that there is one.
fn radius(flags: u32, radius: uapi::F32) -> Result<Option<u32>> {
    match flags & uapi::VEXFS_SEARCH_RADIUS != 0 {
        true => Ok(Some(radius.0)),
        false if radius.0 != 0 => Err(EINVAL.into()),
        false => Ok(None),
    }
}

/// Copies a filter program in and verifies it.
fn read_filter(addr: u64, bytes: u32) -> Result<Option<Program>> {
    if addr == 0 && bytes == 0 {
        return Ok(None);
    }
    if addr == 0 || bytes == 0 {
        return Err(EINVAL.into());
    }
    if bytes > uapi::filter::VEXFS_FILTER_MAX {
        return Err(E2BIG.into());
    }
    let program: Vec<u8> = read_array(addr, bytes as usize)?;
    Ok(Some(Program::parse(&program)?))
}

/// When a call is to stop searching.
struct Deadline(Option<u64>);

impl Deadline {
    /// So many microseconds from now; never if they are 0.
    fn new(micros: u32) -> Self {
        Self((micros != 0).then(|| monotonic().saturating_add(u64::from(micros) * 1000)))
    }

    /// Whether there is one.
    fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// Whether it has passed.
    fn is_over(&self) -> bool {
        self.0.is_some_and(|deadline| monotonic() >= deadline)
    }
}

/// Most bytes that a part of an explanation may have in versions to come.
const PART_MAX: u32 = 4096;

/// EXPLAIN.
pub fn explain(caller: &Caller<'_>, arg: UserPtr) -> Result<c_long> {
    let mut arg = Arg::<uapi::Explain>::read(arg)?;
    if arg.flags & !SEARCH_FLAGS != 0 || arg.reserved0 != 0 || arg.reserved != [0; 3] {
        return Err(EINVAL.into());
    }
    let deadline = Deadline::new(arg.time_limit_us);
    let part_bytes = match arg.part_bytes {
        0 => uapi::VEXFS_EXPLAIN_PART_BYTES,
        bytes if bytes > PART_MAX => return Err(E2BIG.into()),
        bytes if bytes >= uapi::VEXFS_EXPLAIN_PART_BYTES && bytes % 8 == 0 => bytes,
        _ => return Err(EINVAL.into()),
    } as usize;
    let radius = radius(arg.flags, arg.radius)?;
    let k = check_count(arg.k, uapi::VEXFS_K_MAX)?;
    let (_target, collection) = caller.collection(copy::name(&arg.name)?, Access::Read)?;
    let params = collection.params();
    check_vectors(arg.dim, arg.element, &params)?;
    let query = read_vectors(arg.query, 1, &params, 0)?;
    let filter = read_filter(arg.filter, arg.filter_bytes)?;
    let stop = || deadline.is_over();
    let begin = monotonic();
    let explained = collection.explain(&SearchRequest {
        queries: &query,
        k,
        radius,
        params: SearchParams {
            ef: arg.ef,
            nprobe: arg.nprobe,
            rerank: arg.rerank,
        },
        exact: arg.flags & uapi::VEXFS_SEARCH_EXACT != 0,
        filter: filter.as_ref(),
        stop: deadline.is_set().then_some(&stop),
    })?;
    arg.elapsed_ns = monotonic().saturating_sub(begin);
    let scanned = explained.parts.iter().fold(0u64, |sum, part| {
        sum.saturating_add(part.distances).saturating_add(part.codes)
    });
    caller.counters().searched(1, scanned);

    let room = arg.parts_max;
    arg.parts_max = explained.parts.len() as u64;
    arg.hits = u32::try_from(explained.hits).unwrap_or(u32::MAX);
    if room < arg.parts_max {
        arg.write()?;
        return Err(ERANGE.into());
    }
    let bytes = explained.parts.len().checked_mul(part_bytes).ok_or(E2BIG)?;
    let parts = Output::new(arg.parts, bytes, align_of::<uapi::ExplainPart>())?;
    for (i, part) in explained.parts.iter().enumerate() {
        // As much of it as the caller knows, and zeros for what it knows and we do not.
        let known = part.as_bytes();
        let known = known.get(..part_bytes).unwrap_or(known);
        parts.write(i * part_bytes, known)?;
        parts.zero(i * part_bytes + known.len(), part_bytes - known.len())?;
    }
    arg.write()?;
    Ok(0)
}

/// Where the parts of an answer go.
struct Answer {
    results: Output,
    hits: Output,
    vectors: Option<VectorOutput>,
    payloads: PayloadOutput,
    k: usize,
}

impl Answer {
    fn write(&mut self, found: &Found) -> Result {
        let mut row: Vec<uapi::Hit> = Vec::new();
        for (query, hits) in found.by_query().enumerate() {
            let result = uapi::QueryResult {
                count: hits.len() as u32,
                flags: match found.stopped {
                    true => uapi::VEXFS_RESULT_STOPPED_EARLY,
                    false => 0,
                },
            };
            self.results
                .write(query * size_of::<uapi::QueryResult>(), result.as_bytes())?;
            row.clear();
            for (i, hit) in hits.iter().enumerate() {
                row.push(uapi::Hit {
                    id: hit.row.id,
                    inode: 0,
                    distance: uapi::F32(hit.distance),
                    flags: row_flags(&hit.row),
                    payload_offset: self.payloads.write(&found.contents, &hit.row)?,
                    payload_len: hit.row.payload_len as u32,
                    reserved: 0,
                })?;
                if let Some(vectors) = &mut self.vectors {
                    vectors.write(query * self.k + i, &found.contents, Some(&hit.row))?;
                }
                if i % 64 == 63 {
                    relax()?;
                }
            }
            row.resize(self.k, uapi::Hit::default())?;
            self.hits
                .write(query * self.k * size_of::<uapi::Hit>(), row.as_slice().as_bytes())?;
            relax()?;
        }
        Ok(())
    }
}
