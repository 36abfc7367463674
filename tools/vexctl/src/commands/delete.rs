// SPDX-License-Identifier: Apache-2.0
//! `vexctl delete`: rows by id; ids that do not exist are no error.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use anyhow::Result;
use serde_json::json;
use vexfs::Batch;

use crate::cli;
use crate::output::Output;
use crate::target::Target;

pub fn run(target: &Target, args: &cli::Delete, out: &Output) -> Result<ExitCode> {
    let mut ids = args.ids.clone();
    if let Some(path) = &args.from {
        ids.extend(read_ids(path)?);
    }
    let open = target.collection(&args.path)?;
    let mut deleted = 0;
    let chunks = ids.chunks(Batch::ROWS_MAX);
    let last = chunks.len().saturating_sub(1);
    for (i, ids) in chunks.enumerate() {
        // The last call's syncing covers those before it.
        let done = match args.sync && i == last {
            true => open.collection.delete_sync(ids),
            false => open.collection.delete(ids),
        };
        deleted += done.map_err(open.error("delete from"))?;
    }
    match out.json {
        true => out.document(&json!({ "requested": ids.len(), "deleted": deleted })),
        false => println!("deleted {deleted} of {} rows from {}", ids.len(), args.path.display()),
    }
    Ok(ExitCode::SUCCESS)
}

fn read_ids(path: &Path) -> Result<Vec<u64>> {
    let text = match path == Path::new("-") {
        true => std::io::read_to_string(std::io::stdin()).context("cannot read standard input")?,
        false => std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?,
    };
    text.lines()
        .enumerate()
        .map(|(i, line)| (i, line.trim()))
        .filter(|(_, line)| !line.is_empty())
        .map(|(i, line)| {
            line.parse()
                .with_context(|| format!("{}, line {}: {line:?} is no id", path.display(), i + 1))
        })
        .collect()
}
