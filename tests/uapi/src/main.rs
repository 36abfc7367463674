// SPDX-License-Identifier: Apache-2.0
//! `uapi-header` writes the C header of the user ABI to its place, or with `--print` to standard output.

use anyhow::bail;
use anyhow::Result;

fn main() -> Result<()> {
    let text = vexfs_uapi_header::generate()?;
    match std::env::args().nth(1).as_deref() {
        None | Some("--write") => Ok(std::fs::write(vexfs_uapi_header::header_path(), text)?),
        Some("--print") => {
            print!("{text}");
            Ok(())
        }
        Some(other) => bail!("unknown argument {other}; usage: uapi-header [--write | --print]"),
    }
}
