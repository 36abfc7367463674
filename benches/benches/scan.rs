// SPDX-License-Identifier: Apache-2.0
//! Exact search, one query at a time, in bytes of vectors per second, beside the memory bandwidth of one core.
//!
//! Both read as many bytes as `VEXFS_BENCH_MIB` says. After criterion's figures come summary lines with the ratio of
//! the two: both in CPU time of their one thread, measured in turns, and the best turn of each, since other load on the
//! machine can only slow either down.

use criterion::criterion_group;
use criterion::criterion_main;
use criterion::Criterion;
use criterion::Throughput;
use std::hint::black_box;
use std::time::Duration;
use vexfs_benches::bytes_to_scan;
use vexfs_benches::floats;
use vexfs_benches::read_all;
use vexfs_benches::thread_time;
use vexfs_benches::World;
use vexfs_engine::SearchRequest;
use vexfs_uapi as uapi;
use zerocopy::IntoBytes;

/// Turns of the summary.
const TURNS: usize = 9;

fn gigabytes_per_second(bytes: usize, mut work: impl FnMut()) -> f64 {
    let start = thread_time();
    work();
    bytes as f64 / (thread_time() - start).as_secs_f64() / 1e9
}

fn scan(c: &mut Criterion) {
    let bytes = bytes_to_scan();
    let buffer = floats(1, bytes / 4);
    // The same in pieces of 1 MiB, as a collection keeps its rows: where the allocator puts memory changes how fast it
    // is read by more than a tenth.
    let pieces: Vec<Vec<u32>> = buffer.chunks(1 << 18).map(<[u32]>::to_vec).collect();
    let mut group = c.benchmark_group("memory");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(2))
        .throughput(Throughput::Bytes(bytes as u64));
    group.bench_function("read", |b| b.iter(|| black_box(read_all(&buffer, false))));
    group.bench_function("read, prefetching", |b| b.iter(|| black_box(read_all(&buffer, true))));
    group.finish();

    let mut summary = Vec::new();
    for (dim, metric, name) in [
        (128, uapi::VEXFS_METRIC_L2, "l2, 128-d"),
        (384, uapi::VEXFS_METRIC_L2, "l2, 384-d"),
        (384, uapi::VEXFS_METRIC_COSINE, "cosine, 384-d"),
    ] {
        let rows = bytes / 4 / dim;
        let bytes = rows * dim * 4;
        let world = World::new(3 * bytes as u64 + (1 << 28), dim, metric);
        world.insert(&buffer[..rows * dim], 4096);
        let query = floats(2, dim);
        let search = || {
            let found = world
                .collection
                .search(&SearchRequest {
                    queries: query.as_bytes(),
                    k: 10,
                    ..SearchRequest::default()
                })
                .expect("search");
            assert_eq!((found.hits.len(), found.scanned), (10, rows as u64));
            black_box(found);
        };
        let mut group = c.benchmark_group("exact search");
        group
            .sample_size(10)
            .measurement_time(Duration::from_secs(2))
            .throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(name, |b| b.iter(search));
        group.finish();

        let (mut scan, mut read) = (0f64, 0f64);
        for _ in 0..TURNS {
            scan = scan.max(gigabytes_per_second(bytes, search));
            for prefetch in [false, true] {
                let whole = || _ = black_box(read_all(&buffer, prefetch));
                let in_pieces = || pieces.iter().for_each(|piece| _ = black_box(read_all(piece, prefetch)));
                read = read.max(gigabytes_per_second(buffer.len() * 4, whole));
                read = read.max(gigabytes_per_second(buffer.len() * 4, in_pieces));
            }
        }
        let kernels = world.all.kernels();
        summary.push(format!(
            "exact search ({name}, {} MiB, {kernels}): {scan:.1} GB/s of {read:.1} GB/s memory bandwidth, ratio {:.2}",
            bytes >> 20,
            scan / read
        ));
    }
    println!();
    for line in summary {
        println!("{line}");
    }
}

criterion_group!(benches, scan);
criterion_main!(benches);
