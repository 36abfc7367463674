// SPDX-License-Identifier: Apache-2.0
//! A collection of a mounted filesystem.

use std::fs::File;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use nix::errno::Errno;
use vexfs::Batch;
use vexfs::Payload;
use vexfs_uapi as uapi;
use zerocopy::FromZeros;

use super::call::address;
use super::call::address_mut;
use super::call::call;
use super::info_of;
use super::query_info;
use crate::backend::Answer;
use crate::backend::Answers;
use crate::backend::Build;
use crate::backend::Collection;
use crate::backend::Explained;
use crate::backend::Hit;
use crate::backend::Info;
use crate::backend::InsertOptions;
use crate::backend::Inserted;
use crate::backend::Progress;
use crate::backend::Row;
use crate::backend::Search;
use crate::backend::Stats;
use crate::error::SysError;

/// Says in `arg`, of a search or of its explanation, how to look: both structs have these members.
macro_rules! look {
    ($arg:ident, $search:ident) => {
        $arg.k = $search.k;
        if let Some(radius) = $search.radius {
            $arg.flags |= uapi::VEXFS_SEARCH_RADIUS;
            $arg.radius = uapi::F32(radius.to_bits());
        }
        if $search.exact {
            $arg.flags |= uapi::VEXFS_SEARCH_EXACT;
        }
        $arg.ef = $search.ef;
        $arg.nprobe = $search.nprobe;
        $arg.rerank = $search.rerank;
        $arg.time_limit_us = $search.time_limit_us;
        if let Some(filter) = &$search.filter {
            $arg.filter = address(filter);
            $arg.filter_bytes = u32::try_from(filter.len())?;
        }
    };
}

/// An open directory that is a collection.
pub struct Open {
    file: File,
    path: PathBuf,
}

/// Room for a payload before it is known how long they are.
const PAYLOAD_GUESS: usize = 512;

/// Grows a buffer to what the kernel said it needs; false when it is as large already.
fn grow(buffer: &mut Vec<u8>, needed: u64) -> bool {
    let more = needed > buffer.len() as u64;
    if more {
        buffer.resize(needed as usize, 0);
    }
    more
}

fn payload_at(wanted: bool, payloads: &[u8], offset: u64, len: u32) -> Result<Payload> {
    if !wanted {
        return Ok(Payload::default());
    }
    let start = usize::try_from(offset)?;
    let bytes = start.checked_add(len as usize).and_then(|end| payloads.get(start..end));
    bytes
        .map(|b| Payload::from_bytes(b.to_vec()))
        .context("the kernel returned a payload outside its buffer")
}

/// Room for vectors. The kernel wants elements aligned, which bytes are not.
struct Vectors(Vec<u32>);

impl Vectors {
    fn new(bytes: usize) -> Self {
        Vectors(vec![0; bytes.div_ceil(4)])
    }

    fn of(bytes: &[u8]) -> Self {
        let mut vectors = Vectors::new(bytes.len());
        zerocopy::IntoBytes::as_mut_bytes(vectors.0.as_mut_slice())[..bytes.len()].copy_from_slice(bytes);
        vectors
    }

    fn bytes(&self) -> &[u8] {
        zerocopy::IntoBytes::as_bytes(self.0.as_slice())
    }
}

impl Open {
    pub fn new(file: File, path: &Path) -> Self {
        Open {
            file,
            path: path.to_path_buf(),
        }
    }

    fn error(&self, verb: &'static str, errno: Errno) -> anyhow::Error {
        SysError::new(verb, &self.path, errno as i32).into()
    }

    /// An error of a call that older kernels do not have. The collection is known to be one.
    fn newer_call(&self, verb: &'static str, errno: Errno) -> anyhow::Error {
        match errno {
            Errno::ENOTTY => SysError::old_kernel(verb, &self.path).into(),
            errno => self.error(verb, errno),
        }
    }

    /// Answers as many queries as fit one call.
    fn search_some(&self, search: &Search, info: &Info, queries: &[u8], answers: &mut Answers) -> Result<()> {
        let k = search.k as usize;
        let row_bytes = info.element.vector_bytes(info.dim as usize);
        let count = queries.len() / row_bytes;
        let queries = Vectors::of(queries);
        let mut results = vec![uapi::QueryResult::default(); count];
        let mut hits = vec![uapi::Hit::default(); count * k];
        let mut vectors = Vectors::new(if search.want_vectors { count * k * row_bytes } else { 0 });
        let mut payloads = vec![
            0u8;
            if search.want_payloads {
                count * k * PAYLOAD_GUESS
            } else {
                0
            }
        ];
        let arg = loop {
            let mut arg = uapi::SearchVectors::new_zeroed();
            arg.count = count as u32;
            arg.dim = info.dim;
            arg.element = info.element.code();
            arg.queries = address(&queries.0);
            look!(arg, search);
            arg.results = address_mut(&mut results);
            arg.hits = address_mut(&mut hits);
            arg.hits_max = hits.len() as u64;
            if search.want_vectors {
                arg.vectors = address_mut(&mut vectors.0);
                arg.vectors_bytes = (count * k * row_bytes) as u64;
            }
            if search.want_payloads {
                arg.payloads = address_mut(&mut payloads);
                arg.payloads_bytes = payloads.len() as u64;
            }
            // SAFETY: `queries` holds count vectors of the stated form, `results` count and `hits` hits_max elements;
            // `filter`, `vectors` and `payloads` are as long as stated. All live past the call, those that are written
            // mutably borrowed.
            match unsafe { call(&self.file, &mut arg) } {
                Ok(()) => break arg,
                Err(Errno::ERANGE) if grow(&mut payloads, arg.payloads_bytes) => {}
                Err(e) => return Err(self.error("search", e)),
            }
        };
        answers.scanned += arg.scanned;
        for (i, result) in results.iter().enumerate() {
            let mut answer = Answer {
                hits: Vec::with_capacity(result.count as usize),
                stopped_early: result.flags & uapi::VEXFS_RESULT_STOPPED_EARLY != 0,
            };
            for (j, hit) in hits[i * k..(i + 1) * k].iter().enumerate().take(result.count as usize) {
                let at = (i * k + j) * row_bytes;
                answer.hits.push(Hit {
                    row: Row {
                        id: hit.id,
                        inode: hit.inode,
                        found: true,
                        payload: payload_at(search.want_payloads, &payloads, hit.payload_offset, hit.payload_len)?,
                        vector: search
                            .want_vectors
                            .then(|| vectors.bytes()[at..at + row_bytes].to_vec()),
                    },
                    distance: f32::from_bits(hit.distance.0),
                });
            }
            answers.answers.push(answer);
        }
        Ok(())
    }

    fn query_stats(&self) -> Result<uapi::GetVectorStats, Errno> {
        let mut arg = uapi::GetVectorStats::new_zeroed();
        // SAFETY: the struct has no pointers.
        unsafe { call(&self.file, &mut arg) }?;
        Ok(arg)
    }
}

impl Collection for Open {
    fn info(&self) -> Result<Info> {
        let info = query_info(&self.file, [0; 256]).map_err(|e| self.error("describe", e))?;
        info_of(&self.path, &info)
    }

    fn stats(&self) -> Result<Stats> {
        self.info()?;
        let stats = self
            .query_stats()
            .map_err(|e| self.newer_call("describe the index of", e))?;
        Ok(Stats {
            index: stats.index,
            rows: stats.rows,
            dead_rows: stats.dead_rows,
            tail_rows: stats.tail_rows,
            indexed_rows: stats.indexed_rows,
            segments: stats.segments,
            tail_bytes: stats.tail_bytes,
            segment_bytes: stats.segment_bytes,
            vector_bytes: stats.vector_bytes,
            index_bytes: stats.index_bytes,
            payload_bytes: stats.payload_bytes,
            field_bytes: stats.field_bytes,
            memory_bytes: stats.memory_bytes,
            build_done: stats.build_done,
            build_total: stats.build_total,
        })
    }

    fn insert(&self, batch: &Batch, options: InsertOptions) -> Result<Inserted> {
        let mut arg = uapi::InsertVectors::new_zeroed();
        for (on, flag) in [
            (options.upsert, uapi::VEXFS_INSERT_UPSERT),
            (options.normalize, uapi::VEXFS_INSERT_NORMALIZE),
            (options.sync, uapi::VEXFS_INSERT_SYNC),
        ] {
            arg.flags |= if on { flag } else { 0 };
        }
        let vectors = Vectors::of(batch.vectors());
        arg.count = batch.len() as u32;
        arg.dim = batch.dim();
        arg.element = batch.element().code();
        arg.vectors = address(&vectors.0);
        if batch.has_ids() {
            arg.ids = address(batch.ids());
        }
        if !batch.payloads().is_empty() {
            arg.payload_lens = address(batch.payload_lens());
            arg.payloads = address(batch.payloads());
            arg.payload_bytes = batch.payloads().len() as u64;
        }
        // SAFETY: a batch has `len` vectors of its form, ids or none, and payload lengths, and `payload_bytes` is the
        // buffer's; all outlive the call, and the kernel only reads them.
        unsafe { call(&self.file, &mut arg) }.map_err(|e| self.error("insert into", e))?;
        Ok(Inserted {
            rows: arg.inserted.into(),
            replaced: arg.replaced.into(),
            first_id: (!batch.has_ids()).then_some(arg.first_id),
        })
    }

    fn get(&self, ids: &[u64], want_vectors: bool) -> Result<Vec<Row>> {
        let (dim, row_bytes) = match want_vectors {
            false => (0, 0),
            true => {
                let info = self.info()?;
                (info.dim, info.element.vector_bytes(info.dim as usize))
            }
        };
        let mut out = Vec::with_capacity(ids.len());
        for ids in ids.chunks(1024) {
            let mut rows = vec![uapi::Row::default(); ids.len()];
            let mut vectors = Vectors::new(ids.len() * row_bytes);
            let mut payloads = vec![0u8; ids.len() * PAYLOAD_GUESS];
            loop {
                let mut arg = uapi::GetVectors::new_zeroed();
                arg.count = ids.len() as u32;
                arg.dim = dim;
                arg.ids = address(ids);
                arg.rows = address_mut(&mut rows);
                if want_vectors {
                    arg.vectors = address_mut(&mut vectors.0);
                    arg.vectors_bytes = (ids.len() * row_bytes) as u64;
                }
                arg.payloads = address_mut(&mut payloads);
                arg.payloads_bytes = payloads.len() as u64;
                // SAFETY: `ids` and `rows` hold count elements, the other two are as long as stated; all live, the
                // latter three mutably borrowed, past the call.
                match unsafe { call(&self.file, &mut arg) } {
                    Ok(()) => break,
                    Err(Errno::ERANGE) if grow(&mut payloads, arg.payloads_bytes) => {}
                    Err(e) => return Err(self.error("read from", e)),
                }
            }
            for (i, row) in rows.iter().enumerate() {
                let found = row.flags & uapi::VEXFS_ROW_FOUND != 0;
                let at = i * row_bytes;
                out.push(Row {
                    id: row.id,
                    inode: row.inode,
                    found,
                    payload: payload_at(found, &payloads, row.payload_offset, row.payload_len)?,
                    vector: (found && want_vectors).then(|| vectors.bytes()[at..at + row_bytes].to_vec()),
                });
            }
        }
        Ok(out)
    }

    fn delete(&self, ids: &[u64], sync: bool) -> Result<u64> {
        let mut deleted = 0;
        let chunks = ids.chunks(uapi::VEXFS_BATCH_ROWS_MAX as usize);
        let last = chunks.len().saturating_sub(1);
        for (i, ids) in chunks.enumerate() {
            let mut arg = uapi::DeleteVectors::new_zeroed();
            // The last call's SYNC covers those before it: commits are ordered.
            arg.flags = if sync && i == last { uapi::VEXFS_DELETE_SYNC } else { 0 };
            arg.count = ids.len() as u32;
            arg.ids = address(ids);
            // SAFETY: `ids` holds count elements, outlives the call, and is only read.
            unsafe { call(&self.file, &mut arg) }.map_err(|e| self.error("delete from", e))?;
            deleted += u64::from(arg.deleted);
        }
        Ok(deleted)
    }

    fn search(&self, search: &Search) -> Result<Answers> {
        let info = self.info()?;
        let row_bytes = info.element.vector_bytes(info.dim as usize);
        let mut answers = Answers::default();
        // As many queries a call as its limits allow, with at most 64 MiB of vectors in the answer.
        let mut queries = (uapi::VEXFS_HITS_MAX / search.k).min(uapi::VEXFS_QUERIES_MAX) as usize;
        if search.want_vectors {
            queries = queries.min((64 << 20) / (search.k as usize * row_bytes));
        }
        for queries in search.queries.chunks(queries.max(1) * row_bytes) {
            self.search_some(search, &info, queries, &mut answers)?;
        }
        Ok(answers)
    }

    fn explain(&self, search: &Search) -> Result<Explained> {
        let info = self.info()?;
        let query = Vectors::of(&search.queries);
        // More parts than a collection can have.
        let mut parts = vec![uapi::ExplainPart::default(); 256];
        let mut arg = uapi::Explain::new_zeroed();
        arg.dim = info.dim;
        arg.element = info.element.code();
        arg.query = address(&query.0);
        look!(arg, search);
        arg.parts = address_mut(&mut parts);
        arg.parts_max = parts.len() as u64;
        if search.queries.len() != info.element.vector_bytes(info.dim as usize) {
            bail!("one query is explained at a time");
        }
        // SAFETY: `query` is one vector of the stated form, `filter` as long as stated, `parts` has parts_max elements
        // and is mutably borrowed; all live past the call.
        unsafe { call(&self.file, &mut arg) }.map_err(|e| self.newer_call("explain", e))?;
        parts.truncate(usize::try_from(arg.parts_max)?);
        Ok(Explained {
            hits: arg.hits.into(),
            elapsed_ns: arg.elapsed_ns,
            parts,
        })
    }

    fn build(&self, build: Build, _threads: usize, progress: Progress<'_>) -> Result<()> {
        self.info()?;
        let mut arg = uapi::BuildIndex::new_zeroed();
        arg.flags = uapi::VEXFS_BUILD_WAIT;
        arg.action = match build {
            Build::Set(index) => {
                arg.params = index;
                uapi::VEXFS_BUILD_SET
            }
            Build::Drop => uapi::VEXFS_BUILD_DROP,
            Build::Optimize => uapi::VEXFS_BUILD_OPTIMIZE,
            Build::Maintain => uapi::VEXFS_BUILD_MAINTAIN,
        };
        // The call returns when all is done; how far it is can be asked meanwhile.
        let running = AtomicBool::new(true);
        let done = std::thread::scope(|scope| {
            scope.spawn(|| {
                while running.load(Ordering::Acquire) {
                    std::thread::park_timeout(POLL);
                    if let Ok(stats) = self.query_stats() {
                        if stats.build_total > 0 {
                            progress(stats.build_done, stats.build_total);
                        }
                    }
                }
            });
            // SAFETY: the struct has no pointers.
            let done = unsafe { call(&self.file, &mut arg) };
            running.store(false, Ordering::Release);
            done
        });
        done.map_err(|e| self.newer_call(build.verb(), e))
    }
}

/// How often a running build is looked at.
const POLL: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_outside_the_buffer_is_an_error() {
        assert_eq!(payload_at(true, &[1, 2, 3], 1, 2).unwrap().as_bytes(), [2, 3]);
        assert!(payload_at(true, &[1, 2, 3], 2, 2).is_err());
        assert!(payload_at(true, &[1, 2, 3], u64::MAX, 2).is_err());
        assert!(payload_at(false, &[], 9, 9).unwrap().is_empty());
    }
}
