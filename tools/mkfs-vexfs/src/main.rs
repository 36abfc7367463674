// SPDX-License-Identifier: Apache-2.0
//! `mkfs.vexfs`.

use std::process::ExitCode;

fn main() -> ExitCode {
    mkfs_vexfs::run()
}
