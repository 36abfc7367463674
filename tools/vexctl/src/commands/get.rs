// SPDX-License-Identifier: Apache-2.0
//! `vexctl get`: rows by id. Exits with 1 when one of them does not exist.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;
use serde_json::Map;
use vexfs::Payload;
use vexfs::Stored;

use crate::cli;
use crate::output::Align;
use crate::output::Output;
use crate::target::Target;

/// A row that was read: its vector, if that was wanted, and its payload.
type Row = (Option<Vec<f32>>, Payload);

pub fn run(target: &Target, args: &cli::Get, out: &Output) -> Result<ExitCode> {
    let open = target.collection(&args.path)?;
    let rows: Vec<Option<Row>> = match args.vectors {
        true => {
            let rows = open.collection.get(&args.ids).map_err(open.error("read from"))?;
            let row = |row: Stored| (Some(row.vector()), row.payload);
            rows.into_iter().map(|stored| stored.map(row)).collect()
        }
        false => {
            let payloads = open.collection.payloads(&args.ids).map_err(open.error("read from"))?;
            payloads.into_iter().map(|payload| Some((None, payload?))).collect()
        }
    };
    let payload = |row: &Option<Row>| match row {
        Some((_, payload)) => super::payload_of(payload, &args.fields),
        None => Ok(Map::new()),
    };
    let payloads = rows.iter().map(payload).collect::<Result<Vec<_>>>()?;
    let all = || args.ids.iter().zip(&rows).zip(&payloads);
    if out.json {
        let rows: Vec<_> = all()
            .map(|((id, row), payload)| match row {
                None => json!({ "id": id, "found": false }),
                Some((None, _)) => json!({ "id": id, "found": true, "payload": payload }),
                Some((Some(vector), _)) => {
                    json!({ "id": id, "found": true, "payload": payload, "vector": super::vector_json(vector) })
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
        let table: Vec<Vec<String>> = all()
            .filter_map(|((id, row), payload)| {
                let (vector, _) = row.as_ref()?;
                let mut cells = vec![id.to_string()];
                cells.extend(vector.as_deref().map(super::vector_text));
                cells.extend(super::payload_cells(payload, &columns));
                Some(cells)
            })
            .collect();
        if !table.is_empty() {
            out.table(&headings, &table);
        }
        for ((id, _), _) in all().filter(|((_, row), _)| row.is_none()) {
            eprintln!("vexctl: no row {id} in {}", args.path.display());
        }
    }
    Ok(match rows.iter().all(Option::is_some) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
