// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Making the indexes of all fields: one pass over the payloads, then a sort a field.

use super::form;
use super::form::DiskField;
use super::form::DiskHeader;
use super::sort::Pairs;
use super::strings::Strings;
use super::Payloads;
use crate::filter::number::f64_key;
use crate::filter::number::i64_key;
use crate::index::Section;
use crate::index::Sections;
use crate::payload::Payload;
use crate::payload::Plain;
use crate::payload::Scalar;
use crate::payload::Values;
use vexfs_host::mem::Buffer;
use vexfs_host::mem::Vec;
use vexfs_host::relax;
use vexfs_host::Error;
use vexfs_host::Result;
use zerocopy::FromBytes as _;
use zerocopy::FromZeros as _;
use zerocopy::IntoBytes as _;

/// Values read between two cooperative points.
const STRETCH: usize = 1024;

/// What is known of a field so far.
struct Gathered {
    name: Vec<u8>,
    scalar: Scalar,
    /// Its values are indexed: not texts, and not more of them than a `u32` can count.
    is_indexed: bool,
    /// Rows that have it, ascending.
    rows: Vec<u32>,
    per_row: u32,
    /// Values with their rows. The key of a keyword is its number in `strings`.
    pairs: Pairs,
    strings: Strings,
    /// Distinct values: the key and the number of rows of each.
    values: Vec<(u64, u32)>,
}

impl Gathered {
    fn new(name: &[u8], scalar: Scalar, hash_key: [u64; 2]) -> Result<Self> {
        let mut copy = Vec::new();
        copy.extend_from_slice(name)?;
        Ok(Self {
            name: copy,
            scalar,
            is_indexed: scalar != Scalar::Text,
            rows: Vec::new(),
            per_row: 0,
            pairs: Pairs::default(),
            strings: Strings::new(hash_key),
            values: Vec::new(),
        })
    }

    /// Takes the values that a row has. Returns how many there were.
    fn add(&mut self, row: u32, values: Values<'_>) -> Result<usize> {
        if values.is_empty() {
            return Ok(0);
        }
        self.rows.push(row)?;
        if !self.is_indexed {
            return Ok(1);
        }
        let before = self.pairs.len();
        let mut seen = [false; 2];
        let mut count = 0;
        for value in values {
            count += 1;
            if count % STRETCH == 0 {
                relax()?;
            }
            let key = match value {
                Plain::String(string) => u64::from(self.strings.number(string)?),
                Plain::I64(number) => i64_key(number),
                Plain::F64(bits) => f64_key(bits),
                Plain::Bool(truth) => {
                    // A list of these can have one for each byte of a payload.
                    match seen.get_mut(usize::from(truth)) {
                        Some(seen) if !*seen => *seen = true,
                        _ => continue,
                    }
                    u64::from(truth)
                }
            };
            self.pairs.push(key, row)?;
        }
        let added = self.pairs.len().saturating_sub(before);
        self.per_row = self.per_row.max(u32::try_from(added).unwrap_or(u32::MAX));
        if self.pairs.len() >= u32::MAX as usize {
            self.is_indexed = false;
            self.pairs = Pairs::default();
            self.strings = Strings::default();
        }
        Ok(count)
    }

    /// Sorts the values and counts the rows of each.
    fn finish(&mut self) -> Result {
        if !self.is_indexed {
            return Ok(());
        }
        if self.scalar == Scalar::Keyword {
            // From numbers to places in the order, and back when the strings are written.
            let order = self.strings.sorted()?;
            let mut places = Vec::new();
            places.resize(order.len(), 0)?;
            for (place, number) in order.iter().enumerate() {
                if let Some(to) = places.get_mut(*number as usize) {
                    *to = place as u64;
                }
            }
            for keys in self.pairs.keys.chunks_mut(16 * STRETCH) {
                for key in keys {
                    *key = places.get(*key as usize).copied().ok_or(Error::Overflow)?;
                }
                relax()?;
            }
            self.pairs.sort()?;
            self.pairs.dedup()?;
            self.count_values()?;
            for (value, number) in self.values.iter_mut().zip(&order) {
                value.0 = u64::from(*number);
            }
            return Ok(());
        }
        self.pairs.sort()?;
        self.pairs.dedup()?;
        self.count_values()
    }

    fn count_values(&mut self) -> Result {
        for keys in self.pairs.keys.chunks(16 * STRETCH) {
            for key in keys {
                match self.values.last_mut() {
                    Some((last, count)) if last == key => *count += 1,
                    _ => self.values.push((*key, 1))?,
                }
            }
            relax()?;
        }
        self.pairs.keys = Vec::new();
        Ok(())
    }

    /// How much of each section it needs.
    fn sizes(&self, count: usize) -> Sizes {
        let words = count.div_ceil(64);
        let dense = self.values.iter().filter(|value| is_dense(value.1 as usize, words));
        let (dense, dense_rows) = dense.fold((0, 0), |(n, rows), value| (n + 1, rows + value.1 as usize));
        let in_all = self.rows.len() == count;
        let is_bitmap = !in_all && is_dense(self.rows.len(), words);
        let listed = if in_all || is_bitmap { 0 } else { self.rows.len() };
        Sizes {
            strings: self.name.len() + self.strings.bytes(),
            keys: self.values.len(),
            starts: if self.is_indexed {
                self.values.len() + 1 + 2 * dense
            } else {
                0
            },
            rows: listed + self.pairs.len() - dense_rows,
            words: (dense + usize::from(is_bitmap)) * words,
        }
    }
}

/// Whether a bitmap of so many words is smaller than so many row numbers.
pub(super) fn is_dense(rows: usize, words: usize) -> bool {
    rows > 2 * words
}

/// Elements of the sections.
#[derive(Clone, Copy, Default)]
struct Sizes {
    strings: usize,
    keys: usize,
    starts: usize,
    rows: usize,
    words: usize,
}

/// The fields that were met.
struct Fields {
    all: Vec<Gathered>,
    /// Their numbers, in ascending order of (name, type).
    order: Vec<u32>,
    /// What the fields of the row before were: rows mostly have the same ones.
    hints: Vec<u32>,
    /// How many names there are among them.
    names: usize,
    is_partial: bool,
    hash_key: [u64; 2],
}

impl Fields {
    /// Whether a field beside place `at` of the order has this name.
    fn has_name(&self, at: usize, name: &[u8]) -> bool {
        let is_there = |at: usize| {
            let number = self.order.get(at).copied().unwrap_or(u32::MAX);
            self.all
                .get(number as usize)
                .is_some_and(|field| field.name[..] == *name)
        };
        is_there(at) || at.checked_sub(1).is_some_and(is_there)
    }

    /// The field of this name and type, new if need be; `None` if there are too many names. It was field `place` of its
    /// row.
    fn of(&mut self, place: usize, name: &[u8], scalar: Scalar) -> Result<Option<&mut Gathered>> {
        let hint = self.hints.get(place).copied().unwrap_or(u32::MAX);
        let is_it = |field: &Gathered| field.scalar == scalar && field.name[..] == *name;
        let number = match self.all.get(hint as usize) {
            Some(field) if is_it(field) => hint,
            _ => {
                let order = |number: &u32| match self.all.get(*number as usize) {
                    Some(field) => field.name[..].cmp(name).then(field.scalar.cmp(&scalar)),
                    None => core::cmp::Ordering::Less,
                };
                let number = match self.order.binary_search_by(order) {
                    Ok(at) => self.order.get(at).copied().unwrap_or(0),
                    Err(at) if self.names >= form::NAMES_MAX && !self.has_name(at, name) => {
                        self.is_partial = true;
                        return Ok(None);
                    }
                    Err(at) => {
                        let number = self.all.len() as u32;
                        self.names += usize::from(!self.has_name(at, name));
                        self.all.push(Gathered::new(name, scalar, self.hash_key)?)?;
                        self.order.insert(at, number)?;
                        number
                    }
                };
                if place >= self.hints.len() {
                    self.hints.resize(place + 1, u32::MAX)?;
                }
                if let Some(hint) = self.hints.get_mut(place) {
                    *hint = number;
                }
                number
            }
        };
        Ok(self.all.get_mut(number as usize))
    }
}

/// Makes the indexes of the fields of `count` rows; no sections if no row has a field.
///
/// # Errors
///
/// `NoMemory`, `Interrupted`.
#[inline(never)] // own frame
pub(crate) fn build(count: usize, payloads: &dyn Payloads) -> Result<Sections> {
    let mut seed = [0; 16];
    vexfs_host::random(&mut seed)?;
    let mut fields = Fields {
        all: Vec::new(),
        order: Vec::new(),
        hints: Vec::new(),
        names: 0,
        is_partial: false,
        hash_key: <[u64; 2]>::read_from_bytes(&seed).unwrap_or_default(),
    };
    let (mut work, mut room) = (0, Vec::new());
    for row in 0..count as u32 {
        let payload = Payload::trusted(payloads.payload(row, &mut room)?);
        for (place, (name, values)) in payload.named().enumerate() {
            work += 1;
            if let Some(field) = fields.of(place, name, values.scalar())? {
                work += field.add(row, values)?;
            }
        }
        work += 1;
        if work >= STRETCH {
            work = 0;
            relax()?;
        }
    }
    fields.order.retain(|number| {
        let field = fields.all.get(*number as usize);
        field.is_some_and(|field| !field.rows.is_empty())
    });
    if fields.order.is_empty() && !fields.is_partial {
        return Ok(Sections::new());
    }
    for number in &fields.order {
        if let Some(field) = fields.all.get_mut(*number as usize) {
            field.finish()?;
        }
    }
    Writer::write(count, &fields)
}

/// The sections as far as they are written.
struct Writer {
    directory: Buffer,
    strings: Buffer,
    keys: Buffer,
    starts: Buffer,
    rows: Buffer,
    bitmaps: Buffer,
    at: Sizes,
    /// Words of a bitmap.
    words: usize,
}

fn bytes(elements: usize, size: usize) -> Result<Buffer> {
    Buffer::zeroed(elements.checked_mul(size).ok_or(Error::NoMemory)?)
}

/// Puts a value into a slice and steps behind it.
fn put<T: Copy>(to: &mut [T], at: &mut usize, value: T) -> Result {
    *to.get_mut(*at).ok_or(Error::Overflow)? = value;
    *at += 1;
    Ok(())
}

impl Writer {
    fn write(count: usize, fields: &Fields) -> Result<Sections> {
        let all = || {
            fields
                .order
                .iter()
                .filter_map(|number| fields.all.get(*number as usize))
        };
        let total = all().fold(Sizes::default(), |sum, field| {
            let sizes = field.sizes(count);
            Sizes {
                strings: sum.strings.saturating_add(sizes.strings),
                keys: sum.keys.saturating_add(sizes.keys),
                starts: sum.starts.saturating_add(sizes.starts),
                rows: sum.rows.saturating_add(sizes.rows),
                words: sum.words.saturating_add(sizes.words),
            }
        });
        let mut writer = Writer {
            directory: Buffer::zeroed(size_of::<DiskHeader>() + fields.order.len() * size_of::<DiskField>())?,
            strings: bytes(total.strings, 1)?,
            keys: bytes(total.keys, 8)?,
            starts: bytes(total.starts, 4)?,
            rows: bytes(total.rows, 4)?,
            bitmaps: bytes(total.words, 8)?,
            at: Sizes::default(),
            words: count.div_ceil(64),
        };
        let mut header = DiskHeader::new_zeroed();
        header.version.set(form::VERSION);
        header.fields.set(fields.order.len() as u32);
        header.rows.set(count as u32);
        header.flags.set(if fields.is_partial { form::PARTIAL } else { 0 });
        let mut entries = Vec::with_capacity(fields.order.len())?;
        for field in all() {
            let mut entry = DiskField::new_zeroed();
            entry.name.set(writer.at.strings as u32);
            writer.string(&field.name)?;
            entry.name_len = field.name.len() as u8;
            entry.scalar = field.scalar.code();
            entries.push(entry)?;
        }
        for (field, entry) in all().zip(entries.iter_mut()) {
            writer.field(count, field, entry)?;
        }
        let (to_header, to_entries) = writer
            .directory
            .split_at_mut_checked(size_of::<DiskHeader>())
            .ok_or(Error::Overflow)?;
        to_header.copy_from_slice(header.as_bytes());
        to_entries.copy_from_slice(entries.as_bytes());
        let mut sections = Sections::new();
        for (kind, bytes) in [
            (form::DIRECTORY, writer.directory),
            (form::STRINGS, writer.strings),
            (form::KEYS, writer.keys),
            (form::STARTS, writer.starts),
            (form::ROWS, writer.rows),
            (form::BITMAPS, writer.bitmaps),
        ] {
            sections.push(Section { kind, bytes })?;
        }
        Ok(sections)
    }

    /// Writes a string and returns where.
    fn string(&mut self, string: &[u8]) -> Result<usize> {
        let start = self.at.strings;
        let end = start.saturating_add(string.len());
        let to = self.strings.get_mut(start..end).ok_or(Error::Overflow)?;
        to.copy_from_slice(string);
        self.at.strings = end;
        Ok(start)
    }

    /// The words of the next bitmap.
    fn next_bitmap(&mut self) -> Result<&mut [u64]> {
        let start = self.at.words;
        self.at.words = start.saturating_add(self.words);
        let bitmap = self.bitmaps.as_u64s_mut().get_mut(start..self.at.words);
        bitmap.ok_or(Error::Overflow)
    }

    fn set(bitmap: &mut [u64], rows: &[u32]) -> Result {
        for rows in rows.chunks(16 * STRETCH) {
            for row in rows {
                let word = bitmap.get_mut(*row as usize / 64).ok_or(Error::Overflow)?;
                *word |= 1 << (row % 64);
            }
            relax()?;
        }
        Ok(())
    }

    fn list(&mut self, rows: &[u32]) -> Result {
        let start = self.at.rows;
        let end = start.saturating_add(rows.len());
        let to = self.rows.as_u32s_mut().get_mut(start..end).ok_or(Error::Overflow)?;
        to.copy_from_slice(rows);
        self.at.rows = end;
        Ok(())
    }

    fn field(&mut self, count: usize, field: &Gathered, entry: &mut DiskField) -> Result {
        let words = self.words;
        entry.rows.set(field.rows.len() as u32);
        entry.per_row.set(field.per_row);
        entry.keys_at.set(self.at.keys as u64);
        entry.starts_at.set(self.at.starts as u64);
        entry.rows_at.set(self.at.rows as u64);
        entry.bitmaps_at.set(self.at.words as u64);
        let mut flags = 0;
        if field.rows.len() == count {
            flags |= form::IN_ALL;
        } else if is_dense(field.rows.len(), words) {
            flags |= form::IS_BITMAP;
            Self::set(self.next_bitmap()?, &field.rows)?;
        } else {
            self.list(&field.rows)?;
        }
        if field.is_indexed {
            flags |= form::INDEXED;
            entry.values.set(field.values.len() as u32);
            entry.dense.set(self.values(field)?);
        }
        entry.flags.set(flags);
        Ok(())
    }

    /// Writes the values and their rows; returns how many have a bitmap.
    fn values(&mut self, field: &Gathered) -> Result<u32> {
        let words = self.words;
        let (mut at, mut listed) = (0usize, 0u32);
        for (i, (key, count)) in field.values.iter().enumerate() {
            let key = match field.scalar {
                Scalar::Keyword => {
                    let string = field.strings.get(*key as u32);
                    form::string_key(self.string(string)?, string.len())
                }
                _ => *key,
            };
            put(self.keys.as_u64s_mut(), &mut self.at.keys, key)?;
            put(self.starts.as_u32s_mut(), &mut self.at.starts, listed)?;
            let end = at.saturating_add(*count as usize);
            let rows = field.pairs.rows.get(at..end).ok_or(Error::Overflow)?;
            if is_dense(rows.len(), words) {
                Self::set(self.next_bitmap()?, rows)?;
            } else {
                self.list(rows)?;
                // Their sum is below 2^32 (see `Gathered::add`).
                listed = listed.saturating_add(*count);
            }
            at = end;
            if i % STRETCH == STRETCH - 1 {
                relax()?;
            }
        }
        put(self.starts.as_u32s_mut(), &mut self.at.starts, listed)?;
        let is_dense = |value: &&(usize, &(u64, u32))| is_dense(value.1 .1 as usize, words);
        let mut dense = 0;
        for (i, _) in field.values.iter().enumerate().filter(|value| is_dense(&value)) {
            put(self.starts.as_u32s_mut(), &mut self.at.starts, i as u32)?;
            dense += 1;
        }
        for (_, value) in field.values.iter().enumerate().filter(|value| is_dense(&value)) {
            put(self.starts.as_u32s_mut(), &mut self.at.starts, value.1)?;
        }
        Ok(dense)
    }
}
