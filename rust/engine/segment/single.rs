// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Reading a few bytes of a section without loading the whole.
//!
//! A section has one checksum. So it is read through once, without being kept, and the checksums of its pieces are:
//! from then on each read is of whole pieces, and what comes back is checked. Who reads many rows one by one pays for
//! the section sooner or later: when as much was read singly as it has bytes, it is loaded (as who has rented for long
//! enough buys).

use super::account::Held;
use super::account::MemoryAccount;
use super::file::File;
use super::file::PIECE;
use super::format::SectionExtent;
use super::lazy::Evict;
use super::lazy::Lazy;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering;
use vexfs_host::mem::Vec;
use vexfs_host::sync::Arc;
use vexfs_host::Result;

/// Shorter sections are loaded at once.
const SECTION_MIN: u64 = 256 * 1024;

/// The checksums of the pieces of a section, each of [`PIECE`] bytes but the last.
pub(crate) struct Sums(pub(super) Vec<u32>);

impl Held for Sums {
    fn memory_bytes(&self) -> u64 {
        4 * self.0.capacity() as u64
    }
}

/// What is known of a section of which single rows were read.
pub(super) struct Single {
    sums: Lazy<Sums>,
    /// Bytes that were read of it.
    rented: AtomicU64,
}

impl Single {
    pub(super) fn new(account: &Arc<MemoryAccount>) -> Result<Self> {
        Ok(Self {
            sums: Lazy::new(account)?,
            rented: AtomicU64::new(0),
        })
    }

    /// The part that can be given back.
    pub(super) fn part(&self) -> &dyn Evict {
        &self.sums
    }

    /// Whether `reads` reads of `len` bytes each are better done singly.
    pub(super) fn is_worth(&self, place: &SectionExtent, reads: usize, len: usize) -> bool {
        let pieces = (len.div_ceil(PIECE) as u64).saturating_add(1);
        let bytes = pieces.saturating_mul(reads as u64).saturating_mul(PIECE as u64);
        let rented = self.rented.load(Ordering::Relaxed).saturating_add(bytes);
        let is_worth = place.len >= SECTION_MIN && rented < place.len;
        if !is_worth {
            // The account begins anew when the section has been given back.
            self.rented.store(0, Ordering::Relaxed);
        }
        is_worth
    }

    /// Reads the bytes of the section from `at` on.
    ///
    /// # Errors
    ///
    /// `Corrupt` if they are not what was written, or not there.
    pub(super) fn read(&self, file: &File, place: &SectionExtent, at: u64, out: &mut [u8]) -> Result {
        let sums = self.sums.get_or_load(|| file.sums(place).map(Sums))?;
        let read = file.pieces(place, &sums.0, at, out)?;
        self.rented.fetch_add(read, Ordering::Relaxed);
        Ok(())
    }
}
