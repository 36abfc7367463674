// SPDX-License-Identifier: Apache-2.0
//! The backend of an image file or an unmounted device: the library `vexfs`, in this process.
//!
//! The same code runs in the kernel, so what works here works there. Commands that only read open it read-only. While a
//! command runs, others are kept off the image.

use std::path::Path;
use std::path::PathBuf;

use anyhow::Result;
use vexfs::Batch;
use vexfs::CollectionOptions;
use vexfs::OpenOptions;
use vexfs::Vexfs;

use crate::backend::uuid_text;
use crate::backend::Answer;
use crate::backend::Answers;
use crate::backend::Backend;
use crate::backend::Build;
use crate::backend::Collection;
use crate::backend::Explained;
use crate::backend::Hit;
use crate::backend::Info;
use crate::backend::InsertOptions;
use crate::backend::Inserted;
use crate::backend::NewCollection;
use crate::backend::Progress;
use crate::backend::Row;
use crate::backend::Search;
use crate::backend::Stats;
use crate::backend::Status;
use crate::error::SysError;

/// An image that is open in this process.
pub struct Image {
    path: PathBuf,
    fs: Vexfs,
}

impl Image {
    /// Opens the image or device at `path`, for writing when `write`.
    pub fn open(path: &Path, write: bool) -> Result<Image> {
        let fs = OpenOptions::new()
            .read_only(!write)
            .open(path)
            .map_err(|e| SysError::of("open", path, e))?;
        Ok(Image {
            path: path.to_path_buf(),
            fs,
        })
    }
}

fn info_of(path: &Path, info: &vexfs::Info) -> Info {
    Info {
        path: path.to_path_buf(),
        id: info.id,
        dim: info.dim,
        element: info.element,
        metric: info.metric,
        index: info.index.kind().unwrap_or_default(),
        rows: info.rows,
        dead_rows: info.dead_rows,
        next_id: info.next_id,
        disk_bytes: info.disk_bytes,
        memory_bytes: info.memory_bytes,
    }
}

impl Backend for Image {
    fn roots(&self) -> Result<Vec<PathBuf>> {
        Ok(vec![PathBuf::from("/")])
    }

    fn status(&self, _path: &Path) -> Result<Status> {
        let stat = self.fs.stat();
        Ok(Status {
            path: self.path.clone(),
            source: None,
            uuid: uuid_text(&stat.uuid),
            label: stat.label,
            read_only: stat.read_only,
            aborted: stat.aborted,
            block_size: stat.block_size,
            total_bytes: stat.total_bytes,
            free_bytes: stat.free_bytes,
            inodes: stat.inodes,
            txg: stat.txg,
            commits: stat.commits,
            cached_nodes: stat.cached_nodes,
            simd: stat.simd.to_string(),
            activity: None,
        })
    }

    fn create(&self, path: &Path, new: &NewCollection) -> Result<u64> {
        let options = CollectionOptions::new(new.dim, new.metric)
            .element(new.element)
            .index(new.index);
        let created = self.fs.create_collection_with(path, options);
        let created = created.and_then(|collection| collection.info());
        Ok(created.map_err(|e| SysError::of("create", path, e))?.id)
    }

    fn drop_collection(&self, path: &Path) -> Result<()> {
        Ok(self
            .fs
            .drop_collection(path)
            .map_err(|e| SysError::of("drop", path, e))?)
    }

    fn list(&self, dir: &Path, recursive: bool) -> Result<Vec<Info>> {
        let all = self
            .fs
            .collections(dir, recursive)
            .map_err(|e| SysError::of("list", dir, e))?;
        Ok(all.iter().map(|(path, info)| info_of(path, info)).collect())
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Collection>> {
        let collection = self.fs.collection(path).map_err(|e| SysError::of("open", path, e))?;
        Ok(Box::new(Open {
            collection,
            path: path.to_path_buf(),
        }))
    }

    fn finish(&self) -> Result<()> {
        Ok(self
            .fs
            .clone()
            .close()
            .map_err(|e| SysError::of("write", &self.path, e))?)
    }
}

/// A collection in use.
struct Open {
    collection: vexfs::Collection,
    path: PathBuf,
}

impl Open {
    fn error(&self, verb: &'static str) -> impl Fn(vexfs::Error) -> SysError + '_ {
        move |e| SysError::of(verb, &self.path, e)
    }

    fn search_options(&self, search: &Search) -> vexfs::Search {
        let mut options = vexfs::Search::new(search.k as usize)
            .ef(search.ef)
            .nprobe(search.nprobe)
            .rerank(search.rerank);
        if let Some(radius) = search.radius {
            options = options.radius(radius);
        }
        if search.exact {
            options = options.exact();
        }
        if search.time_limit_us > 0 {
            options = options.time_limit(std::time::Duration::from_micros(search.time_limit_us.into()));
        }
        if let Some(program) = &search.filter {
            options = options.filter_program(program.clone());
        }
        if search.want_vectors {
            options = options.vectors();
        }
        if search.want_payloads {
            options = options.payloads();
        }
        options
    }
}

impl Collection for Open {
    fn info(&self) -> Result<Info> {
        let info = self.collection.info().map_err(self.error("describe"))?;
        Ok(info_of(&self.path, &info))
    }

    fn stats(&self) -> Result<Stats> {
        let info = self.collection.info().map_err(self.error("describe"))?;
        Ok(Stats {
            index: info.index,
            rows: info.rows,
            dead_rows: info.dead_rows,
            tail_rows: info.tail_rows,
            indexed_rows: info.indexed_rows,
            segments: info.segments,
            tail_bytes: info.tail_bytes,
            segment_bytes: info.segment_bytes,
            vector_bytes: info.vector_bytes,
            index_bytes: info.index_bytes,
            payload_bytes: info.payload_bytes,
            field_bytes: info.field_bytes,
            memory_bytes: info.memory_bytes,
            build_done: 0,
            build_total: 0,
        })
    }

    fn insert(&self, batch: &Batch, options: InsertOptions) -> Result<Inserted> {
        let done = match options {
            InsertOptions {
                normalize: true,
                upsert,
                ..
            } => self.collection.insert_normalized(batch, upsert),
            InsertOptions { upsert: true, .. } => self.collection.upsert_batch(batch),
            _ => self.collection.insert_batch(batch),
        };
        let done = done.map_err(self.error("insert into"))?;
        if options.sync {
            self.collection.sync().map_err(self.error("insert into"))?;
        }
        Ok(Inserted {
            rows: done.rows,
            replaced: done.replaced,
            first_id: done.first_id,
        })
    }

    fn get(&self, ids: &[u64], want_vectors: bool) -> Result<Vec<Row>> {
        let mut out = Vec::with_capacity(ids.len());
        for ids in ids.chunks(Batch::ROWS_MAX) {
            let rows = self.collection.get(ids).map_err(self.error("read from"))?;
            out.extend(ids.iter().zip(rows).map(|(id, row)| match row {
                Some(row) => Row {
                    id: *id,
                    inode: 0,
                    found: true,
                    payload: row.payload,
                    vector: want_vectors.then_some(row.vector),
                },
                None => Row {
                    id: *id,
                    inode: 0,
                    found: false,
                    payload: vexfs::Payload::default(),
                    vector: None,
                },
            }));
        }
        Ok(out)
    }

    fn delete(&self, ids: &[u64], sync: bool) -> Result<u64> {
        let mut deleted = 0;
        for ids in ids.chunks(Batch::ROWS_MAX) {
            deleted += self.collection.delete(ids).map_err(self.error("delete from"))?;
        }
        if sync {
            self.collection.sync().map_err(self.error("delete from"))?;
        }
        Ok(deleted)
    }

    fn search(&self, search: &Search) -> Result<Answers> {
        let found = self
            .collection
            .search_many(search.queries.as_slice(), &self.search_options(search))
            .map_err(self.error("search"))?;
        let hit = |hit: vexfs::Hit| Hit {
            distance: hit.distance,
            row: Row {
                id: hit.id,
                inode: 0,
                found: true,
                payload: hit.payload.unwrap_or_default(),
                vector: hit.vector,
            },
        };
        Ok(Answers {
            answers: found
                .answers
                .into_iter()
                .map(|answer| Answer {
                    stopped_early: answer.stopped_early,
                    hits: answer.hits.into_iter().map(hit).collect(),
                })
                .collect(),
            scanned: found.scanned,
        })
    }

    fn explain(&self, search: &Search) -> Result<Explained> {
        let explained = self
            .collection
            .explain(search.queries.as_slice(), &self.search_options(search))
            .map_err(self.error("explain"))?;
        Ok(Explained {
            hits: explained.hits,
            elapsed_ns: explained.elapsed.as_nanos() as u64,
            parts: explained.parts,
        })
    }

    fn build(&self, build: Build, threads: usize, progress: Progress<'_>) -> Result<()> {
        let collection = &self.collection;
        let how = vexfs::Build::new().threads(threads).progress(progress);
        let done = match build {
            Build::Set(index) => collection.build_index(index, &how),
            Build::Drop => collection.drop_index(),
            Build::Optimize => collection.optimize(&how),
            Build::Maintain => loop {
                match collection.maintain(&how) {
                    Ok(true) => {}
                    Ok(false) => break Ok(()),
                    Err(e) => break Err(e),
                }
            },
        };
        Ok(done.map_err(self.error(build.verb()))?)
    }
}
