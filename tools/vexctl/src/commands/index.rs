// SPDX-License-Identifier: Apache-2.0
//! `vexctl index` and `vexctl optimize`.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use serde_json::json;
use vexfs::Build;
use vexfs::Collection;
use vexfs::CollectionInfo;
use vexfs::IndexParams;
use vexfs_uapi::Values;
use vexfs_uapi::INDEX_PARAMS;

use super::work;
use crate::cli;
use crate::output::bytes;
use crate::output::Output;
use crate::target::Open;
use crate::target::Target;

/// What to do about a collection's index.
#[derive(Clone, Copy)]
enum Change {
    /// Give it this index and build that.
    Set(IndexParams),
    /// Take it away.
    Drop,
    /// Merge everything into one segment.
    Optimize,
    /// Do what is due.
    Maintain,
}

impl Change {
    fn run(self, collection: &Collection, how: &Build<'_>) -> vexfs::Result<()> {
        match self {
            Change::Set(index) => collection.build_index(index, how),
            Change::Drop => collection.drop_index(),
            Change::Optimize => collection.optimize(how),
            Change::Maintain => {
                while collection.maintain(how)? {}
                Ok(())
            }
        }
    }

    /// What is attempted, for errors.
    fn verb(self) -> &'static str {
        match self {
            Change::Set(_) => "build the index of",
            Change::Drop => "drop the index of",
            Change::Optimize => "optimize",
            Change::Maintain => "maintain",
        }
    }
}

/// What a document says of an index and what the collection consists of.
const MEMBERS: [&str; 15] = [
    "index",
    "rows",
    "dead_rows",
    "tail_rows",
    "indexed_rows",
    "segments",
    "tail_bytes",
    "segment_bytes",
    "vector_bytes",
    "index_bytes",
    "payload_bytes",
    "field_bytes",
    "memory_bytes",
    "build_done",
    "build_total",
];

fn info(open: &Open) -> Result<CollectionInfo> {
    Ok(open.collection.info().map_err(open.error("describe the index of"))?)
}

pub fn run(target: &Target, args: &cli::IndexCommand, out: &Output) -> Result<ExitCode> {
    match args {
        cli::IndexCommand::Build(args) => {
            let work = Some(&args.work);
            change(target, &args.path, Change::Set(args.index()), work, "indexed", out)
        }
        cli::IndexCommand::Drop { path } => change(target, path, Change::Drop, None, "dropped the index of", out),
        cli::IndexCommand::Info { path } => {
            let info = info(&target.collection(path)?)?;
            match out.json {
                true => out.document(&super::members(&info, &MEMBERS)?.into()),
                false => describe(path, &info, out),
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

pub fn optimize(target: &Target, args: &cli::Optimize, out: &Output) -> Result<ExitCode> {
    let what = match args.due {
        true => Change::Maintain,
        false => Change::Optimize,
    };
    change(target, &args.path, what, Some(&args.work), "optimized", out)
}

fn change(
    target: &Target,
    path: &Path,
    what: Change,
    work: Option<&cli::Work>,
    did: &str,
    out: &Output,
) -> Result<ExitCode> {
    let open = target.collection(path)?;
    let start = Instant::now();
    let quiet = cli::Work {
        threads: None,
        quiet: true,
    };
    work::run(work.unwrap_or(&quiet), |how| what.run(&open.collection, how)).map_err(open.error(what.verb()))?;
    let seconds = start.elapsed().as_secs_f64();
    let info = info(&open)?;
    if out.json {
        let mut document = super::members(&info, &MEMBERS)?;
        document.insert("seconds".into(), json!(seconds));
        out.document(&document.into());
    } else {
        println!(
            "{did} {}: {}, {} rows in {} segments, {} in {seconds:.1} s",
            path.display(),
            text(&info.index),
            info.rows,
            info.segments,
            bytes(info.tail_bytes + info.segment_bytes),
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// An index and those of its parameters that are no defaults.
pub fn text(index: &IndexParams) -> String {
    let mut text = index.kind().map_or("?", |kind| kind.name()).to_string();
    for param in INDEX_PARAMS {
        let value = (param.get)(index);
        if value != 0 {
            let value = match param.values {
                Values::Permille(..) => format!("{}", value as f64 / 1000.0),
                Values::Named(names) => names.get(value as usize).copied().unwrap_or("?").to_string(),
                Values::Range(..) | Values::OneOf(_) => value.to_string(),
            };
            text.push_str(&format!(" {}={value}", param.name));
        }
    }
    text
}

fn describe(path: &Path, info: &CollectionInfo, out: &Output) {
    println!("{}", out.strong(&path.display().to_string()));
    let mut pairs = vec![
        ("index", text(&info.index)),
        ("rows", format!("{}, and {} dead", info.rows, info.dead_rows)),
        ("segments", info.segments.to_string()),
        ("indexed rows", info.indexed_rows.to_string()),
        (
            "not sealed yet",
            format!("{} rows, {}", info.tail_rows, bytes(info.tail_bytes)),
        ),
        ("segments' bytes", bytes(info.segment_bytes)),
        ("  vectors", bytes(info.vector_bytes)),
        ("  index", bytes(info.index_bytes)),
        ("  payloads", bytes(info.payload_bytes)),
        ("  payload indexes", bytes(info.field_bytes)),
        ("in memory", bytes(info.memory_bytes)),
    ];
    if info.build_total > 0 {
        pairs.push((
            "being built",
            format!("{} of {} rows", info.build_done, info.build_total),
        ));
    }
    out.pairs(&pairs);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_that_are_defaults_are_left_out() {
        assert_eq!(text(&IndexParams::LSH), "lsh");
        let index = IndexParams {
            m: 16,
            alpha_permille: 1200,
            ..IndexParams::HNSW.with_codes(vexfs::Codes::Sq8)
        };
        assert_eq!(text(&index), "hnsw codes=sq8 m=16 alpha=1.2");
    }
}
