// SPDX-License-Identifier: Apache-2.0
//! Exact search beside the memory bandwidth of one core, in bytes a second.
//!
//! Both read as many bytes, several times the last-level cache if `mib` says so, in turns; of both the best turn
//! counts, since other load on the machine can only slow either down. Memory is read in three ways of lying there, and
//! with and without software prefetch: which is fastest differs between machines.

use crate::command::Command;
use crate::vectors;
use crate::vectors::Vectors;
use anyhow::ensure;
use anyhow::Result;
use serde_json::json;
use serde_json::Value;
use std::hint::black_box;
use vexfs_benches::read_all;
use vexfs_benches::thread_time;
use vexfs_benches::World;
use vexfs_engine::SearchRequest;
use vexfs_host::mem::Buffer;

fn gigabytes_per_second(bytes: usize, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    let start = thread_time();
    work()?;
    Ok(bytes as f64 / (thread_time() - start).as_secs_f64() / 1e9)
}

/// Measures with the rows of `base`, repeated to `mib` mebibytes.
pub fn measure(command: &Command) -> Result<Value> {
    let base = Vectors::read(command.needed("base")?, usize::MAX)?;
    let metric = vectors::metric(command.text("metric").unwrap_or("l2"))?;
    let mib: usize = command.number("mib", 1024)?;
    let dim = base.dim;
    let rows = (mib << 20) / 4 / dim;
    let bytes = rows * dim * 4;
    let words: Vec<u32> = base
        .floats
        .iter()
        .map(|x| x.to_bits())
        .cycle()
        .take(rows * dim)
        .collect();
    let pieces: Vec<Vec<u32>> = words.chunks(1 << 18).map(<[u32]>::to_vec).collect();
    let mut buffer = Buffer::zeroed(bytes)?;
    buffer.as_u32s_mut().copy_from_slice(&words);

    let world = World::new(3 * bytes as u64 + (1 << 28), dim, metric);
    world.insert(&words, 4096);
    let query: Vec<u8> = base
        .floats
        .iter()
        .rev()
        .take(dim)
        .flat_map(|x| x.to_le_bytes())
        .collect();
    let search = || {
        let found = world.collection.search(&SearchRequest {
            queries: &query,
            k: 10,
            ..SearchRequest::default()
        })?;
        ensure!(
            found.hits.len() == 10 && found.scanned == rows as u64,
            "a scan that is none"
        );
        black_box(found);
        Ok(())
    };
    let (mut scan, mut read) = (0f64, 0f64);
    for _ in 0..command.number("turns", 9)? {
        scan = scan.max(gigabytes_per_second(bytes, search)?);
        for prefetch in [false, true] {
            for whole in [&words[..], buffer.as_u32s()] {
                let reading = || {
                    black_box(read_all(whole, prefetch));
                    Ok(())
                };
                read = read.max(gigabytes_per_second(bytes, reading)?);
            }
            let in_pieces = || {
                pieces.iter().for_each(|piece| _ = black_box(read_all(piece, prefetch)));
                Ok(())
            };
            read = read.max(gigabytes_per_second(bytes, in_pieces)?);
        }
    }
    Ok(json!({ "scan": scan, "read": read, "mib": mib, "kernels": world.all.kernels() }))
}
