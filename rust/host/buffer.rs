// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Bytes in memory that are aligned to cache lines, for what the distance kernels read.

use crate::imp::mem::expect_random_access;
use crate::imp::mem::Vec;
use crate::Error;
use crate::Result;
use core::ops::Deref;
use core::ops::DerefMut;
use zerocopy::FromBytes as _;
use zerocopy::IntoBytes as _;
use zerocopy_derive::*;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Bytes that begin at a cache line. Made all zero, of a length that never changes.
///
/// Large ones are on huge pages where the host has them: graph searches touch them in random order.
///
/// # Invariants
///
/// `lines` has exactly as many lines as `len` bytes need, and what is behind `len` stays zero.
#[derive(Default)]
pub struct Buffer {
    lines: Vec<Line>,
    len: usize,
}

#[repr(C, align(64))]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct Line([u64; LINE / 8]);

impl Buffer {
    /// `len` bytes, all zero.
    ///
    /// # Errors
    ///
    /// `NoMemory`.
    pub fn zeroed(len: usize) -> Result<Self> {
        let count = len.div_ceil(LINE);
        if count > isize::MAX as usize / LINE {
            return Err(Error::NoMemory);
        }
        let mut lines = Vec::with_capacity(count)?;
        expect_random_access(&mut lines);
        lines.resize(count, Line([0; LINE / 8]))?;
        Ok(Self { lines, len })
    }

    /// A copy of `bytes`.
    ///
    /// # Errors
    ///
    /// `NoMemory`.
    pub fn copy_of(bytes: &[u8]) -> Result<Self> {
        let mut buffer = Self::zeroed(bytes.len())?;
        buffer.copy_from_slice(bytes);
        Ok(buffer)
    }

    /// The bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.lines.as_slice().as_bytes().get(..self.len).unwrap_or_default()
    }

    /// The bytes, to change.
    #[inline]
    pub fn as_bytes_mut(&mut self) -> &mut [u8] {
        let len = self.len;
        self.lines
            .as_mut_slice()
            .as_mut_bytes()
            .get_mut(..len)
            .unwrap_or_default()
    }

    /// The bytes as words; a last incomplete word is left out.
    #[inline]
    pub fn as_u32s(&self) -> &[u32] {
        let words = <[u32]>::ref_from_bytes(self.lines.as_slice().as_bytes()).unwrap_or_default();
        words.get(..self.len / 4).unwrap_or_default()
    }

    /// The bytes as words, to change; a last incomplete word is left out.
    #[inline]
    pub fn as_u32s_mut(&mut self) -> &mut [u32] {
        let len = self.len / 4;
        let words = <[u32]>::mut_from_bytes(self.lines.as_mut_slice().as_mut_bytes()).unwrap_or_default();
        words.get_mut(..len).unwrap_or_default()
    }

    /// The bytes as long words; a last incomplete one is left out.
    #[inline]
    pub fn as_u64s(&self) -> &[u64] {
        let words = <[u64]>::ref_from_bytes(self.lines.as_slice().as_bytes()).unwrap_or_default();
        words.get(..self.len / 8).unwrap_or_default()
    }

    /// The bytes as long words, to change; a last incomplete one is left out.
    #[inline]
    pub fn as_u64s_mut(&mut self) -> &mut [u64] {
        let len = self.len / 8;
        let words = <[u64]>::mut_from_bytes(self.lines.as_mut_slice().as_mut_bytes()).unwrap_or_default();
        words.get_mut(..len).unwrap_or_default()
    }

    /// Bytes of memory held.
    pub fn memory_bytes(&self) -> u64 {
        (self.lines.capacity() * LINE) as u64
    }
}

impl Deref for Buffer {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl DerefMut for Buffer {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        self.as_bytes_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_zero_aligned_and_as_long_as_asked_for() {
        for len in [0, 1, 7, 63, 64, 65, 4096, 5 << 20] {
            let mut buffer = Buffer::zeroed(len).unwrap();
            assert_eq!(buffer.len(), len);
            assert!(buffer.iter().all(|byte| *byte == 0));
            assert_eq!(buffer.as_ptr() as usize % LINE, 0);
            assert_eq!((buffer.as_u32s().len(), buffer.as_u64s().len()), (len / 4, len / 8));
            buffer.fill(0xa5);
            assert!(buffer.as_u32s().iter().all(|word| *word == 0xa5a5_a5a5));
            assert_eq!(Buffer::copy_of(&buffer).unwrap().as_bytes(), buffer.as_bytes());
        }
    }

    #[test]
    fn out_of_memory_is_an_error() {
        crate::mem::fail_allocations_after(Some(0));
        let failed = Buffer::zeroed(64).is_err();
        crate::mem::fail_allocations_after(None);
        assert!(failed);
        assert!(Buffer::zeroed(usize::MAX).is_err());
    }
}
