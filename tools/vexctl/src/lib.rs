// SPDX-License-Identifier: Apache-2.0
//! `vexctl`, the command line of VexFS's collections.
//!
//! Commands are in `commands/`, one file each; they read rows through `input/`, use the library `vexfs` on what
//! `target.rs` finds for a path, an image or a mounted filesystem, and print through `output.rs`. Exit codes: 0
//! success, 1 failure, 2 usage.
//!
//! A library, so that the manual pages and completions are made of the same command line.

pub mod cli;
mod commands;
mod error;
mod input;
mod output;
mod target;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;
use crate::error::Usage;
use crate::output::Output;

/// Does what the command line says.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let out = Output::new(cli.json, cli.color);
    match commands::run(&cli, &out) {
        Ok(code) => code,
        Err(e) => {
            out.error(&e);
            if e.downcast_ref::<Usage>().is_some() {
                ExitCode::from(2)
            } else {
                ExitCode::from(1)
            }
        }
    }
}
