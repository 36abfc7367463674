// SPDX-License-Identifier: Apache-2.0
//! Overwriting single blocks of a file at random, without the device: what the filesystem does for each block. Once the
//! file is one extent that falls to pieces, once each block is an extent of its own already.

use criterion::criterion_group;
use criterion::criterion_main;
use criterion::Criterion;
use criterion::Throughput;
use std::time::Duration;
use vexfs_benches::filesystem;
use vexfs_benches::thread_time;
use vexfs_core::file::DataAlloc;
use vexfs_core::file::DataState;
use vexfs_core::Fs;
use vexfs_host::sync::Arc;

/// Blocks of the file, and how many of them one run overwrites.
const BLOCKS: u64 = 16_384;
const SOME: usize = 4096;
/// Blocks recorded together by writeback.
const TOGETHER: usize = 16;

struct World {
    fs: Arc<Fs>,
    data: DataState,
    ino: u64,
    random: u64,
}

impl World {
    /// A filesystem with a file of some extents.
    fn new(extents: u64) -> Self {
        let (fs, ino) = filesystem(1 << 30, 0o100644);
        let data = DataState::new().expect("state");
        let world = World {
            fs,
            data,
            ino,
            random: 88_172_645_463_325_252,
        };
        let each = BLOCKS / extents;
        // Backwards, so that pieces do not merge.
        for n in (0..extents).rev() {
            let mut done = 0;
            while done < each {
                let at = n * each + done;
                let alloc = world.fs.alloc_data_direct(ino, &world.data, at, each - done);
                let alloc = alloc.expect("space");
                done += u64::from(alloc.len);
                let end = (at + u64::from(alloc.len)) * 4096;
                world
                    .fs
                    .end_data_io(ino, &world.data, &alloc, Some(end), None)
                    .expect("record");
            }
        }
        world.fs.sync().expect("sync");
        world
    }

    fn some(&mut self) -> Vec<u64> {
        self.fs.sync().expect("sync");
        let one = |_| {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            self.random % BLOCKS
        };
        (0..SOME).map(one).collect()
    }

    #[inline(never)]
    fn direct(&self, blocks: &[u64]) {
        for lblk in blocks {
            let alloc = self
                .fs
                .alloc_data_direct(self.ino, &self.data, *lblk, 1)
                .expect("space");
            let end = Some((lblk + 1) * 4096);
            self.fs
                .end_data_io(self.ino, &self.data, &alloc, end, None)
                .expect("record");
        }
    }

    #[inline(never)]
    fn reserve(&self, blocks: &[u64]) {
        for lblk in blocks {
            self.fs.map(self.ino, &self.data, *lblk, 1).expect("map");
            self.fs.reserve(self.ino, &self.data, *lblk, 1).expect("space");
        }
    }

    #[inline(never)]
    fn write_back(&self, blocks: &[u64]) {
        let alloc = |lblk: &u64| self.fs.alloc_data_for(self.ino, &self.data, *lblk, 1).expect("space");
        let allocs: Vec<DataAlloc> = blocks.iter().map(alloc).collect();
        for some in allocs.chunks(TOGETHER) {
            let runs: Vec<_> = some.iter().map(|a| (*a, None)).collect();
            let end = some.last().map(|a| (a.lblk + 1) * 4096);
            self.fs
                .end_data_io_together(self.ino, &self.data, &runs, end)
                .expect("record");
        }
    }
}

fn overwrite(c: &mut Criterion) {
    let mut group = c.benchmark_group("overwrite");
    group.sample_size(20).throughput(Throughput::Elements(SOME as u64));
    for (name, extents) in [("one extent", 1), ("an extent for each block", BLOCKS)] {
        let fresh = |last: &mut Option<World>| {
            if extents == 1 || last.is_none() {
                *last = Some(World::new(extents));
            }
        };
        group.bench_function(format!("{name}, direct"), |b| {
            let mut last = None;
            b.iter_custom(|n| {
                (0..n)
                    .map(|_| {
                        fresh(&mut last);
                        let world = last.as_mut().expect("just made");
                        let blocks = world.some();
                        timed(|| world.direct(&blocks))
                    })
                    .sum()
            });
        });
        group.bench_function(format!("{name}, writeback"), |b| {
            let mut last = None;
            b.iter_custom(|n| {
                (0..n)
                    .map(|_| {
                        fresh(&mut last);
                        let world = last.as_mut().expect("just made");
                        let mut blocks = world.some();
                        blocks.sort_unstable();
                        blocks.dedup();
                        timed(|| {
                            world.reserve(&blocks);
                            world.write_back(&blocks);
                        })
                    })
                    .sum()
            });
        });
    }
    group.finish();
}

/// How long something takes this thread.
fn timed(f: impl FnOnce()) -> Duration {
    let start = thread_time();
    f();
    thread_time() - start
}

criterion_group!(benches, overwrite);
criterion_main!(benches);
