// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Segments: rows that never change, in one file, sorted by id.
//!
//! A segment is put together in memory (`assemble`), written to a hidden file (`file`, whose header is in `format`) and
//! published with the collection item that names it. Afterwards its sections are read when they are first needed, each
//! as a whole and with its checksum verified, and can be dropped at any time; of large ones few rows are read singly
//! (`single`). Nothing of a segment is ever changed: that rows of it are dead is kept elsewhere.

mod account;
mod assemble;
mod column;
mod file;
mod format;
mod lazy;
mod reader;
mod rows;
mod single;

pub(crate) use account::Counter;
pub(crate) use account::MemoryAccount;
pub(crate) use account::Total;
pub(crate) use assemble::assemble;
pub(crate) use assemble::Material;
pub(crate) use assemble::Source;
pub(crate) use column::Column;
pub(crate) use column::LazyColumn;
pub(crate) use file::CollectionContext;
pub(crate) use file::File;
pub(crate) use file::FileRefs;
pub(crate) use file::Writing;
pub(crate) use lazy::Kept;

use crate::fields::FieldIndex;
use crate::index::IndexKind;
use crate::index::IndexParams;
use crate::index::Opening;
use crate::index::Section;
use crate::index::Sections;
use crate::indexes::AnyIndex;
use crate::info::CollectionStats;
use crate::Ino;
use format::kind;
use format::Header;
use format::SectionExtent;
use lazy::Lazy;
use reader::Reader;
use single::Single;
use vexfs_host::mem::Buffer;
use vexfs_host::mem::Vec;
use vexfs_host::relax;
use vexfs_host::sync::Arc;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd::Rows;

/// The open index of a segment.
pub(crate) type Index = AnyIndex<Reader>;
/// What an index is extended from.
pub(crate) type Base<'a> = crate::indexes::Base<'a, Reader>;

/// A segment in use.
///
/// # Invariants
///
/// Sections have the lengths that follow from the number of rows, ids ascend, and what `index` and `fields` hold was
/// checked by their `open`.
pub(crate) struct Segment {
    file: File,
    header: Header,
    places: Vec<SectionExtent>,
    ids: Lazy<Buffer>,
    vectors: Lazy<Vectors>,
    ends: Lazy<Buffer>,
    payloads: Lazy<Buffer>,
    fields: Lazy<FieldIndex>,
    index: Lazy<Index>,
    /// Of sections that are not in memory as a whole.
    single_vectors: Single,
    single_ends: Single,
    single_payloads: Single,
}

/// The vectors of a segment, with their inverse norms if the metric needs them.
pub(crate) struct Vectors {
    bytes: Buffer,
    norms: Buffer,
}

impl Vectors {
    /// The vectors of a segment of `rows` rows of a collection with these parameters.
    pub(crate) fn rows<'a>(&'a self, segment: &Segment) -> Result<Rows<'a>> {
        let space = segment.file.context().params.space();
        let rows = segment.header.rows as usize;
        Rows::new(&space, &self.bytes, space.row_bytes(), rows, self.norms.as_u32s())
            .map_err(|_| Error::Invalid("vectors of another dimension"))
    }
}

impl Segment {
    /// Opens the segment in file `ino`: its header is read, nothing else.
    ///
    /// # Errors
    ///
    /// `Corrupt` if the header is not that of a segment of this collection.
    pub(crate) fn open(context: &CollectionContext, ino: Ino) -> Result<Arc<Self>> {
        let file = File::new(context, ino)?;
        let (header, places) = file.header()?;
        let segment = Self::with(file, header, places)?;
        segment.check_lengths()?;
        Ok(segment)
    }

    #[inline(never)] // own frame
    fn with(file: File, header: Header, places: Vec<SectionExtent>) -> Result<Arc<Self>> {
        let account = file.context().account.clone();
        Arc::new(Self {
            file,
            header,
            places,
            ids: Lazy::new(&account)?,
            vectors: Lazy::new(&account)?,
            ends: Lazy::new(&account)?,
            payloads: Lazy::new(&account)?,
            fields: Lazy::new(&account)?,
            index: Lazy::new(&account)?,
            single_vectors: Single::new(&account)?,
            single_ends: Single::new(&account)?,
            single_payloads: Single::new(&account)?,
        })
    }

    /// Writes a segment to the new hidden file, piece by piece, and keeps what was written in memory.
    #[inline(never)] // own frame
    pub(crate) fn create(
        file: File,
        number: u64,
        material: Material,
        params: &IndexParams,
        more: Sections,
        how: Writing<'_>,
    ) -> Result<Arc<Self>> {
        let ids = material.ids.as_u64s();
        let (Some(min_id), Some(max_id)) = (ids.first().copied(), ids.last().copied()) else {
            return Err(Error::Invalid("a segment has rows"));
        };
        let mut header = Header {
            number,
            rows: ids.len() as u32,
            min_id,
            max_id,
            len: 0,
            index: *params,
        };
        let own = material.into_sections()?;
        let mut sections = Vec::with_capacity(own.len().saturating_add(more.len()))?;
        for section in own.iter().chain(more.iter()) {
            sections.push(section)?;
        }
        let places = file::write(&file, &mut header, &sections, how)?;
        drop(sections);
        let segment = Self::with(file, header, places)?;
        // What is meant to stay on disk is not kept in memory.
        if segment.on_demand().is_none() {
            segment.keep(own)?;
            segment.open_sections(more)?;
        }
        Ok(segment)
    }

    /// Keeps sections that were just written.
    fn keep(&self, sections: Sections) -> Result {
        let (mut vectors, mut norms) = (None, None);
        for Section { kind, bytes } in sections {
            match kind {
                kind::IDS => self.ids.set(bytes)?,
                kind::VECTORS => vectors = Some(bytes),
                kind::NORMS => norms = Some(bytes),
                kind::PAYLOAD_ENDS => self.ends.set(bytes)?,
                kind::PAYLOADS => self.payloads.set(bytes)?,
                _ => {}
            }
        }
        self.vectors.set(Vectors {
            bytes: vectors.unwrap_or_default(),
            norms: norms.unwrap_or_default(),
        })
    }

    /// Checks what can be told without reading sections.
    fn check_lengths(&self) -> Result {
        let params = self.file.context().params;
        let rows = u64::from(self.header.rows);
        let len = |kind| self.place(kind).map(|place| place.len);
        let norms = params.space().needs_norms().then_some(rows.saturating_mul(4));
        let ends = len(kind::PAYLOAD_ENDS);
        let right = len(kind::IDS) == Some(rows.saturating_mul(8))
            && len(kind::VECTORS) == Some(rows.saturating_mul(params.row_bytes() as u64))
            && len(kind::NORMS) == norms
            && ends.is_none_or(|ends| ends == rows.saturating_mul(8))
            && ends.is_some() == len(kind::PAYLOADS).is_some();
        if !right {
            return Err(self.file.damaged("segment with a section of a wrong length"));
        }
        Ok(())
    }

    fn place(&self, kind: u32) -> Option<&SectionExtent> {
        self.places.iter().find(|place| place.kind == kind)
    }

    /// The section of this kind, which [`check_lengths`](Self::check_lengths) has seen.
    fn read(&self, kind: u32) -> Result<Buffer> {
        match self.place(kind) {
            Some(place) => self.file.section(place),
            None => Err(self.file.damaged("segment without a section")),
        }
    }

    /// What the file says of itself.
    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// Its file.
    pub(crate) fn ino(&self) -> Ino {
        self.file.ino()
    }

    /// Rows, live and dead.
    pub(crate) fn count(&self) -> usize {
        self.header.rows as usize
    }

    /// Adds what it consists of. `index` is what segments are to have.
    pub(crate) fn describe(&self, index: &IndexParams, info: &mut CollectionStats) {
        for place in &self.places {
            let bytes = match place.kind {
                kind::VECTORS | kind::NORMS => &mut info.vector_bytes,
                kind::PAYLOAD_ENDS | kind::PAYLOADS => &mut info.payload_bytes,
                kind::FIELDS..kind::INDEX => &mut info.field_bytes,
                kind::INDEX.. => &mut info.index_bytes,
                _ => continue,
            };
            *bytes = bytes.saturating_add(place.len);
        }
        info.segment_bytes = info.segment_bytes.saturating_add(self.header.len);
        if index.kind() != IndexKind::Flat && self.header.index == *index {
            info.indexed_rows = info.indexed_rows.saturating_add(self.header.rows.into());
        }
    }

    /// The ids of the rows, ascending.
    pub(crate) fn ids(&self) -> Result<Arc<Kept<Buffer>>> {
        self.ids.get_or_load(|| {
            let ids = self.read(kind::IDS)?;
            for chunk in ids.as_u64s().chunks(1 << 16) {
                if chunk.windows(2).any(|pair| pair.first() >= pair.last()) {
                    return Err(self.file.damaged("segment with ids that do not ascend"));
                }
                relax()?;
            }
            // The chunks begin where others end.
            let starts = ids.as_u64s().chunks(1 << 16).filter_map(|chunk| chunk.first());
            let ends = ids.as_u64s().chunks(1 << 16).filter_map(|chunk| chunk.last());
            let ascend = ends.zip(starts.skip(1)).all(|(end, start)| end < start);
            let (min, max) = (ids.as_u64s().first(), ids.as_u64s().last());
            if !ascend || min != Some(&self.header.min_id) || max != Some(&self.header.max_id) {
                return Err(self.file.damaged("segment with ids that do not ascend"));
            }
            Ok(ids)
        })
    }

    /// Whether a row with this id may be there.
    pub(crate) fn may_have(&self, id: u64) -> bool {
        (self.header.min_id..=self.header.max_id).contains(&id)
    }

    /// The vectors.
    #[inline(never)] // own frame
    pub(crate) fn vectors(&self) -> Result<Arc<Kept<Vectors>>> {
        self.vectors.get_or_load(|| {
            Ok(Vectors {
                bytes: self.read(kind::VECTORS)?,
                norms: match self.place(kind::NORMS) {
                    Some(place) => self.file.section(place)?,
                    None => Buffer::default(),
                },
            })
        })
    }

    /// Where payloads end, `None` if no row has one.
    fn payload_ends(&self) -> Result<Option<Arc<Kept<Buffer>>>> {
        let Some(payloads) = self.place(kind::PAYLOADS) else {
            return Ok(None);
        };
        let ends = self.ends.get_or_load(|| {
            let ends = self.read(kind::PAYLOAD_ENDS)?;
            let mut before = 0;
            for chunk in ends.as_u64s().chunks(1 << 16) {
                for end in chunk {
                    let len = end.checked_sub(before);
                    if len.is_none_or(|len| len > crate::payload::PAYLOAD_MAX as u64) {
                        return Err(self.file.damaged("segment with wrong lengths of payloads"));
                    }
                    before = *end;
                }
                relax()?;
            }
            if before != payloads.len {
                return Err(self.file.damaged("segment with wrong lengths of payloads"));
            }
            Ok(ends)
        })?;
        Ok(Some(ends))
    }

    /// The payloads.
    pub(crate) fn column(&self) -> Result<Column> {
        let Some(ends) = self.payload_ends()? else {
            return Ok(Column::empty());
        };
        let payloads = self.payloads.get_or_load(|| self.read(kind::PAYLOADS))?;
        Ok(Column::new(ends, payloads))
    }

    /// What its index was made with.
    pub(crate) fn index_params(&self) -> &IndexParams {
        &self.header.index
    }

    /// The index, `None` if there is none.
    #[inline(never)] // own frame
    pub(crate) fn index(&self) -> Result<Option<Arc<Kept<Index>>>> {
        if self.header.index.kind() == IndexKind::Flat {
            return Ok(None);
        }
        let load = || {
            let on_demand = self.on_demand().map(|place| place.kind);
            self.opened_index(self.sections(|kind| kind >= kind::INDEX && Some(kind) != on_demand)?)
        };
        self.index.get_or_load(load).map(Some)
    }

    /// The indexes of payload fields.
    #[inline(never)] // own frame
    pub(crate) fn fields(&self) -> Result<Arc<Kept<FieldIndex>>> {
        self.fields
            .get_or_load(|| self.opened_fields(self.sections(|kind| (kind::FIELDS..kind::INDEX).contains(&kind))?))
    }

    /// Reads the sections of some kinds.
    fn sections(&self, wanted: impl Fn(u32) -> bool) -> Result<Sections> {
        let mut sections = Vec::new();
        for place in self.places.iter().filter(|place| wanted(place.kind)) {
            sections.push(Section {
                kind: place.kind,
                bytes: self.file.section(place)?,
            })?;
        }
        Ok(sections)
    }

    /// Opens what was just written.
    #[inline(never)] // own frame
    fn open_sections(&self, sections: Sections) -> Result {
        let (mut of_index, mut of_fields) = (Vec::new(), Vec::new());
        let on_demand = self.on_demand().map(|place| place.kind);
        for section in sections {
            match section.kind {
                // What stays on disk is read from there.
                kind if Some(kind) == on_demand => {}
                kind::INDEX.. => of_index.push(section)?,
                _ => of_fields.push(section)?,
            }
        }
        self.fields.set(self.opened_fields(of_fields)?)?;
        match self.header.index.kind() {
            IndexKind::Flat => Ok(()),
            _ => self.index.set(self.opened_index(of_index)?),
        }
    }

    /// Where the section of the index is that stays on disk.
    fn on_demand(&self) -> Option<&SectionExtent> {
        self.place(Index::section_on_demand(&self.header.index)?)
    }

    #[inline(never)] // own frame
    fn opened_index(&self, sections: Sections) -> Result<Index> {
        let reader = self.on_demand().map(|place| Reader::new(&self.file, place));
        let opened = Index::open(Opening {
            space: &self.file.context().params.space(),
            count: self.count(),
            params: &self.header.index,
            sections,
            reader: reader.transpose()?,
        });
        opened.map_err(|e| self.blame(e))
    }

    #[inline(never)] // own frame
    fn opened_fields(&self, sections: Sections) -> Result<FieldIndex> {
        FieldIndex::open(self.count(), sections).map_err(|e| self.blame(e))
    }

    /// An error that says which file is damaged, if one is.
    fn blame(&self, e: Error) -> Error {
        match e {
            Error::Corrupt(corrupt) => self.file.damaged(corrupt.what),
            e => e,
        }
    }
}

/// The row with this id among ascending ids, of which those before `from` are known to be smaller. `Err` has the place
/// where it would be.
///
/// Ids are often dense, so the first guess is where it would be then; from there the distance doubles (exponential
/// search, Bentley and Yao 1976).
pub(crate) fn find_id(ids: &[u64], from: usize, id: u64) -> core::result::Result<usize, usize> {
    let rest = ids.get(from..).unwrap_or_default();
    let (Some(first), Some(last)) = (rest.first(), rest.last()) else {
        return Err(from);
    };
    if id < *first {
        return Err(from);
    }
    if id > *last {
        return Err(ids.len());
    }
    let guess = usize::try_from(id - first).unwrap_or(usize::MAX).min(rest.len() - 1);
    let found = match rest.get(guess) {
        Some(at) if *at == id => Ok(guess),
        // Ids ascend by at least one, so the row is not behind the guess.
        _ => {
            let (mut low, mut high) = (0, guess);
            let mut step = 1;
            while let Some(below) = high.checked_sub(step) {
                match rest.get(below) {
                    Some(at) if *at > id => high = below,
                    _ => {
                        low = below;
                        break;
                    }
                }
                step = step.saturating_mul(2);
            }
            let range = rest.get(low..high).unwrap_or_default();
            match range.binary_search(&id) {
                Ok(at) => Ok(low + at),
                Err(at) => Err(low + at),
            }
        }
    };
    match found {
        Ok(at) => Ok(from + at),
        Err(at) => Err(from + at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_found_where_a_binary_search_finds_it() {
        let mut state = 5u64;
        for gap in [1u64, 2, 50, 1 << 40] {
            let mut ids = std::vec::Vec::new();
            let mut next = gap;
            for _ in 0..300 {
                state = state
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                next += 1 + (state >> 33) % gap;
                ids.push(next);
            }
            for (i, id) in ids.iter().enumerate() {
                for id in [id - 1, *id, id + 1] {
                    for from in [0, i / 2, i] {
                        let want = ids[from..].binary_search(&id);
                        let want = want.map(|at| from + at).map_err(|at| from + at);
                        assert_eq!(find_id(&ids, from, id), want);
                    }
                }
            }
            assert_eq!(find_id(&ids, ids.len(), 7), Err(ids.len()));
            assert_eq!(find_id(&ids, 0, u64::MAX), Err(ids.len()));
        }
        assert_eq!(find_id(&[], 0, 7), Err(0));
    }
}
