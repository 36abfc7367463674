// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Graphs that can stay on disk (Subramanya et al.: DiskANN: Fast Accurate Billion-point Nearest Neighbor Search on a Single
//! Node, NeurIPS 2019, "the paper").
//!
//! Every row has up to R neighbours, near ones and some far away, so that a walk from the medoid gets anywhere in few hops. With
//! everything in memory a walk compares full vectors. Otherwise the vectors and lists of neighbours are records in blocks of
//! 4 KiB; product codes in memory say which records to read, a hop reads several at once, and what was read is compared exactly.
//! The records nearest to the start, which every search needs, can be kept in memory.
//!
//! - `format`: the sections; `build`, `draft`, `prune`: the graph; `memory`: searches in memory; `records`, `disk`: on disk.

mod build;
mod disk;
mod draft;
mod format;
mod memory;
mod prune;
mod records;
#[cfg(test)]
mod tests;

pub(crate) use format::RECORDS;
pub(crate) use records::ReadAt;

use crate::index::take_section;
use crate::index::Build;
use crate::index::Cost;
use crate::index::IndexParams;
use crate::index::Knobs;
use crate::index::Nearest;
use crate::index::Scope;
use crate::index::Section;
use crate::index::Sections;
use crate::pool::Pool;
use build::Settings;
use disk::Disk;
use format::bad;
use format::Shape;
use format::NONE;
use memory::Memory;
use vexfs_host::mem::Box;
use vexfs_host::mem::Buffer;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd::Query;
use vexfs_simd::Space;

/// The width of a search if the caller names none.
const EF: usize = 64;
/// The widest search.
const EF_MAX: usize = 1 << 16;
/// Comparing so many accepted rows for each of a walk's width is no more work than the walk, and misses none.
const SCAN: usize = 24;
/// A filtered walk is at most so many times as wide as one without a filter.
const WIDER: usize = 16;

/// An open index.
pub(crate) struct Vamana {
    shape: Shape,
    form: Form,
    memory_scratch: Pool<memory::Scratch>,
}

enum Form {
    Memory(Memory),
    Disk(Box<Disk>),
}

impl Vamana {
    /// Whether an index with these parameters can be made for such rows.
    pub(crate) fn check(space: &Space, params: &IndexParams) -> Result {
        if params.disk_percent > 0 {
            disk::check(space, params)?;
        }
        Ok(())
    }

    /// Makes the index of these rows.
    ///
    /// # Errors
    ///
    /// `NoMemory`, `Interrupted`; `Unsupported` for binary rows on disk.
    #[inline(never)] // Its frame is not to be part of every caller's.
    pub(crate) fn build(b: &Build<'_>) -> Result<Sections> {
        let space = b.rows.space();
        Self::check(&space, b.params)?;
        let settings = Settings::new(b.params);
        let (draft, entry) = build::build(b, &settings)?;
        let shape = Shape {
            rows: b.rows.count(),
            degree: settings.degree,
            entry,
            row_bytes: space.row_bytes(),
            on_disk: false,
            code_bytes: 0,
            resident: b.rows.count(),
        };
        if b.params.disk_percent > 0 && shape.rows > 0 {
            return disk::build(b, shape, &draft, entry);
        }
        let words = shape.rows.checked_mul(shape.list_words()).ok_or(Error::NoMemory)?;
        let mut lists = Buffer::zeroed(words.checked_mul(4).ok_or(Error::NoMemory)?)?;
        for (node, list) in lists.as_u32s_mut().chunks_mut(shape.list_words()).enumerate() {
            list.fill(NONE);
            let mut places = list.iter_mut();
            draft.neighbours(node as u32, |neighbour| {
                if let Some(place) = places.next() {
                    *place = neighbour;
                }
                Ok(())
            })?;
        }
        let mut sections = Sections::new();
        sections.push(header(&shape)?)?;
        sections.push(Section {
            kind: format::GRAPH,
            bytes: lists,
        })?;
        Ok(sections)
    }

    /// Opens the index of `count` rows of this space; the section of records is read from `reader` if it is not among the
    /// sections.
    ///
    /// # Errors
    ///
    /// `Corrupt` if the sections are not those of such an index; `NoMemory`; those of the reader.
    #[inline(never)] // Its frame is not to be part of every caller's.
    pub(crate) fn open(
        space: &Space,
        count: usize,
        _params: &IndexParams,
        sections: Sections,
        reader: Option<&dyn ReadAt>,
    ) -> Result<Self> {
        let mut sections = sections;
        let bytes = take_section(&mut sections, format::HEADER).ok_or(bad("vamana: section missing"))?;
        let shape = Shape::decode(count, space.row_bytes(), &bytes)?;
        let mut shape = shape;
        let form = if shape.on_disk {
            let (disk, known) = Disk::open(space, &shape, sections, reader)?;
            shape = known;
            Form::Disk(Box::new(disk)?)
        } else {
            let lists = take_section(&mut sections, format::GRAPH).ok_or(bad("vamana: section missing"))?;
            Form::Memory(Memory::open(&shape, lists)?)
        };
        Ok(Self {
            shape,
            form,
            memory_scratch: Pool::new()?,
        })
    }

    /// Finds rows near the query and offers them by their exact keys. With records, the vectors of `scope` are not looked at.
    ///
    /// # Errors
    ///
    /// `NoMemory`, `Interrupted`; those of the reader; `Corrupt` if a record read is damaged; `Invalid` if there is no reader and
    /// a record must be read.
    #[inline(never)] // Its frame is not to be part of every caller's.
    pub(crate) fn search(
        &self,
        scope: &Scope<'_>,
        query: &Query<'_>,
        knobs: &Knobs,
        nearest: &mut Nearest,
        reader: Option<&dyn ReadAt>,
    ) -> Result<Cost> {
        let mut cost = Cost::default();
        let count = self.shape.rows;
        let accepted = scope.accept.map_or(count, |accept| accept.count());
        if accepted == 0 {
            return Ok(cost);
        }
        let ef = if knobs.ef == 0 { EF } else { knobs.ef as usize };
        let mut width = ef.min(EF_MAX).max(nearest.k());
        let scan = accepted <= width.saturating_mul(SCAN);
        // As many rows of the beam are accepted as without a filter.
        width = width
            .saturating_mul(count.checked_div(accepted).unwrap_or(1).clamp(1, WIDER))
            .min(EF_MAX)
            .min(count);
        let wanted = nearest.k().min(accepted);
        let ask = memory::Ask {
            shape: &self.shape,
            scope,
            query,
            width,
        };
        match &self.form {
            Form::Memory(memory) => self.memory_scratch.with(
                || memory::Scratch::new(&self.shape),
                |scratch| {
                    scratch.forget();
                    let met = if scan {
                        0
                    } else {
                        memory.walk(&ask, nearest, scratch, &mut cost)?
                    };
                    if met < wanted && !cost.stopped {
                        memory::scan(scope, query, nearest, scratch, &mut cost)?;
                    }
                    Ok(cost)
                },
            ),
            Form::Disk(disk) => {
                let scan = scan && scope.accept.is_some();
                disk.search(&ask, (scan, wanted), nearest, reader)
            }
        }
    }

    /// Gives back memory that searches hand on to each other. Returns the bytes freed.
    pub(crate) fn trim(&self) -> u64 {
        let of_disk = match &self.form {
            Form::Memory(_) => 0,
            Form::Disk(disk) => disk.trim(),
        };
        of_disk.saturating_add(self.memory_scratch.clear())
    }

    /// Bytes of memory held.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let form = match &self.form {
            Form::Memory(memory) => memory.lists.memory_bytes(),
            Form::Disk(disk) => disk.memory_bytes(),
        };
        form.saturating_add(self.memory_scratch.memory_bytes())
    }
}

/// The section of the header.
fn header(shape: &Shape) -> Result<Section> {
    let mut bytes = Buffer::zeroed(format::HEADER_BYTES)?;
    shape.encode(&mut bytes)?;
    Ok(Section {
        kind: format::HEADER,
        bytes,
    })
}
