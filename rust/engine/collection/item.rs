// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The collection item: what a collection consists of at a moment.
//!
//! Every publication replaces it as a whole, in one transaction: a reader sees all segments, tombstones and the tail of
//! one moment, never a mixture.

use crate::index::IndexParams;
use crate::limits::ROWS_MAX;
use crate::params::Params;
use crate::Ino;
use vexfs_host::mem::Vec;
use vexfs_host::Error;
use vexfs_host::Result;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;
use zerocopy::FromBytes as _;
use zerocopy::FromZeros as _;
use zerocopy::IntoBytes as _;
use zerocopy_derive::*;

/// Version of the collection item and of the tail's records.
const VERSION: u32 = 2;

/// Most segments of a collection.
pub(crate) const SEGMENTS_MAX: usize = 32;

/// See `docs/format-collections.md`.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
struct DiskItem {
    version: U32,
    /// Bits that change the meaning of the rest: a reader refuses those it does not know.
    features: U32,
    dim: U32,
    element: U32,
    metric: U32,
    segments: U32,
    /// The hidden file that is the tail.
    tail: U64,
    /// The id that the first row without one gets, if no record of the tail says otherwise.
    next_id: U64,
    /// The number of the next segment.
    next_number: U64,
    reserved: [u8; 16],
    index: [u8; 64],
}

const _: () = assert!(size_of::<DiskItem>() == 128);
const _: () = assert!(core::mem::offset_of!(DiskItem, tail) == 24);
const _: () = assert!(core::mem::offset_of!(DiskItem, index) == 64);

#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
struct DiskEntry {
    file: U64,
    tombstones: U64,
    number: U64,
    rows: U32,
    dead: U32,
    reserved: [u8; 32],
}

const _: () = assert!(size_of::<DiskEntry>() == 64);
const _: () = assert!(size_of::<DiskItem>() + SEGMENTS_MAX * size_of::<DiskEntry>() <= vexfs_core::format::ITEM_MAX);

/// A segment of a collection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Entry {
    /// The segment file.
    pub(crate) file: Ino,
    /// The file that says which rows are dead, 0 if none is.
    pub(crate) tombstones: Ino,
    pub(crate) number: u64,
    /// Rows, live and dead.
    pub(crate) rows: u32,
    /// Rows that are dead, not counting what the tail says.
    pub(crate) dead: u32,
}

/// What a collection consists of.
pub(crate) struct Item {
    pub(crate) params: Params,
    /// The index that segments are to have.
    pub(crate) index: IndexParams,
    pub(crate) tail: Ino,
    pub(crate) next_id: u64,
    pub(crate) next_number: u64,
    pub(crate) segments: Vec<Entry>,
}

impl Item {
    /// A collection without rows.
    pub(crate) fn new(params: &Params, tail: Ino) -> Self {
        Self {
            params: *params,
            index: IndexParams::of(params.index()),
            tail,
            next_id: 0,
            next_number: 1,
            segments: Vec::new(),
        }
    }

    /// A copy.
    pub(crate) fn try_clone(&self) -> Result<Self> {
        Ok(Self {
            segments: self.segments.try_clone()?,
            ..*self
        })
    }

    /// Its bytes.
    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        if self.segments.len() > SEGMENTS_MAX {
            return Err(Error::TooBig("segments of a collection"));
        }
        let mut disk = DiskItem::new_zeroed();
        disk.version.set(VERSION);
        disk.dim.set(self.params.dim() as u32);
        disk.element.set(self.params.element().code());
        disk.metric.set(self.params.metric().code());
        disk.segments.set(self.segments.len() as u32);
        disk.tail.set(self.tail);
        disk.next_id.set(self.next_id);
        disk.next_number.set(self.next_number);
        disk.index = self.index.encode();
        let mut bytes = Vec::new();
        bytes.extend_from_slice(disk.as_bytes())?;
        for segment in &self.segments {
            let mut entry = DiskEntry::new_zeroed();
            entry.file.set(segment.file);
            entry.tombstones.set(segment.tombstones);
            entry.number.set(segment.number);
            entry.rows.set(segment.rows);
            entry.dead.set(segment.dead);
            bytes.extend_from_slice(entry.as_bytes())?;
        }
        Ok(bytes)
    }

    /// The item with these bytes, of directory `dir`.
    pub(crate) fn decode(bytes: &[u8], dir: Ino) -> Result<Self> {
        let corrupt = |what| Error::corrupt(what, u64::MAX, dir);
        let length = corrupt("collection item has a wrong length");
        let version = bytes
            .first_chunk()
            .map(|version| u32::from_le_bytes(*version))
            .ok_or(length)?;
        let (disk, rest) = DiskItem::read_from_prefix(bytes).map_err(|_| length)?;
        if version != VERSION || disk.features.get() != 0 {
            return Err(Error::Unsupported("the collection was made by another version"));
        }
        let count = disk.segments.get() as usize;
        if count > SEGMENTS_MAX || rest.len() != count * size_of::<DiskEntry>() {
            return Err(length);
        }
        let range = corrupt("collection item has parameters out of range");
        let index = IndexParams::decode(&disk.index).ok_or(range)?;
        let params = Params::new(
            disk.dim.get(),
            disk.element.get(),
            disk.metric.get(),
            index.kind() as u32,
        );
        let mut item = Self {
            params: params.map_err(|_| range)?,
            index,
            tail: disk.tail.get(),
            next_id: disk.next_id.get(),
            next_number: disk.next_number.get(),
            segments: Vec::with_capacity(count)?,
        };
        if disk.reserved != [0; 16] || item.tail == 0 || item.tail == dir {
            return Err(corrupt("collection item has a wrong tail or reserved bytes"));
        }
        for entry in rest.chunks_exact(size_of::<DiskEntry>()) {
            let entry = DiskEntry::ref_from_bytes(entry).map_err(|_| length)?;
            let segment = Entry {
                file: entry.file.get(),
                tombstones: entry.tombstones.get(),
                number: entry.number.get(),
                rows: entry.rows.get(),
                dead: entry.dead.get(),
            };
            let dead = if segment.tombstones == 0 {
                0..=0
            } else {
                1..=segment.rows
            };
            let right = segment.rows > 0
                && segment.rows as usize <= ROWS_MAX
                && dead.contains(&segment.dead)
                && segment.number < item.next_number
                && segment.file != 0
                && segment.file != segment.tombstones
                && !item.names(segment.file)
                && (segment.tombstones == 0 || !item.names(segment.tombstones));
            if !right || entry.reserved != [0; 32] {
                return Err(corrupt("collection item has a segment that cannot be"));
            }
            item.segments.push(segment)?;
        }
        Ok(item)
    }

    /// Whether the collection consists of this file, among others.
    pub(crate) fn names(&self, file: Ino) -> bool {
        let mut segments = self.segments.iter();
        file == self.tail || segments.any(|segment| segment.file == file || segment.tombstones == file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vexfs_uapi as uapi;

    fn sample() -> Item {
        let params = Params::new(384, uapi::VEXFS_ELEMENT_F32, uapi::VEXFS_METRIC_COSINE, 2).unwrap();
        let mut item = Item {
            next_id: 5,
            next_number: 9,
            ..Item::new(&params, 77)
        };
        for n in 0..3 {
            let entry = Entry {
                file: 100 + n,
                tombstones: if n == 1 { 200 } else { 0 },
                number: n + 1,
                rows: 10,
                dead: if n == 1 { 4 } else { 0 },
            };
            item.segments.push(entry).unwrap();
        }
        item
    }

    #[test]
    fn an_item_is_read_back_and_any_changed_byte_is_noticed_or_means_something_else() {
        let item = sample();
        let bytes = item.encode().unwrap();
        let back = Item::decode(&bytes, 20).unwrap();
        assert_eq!(back.encode().unwrap(), bytes);
        assert_eq!((back.params, &back.segments[..]), (item.params, &item.segments[..]));
        assert!(Item::decode(&bytes, 77).is_err());
        for len in 0..bytes.len() {
            assert!(Item::decode(&bytes[..len], 20).is_err());
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[at] ^= 0x41;
            // The node's checksum tells of the rest; what is read is what was there.
            if let Ok(item) = Item::decode(&changed, 20) {
                assert_eq!(&item.encode().unwrap()[..], changed, "{at}");
            }
        }
    }

    #[test]
    fn items_that_contradict_themselves_are_refused() {
        let refused = |edit: fn(&mut Item)| {
            let mut item = sample();
            edit(&mut item);
            Item::decode(&item.encode().unwrap(), 20).is_err()
        };
        assert!(!refused(|_| ()));
        assert!(refused(|item| item.segments[0].file = 101), "a file twice");
        assert!(refused(|item| item.segments[0].file = 77), "the tail as a segment");
        assert!(refused(|item| item.segments[2].tombstones = 200), "tombstones twice");
        assert!(refused(|item| item.segments[1].dead = 11), "more dead rows than rows");
        assert!(refused(|item| item.segments[1].dead = 0), "tombstones of no row");
        assert!(
            refused(|item| item.segments[0].dead = 1),
            "dead rows without tombstones"
        );
        assert!(
            refused(|item| item.segments[0].number = 9),
            "a number still to be given"
        );
        assert!(refused(|item| item.segments[0].rows = 0), "a segment without rows");
    }
}
