// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Replacing contents of a file by blocks that have just been written.

use super::extents;
use super::extents::DataAlloc;
use super::inline;
use super::usage::Usage;
use crate::inode::Ino;
use crate::txn::Tx;
use vexfs_host::Error;
use vexfs_host::Result;

/// Makes freshly written `alloc`, whose checksum may be known, part of inode `ino` in a transaction that reserved
/// enough for `budget` old extents.
pub(super) fn replace_all(
    tx: &mut Tx<'_>,
    ino: Ino,
    alloc: &DataAlloc,
    csum: Option<u32>,
    units: u64,
    budget: usize,
) -> Result<Usage> {
    let (done, freed) = extents::replace(tx, ino, alloc, csum, budget)?;
    if done != alloc.len {
        return Err(Error::Busy);
    }
    let mut usage = Usage {
        gained: u64::from(done).saturating_mul(units),
        lost: freed.saturating_mul(units),
    };
    if alloc.lblk == 0 {
        usage.lost = usage.lost.saturating_add(inline::remove(tx, ino)?);
    }
    Ok(usage)
}
