// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Opening field indexes: every byte of the sections is checked here, so that look-ups may trust them.

use super::build::is_dense;
use super::cache::Cache;
use super::form;
use super::form::DiskField;
use super::form::DiskHeader;
use super::slice;
use super::Field;
use super::FieldIndex;
use crate::index::take_section;
use crate::index::Sections;
use crate::payload::Scalar;
use vexfs_host::mem::Buffer;
use vexfs_host::mem::Vec;
use vexfs_host::relax;
use vexfs_host::Error;
use vexfs_host::Result;
use zerocopy::FromBytes as _;

/// Elements looked at between two cooperative points.
const STRETCH: usize = 16 * 1024;

fn corrupt(what: &'static str) -> Error {
    Error::corrupt(what, u64::MAX, 0)
}

impl FieldIndex {
    /// Opens the indexes of the fields of `count` rows from what [`build`](super::build()) made.
    ///
    /// # Errors
    ///
    /// `Corrupt` if the sections are not what they must be; `NoMemory`, `Interrupted`.
    pub(crate) fn open(count: usize, mut sections: Sections) -> Result<Self> {
        let mut index = FieldIndex {
            count,
            is_partial: false,
            fields: Vec::new(),
            strings: Buffer::default(),
            keys: Buffer::default(),
            starts: Buffer::default(),
            rows: Buffer::default(),
            bitmaps: Buffer::default(),
            cache: Cache::new()?,
        };
        if sections.is_empty() {
            return Ok(index);
        }
        let mut take = |kind| take_section(&mut sections, kind).ok_or(corrupt("field index without a section"));
        let directory = take(form::DIRECTORY)?;
        index.strings = take(form::STRINGS)?;
        index.keys = take(form::KEYS)?;
        index.starts = take(form::STARTS)?;
        index.rows = take(form::ROWS)?;
        index.bitmaps = take(form::BITMAPS)?;
        if !sections.is_empty() {
            return Err(corrupt("field index with an unknown section"));
        }
        index.read_directory(&directory)?;
        index.check_fields()?;
        Ok(index)
    }

    fn read_directory(&mut self, directory: &[u8]) -> Result {
        let (header, entries) =
            DiskHeader::ref_from_prefix(directory).map_err(|_| corrupt("field index without a header"))?;
        let entries = <[DiskField]>::ref_from_bytes(entries).map_err(|_| corrupt("field index cut short"))?;
        if header.version.get() != form::VERSION
            || header.fields.get() as usize != entries.len()
            || header.rows.get() as usize != self.count
            || header.flags.get() & !form::PARTIAL != 0
            || header.reserved != [0; 16]
            || entries.len() > form::FIELDS_MAX
        {
            return Err(corrupt("field index with a wrong header"));
        }
        self.is_partial = header.flags.get() & form::PARTIAL != 0;
        self.fields.reserve(entries.len())?;
        for entry in entries {
            self.fields.push(read_field(entry)?)?;
        }
        Ok(())
    }

    /// Checks that the parts of the fields follow each other without gaps, and what is in them.
    fn check_fields(&self) -> Result {
        let words = self.words();
        let (mut strings, mut keys, mut starts, mut rows, mut bitmaps) = (0usize, 0usize, 0usize, 0usize, 0usize);
        let mut before: Option<(&[u8], Scalar)> = None;
        for field in &self.fields {
            if field.name as usize != strings {
                return Err(corrupt("field index with names out of place"));
            }
            strings = strings.saturating_add(field.name_len.into());
            let name = self.name(field);
            if name.len() != usize::from(field.name_len) || before >= Some((name, field.scalar)) {
                return Err(corrupt("field index with names out of order"));
            }
            before = Some((name, field.scalar));
        }
        for field in &self.fields {
            if (field.keys_at, field.starts_at, field.rows_at, field.bitmaps_at) != (keys, starts, rows, bitmaps) {
                return Err(corrupt("field index with parts out of place"));
            }
            let right = field.rows > 0
                && field.rows as usize <= self.count
                && field.in_all == (field.rows as usize == self.count)
                && field.is_bitmap == (!field.in_all && is_dense(field.rows as usize, words))
                && field.dense <= field.values;
            if !right {
                return Err(corrupt("field index with wrong numbers"));
            }
            keys = keys.saturating_add(field.values as usize);
            starts = starts.saturating_add(field.starts_len());
            rows = rows.saturating_add(field.listed());
            bitmaps = bitmaps.saturating_add(field.bitmap_count().saturating_mul(words));
            if keys > self.keys.as_u64s().len()
                || starts > self.starts.as_u32s().len()
                || bitmaps > self.bitmaps.as_u64s().len()
            {
                return Err(corrupt("field index cut short"));
            }
            if field.is_indexed {
                rows = rows.saturating_add(self.starts(field).last().copied().unwrap_or(0) as usize);
            }
            if rows > self.rows.as_u32s().len() {
                return Err(corrupt("field index cut short"));
            }
            self.check_rows(field)?;
            if field.is_indexed {
                self.check_keys(field, &mut strings)?;
                self.check_starts(field)?;
                self.check_values(field)?;
            }
            relax()?;
        }
        let fits = |section: &Buffer, elements: usize, size: usize| Some(section.len()) == elements.checked_mul(size);
        if !fits(&self.strings, strings, 1)
            || !fits(&self.keys, keys, 8)
            || !fits(&self.starts, starts, 4)
            || !fits(&self.rows, rows, 4)
            || !fits(&self.bitmaps, bitmaps, 8)
        {
            return Err(corrupt("field index with bytes that belong to nothing"));
        }
        Ok(())
    }

    /// Checks which rows have the field.
    fn check_rows(&self, field: &Field) -> Result {
        if field.is_bitmap {
            let bitmap = slice(self.bitmaps.as_u64s(), field.bitmaps_at, self.words());
            if self.count_bitmap(bitmap)? != field.rows as usize {
                return Err(corrupt("field index with a wrong number of rows"));
            }
        }
        self.check_list(slice(self.rows.as_u32s(), field.rows_at, field.listed()))
    }

    /// Checks that row numbers ascend and exist.
    fn check_list(&self, rows: &[u32]) -> Result {
        let mut least = 0;
        for rows in rows.chunks(STRETCH) {
            for row in rows {
                if *row < least || *row as usize >= self.count {
                    return Err(corrupt("field index with rows out of order"));
                }
                // Below `count`, so below `u32::MAX`.
                least = *row + 1;
            }
            if rows.len() == STRETCH {
                relax()?;
            }
        }
        Ok(())
    }

    /// Counts the rows of a bitmap and checks that they exist.
    fn count_bitmap(&self, bitmap: &[u64]) -> Result<usize> {
        let mut count = 0;
        for words in bitmap.chunks(STRETCH) {
            count += words.iter().map(|word| word.count_ones() as usize).sum::<usize>();
            relax()?;
        }
        let behind = match self.count % 64 {
            0 => 0,
            used => u64::MAX << used,
        };
        if bitmap.last().is_none_or(|last| last & behind != 0) {
            return Err(corrupt("field index with rows that do not exist"));
        }
        Ok(count)
    }

    /// Checks that the values ascend; keywords lie one after the other from `strings` on.
    fn check_keys(&self, field: &Field, strings: &mut usize) -> Result {
        let mut before: Option<u64> = None;
        for keys in self.keys(field).chunks(STRETCH) {
            for key in keys {
                let ascends = match field.scalar {
                    Scalar::Keyword => {
                        let (start, end) = form::string_range(*key);
                        if start != *strings || end > self.strings.len() {
                            return Err(corrupt("field index with keywords out of place"));
                        }
                        *strings = end;
                        before.is_none_or(|before| self.keyword(before) < self.keyword(*key))
                    }
                    _ => before.is_none_or(|before| before < *key),
                };
                if !ascends || (field.scalar == Scalar::Bool && *key > 1) {
                    return Err(corrupt("field index with values out of order"));
                }
                before = Some(*key);
            }
            relax()?;
        }
        Ok(())
    }

    /// Checks where the rows of the values begin, and which have a bitmap.
    fn check_starts(&self, field: &Field) -> Result {
        let starts = self.starts(field);
        if starts.first() != Some(&0) {
            return Err(corrupt("field index with rows out of place"));
        }
        let dense = self.dense(field);
        if dense.windows(2).any(|pair| pair.first() >= pair.last())
            || dense.last().is_some_and(|last| *last >= field.values)
        {
            return Err(corrupt("field index with bitmaps out of order"));
        }
        let mut bitmaps = dense.iter().peekable();
        for (value, pair) in starts.windows(2).enumerate() {
            let [start, end] = pair else { continue };
            // A value has rows, in one of the two forms, in the smaller one.
            let has_bitmap = bitmaps.next_if(|dense| **dense as usize == value).is_some();
            let right = match end.checked_sub(*start) {
                Some(0) => has_bitmap,
                Some(rows) => !has_bitmap && !is_dense(rows as usize, self.words()),
                None => false,
            };
            if !right {
                return Err(corrupt("field index with rows out of place"));
            }
            if value % STRETCH == STRETCH - 1 {
                relax()?;
            }
        }
        Ok(())
    }

    /// Checks the rows of the values.
    fn check_values(&self, field: &Field) -> Result {
        for (value, pair) in self.starts(field).windows(2).enumerate() {
            let [start, end] = pair else { continue };
            let at = field
                .rows_at
                .saturating_add(field.listed())
                .saturating_add(*start as usize);
            self.check_list(slice(self.rows.as_u32s(), at, end.saturating_sub(*start) as usize))?;
            if value % 1024 == 1023 {
                relax()?;
            }
        }
        for (place, count) in self.dense_counts(field).iter().enumerate() {
            let rows = self.count_bitmap(self.bitmap(field, place))?;
            if rows != *count as usize || !is_dense(rows, self.words()) {
                return Err(corrupt("field index with a wrong number of rows"));
            }
        }
        Ok(())
    }
}

fn read_field(entry: &DiskField) -> Result<Field> {
    let flags = entry.flags.get();
    let scalar = Scalar::from_code(entry.scalar).ok_or(corrupt("field index with an unknown type"))?;
    let is = |flag| flags & flag != 0;
    let place = |at: u64| usize::try_from(at).map_err(|_| corrupt("field index with parts out of place"));
    let field = Field {
        name: entry.name.get(),
        name_len: entry.name_len,
        scalar,
        is_indexed: is(form::INDEXED),
        in_all: is(form::IN_ALL),
        is_bitmap: is(form::IS_BITMAP),
        rows: entry.rows.get(),
        per_row: entry.per_row.get(),
        values: entry.values.get(),
        dense: entry.dense.get(),
        keys_at: place(entry.keys_at.get())?,
        starts_at: place(entry.starts_at.get())?,
        rows_at: place(entry.rows_at.get())?,
        bitmaps_at: place(entry.bitmaps_at.get())?,
    };
    let right = flags & !(form::INDEXED | form::IN_ALL | form::IS_BITMAP) == 0
        && field.name_len > 0
        && entry.reserved == [0; 8]
        && if field.is_indexed {
            scalar != Scalar::Text && field.values > 0 && field.per_row > 0
        } else {
            field.values == 0 && field.dense == 0
        };
    if right {
        Ok(field)
    } else {
        Err(corrupt("field index with a wrong entry"))
    }
}
