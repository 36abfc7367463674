// SPDX-License-Identifier: Apache-2.0
//! `mkfs.vexfs` makes a filesystem on a device or in an image file.
//!
//! The layout and everything written come from `vexfs_core`, which the kernel module shares. This program
//! decides whether it may: `target.rs` refuses what is in use, `probe.rs` recognises what is there already.
//!
//! A library, so that the manual page and completions are made of the same command line.

pub mod cli;
mod probe;
mod report;
mod target;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use clap::Parser;
use vexfs_core::mkfs::FormatOptions;
use vexfs_core::Fs;
use vexfs_host::device::Backend;
use vexfs_host::device::Device;
use vexfs_host::device::FileBackend;
use vexfs_host::Error;

use crate::cli::Cli;

/// Does what the command line says.
pub fn run() -> ExitCode {
    match make(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("mkfs.vexfs: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn make(cli: &Cli) -> Result<()> {
    // clap lets it be absent only with -V, which never gets here.
    let path = cli.device.as_deref().context("no device is named")?;
    let options = FormatOptions {
        label: &cli.label,
        uuid: Some(*cli.uuid.as_bytes()),
        block_size: cli.block_size,
        journal_bytes: cli.journal,
        discard: !cli.no_discard,
        ..FormatOptions::default()
    };
    if !cli.dry_run {
        // Before an image file is created or grown in vain.
        if let Some(size) = cli.size {
            plan(path, size, &options)?;
        }
    }
    let target = target::open(path, cli.size, cli.dry_run)?;
    if let Some(file) = &target.file {
        let found = probe::probe(file).with_context(|| format!("cannot read {}", path.display()))?;
        if !found.is_empty() && !cli.force {
            bail!(
                "{} holds {}; -f formats it nevertheless, and what is there is lost",
                path.display(),
                found.join(", ")
            );
        }
    }
    if cli.inode_ratio.is_some() && !cli.quiet {
        eprintln!("mkfs.vexfs: -i has no effect: VexFS makes inodes as they are needed");
    }
    let layout = match target.file {
        Some(file) if !cli.dry_run => {
            let backend =
                FileBackend::from_file(file, false).with_context(|| format!("cannot use {}", path.display()))?;
            let device = Device::from_backend(Arc::new(backend));
            Fs::format(&device, &options).map_err(|e| explain(path, e))?
        }
        _ => plan(path, target.len, &options)?,
    };
    if !cli.quiet {
        report::print(path, &cli.label, &layout);
        if cli.dry_run {
            println!("nothing was written (-n)");
        }
    }
    Ok(())
}

fn plan(path: &Path, len: u64, options: &FormatOptions<'_>) -> Result<vexfs_core::mkfs::Layout> {
    let device = Device::from_backend(Arc::new(Imagined { len: len & !511 }));
    Fs::plan(&device, options).map_err(|e| explain(path, e))
}

fn explain(path: &Path, error: Error) -> anyhow::Error {
    anyhow::Error::new(error).context(format!("cannot format {}", path.display()))
}

/// A device of which only the size is known.
struct Imagined {
    len: u64,
}

impl Backend for Imagined {
    fn len(&self) -> u64 {
        self.len
    }

    fn is_read_only(&self) -> bool {
        true
    }

    fn read(&self, _offset: u64, _buf: &mut [u8]) -> vexfs_host::Result<()> {
        Err(Error::ReadOnly)
    }

    fn write(&self, _offset: u64, _data: &[u8]) -> vexfs_host::Result<()> {
        Err(Error::ReadOnly)
    }

    fn flush(&self) -> vexfs_host::Result<()> {
        Ok(())
    }
}
