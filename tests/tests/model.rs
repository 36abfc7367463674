// SPDX-License-Identifier: Apache-2.0
//! Random operations on files, directories, attributes and collections, with remounts, against the model in memory.
//!
//! `VEXFS_MODEL_SEED` replays a run, `VEXFS_MODEL_OPS` (default 120,000) sets its length. Failing sequences are shrunk
//! and kept in `model.proptest-regressions`.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;
use proptest::test_runner::FileFailurePersistence;
use proptest::test_runner::RngAlgorithm;
use proptest::test_runner::TestRng;
use proptest::test_runner::TestRunner;
use std::cell::Cell;
use std::sync::Arc;
use vexfs_core::check::check;
use vexfs_core::mount::MountOptions;
use vexfs_host::device::Device;
use vexfs_host::device::RamBackend;
use vexfs_tests::model::harness::small_caches;
use vexfs_tests::model::op::seed;
use vexfs_tests::model::Harness;
use vexfs_tests::model::Op;

const OPS_PER_CASE: usize = 2000;

fn ram(mib: u64) -> Device {
    Device::from_backend(Arc::new(RamBackend::new(mib << 20)))
}

/// Runs a sequence, compares everything at its end and now and then, and checks the device.
fn run(ops: &[Op], mib: u64, block_size: u32, options: MountOptions, may_be_full: bool) -> Result<(), String> {
    let once = |every| run_once(ops, ram(mib), block_size, options, may_be_full, every);
    // After a failure, look again more closely: which operation was it?
    once(197).map_err(|e| once(1).err().unwrap_or(e))
}

fn run_once(
    ops: &[Op],
    dev: Device,
    block_size: u32,
    options: MountOptions,
    may_be_full: bool,
    every: usize,
) -> Result<(), String> {
    let mut h = Harness::new(dev.clone(), block_size, options)?;
    h.may_be_full = may_be_full;
    for (i, op) in ops.iter().enumerate() {
        h.step(*op).map_err(|e| format!("operation {i}: {e}"))?;
        if i % every == every - 1 {
            h.compare().map_err(|e| format!("after operation {i}, {op:?}: {e}"))?;
        }
    }
    h.compare().map_err(|e| format!("at the end: {e}"))?;
    h.remount()?;
    h.compare().map_err(|e| format!("after the last remount: {e}"))?;
    h.fs.unmount().map_err(|e| format!("unmount: {e}"))?;
    let report = check(&dev).map_err(|e| format!("check: {e}"))?;
    if !report.is_clean() || report.orphans > 0 || report.stale_tails > 0 {
        return Err(format!(
            "the device is not consistent: {} stale tails\n{report}",
            report.stale_tails
        ));
    }
    Ok(())
}

fn runner(name: &str, cases: u32, seed: u64) -> TestRunner {
    let config = Config {
        cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("proptest-regressions"))),
        source_file: Some(file!()),
        test_name: None,
        max_shrink_iters: 4000,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..8 + name.len().min(24)].copy_from_slice(&name.as_bytes()[..name.len().min(24)]);
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

fn sequences(max: usize) -> impl Strategy<Value = Vec<Op>> {
    // An operation means something else with every bit: leaving operations out is all that shrinking can do.
    vec(any::<u64>().prop_map(Op).no_shrink(), 1..=max)
}

fn total() -> usize {
    std::env::var("VEXFS_MODEL_OPS")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(120_000)
}

#[test]
fn the_filesystem_does_what_the_model_does() {
    let cases = (total() * 5 / 2 / OPS_PER_CASE) as u32 + 1;
    let done = Cell::new(0);
    let result = runner("model", cases, seed("VEXFS_MODEL_SEED")).run(&sequences(OPS_PER_CASE), |ops| {
        done.set(done.get() + ops.len());
        run(&ops, 256, 4096, MountOptions::default(), false).map_err(TestCaseError::fail)
    });
    println!("{} operations", done.get());
    if let Err(e) = result {
        panic!("{e}");
    }
    assert!(
        done.get() >= total(),
        "{} operations are fewer than asked for",
        done.get()
    );
}

#[test]
fn small_caches_and_other_block_sizes_change_nothing() {
    for (i, block_size) in [4096, 8192, 16_384, 65_536].into_iter().enumerate() {
        let seed = seed("VEXFS_MODEL_SEED").wrapping_add(i as u64);
        let cases = (total() / 12 / OPS_PER_CASE) as u32 + 1;
        let result = runner("sizes", cases, seed).run(&sequences(OPS_PER_CASE), |ops| {
            run(&ops, 512, block_size, small_caches(), false).map_err(TestCaseError::fail)
        });
        if let Err(e) = result {
            panic!("block size {block_size}: {e}");
        }
    }
}

#[test]
fn a_device_that_fills_up_loses_nothing() {
    let cases = (total() / 6 / OPS_PER_CASE) as u32 + 1;
    let result = runner("full", cases, seed("VEXFS_MODEL_SEED")).run(&sequences(OPS_PER_CASE), |ops| {
        run(&ops, 4, 4096, MountOptions::default(), true).map_err(TestCaseError::fail)
    });
    if let Err(e) = result {
        panic!("{e}");
    }
}
