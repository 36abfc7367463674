// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! One record of a tail: a change of a collection, as bytes.
//!
//! `docs/format-collections.md` has the layout. Values from disk are checked here: a [`Header`] that parses has lengths
//! that agree and are bounded.

use crate::limits::BATCH_BYTES_MAX;
use crate::limits::BATCH_ROWS_MAX;
use crate::tail::Seq;
use crate::Ino;
use vexfs_host::crc32c;
use vexfs_host::mem::Vec;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd::Space;
use zerocopy::little_endian::U16;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;
use zerocopy::FromBytes as _;
use zerocopy::FromZeros as _;
use zerocopy::IntoBytes as _;
use zerocopy_derive::*;

// Numbers are written as they lie in memory.
const _: () = assert!(cfg!(target_endian = "little"));

/// "VXTR".
const MAGIC: u32 = u32::from_le_bytes(*b"VXTR");

const INSERT: u16 = 1;
const DELETE: u16 = 2;

/// Rows may replace others with their ids.
const UPSERT: u16 = 1 << 0;
/// There are payload lengths, and payloads.
const PAYLOADS: u16 = 1 << 1;

/// Bytes of a record's header.
pub(crate) const HEADER: usize = size_of::<DiskRecord>();

/// Most bytes of a record: the largest batch with its ids and payload lengths.
pub(crate) const RECORD_MAX: usize = HEADER + BATCH_BYTES_MAX + 12 * BATCH_ROWS_MAX + 16;

#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
struct DiskRecord {
    magic: U32,
    /// CRC-32C of the header from `body_csum` on.
    header_csum: U32,
    /// CRC-32C of the body.
    body_csum: U32,
    kind: U16,
    flags: U16,
    /// Bytes of the body, a multiple of 8.
    body_len: U32,
    /// Rows of segments that this change ended.
    killed: U32,
    seq: U64,
    /// The tail's inode number.
    file: U64,
    /// The id that the next row without one gets, after this change.
    next_id: U64,
    count: U32,
    dim: U32,
    payload_bytes: U32,
    /// Rows of this tail that are alive after this change.
    live: U32,
}

const _: () = assert!(HEADER == 64);
const _: () = assert!(core::mem::offset_of!(DiskRecord, body_len) == 16);
const _: () = assert!(core::mem::offset_of!(DiskRecord, count) == 48);

/// What a record does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Change {
    Insert { upsert: bool, payloads: bool },
    Delete,
}

/// The header of a record, checked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Header {
    pub(crate) change: Change,
    pub(crate) seq: Seq,
    pub(crate) next_id: u64,
    pub(crate) count: usize,
    pub(crate) dim: usize,
    /// Bytes of a vector.
    pub(crate) row_bytes: usize,
    pub(crate) payload_bytes: usize,
    /// Rows of the tail that are alive after this change.
    pub(crate) live: usize,
    /// Rows of segments that this change ended: deleted or replaced.
    pub(crate) killed: usize,
    /// Computed by [`seal`].
    pub(crate) body_csum: u32,
}

/// Where the parts of a body lie.
struct Parts {
    lens: usize,
    vectors: usize,
    payloads: usize,
    end: usize,
}

impl Header {
    fn parts(&self) -> Parts {
        let lens = 8 * self.count;
        let (with_payloads, with_vectors) = match self.change {
            Change::Insert { payloads, .. } => (payloads, true),
            Change::Delete => (false, false),
        };
        // Limits on counts and bytes keep all of this far below overflow.
        let vectors = lens
            + if with_payloads {
                (4 * self.count).next_multiple_of(8)
            } else {
                0
            };
        let payloads = vectors + if with_vectors { self.count * self.row_bytes } else { 0 };
        let end = (payloads + self.payload_bytes).next_multiple_of(8);
        Parts {
            lens,
            vectors,
            payloads,
            end,
        }
    }

    /// Bytes of the body.
    pub(crate) fn body_len(&self) -> usize {
        self.parts().end
    }

    fn encode(&self, file: Ino) -> DiskRecord {
        let mut disk = DiskRecord::new_zeroed();
        disk.magic.set(MAGIC);
        disk.body_csum.set(self.body_csum);
        let (kind, flags) = match self.change {
            Change::Insert { upsert, payloads } => (
                INSERT,
                if upsert { UPSERT } else { 0 } | if payloads { PAYLOADS } else { 0 },
            ),
            Change::Delete => (DELETE, 0),
        };
        disk.kind.set(kind);
        disk.flags.set(flags);
        disk.body_len.set(self.body_len() as u32);
        disk.killed.set(self.killed as u32);
        disk.seq.set(self.seq);
        disk.file.set(file);
        disk.next_id.set(self.next_id);
        disk.count.set(self.count as u32);
        disk.dim.set(self.dim as u32);
        disk.payload_bytes.set(self.payload_bytes as u32);
        disk.live.set(self.live as u32);
        disk.header_csum.set(header_csum(&disk));
        disk
    }

    /// Checks the header of a record of tail `file` of a collection with such vectors.
    ///
    /// # Errors
    ///
    /// What is wrong.
    pub(crate) fn decode(bytes: &[u8; HEADER], file: Ino, space: &Space) -> core::result::Result<Self, &'static str> {
        let disk = DiskRecord::read_from_bytes(bytes).map_err(|_| "record header cut short")?;
        if disk.magic.get() != MAGIC {
            return Err("record without its magic");
        }
        if disk.header_csum.get() != header_csum(&disk) {
            return Err("record header has a wrong checksum");
        }
        if disk.file.get() != file {
            return Err("record belongs to another file");
        }
        if disk.dim.get() as usize != space.dim() {
            return Err("record has another dimension");
        }
        let flags = disk.flags.get();
        let change = match disk.kind.get() {
            INSERT if flags & !(UPSERT | PAYLOADS) == 0 => Change::Insert {
                upsert: flags & UPSERT != 0,
                payloads: flags & PAYLOADS != 0,
            },
            DELETE if flags == 0 => Change::Delete,
            _ => return Err("record of an unknown kind"),
        };
        let count = disk.count.get() as usize;
        if count == 0 || count > BATCH_ROWS_MAX {
            return Err("record with a number of rows out of range");
        }
        let payload_bytes = disk.payload_bytes.get() as usize;
        let row_bytes = space.row_bytes();
        let vector_bytes = if change == Change::Delete { 0 } else { count * row_bytes };
        if vector_bytes > BATCH_BYTES_MAX {
            return Err("record with more bytes than a batch may have");
        }
        let may_have_payloads = matches!(change, Change::Insert { payloads: true, .. });
        if payload_bytes > BATCH_BYTES_MAX - vector_bytes || (payload_bytes != 0 && !may_have_payloads) {
            return Err("record with more bytes than a batch may have");
        }
        let header = Self {
            change,
            seq: disk.seq.get(),
            next_id: disk.next_id.get(),
            count,
            dim: space.dim(),
            row_bytes,
            payload_bytes,
            live: disk.live.get() as usize,
            killed: disk.killed.get() as usize,
            body_csum: disk.body_csum.get(),
        };
        if disk.body_len.get() as usize != header.body_len() {
            return Err("record length does not follow from its contents");
        }
        Ok(header)
    }

    /// Whether these are the bytes that the header was written for.
    pub(crate) fn matches(&self, body: &[u8]) -> bool {
        body.len() == self.body_len() && crc32c(0, body) == self.body_csum
    }

    /// Splits a body that [`matches`](Self::matches).
    pub(crate) fn split<'a>(&self, body: &'a [u8]) -> Result<Body<'a>> {
        let cut = |from: usize, to: usize| body.get(from..to).ok_or(Error::Overflow);
        let parts = self.parts();
        let lens_end = parts.lens + if parts.vectors > parts.lens { 4 * self.count } else { 0 };
        Ok(Body {
            ids: cut(0, parts.lens)?,
            payload_lens: cut(parts.lens, lens_end)?,
            vectors: cut(parts.vectors, parts.payloads)?,
            payloads: cut(parts.payloads, parts.payloads + self.payload_bytes)?,
        })
    }
}

/// The parts of a body.
pub(crate) struct Body<'a> {
    ids: &'a [u8],
    payload_lens: &'a [u8],
    pub(crate) vectors: &'a [u8],
    pub(crate) payloads: &'a [u8],
}

impl Body<'_> {
    /// The ids.
    pub(crate) fn ids(&self) -> impl Iterator<Item = u64> + '_ {
        self.ids
            .chunks_exact(8)
            .map(|bytes| bytes.try_into().map_or(0, u64::from_le_bytes))
    }

    /// The lengths of the payloads; none if there are no payloads.
    pub(crate) fn payload_lens(&self) -> impl Iterator<Item = u32> + '_ {
        self.payload_lens
            .chunks_exact(4)
            .map(|bytes| bytes.try_into().map_or(0, u32::from_le_bytes))
    }
}

fn header_csum(disk: &DiskRecord) -> u32 {
    crc32c(0, disk.as_bytes().get(8..).unwrap_or_default())
}

/// The contents of an insert.
#[derive(Clone, Copy)]
pub(crate) struct Insert<'a> {
    pub(crate) ids: &'a [u64],
    pub(crate) vectors: &'a [u8],
    pub(crate) payload_lens: &'a [u32],
    pub(crate) payloads: &'a [u8],
}

/// Puts the record of an insert into `out`, without checksums: [`seal`] adds them.
pub(crate) fn write_insert(out: &mut Vec<u8>, header: &Header, insert: &Insert<'_>) -> Result {
    start(out, header, insert.ids)?;
    let parts = header.parts();
    out.extend_from_slice(insert.payload_lens.as_bytes())?;
    out.resize(HEADER + parts.vectors, 0)?;
    out.extend_from_slice(insert.vectors)?;
    out.extend_from_slice(insert.payloads)?;
    out.resize(HEADER + parts.end, 0)
}

/// Puts the record of a deletion into `out`, without checksums: [`seal`] adds them.
pub(crate) fn write_delete(out: &mut Vec<u8>, header: &Header, ids: &[u64]) -> Result {
    start(out, header, ids)?;
    out.resize(HEADER + header.parts().end, 0)
}

fn start(out: &mut Vec<u8>, header: &Header, ids: &[u64]) -> Result {
    out.clear();
    out.reserve(HEADER + header.parts().end)?;
    out.resize(HEADER, 0)?;
    out.extend_from_slice(ids.as_bytes())
}

/// The body of a record that is being made.
pub(crate) fn body(record: &[u8]) -> &[u8] {
    record.get(HEADER..).unwrap_or_default()
}

/// The vectors of an insert that is being made.
pub(crate) fn vectors_mut<'a>(record: &'a mut [u8], header: &Header) -> &'a mut [u8] {
    let parts = header.parts();
    record
        .get_mut(HEADER + parts.vectors..HEADER + parts.payloads)
        .unwrap_or_default()
}

/// Writes the header with its checksums, after which the record is complete.
pub(crate) fn seal(record: &mut [u8], mut header: Header, file: Ino) {
    header.body_csum = crc32c(0, body(record));
    let disk = header.encode(file);
    if let Some(place) = record.get_mut(..HEADER) {
        place.copy_from_slice(disk.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vexfs_simd::Element;
    use vexfs_simd::Metric;

    fn space(dim: usize) -> Space {
        Space::new(Element::I8, Metric::L2, dim).unwrap()
    }

    fn sample() -> (Header, std::vec::Vec<u8>) {
        let change = Change::Insert {
            upsert: true,
            payloads: true,
        };
        let header = Header {
            change,
            seq: 9,
            next_id: 1 << 40,
            count: 3,
            dim: 5,
            row_bytes: 5,
            payload_bytes: 7,
            live: 3,
            killed: 2,
            body_csum: 0,
        };
        let insert = Insert {
            ids: &[1, u64::MAX, 1 << 33],
            vectors: &core::array::from_fn::<u8, 15, _>(|i| i as u8),
            payload_lens: &[3, 0, 4],
            payloads: b"abcdefg",
        };
        let mut record = Vec::new();
        write_insert(&mut record, &header, &insert).unwrap();
        seal(&mut record, header, 33);
        (header, record.to_vec())
    }

    fn decode(record: &[u8], file: Ino, dim: usize) -> core::result::Result<Header, &'static str> {
        Header::decode(record.first_chunk().unwrap(), file, &space(dim))
    }

    #[test]
    fn a_record_is_read_back() {
        let (written, record) = sample();
        let header = decode(&record, 33, 5).unwrap();
        assert_eq!(Header { body_csum: 0, ..header }, written);
        assert!(header.matches(body(&record)));
        let body = header.split(body(&record)).unwrap();
        assert_eq!(body.ids().collect::<std::vec::Vec<_>>(), [1, u64::MAX, 1 << 33]);
        assert_eq!(body.payload_lens().collect::<std::vec::Vec<_>>(), [3, 0, 4]);
        assert_eq!(body.vectors, (0..15).collect::<std::vec::Vec<u8>>());
        assert_eq!(body.payloads, b"abcdefg");
    }

    #[test]
    fn a_deletion_is_read_back() {
        let header = Header {
            change: Change::Delete,
            seq: 2,
            next_id: 7,
            count: 2,
            dim: 5,
            row_bytes: 5,
            payload_bytes: 0,
            live: 0,
            killed: 2,
            body_csum: 0,
        };
        let mut record = Vec::new();
        write_delete(&mut record, &header, &[5, 6]).unwrap();
        seal(&mut record, header, 33);
        let read = decode(&record, 33, 5).unwrap();
        assert!(read.matches(body(&record)));
        assert_eq!(
            read.split(body(&record)).unwrap().ids().collect::<std::vec::Vec<_>>(),
            [5, 6]
        );
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        let (_, record) = sample();
        for at in 0..record.len() * 8 {
            let mut changed = record.clone();
            changed[at / 8] ^= 1 << (at % 8);
            let noticed = match decode(&changed, 33, 5) {
                Ok(header) => !header.matches(body(&changed)),
                Err(_) => true,
            };
            assert!(noticed, "bit {at}");
        }
        assert!(decode(&record, 34, 5).is_err());
        assert!(decode(&record, 33, 6).is_err());
    }

    #[test]
    fn well_checksummed_nonsense_is_refused() {
        let (good, record) = sample();
        let with = |edit: &dyn Fn(&mut DiskRecord)| {
            let mut disk = Header { body_csum: 1, ..good }.encode(33);
            edit(&mut disk);
            disk.header_csum.set(header_csum(&disk));
            let mut changed = record.clone();
            changed[..HEADER].copy_from_slice(disk.as_bytes());
            decode(&changed, 33, 5)
        };
        assert!(with(&|_| ()).is_ok());
        assert!(with(&|disk| disk.count.set(0)).is_err());
        assert!(with(&|disk| disk.count.set(u32::MAX)).is_err());
        assert!(with(&|disk| disk.payload_bytes.set(u32::MAX)).is_err());
        assert!(with(&|disk| disk.payload_bytes.set(BATCH_BYTES_MAX as u32)).is_err());
        assert!(with(&|disk| disk.body_len.set(8)).is_err());
        // A body that follows from its contents, and is too large all the same.
        let many = BATCH_ROWS_MAX;
        let large = Header {
            count: many,
            dim: 4096,
            row_bytes: 4096,
            payload_bytes: 0,
            ..good
        }
        .encode(33);
        assert!(Header::decode(large.as_bytes().first_chunk().unwrap(), 33, &space(4096)).is_err());
        assert!(with(&|disk| disk.kind.set(3)).is_err());
        assert!(with(&|disk| disk.kind.set(DELETE)).is_err());
        assert!(with(&|disk| disk.flags.set(1 << 2)).is_err());
        assert!(with(&|disk| disk.flags.set(0)).is_err());
    }
}
