// SPDX-License-Identifier: Apache-2.0
//! `vexctl collection`: create, list, info, drop.

use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;
use serde_json::Value;
use vexfs::CollectionInfo;
use vexfs::CollectionOptions;
use vexfs::Element;
use vexfs::IndexKind;
use vexfs::Metric;

use crate::cli;
use crate::error::During;
use crate::error::Usage;
use crate::output::bytes;
use crate::output::Align;
use crate::output::Output;
use crate::target::Target;

pub fn run(target: &Target, args: &cli::Collection, out: &Output) -> Result<ExitCode> {
    match args {
        cli::Collection::Create {
            path,
            dim,
            metric,
            element,
            index,
        } => {
            if (*element == Element::Binary) != (*metric == Metric::Hamming) {
                return Err(Usage("--metric hamming and --element binary belong together".into()).into());
            }
            let options = CollectionOptions::new(*dim, *metric).element(*element).index(*index);
            let (fs, place) = target.place(path, "create")?;
            let id = fs.create_collection_with(place, options).during("create", path)?.id();
            if out.json {
                out.document(&json!({
                    "path": path, "id": id, "dim": dim, "metric": metric, "element": element, "index": index,
                }));
            } else {
                println!(
                    "created {} ({dim} dimensions, {element}, {metric}, {index})",
                    path.display()
                );
            }
        }
        cli::Collection::List { path, recursive } => list(target, path.as_ref(), *recursive, out)?,
        cli::Collection::Info { path } => {
            let open = target.collection(path)?;
            let info = open.collection.info().map_err(open.error("describe"))?;
            match out.json {
                true => out.document(&document(path, &info)?),
                false => describe(path, &info, out),
            }
        }
        cli::Collection::Drop { path } => {
            let (fs, place) = target.place(path, "drop")?;
            fs.drop_collection(place).during("drop", path)?;
            match out.json {
                true => out.document(&json!({ "dropped": path })),
                false => println!("dropped {}", path.display()),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(target: &Target, path: Option<&PathBuf>, recursive: bool, out: &Output) -> Result<()> {
    let dirs: Vec<PathBuf> = match path {
        Some(path) => vec![path.clone()],
        None => target.roots()?,
    };
    let mut all = Vec::new();
    for dir in &dirs {
        all.extend(target.list(dir, recursive)?);
    }
    if out.json {
        let all = all.iter().map(|(path, info)| document(path, info));
        out.document(&json!({ "collections": all.collect::<Result<Vec<_>>>()? }));
    } else if all.is_empty() {
        println!("no collections");
    } else {
        let headings = [
            ("rows", Align::Right),
            ("dim", Align::Right),
            ("element", Align::Left),
            ("metric", Align::Left),
            ("index", Align::Left),
            ("disk", Align::Right),
            ("path", Align::Left),
        ];
        let rows: Vec<Vec<String>> = all
            .iter()
            .map(|(path, i)| {
                vec![
                    i.rows.to_string(),
                    i.dim.to_string(),
                    i.element.name().into(),
                    i.metric.name().into(),
                    index_name(i).into(),
                    bytes(i.disk_bytes),
                    path.display().to_string(),
                ]
            })
            .collect();
        out.table(&headings, &rows);
    }
    Ok(())
}

fn index_name(info: &CollectionInfo) -> &'static str {
    info.index.kind().map_or("?", IndexKind::name)
}

fn document(path: &Path, info: &CollectionInfo) -> Result<Value> {
    let mut object = super::members(info, &MEMBERS)?;
    object.insert("path".into(), json!(path));
    object.insert("index".into(), json!(info.index.kind()));
    Ok(Value::Object(object))
}

/// What a document says of a collection besides its path and the kind of its index; `vexctl index info` says the rest.
const MEMBERS: [&str; 9] = [
    "id",
    "dim",
    "element",
    "metric",
    "rows",
    "dead_rows",
    "next_id",
    "disk_bytes",
    "memory_bytes",
];

fn describe(path: &Path, info: &CollectionInfo, out: &Output) {
    println!("{}", out.strong(&path.display().to_string()));
    out.pairs(&[
        ("id", info.id.to_string()),
        ("rows", info.rows.to_string()),
        ("dead rows", info.dead_rows.to_string()),
        ("dimensions", info.dim.to_string()),
        ("element", info.element.name().into()),
        ("metric", info.metric.name().into()),
        ("index", index_name(info).into()),
        ("next id", info.next_id.to_string()),
        ("on disk", bytes(info.disk_bytes)),
        ("in memory", bytes(info.memory_bytes)),
    ]);
}
