// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Indexes of payload fields: which rows of a segment have which values.
//!
//! They are made when a segment is ([`build`]), for every field that occurs, and turn a filter into a set of rows
//! ([`FieldIndex::select`]) or into an estimate of its size ([`FieldIndex::estimate`]) without looking at payloads.
//!
//! For each name and type there are the distinct values in ascending order and, for each of them, the rows that have
//! it: as ascending row numbers if they are few, as a bitmap if that is smaller. The row numbers of consecutive values
//! follow each other, so a range of values is one slice of them. Of every field it is known which rows have it; of
//! texts nothing else, as they are long and seldom equal. A test that an index cannot answer leaves rows in doubt, and
//! only for those payloads are read.
//!
//! The form of the sections is in `docs/format-collections.md`; `form` has its numbers, `check` checks every byte.

mod build;
mod cache;
mod check;
mod estimate;
mod form;
mod lookup;
mod select;
mod sort;
mod strings;
#[cfg(test)]
mod tests;

pub(crate) use build::build;
pub use estimate::Estimate;
pub(crate) use select::Selection;

use crate::payload::Scalar;
use cache::Cache;
use vexfs_host::mem::Buffer;
use vexfs_host::mem::Vec;
use vexfs_host::Result;

/// The payloads of a segment's rows.
pub(crate) trait Payloads {
    /// Tells that those of about so many rows are going to be asked for.
    fn expect(&self, rows: usize) -> Result {
        let _ = rows;
        Ok(())
    }

    /// The payload of a row, checked when it came in; empty if it has none. `room` is where it is put that is not in
    /// memory.
    fn payload<'a>(&'a self, row: u32, room: &'a mut Vec<u8>) -> Result<&'a [u8]>;
}

/// The indexes of all fields of a segment.
///
/// # Invariants
///
/// `check` has accepted the sections: all ranges of all `fields` lie within them, all row numbers are below `count`.
pub(crate) struct FieldIndex {
    count: usize,
    /// There are names that are not in `fields`; those that are, are there with all their types.
    is_partial: bool,
    /// In ascending order of (name, type).
    fields: Vec<Field>,
    strings: Buffer,
    keys: Buffer,
    starts: Buffer,
    rows: Buffer,
    bitmaps: Buffer,
    cache: Cache,
}

/// Where the parts of the index of a field are.
#[derive(Clone, Copy, Debug)]
struct Field {
    name: u32,
    name_len: u8,
    scalar: Scalar,
    /// Its values are indexed.
    is_indexed: bool,
    /// All rows have the field, so it is not stored which.
    in_all: bool,
    /// Which rows have it is a bitmap.
    is_bitmap: bool,
    /// Rows that have it.
    rows: u32,
    /// Most values that one row has.
    per_row: u32,
    /// Distinct values.
    values: u32,
    /// Those of them whose rows are a bitmap.
    dense: u32,
    /// Where its parts begin in the sections, in elements.
    keys_at: usize,
    starts_at: usize,
    rows_at: usize,
    bitmaps_at: usize,
}

impl Field {
    /// Row numbers that come before those of the values: the rows that have the field, if they are stored so.
    fn listed(&self) -> usize {
        if self.in_all || self.is_bitmap {
            0
        } else {
            self.rows as usize
        }
    }

    /// Words of `starts` that belong to the field.
    fn starts_len(&self) -> usize {
        if self.is_indexed {
            self.values as usize + 1 + 2 * self.dense as usize
        } else {
            0
        }
    }

    /// Bitmaps that belong to the field.
    fn bitmap_count(&self) -> usize {
        self.dense as usize + usize::from(self.is_bitmap)
    }
}

/// The rows of a set of values.
struct Part<'a> {
    /// Row numbers; a row comes once for each of its values.
    list: &'a [u32],
    /// The places of the values with a bitmap in the field's table of those.
    dense: core::ops::Range<usize>,
}

impl FieldIndex {
    /// Words of a bitmap.
    fn words(&self) -> usize {
        self.count.div_ceil(64)
    }

    fn name(&self, field: &Field) -> &[u8] {
        slice(&self.strings, field.name as usize, usize::from(field.name_len))
    }

    /// The index of the field of this name and type.
    fn field(&self, name: &[u8], scalar: Scalar) -> Option<&Field> {
        let order = |field: &Field| self.name(field).cmp(name).then(field.scalar.cmp(&scalar));
        let at = self.fields.binary_search_by(order).ok()?;
        self.fields.get(at)
    }

    /// Whether there is a field of this name.
    fn has_name(&self, name: &[u8]) -> bool {
        self.fields.binary_search_by(|field| self.name(field).cmp(name)).is_ok()
    }

    fn keys(&self, field: &Field) -> &[u64] {
        slice(self.keys.as_u64s(), field.keys_at, field.values as usize)
    }

    /// The string that the key of a keyword stands for.
    fn keyword(&self, key: u64) -> &[u8] {
        form::string(&self.strings, key)
    }

    /// Where the row numbers of the values begin, with the end of the last; a value with a bitmap has none.
    fn starts(&self, field: &Field) -> &[u32] {
        slice(self.starts.as_u32s(), field.starts_at, field.values as usize + 1)
    }

    /// The values with a bitmap, ascending.
    fn dense(&self, field: &Field) -> &[u32] {
        let at = field.starts_at.saturating_add(field.values as usize + 1);
        slice(self.starts.as_u32s(), at, field.dense as usize)
    }

    /// The number of rows of each value with a bitmap.
    fn dense_counts(&self, field: &Field) -> &[u32] {
        let at = field
            .starts_at
            .saturating_add(field.values as usize + 1 + field.dense as usize);
        slice(self.starts.as_u32s(), at, field.dense as usize)
    }

    /// The rows of values `range`.
    fn part(&self, field: &Field, range: core::ops::Range<usize>) -> Part<'_> {
        let starts = self.starts(field);
        let start = |value: usize| starts.get(value).copied().unwrap_or(0) as usize;
        let (from, to) = (start(range.start), start(range.end));
        let at = field.rows_at.saturating_add(field.listed()).saturating_add(from);
        let dense = self.dense(field);
        let place = |value: usize| dense.partition_point(|other| (*other as usize) < value);
        Part {
            list: slice(self.rows.as_u32s(), at, to.saturating_sub(from)),
            dense: place(range.start)..place(range.end),
        }
    }

    /// The bitmap of value `place` of those with one.
    fn bitmap(&self, field: &Field, place: usize) -> &[u64] {
        let before = place.saturating_add(usize::from(field.is_bitmap));
        let at = field.bitmaps_at.saturating_add(before.saturating_mul(self.words()));
        slice(self.bitmaps.as_u64s(), at, self.words())
    }

    /// Bytes of memory, with those of remembered selections.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let sections = [&self.strings, &self.keys, &self.starts, &self.rows, &self.bitmaps];
        let fixed = sections
            .iter()
            .fold(0u64, |sum, section| sum.saturating_add(section.memory_bytes()));
        let fields = self.fields.capacity() as u64 * size_of::<Field>() as u64;
        fixed.saturating_add(fields).saturating_add(self.cache.memory_bytes())
    }

    /// Forgets remembered selections. Returns the bytes freed.
    pub(crate) fn trim(&self) -> u64 {
        self.cache.clear()
    }
}

/// `len` elements from `at` on; none if they are not there.
fn slice<T>(all: &[T], at: usize, len: usize) -> &[T] {
    all.get(at..at.saturating_add(len)).unwrap_or_default()
}
