// SPDX-License-Identifier: Apache-2.0
//! A collection of an image.

use std::sync::Arc as StdArc;
use std::time::Instant;

use vexfs_core::inode::SetAttr;
use vexfs_core::inode::Time;
use vexfs_engine as engine;
use vexfs_engine::filter::Program;
use vexfs_host::mem;
use vexfs_host::sync::Arc;
use vexfs_host::threads;
use vexfs_uapi as uapi;

use super::Open;
use crate::backend;
use crate::backend::Change;
use crate::backend::Schema;
use crate::Answer;
use crate::Answers;
use crate::Batch;
use crate::Build;
use crate::CollectionInfo;
use crate::Explained;
use crate::Hit;
use crate::InsertOptions;
use crate::Inserted;
use crate::Payload;
use crate::Result;
use crate::Search;
use crate::Stored;

/// An open collection of an image.
pub(super) struct ImageCollection {
    open: StdArc<Open>,
    engine: Arc<engine::Collection>,
}

pub(super) fn info_of(id: u64, info: &engine::CollectionStats) -> CollectionInfo {
    CollectionInfo {
        id,
        dim: info.params.dim() as u32,
        element: info.params.element(),
        metric: info.params.metric(),
        index: *info.index.raw(),
        rows: info.rows,
        dead_rows: info.dead_rows,
        next_id: info.next_id,
        tail_rows: info.tail_rows,
        indexed_rows: info.indexed_rows,
        segments: info.segments,
        disk_bytes: info.disk_bytes,
        tail_bytes: info.tail_bytes,
        segment_bytes: info.segment_bytes,
        vector_bytes: info.vector_bytes,
        index_bytes: info.index_bytes,
        payload_bytes: info.payload_bytes,
        field_bytes: info.field_bytes,
        memory_bytes: info.memory_bytes,
        build_done: info.build_done,
        build_total: info.build_total,
    }
}

/// When a search is to stop.
struct Deadline(Option<Instant>);

impl Deadline {
    fn of(search: &Search) -> Self {
        Self(search.time_limit.and_then(|limit| Instant::now().checked_add(limit)))
    }

    fn is_over(&self) -> bool {
        self.0.is_some_and(|deadline| Instant::now() >= deadline)
    }
}

fn to_engine<'a>(
    search: &Search,
    queries: &'a [u8],
    filter: Option<&'a Program>,
    stop: Option<&'a dyn Fn() -> bool>,
) -> engine::SearchRequest<'a> {
    engine::SearchRequest {
        queries,
        k: search.k,
        radius: search.radius.map(f32::to_bits),
        params: engine::SearchParams {
            ef: search.ef,
            nprobe: search.nprobe,
            rerank: search.rerank,
        },
        exact: search.exact,
        filter,
        stop,
    }
}

/// The verified program of a search's filter.
fn program(search: &Search) -> Result<Option<Program>> {
    Ok(search.filter.as_deref().map(Program::parse).transpose()?)
}

impl ImageCollection {
    pub fn new(open: StdArc<Open>, engine: Arc<engine::Collection>) -> Self {
        Self { open, engine }
    }

    /// Says that the contents of the directory have changed just now. That the rows are there counts more than their
    /// time: a failure, say on a full device, is none of the change.
    fn touch(&self) {
        let now = Some(Time::now());
        let times = SetAttr {
            mtime: now,
            ctime: now,
            ..Default::default()
        };
        let _ = self.open.fs.set_attr(self.engine.dir(), &times);
    }

    /// The vector of a row, in its form.
    fn vector(&self, contents: &engine::Contents, row: &engine::RowRef) -> Result<Vec<u8>> {
        let mut vector = vec![0; self.engine.params().row_bytes()];
        contents.vector(row, &mut vector)?;
        Ok(vector)
    }

    fn add_answers(&self, found: &engine::Found, search: &Search, answers: &mut Answers) -> Result<()> {
        let schema = backend::Collection::schema(self);
        for hits in found.by_query() {
            let hits = hits.iter().map(|hit| {
                let vector = || self.vector(&found.contents, &hit.row);
                let payload = || payload(&found.contents, &hit.row);
                Ok(Hit {
                    id: hit.row.id,
                    distance: f32::from_bits(hit.distance),
                    vector: search.want_vectors.then(vector).transpose()?,
                    payload: search.want_payloads.then(payload).transpose()?,
                    element: schema.element,
                    dim: schema.dim,
                })
            });
            answers.answers.push(Answer {
                hits: hits.collect::<Result<_>>()?,
                stopped_early: found.stopped,
            });
        }
        answers.scanned += found.scanned;
        Ok(())
    }
}

/// The payload of a row.
fn payload(contents: &engine::Contents, row: &engine::RowRef) -> Result<Payload> {
    let mut bytes = mem::Vec::new();
    contents.payload(row, &mut bytes)?;
    Ok(Payload::from_bytes(bytes.to_vec()))
}

impl backend::Collection for ImageCollection {
    fn schema(&self) -> Schema {
        let params = self.engine.params();
        Schema {
            id: self.engine.dir(),
            dim: params.dim() as u32,
            element: params.element(),
            metric: params.metric(),
        }
    }

    fn info(&self) -> Result<CollectionInfo> {
        Ok(info_of(self.engine.dir(), &self.engine.info()?))
    }

    fn insert(&self, batch: &Batch, options: InsertOptions) -> Result<Inserted> {
        let rows = engine::Batch {
            vectors: &batch.vectors,
            ids: batch.has_ids().then_some(batch.ids.as_slice()),
            payload_lens: match batch.payloads.is_empty() {
                true => &[],
                false => &batch.payload_lens,
            },
            payloads: &batch.payloads,
        };
        let mode = engine::InsertMode {
            upsert: options.upsert,
            normalize: options.normalize,
        };
        let done = self.engine.insert(&rows, mode)?;
        self.touch();
        if options.sync {
            self.sync()?;
        }
        Ok(Inserted {
            rows: done.count as u64,
            replaced: done.replaced as u64,
            first_id: (!batch.has_ids()).then_some(done.first_id),
        })
    }

    fn delete(&self, ids: &[u64], sync: bool) -> Result<u64> {
        let deleted = self.engine.delete(ids)?.count as u64;
        if deleted > 0 {
            self.touch();
        }
        if sync {
            self.sync()?;
        }
        Ok(deleted)
    }

    fn get(&self, ids: &[u64], want_vectors: bool) -> Result<Vec<Option<Stored>>> {
        let schema = self.schema();
        let mut out = Vec::with_capacity(ids.len());
        for ids in ids.chunks(Batch::ROWS_MAX) {
            let got = self.engine.get(ids)?;
            for row in &got.rows {
                let stored = |row: &engine::RowRef| -> Result<Stored> {
                    let vector = || self.vector(&got.contents, row);
                    Ok(Stored {
                        id: row.id,
                        vector: want_vectors.then(vector).transpose()?.unwrap_or_default(),
                        payload: payload(&got.contents, row)?,
                        element: schema.element,
                        dim: schema.dim,
                    })
                };
                out.push(row.as_ref().map(stored).transpose()?);
            }
        }
        Ok(out)
    }

    fn search(&self, queries: &[u8], search: &Search) -> Result<Answers> {
        let mut answers = Answers::default();
        // As many queries at a time as the engine takes.
        let most = (uapi::VEXFS_HITS_MAX as usize / search.k.max(1)).min(uapi::VEXFS_QUERIES_MAX as usize);
        let bytes = self.schema().row_bytes().saturating_mul(most.max(1));
        let filter = program(search)?;
        let deadline = Deadline::of(search);
        let stop = || deadline.is_over();
        let stop: Option<&dyn Fn() -> bool> = deadline.0.is_some().then_some(&stop);
        for queries in queries.chunks(bytes) {
            let found = self.engine.search(&to_engine(search, queries, filter.as_ref(), stop))?;
            self.add_answers(&found, search, &mut answers)?;
        }
        Ok(answers)
    }

    fn explain(&self, query: &[u8], search: &Search) -> Result<Explained> {
        let filter = program(search)?;
        let deadline = Deadline::of(search);
        let stop = || deadline.is_over();
        let stop: Option<&dyn Fn() -> bool> = deadline.0.is_some().then_some(&stop);
        let begin = Instant::now();
        let explained = self.engine.explain(&to_engine(search, query, filter.as_ref(), stop))?;
        Ok(Explained {
            elapsed: begin.elapsed(),
            hits: explained.hits,
            parts: explained.parts.to_vec(),
        })
    }

    fn build(&self, change: Change, build: &Build<'_>) -> Result<bool> {
        let threads = match build.threads {
            0 => threads::available(),
            threads => threads,
        };
        match change {
            Change::Set(index) => {
                let params = engine::IndexParams::new(&index)?;
                self.engine.build_index(&params, threads, build.progress)?;
            }
            Change::Drop => {
                self.engine.drop_index()?;
            }
            Change::Optimize => {
                self.engine.optimize(threads, build.progress)?;
            }
            Change::Maintain => return Ok(self.engine.maintain(threads, build.progress)?),
        }
        Ok(true)
    }

    fn sync(&self) -> Result<()> {
        Ok(self.open.fs.sync()?)
    }

    fn drop_cache(&self) -> u64 {
        self.engine.drop_cache()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Image;
    use super::*;
    use crate::backend::Filesystem;
    use crate::Collection;
    use crate::CollectionOptions;
    use crate::Metric;
    use crate::Row;

    #[test]
    fn changes_of_rows_move_the_times_of_the_directory_and_other_calls_do_not() {
        let image = Image::in_memory(64 << 20).unwrap();
        let options = CollectionOptions::new(2, Metric::L2);
        let docs = Collection::new(image.create(Path::new("/docs"), &options).unwrap());
        let old = Time { sec: 1000, nsec: 0 };
        let moved = |change: &dyn Fn()| {
            let times = SetAttr {
                mtime: Some(old),
                ctime: Some(old),
                ..SetAttr::default()
            };
            image.0.fs.set_attr(docs.id(), &times).unwrap();
            change();
            let now = image.0.fs.inode(docs.id()).unwrap();
            assert_eq!(now.mtime, now.ctime);
            now.mtime != old
        };
        assert!(moved(&|| assert_eq!(
            docs.insert([Row::new([1.0, 0.0])]).unwrap().rows,
            1
        )));
        assert!(!moved(&|| drop(docs.get(&[0]).unwrap())));
        assert!(!moved(&|| assert_eq!(docs.delete(&[7]).unwrap(), 0)));
        assert!(moved(&|| assert_eq!(docs.delete(&[0]).unwrap(), 1)));
    }
}
