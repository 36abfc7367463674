// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Reading and writing blocks: the device, where things lie on it, and whose they are.
//!
//! Everything that reads or writes metadata of a mounted filesystem does so through [`BlockIo`]. It knows neither the
//! tree nor the allocator: checksums are part of the formats ([`format`](crate::format)), which take from here the
//! identity that they are seeded with and compared against. Damage that somebody finds in a block is counted and logged
//! here.

use crate::damage::Damage;
use crate::format::Geometry;
use vexfs_host::device::Device;
use vexfs_host::device::Write;
use vexfs_host::mem::Vec;
use vexfs_host::Result;

/// The blocks of a filesystem.
pub(crate) struct BlockIo {
    pub(crate) dev: Device,
    pub(crate) geo: Geometry,
    /// Identity of the filesystem, which every checksum covers.
    pub(crate) uuid: [u8; 16],
    /// Damage that was met.
    pub(crate) damage: Damage,
}

impl BlockIo {
    pub(crate) const fn new(dev: Device, geo: Geometry, uuid: [u8; 16]) -> BlockIo {
        BlockIo {
            dev,
            geo,
            uuid,
            damage: Damage::new(),
        }
    }

    /// Fills `buf` from `block` on.
    pub(crate) fn read(&self, block: u64, buf: &mut [u8]) -> Result<()> {
        self.dev.read(self.geo.byte(block), buf)
    }

    /// The `len` bytes from `block` on.
    pub(crate) fn read_vec(&self, block: u64, len: usize) -> Result<Vec<u8>> {
        let mut buf = Vec::new();
        buf.resize(len, 0)?;
        self.read(block, &mut buf)?;
        Ok(buf)
    }

    /// Writes pieces of data, each from a block on, in any order, and makes them durable.
    pub(crate) fn write_durably<'a>(&self, pieces: impl Iterator<Item = (u64, &'a [u8])>) -> Result<()> {
        let mut writes = pieces.map(|(block, data)| Write {
            offset: self.geo.byte(block),
            data,
        });
        self.dev.write_all(&mut writes)?;
        self.dev.flush()
    }
}
