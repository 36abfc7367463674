// SPDX-License-Identifier: Apache-2.0
//! Searches only among the rows whose payload matches, with an index, and asks how that was done.

use serde_json::json;
use vexfs::Build;
use vexfs::IndexParams;
use vexfs::Metric;
use vexfs::Result;
use vexfs::Row;
use vexfs::Search;
use vexfs::Vexfs;

/// The example; returns the ids that were found.
pub fn run() -> Result<Vec<u64>> {
    let fs = Vexfs::in_memory(256 << 20)?;
    let places = fs.create_collection("/places", 2, Metric::L2)?;
    // A grid of 40 x 40 places, every seventh of them a cafe.
    places.insert((0..1600u64).map(|i| {
        let kind = if i % 7 == 0 { "cafe" } else { "shop" };
        Row::new([(i % 40) as f32, (i / 40) as f32])
            .id(i)
            .payload(json!({"kind": kind, "opened": 1990 + i % 30}))
    }))?;
    places.build_index(IndexParams::HNSW, &Build::new())?;

    let search = Search::new(5)
        .filter(&json!({"kind": "cafe", "opened": {"gte": 2000}}))?
        .payloads();
    let mut ids = Vec::new();
    for hit in places.search(&[20.3, 19.8], &search)? {
        println!("{:7.2}  place {}  {:?}", hit.distance, hit.id, hit.payload()?);
        ids.push(hit.id);
    }
    for part in places.explain(&[20.3, 19.8], &search)?.parts {
        let (choice, live) = (part.choice().map_or("?", |choice| choice.name()), part.live);
        println!(
            "segment {}: {choice}, {} of {live} rows compared",
            part.segment, part.distances
        );
    }
    Ok(ids)
}

#[allow(dead_code, reason = "a test runs the example by itself")]
fn main() -> Result<()> {
    run().map(drop)
}
