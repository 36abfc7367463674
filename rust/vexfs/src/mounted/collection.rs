// SPDX-License-Identifier: Apache-2.0
//! A collection of a mounted filesystem.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use nix::errno::Errno;
use vexfs_uapi as uapi;
use zerocopy::FromZeros;
use zerocopy::IntoBytes;

use super::call;
use crate::backend::Change;
use crate::backend::Collection;
use crate::backend::Schema;
use crate::Answer;
use crate::Answers;
use crate::Batch;
use crate::Build;
use crate::CollectionInfo;
use crate::Element;
use crate::Error;
use crate::Explained;
use crate::Hit;
use crate::InsertOptions;
use crate::Inserted;
use crate::Metric;
use crate::Payload;
use crate::Result;
use crate::Search;
use crate::Stored;

/// Says in `arg`, of a search or of its explanation, how to look: both structs have these members.
macro_rules! look {
    ($arg:ident, $search:ident, $limit:ident) => {
        // What does not fit is more than the kernel takes, too.
        $arg.k = u32::try_from($search.k).unwrap_or(u32::MAX);
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
        $arg.time_limit_us = $limit.micros();
    };
}

/// An open directory that is a collection.
pub(crate) struct MountedCollection {
    dir: File,
    schema: Schema,
}

/// Room for a payload before it is known how long they are.
const PAYLOAD_GUESS: usize = 512;
/// Rows that are read at a time.
const GET_ROWS: usize = 1024;
/// Most bytes of vectors in the answer of one call.
const ANSWER_BYTES: usize = 64 << 20;
/// Parts of a collection before it is known how many there are.
const PARTS_GUESS: usize = 64;
/// How often a running build is looked at.
const POLL: Duration = Duration::from_millis(100);

/// Grows a buffer to what the kernel said it needs; false when it is as large already.
fn grow<T: Clone + Default>(buffer: &mut Vec<T>, needed: u64) -> bool {
    let more = needed > buffer.len() as u64;
    if more {
        buffer.resize(needed as usize, T::default());
    }
    more
}

fn payload_at(payloads: &[u8], offset: u64, len: u32) -> Result<Payload> {
    let start = usize::try_from(offset).ok();
    let range = start.and_then(|start| Some(start..start.checked_add(len as usize)?));
    match range.and_then(|range| payloads.get(range)) {
        Some(bytes) => Ok(Payload::from_bytes(bytes.to_vec())),
        // The kernel never says so.
        None => Err(Error::kernel(Errno::EIO)),
    }
}

/// Room for vectors. The kernel wants elements aligned, which bytes need not be.
struct Room(Vec<u32>);

impl Room {
    fn new(bytes: usize) -> Self {
        Self(vec![0; bytes.div_ceil(4)])
    }

    fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.as_mut_bytes()
    }
}

/// Vectors with their elements aligned: themselves, as they nearly always are, or a copy in `room`.
fn aligned<'a>(vectors: &'a [u8], element: Element, room: &'a mut Option<Room>) -> &'a [u8] {
    if vectors.as_ptr() as usize % element.alignment() == 0 {
        return vectors;
    }
    let room = room.insert(Room::new(vectors.len()));
    room.bytes_mut()[..vectors.len()].copy_from_slice(vectors);
    &room.bytes()[..vectors.len()]
}

/// When a search is to stop.
struct Limit(Option<Instant>);

impl Limit {
    fn of(search: &Search) -> Self {
        Self(search.time_limit.and_then(|limit| Instant::now().checked_add(limit)))
    }

    /// What is left of it, as the ABI has it: 0 is no limit.
    fn micros(&self) -> u32 {
        match self.0 {
            None => 0,
            Some(end) => {
                let left = end.saturating_duration_since(Instant::now()).as_micros();
                u32::try_from(left).unwrap_or(u32::MAX).max(1)
            }
        }
    }
}

fn query_info(dir: &File) -> Result<uapi::CollectionInfo, Errno> {
    let mut arg = uapi::CollectionInfo::new_zeroed();
    call::collection_info(dir, &mut arg)?;
    Ok(arg)
}

fn query_stats(dir: &File) -> Result<uapi::GetVectorStats, Errno> {
    let mut arg = uapi::GetVectorStats::new_zeroed();
    call::get_vector_stats(dir, &mut arg)?;
    Ok(arg)
}

fn schema_of(info: &uapi::CollectionInfo) -> Result<Schema> {
    Ok(Schema {
        id: info.id,
        dim: info.dim,
        element: Element::from_code(info.element).ok_or_else(|| Error::newer("element type", info.element))?,
        metric: Metric::from_code(info.metric).ok_or_else(|| Error::newer("metric", info.metric))?,
    })
}

/// Describes a directory; `None` if it is no collection.
pub(super) fn info_of(dir: &File) -> Result<Option<CollectionInfo>> {
    let info = match query_info(dir) {
        Ok(info) => info,
        Err(Errno::ENOTTY) => return Ok(None),
        Err(e) => return Err(Error::kernel(e)),
    };
    let stats = query_stats(dir).map_err(Error::newer_call)?;
    let schema = schema_of(&info)?;
    Ok(Some(CollectionInfo {
        id: schema.id,
        dim: schema.dim,
        element: schema.element,
        metric: schema.metric,
        index: stats.index,
        rows: stats.rows,
        dead_rows: stats.dead_rows,
        next_id: info.next_id,
        tail_rows: stats.tail_rows,
        indexed_rows: stats.indexed_rows,
        segments: stats.segments,
        disk_bytes: info.disk_bytes,
        tail_bytes: stats.tail_bytes,
        segment_bytes: stats.segment_bytes,
        vector_bytes: stats.vector_bytes,
        index_bytes: stats.index_bytes,
        payload_bytes: stats.payload_bytes,
        field_bytes: stats.field_bytes,
        memory_bytes: stats.memory_bytes,
        build_done: stats.build_done,
        build_total: stats.build_total,
    }))
}

impl MountedCollection {
    /// Opens a collection by its own path.
    pub fn open(path: &Path) -> Result<Self> {
        Self::new(super::open_dir(path)?)
    }

    /// Asks a directory what collection it is.
    pub fn new(dir: File) -> Result<Self> {
        let info = query_info(&dir).map_err(Error::kernel)?;
        let schema = schema_of(&info)?;
        Ok(Self { dir, schema })
    }

    /// Answers as many queries as fit one call.
    fn search_some(&self, search: &Search, limit: &Limit, queries: &[u8], answers: &mut Answers) -> Result<()> {
        let k = search.k;
        let row_bytes = self.schema.row_bytes();
        let count = queries.len() / row_bytes;
        let room = |wanted: bool, bytes: usize| if wanted { count * k * bytes } else { 0 };
        let mut copy = None;
        let queries = call::Queries {
            schema: &self.schema,
            vectors: aligned(queries, self.schema.element, &mut copy),
            filter: search.filter.as_deref().unwrap_or_default(),
        };
        let mut results = vec![uapi::QueryResult::default(); count];
        let mut hits = vec![uapi::Hit::default(); count * k];
        let mut vectors = Room::new(room(search.want_vectors, row_bytes));
        let mut payloads = vec![0u8; room(search.want_payloads, PAYLOAD_GUESS)];
        let scanned = loop {
            let mut arg = uapi::SearchVectors::new_zeroed();
            look!(arg, search, limit);
            let mut out = call::Output {
                results: &mut results,
                hits: &mut hits,
                vectors: vectors.bytes_mut(),
                payloads: &mut payloads,
            };
            match call::search(&self.dir, &mut arg, &queries, &mut out) {
                Ok(()) => break arg.scanned,
                Err(Errno::ERANGE) if grow(&mut payloads, arg.payloads_bytes) => {}
                Err(e) => return Err(Error::kernel(e)),
            }
        };
        answers.scanned += scanned;
        for (i, result) in results.iter().enumerate() {
            let hits = hits[i * k..(i + 1) * k].iter().take(result.count as usize).enumerate();
            let hits = hits.map(|(j, hit)| {
                let at = (i * k + j) * row_bytes;
                let vector = || vectors.bytes()[at..at + row_bytes].to_vec();
                let payload = || payload_at(&payloads, hit.payload_offset, hit.payload_len);
                Ok(Hit {
                    id: hit.id,
                    distance: f32::from_bits(hit.distance.0),
                    vector: search.want_vectors.then(vector),
                    payload: search.want_payloads.then(payload).transpose()?,
                    element: self.schema.element,
                    dim: self.schema.dim,
                })
            });
            answers.answers.push(Answer {
                hits: hits.collect::<Result<_>>()?,
                stopped_early: result.flags & uapi::VEXFS_RESULT_STOPPED_EARLY != 0,
            });
        }
        Ok(())
    }

    /// What maintenance changes.
    fn shape(&self) -> Result<[u64; 4]> {
        let stats = query_stats(&self.dir).map_err(Error::newer_call)?;
        Ok([stats.segments, stats.tail_rows, stats.indexed_rows, stats.dead_rows])
    }
}

impl Collection for MountedCollection {
    fn schema(&self) -> Schema {
        self.schema
    }

    fn info(&self) -> Result<CollectionInfo> {
        info_of(&self.dir)?.ok_or_else(|| Error::kernel(Errno::ENOTTY))
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
        let mut copy = None;
        let vectors = aligned(batch.vectors(), batch.element(), &mut copy);
        call::insert(&self.dir, &mut arg, batch, vectors).map_err(Error::kernel)?;
        Ok(Inserted {
            rows: arg.inserted.into(),
            replaced: arg.replaced.into(),
            first_id: (!batch.has_ids()).then_some(arg.first_id),
        })
    }

    fn delete(&self, ids: &[u64], sync: bool) -> Result<u64> {
        let mut arg = uapi::DeleteVectors::new_zeroed();
        arg.flags = if sync { uapi::VEXFS_DELETE_SYNC } else { 0 };
        call::delete(&self.dir, &mut arg, ids).map_err(Error::kernel)?;
        Ok(arg.deleted.into())
    }

    fn get(&self, ids: &[u64], want_vectors: bool) -> Result<Vec<Option<Stored>>> {
        let row_bytes = if want_vectors { self.schema.row_bytes() } else { 0 };
        let mut out = Vec::with_capacity(ids.len());
        for ids in ids.chunks(GET_ROWS) {
            let mut rows = vec![uapi::Row::default(); ids.len()];
            let mut vectors = Room::new(ids.len() * row_bytes);
            let mut payloads = vec![0u8; ids.len() * PAYLOAD_GUESS];
            loop {
                let mut arg = uapi::GetVectors::new_zeroed();
                arg.dim = if want_vectors { self.schema.dim } else { 0 };
                let (rows, vectors) = (&mut rows, vectors.bytes_mut());
                match call::get(&self.dir, &mut arg, ids, rows, vectors, &mut payloads) {
                    Ok(()) => break,
                    Err(Errno::ERANGE) if grow(&mut payloads, arg.payloads_bytes) => {}
                    Err(e) => return Err(Error::kernel(e)),
                }
            }
            for (i, row) in rows.iter().enumerate() {
                let stored = || -> Result<Stored> {
                    Ok(Stored {
                        id: row.id,
                        vector: vectors.bytes()[i * row_bytes..(i + 1) * row_bytes].to_vec(),
                        payload: payload_at(&payloads, row.payload_offset, row.payload_len)?,
                        element: self.schema.element,
                        dim: self.schema.dim,
                    })
                };
                let found = row.flags & uapi::VEXFS_ROW_FOUND != 0;
                out.push(found.then(stored).transpose()?);
            }
        }
        Ok(out)
    }

    fn search(&self, queries: &[u8], search: &Search) -> Result<Answers> {
        if search.k > uapi::VEXFS_K_MAX as usize {
            return Err(Error::kernel(Errno::E2BIG));
        }
        let (k, row_bytes) = (search.k.max(1), self.schema.row_bytes());
        let mut answers = Answers::default();
        let limit = Limit::of(search);
        // As many queries a call as its limits allow.
        let mut most = (uapi::VEXFS_HITS_MAX as usize / k).min(uapi::VEXFS_QUERIES_MAX as usize);
        if search.want_vectors {
            most = most.min(ANSWER_BYTES / (k * row_bytes));
        }
        for queries in queries.chunks(most.max(1) * row_bytes) {
            self.search_some(search, &limit, queries, &mut answers)?;
        }
        Ok(answers)
    }

    fn explain(&self, query: &[u8], search: &Search) -> Result<Explained> {
        let limit = Limit::of(search);
        let mut copy = None;
        let query = call::Queries {
            schema: &self.schema,
            vectors: aligned(query, self.schema.element, &mut copy),
            filter: search.filter.as_deref().unwrap_or_default(),
        };
        let mut parts = vec![uapi::ExplainPart::default(); PARTS_GUESS];
        loop {
            let mut arg = uapi::Explain::new_zeroed();
            look!(arg, search, limit);
            match call::explain(&self.dir, &mut arg, &query, &mut parts) {
                Ok(()) => {
                    parts.truncate(usize::try_from(arg.parts_max).unwrap_or(usize::MAX));
                    return Ok(Explained {
                        hits: arg.hits.into(),
                        elapsed: Duration::from_nanos(arg.elapsed_ns),
                        parts,
                    });
                }
                Err(Errno::ERANGE) if grow(&mut parts, arg.parts_max) => {}
                Err(e) => return Err(Error::newer_call(e)),
            }
        }
    }

    fn build(&self, change: Change, build: &Build<'_>) -> Result<bool> {
        let mut arg = uapi::BuildIndex::new_zeroed();
        arg.flags = uapi::VEXFS_BUILD_WAIT;
        arg.action = match change {
            Change::Set(index) => {
                arg.params = index;
                uapi::VEXFS_BUILD_SET
            }
            Change::Drop => uapi::VEXFS_BUILD_DROP,
            Change::Optimize => uapi::VEXFS_BUILD_OPTIMIZE,
            Change::Maintain => uapi::VEXFS_BUILD_MAINTAIN,
        };
        let before = self.shape()?;
        // The call returns when all is done; how far it is can be asked meanwhile.
        let running = AtomicBool::new(true);
        let done = std::thread::scope(|scope| {
            let watch = scope.spawn(|| {
                while running.load(Ordering::Acquire) {
                    std::thread::park_timeout(POLL);
                    if let Ok(stats) = query_stats(&self.dir) {
                        if stats.build_total > 0 {
                            (build.progress)(stats.build_done, stats.build_total);
                        }
                    }
                }
            });
            let done = call::build_index(&self.dir, &mut arg);
            running.store(false, Ordering::Release);
            watch.thread().unpark();
            done
        });
        done.map_err(Error::newer_call)?;
        Ok(self.shape()? != before)
    }

    fn sync(&self) -> Result<()> {
        nix::unistd::syncfs(&self.dir).map_err(Error::kernel)
    }

    fn drop_cache(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_outside_the_buffer_is_an_error() {
        assert_eq!(payload_at(&[1, 2, 3], 1, 2).unwrap().as_bytes(), [2, 3]);
        assert!(payload_at(&[1, 2, 3], 2, 2).is_err());
        assert!(payload_at(&[1, 2, 3], u64::MAX, 2).is_err());
    }

    #[test]
    fn vectors_that_lie_anywhere_are_aligned_and_the_others_are_not_copied() {
        let words = [0u32, 0x0403_0201, 5];
        let bytes = words.as_bytes();
        for (offset, copied) in [(4, false), (5, true)] {
            let mut room = None;
            let vectors = aligned(&bytes[offset..offset + 4], Element::F32, &mut room);
            assert_eq!(vectors, &bytes[offset..offset + 4]);
            assert_eq!(vectors.as_ptr() as usize % 4, 0);
            assert_eq!(room.is_some(), copied);
        }
    }

    #[test]
    fn a_time_limit_that_is_over_is_still_a_limit() {
        assert_eq!(Limit::of(&Search::new(1)).micros(), 0);
        assert_eq!(Limit::of(&Search::new(1).time_limit(Duration::ZERO)).micros(), 1);
        assert_eq!(
            Limit::of(&Search::new(1).time_limit(Duration::from_secs(1 << 40))).micros(),
            u32::MAX
        );
    }
}
