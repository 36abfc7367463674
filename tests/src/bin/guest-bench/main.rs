// SPDX-License-Identifier: Apache-2.0
//! Times the same file operations on several mounted filesystems, interleaved in one run, and prints the ratios.
//!
//! Usage: `guest-bench [--rounds N] [--scale PERCENT] [--archive FILE.tar] NAME=DIR NAME=DIR...`
//!
//! The first filesystem is measured against each of the others. Every workload runs on all in turn, `rounds` times, starting
//! with the next one each time; the table shows medians. A workload that changes things is timed with the `syncfs` that
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
    if options.targets.len() < 2 || options.rounds == 0 || options.scale == 0 {
        bail!("usage: guest-bench [--rounds N] [--scale PERCENT] [--archive FILE.tar] NAME=DIR NAME=DIR...");
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
    let targets = &options.targets;
    // times[step][target]
    let mut times = vec![vec![Vec::new(); targets.len()]; steps.len()];
    for round in 0..options.rounds {
        let dirs: Vec<PathBuf> = targets.iter().map(|t| t.dir.join(format!("bench-{round}"))).collect();
        for dir in &dirs {
            fs::create_dir(dir).with_context(|| dir.display().to_string())?;
        }
        for (step, results) in steps.iter().zip(&mut times) {
            for turn in 0..targets.len() {
                let which = (round + turn) % targets.len();
                let took = step
                    .run(&dirs[which])
                    .with_context(|| format!("{} on {}", step.name, targets[which].name))?;
                results[which].push(took);
            }
        }
        for dir in &dirs {
            fs::remove_dir_all(dir).with_context(|| dir.display().to_string())?;
            workloads::sync_fs(dir.parent().unwrap_or(Path::new("/")))?;
        }
    }
    print!("{:<34} {:>12}", "workload (operations a second)", targets[0].name);
    for other in &targets[1..] {
        print!(" {:>12} {:>8}", other.name, "ratio");
    }
    println!();
    let mut logarithms = vec![0.0; targets.len()];
    for (step, results) in steps.iter().zip(&mut times) {
        let rates: Vec<f64> = results
            .iter_mut()
            .map(|times| step.operations as f64 / median(times).as_secs_f64().max(1e-9))
            .collect();
        print!("{:<34} {:>12.0}", step.name, rates[0]);
        for (rate, logarithm) in rates[1..].iter().zip(&mut logarithms) {
            print!(" {:>12.0} {:>8.2}", rate, rates[0] / rate);
            *logarithm += (rates[0] / rate).ln();
        }
        println!();
    }
    print!("{:<34} {:>12}", "geometric mean", "");
    for logarithm in &logarithms[..targets.len() - 1] {
        print!(" {:>12} {:>8.2}", "", (logarithm / steps.len() as f64).exp());
    }
    println!();
    Ok(())
}
