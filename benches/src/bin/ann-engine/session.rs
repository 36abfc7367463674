// SPDX-License-Identifier: Apache-2.0
//! The index that is held, and searches in it.

use crate::clock::resident;
use crate::clock::Clock;
use crate::command::Command;
use crate::image::Image;
use crate::image::Table;
use crate::vectors;
use crate::vectors::Element;
use crate::vectors::Vectors;
use crate::Answer;
use anyhow::Context as _;
use anyhow::Result;
use serde_json::json;
use serde_json::Value;
use vexfs_engine::filter::Program;
use vexfs_engine::Codes;
use vexfs_engine::CollectionStats;
use vexfs_engine::IndexKind;
use vexfs_engine::IndexParams;
use vexfs_engine::Params;
use vexfs_engine::SearchParams;
use vexfs_engine::SearchRequest;
use vexfs_uapi::INDEX_PARAMS;

/// Rows of a batch where inserting is not what is measured.
const BATCH: usize = 1000;

/// What `load` and `open` were told.
#[derive(Default)]
pub struct Session {
    files: Option<Files>,
    image: Option<Image>,
}

struct Files {
    base: String,
    rows: usize,
    element: Element,
    metric: u32,
    query_count: usize,
    /// Packed, in the form of the elements.
    queries: Vec<u8>,
}

/// Index parameters of a `build`.
fn index_of(command: &Command) -> Result<IndexParams> {
    let kind: IndexKind = command.needed("index")?.parse()?;
    let codes: Codes = command.text("codes").unwrap_or("none").parse()?;
    let mut params = vexfs_uapi::IndexParams::of(kind).with_codes(codes);
    for param in INDEX_PARAMS.iter().filter(|param| param.member != "codes") {
        let name = match param.member {
            "ef_construction" => "efc",
            "alpha_permille" => "alpha",
            "recall_permille" => "recall",
            "disk_percent" => "disk",
            member => member,
        };
        (param.set)(&mut params, command.number(name, 0)?);
    }
    Ok(IndexParams::new(&params)?)
}

fn facts(info: &CollectionStats) -> Value {
    json!({
        "rows": info.rows,
        "indexed_rows": info.indexed_rows,
        "segments": info.segments,
        "vector_bytes": info.vector_bytes,
        "index_bytes": info.index_bytes,
        "payload_bytes": info.payload_bytes,
        "field_bytes": info.field_bytes,
        "disk_bytes": info.disk_bytes,
        "memory_bytes": info.memory_bytes,
    })
}

/// The filter `part < below`, in the ABI's form.
fn filter(below: i64) -> Vec<u8> {
    use vexfs_uapi as uapi;
    let flags = uapi::filter::VEXFS_RANGE_UPPER | uapi::filter::VEXFS_RANGE_UPPER_OPEN;
    let mut out = vec![uapi::filter::VEXFS_FILTER_VERSION as u8, 0, 1, 0];
    out.extend([uapi::filter::VEXFS_FILTER_RANGE as u8, 4, 0, flags as u8, 9, 0, 0, 0]);
    out.extend(b"part");
    out.push(uapi::payload::VEXFS_FIELD_I64 as u8);
    out.extend(below.to_le_bytes());
    out
}

impl Session {
    fn files(&self) -> Result<&Files> {
        self.files.as_ref().context("nothing is loaded yet")
    }

    /// Remembers the files and reads the queries.
    pub fn load(&mut self, command: &Command) -> Result<Value> {
        let element = Element::parse(command.text("element").unwrap_or("f32"))?;
        let queries = Vectors::read(command.needed("query")?, usize::MAX)?;
        self.files = Some(Files {
            base: command.needed("base")?.to_owned(),
            rows: command.number("rows", usize::MAX)?,
            element,
            metric: vectors::metric(command.text("metric").unwrap_or("l2"))?,
            query_count: queries.count(),
            queries: queries.elements(element),
        });
        Ok(json!({ "queries": queries.count() }))
    }

    /// Makes an image, inserts the base, builds the index.
    pub fn build(&mut self, command: &Command) -> Result<Value> {
        let files = self.files()?;
        let base = Vectors::read(&files.base, files.rows)?;
        let params = Params::new(base.dim as u32, files.element.code(), files.metric, 0)?;
        let vectors = base.elements(files.element);
        let row_bytes = vectors.len() / base.count();
        drop(base);
        let mut table = Table {
            vectors,
            row_bytes,
            payload_lens: Vec::new(),
            payloads: Vec::new(),
        };
        if command.number("payload", 0)? != 0 {
            table = table.with_payloads();
        }
        let image = Image::create(command.needed("path")?, table.vectors.len() as u64, &params)?;
        let inserting = Clock::start();
        image.fill(&table, BATCH)?;
        let (insert_seconds, _) = inserting.stop();
        let index = index_of(command)?;
        let building = Clock::start();
        if index.kind() == IndexKind::Flat {
            image.collection.optimize(1, &|_, _| {})?;
        } else {
            let threads = command.number("threads", 1)?;
            image.collection.build_index(&index, threads, &|_, _| {})?;
        }
        let (seconds, cpu) = building.stop();
        let mut answer = facts(&image.collection.info()?);
        image.close()?;
        answer["seconds"] = seconds.into();
        answer["cpu"] = cpu.into();
        answer["insert_seconds"] = insert_seconds.into();
        Ok(answer)
    }

    /// Mounts an image and loads all of the collection.
    pub fn open(&mut self, command: &Command) -> Result<Value> {
        let path = command.needed("path")?;
        self.image = None;
        let before = resident()?;
        self.image = Some(Image::open(path)?);
        let first = Command::parse("search k=1 queries=1");
        self.search(&first)?;
        let memory = resident()?.saturating_sub(before);
        let image = self.image.as_ref().context("no image")?;
        let mut answer = facts(&image.collection.info()?);
        answer["memory"] = memory.into();
        Ok(answer)
    }

    /// Searches for the queries one by one.
    pub fn search(&self, command: &Command) -> Result<Answer> {
        let files = self.files()?;
        let image = self.image.as_ref().context("no index is open")?;
        let k: usize = command.number("k", 10)?;
        let row_bytes = files.queries.len() / files.query_count;
        let count = command.number("queries", files.query_count)?.min(files.query_count);
        let below: i64 = command.number("below", -1)?;
        let program = match below {
            ..0 => None,
            below => Some(Program::parse(&filter(below))?),
        };
        let candidates: u32 = command.number("rerank", 0)?;
        let search = SearchRequest {
            k,
            params: SearchParams {
                ef: command.number("ef", 0)?,
                nprobe: command.number("nprobe", 0)?,
                rerank: candidates.div_ceil(k.max(1) as u32),
            },
            exact: command.number("exact", 0)? != 0,
            filter: program.as_ref(),
            ..SearchRequest::default()
        };
        let mut ids = Vec::with_capacity(4 * k * count);
        let mut cost = vexfs_engine::Cost::default();
        let passes: usize = command.number("passes", 1)?;
        let clock = Clock::start();
        for pass in 0..passes {
            for (i, query) in files.queries.chunks(row_bytes).take(count).enumerate() {
                let found = image.collection.search(&SearchRequest {
                    queries: query,
                    ..search
                })?;
                if pass == 0 {
                    ids.extend(found.hits.iter().flat_map(|hit| (hit.row.id as i32).to_le_bytes()));
                    ids.resize(4 * k * (i + 1), 0xff);
                    cost += found.cost;
                }
            }
        }
        let (seconds, cpu) = clock.stop();
        let mut answer = json!({
            "seconds": seconds,
            "cpu": cpu,
            "distances": (cost.distances + cost.codes) as f64 / count as f64,
            "full_distances": cost.distances as f64 / count as f64,
            "hops": cost.hops as f64 / count as f64,
            "reads": cost.reads as f64 / count as f64,
        });
        if program.is_some() {
            // What the planner does for the first query.
            let explained = image.collection.explain(&SearchRequest {
                queries: &files.queries[..row_bytes],
                ..search
            })?;
            let largest = explained.parts.iter().max_by_key(|part| part.rows);
            answer["choice"] = largest
                .and_then(|part| part.choice())
                .map(|choice| choice.name())
                .into();
        }
        Ok((answer, ids))
    }
}
