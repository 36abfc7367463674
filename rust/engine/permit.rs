// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The right to change the filesystem, in pieces.
//!
//! A freeze of a filesystem waits for all who have that right, and then everybody waits for the freeze. So work that
//! takes long has it for each of its changes only and computes without it.

use vexfs_host::Result;

/// Gives and takes the right to change the filesystem. The kernel's is that of `mnt_want_write_file`.
///
/// It comes before every lock of a collection but that of its maintenance: a collection asks for it with no other lock
/// held.
pub trait Permit {
    /// Waits for the right.
    ///
    /// # Errors
    ///
    /// Why nothing can be changed: `ReadOnly`, say.
    fn take(&self) -> Result;

    /// Gives it back.
    fn give_back(&self);
}

/// For hosts that need no permission, and for callers that have it.
pub struct Always;

impl Permit for Always {
    fn take(&self) -> Result {
        Ok(())
    }

    fn give_back(&self) {}
}

/// The right, held.
pub(crate) struct Permitted<'a>(&'a dyn Permit);

impl<'a> Permitted<'a> {
    /// Waits for the right.
    pub(crate) fn by(permit: &'a dyn Permit) -> Result<Self> {
        permit.take()?;
        Ok(Self(permit))
    }
}

impl Drop for Permitted<'_> {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

/// How work that takes long is done.
#[derive(Clone, Copy)]
pub struct Work<'a> {
    /// Threads that may compute.
    pub threads: usize,
    /// Told how much of how much is done of building an index, from any of the threads.
    pub progress: &'a (dyn Fn(u64, u64) + Sync),
    /// Asked before each change of the filesystem.
    pub permit: &'a dyn Permit,
}

impl<'a> Work<'a> {
    /// For hosts that need no permission.
    pub fn new(threads: usize, progress: &'a (dyn Fn(u64, u64) + Sync)) -> Self {
        Self {
            threads,
            progress,
            permit: &Always,
        }
    }

    /// With the caller's own thread, quietly.
    pub(crate) fn quiet(permit: &'a dyn Permit) -> Self {
        Self {
            threads: 1,
            progress: &|_, _| (),
            permit,
        }
    }
}
