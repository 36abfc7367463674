// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Work on several CPUs: scoped threads.

use crate::Result;
#[cfg(feature = "model")]
use shuttle::thread;
#[cfg(not(feature = "model"))]
use std::thread;

/// The number of threads that can run at once.
pub fn available() -> usize {
    if cfg!(feature = "model") {
        return 2;
    }
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Runs `work(0)` to `work(n - 1)`, each in a thread of its own; `n` of 0 or 1 runs in the caller.
///
/// # Errors
///
/// That of the lowest number that failed; `NoMemory` if a thread could not be started.
pub fn run(n: usize, work: &(dyn Fn(usize) -> Result<()> + Sync)) -> Result<()> {
    if n <= 1 {
        return work(0);
    }
    thread::scope(|scope| {
        let mut started = std::vec::Vec::with_capacity(n - 1);
        for i in 1..n {
            #[cfg(not(feature = "model"))]
            let thread = thread::Builder::new()
                .spawn_scoped(scope, move || work(i))
                .map_err(|_| crate::Error::NoMemory)?;
            #[cfg(feature = "model")]
            let thread = scope.spawn(move || work(i));
            started.push(thread);
        }
        let mut result = work(0);
        for thread in started {
            let other = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            result = result.and(other);
        }
        result
    })
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;
    use crate::Error;
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering;

    #[test]
    fn every_number_runs_once_and_the_first_error_is_returned() {
        for n in [0, 1, 2, 7] {
            let ran = AtomicU64::new(0);
            run(n, &|i| {
                assert_eq!(ran.fetch_or(1 << i, Ordering::Relaxed) & 1 << i, 0);
                Ok(())
            })
            .unwrap();
            assert_eq!(ran.into_inner(), (1 << n.max(1)) - 1);
        }
        let failed = run(4, &|i| {
            if i >= 2 {
                Err(Error::TooBig(["2", "3"][i - 2]))
            } else {
                Ok(())
            }
        });
        assert_eq!(failed, Err(Error::TooBig("2")));
    }
}
