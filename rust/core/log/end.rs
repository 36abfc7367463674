// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Where the log ends.

use super::read::Reader;
use super::region::Region;
use crate::format::log::*;
use crate::format::Geometry;
use vexfs_host::crc32c;
use vexfs_host::device::Device;
use vexfs_host::mem::Vec;
use vexfs_host::relax;
use vexfs_host::Error;
use vexfs_host::Result;

/// Where the log ends.
pub(crate) struct End {
    /// Behind the last batch that counts.
    pub(crate) position: u64,
    /// Units of the batch that follows although not all of the data it speaks of reached the medium; usually 0.
    pub(crate) torn: u64,
}

impl End {
    /// Finds the end of the log that begins at `tail`; `base` is the transaction group on the device.
    ///
    /// # Errors
    ///
    /// `Corrupt` if the last batch is impossible; `Io`, `NoMemory`, `Interrupted`.
    pub(crate) fn find(
        dev: &Device,
        geo: &Geometry,
        region: Region,
        identity: LogIdentity,
        tail: u64,
        base: u64,
    ) -> Result<End> {
        let mut reader = Reader::new(dev, region, identity, tail);
        let mut last = tail;
        loop {
            let position = reader.position();
            if reader.next()?.is_none() {
                break;
            }
            last = position;
            relax()?;
        }
        let end = reader.position();
        let mut reader = Reader::new(dev, region, identity, last);
        let whole = match reader.next()? {
            // Only of the last batch is it unknown whether a flush followed it.
            Some((_, ops)) => has_data(dev, geo, ops, base)?,
            None => true,
        };
        Ok(match whole {
            true => End { position: end, torn: 0 },
            false => End {
                position: last,
                torn: end.saturating_sub(last),
            },
        })
    }
}

/// Whether the blocks that operations behind transaction group `base` adopted with a checksum hold what was written to
/// them.
fn has_data(dev: &Device, geo: &Geometry, mut ops: LogOps<'_>, base: u64) -> Result<bool> {
    let mut buf: Vec<u8> = Vec::new();
    while let Some((op, mut entries)) = ops.next()? {
        if op.txg.get() <= base {
            continue;
        }
        while let Some(entry) = entries.next()? {
            let LogEntry::Adopt(block, len, Some(csum)) = entry else {
                continue;
            };
            let bytes = geo.byte(u64::from(len));
            let start = geo.byte(block);
            if bytes > LOG_CHECKED_MAX || start.checked_add(bytes).is_none_or(|end| end > dev.len()) {
                return Err(Error::corrupt("intent log: impossible run of blocks", u64::MAX, block));
            }
            buf.clear();
            buf.resize(bytes as usize, 0)?;
            dev.read(start, &mut buf)?;
            if crc32c(0, &buf) != csum {
                return Ok(false);
            }
        }
        relax()?;
    }
    Ok(true)
}
