// SPDX-License-Identifier: Apache-2.0
//! `vexctl status`: what a mounted filesystem is and has done.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use crate::backend::Backend;
use crate::cli;
use crate::output::bytes;
use crate::output::Output;

pub fn run(backend: &dyn Backend, args: &cli::Status, out: &Output) -> Result<ExitCode> {
    let paths: Vec<PathBuf> = match &args.path {
        Some(path) => vec![path.clone()],
        None => backend.roots()?,
    };
    let all = paths
        .iter()
        .map(|path| backend.status(path))
        .collect::<Result<Vec<_>>>()?;
    if out.json {
        out.document(&json!({ "filesystems": all }));
        return Ok(ExitCode::SUCCESS);
    }
    if all.is_empty() {
        println!("no VexFS is mounted");
    }
    for (i, s) in all.iter().enumerate() {
        if i > 0 {
            println!();
        }
        println!("{}", out.strong(&s.path.display().to_string()));
        let state = match (s.aborted, s.read_only) {
            (true, _) => "stopped after an error; mount it again",
            (false, true) => "read-only",
            (false, false) => "read-write",
        };
        let used = s.total_bytes.saturating_sub(s.free_bytes);
        let mut pairs = vec![
            ("device", s.source.clone().unwrap_or_else(|| "-".into())),
            (
                "label",
                if s.label.is_empty() {
                    "-".into()
                } else {
                    s.label.clone()
                },
            ),
            ("uuid", s.uuid.clone()),
            ("state", state.into()),
            (
                "space",
                format!(
                    "{} used of {}, {} free",
                    bytes(used),
                    bytes(s.total_bytes),
                    bytes(s.free_bytes)
                ),
            ),
            ("block size", s.block_size.to_string()),
            ("inodes", s.inodes.to_string()),
            (
                "transaction",
                format!("{} open, {} committed since the mount", s.txg, s.commits),
            ),
            ("tree nodes", format!("{} in memory", s.cached_nodes)),
            ("distances", s.simd.clone()),
        ];
        if let Some(a) = &s.activity {
            pairs.extend([
                (
                    "collections",
                    format!("{} in memory, {}", a.collections_loaded, bytes(a.vector_bytes)),
                ),
                (
                    "rows",
                    format!(
                        "{} inserted, {} deleted since the mount",
                        a.rows_inserted, a.rows_deleted
                    ),
                ),
                (
                    "queries",
                    format!("{} answered, {} rows compared", a.queries, a.rows_scanned),
                ),
            ]);
        }
        out.pairs(&pairs);
    }
    Ok(ExitCode::SUCCESS)
}
