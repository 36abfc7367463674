// SPDX-License-Identifier: Apache-2.0
//! `vexctl explain`: how a search is answered.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;
use vexfs::ExplainPart;

use super::queries;
use super::queries::Labels;
use super::queries::Queries;
use crate::backend::Backend;
use crate::backend::Explained;
use crate::cli;
use crate::error::Usage;
use crate::output::Align;
use crate::output::Output;

pub fn run(backend: &dyn Backend, args: &cli::Explain, out: &Output) -> Result<ExitCode> {
    let source = &args.source;
    if source.files.is_empty() && source.vector.is_empty() && args.id.is_empty() {
        return Err(Usage("nothing to search for: give --vector, --id, files, or - for standard input".into()).into());
    }
    let mut search = queries::search(Vec::new(), &args.looking)?;
    let collection = backend.open(&args.path)?;
    let info = collection.info()?;
    let mut queries = Queries::default();
    queries.add_rows(&info, collection.as_ref(), &args.id)?;
    queries.add_source(&info, source, &Labels::default())?;
    let row_bytes = info.element.vector_bytes(info.dim as usize);
    let mut all = Vec::new();
    for query in queries.bytes.chunks(row_bytes) {
        search.queries = query.to_vec();
        all.push(collection.explain(&search)?);
    }
    if out.json {
        out.document(&json!({ "collection": args.path, "k": search.k, "queries": all }));
        return Ok(ExitCode::SUCCESS);
    }
    for (i, explained) in all.iter().enumerate() {
        if i > 0 {
            println!();
        }
        if all.len() > 1 {
            println!("{}", out.strong(&format!("query {}", i + 1)));
        }
        print(explained, out);
    }
    Ok(ExitCode::SUCCESS)
}

fn print(explained: &Explained, out: &Output) {
    let headings = [
        ("segment", Align::Right),
        ("index", Align::Left),
        ("choice", Align::Left),
        ("rows", Align::Right),
        ("matching", Align::Right),
        ("expected", Align::Right),
        ("scan cost", Align::Right),
        ("index cost", Align::Right),
        ("compared", Align::Right),
        ("codes", Align::Right),
        ("hops", Align::Right),
        ("notes", Align::Left),
    ];
    let rows: Vec<Vec<String>> = explained.parts.iter().map(cells).collect();
    out.table(&headings, &rows);
    println!(
        "{} hits in {:.0} µs",
        explained.hits,
        explained.elapsed_ns as f64 / 1000.0
    );
}

fn cells(part: &ExplainPart) -> Vec<String> {
    let mut notes = Vec::new();
    if part.is_cached() {
        notes.push("matching rows were known".to_string());
    }
    if part.evaluated > 0 {
        notes.push(format!("{} payloads evaluated", part.evaluated));
    }
    if part.fallbacks > 0 {
        notes.push("the index found too few".to_string());
    }
    if part.reads > 0 {
        notes.push(format!("{} reads", part.reads));
    }
    if part.is_stopped() {
        notes.push("stopped by the time limit".to_string());
    }
    vec![
        match part.segment {
            0 => "new rows".into(),
            number => number.to_string(),
        },
        part.index().map_or("?", |index| index.name()).into(),
        part.choice().map_or("?", |choice| choice.name()).into(),
        part.live.to_string(),
        part.matching().map_or("-".into(), |n| n.to_string()),
        match part.expected_min == part.expected_max {
            true => part.expected.to_string(),
            false => format!("{} ({}..{})", part.expected, part.expected_min, part.expected_max),
        },
        part.scan_cost.to_string(),
        part.index_cost().map_or("-".into(), |n| n.to_string()),
        part.distances.to_string(),
        part.codes.to_string(),
        part.hops.to_string(),
        notes.join(", "),
    ]
}
