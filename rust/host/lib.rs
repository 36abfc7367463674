// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The platform layer: what lies between VexFS's host-independent crates and the host they run in.
//!
//! `vexfs_core` and `vexfs_engine` compile unchanged into the kernel module and into userspace programs. Everything
//! they need from their surroundings, memory, locks, the block device, time, randomness, logging, comes from here, with
//! the same names and signatures on both sides; the side is chosen by `cfg(CONFIG_RUST)`, which Kbuild sets, and not by
//! generics, so that the code above reads like ordinary Rust.
//!
//! Invariants of the platform layer, on both sides:
//!
//! - no allocation aborts: running out of memory is [`Error::NoMemory`];
//! - no lock poisons: a lock that was held by a panicking thread in userspace is simply taken over;
//! - a read error never turns into zeros, a write error never into success.
#![cfg_attr(not(CONFIG_RUST), no_std)]

#[cfg(not(CONFIG_RUST))]
extern crate std;

#[cfg(CONFIG_RUST)]
#[path = "kernel/mod.rs"]
mod imp;
#[cfg(not(CONFIG_RUST))]
#[path = "user/mod.rs"]
mod imp;

mod buffer;
// Lockdep's keys are its only use.
#[cfg(any(test, CONFIG_LOCKDEP))]
mod call_site;
pub mod error;
mod limit;
mod map;
mod vec;

pub use error::Corrupt;
pub use error::Error;
pub use error::IoError;
pub use error::Result;

pub use imp::cond_resched;
pub use imp::crc32c;
#[cfg(not(CONFIG_RUST))]
pub use imp::interrupt_after;
pub use imp::monotonic;
pub use imp::nap;
pub use imp::nofs;
pub use imp::now;
pub use imp::random;
pub use imp::relax;
pub use imp::shared;
pub use imp::siphash24;
pub use imp::wait_for_memory;
pub use imp::NofsScope;
pub use imp::SharedScope;

/// Fallible containers.
pub mod mem {
    pub use crate::buffer::Buffer;
    #[cfg(not(CONFIG_RUST))]
    pub use crate::imp::mem::fail_allocations_after;
    #[cfg(not(CONFIG_RUST))]
    pub use crate::imp::mem::fail_some_allocations;
    #[cfg(not(CONFIG_RUST))]
    pub use crate::imp::mem::failed_allocations;
    pub use crate::imp::mem::Box;
    pub use crate::imp::mem::Vec;
    pub use crate::map::U64Map;
}

/// Locks and shared ownership.
pub mod sync {
    pub use crate::imp::sync::Arc;
    pub use crate::imp::sync::CondVar;
    pub use crate::imp::sync::Mutex;
    pub use crate::imp::sync::MutexGuard;
    pub use crate::imp::sync::RwLock;
    pub use crate::imp::sync::RwLockReadGuard;
    pub use crate::imp::sync::RwLockWriteGuard;
    pub use crate::imp::sync::UniqueArc;
}

/// Work on several CPUs.
pub mod threads {
    pub use crate::imp::threads::available;
    pub use crate::imp::threads::run;
}

/// Block devices.
pub mod device {
    #[cfg(not(CONFIG_RUST))]
    pub use crate::imp::device::Backend;
    pub use crate::imp::device::Device;
    #[cfg(not(CONFIG_RUST))]
    pub use crate::imp::file::FileBackend;
    #[cfg(not(CONFIG_RUST))]
    pub use crate::imp::ram::RamBackend;
    #[cfg(not(CONFIG_RUST))]
    pub use crate::imp::recording::Event;
    #[cfg(not(CONFIG_RUST))]
    pub use crate::imp::recording::RecordingBackend;

    /// One read of a batch: `data` is filled from byte `offset`. Both are multiples of the device's logical block size.
    pub struct Read<'a> {
        /// Byte offset on the device.
        pub offset: u64,
        /// Where to put it.
        pub data: &'a mut [u8],
    }

    /// One write of a batch: `data` goes to byte `offset`. Both are multiples of the device's logical block size.
    #[derive(Clone, Copy)]
    pub struct Write<'a> {
        /// Byte offset on the device.
        pub offset: u64,
        /// What to write there.
        pub data: &'a [u8],
    }
}

#[cfg(not(CONFIG_RUST))]
pub use imp::set_log_hook;

/// How serious a logged message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something failed; data may be unavailable.
    Err,
    /// Something is wrong but was worked round.
    Warn,
    /// An event worth a line.
    Info,
}

/// Writes a message to the log: `log!(err, "node {}: bad checksum", block)`. Levels: `err`, `warn`, `info`. Of many
/// messages of one place in a short time, some are left out.
#[macro_export]
macro_rules! log {
    (err, $($arg:tt)*) => { $crate::log!(@ Err, $($arg)*) };
    (warn, $($arg:tt)*) => { $crate::log!(@ Warn, $($arg)*) };
    (info, $($arg:tt)*) => { $crate::log!(@ Info, $($arg)*) };
    (@ $level:ident, $($arg:tt)*) => {{
        static LIMIT: $crate::Limit = $crate::Limit::new();
        LIMIT.log($crate::Level::$level, format_args!($($arg)*))
    }};
}

#[doc(hidden)]
pub use limit::Limit;

/// Whether the host's hash functions are the ones that the disk format means: a wrong one would make every checksum on
/// disk look damaged and every name unfindable.
///
/// # Errors
///
/// `Unsupported`, which names the function.
pub fn self_check() -> Result<()> {
    // The check value of CRC-32C (RFC 3720, B.4) and the 15-byte vector of SipHash-2-4's reference implementation.
    if crc32c(crc32c(0, b"1234"), b"56789") != 0xe306_9283 {
        return Err(Error::Unsupported("the host's CRC-32C is a different function"));
    }
    let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
    if siphash24(&key, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]) != 0xa129_ca61_49be_45e5 {
        return Err(Error::Unsupported("the host's SipHash is a different function"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_hosts_hashes_are_the_ones_the_format_means() {
        super::self_check().expect("published test vectors");
    }
}
