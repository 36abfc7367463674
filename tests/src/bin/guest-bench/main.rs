// SPDX-License-Identifier: Apache-2.0
//! Times the same file operations on two mounted filesystems, interleaved in one run, and prints the ratios.
//!
//! Usage: `guest-bench [--rounds N] [--scale PERCENT] [--archive FILE.tar] NAME=DIR NAME=DIR`
//!
//! The first filesystem is measured against the second. Every workload runs on both in turn, `rounds` times, starting
//! with the other one each time; the table shows medians. A workload that changes things is timed with the `syncfs` that
//! makes its result durable, and reading starts after dropping the caches. Under emulation only the ratios mean anything.

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

mod workloads;

struct Target {
    name: String,
    dir: PathBuf,
}

struct Options {
    rounds: usize,
    scale: u64,
    archive: Option<Vec<u8>>,
    targets: Vec<Target>,
}

fn parse() -> Result<Options> {
    let mut options = Options {
        rounds: 3,
        scale: 100,
        archive: None,
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
    if options.targets.len() != 2 || options.rounds == 0 || options.scale == 0 {
        bail!("usage: guest-bench [--rounds N] [--scale PERCENT] [--archive FILE.tar] NAME=DIR NAME=DIR");
    }
    Ok(options)
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn main() -> Result<()> {
    let options = parse()?;
    let steps = workloads::all(options.scale, options.archive.as_deref());
    let (ours, theirs) = (&options.targets[0], &options.targets[1]);
    // times[step][target]
    let mut times = vec![[Vec::new(), Vec::new()]; steps.len()];
    for round in 0..options.rounds {
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        let dirs: Vec<PathBuf> = options
            .targets
            .iter()
            .map(|t| t.dir.join(format!("bench-{round}")))
            .collect();
        for dir in &dirs {
            fs::create_dir(dir).with_context(|| dir.display().to_string())?;
        }
        for (step, results) in steps.iter().zip(&mut times) {
            for which in order {
                let took = step
                    .run(&dirs[which])
                    .with_context(|| format!("{} on {}", step.name, options.targets[which].name))?;
                results[which].push(took);
            }
        }
        for dir in &dirs {
            fs::remove_dir_all(dir).with_context(|| dir.display().to_string())?;
            workloads::sync_fs(dir.parent().unwrap_or(Path::new("/")))?;
        }
    }
    println!(
        "{:<34} {:>12} {:>12} {:>8}",
        "workload (operations a second)", ours.name, theirs.name, "ratio"
    );
    let mut below = 0;
    for (step, results) in steps.iter().zip(&mut times) {
        let [a, b] = results;
        let rate = |d: Duration| step.operations as f64 / d.as_secs_f64().max(1e-9);
        let (a, b) = (rate(median(a)), rate(median(b)));
        let mark = if a / b < 0.5 { "  below half" } else { "" };
        below += usize::from(a / b < 0.5);
        println!("{:<34} {:>12.0} {:>12.0} {:>8.2}{mark}", step.name, a, b, a / b);
    }
    println!("{} workloads, {below} below half of {}", steps.len(), theirs.name);
    Ok(())
}
