// SPDX-License-Identifier: Apache-2.0
//! `mounted DIRECTORY`: lists the collections of a mounted filesystem, and uses one of its own.

use std::path::Path;

use vexfs::Metric;
use vexfs::Result;
use vexfs::Row;
use vexfs::Search;
use vexfs::Vexfs;

/// The example, in a directory of a mounted VexFS; returns how many hits there were.
pub fn run(dir: &Path) -> Result<usize> {
    let fs = Vexfs::mounted(dir)?;
    for (path, info) in fs.collections("/", true)? {
        println!(
            "{}: {} rows of {} {}",
            path.display(),
            info.rows,
            info.dim,
            info.element
        );
    }
    // From here on it is as with an image, and other programs see the same rows.
    let docs = fs.create_collection("/example", 2, Metric::L2)?;
    docs.insert([Row::new([1.0, 0.0]), Row::new([0.0, 1.0])])?;
    let hits = docs.search(&[0.9, 0.1], &Search::new(1))?;
    println!("row {} is nearest", hits[0].id);
    fs.drop_collection("/example")?;
    Ok(hits.len())
}

#[allow(dead_code, reason = "a test runs the example by itself")]
fn main() -> Result<()> {
    match std::env::args_os().nth(1) {
        Some(dir) => run(dir.as_ref()).map(drop),
        None => {
            eprintln!("usage: mounted DIRECTORY; mounted are:");
            for mount in vexfs::mounts()? {
                eprintln!("{}", mount.path.display());
            }
            std::process::exit(2);
        }
    }
}
