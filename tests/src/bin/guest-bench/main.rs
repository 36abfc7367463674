// SPDX-License-Identifier: Apache-2.0
//! Times the same file operations on mounted filesystems, interleaved in one run, and prints the ratios.
//!
//! Usage: `guest-bench [--rounds N] [--scale PERCENT] [--archive FILE.tar] [--only GROUP,...] [--title TEXT] [--out
//! PREFIX] NAME=DIR NAME=DIR...`
//!
//! The first filesystem is measured against the others. Every workload runs on each of them in turn, `rounds` times,
//! starting with another one each time; the tables show medians. A workload that changes things is timed with the
//! `syncfs` that makes its result durable, and reading starts after dropping the caches. Under emulation only the
//! ratios mean anything.
//!
//! With `--out`, `PREFIX.txt` gets the table, `PREFIX.json` every figure and `PREFIX.svg` a chart of the ratios.

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use report::Report;
use report::Row;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

mod chart;
mod report;
mod workloads;

struct Target {
    name: String,
    dir: PathBuf,
}

struct Options {
    rounds: usize,
    scale: u64,
    archive: Option<Vec<u8>>,
    only: Option<String>,
    title: String,
    out: Option<String>,
    targets: Vec<Target>,
}

fn parse() -> Result<Options> {
    let mut options = Options {
        rounds: 3,
        scale: 100,
        archive: None,
        only: None,
        title: "File operations".into(),
        out: None,
        targets: Vec::new(),
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--rounds" => options.rounds = value()?.parse()?,
            "--scale" => options.scale = value()?.parse()?,
            "--archive" => {
                let path = value()?;
                options.archive = Some(fs::read(&path).with_context(|| path.clone())?);
            }
            "--only" => options.only = Some(value()?),
            "--title" => options.title = value()?,
            "--out" => options.out = Some(value()?),
            _ => {
                let (name, dir) = arg
                    .split_once('=')
                    .with_context(|| format!("{arg}: expected NAME=DIR"))?;
                options.targets.push(Target {
                    name: name.into(),
                    dir: dir.into(),
                });
            }
        }
    }
    if options.targets.len() < 2 || options.rounds == 0 || options.scale == 0 {
        bail!(
            "usage: guest-bench [--rounds N] [--scale PERCENT] [--archive FILE.tar] [--only GROUP,...] [--title TEXT] \
             [--out PREFIX] NAME=DIR NAME=DIR..."
        );
    }
    Ok(options)
}

fn main() -> Result<()> {
    let options = parse()?;
    let mut steps = workloads::all(options.scale, options.archive.as_deref());
    if let Some(only) = &options.only {
        steps.retain(|step| only.split(',').any(|group| group == step.group));
        if steps.is_empty() {
            bail!("--only {only}: no such group of workloads");
        }
    }
    let count = options.targets.len();
    let mut rows: Vec<Row> = steps
        .iter()
        .map(|step| Row::new(&step.name, step.kind, step.operations, count))
        .collect();
    for round in 0..options.rounds {
        let dirs: Vec<PathBuf> = options
            .targets
            .iter()
            .map(|t| t.dir.join(format!("bench-{round}")))
            .collect();
        for dir in &dirs {
            fs::create_dir(dir).with_context(|| dir.display().to_string())?;
        }
        for (step, row) in steps.iter().zip(&mut rows) {
            for turn in 0..count {
                let which = (turn + round) % count;
                let took = step
                    .run(&dirs[which])
                    .with_context(|| format!("{} on {}", step.name, options.targets[which].name))?;
                row.times[which].push(took);
            }
        }
        for dir in &dirs {
            fs::remove_dir_all(dir).with_context(|| dir.display().to_string())?;
            workloads::sync_fs(dir.parent().unwrap_or(Path::new("/")))?;
        }
    }
    let report = Report {
        title: options.title,
        names: options.targets.into_iter().map(|t| t.name).collect(),
        rounds: options.rounds,
        rows,
    };
    let table = report.table();
    print!("{table}");
    if let Some(prefix) = &options.out {
        let files = [("txt", table), ("json", report.json()), ("svg", chart::draw(&report))];
        for (suffix, text) in files {
            let path = format!("{prefix}.{suffix}");
            fs::write(&path, text).with_context(|| path.clone())?;
        }
    }
    Ok(())
}
