// SPDX-License-Identifier: Apache-2.0
//! `vexctl explain`: how a search is answered.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;
use serde_json::Value;
use vexfs::ExplainPart;
use vexfs::Explained;
use vexfs_uapi::EXPLAIN_COUNTERS;

use super::queries;
use super::queries::Labels;
use super::queries::Queries;
use crate::cli;
use crate::error::Usage;
use crate::output::Align;
use crate::output::Output;
use crate::target::Target;

pub fn run(target: &Target, args: &cli::Explain, out: &Output) -> Result<ExitCode> {
    let source = &args.source;
    if source.files.is_empty() && source.vector.is_empty() && args.id.is_empty() {
        return Err(Usage("nothing to search for: give --vector, --id, files, or - for standard input".into()).into());
    }
    let search = queries::search(&args.looking)?;
    let open = target.collection(&args.path)?;
    let mut queries = Queries::new(&open);
    queries.add_rows(&args.id)?;
    queries.add_source(source, &Labels::default())?;
    let mut all = Vec::new();
    for query in queries.each() {
        let explained = open.collection.explain(query, &search);
        all.push(explained.map_err(|e| queries.refusal("explain", e))?);
    }
    if out.json {
        let document = |explained: &Explained| {
            let nanos = explained.elapsed.as_nanos() as u64;
            json!({ "hits": explained.hits, "elapsed_ns": nanos, "parts": explained.parts })
        };
        let queries: Vec<Value> = all.iter().map(document).collect();
        out.document(&json!({ "collection": args.path, "k": args.looking.k, "queries": queries }));
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

/// The counters that have a column, and what it is called. Others are notes where they are not 0.
const COLUMNS: [(&str, &str); 3] = [("distances", "compared"), ("codes", "codes"), ("hops", "hops")];

fn print(explained: &Explained, out: &Output) {
    let mut headings = vec![
        ("segment", Align::Right),
        ("index", Align::Left),
        ("choice", Align::Left),
        ("rows", Align::Right),
        ("matching", Align::Right),
        ("expected", Align::Right),
        ("scan cost", Align::Right),
        ("index cost", Align::Right),
    ];
    headings.extend(COLUMNS.map(|(_, heading)| (heading, Align::Right)));
    headings.push(("notes", Align::Left));
    let rows: Vec<Vec<String>> = explained.parts.iter().map(cells).collect();
    out.table(&headings, &rows);
    println!(
        "{} hits in {:.0} µs",
        explained.hits,
        explained.elapsed.as_nanos() as f64 / 1000.0
    );
}

fn cells(part: &ExplainPart) -> Vec<String> {
    let mut notes = Vec::new();
    if part.is_cached() {
        notes.push("matching rows were known".to_string());
    }
    let mut columns = COLUMNS.map(|_| String::new());
    for counter in EXPLAIN_COUNTERS {
        let value = (counter.get)(part);
        match COLUMNS.iter().position(|(name, _)| *name == counter.name) {
            Some(i) => columns[i] = value.to_string(),
            None if value > 0 => notes.push(format!("{value} {}", counter.name)),
            None => {}
        }
    }
    if part.is_stopped() {
        notes.push("stopped by the time limit".to_string());
    }
    let mut cells = vec![
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
    ];
    cells.extend(columns);
    cells.push(notes.join(", "));
    cells
}
