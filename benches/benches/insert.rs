// SPDX-License-Identifier: Apache-2.0
//! Inserting batches of 1,000 rows into a filesystem in memory, durable at the end, and loading them again.

use criterion::criterion_group;
use criterion::criterion_main;
use criterion::BatchSize;
use criterion::Criterion;
use criterion::Throughput;
use vexfs_benches::floats;
use vexfs_benches::World;
use vexfs_uapi as uapi;

const ROWS: usize = 50_000;
const BATCH: usize = 1000;

fn insert(c: &mut Criterion) {
    for dim in [128, 384] {
        let vectors = floats(1, ROWS * dim);
        let empty = || World::new(1 << 30, dim, uapi::VEXFS_METRIC_L2);
        let mut group = c.benchmark_group(format!("{dim}-d"));
        group.sample_size(10).throughput(Throughput::Elements(ROWS as u64));
        group.bench_function("insert and sync", |b| {
            let fill = |world: World| {
                world.insert(&vectors, BATCH);
                world.fs.sync().expect("sync");
                world
            };
            b.iter_batched(empty, fill, BatchSize::PerIteration);
        });
        let world = empty();
        world.insert(&vectors, BATCH);
        group.bench_function("load", |b| {
            b.iter(|| {
                world.collection.drop_cache();
                assert_eq!(world.collection.get(&[0]).expect("get").rows.len(), 1);
            });
        });
        group.finish();
    }
}

criterion_group!(benches, insert);
criterion_main!(benches);
