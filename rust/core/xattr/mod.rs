// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Extended attributes: values of up to 64 KiB under full names (`user.colour`), in chunks that fit the tree.
//!
//! An attribute's chunks lie under the keys (inode, xattr, hash48 << 16 | sequence number << 12 | chunk); the sequence
//! number tells names with equal hashes apart. Chunk 0 holds the name and the start of the value.
//!
//! Invariant: chunks 0..n of an attribute are there without gaps, each but the last one full. Setting, replacing and
//! removing are one transaction each, so nobody ever sees half a value. The inode counts the bytes of its attribute
//! names; the count is 0 exactly when there are no attributes.

#[cfg(test)]
mod tests;

use crate::format::items::DiskXattr;
use crate::format::items::NAME_MAX;
use crate::format::items::XATTR_LIST_MAX;
use crate::format::items::XATTR_SIZE_MAX;
use crate::format::ITEM_MAX;
use crate::fs::Fs;
use crate::inode;
use crate::inode::change;
use crate::inode::key;
use crate::inode::Ino;
use crate::inode::Time;
use crate::inode::Txg;
use crate::txn::Read;
use crate::txn::Reserve;
use crate::txn::Tx;
use core::mem::size_of;
use vexfs_host::mem::Vec;
use vexfs_host::nofs;
use vexfs_host::siphash24;
use vexfs_host::Error;
use vexfs_host::Result;
use zerocopy::IntoBytes;

const CHUNK_MASK: u64 = 0xfff;
const SEQ_STEP: u64 = 0x1000;
const SEQ_MASK: u64 = 0xf000;
/// Bytes of names copied out under one hold of the tree lock.
const BATCH: usize = 16 << 10;

/// Whether an attribute may, must not or must exist already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XattrMode {
    /// Create or replace it.
    Set,
    /// Create it: `Exists` when it exists.
    Create,
    /// Replace it: `NoData` when it does not exist.
    Replace,
}

/// An attribute as it was found.
#[derive(Clone, Copy)]
struct FoundAttr {
    /// The offset of its chunk 0.
    at: u64,
    chunks: usize,
}

/// Bytes of the value that go into chunk 0.
fn first_piece(name_len: usize) -> usize {
    ITEM_MAX.saturating_sub(size_of::<DiskXattr>() + name_len)
}

/// The number of chunks of an attribute.
pub(crate) fn chunks(name_len: usize, value_len: usize) -> usize {
    1 + value_len.saturating_sub(first_piece(name_len)).div_ceil(ITEM_MAX)
}

fn check(name: &[u8], value: &[u8]) -> Result<()> {
    if name.is_empty() || name.len() > NAME_MAX {
        return Err(Error::Range);
    }
    if name.contains(&0) {
        return Err(Error::Invalid("zero byte in an attribute name"));
    }
    if value.len() > XATTR_SIZE_MAX {
        return Err(Error::TooBig("attribute value"));
    }
    Ok(())
}

/// The offset of sequence number 0, chunk 0 for `name`.
pub(crate) fn first_offset(hash_key: &[u64; 2], name: &[u8]) -> u64 {
    #[cfg(test)]
    if name.starts_with(b"user.collide-") {
        return 0x1234 << 16;
    }
    siphash24(hash_key, name) & !0xffff
}

/// Looks for `name`; also tells the offset of the first unused sequence number of its hash, if one is left.
fn find(r: &impl Read, hash_key: &[u64; 2], ino: Ino, name: &[u8]) -> Result<(Option<FoundAttr>, Option<u64>)> {
    let first = first_offset(hash_key, name);
    let mut found = None;
    let mut free = first;
    r.scan(
        &key::xattr(ino, first),
        &key::xattr(ino, first | 0xffff),
        &mut |k, data| {
            if k.offset & CHUNK_MASK != 0 {
                return Ok(true);
            }
            let (head, n, _) = DiskXattr::parse(data, ino)?;
            if n == name {
                found = Some(FoundAttr {
                    at: k.offset,
                    chunks: chunks(n.len(), head.value_len.get() as usize),
                });
            }
            if k.offset == free {
                free = free.saturating_add(SEQ_STEP);
            }
            Ok(found.is_none())
        },
    )?;
    Ok((found, (free <= first | SEQ_MASK).then_some(free)))
}

/// Writes the chunks of an attribute at `at`; those that exist are replaced.
fn write_chunks(tx: &mut Tx<'_>, ino: Ino, at: u64, name: &[u8], value: &[u8]) -> Result<()> {
    let (piece, rest) = value.split_at_checked(first_piece(name.len())).unwrap_or((value, &[]));
    let name_len = u8::try_from(name.len()).map_err(|_| Error::Range)?;
    let mut head = DiskXattr {
        value_len: 0.into(),
        name_len,
        reserved: [0; 3],
    };
    head.value_len
        .set(u32::try_from(value.len()).map_err(|_| Error::TooBig("attribute value"))?);
    let mut first = Vec::with_capacity(size_of::<DiskXattr>() + name.len() + piece.len())?;
    first.extend_from_slice(head.as_bytes())?;
    first.extend_from_slice(name)?;
    first.extend_from_slice(piece)?;
    tx.put(&key::xattr(ino, at), &first)?;
    for (piece, n) in rest.chunks(ITEM_MAX).zip(1u64..) {
        tx.put(&key::xattr(ino, at | n), piece)?;
    }
    Ok(())
}

fn remove_chunks(tx: &mut Tx<'_>, ino: Ino, at: u64, chunks: core::ops::Range<usize>) -> Result<()> {
    for n in chunks {
        tx.remove(&key::xattr(ino, at | n as u64)).map_err(|e| match e {
            Error::NotFound => tx.damaged("extended attribute with a chunk missing", ino),
            e => e,
        })?;
    }
    Ok(())
}

/// Adds an attribute to an inode that is being made.
pub(crate) fn add(tx: &mut Tx<'_>, ino: Ino, name: &[u8], value: &[u8]) -> Result<()> {
    check(name, value)?;
    match find(tx, tx.hash_key(), ino, name)? {
        (None, Some(free)) => write_chunks(tx, ino, free, name, value)?,
        (None, None) => return Err(Error::NoSpace),
        (Some(_), _) => return Err(Error::Exists),
    }
    change(tx, ino, |d| grow_list(d, name))
}

fn grow_list(d: &mut crate::format::items::DiskInode, name: &[u8]) -> Result<()> {
    let len = d.xattr_list.get().saturating_add(name.len() as u32 + 1);
    if len > XATTR_LIST_MAX {
        // `listxattr` could not return them all.
        return Err(Error::NoSpace);
    }
    d.xattr_list.set(len);
    Ok(())
}

impl Fs {
    /// Puts the value of attribute `name` of inode `ino` into `out`.
    ///
    /// # Errors
    ///
    /// `NoData` when there is no such attribute.
    pub fn get_xattr(&self, ino: Ino, name: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let _nofs = nofs();
        check(name, &[])?;
        let view = self.view()?;
        let inode = inode::expect(&view, ino)?;
        if inode.xattr_list == 0 {
            return Err(Error::NoData);
        }
        out.clear();
        let first = first_offset(self.hash_key(), name);
        // Where chunk 0 was found, and the length of the value.
        let mut found: Option<(u64, usize)> = None;
        view.scan(
            &key::xattr(ino, first),
            &key::xattr(ino, first | 0xffff),
            &mut |k, data| {
                match found {
                    Some((at, len)) if k.offset & !CHUNK_MASK == at && out.len() < len => {
                        out.extend_from_slice(data)?
                    }
                    Some(_) => return Ok(false),
                    None if k.offset & CHUNK_MASK == 0 => {
                        let (head, n, piece) = DiskXattr::parse(data, ino)?;
                        if n == name {
                            found = Some((k.offset, head.value_len.get() as usize));
                            out.extend_from_slice(piece)?;
                        }
                    }
                    None => {}
                }
                Ok(found.is_none_or(|(_, len)| out.len() < len))
            },
        )?;
        let (_, len) = found.ok_or(Error::NoData)?;
        if out.len() != len {
            return Err(Error::corrupt("extended attribute of a wrong length", u64::MAX, ino));
        }
        Ok(())
    }

    /// Sets attribute `name` of inode `ino`, wholly or not at all.
    ///
    /// # Errors
    ///
    /// `Exists` and `NoData` as `mode` says, `Range` for a bad name, `TooBig` for a value over 64 KiB, `NoSpace` when
    /// the names would get too long for a list of them.
    pub fn set_xattr(&self, ino: Ino, name: &[u8], value: &[u8], mode: XattrMode, now: Time) -> Result<Txg> {
        let _nofs = nofs();
        check(name, value)?;
        // The old value's chunks are replaced or removed, at most as many as the largest value has.
        let items = chunks(name.len(), value.len());
        let old = chunks(name.len(), XATTR_SIZE_MAX);
        let mut tx = self.begin(Reserve::items(items + 1).clustered(old))?;
        let (found, free) = find(&tx, self.hash_key(), ino, name)?;
        let at = match (found, mode) {
            (Some(_), XattrMode::Create) => return Err(Error::Exists),
            (None, XattrMode::Replace) => return Err(Error::NoData),
            (Some(f), _) => f.at,
            (None, _) => free.ok_or(Error::NoSpace)?,
        };
        change(&mut tx, ino, |d| {
            if found.is_none() {
                grow_list(d, name)?;
            }
            d.set_ctime(now);
            Ok(())
        })?;
        write_chunks(&mut tx, ino, at, name, value)?;
        if let Some(f) = found {
            remove_chunks(&mut tx, ino, at, items..f.chunks)?;
        }
        Ok(tx.commit())
    }

    /// Removes attribute `name` of inode `ino`: `NoData` when there is none.
    pub fn remove_xattr(&self, ino: Ino, name: &[u8], now: Time) -> Result<Txg> {
        let _nofs = nofs();
        check(name, &[])?;
        let most = chunks(name.len(), XATTR_SIZE_MAX);
        let mut tx = self.begin(Reserve::items(2).clustered(most).deleting())?;
        inode::expect(&tx, ino)?;
        let (found, _) = find(&tx, self.hash_key(), ino, name)?;
        let found = found.ok_or(Error::NoData)?;
        remove_chunks(&mut tx, ino, found.at, 0..found.chunks)?;
        change(&mut tx, ino, |d| {
            let len = d.xattr_list.get().checked_sub(name.len() as u32 + 1);
            let len = len.ok_or(Error::corrupt("more extended attributes than counted", u64::MAX, ino))?;
            d.xattr_list.set(len);
            d.set_ctime(now);
            Ok(())
        })?;
        Ok(tx.commit())
    }

    /// Hands the names of all attributes of inode `ino` to `emit`.
    ///
    /// They are copied out before `emit` is called, so it may do what it likes.
    pub fn list_xattr(&self, ino: Ino, emit: &mut dyn FnMut(&[u8])) -> Result<()> {
        let mut names: Vec<u8> = Vec::new();
        let mut from = 0;
        loop {
            let more = self.copy_names(ino, from, &mut names)?;
            // Names have no zero bytes; each is followed by one.
            for name in names.split(|b| *b == 0).filter(|n| !n.is_empty()) {
                emit(name);
            }
            match more {
                Some(next) => from = next,
                None => return Ok(()),
            }
        }
    }

    /// Copies a batch of names and returns where the next one starts.
    fn copy_names(&self, ino: Ino, from: u64, names: &mut Vec<u8>) -> Result<Option<u64>> {
        let _nofs = nofs();
        names.clear();
        let view = self.view()?;
        if inode::expect(&view, ino)?.xattr_list == 0 {
            return Ok(None);
        }
        let mut more = None;
        view.scan(&key::xattr(ino, from), &key::xattr(ino, u64::MAX), &mut |k, data| {
            if k.offset & CHUNK_MASK != 0 {
                return Ok(true);
            }
            let (_, name, _) = DiskXattr::parse(data, ino)?;
            if names.len() + name.len() >= BATCH {
                more = Some(k.offset);
                return Ok(false);
            }
            names.extend_from_slice(name)?;
            names.push(0)?;
            Ok(true)
        })?;
        Ok(more)
    }
}
