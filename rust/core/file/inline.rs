// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Inline data: another representation of logical block 0, for small files.
//!
//! The item holds the start of block 0; the rest of the block reads as zeros. Other blocks may have extents at the same
//! time, so nothing has to be converted when a file grows: writing block 0 chooses its representation anew.

use super::extents;
use super::usage::Usage;
use crate::format::items::INLINE_MAX;
use crate::fs::Fs;
use crate::inode::key;
use crate::inode::Ino;
use crate::txn::Read;
use crate::txn::Tx;
use vexfs_host::nofs;
use vexfs_host::Error;
use vexfs_host::Result;

/// Units of 512 bytes that inline data of `len` bytes count as in an inode's `blocks`.
pub(crate) fn units(len: usize) -> u64 {
    len.div_ceil(512) as u64
}

/// The length of the inline data of inode `ino`, if it has any.
pub(crate) fn len(r: &impl Read, ino: Ino) -> Result<Option<usize>> {
    r.get(&key::inline(ino), |data| {
        if data.is_empty() || data.len() > INLINE_MAX {
            return Err(Error::corrupt("inline data of a wrong length", u64::MAX, ino));
        }
        Ok(data.len())
    })
}

/// Copies the inline data of inode `ino` into `buf`, pads with zeros and returns their length; `None` when there are
/// none.
pub(crate) fn read(r: &impl Read, ino: Ino, buf: &mut [u8]) -> Result<Option<usize>> {
    r.get(&key::inline(ino), |data| {
        let n = data.len().min(buf.len());
        let (head, rest) = buf.split_at_mut(n);
        head.copy_from_slice(data.get(..n).unwrap_or_default());
        rest.fill(0);
        Ok(n)
    })
}

/// Makes `data` the contents of block 0, whatever it was; empty data make it a hole.
pub(crate) fn put(tx: &mut Tx<'_>, ino: Ino, data: &[u8], units_per_block: u64) -> Result<Usage> {
    if data.len() > INLINE_MAX {
        return Err(Error::Invalid("more data than fit inline"));
    }
    let mut usage = Usage {
        gained: units(data.len()),
        lost: 0,
    };
    match len(tx, ino)? {
        Some(old) => usage.lost = units(old),
        // Only where there are no inline data can there be an extent.
        None => {
            usage.lost = extents::take_out(tx, ino, 0, 1, 1)?
                .blocks
                .saturating_mul(units_per_block)
        }
    }
    if !data.is_empty() {
        tx.put(&key::inline(ino), data)?;
    } else if usage.lost > 0 {
        remove(tx, ino)?;
    }
    Ok(usage)
}

/// Removes inline data and returns how many units of 512 bytes they counted.
pub(crate) fn remove(tx: &mut Tx<'_>, ino: Ino) -> Result<u64> {
    match len(tx, ino)? {
        None => Ok(0),
        Some(n) => {
            tx.remove(&key::inline(ino))?;
            Ok(units(n))
        }
    }
}

/// Cuts inline data to `size` bytes.
pub(crate) fn cut(tx: &mut Tx<'_>, ino: Ino, size: usize) -> Result<Usage> {
    let mut buf = vexfs_host::mem::Vec::new();
    let found = tx.get(&key::inline(ino), |data| {
        if let Some(kept) = data.get(..size) {
            buf.extend_from_slice(kept)?;
        }
        Ok(data.len())
    })?;
    match found {
        Some(n) if n > size => {
            let usage = Usage {
                gained: units(size),
                lost: units(n),
            };
            if size == 0 {
                tx.remove(&key::inline(ino))?;
            } else {
                tx.put(&key::inline(ino), &buf)?;
            }
            Ok(usage)
        }
        _ => Ok(Usage::default()),
    }
}

impl Fs {
    /// Copies the inline data of inode `ino` into `buf`, pads the rest of it with zeros and returns their length.
    ///
    /// # Errors
    ///
    /// `NoData` when block 0 of the file is not inline.
    pub fn read_inline(&self, ino: Ino, buf: &mut [u8]) -> Result<usize> {
        let _nofs = nofs();
        read(&self.view()?, ino, buf)?.ok_or(Error::NoData)
    }
}
