// SPDX-License-Identifier: Apache-2.0
//! `vexctl search`: the nearest rows of one or many queries.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;
use serde_json::Map;
use serde_json::Value;
use vexfs::Answer;
use vexfs::Hit;

use super::queries;
use super::queries::Labels;
use super::queries::Queries;
use crate::cli;
use crate::error::Usage;
use crate::output::Align;
use crate::output::Output;
use crate::target::Target;

pub fn run(target: &Target, args: &cli::Search, out: &Output) -> Result<ExitCode> {
    let source = &args.source;
    if source.files.is_empty() && source.vector.is_empty() && args.id.is_empty() {
        return Err(Usage("nothing to search for: give --vector, --id, files, or - for standard input".into()).into());
    }
    if args.labels.is_some() && source.files.len() != 1 {
        return Err(Usage("--labels describes the queries of one file".into()).into());
    }
    let mut search = queries::search(&args.looking)?.payloads();
    if args.vectors {
        search = search.vectors();
    }
    let open = target.collection(&args.path)?;
    let mut queries = Queries::new(&open);
    let labels = Labels {
        file: args.labels.as_deref(),
        field: &args.label_field,
    };
    queries.add_rows(&args.id)?;
    queries.add_source(source, &labels)?;
    let answers = open.collection.search_many(queries.vectors(), &search);
    let answers = answers.map_err(|e| queries.refusal("search", e))?;
    if out.json {
        let mut results = Vec::new();
        for (i, (answer, label)) in answers.answers.iter().zip(&queries.labels).enumerate() {
            results.push(json!({
                "query": i, "label": label, "stopped_early": answer.stopped_early,
                "hits": hits_json(answer, &args.fields)?,
            }));
        }
        out.document(&json!({
            "collection": args.path, "metric": open.collection.metric(), "k": args.looking.k, "scanned": answers.scanned,
            "results": results,
        }));
    } else {
        for (i, (answer, label)) in answers.answers.iter().zip(&queries.labels).enumerate() {
            if i > 0 {
                println!();
            }
            if let Some(label) = label {
                println!("{}", out.strong(label));
            } else if answers.answers.len() > 1 {
                println!("{}", out.strong(&format!("query {}", i + 1)));
            }
            print(answer, args, out)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn hits_json(answer: &Answer, fields: &[String]) -> Result<Vec<Value>> {
    answer
        .hits
        .iter()
        .map(|hit| {
            let mut object = Map::new();
            object.insert("id".into(), json!(hit.id));
            object.insert("distance".into(), super::number(hit.distance));
            object.insert("payload".into(), Value::Object(payload_of(hit, fields)?));
            if hit.vector.is_some() {
                object.insert("vector".into(), super::vector_json(&hit.vector()));
            }
            Ok(Value::Object(object))
        })
        .collect()
}

fn print(answer: &Answer, args: &cli::Search, out: &Output) -> Result<()> {
    let payloads = answer
        .hits
        .iter()
        .map(|hit| payload_of(hit, &args.fields))
        .collect::<Result<Vec<_>>>()?;
    let columns = super::payload_columns(&payloads, &args.fields);
    let mut headings = vec![("distance", Align::Right), ("id", Align::Right)];
    if args.vectors {
        headings.push(("vector", Align::Left));
    }
    headings.extend(super::payload_headings(&columns, &payloads));
    let rows: Vec<Vec<String>> = answer
        .hits
        .iter()
        .zip(&payloads)
        .map(|(hit, payload)| {
            let mut cells = vec![distance_text(hit.distance), hit.id.to_string()];
            cells.extend(hit.vector.is_some().then(|| super::vector_text(&hit.vector())));
            cells.extend(super::payload_cells(payload, &columns));
            cells
        })
        .collect();
    match rows.is_empty() {
        true => println!("no rows"),
        false => out.table(&headings, &rows),
    }
    if answer.stopped_early {
        println!("stopped early: rows may be missing");
    }
    Ok(())
}

fn payload_of(hit: &Hit, fields: &[String]) -> Result<Map<String, Value>> {
    match &hit.payload {
        Some(payload) => super::payload_of(payload, fields),
        None => Ok(Map::new()),
    }
}

/// Four decimals, and no minus before a zero.
fn distance_text(distance: f32) -> String {
    let text = format!("{distance:.4}");
    match text.strip_prefix('-') {
        Some(rest) if rest.bytes().all(|b| b == b'0' || b == b'.') => rest.to_string(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::distance_text;

    #[test]
    fn a_distance_of_nearly_nothing_has_no_sign() {
        assert_eq!(distance_text(-1e-7), "0.0000");
        assert_eq!(distance_text(-2.5), "-2.5000");
        assert_eq!(distance_text(0.30354), "0.3035");
    }
}
