// SPDX-License-Identifier: Apache-2.0
//! `vexctl search`: the nearest rows of one or many queries.

use std::process::ExitCode;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use serde_json::json;
use serde_json::Map;
use serde_json::Value;

use super::queries;
use crate::backend::Answer;
use crate::backend::Backend;
use crate::backend::Collection;
use crate::backend::Info;
use crate::backend::Search;
use crate::cli;
use crate::error::Usage;
use crate::input::read_objects;
use crate::input::Input;
use crate::input::Options;
use crate::output::plain;
use crate::output::Align;
use crate::output::Output;

/// The queries, one after the other, and what each is called.
struct Queries {
    vectors: Vec<f32>,
    labels: Vec<Option<String>>,
}

pub fn run(backend: &dyn Backend, args: &cli::Search, out: &Output) -> Result<ExitCode> {
    let source = &args.source;
    if source.files.is_empty() && source.vector.is_empty() && args.id.is_empty() {
        return Err(Usage("nothing to search for: give --vector, --id, files, or - for standard input".into()).into());
    }
    if args.labels.is_some() && source.files.len() != 1 {
        return Err(Usage("--labels describes the queries of one file".into()).into());
    }
    if args.radius.is_some_and(f32::is_nan) {
        return Err(Usage("--radius is not a number".into()).into());
    }
    let collection = backend.open(&args.path)?;
    let info = collection.info()?;
    let queries = collect(collection.as_ref(), &info, args)?;
    let answers = collection.search(&Search {
        dim: info.dim,
        queries: &queries.vectors,
        k: args.k,
        radius: args.radius,
        exact: args.exact,
        want_vectors: args.vectors,
        want_payloads: true,
    })?;
    if out.json {
        let mut results = Vec::new();
        for (i, (answer, label)) in answers.answers.iter().zip(&queries.labels).enumerate() {
            results.push(json!({
                "query": i, "label": label, "stopped_early": answer.stopped_early,
                "hits": hits_json(answer, &args.fields)?,
            }));
        }
        out.document(&json!({
            "collection": args.path, "metric": info.metric, "k": args.k, "scanned": answers.scanned,
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

fn collect(collection: &dyn Collection, info: &Info, args: &cli::Search) -> Result<Queries> {
    let mut queries = Queries {
        vectors: Vec::new(),
        labels: Vec::new(),
    };
    for vector in &args.source.vector {
        queries::check(vector, info, false).context("--vector")?;
        queries.vectors.extend_from_slice(vector);
        queries.labels.push(None);
    }
    if !args.id.is_empty() {
        for row in collection.get(&args.id, true)? {
            let Some(vector) = row.vector else {
                bail!("no row {} in {}", row.id, info.path.display());
            };
            queries.vectors.extend(vector);
            queries.labels.push(Some(format!("like row {}", row.id)));
        }
    }
    let labels = args
        .labels
        .as_deref()
        .map(read_objects)
        .transpose()?
        .unwrap_or_default();
    for file in &args.source.files {
        let fields = args.source.fields();
        let range = args.source.range();
        let mut number = range.start as usize;
        let options = Options {
            format: args.source.format,
            fields: &fields,
            payloads: None,
            range,
        };
        let mut input = Input::open(file, &options)?;
        while let Some(row) = input.next_row()? {
            queries::check(&row.vector, info, false).with_context(|| input.position())?;
            queries.vectors.extend(row.vector);
            queries
                .labels
                .push(labels.get(number).and_then(|l| l.get(&args.label_field)).map(plain));
            number += 1;
        }
    }
    Ok(queries)
}

fn hits_json(answer: &Answer, fields: &[String]) -> Result<Vec<Value>> {
    answer
        .hits
        .iter()
        .map(|hit| {
            let mut object = Map::new();
            object.insert("id".into(), json!(hit.row.id));
            object.insert("distance".into(), super::number(hit.distance));
            if hit.row.inode != 0 {
                object.insert("inode".into(), json!(hit.row.inode));
            }
            object.insert("payload".into(), Value::Object(super::payload_of(&hit.row, fields)?));
            if let Some(vector) = &hit.row.vector {
                object.insert(
                    "vector".into(),
                    Value::Array(vector.iter().copied().map(super::number).collect()),
                );
            }
            Ok(Value::Object(object))
        })
        .collect()
}

fn print(answer: &Answer, args: &cli::Search, out: &Output) -> Result<()> {
    let payloads = answer
        .hits
        .iter()
        .map(|hit| super::payload_of(&hit.row, &args.fields))
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
            let mut cells = vec![distance_text(hit.distance), hit.row.id.to_string()];
            cells.extend(hit.row.vector.as_deref().map(super::vector_text));
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
