// SPDX-License-Identifier: Apache-2.0
//! `vexctl get`: rows by id. Exits with 1 when one of them does not exist.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use crate::backend::Backend;
use crate::cli;
use crate::output::Align;
use crate::output::Output;

pub fn run(backend: &dyn Backend, args: &cli::Get, out: &Output) -> Result<ExitCode> {
    let collection = backend.open(&args.path)?;
    let info = collection.info()?;
    let rows = collection.get(&args.ids, args.vectors)?;
    let payloads = rows
        .iter()
        .map(|row| super::payload_of(row, &args.fields))
        .collect::<Result<Vec<_>>>()?;
    if out.json {
        let rows: Vec<_> = rows
            .iter()
            .zip(&payloads)
            .map(|(row, payload)| match (row.found, &row.vector) {
                (false, _) => json!({ "id": row.id, "found": false }),
                (true, None) => json!({ "id": row.id, "found": true, "payload": payload }),
                (true, Some(vector)) => {
                    json!({ "id": row.id, "found": true, "payload": payload, "vector": super::vector_json(vector, &info) })
                }
            })
            .collect();
        out.document(&json!({ "rows": rows }));
    } else {
        let columns = super::payload_columns(&payloads, &args.fields);
        let mut headings = vec![("id", Align::Right)];
        if args.vectors {
            headings.push(("vector", Align::Left));
        }
        headings.extend(super::payload_headings(&columns, &payloads));
        let table: Vec<Vec<String>> = rows
            .iter()
            .zip(&payloads)
            .filter(|(row, _)| row.found)
            .map(|(row, payload)| {
                let mut cells = vec![row.id.to_string()];
                cells.extend(row.vector.as_deref().map(|v| super::vector_text(v, &info)));
                cells.extend(super::payload_cells(payload, &columns));
                cells
            })
            .collect();
        if !table.is_empty() {
            out.table(&headings, &table);
        }
        for row in rows.iter().filter(|row| !row.found) {
            eprintln!("vexctl: no row {} in {}", row.id, args.path.display());
        }
    }
    Ok(match rows.iter().all(|row| row.found) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
