// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Where the log ends.

use super::Reader;
use super::Region;
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
    /// Units behind it that are passed over for good: batches that do not count, because something of a batch or of the data
    /// that one speaks of did not reach the medium. Usually 0.
    pub(crate) torn: u64,
}

impl End {
    /// Finds the end of the log that begins at `tail`; `base` is the transaction group on the device.
    ///
    /// # Errors
    ///
    /// `Corrupt` if one of the last batches is impossible; `Io`, `NoMemory`, `Interrupted`.
    pub(crate) fn find(
        dev: &Device,
        geo: &Geometry,
        region: Region,
        identity: LogIdentity,
        tail: u64,
        base: u64,
    ) -> Result<End> {
        let mut reader = Reader::new(dev, region, identity, tail);
        // Where the last two batches begin, or the end.
        let (mut last_but_one, mut last) = (tail, tail);
        loop {
            let position = reader.position();
            if reader.next()?.is_none() {
                break;
            }
            (last_but_one, last) = (last, position);
            relax()?;
        }
        let end = reader.position();
        let end = end.saturating_add(stray(dev, region, identity, end)?);
        // Only of the last two is it unknown whether a flush followed them.
        let mut reader = Reader::new(dev, region, identity, last_but_one);
        let position = loop {
            let position = reader.position();
            let whole = match reader.next()? {
                Some((_, ops)) => has_data(dev, geo, ops, base)?,
                None => false,
            };
            if !whole {
                break position;
            }
        };
        Ok(End {
            position,
            torn: end.saturating_sub(position),
        })
    }
}

/// Looks behind the end of the log for a batch that was on its way when the one before it was, of which something did not
/// reach the medium: a new batch in the place of that one must not lead to it. Returns how many units there are to its end; 0
/// if there is none.
fn stray(dev: &Device, region: Region, identity: LogIdentity, end: u64) -> Result<u64> {
    /// Units read at once.
    const PIECE: u64 = 16;
    let longest = (LOG_BATCH_MAX / LOG_UNIT) as u64;
    let stop = end.saturating_add(longest.min(region.units.saturating_sub(1)));
    let mut buf: Vec<u8> = Vec::new();
    let mut at = end.saturating_add(1);
    while at <= stop {
        let units = PIECE.min(stop.saturating_sub(at).saturating_add(1));
        buf.clear();
        buf.resize(units as usize * LOG_UNIT, 0)?;
        region.read(dev, at, &mut buf)?;
        for (position, unit) in (at..).zip(buf.chunks_exact(LOG_UNIT)) {
            if let Some(head) = identity.header(unit, position) {
                let behind = position.saturating_add((head.bytes() / LOG_UNIT) as u64);
                return Ok(behind.saturating_sub(end));
            }
        }
        at = at.saturating_add(units);
        relax()?;
    }
    Ok(0)
}

/// Whether the blocks that operations behind transaction group `base` adopted with a checksum hold what was written to them.
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
