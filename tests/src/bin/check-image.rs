// SPDX-License-Identifier: Apache-2.0
//! `check-image PATH...`: runs the consistency check over unmounted devices or images; lists what is wrong and fails.

use anyhow::Context;
use anyhow::Result;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use vexfs_core::check::check;
use vexfs_host::device::Device;
use vexfs_host::device::FileBackend;

/// Whether the filesystem at `path` has no problems.
fn is_clean(path: &Path) -> Result<bool> {
    let backend = FileBackend::open(path, true)?;
    let report = check(&Device::from_backend(Arc::new(backend)))?;
    for problem in &report.problems {
        println!("{}: {problem}", path.display());
    }
    Ok(report.is_clean())
}

fn main() -> Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for path in std::env::args_os().skip(1) {
        let path = Path::new(&path);
        if !is_clean(path).with_context(|| path.display().to_string())? {
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}
