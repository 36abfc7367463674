// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Bytes and blocks of a file.

use crate::fs::Fs;

/// The size of a block, as a power of two.
#[derive(Clone, Copy)]
pub(crate) struct BlockSize {
    bits: u32,
}

impl BlockSize {
    /// Bytes of a block.
    pub fn bytes(self) -> u64 {
        1 << (self.bits & 31)
    }

    /// The block that holds byte `at`.
    pub fn holding(self, at: u64) -> u64 {
        at >> (self.bits & 31)
    }

    /// The number of blocks that `bytes` bytes from the start of a block reach into.
    pub fn covering(self, bytes: u64) -> u64 {
        // `bytes` is below 2^63 wherever it is a size; saturating costs nothing.
        self.holding(bytes.saturating_add(self.bytes() - 1))
    }

    /// Where in its block byte `at` lies.
    pub fn within(self, at: u64) -> usize {
        (at & (self.bytes() - 1)) as usize
    }

    /// The first byte of block `block`.
    pub fn start(self, block: u64) -> u64 {
        block.saturating_mul(self.bytes())
    }
}

impl Fs {
    /// The size of a block.
    pub(crate) fn blocks(&self) -> BlockSize {
        BlockSize {
            bits: self.block_size().trailing_zeros(),
        }
    }

    /// Units of 512 bytes in a block.
    pub(crate) fn units_per_block(&self) -> u64 {
        u64::from(self.block_size() / 512)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_blocks_convert_as_division_would() {
        let b = BlockSize { bits: 12 };
        for at in [0, 1, 4095, 4096, 4097, 1 << 40, (1 << 63) - 1] {
            assert_eq!(b.holding(at), at / 4096);
            assert_eq!(b.covering(at), at.div_ceil(4096));
            assert_eq!(b.within(at) as u64, at % 4096);
        }
        assert_eq!(b.start(3), 3 * 4096);
    }
}
