// SPDX-License-Identifier: Apache-2.0
//! fuzz-seeds FOLDER: writes the inputs that fuzz targets begin with into FOLDER/<target>/.

use anyhow::Context as _;
use anyhow::Result;
use std::path::PathBuf;
use vexfs_tests::fuzz::TARGETS;

fn main() -> Result<()> {
    let folder = PathBuf::from(std::env::args_os().nth(1).context("fuzz-seeds FOLDER")?);
    for target in TARGETS {
        let folder = folder.join(target.name);
        std::fs::create_dir_all(&folder)?;
        for (name, input) in (target.seeds)() {
            std::fs::write(folder.join(name), input)?;
        }
    }
    Ok(())
}
