// SPDX-License-Identifier: Apache-2.0
//! The corpora of the fuzz targets, and inputs made from them: all end without a panic.
//!
//! `VEXFS_FUZZ_CHANGES` (default 40) sets how many changed forms of every input are tried, `VEXFS_FUZZ_SEED` which.

use std::panic::catch_unwind;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use vexfs_tests::fuzz::target;
use vexfs_tests::fuzz::Target;
use vexfs_tests::fuzz::TARGETS;
use vexfs_tests::model::op::Rng;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name)
        .ok()
        .map_or(otherwise, |text| text.parse().expect(name))
}

/// The inputs that are committed, and those that a target begins with.
fn inputs(target: &Target) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target.name);
    let mut found = (target.seeds)();
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for entry in entries {
        let path = entry.expect("an entry").path();
        let content = std::fs::read(&path).expect("a file");
        found.push((path.display().to_string(), content));
    }
    found.sort();
    found
}

/// Changes a few places as a damaged file or a hostile caller would.
fn changed(input: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut out = input.to_vec();
    for _ in 0..=rng.below(3) {
        let at = rng.below(out.len().max(1) as u64) as usize;
        let width = (1 << rng.below(4)).min(out.len() - at.min(out.len()));
        let values = [0, 1, u64::MAX, 1 << 31, 1 << 63, rng.below(u64::MAX), rng.below(64)];
        let value = values[rng.below(values.len() as u64) as usize].to_le_bytes();
        match rng.below(10) {
            0 => out.truncate(at),
            1 => drop(out.splice(at..at, value)),
            2 => drop(out.drain(at..at + width)),
            _ => out[at..at + width].copy_from_slice(&value[..width]),
        }
    }
    out
}

fn try_all(name: &str) {
    let target = target(name).expect("a target");
    let mut rng = Rng::new(number("VEXFS_FUZZ_SEED", 1));
    let inputs = inputs(target);
    assert!(!inputs.is_empty(), "no inputs");
    for (from, input) in inputs {
        let mut tried = input.clone();
        for change in 0..=number("VEXFS_FUZZ_CHANGES", 40) {
            if catch_unwind(AssertUnwindSafe(|| (target.run)(&tried))).is_err() {
                let path = std::env::temp_dir().join(format!("fuzz-{name}-{change}"));
                std::fs::write(&path, &tried).expect("the input, for later");
                panic!("{from}, change {change}: panicked; the input is in {}", path.display());
            }
            tried = changed(&input, &mut rng);
        }
    }
}

#[test]
fn every_target_has_a_corpus() {
    for target in TARGETS {
        assert!(!inputs(target).is_empty(), "{}", target.name);
    }
}

#[test]
fn a_damaged_tail_is_a_clean_error_or_a_working_collection() {
    try_all("tail");
}

#[test]
fn a_damaged_segment_is_a_clean_error_or_a_working_collection() {
    try_all("segment");
}

#[test]
fn any_filter_program_is_refused_or_answers() {
    try_all("filter");
}

#[test]
fn what_json_filters_become_is_accepted() {
    try_all("json");
}
