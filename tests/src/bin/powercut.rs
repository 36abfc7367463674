// SPDX-License-Identifier: Apache-2.0
//! Cuts the power of a recorded virtual disk and checks what is left.
//!
//! `powercut LOG --disk BYTES --seed SEED [--torn N] [--least N] [--export FOLDER --samples N]`
//!
//! Rebuilds the filesystem's partition at every flush of the log, at every write that is durable by itself without what
//! is not, and at N random moments in between with random subsets of the unflushed writes. Each must mount, pass the
//! consistency check before and after, and hold everything that had been acknowledged. Prints `ok` and `not ok` lines;
//! a failure names the cut, with which it can be repeated.

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use vexfs_host::device::RamBackend;
use vexfs_tests::image::Image;
use vexfs_tests::logwrites::Log;
use vexfs_tests::powercut;
use vexfs_tests::powercut::layout;
use vexfs_tests::powercut::replay::choose_cuts;
use vexfs_tests::powercut::replay::first_mark;
use vexfs_tests::powercut::replay::Cut;
use vexfs_tests::powercut::replay::Replay;
use vexfs_tests::powercut::verify::verify;
use vexfs_tests::powercut::verify::Contents;
use vexfs_tests::powercut::Workload;

struct Options {
    log: PathBuf,
    disk: u64,
    seed: u64,
    torn: usize,
    /// As many cuts there have to be.
    least: usize,
    export: Option<PathBuf>,
    samples: usize,
}

fn parse() -> Result<Options> {
    let mut args = std::env::args().skip(1);
    let usage = "usage: powercut LOG --disk BYTES --seed SEED [--torn N] [--least N] [--export FOLDER --samples N]";
    let mut options = Options {
        log: args.next().context(usage)?.into(),
        disk: 0,
        seed: 0,
        torn: 200,
        least: 200,
        export: None,
        samples: 0,
    };
    while let Some(arg) = args.next() {
        let value = args.next().with_context(|| format!("{arg} needs a value"))?;
        match arg.as_str() {
            "--disk" => options.disk = value.parse()?,
            "--seed" => options.seed = value.parse()?,
            "--torn" => options.torn = value.parse()?,
            "--least" => options.least = value.parse()?,
            "--export" => options.export = Some(value.into()),
            "--samples" => options.samples = value.parse()?,
            _ => bail!(usage),
        }
    }
    Ok(options)
}

/// An image after a cut, seen by the power-cut workload.
struct After(Image);

impl Contents for After {
    fn file(&self, path: &str) -> Result<Option<Vec<u8>>> {
        self.0.read_file(path)
    }

    fn names(&self, folder: &str) -> Result<BTreeSet<String>> {
        self.0.names(folder)
    }

    fn rows(&self, ids: &[u64]) -> Result<BTreeMap<u64, Vec<f32>>> {
        self.0.rows(powercut::COLLECTION, ids)
    }

    fn row_count(&self) -> Result<u64> {
        self.0.row_count(powercut::COLLECTION)
    }
}

fn examine(partition: RamBackend, acknowledged: &Workload) -> Result<()> {
    let before = acknowledged.model().clone();
    let under_way = acknowledged.clone().step();
    Image::check(&partition).context("check before mounting")?;
    let image = Image::mount(partition).context("mount")?;
    let after = After(image);
    verify(&after, &before, Some(&under_way))?;
    let partition = after.0.unmount().context("unmount")?;
    Image::check(&partition).context("check after mounting")
}

fn export(partition: &RamBackend, len: u64, path: &Path) -> Result<()> {
    let file = File::create(path).with_context(|| path.display().to_string())?;
    file.set_len(len)?;
    let mut chunk = vec![0u8; 1 << 16];
    for offset in (0..len).step_by(chunk.len()) {
        partition.load(offset, &mut chunk);
        if chunk.iter().any(|b| *b != 0) {
            file.write_all_at(&chunk, offset)?;
        }
    }
    Ok(())
}

fn main() -> Result<()> {
    let options = parse()?;
    let log = Log::open(&options.log)?;
    let first = first_mark(&log, options.disk)?;
    let cuts = choose_cuts(&log, options.torn, options.seed, first);
    let fs_len = layout::fs_len(options.disk);
    let mut replay = Replay::new(&log, options.disk, RamBackend::new(fs_len));
    let mut workload = Workload::new(options.seed);
    let mut done = 0;
    let (mut passed, mut failed) = ([0u32; 3], 0u32);
    let every = cuts.len().checked_div(options.samples).unwrap_or(usize::MAX).max(1);
    for (n, cut) in cuts.iter().enumerate() {
        let partition = replay.at(cut)?;
        let acknowledged = replay.acknowledged().context("a cut before the first mark")?;
        while done < acknowledged {
            workload.step();
            done += 1;
        }
        if let Some(folder) = options.export.as_ref().filter(|_| n % every == every / 2) {
            export(
                &partition,
                fs_len,
                &folder.join(format!("cut{n:05}-{acknowledged}.img")),
            )?;
        }
        match examine(partition, &workload) {
            Ok(()) => match cut {
                Cut::Flush { .. } => passed[0] += 1,
                Cut::Torn { .. } => passed[1] += 1,
                Cut::Alone { .. } => passed[2] += 1,
            },
            Err(e) => {
                failed += 1;
                println!("not ok {cut:?} after operation {acknowledged}: {e:#}");
            }
        }
    }
    println!("# {} log entries, {} cuts", log.entries.len(), cuts.len());
    if failed == 0 && cuts.len() >= options.least {
        println!("ok {} cuts at a flush leave everything acknowledged intact", passed[0]);
        println!(
            "ok {} cuts with part of the unflushed writes leave everything acknowledged intact",
            passed[1]
        );
        // A disk without such writes, as virtio's are, has no such cuts.
        if passed[2] > 0 {
            println!(
                "ok {} cuts with only what is durable by itself leave everything acknowledged intact",
                passed[2]
            );
        }
        return Ok(());
    }
    if cuts.len() < options.least {
        println!("not ok only {} cuts: the workload flushed too seldom", cuts.len());
    }
    bail!("{failed} of {} cuts failed", cuts.len())
}
