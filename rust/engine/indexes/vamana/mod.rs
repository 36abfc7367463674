// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Graphs that can stay on disk (Subramanya et al.: DiskANN: Fast Accurate Billion-point Nearest Neighbor Search on a
//! Single Node, NeurIPS 2019, "the paper").
//!
//! Every row has up to R neighbours, near ones and some far away, so that a walk from the medoid gets anywhere in few
//! hops. With everything in memory a walk compares full vectors. Otherwise the vectors and lists of neighbours are
//! records in blocks of 4 KiB; product codes in memory say which records to read, a hop reads several at once, and what
//! was read is compared exactly. The records nearest to the start, which every search needs, can be kept in memory.
//!
//! - `format`: the sections; `build`, `builder`, `prune`: the graph; `memory`: searches in memory; `records`, `disk`:
//!   on disk.

mod build;
mod builder;
mod disk;
mod format;
mod memory;
mod prune;
mod records;
#[cfg(test)]
mod tests;

use crate::graph;
use crate::index::scale;
use crate::index::take_section;
use crate::index::Build;
use crate::index::Cost;
use crate::index::Costs;
use crate::index::Index;
use crate::index::IndexParams;
use crate::index::Kind;
use crate::index::Nearest;
use crate::index::Opening;
use crate::index::ReadAt;
use crate::index::Scope;
use crate::index::SearchParams;
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
/// A record that is in memory compared, its checks included.
const RECORD_NS: u64 = 150;
/// A record read from a drive, several being under way together.
const READ_NS: u64 = 20_000;

/// An open index.
pub(crate) struct Vamana<R> {
    shape: Shape,
    form: Form,
    memory_scratch: Pool<memory::Scratch>,
    /// Where the records are that are not in memory.
    reader: Option<R>,
}

enum Form {
    Memory(Memory),
    Disk(Box<Disk>),
}

impl<R: ReadAt> Kind<R> for Vamana<R> {
    fn check(space: &Space, params: &IndexParams) -> Result {
        if params.disk_percent > 0 {
            disk::check(space, params)?;
        }
        Ok(())
    }

    #[inline(never)] // own frame
    fn build(b: &Build<'_>) -> Result<Sections> {
        let space = b.rows.space();
        <Self as Kind<R>>::check(&space, b.params)?;
        let settings = Settings::new(b.params);
        let (builder, entry) = build::build(b, &settings)?;
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
            return disk::build(b, shape, &builder, entry);
        }
        let words = shape.rows.checked_mul(shape.list_words()).ok_or(Error::NoMemory)?;
        let mut lists = Buffer::zeroed(words.checked_mul(4).ok_or(Error::NoMemory)?)?;
        for (node, list) in lists.as_u32s_mut().chunks_mut(shape.list_words()).enumerate() {
            list.fill(NONE);
            let mut places = list.iter_mut();
            builder.neighbours(node as u32, |neighbour| {
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

    fn section_on_demand(params: &IndexParams) -> Option<u32> {
        (params.disk_percent > 0).then_some(format::RECORDS)
    }

    #[inline(never)] // own frame
    fn open(opening: Opening<'_, R>) -> Result<Self> {
        let Opening {
            space,
            count,
            mut sections,
            reader,
            ..
        } = opening;
        let bytes = take_section(&mut sections, format::HEADER).ok_or(bad("vamana: section missing"))?;
        let shape = Shape::decode(count, space.row_bytes(), &bytes)?;
        let mut shape = shape;
        let form = if shape.on_disk {
            let (disk, known) = Disk::open(
                space,
                &shape,
                sections,
                reader.as_ref().map(|reader| reader as &dyn ReadAt),
            )?;
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
            reader,
        })
    }
}

impl<R: ReadAt> Index for Vamana<R> {
    #[inline(never)] // own frame
    fn search(
        &self,
        scope: &Scope<'_>,
        query: &Query<'_>,
        params: &SearchParams,
        nearest: &mut Nearest,
    ) -> Result<Cost> {
        let count = self.shape.rows;
        let accepted = scope.accept.map_or(count, |accept| accept.count());
        if accepted == 0 {
            return Ok(Cost::default());
        }
        let width = width(params, nearest.k() as u64, count as u64, accepted as u64);
        let ask = memory::Ask {
            shape: &self.shape,
            scope,
            query,
            width: usize::try_from(width).unwrap_or(EF_MAX),
        };
        match &self.form {
            Form::Memory(memory) => self.memory_scratch.with(
                || memory::Scratch::new(&self.shape),
                |scratch| memory.walk(&ask, nearest, scratch),
            ),
            Form::Disk(disk) => disk.walk(&ask, nearest, self.reader()),
        }
    }

    fn cost(&self, costs: &Costs, params: &SearchParams, k: usize, matching: u64) -> u64 {
        let width = width(params, k as u64, costs.rows, matching);
        match &self.form {
            Form::Memory(_) => graph::compared(width).saturating_mul(costs.node(costs.bytes)),
            Form::Disk(_) => costs
                .codes(width.saturating_mul(self.shape.degree as u64))
                .saturating_add(self.records_cost(width)),
        }
    }

    fn has_vectors(&self) -> bool {
        matches!(self.form, Form::Disk(_)) && self.reader.is_some()
    }

    fn scan_cost(&self, costs: &Costs, rows: u64) -> u64 {
        match self.has_vectors() {
            true => self.records_cost(rows),
            false => costs.scan(rows),
        }
    }

    fn scan(&self, scope: &Scope<'_>, query: &Query<'_>, nearest: &mut Nearest) -> Result<Cost> {
        let ask = memory::Ask {
            shape: &self.shape,
            scope,
            query,
            width: 0,
        };
        match &self.form {
            Form::Memory(_) => Err(Error::Unsupported("this index has no vectors")),
            Form::Disk(disk) => disk.scan(&ask, nearest, self.reader()),
        }
    }

    fn trim(&self) -> u64 {
        let of_disk = match &self.form {
            Form::Memory(_) => 0,
            Form::Disk(disk) => disk.trim(),
        };
        of_disk.saturating_add(self.memory_scratch.clear())
    }

    fn memory_bytes(&self) -> u64 {
        let form = match &self.form {
            Form::Memory(memory) => memory.lists.memory_bytes(),
            Form::Disk(disk) => disk.memory_bytes(),
        };
        form.saturating_add(self.memory_scratch.memory_bytes())
    }
}

impl<R: ReadAt> Vamana<R> {
    fn reader(&self) -> Option<&dyn ReadAt> {
        self.reader.as_ref().map(|reader| reader as &dyn ReadAt)
    }

    /// Comparing the vectors of so many records.
    fn records_cost(&self, records: u64) -> u64 {
        let (rows, resident) = (self.shape.rows as u64, self.shape.resident as u64);
        let read = scale(records, rows.saturating_sub(resident), rows.max(1));
        records
            .saturating_mul(RECORD_NS)
            .saturating_add(read.saturating_mul(READ_NS))
    }
}

/// The width of a search for `k` of `accepted` rows: as many rows of the beam are accepted as if all were.
fn width(params: &SearchParams, k: u64, rows: u64, accepted: u64) -> u64 {
    let ef = match params.ef {
        0 => EF,
        ef => ef as usize,
    };
    let ef = (ef.min(EF_MAX) as u64).max(k);
    scale(ef, rows, accepted.max(1)).min(EF_MAX as u64).min(rows)
}

fn header(shape: &Shape) -> Result<Section> {
    let mut bytes = Buffer::zeroed(format::HEADER_BYTES)?;
    shape.encode(&mut bytes)?;
    Ok(Section {
        kind: format::HEADER,
        bytes,
    })
}
