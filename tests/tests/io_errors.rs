// SPDX-License-Identifier: Apache-2.0
//! A device that fails: at every operation in turn, for good. Errors are clean, what cannot be committed stops the
//! filesystem, and mounting again on a device that works finds a consistent state with everything that was synced.
//!
//! `VEXFS_IO_SEED` replays a run.

use std::collections::BTreeSet;
use vexfs_tests::crash::Workload;
use vexfs_tests::model::op::seed;
use vexfs_tests::model::op::Rng;

#[test]
fn a_device_that_starts_failing_anywhere_loses_nothing_that_was_synced() {
    let seed = seed("VEXFS_IO_SEED");
    let (mut failures, mut aborts) = (0, 0);
    let mut kinds = BTreeSet::new();
    for workload in 0..12 {
        let mut rng = Rng::new(seed.wrapping_add(workload));
        let ops: Vec<_> = (0..200).map(|_| rng.op()).collect();
        for i in 0..100u64 {
            // Every one of the first operations, then ever fewer.
            let n = i + i * i / 8;
            let failed = |e: String| format!("workload seed {}, failing after {n}: {e}", seed.wrapping_add(workload));
            let w = Workload::run(&ops, 64, Some(n)).unwrap_or_else(|e| panic!("{}", failed(e)));
            let Some(why) = &w.failure else { break };
            failures += 1;
            aborts += usize::from(w.aborted);
            kinds.extend(why.split(": ").nth(1).map(String::from));
            let clean = ["(errno 5)", "read-only filesystem", "shut down"]
                .iter()
                .any(|m| why.contains(m));
            assert!(clean, "{}", failed(format!("not a clean error: {why}")));
            let now = w.recorder.contents();
            w.verify(w.recorder.position(), now, false)
                .unwrap_or_else(|e| panic!("{}", failed(format!("({why}) {e}"))));
        }
    }
    println!("{failures} failures, {aborts} of them stopped the filesystem; operations: {kinds:?}");
    assert!(
        failures > 100 && aborts > 10 && aborts < failures,
        "the device failed too seldom to prove anything"
    );
}
