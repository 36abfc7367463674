// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The header and the section table of a segment file, as bytes.
//!
//! `docs/format-collections.md` has the layout. Values from disk are checked here: a [`Header`] that parses belongs to
//! the collection and the file, and has sections that lie in the file behind the table and do not overlap.

use crate::index::IndexParams;
use crate::limits::ROWS_MAX;
use crate::params::Params;
use crate::Ino;
use vexfs_host::crc32c;
use vexfs_host::mem::Vec;
use vexfs_host::Result;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;
use zerocopy::FromBytes as _;
use zerocopy::FromZeros as _;
use zerocopy::IntoBytes as _;
use zerocopy_derive::*;

/// "VXSG".
const MAGIC: u32 = u32::from_le_bytes(*b"VXSG");
/// Version of the segment file.
const VERSION: u32 = 1;

/// Bytes of the fixed part of a header; the section table follows.
pub(crate) const HEADER: usize = size_of::<DiskHeader>();
const ENTRY: usize = size_of::<DiskSection>();
/// Most sections of a segment.
pub(crate) const SECTIONS_MAX: usize = 64;
/// Most bytes of a header with its table.
pub(crate) const HEAD_MAX: usize = HEADER + SECTIONS_MAX * ENTRY;
/// Where the first section may begin, whatever their number.
pub(crate) const BODY: u64 = 4096;

const _: () = assert!(HEAD_MAX <= BODY as usize);

/// Sections begin at multiples of this.
const LINE: u64 = 64;
/// Sections of at least so many bytes begin at multiples of it: reads of them are of whole blocks of most devices.
const PAGE: u64 = 4096;

/// The kinds of sections of every segment. Those of payload fields begin at 0x200, those of indexes at 0x300.
pub(crate) mod kind {
    /// The ids of the rows, ascending, 8 bytes each.
    pub(crate) const IDS: u32 = 0x101;
    /// The vectors, packed.
    pub(crate) const VECTORS: u32 = 0x102;
    /// The inverse norms of the vectors, 4 bytes each, if the metric needs them.
    pub(crate) const NORMS: u32 = 0x103;
    /// Where the payload of each row ends in the next section, 8 bytes each; absent if no row has a payload.
    pub(crate) const PAYLOAD_ENDS: u32 = 0x104;
    /// The payloads, one after the other.
    pub(crate) const PAYLOADS: u32 = 0x105;
    /// The first kind of payload fields.
    pub(crate) const FIELDS: u32 = 0x200;
    /// The first kind of indexes.
    pub(crate) const INDEX: u32 = 0x300;
}

#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
struct DiskHeader {
    magic: U32,
    /// CRC-32C of the header from `version` on and of the section table.
    csum: U32,
    version: U32,
    /// Bits that change the meaning of the rest: a reader refuses those it does not know.
    features: U32,
    /// The collection's directory.
    dir: U64,
    /// The file's own inode number.
    file: U64,
    number: U64,
    rows: U64,
    min_id: U64,
    max_id: U64,
    /// Bytes of the file.
    len: U64,
    dim: U32,
    element: U32,
    metric: U32,
    sections: U32,
    reserved: [u8; 40],
    /// What the index was made with.
    index: [u8; 64],
    reserved_2: [u8; 64],
}

const _: () = assert!(HEADER == 256);
const _: () = assert!(core::mem::offset_of!(DiskHeader, dim) == 72);
const _: () = assert!(core::mem::offset_of!(DiskHeader, index) == 128);

#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
struct DiskSection {
    kind: U32,
    /// CRC-32C of the section.
    csum: U32,
    offset: U64,
    len: U64,
    reserved: U64,
}

const _: () = assert!(ENTRY == 32);

/// Where a section lies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct SectionExtent {
    pub(crate) kind: u32,
    pub(crate) csum: u32,
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

/// What a segment file says of itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Header {
    pub(crate) number: u64,
    pub(crate) rows: u32,
    pub(crate) min_id: u64,
    pub(crate) max_id: u64,
    /// Bytes of the file.
    pub(crate) len: u64,
    pub(crate) index: IndexParams,
}

/// Where a section of `len` bytes begins that is put behind byte `end`.
pub(crate) fn place_after(end: u64, len: u64) -> u64 {
    end.next_multiple_of(if len >= PAGE { PAGE } else { LINE })
}

/// The bytes of a header and its section table.
pub(crate) fn encode(
    header: &Header,
    places: &[SectionExtent],
    params: &Params,
    dir: Ino,
    file: Ino,
) -> Result<Vec<u8>> {
    let mut disk = DiskHeader::new_zeroed();
    disk.magic.set(MAGIC);
    disk.version.set(VERSION);
    disk.dir.set(dir);
    disk.file.set(file);
    disk.number.set(header.number);
    disk.rows.set(header.rows.into());
    disk.min_id.set(header.min_id);
    disk.max_id.set(header.max_id);
    disk.len.set(header.len);
    disk.dim.set(params.dim() as u32);
    disk.element.set(params.element().code());
    disk.metric.set(params.metric().code());
    disk.sections.set(places.len() as u32);
    disk.index = header.index.encode();
    let mut bytes = Vec::with_capacity(HEADER.saturating_add(places.len().saturating_mul(ENTRY)))?;
    bytes.extend_from_slice(disk.as_bytes())?;
    for place in places {
        let mut entry = DiskSection::new_zeroed();
        entry.kind.set(place.kind);
        entry.csum.set(place.csum);
        entry.offset.set(place.offset);
        entry.len.set(place.len);
        bytes.extend_from_slice(entry.as_bytes())?;
    }
    let csum = crc32c(0, bytes.get(8..).unwrap_or_default());
    if let Some(place) = bytes.get_mut(4..8) {
        place.copy_from_slice(&csum.to_le_bytes());
    }
    Ok(bytes)
}

/// What can be wrong with a header, or prevent it from being read.
pub(crate) enum Refusal {
    Damaged(&'static str),
    Failed(vexfs_host::Error),
}

impl From<vexfs_host::Error> for Refusal {
    fn from(e: vexfs_host::Error) -> Self {
        Refusal::Failed(e)
    }
}

/// Checks the header and the section table at the start of file `file`, which has `len` bytes, of the collection of
/// `dir`.
pub(crate) fn decode(
    bytes: &[u8],
    len: u64,
    params: &Params,
    dir: Ino,
    file: Ino,
) -> core::result::Result<(Header, Vec<SectionExtent>), Refusal> {
    let damaged = |what| Err(Refusal::Damaged(what));
    let Ok((disk, _)) = DiskHeader::read_from_prefix(bytes) else {
        return damaged("segment cut short");
    };
    if disk.magic.get() != MAGIC {
        return damaged("segment without its magic");
    }
    let count = disk.sections.get() as usize;
    if count > SECTIONS_MAX {
        return damaged("segment with too many sections");
    }
    let end = HEADER + count * ENTRY;
    let Some(checked) = bytes.get(8..end) else {
        return damaged("segment cut short");
    };
    if crc32c(0, checked) != disk.csum.get() {
        return damaged("segment header has a wrong checksum");
    }
    if disk.version.get() != VERSION || disk.features.get() != 0 {
        return Err(Refusal::Failed(vexfs_host::Error::Unsupported(
            "the segment was made by a newer version",
        )));
    }
    if disk.dir.get() != dir || disk.file.get() != file {
        return damaged("segment belongs to another collection or file");
    }
    if disk.dim.get() as usize != params.dim()
        || disk.element.get() != params.element().code()
        || disk.metric.get() != params.metric().code()
    {
        return damaged("segment has vectors of another kind");
    }
    if disk.len.get() != len || disk.reserved != [0; 40] || disk.reserved_2 != [0; 64] {
        return damaged("segment has another length or reserved bytes");
    }
    let rows = disk.rows.get();
    let ids = disk.max_id.get().checked_sub(disk.min_id.get());
    if rows == 0 || rows > ROWS_MAX as u64 || ids.is_none_or(|ids| ids < rows - 1) {
        return damaged("segment with a number of rows out of range");
    }
    let Some(index) = IndexParams::decode(&disk.index) else {
        return damaged("segment with index parameters out of range");
    };
    let mut places: Vec<SectionExtent> = Vec::with_capacity(count)?;
    let mut before = BODY;
    for entry in bytes.get(HEADER..end).unwrap_or_default().chunks_exact(ENTRY) {
        let Ok(entry) = DiskSection::ref_from_bytes(entry) else {
            return damaged("segment cut short");
        };
        let (offset, bytes) = (entry.offset.get(), entry.len.get());
        let behind = offset.checked_add(bytes).filter(|behind| *behind <= len);
        let Some(behind) = behind.filter(|_| offset >= before && offset % LINE == 0) else {
            return damaged("segment with a section outside of its place");
        };
        let kind = entry.kind.get();
        if entry.reserved.get() != 0 || places.iter().any(|place| place.kind == kind) {
            return damaged("segment with a section twice or reserved bytes");
        }
        before = behind;
        places.push(SectionExtent {
            kind,
            csum: entry.csum.get(),
            offset,
            len: bytes,
        })?;
    }
    let header = Header {
        number: disk.number.get(),
        rows: rows as u32,
        min_id: disk.min_id.get(),
        max_id: disk.max_id.get(),
        len,
        index,
    };
    Ok((header, places))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::IndexKind;
    use vexfs_uapi as uapi;

    fn sample() -> (Params, Header, [SectionExtent; 3]) {
        let params = Params::new(7, uapi::VEXFS_ELEMENT_F32, uapi::VEXFS_METRIC_L2, 0).unwrap();
        let header = Header {
            number: 3,
            rows: 5,
            min_id: 10,
            max_id: 14,
            len: 20_000,
            index: IndexParams::of(IndexKind::Flat),
        };
        let place = |kind, offset, len| SectionExtent {
            kind,
            csum: kind,
            offset,
            len,
        };
        let places = [
            place(kind::IDS, 4096, 40),
            place(kind::VECTORS, 4160, 140),
            place(kind::INDEX, 8192, 11_808),
        ];
        (params, header, places)
    }

    #[test]
    fn a_header_is_read_back_and_every_changed_bit_is_noticed() {
        let (params, header, places) = sample();
        let bytes = encode(&header, &places, &params, 30, 31).unwrap();
        let read = |bytes: &[u8], len, dir, file| decode(bytes, len, &params, dir, file).ok();
        let (back, back_places) = read(&bytes, 20_000, 30, 31).unwrap();
        assert_eq!((back, &back_places[..]), (header, &places[..]));
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&changed, 20_000, 30, 31).is_none(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(read(&bytes[..len], 20_000, 30, 31).is_none());
        }
        assert!(read(&bytes, 20_001, 30, 31).is_none());
        assert!(read(&bytes, 20_000, 31, 31).is_none());
        assert!(read(&bytes, 20_000, 30, 32).is_none());
    }

    #[test]
    fn well_checksummed_nonsense_is_refused() {
        let (params, header, places) = sample();
        let read = |header: &Header, places: &[SectionExtent]| {
            let bytes = encode(header, places, &params, 30, 31).unwrap();
            decode(&bytes, 20_000, &params, 30, 31).is_ok()
        };
        assert!(read(&header, &places));
        assert!(!read(&Header { rows: 0, ..header }, &places));
        assert!(!read(&Header { rows: 6, ..header }, &places));
        assert!(!read(&Header { max_id: 9, ..header }, &places));
        let with = |i: usize, edit: fn(&mut SectionExtent)| {
            let mut places = places;
            edit(&mut places[i]);
            read(&header, &places)
        };
        assert!(!with(0, |p| p.offset = 0));
        assert!(!with(0, |p| p.offset = 4097));
        assert!(!with(0, |p| p.len = 65), "overlaps the next");
        assert!(!with(2, |p| p.len = u64::MAX));
        assert!(!with(2, |p| p.len += 1));
        assert!(!with(2, |p| p.kind = kind::IDS));
    }
}
