// SPDX-License-Identifier: Apache-2.0
//! Crash consistency: random workloads on a recording device, with the power cut at every place of the stream of
//! writes.
//!
//! `VEXFS_CRASH_SEED` replays a run, `VEXFS_CRASH_POINTS` (default 2,500) sets the number of cuts.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use vexfs_tests::crash::Cuts;
use vexfs_tests::crash::Workload;
use vexfs_tests::model::op::seed;
use vexfs_tests::model::op::Kind;
use vexfs_tests::model::op::Rng;

fn points() -> usize {
    std::env::var("VEXFS_CRASH_POINTS")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(2500)
}

/// Cuts one workload at up to `most` places of its stream; returns how often.
fn cut_workload(seed: u64, ops: usize, most: usize) -> Result<usize, String> {
    let mut rng = Rng::new(seed);
    // Half of the workloads sync after every third operation, as databases and mail servers do.
    let synced = seed & 1 == 0;
    let ops: Vec<_> = (0..ops)
        .map(|n| {
            if synced && n % 3 == 2 {
                rng.op_of(Kind::Sync)
            } else {
                rng.op()
            }
        })
        .collect();
    let w = Workload::run(&ops, 64, None)?;
    let mut cuts = Cuts::new(&w.recorder);
    let span = cuts.len() - w.begin + 1;
    // Two of three cuts come in the order of the stream, so that short streams are cut at every place.
    let places = (most * 2 / 3).min(span).max(1);
    let mut done = 0;
    for i in 0..places {
        let at = w.begin + i * (span - 1) / (places - 1).max(1);
        cuts.advance(at);
        let failed =
            |what: &str, e: String| format!("workload seed {seed}, cut at {at} of {}, {what}: {e}", cuts.len());
        w.verify(at, cuts.everything(), i % 16 == 0)
            .map_err(|e| failed("every write kept", e))?;
        done += 1;
        if rng.below(2) == 0 {
            w.verify(at, cuts.random(&mut rng), i % 16 == 8)
                .map_err(|e| failed("some writes kept", e))?;
            done += 1;
        }
        if rng.below(16) == 0 {
            w.verify(at, cuts.nothing_more(), false)
                .map_err(|e| failed("nothing kept since the last flush", e))?;
            done += 1;
        }
    }
    Ok(done)
}

#[test]
fn a_device_that_ignores_flushes_is_noticed() {
    let mut rng = Rng::new(7);
    let ops: Vec<_> = (0..300).map(|_| rng.op()).collect();
    let w = Workload::run(&ops, 64, None).unwrap_or_else(|e| panic!("{e}"));
    let mut cuts = Cuts::lying(&w.recorder);
    cuts.advance(w.begin);
    let noticed = (w.begin..cuts.len()).step_by(7).any(|at| {
        cuts.advance(at);
        w.verify(at, cuts.random(&mut rng), false).is_err()
    });
    assert!(noticed, "lost writes went unnoticed: these tests would notice nothing");
}

#[test]
fn every_cut_leaves_what_was_synced_and_nothing_half_done() {
    let (seed, points) = (seed("VEXFS_CRASH_SEED"), points());
    let done = AtomicUsize::new(0);
    let next = AtomicUsize::new(0);
    std::thread::scope(|s| {
        let workers: Vec<_> = (0..std::thread::available_parallelism().map_or(1, |n| n.get()))
            .map(|_| {
                s.spawn(|| {
                    while done.load(Ordering::Relaxed) < points {
                        let n = next.fetch_add(1, Ordering::Relaxed) as u64;
                        // Short workloads are cut everywhere, long ones reach states that short ones do not.
                        let ops = [40, 80, 150, 400][n as usize % 4];
                        let cut = cut_workload(seed.wrapping_add(n), ops, 200).unwrap_or_else(|e| panic!("{e}"));
                        done.fetch_add(cut, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for w in workers {
            if let Err(e) = w.join() {
                std::panic::resume_unwind(e);
            }
        }
    });
    println!("{} cuts in {} workloads", done.into_inner(), next.into_inner());
}
