// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Where the log lies: positions in it are counted in units since the filesystem was made, and it is a ring.

use crate::format::log::LOG_UNIT;
use crate::format::superblock::INCOMPAT_INTENT_LOG;
use crate::format::DiskSuperblock;
use crate::format::Geometry;
use vexfs_host::Error;
use vexfs_host::Result;

/// Where the log lies.
#[derive(Clone, Copy)]
pub(crate) struct Region {
    /// Byte offset on the device.
    start: u64,
    /// Units; 0 if there is no log.
    pub(crate) units: u64,
}

impl Region {
    pub(crate) fn new(sb: &DiskSuperblock, geo: &Geometry) -> Region {
        let bytes = geo.byte(geo.log_blocks);
        Region {
            start: geo.byte(geo.log_start),
            units: match sb.incompat.get() & INCOMPAT_INTENT_LOG {
                0 => 0,
                _ => bytes / LOG_UNIT as u64,
            },
        }
    }

    /// Byte offset of unit `position`, and how many units there are from it to the end of the region.
    fn place(&self, position: u64) -> Option<(u64, u64)> {
        let at = position.checked_rem(self.units)?;
        Some((at * LOG_UNIT as u64 + self.start, self.units - at))
    }

    /// Divides `bytes` that lie at `position` where the region ends: how many are before the end, and the byte offsets
    /// of the two parts.
    pub(super) fn split(&self, position: u64, bytes: usize) -> Result<(usize, u64, u64)> {
        let (offset, left) = self.place(position).ok_or(NO_LOG)?;
        let before = left.saturating_mul(LOG_UNIT as u64).min(bytes as u64);
        Ok((before as usize, offset, self.start))
    }
}

/// There is no log, or it has no room for what was to be in it.
pub(super) const NO_LOG: Error = Error::corrupt("intent log: no room for it", u64::MAX, 0);
