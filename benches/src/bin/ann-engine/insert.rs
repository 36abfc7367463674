// SPDX-License-Identifier: Apache-2.0
//! Inserting into an image file, durable at the end.

use crate::clock::Clock;
use crate::command::Command;
use crate::image::Image;
use crate::image::Table;
use crate::vectors;
use crate::vectors::Element;
use crate::vectors::Vectors;
use anyhow::Result;
use serde_json::json;
use serde_json::Value;
use vexfs_engine::Params;

/// Rows of a measurement, unless it says otherwise: long enough that the sync at the end is not most of it.
const ROWS: usize = 200_000;

/// Times the inserts of `rows` rows, those of the base over and over, each with a payload, into a new image every time.
pub fn measure(command: &Command) -> Result<Value> {
    let base = Vectors::read(command.needed("base")?, usize::MAX)?;
    let element = Element::parse(command.text("element").unwrap_or("f32"))?;
    let metric = vectors::metric(command.text("metric").unwrap_or("l2"))?;
    let params = Params::new(base.dim as u32, element.code(), metric, 0)?;
    let rows: usize = command.number("rows", ROWS)?;
    let batch: usize = command.number("batch", 1000)?;
    let path = command.needed("path")?;

    let packed = base.elements(element);
    let row_bytes = packed.len() / base.count();
    let vectors: Vec<u8> = packed.iter().copied().cycle().take(rows * row_bytes).collect();
    let bytes = vectors.len() as u64;
    let table = Table {
        vectors,
        row_bytes,
        payload_lens: Vec::new(),
        payloads: Vec::new(),
    }
    .with_payloads();

    let (mut rates, mut cpu_rates) = (Vec::new(), Vec::new());
    for _ in 0..command.number("repeats", 3)? {
        let image = Image::create(path, bytes, &params)?;
        image.fs.sync()?;
        let clock = Clock::start();
        image.fill(&table, batch)?;
        let (wall, cpu) = clock.stop();
        rates.push(rows as f64 / wall);
        cpu_rates.push(rows as f64 / cpu);
        assert_eq!(image.collection.info()?.rows, rows as u64);
        image.close()?;
        std::fs::remove_file(path)?;
    }
    Ok(json!({
        "rows": rows,
        "batch": batch,
        "row_bytes": row_bytes,
        "payload_bytes": table.payloads.len() / rows,
        "rows_per_second": rates,
        "rows_per_cpu_second": cpu_rates,
    }))
}
