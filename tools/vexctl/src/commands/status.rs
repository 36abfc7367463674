// SPDX-License-Identifier: Apache-2.0
//! `vexctl status`: what a mounted filesystem is and has done.

use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;
use serde_json::Value;
use uuid::Uuid;
use vexfs::Stat;

use crate::cli;
use crate::error::During;
use crate::output::bytes;
use crate::output::Output;
use crate::target::Target;

/// A filesystem, and what the user calls it.
struct Status {
    path: PathBuf,
    /// The device, of a mounted one.
    source: Option<String>,
    stat: Stat,
}

pub fn run(target: &Target, args: &cli::Status, out: &Output) -> Result<ExitCode> {
    let paths: Vec<PathBuf> = match &args.path {
        Some(path) => vec![path.clone()],
        None => target.roots()?,
    };
    let all = paths
        .iter()
        .map(|path| status(target, path))
        .collect::<Result<Vec<_>>>()?;
    if out.json {
        let all: Vec<Value> = all.iter().map(document).collect();
        out.document(&json!({ "filesystems": all }));
        return Ok(ExitCode::SUCCESS);
    }
    if all.is_empty() {
        println!("no VexFS is mounted");
    }
    for (i, status) in all.iter().enumerate() {
        let s = &status.stat;
        if i > 0 {
            println!();
        }
        println!("{}", out.strong(&status.path.display().to_string()));
        let state = match (s.aborted, s.read_only) {
            (true, _) => "stopped after an error; mount it again",
            (false, true) => "read-only",
            (false, false) => "read-write",
        };
        let used = s.total_bytes.saturating_sub(s.free_bytes);
        let mut pairs = vec![
            ("device", status.source.clone().unwrap_or_else(|| "-".into())),
            (
                "label",
                if s.label.is_empty() {
                    "-".into()
                } else {
                    s.label.clone()
                },
            ),
            ("uuid", Uuid::from_bytes(s.uuid).to_string()),
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

fn status(target: &Target, path: &Path) -> Result<Status> {
    let stat = target.filesystem(path).and_then(|fs| fs.stat());
    let stat = stat.during("read the status of", path)?;
    if let Some(image) = target.image() {
        return Ok(Status {
            path: image.into(),
            source: None,
            stat,
        });
    }
    // The deepest mount point that the path is under is the one it is on.
    let absolute = path.canonicalize().unwrap_or_else(|_| path.into());
    let mounts = vexfs::mounts().unwrap_or_default().into_iter();
    let mount = mounts
        .filter(|mount| absolute.starts_with(&mount.path))
        .max_by_key(|mount| mount.path.as_os_str().len());
    Ok(Status {
        path: path.into(),
        source: mount.map(|mount| mount.source),
        stat,
    })
}

fn document(status: &Status) -> Value {
    let s = &status.stat;
    json!({
        "path": status.path, "source": status.source, "uuid": Uuid::from_bytes(s.uuid).to_string(), "label": s.label,
        "read_only": s.read_only, "aborted": s.aborted, "block_size": s.block_size, "total_bytes": s.total_bytes,
        "free_bytes": s.free_bytes, "inodes": s.inodes, "txg": s.txg, "commits": s.commits,
        "cached_nodes": s.cached_nodes, "simd": s.simd, "activity": s.activity,
    })
}
