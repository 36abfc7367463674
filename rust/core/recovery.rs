// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What mounting finishes: the work that a crash interrupted, which the orphan items name ([`orphan`]).

#[cfg(test)]
mod tests;

use crate::collection_item;
use crate::file::truncate;
use crate::format::items::orphan::DELETE;
use crate::format::items::orphan::DISOWN;
use crate::format::items::orphan::TRUNCATE;
use crate::fs::Fs;
use crate::inode::Ino;
use crate::orphan;
use vexfs_host::log;
use vexfs_host::relax;
use vexfs_host::Error;
use vexfs_host::Result;

/// Orphans that a mount logs one by one when it cannot finish them.
const LOGGED: u64 = 10;

/// Finishes what a crash interrupted. Called once, by a writable mount.
///
/// An orphan may be impossible to finish: because of damage, for lack of room, or because it contradicts its inode. It
/// then stays as it is, since everything else must remain usable. A check finds its space.
///
/// # Errors
///
/// `NoMemory`, `Interrupted`; what stopped the filesystem; those of finding the orphans.
pub(crate) fn recover(fs: &Fs) -> Result<()> {
    let mut from = 0;
    let mut left = 0u64;
    loop {
        let Some((ino, actions)) = orphan::first_from(&fs.view()?, from)? else {
            break;
        };
        if let Err(e) = actions.and_then(|actions| finish(fs, ino, actions)) {
            if matches!(e, Error::NoMemory | Error::Interrupted) || fs.abort_reason().is_some() {
                return Err(e);
            }
            fs.note_failure(&e);
            left += 1;
            if left <= LOGGED {
                log!(err, "inode {}: left as it is, it cannot be deleted or cut: {}", ino, e);
            }
        }
        from = match ino.checked_add(1) {
            Some(n) => n,
            None => break,
        };
        relax()?;
    }
    if left > LOGGED {
        log!(err, "{} inodes in all cannot be deleted or cut", left);
    }
    Ok(())
}

fn finish(fs: &Fs, ino: Ino, actions: u32) -> Result<()> {
    if actions & DELETE != 0 {
        return fs.evict(ino).map_err(|e| match e {
            Error::Invalid(what) => Error::corrupt(what, u64::MAX, ino),
            e => e,
        });
    }
    if actions & TRUNCATE != 0 {
        truncate::resume(fs, ino)?;
    }
    if actions & DISOWN != 0 {
        collection_item::resume_drop(fs, ino)?;
    }
    Ok(())
}
