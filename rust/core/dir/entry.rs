// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The entries of a directory: finding, inserting and removing one.

use crate::format::items::DiskDirent;
use crate::format::items::NAME_MAX;
use crate::fs::Fs;
use crate::inode::key;
use crate::inode::Ino;
use crate::txn::Read;
use crate::txn::Tx;
use core::mem::size_of;
use vexfs_host::nofs;
use vexfs_host::siphash24;
use vexfs_host::Error;
use vexfs_host::Result;
use zerocopy::IntoBytes;

/// Low bits of a slot that hold the sequence number.
pub(super) const SEQ_MASK: u64 = 0x7f;
/// The directory entry type of a directory.
pub(crate) const DT_DIR: u8 = 4;

/// An entry as it was found.
#[derive(Clone, Copy)]
pub(crate) struct FoundEntry {
    /// The inode it names.
    pub ino: Ino,
    /// Its `DT_*` type.
    pub dtype: u8,
    /// Where it lies.
    pub slot: u64,
}

impl FoundEntry {
    pub fn is_dir(&self) -> bool {
        self.dtype == DT_DIR
    }
}

/// That `name` can be the name of an entry.
pub(crate) fn check_name(name: &[u8]) -> Result<()> {
    match name {
        [] => Err(Error::NotFound),
        _ if name.len() > NAME_MAX => Err(Error::NameTooLong),
        b"." | b".." => Err(Error::Invalid("reserved file name")),
        _ if name.iter().any(|c| matches!(c, 0 | b'/')) => Err(Error::Invalid("bad character in a file name")),
        _ => Ok(()),
    }
}

/// The slot of sequence number 0 for `name`.
pub(crate) fn first_slot(hash_key: &[u64; 2], name: &[u8]) -> u64 {
    // Tests need names that collide.
    #[cfg(test)]
    if name.starts_with(b"collide-") {
        return 0x1234 << 7;
    }
    slot_of_hash(siphash24(hash_key, name))
}

pub(super) fn slot_of_hash(hash: u64) -> u64 {
    const TOP: u64 = u64::MAX >> 8;
    // Neither the cookies of "." and ".." nor the end of the range may be a slot.
    (hash >> 8).clamp(1, TOP - 1) << 7
}

fn entry<'a>(dir: Ino, ino: Ino, dtype: u8, name: &[u8], buf: &'a mut [u8; NAME_MAX + 16]) -> Result<&'a [u8]> {
    let mut head = DiskDirent { ino: 0.into(), dtype };
    head.ino.set(ino);
    let len = size_of::<DiskDirent>() + name.len();
    let out = buf.get_mut(..len).ok_or(Error::NameTooLong)?;
    for (to, from) in out.iter_mut().zip(head.as_bytes().iter().chain(name)) {
        *to = *from;
    }
    // What is written must be readable again.
    DiskDirent::parse(out, dir)?;
    Ok(out)
}

/// Looks for `name` in directory `dir`.
pub(crate) fn find(r: &impl Read, hash_key: &[u64; 2], dir: Ino, name: &[u8]) -> Result<Option<FoundEntry>> {
    let slot = first_slot(hash_key, name);
    let found = |data: &[u8], slot| {
        let (head, n) = DiskDirent::parse(data, dir)?;
        Ok((n == name).then(|| FoundEntry {
            ino: head.ino.get(),
            dtype: head.dtype,
            slot,
        }))
    };
    match r.get(&key::dirent(dir, slot), |data| found(data, slot))? {
        None => return Ok(None),
        Some(Some(f)) => return Ok(Some(f)),
        Some(None) => {}
    }
    let mut hit = None;
    r.scan(
        &key::dirent(dir, slot | 1),
        &key::dirent(dir, slot | SEQ_MASK),
        &mut |k, data| {
            hit = found(data, k.offset)?;
            Ok(hit.is_none())
        },
    )?;
    Ok(hit)
}

/// Makes an entry: `Exists` when the name is taken. The caller counts it in the directory's inode.
pub(crate) fn insert_entry(tx: &mut Tx<'_>, dir: Ino, name: &[u8], ino: Ino, dtype: u8) -> Result<()> {
    let slot = first_slot(tx.hash_key(), name);
    let mut buf = [0; NAME_MAX + 16];
    let data = entry(dir, ino, dtype, name, &mut buf)?;
    match tx.insert(&key::dirent(dir, slot), data) {
        Err(Error::Exists) => {}
        done => return done,
    }
    // The name exists, or others have its hash.
    let mut free = None;
    let mut next = slot;
    tx.scan(
        &key::dirent(dir, slot),
        &key::dirent(dir, slot | SEQ_MASK),
        &mut |k, data| {
            let (head, n) = DiskDirent::parse(data, dir)?;
            if n == name {
                return Err(Error::Exists);
            }
            if free.is_none() && (head.ino.get() == 0 || k.offset != next) {
                free = Some(if head.ino.get() == 0 { k.offset } else { next });
            }
            next = k.offset.saturating_add(1);
            Ok(true)
        },
    )?;
    let slot = match free {
        Some(slot) => slot,
        None if next <= slot | SEQ_MASK => next,
        None => return Err(Error::NoSpace),
    };
    tx.put(&key::dirent(dir, slot), data)
}

/// Makes the entry in `slot` name another inode.
pub(crate) fn redirect_entry(tx: &mut Tx<'_>, dir: Ino, slot: u64, ino: Ino, dtype: u8) -> Result<()> {
    tx.modify(&key::dirent(dir, slot), |data| {
        let (head, _) = zerocopy::FromBytes::mut_from_prefix(data)
            .map_err(|_| Error::corrupt("directory entry too short", u64::MAX, dir))?;
        let head: &mut DiskDirent = head;
        head.ino.set(ino);
        head.dtype = dtype;
        Ok(())
    })?
    .ok_or(Error::NotFound)
}

/// What else has the hash of an entry.
#[derive(Clone, Copy, Default)]
pub(crate) struct Others {
    names: bool,
    placeholder: bool,
}

/// Looks for `name` in directory `dir` and at what shares its hash, in order to remove it.
pub(crate) fn find_to_remove(
    r: &impl Read,
    hash_key: &[u64; 2],
    dir: Ino,
    name: &[u8],
) -> Result<Option<(FoundEntry, Others)>> {
    let slot = first_slot(hash_key, name);
    let mut found = None;
    let mut others = Others::default();
    r.scan(
        &key::dirent(dir, slot),
        &key::dirent(dir, slot | SEQ_MASK),
        &mut |k, data| {
            let (head, n) = DiskDirent::parse(data, dir)?;
            if head.ino.get() == 0 {
                others.placeholder = true;
            } else if n == name {
                found = Some(FoundEntry {
                    ino: head.ino.get(),
                    dtype: head.dtype,
                    slot: k.offset,
                });
            } else {
                others.names = true;
            }
            Ok(true)
        },
    )?;
    Ok(found.map(|f| (f, others)))
}

/// Removes the entry in `slot`, given what else has its hash. The caller counts it in the directory's inode.
pub(crate) fn remove_entry(tx: &mut Tx<'_>, dir: Ino, slot: u64, others: Others) -> Result<()> {
    let first = slot & !SEQ_MASK;
    if slot == first && others.names {
        let mut buf = [0; NAME_MAX + 16];
        return tx.put(&key::dirent(dir, slot), entry(dir, 0, 0, &[], &mut buf)?);
    }
    tx.remove(&key::dirent(dir, slot))?;
    if others.placeholder && !others.names {
        tx.remove(&key::dirent(dir, first))?;
    }
    Ok(())
}

impl Fs {
    /// Looks for `name` in directory `dir`: its inode number and `DT_*` type.
    ///
    /// # Errors
    ///
    /// `NameTooLong` for a name that no entry can have.
    pub fn lookup(&self, dir: Ino, name: &[u8]) -> Result<Option<(Ino, u8)>> {
        let _nofs = nofs();
        if name.len() > NAME_MAX {
            return Err(Error::NameTooLong);
        }
        let found = find(&self.view()?, self.hash_key(), dir, name)?;
        Ok(found.map(|f| (f.ino, f.dtype)))
    }
}
