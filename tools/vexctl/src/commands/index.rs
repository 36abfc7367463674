// SPDX-License-Identifier: Apache-2.0
//! `vexctl index` and `vexctl optimize`.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use serde_json::json;
use vexfs::IndexParams;
use vexfs_uapi::Values;
use vexfs_uapi::INDEX_PARAMS;

use super::work;
use crate::backend::Backend;
use crate::backend::Build;
use crate::backend::Stats;
use crate::cli;
use crate::output::bytes;
use crate::output::Output;

pub fn run(backend: &dyn Backend, args: &cli::IndexCommand, out: &Output) -> Result<ExitCode> {
    match args {
        cli::IndexCommand::Build(args) => {
            let work = Some(&args.work);
            change(backend, &args.path, Build::Set(args.index()), work, "indexed", out)
        }
        cli::IndexCommand::Drop { path } => change(backend, path, Build::Drop, None, "dropped the index of", out),
        cli::IndexCommand::Info { path } => {
            let stats = backend.open(path)?.stats()?;
            match out.json {
                true => out.document(&serde_json::to_value(&stats)?),
                false => describe(path, &stats, out),
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

pub fn optimize(backend: &dyn Backend, args: &cli::Optimize, out: &Output) -> Result<ExitCode> {
    let build = match args.due {
        true => Build::Maintain,
        false => Build::Optimize,
    };
    change(backend, &args.path, build, Some(&args.work), "optimized", out)
}

fn change(
    backend: &dyn Backend,
    path: &Path,
    build: Build,
    work: Option<&cli::Work>,
    did: &str,
    out: &Output,
) -> Result<ExitCode> {
    let collection = backend.open(path)?;
    let start = Instant::now();
    let quiet = cli::Work {
        threads: None,
        quiet: true,
    };
    work::run(collection.as_ref(), build, work.unwrap_or(&quiet))?;
    let seconds = start.elapsed().as_secs_f64();
    let stats = collection.stats()?;
    if out.json {
        let mut document = serde_json::to_value(&stats)?;
        document["seconds"] = json!(seconds);
        out.document(&document);
    } else {
        println!(
            "{did} {}: {}, {} rows in {} segments, {} in {seconds:.1} s",
            path.display(),
            text(&stats.index),
            stats.rows,
            stats.segments,
            bytes(stats.tail_bytes + stats.segment_bytes),
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

fn describe(path: &Path, stats: &Stats, out: &Output) {
    println!("{}", out.strong(&path.display().to_string()));
    let mut pairs = vec![
        ("index", text(&stats.index)),
        ("rows", format!("{}, and {} dead", stats.rows, stats.dead_rows)),
        ("segments", stats.segments.to_string()),
        ("indexed rows", stats.indexed_rows.to_string()),
        (
            "not sealed yet",
            format!("{} rows, {}", stats.tail_rows, bytes(stats.tail_bytes)),
        ),
        ("segments' bytes", bytes(stats.segment_bytes)),
        ("  vectors", bytes(stats.vector_bytes)),
        ("  index", bytes(stats.index_bytes)),
        ("  payloads", bytes(stats.payload_bytes)),
        ("  payload indexes", bytes(stats.field_bytes)),
        ("in memory", bytes(stats.memory_bytes)),
    ];
    if stats.build_total > 0 {
        pairs.push((
            "being built",
            format!("{} of {} rows", stats.build_done, stats.build_total),
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
