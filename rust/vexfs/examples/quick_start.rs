// SPDX-License-Identifier: Apache-2.0
//! Makes an image, stores a few documents in it, and finds the nearest ones after opening it again.

use serde_json::json;
use vexfs::Metric;
use vexfs::Result;
use vexfs::Row;
use vexfs::Search;
use vexfs::Vexfs;

/// The example; returns the titles that were found.
pub fn run() -> Result<Vec<String>> {
    let path = std::env::temp_dir().join(format!("vexfs-quick-start-{}.img", std::process::id()));
    // The file is sparse: it takes the space of what is stored.
    let fs = Vexfs::create(&path, 1 << 30)?;
    let docs = fs.create_collection("/docs", 3, Metric::Cosine)?;
    docs.insert([
        Row::new([0.9, 0.1, 0.0]).payload(json!({"title": "On dogs"})),
        Row::new([0.8, 0.3, 0.1]).payload(json!({"title": "On wolves"})),
        Row::new([0.0, 0.2, 0.9]).payload(json!({"title": "On ships"})),
    ])?;
    // All handles belong to the same open image.
    drop(docs);
    fs.close()?;

    let fs = Vexfs::open(&path)?;
    let near = fs
        .collection("/docs")?
        .search(&[1.0, 0.2, 0.0], &Search::new(2).payloads())?;
    let mut titles = Vec::new();
    for hit in near {
        let title = hit.payload()?["title"].as_str().unwrap_or_default().to_string();
        println!("{:.4}  row {}  {title}", hit.distance, hit.id);
        titles.push(title);
    }
    fs.close()?;
    let _ = std::fs::remove_file(&path);
    Ok(titles)
}

#[allow(dead_code, reason = "a test runs the example by itself")]
fn main() -> Result<()> {
    run().map(drop)
}
