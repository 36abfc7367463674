// SPDX-License-Identifier: Apache-2.0
//! `twins DIRECTORY`: the checks of `rust/vexfs/tests/twins` on a mounted filesystem, in an empty directory of it.

#[path = "../../../rust/vexfs/tests/twins/checks.rs"]
mod checks;

use std::panic::catch_unwind;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

use anyhow::Context;
use anyhow::Result;
use vexfs::Vexfs;

fn main() -> Result<ExitCode> {
    let dir = std::env::args_os().nth(1).context("usage: twins DIRECTORY")?;
    let fs = Vexfs::mounted(dir)?;
    let mut code = ExitCode::SUCCESS;
    for (name, check) in checks::CHECKS {
        match catch_unwind(AssertUnwindSafe(|| check(&fs))) {
            Ok(()) => println!("ok mounted: {name}"),
            // The panic has said why on standard error.
            Err(_) => {
                println!("not ok mounted: {name}");
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}
