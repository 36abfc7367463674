// SPDX-License-Identifier: GPL-2.0
//! Work on several CPUs: in the kernel, the caller's thread does all of it.

use crate::Result;

/// The number of threads that can run at once.
pub fn available() -> usize {
    1
}

/// Runs `work(0)` to `work(n - 1)`, one after the other; `n` of 0 runs `work(0)`.
///
/// # Errors
///
/// That of the lowest number that failed.
pub fn run(n: usize, work: &(dyn Fn(usize) -> Result<()> + Sync)) -> Result<()> {
    for i in 0..n.max(1) {
        work(i)?;
    }
    Ok(())
}
