// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Which rows of a segment are dead: a bitmap in a hidden file of its own.
//!
//! A file is written once, when a publication has to remember what the tail it replaces said; it is never changed. What
//! has died since then the records of the tail tell.

use super::item::Entry;
use crate::bits::Bits;
use crate::segment::CollectionContext;
use crate::Ino;
use crate::Time;
use vexfs_host::crc32c;
use vexfs_host::log;
use vexfs_host::mem::Vec;
use vexfs_host::Error;
use vexfs_host::Result;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;
use zerocopy::FromBytes as _;
use zerocopy::FromZeros as _;
use zerocopy::IntoBytes as _;
use zerocopy_derive::*;

/// "VXTB".
const MAGIC: u32 = u32::from_le_bytes(*b"VXTB");
const VERSION: u32 = 1;

#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
struct DiskTombstones {
    magic: U32,
    /// CRC-32C of all bytes of the file from here on.
    csum: U32,
    version: U32,
    rows: U32,
    dead: U32,
    reserved: U32,
    dir: U64,
    /// The file's own inode number.
    file: U64,
    /// The segment file.
    segment: U64,
    reserved_2: [u8; 16],
}

const HEADER: usize = size_of::<DiskTombstones>();
const _: () = assert!(HEADER == 64);

/// Writes the dead rows of a segment to the new hidden file `file`.
pub(super) fn write(context: &CollectionContext, file: Ino, segment: Ino, dead: &Bits) -> Result {
    let mut disk = DiskTombstones::new_zeroed();
    disk.magic.set(MAGIC);
    disk.version.set(VERSION);
    disk.rows.set(dead.len() as u32);
    disk.dead.set(dead.count() as u32);
    disk.dir.set(context.dir);
    disk.file.set(file);
    disk.segment.set(segment);
    let mut bytes = Vec::new();
    bytes.reserve(HEADER + 8 * dead.words().len())?;
    bytes.extend_from_slice(disk.as_bytes())?;
    bytes.extend_from_slice(dead.words().as_bytes())?;
    let csum = crc32c(0, bytes.get(8..).unwrap_or_default());
    if let Some(place) = bytes.get_mut(4..8) {
        place.copy_from_slice(&csum.to_le_bytes());
    }
    // Small, and what follows frees space.
    context.fs.write_urgent(file, 0, &bytes, Time::now()).map(|_| ())
}

/// Reads the dead rows of a segment.
///
/// # Errors
///
/// `Corrupt` unless the file is what the entry says.
pub(super) fn read(context: &CollectionContext, entry: &Entry) -> Result<Bits> {
    let damaged = |what| {
        log!(err, "collection {}: {}, object {}", context.dir, what, entry.tombstones);
        Error::corrupt(what, u64::MAX, context.dir)
    };
    let inode = context.fs.inode(entry.tombstones).map_err(|e| match e {
        Error::NotFound => damaged("collection without one of its tombstone files"),
        e => e,
    })?;
    if !inode.is_hidden() || inode.parent != context.dir {
        return Err(damaged("collection with a tombstone file that is not its own"));
    }
    let rows = entry.rows as usize;
    let words = rows.div_ceil(64);
    if inode.size != (HEADER + 8 * words) as u64 {
        return Err(damaged("tombstone file has a wrong length"));
    }
    let mut bytes = Vec::new();
    bytes.resize(HEADER + 8 * words, 0)?;
    if context.fs.read(entry.tombstones, 0, &mut bytes)? != bytes.len() {
        return Err(damaged("tombstone file has a wrong length"));
    }
    let (disk, bitmap) =
        DiskTombstones::read_from_prefix(&bytes).map_err(|_| damaged("tombstone file has a wrong length"))?;
    if disk.magic.get() != MAGIC || disk.csum.get() != crc32c(0, bytes.get(8..).unwrap_or_default()) {
        return Err(damaged("tombstone file has a wrong checksum"));
    }
    if disk.version.get() != VERSION {
        return Err(Error::Unsupported("the collection was made by another version"));
    }
    let right = disk.dir.get() == context.dir
        && disk.file.get() == entry.tombstones
        && disk.segment.get() == entry.file
        && disk.rows.get() == entry.rows
        && disk.reserved.get() == 0
        && disk.reserved_2 == [0; 16];
    let mut list = Vec::with_capacity(words)?;
    for word in bitmap.chunks_exact(8) {
        list.push(word.try_into().map_or(0, u64::from_le_bytes))?;
    }
    let dead = Bits::from_words(&list, rows)?.filter(|dead| right && dead.count() == entry.dead as usize);
    dead.ok_or_else(|| damaged("tombstone file does not fit its segment"))
}
