// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The intent log: batches of operations, one behind the other in a region that is used in a circle.
//!
//! A batch is a header, then operations, then zeros up to a multiple of [`LOG_UNIT`]. An operation is a header and
//! entries: items put and removed, blocks of data adopted and freed. Places in the log are numbered in units, on and
//! on: unit `n` lies at `n` modulo the region's units. A position thus never comes twice in the life of a filesystem,
//! and since the header carries it, what an earlier round left is never taken for a batch.
//!
//! Nothing here trusts a byte: lengths and kinds are checked before they are used.

use super::*;
use core::mem::offset_of;
use core::mem::size_of;
use vexfs_host::crc32c;
use vexfs_host::Error;
use vexfs_host::Result;
use zerocopy::little_endian::U16;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;
use zerocopy::FromBytes as _;
use zerocopy::IntoBytes as _;
use zerocopy_derive::*;

/// First four bytes of a batch, "VLog".
pub const LOG_MAGIC: u32 = u32::from_le_bytes(*b"VLog");
/// Batches begin at, and are as long as, a multiple of so many bytes, at every block size.
pub const LOG_UNIT: usize = 4096;
/// The longest batch in bytes, its header and the zeros at its end included.
pub const LOG_BATCH_MAX: usize = 1 << 20;
/// The longest run of blocks in bytes whose adoption has a checksum.
pub const LOG_CHECKED_MAX: u64 = 64 << 10;
/// Open transaction groups beyond the one on the device that a log can speak of: one that is being written, and the
/// next.
pub const LOG_GROUPS: u64 = 2;

/// The header of a batch.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct DiskLogBatch {
    /// [`LOG_MAGIC`].
    pub magic: U32,
    /// CRC-32C of the uuid and of the batch from byte 8 to the end of its operations.
    pub csum: U32,
    /// The number of its first unit.
    pub position: U64,
    /// SipHash-2-4 of the position under the filesystem's hash key. Bytes that users put into the log, which may be
    /// found where a batch could begin, can therefore not be made to look like one.
    pub tag: U64,
    /// Transaction group of the first operation.
    pub first_txg: U64,
    /// Transaction group of the last operation.
    pub last_txg: U64,
    /// Bytes of operations behind the header.
    pub len: U32,
    /// Operations.
    pub ops: U32,
    /// Zero.
    pub reserved: [u8; 16],
}

/// The header of an operation.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct DiskLogOp {
    /// Bytes of entries behind the header.
    pub len: U32,
    /// Zero.
    pub reserved: U32,
    /// The transaction group it belongs to.
    pub txg: U64,
    /// The next inode number after it.
    pub next_ino: U64,
    /// Objects in the tree after it.
    pub inode_count: U64,
}

/// The header of an entry.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct DiskLogEntry {
    /// One of `LOG_PUT`, `LOG_REMOVE`, `LOG_ADOPT`, `LOG_FREE`.
    pub what: u8,
    /// Kind of the item, 0 for blocks.
    pub kind: u8,
    /// Bytes of data behind the header.
    pub len: U16,
    /// Object of the item, or the first block.
    pub obj: U64,
    /// Offset of the item, or the number of blocks.
    pub offset: U64,
}

/// An item gets this value; the data is the value.
pub const LOG_PUT: u8 = 1;
/// An item is removed.
pub const LOG_REMOVE: u8 = 2;
/// Blocks that data was written to become part of the tree. If there is data, it is the CRC-32C of what was written to
/// them: the batch may have reached the medium before they did.
pub const LOG_ADOPT: u8 = 3;
/// Blocks of data are freed.
pub const LOG_FREE: u8 = 4;

const _: () = assert!(size_of::<DiskLogBatch>() == 64);
const _: () = assert!(offset_of!(DiskLogBatch, csum) == 4);
const _: () = assert!(offset_of!(DiskLogBatch, position) == 8);
const _: () = assert!(offset_of!(DiskLogBatch, tag) == 16);
const _: () = assert!(offset_of!(DiskLogBatch, first_txg) == 24);
const _: () = assert!(offset_of!(DiskLogBatch, last_txg) == 32);
const _: () = assert!(offset_of!(DiskLogBatch, len) == 40);
const _: () = assert!(offset_of!(DiskLogBatch, ops) == 44);
const _: () = assert!(size_of::<DiskLogOp>() == 32);
const _: () = assert!(offset_of!(DiskLogOp, txg) == 8);
const _: () = assert!(size_of::<DiskLogEntry>() == 20);
const _: () = assert!(offset_of!(DiskLogEntry, obj) == 4);
const _: () = assert!(LOG_BATCH_MAX % LOG_UNIT == 0);

/// What makes the batches of one filesystem its own.
#[derive(Clone, Copy)]
pub struct LogIdentity {
    /// Identity of the filesystem.
    pub uuid: [u8; 16],
    /// Key of the hash of names, which users cannot know.
    pub hash_key: [u64; 2],
}

impl LogIdentity {
    /// The tag of a batch at `position`.
    fn tag(&self, position: u64) -> u64 {
        vexfs_host::siphash24(&self.hash_key, &position.to_le_bytes())
    }

    /// The checksum of a batch: `used` are its bytes up to the end of its operations.
    fn csum(&self, used: &[u8]) -> u32 {
        crc32c(crc32c(0, &self.uuid), used.get(8..).unwrap_or(&[]))
    }

    /// Fills in the header of the batch in `bytes`, whose operations end at `used`.
    pub fn seal(&self, bytes: &mut [u8], used: usize, head: &DiskLogBatch) {
        let mut head = *head;
        head.magic = LOG_MAGIC.into();
        head.tag = self.tag(head.position.get()).into();
        head.csum = 0.into();
        if let Some(place) = bytes.get_mut(..size_of::<DiskLogBatch>()) {
            place.copy_from_slice(head.as_bytes());
        }
        let csum = self.csum(bytes.get(..used).unwrap_or(&[]));
        if let Some(place) = bytes.get_mut(offset_of!(DiskLogBatch, csum)..offset_of!(DiskLogBatch, position)) {
            place.copy_from_slice(&csum.to_le_bytes());
        }
    }

    /// The header in `unit`, if a batch may begin there whose first unit is `position`. Its length is possible; the
    /// rest is known only when [`LogIdentity::is_whole`] has seen all of it.
    pub fn header(&self, unit: &[u8], position: u64) -> Option<DiskLogBatch> {
        let (head, _) = DiskLogBatch::ref_from_prefix(unit).ok()?;
        let ours =
            head.magic.get() == LOG_MAGIC && head.position.get() == position && head.tag.get() == self.tag(position);
        (ours && head.bytes() <= LOG_BATCH_MAX).then_some(*head)
    }

    /// Whether `bytes`, which begin with header `head`, hold all of the batch as it was written.
    pub fn is_whole(&self, head: &DiskLogBatch, bytes: &[u8]) -> bool {
        bytes
            .get(..head.used())
            .is_some_and(|used| self.csum(used) == head.csum.get())
    }
}

impl DiskLogBatch {
    /// Bytes up to the end of the operations.
    pub fn used(&self) -> usize {
        (self.len.get() as usize).saturating_add(size_of::<DiskLogBatch>())
    }

    /// Bytes on the device.
    pub fn bytes(&self) -> usize {
        self.used().checked_next_multiple_of(LOG_UNIT).unwrap_or(usize::MAX)
    }
}

/// What an operation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogEntry<'a> {
    /// An item got this value.
    Put(Key, &'a [u8]),
    /// An item was removed.
    Remove(Key),
    /// Blocks of data became part of the tree; with the checksum of what was written to them, if the batch may have
    /// reached the medium before they did.
    Adopt(u64, u32, Option<u32>),
    /// Blocks of data were freed.
    Free(u64, u32),
}

fn bad(what: &'static str) -> Error {
    Error::corrupt(what, u64::MAX, 0)
}

/// The operations of a batch.
pub struct LogOps<'a> {
    rest: &'a [u8],
    left: u32,
}

impl<'a> LogOps<'a> {
    /// The operations of the batch in `bytes`, which is whole.
    pub fn new(head: &DiskLogBatch, bytes: &'a [u8]) -> LogOps<'a> {
        LogOps {
            rest: bytes.get(size_of::<DiskLogBatch>()..head.used()).unwrap_or(&[]),
            left: head.ops.get(),
        }
    }

    /// The next operation and its entries, if there is one.
    ///
    /// # Errors
    ///
    /// `Corrupt` if the batch is not made of the operations it says.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<(DiskLogOp, LogEntries<'a>)>> {
        let Some(left) = self.left.checked_sub(1) else {
            return match self.rest {
                [] => Ok(None),
                _ => Err(bad("intent log: more operations than a batch counts")),
            };
        };
        self.left = left;
        let Ok((op, rest)) = DiskLogOp::read_from_prefix(self.rest) else {
            return Err(bad("intent log: fewer operations than a batch counts"));
        };
        let Some((entries, rest)) = rest.split_at_checked(op.len.get() as usize) else {
            return Err(bad("intent log: operation longer than its batch"));
        };
        self.rest = rest;
        Ok(Some((op, LogEntries { rest: entries })))
    }
}

/// The entries of an operation.
#[derive(Clone, Copy)]
pub struct LogEntries<'a> {
    rest: &'a [u8],
}

impl<'a> LogEntries<'a> {
    /// The next entry, if there is one.
    ///
    /// # Errors
    ///
    /// `Corrupt` if it is none.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<LogEntry<'a>>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let Ok((head, rest)) = DiskLogEntry::ref_from_prefix(self.rest) else {
            return Err(bad("intent log: entry longer than its operation"));
        };
        let Some((data, rest)) = rest.split_at_checked(usize::from(head.len.get())) else {
            return Err(bad("intent log: entry longer than its operation"));
        };
        self.rest = rest;
        let key = Key::new(head.obj.get(), Kind(head.kind), head.offset.get());
        let blocks = u32::try_from(head.offset.get()).ok().filter(|n| *n > 0);
        let plain = head.kind == 0 && data.is_empty();
        let csum = <[u8; 4]>::try_from(data).ok().map(u32::from_le_bytes);
        Ok(Some(match (head.what, blocks) {
            (LOG_PUT, _) if data.len() <= ITEM_MAX => LogEntry::Put(key, data),
            (LOG_REMOVE, _) if data.is_empty() => LogEntry::Remove(key),
            (LOG_ADOPT, Some(n)) if plain || (head.kind == 0 && csum.is_some()) => LogEntry::Adopt(key.obj, n, csum),
            (LOG_FREE, Some(n)) if plain => LogEntry::Free(key.obj, n),
            _ => return Err(bad("intent log: impossible entry")),
        }))
    }
}
