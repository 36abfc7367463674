// SPDX-License-Identifier: Apache-2.0
//! `vexctl collection`: create, list, info, drop.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;
use vexfs::Element;
use vexfs::Metric;

use crate::backend::Backend;
use crate::backend::Info;
use crate::backend::NewCollection;
use crate::cli;
use crate::error::Usage;
use crate::output::bytes;
use crate::output::Align;
use crate::output::Output;

pub fn run(backend: &dyn Backend, args: &cli::Collection, out: &Output) -> Result<ExitCode> {
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
            let new = NewCollection {
                dim: *dim,
                element: *element,
                metric: *metric,
                index: *index,
            };
            let id = backend.create(path, &new)?;
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
        cli::Collection::List { path, recursive } => list(backend, path.as_ref(), *recursive, out)?,
        cli::Collection::Info { path } => {
            let info = backend.open(path)?.info()?;
            match out.json {
                true => out.document(&serde_json::to_value(&info)?),
                false => describe(&info, out),
            }
        }
        cli::Collection::Drop { path } => {
            backend.drop_collection(path)?;
            match out.json {
                true => out.document(&json!({ "dropped": path })),
                false => println!("dropped {}", path.display()),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(backend: &dyn Backend, path: Option<&PathBuf>, recursive: bool, out: &Output) -> Result<()> {
    let dirs: Vec<PathBuf> = match path {
        Some(path) => vec![path.clone()],
        None => backend.roots()?,
    };
    let mut all = Vec::new();
    for dir in &dirs {
        all.extend(backend.list(dir, recursive)?);
    }
    if out.json {
        out.document(&json!({ "collections": all }));
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
            .map(|i| {
                vec![
                    i.rows.to_string(),
                    i.dim.to_string(),
                    i.element.name().into(),
                    i.metric.name().into(),
                    i.index.name().into(),
                    bytes(i.disk_bytes),
                    i.path.display().to_string(),
                ]
            })
            .collect();
        out.table(&headings, &rows);
    }
    Ok(())
}

fn describe(info: &Info, out: &Output) {
    println!("{}", out.strong(&info.path.display().to_string()));
    out.pairs(&[
        ("id", info.id.to_string()),
        ("rows", info.rows.to_string()),
        ("dead rows", info.dead_rows.to_string()),
        ("dimensions", info.dim.to_string()),
        ("element", info.element.name().into()),
        ("metric", info.metric.name().into()),
        ("index", info.index.name().into()),
        ("next id", info.next_id.to_string()),
        ("on disk", bytes(info.disk_bytes)),
        ("in memory", bytes(info.memory_bytes)),
    ]);
}
