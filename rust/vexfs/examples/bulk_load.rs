// SPDX-License-Identifier: Apache-2.0
//! Loads many rows in batches, of vectors that are in the collection's own type already, and builds an index for them.

use std::time::Instant;

use vexfs::Build;
use vexfs::CollectionOptions;
use vexfs::Element;
use vexfs::IndexParams;
use vexfs::InsertOptions;
use vexfs::Metric;
use vexfs::Payload;
use vexfs::Result;
use vexfs::Search;
use vexfs::Vectors;
use vexfs::Vexfs;

const DIM: usize = 64;
const ROWS: u64 = 4000;

/// The bytes of a row: noise that is the same everywhere.
fn vector(row: u64) -> Vec<u8> {
    let mut x = row.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 32) as u8
    };
    (0..DIM).map(|_| next()).collect()
}

/// The example; returns how many rows there are.
pub fn run() -> Result<u64> {
    let fs = Vexfs::in_memory(512 << 20)?;
    let options = CollectionOptions::new(DIM as u32, Metric::L2).element(Element::I8);
    let codes = fs.create_collection_with("/codes", options)?;
    let start = Instant::now();
    let mut batch = codes.batch();
    for row in 0..ROWS {
        // Of the same type, they are copied and not converted.
        batch.push(row, Vectors::Of(Element::I8, &vector(row)), &Payload::default())?;
        let last = row + 1 == ROWS;
        if batch.len() == 1024 || last {
            // One sync, with the last batch, covers all before it.
            codes.insert_with(&batch, InsertOptions::new().sync(last))?;
            batch.clear();
        }
    }
    println!("{ROWS} rows inserted in {:.2?}", start.elapsed());

    let start = Instant::now();
    codes.build_index(IndexParams::HNSW, &Build::new())?;
    println!("indexed in {:.2?}", start.elapsed());

    let found = codes.search(Vectors::Of(Element::I8, &vector(1234)), &Search::new(3))?;
    println!("row 1234 is nearest to row {}", found[0].id);
    Ok(codes.info()?.rows)
}

#[allow(dead_code, reason = "a test runs the example by itself")]
fn main() -> Result<()> {
    run().map(drop)
}
