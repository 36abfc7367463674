// SPDX-License-Identifier: Apache-2.0
//! Time by the wall clock and CPU time of the process side by side, and how much memory it has.

use anyhow::Context as _;
use anyhow::Result;
use std::time::Duration;
use std::time::Instant;

/// CPU time of all threads of this process.
fn process_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a timespec to be filled in.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    assert_eq!(result, 0, "clock_gettime");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Measures from its making on.
pub struct Clock {
    wall: Instant,
    cpu: Duration,
}

impl Clock {
    pub fn start() -> Self {
        Self {
            wall: Instant::now(),
            cpu: process_time(),
        }
    }

    /// Seconds by the wall clock and of CPU time.
    pub fn stop(&self) -> (f64, f64) {
        (
            self.wall.elapsed().as_secs_f64(),
            (process_time() - self.cpu).as_secs_f64(),
        )
    }
}

/// Resident bytes of this process, without what the allocator merely keeps.
pub fn resident() -> Result<u64> {
    // SAFETY: gives free memory back to the system; nothing in use is touched.
    unsafe { libc::malloc_trim(0) };
    let statm = std::fs::read_to_string("/proc/self/statm").context("/proc/self/statm")?;
    let pages: u64 = statm.split(' ').nth(1).context("/proc/self/statm")?.parse()?;
    // SAFETY: asks for a number.
    Ok(pages * unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64)
}
