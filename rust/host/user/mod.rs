// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The userspace side of the platform layer: std's containers and locks behind fallible facades, block devices over
//! files and memory.

use crate::Error;
use crate::Level;
use crate::Result;
use core::cell::Cell;
use core::fmt;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

pub mod device;
pub mod file;
pub mod mem;
pub mod ram;
pub mod recording;
pub mod sync;
pub mod threads;

/// Extends the CRC-32C `seed` of what came before by `data`; start with 0.
pub fn crc32c(seed: u32, data: &[u8]) -> u32 {
    ::crc32c::crc32c_append(seed, data)
}

/// SipHash-2-4 of `data` under `key`.
pub fn siphash24(key: &[u64; 2], data: &[u8]) -> u64 {
    siphasher::sip::SipHasher24::new_with_keys(key[0], key[1]).hash(data)
}

/// Fills `buf` from the system's random source.
///
/// # Errors
///
/// `Io` where the system has none.
pub fn random(buf: &mut [u8]) -> Result<()> {
    getrandom::fill(buf).map_err(|e| {
        crate::Error::Io(crate::IoError {
            op: "reading random bytes",
            offset: 0,
            errno: e.raw_os_error().unwrap_or(5),
        })
    })
}

/// The time: seconds since 1970 and nanoseconds.
pub fn now() -> (i64, u32) {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(d) => (i64::try_from(d.as_secs()).unwrap_or(i64::MAX), d.subsec_nanos()),
        Err(_) => (0, 0),
    }
}

/// Nanoseconds since some moment, never going back. For deadlines. With the feature `model` time stands still: what a
/// schedule does must depend on nothing else.
pub fn monotonic() -> u64 {
    if cfg!(feature = "model") {
        return 0;
    }
    static START: OnceLock<Instant> = OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Sleeps for some 30 microseconds, for whoever waits a little to be joined by others.
pub fn nap() {
    std::thread::sleep(std::time::Duration::from_micros(30));
}

/// Lets others run. Userspace is preempted anyway.
#[inline]
pub fn cond_resched() {}

std::thread_local! {
    /// Cooperative points of this thread before it is killed; `u64::MAX`: it is not going to be.
    static CALM: Cell<u64> = const { Cell::new(u64::MAX) };
}

/// Lets `n` more cooperative points of this thread pass; from then on it is as if a fatal signal were pending. `None`
/// ends that. For tests of what a signal interrupts.
pub fn interrupt_after(n: Option<u64>) {
    CALM.set(n.unwrap_or(u64::MAX));
}

/// Whether a fatal signal is pending.
pub(crate) fn is_killed() -> bool {
    CALM.get() == 0
}

/// A cooperative point for long loops that may end half-way: lets others run.
///
/// # Errors
///
/// `Interrupted` when a fatal signal is pending. Userspace has that only where a test asked for it.
#[inline]
pub fn relax() -> Result<()> {
    match CALM.get() {
        u64::MAX => Ok(()),
        0 => Err(Error::Interrupted),
        n => {
            CALM.set(n - 1);
            Ok(())
        }
    }
}

/// Whether it is worth waiting for memory to be freed, for work that has to be done however long it takes. Nobody frees
/// memory for a program that has none left; only a lack that a test makes ends by itself.
pub fn wait_for_memory() -> bool {
    mem::lack_ends()
}

/// A section in which memory reclaim must not enter the filesystem. It has a meaning in the kernel only.
#[must_use]
pub struct NofsScope(());

/// Opens a section in which memory reclaim does not enter the filesystem.
#[inline]
pub fn nofs() -> NofsScope {
    NofsScope(())
}

/// A section whose memory serves everybody. It has a meaning in the kernel only, where it is charged to no memory
/// cgroup.
#[must_use]
pub struct SharedScope(NofsScope);

/// Opens a section for filling what everybody uses, such as the cache of tree nodes; memory reclaim does not enter the
/// filesystem in it either.
#[inline]
pub fn shared() -> SharedScope {
    SharedScope(nofs())
}

type Hook = std::boxed::Box<dyn Fn(Level, &str) + Send>;
static HOOK: Mutex<Option<Hook>> = Mutex::new(None);

/// Sends every log message to `hook`; `None` restores the default: errors and warnings go to standard error,
/// unless there are too many of one kind.
pub fn set_log_hook(hook: Option<Hook>) {
    *HOOK.lock().unwrap_or_else(|e| e.into_inner()) = hook;
}

#[doc(hidden)]
pub fn has_log_hook() -> bool {
    HOOK.lock().unwrap_or_else(|e| e.into_inner()).is_some()
}

#[doc(hidden)]
pub fn log_args(level: Level, args: fmt::Arguments<'_>) {
    match &*HOOK.lock().unwrap_or_else(|e| e.into_inner()) {
        Some(hook) => hook(level, &std::format!("{args}")),
        // What a kernel log is for is only noise on a terminal.
        None if level == Level::Info => {}
        None => std::eprintln!("vexfs: {args}"),
    }
}
