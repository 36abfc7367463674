// SPDX-License-Identifier: Apache-2.0
//! What the fuzzers run: each target takes any bytes and must end, without a panic.
//!
//! `fuzz/` makes programs for libFuzzer of these; `tests/fuzz_corpus.rs` runs the committed corpora, and inputs made
//! from them, with the ordinary tests.
//!
//! Files of a collection are tried in place: the input replaces the content of the file in a filesystem in memory,
//! which is mounted and used. Since random changes never get past a checksum, the first byte of the input says whether
//! the checksums are made right first.

mod filter;
mod json;
mod segment;
mod sums;
mod tail;
mod template;
mod usage;

use std::sync::Once;

/// A fuzz target.
#[derive(Clone, Copy)]
pub struct Target {
    /// The name of its program and of the folder of its corpus.
    pub name: &'static str,
    /// Tries an input.
    pub run: fn(&[u8]),
    /// Inputs to begin with, by name.
    pub seeds: fn() -> Vec<(String, Vec<u8>)>,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target {
        name: "tail",
        run: tail::run,
        seeds: tail::seeds,
    },
    Target {
        name: "segment",
        run: segment::run,
        seeds: segment::seeds,
    },
    Target {
        name: "filter",
        run: filter::run,
        seeds: filter::seeds,
    },
    Target {
        name: "json",
        run: json::run,
        seeds: json::seeds,
    },
];

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Tries an input with the target of this name.
///
/// # Panics
///
/// If there is none, or the input shows a fault.
pub fn run(name: &str, input: &[u8]) {
    (target(name).expect("a target").run)(input);
}

/// Damage is logged, which nobody is to read here.
fn quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| vexfs_host::set_log_hook(Some(Box::new(|_, _| {}))));
}
