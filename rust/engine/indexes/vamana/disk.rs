// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Searching with vectors and lists of neighbours on disk (the paper, section 3).
//!
//! Records are numbered in the order of a walk in breadth from the entry, so that the first ones, which searches need
//! most, are the ones to keep in memory. The beam holds records by the keys of their codes; a hop takes the nearest
//! few, reads those that are not in memory together, compares their vectors exactly and adds their neighbours.

use super::builder::GraphBuilder;
use super::format;
use super::format::bad;
use super::format::Shape;
use super::format::NONE;
use super::header;
use super::memory::Ask;
use super::records::Record;
use crate::graph::Beam;
use crate::graph::Visited;
use crate::index::take_section;
use crate::index::Build;
use crate::index::Cost;
use crate::index::IndexParams;
use crate::index::Nearest;
use crate::index::ReadAt;
use crate::index::Section;
use crate::index::Sections;
use crate::indexes::pq::Quantizer;
use crate::indexes::pq::QueryScratch;
use crate::pool::bytes_of;
use crate::pool::Pool;
use crate::pool::Weighed;
use vexfs_core::file::ReadAt as Read;
use vexfs_host::mem::Buffer;
use vexfs_host::mem::Vec;
use vexfs_host::relax;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd::quant::Pq;
use vexfs_simd::Element;
use vexfs_simd::Kernels;
use vexfs_simd::Query;
use vexfs_simd::Rows;
use vexfs_simd::Space;

/// Records that a hop expands: the paper's W is 4 or 8.
const HOP: usize = 8;
/// Bits of each part of a code.
const BITS: usize = 8;

/// An open index whose vectors are records.
///
/// # Invariants
///
/// `order` and `places` are a permutation of the rows and its inverse. `resident` are the first `shape.resident`
/// records, checked. `codes` has a code a record.
pub(super) struct Disk {
    space: Space,
    quantizer: Quantizer,
    codes: Buffer,
    order: Buffer,
    places: Vec<u32>,
    resident: Buffer,
    scratch: Pool<Scratch>,
}

/// The memory of a search.
struct Scratch {
    visited: Visited,
    beam: Beam,
    table: QueryScratch,
    blocks: Buffer,
    ids: Vec<u32>,
    keys: Vec<u32>,
}

impl Weighed for Scratch {
    fn memory_bytes(&self) -> u64 {
        self.visited.memory_bytes()
            + self.beam.memory_bytes()
            + self.table.memory_bytes()
            + self.blocks.memory_bytes()
            + bytes_of(&self.ids)
            + bytes_of(&self.keys)
    }
}

/// Bytes of a code.
fn code_bytes(space: &Space, params: &IndexParams) -> usize {
    match params.pq_bytes {
        0 => space.dim().div_ceil(4).min(128),
        bytes => bytes as usize,
    }
}

/// Whether such rows can be on disk.
pub(super) fn check(space: &Space, params: &IndexParams) -> Result {
    if space.element() == Element::Binary {
        return Err(Error::Unsupported(
            "binary vectors have no product codes: disk_percent must be 0",
        ));
    }
    match Pq::new(space.dim(), code_bytes(space, params), BITS) {
        Some(_) => Ok(()),
        None => Err(Error::Invalid("no such product codes")),
    }
}

/// Makes the sections of a graph on disk.
#[inline(never)] // own frame
pub(super) fn build(b: &Build<'_>, shape: Shape, builder: &GraphBuilder, entry: u32) -> Result<Sections> {
    let rows = &b.rows;
    let space = rows.space();
    let bytes = code_bytes(&space, b.params);
    let resident = shape.rows as u64 * (100 - u64::from(b.params.disk_percent.min(100))) / 100;
    let shape = Shape {
        on_disk: true,
        code_bytes: bytes,
        resident: resident as usize,
        // The first record is that of the entry.
        entry: 0,
        ..shape
    };
    let (order, places) = in_breadth(&shape, builder, entry)?;
    let quantizer = Quantizer::train(&b.kernels, rows, bytes, BITS, b.params.seed, b.threads)?;
    let mut codes = Buffer::zeroed(shape.rows.checked_mul(bytes).ok_or(Error::NoMemory)?)?;
    let mut records = Buffer::zeroed(shape.records_len(shape.rows))?;
    for (place, (row, code)) in order.as_u32s().iter().zip(codes.chunks_mut(bytes)).enumerate() {
        let row = *row as usize;
        quantizer.encode(&b.kernels, rows, row..row + 1, code)?;
        let (block, within) = shape.place(place);
        let at = block + within;
        let record = records.get_mut(at..at + shape.record_bytes()).ok_or(Error::Overflow)?;
        let list = record.get_mut(Record::neighbours_at(&shape)..).ok_or(Error::Overflow)?;
        let mut words = list.chunks_exact_mut(4);
        builder.neighbours(row as u32, |neighbour| {
            let place = places.get(neighbour as usize).ok_or(Error::Overflow)?;
            words
                .next()
                .ok_or(Error::Overflow)?
                .copy_from_slice(&place.to_le_bytes());
            Ok(())
        })?;
        words.for_each(|word| word.copy_from_slice(&NONE.to_le_bytes()));
        let vector = rows.row(row).ok_or(Error::Overflow)?;
        Record::finish(&shape, record, vector, rows.norm(row).unwrap_or(0))?;
        if place % 16 == 0 {
            relax()?;
        }
    }
    let mut sections = Sections::new();
    sections.push(header(&shape)?)?;
    for (kind, bytes) in [
        (format::RECORDS, records),
        (format::ORDER, order),
        (format::BOOK, quantizer.into_bytes()),
        (format::CODES, codes),
    ] {
        sections.push(Section { kind, bytes })?;
    }
    Ok(sections)
}

/// The rows in the order of a walk in breadth from the entry, those it does not reach at the end; and the place of each
/// row.
#[inline(never)] // own frame
fn in_breadth(shape: &Shape, builder: &GraphBuilder, entry: u32) -> Result<(Buffer, Vec<u32>)> {
    let count = shape.rows;
    let mut order = Buffer::zeroed(count.checked_mul(4).ok_or(Error::NoMemory)?)?;
    let mut places = Vec::new();
    places.resize(count, NONE)?;
    let mut len = 0;
    let mut put = |row: u32, order: &mut [u32]| -> Result<usize> {
        let place = places.get_mut(row as usize).ok_or(Error::Overflow)?;
        if *place == NONE {
            *place = len as u32;
            *order.get_mut(len).ok_or(Error::Overflow)? = row;
            len += 1;
        }
        Ok(len)
    };
    let words = order.as_u32s_mut();
    let mut filled = put(entry, words)?;
    let mut others = 0..count as u32;
    for at in 0..count {
        // Nothing is left to walk from: go on with any row that has no place.
        while filled <= at {
            let other = others.next().ok_or(Error::Overflow)?;
            filled = put(other, words)?;
        }
        let row = words.get(at).copied().ok_or(Error::Overflow)?;
        builder.neighbours(row, |neighbour| {
            filled = put(neighbour, words)?;
            Ok(())
        })?;
        if at % 64 == 0 {
            relax()?;
        }
    }
    Ok((order, places))
}

/// Where records come from: memory as far as they are there, else a reader.
#[derive(Clone, Copy)]
struct Source<'a> {
    shape: &'a Shape,
    resident: &'a [u8],
    reader: Option<&'a dyn ReadAt>,
}

impl Source<'_> {
    /// Hands records of at most [`HOP`] numbers to `take`, after reading those that are not in memory together.
    fn fetch(
        &self,
        numbers: &[u32],
        blocks: &mut Buffer,
        cost: &mut Cost,
        mut take: impl FnMut(u32, Record<'_>) -> Result,
    ) -> Result {
        let shape = self.shape;
        let missing = |number: &&u32| **number as usize >= shape.resident;
        let mut reads = Vec::with_capacity(numbers.len())?;
        for (number, data) in numbers
            .iter()
            .filter(missing)
            .zip(blocks.chunks_mut(shape.read_bytes()))
        {
            let (offset, _) = shape.place(*number as usize);
            reads.push(Read {
                offset: offset as u64,
                data,
            })?;
        }
        if !reads.is_empty() {
            cost.reads += reads.len() as u64;
            let reader = self
                .reader
                .ok_or(Error::Invalid("vamana: nothing to read records from"))?;
            reader.read_many(&mut reads)?;
        }
        drop(reads);
        let mut read = blocks.chunks(shape.read_bytes());
        for number in numbers {
            let (offset, within) = shape.place(*number as usize);
            let record = if missing(&number) {
                let block = read.next().unwrap_or_default();
                Record::checked(shape, block.get(within..).unwrap_or_default())?
            } else {
                Record::new(shape, self.resident.get(offset + within..).unwrap_or_default())?
            };
            take(*number, record)?;
        }
        Ok(())
    }
}

/// Compares a record's vector with the query.
fn compare(kernels: &Kernels, query: &Query<'_>, record: &Record<'_>) -> Result<u32> {
    let space = query.space();
    let norm = [record.norm];
    let norms: &[u32] = if space.needs_norms() { &norm } else { &[] };
    let fits = |_| Error::Invalid("the query does not fit the records");
    let row = Rows::new(&space, record.vector, record.vector.len(), 1, norms).map_err(fits)?;
    let mut key = [0];
    kernels.gather(query, &row, &[0], &mut key).map_err(fits)?;
    let [key] = key;
    Ok(key)
}

impl Disk {
    /// Opens an index; records come from `reader` if they are not a section.
    #[inline(never)] // own frame
    pub(super) fn open(
        space: &Space,
        shape: &Shape,
        mut sections: Sections,
        reader: Option<&dyn ReadAt>,
    ) -> Result<(Self, Shape)> {
        check_element(space)?;
        let missing = || bad("vamana: section missing");
        let order = take_section(&mut sections, format::ORDER).ok_or_else(missing)?;
        let codes = take_section(&mut sections, format::CODES).ok_or_else(missing)?;
        let book = take_section(&mut sections, format::BOOK).ok_or_else(missing)?;
        if order.len() != shape.rows * 4 || Some(codes.len()) != shape.rows.checked_mul(shape.code_bytes) {
            return Err(bad("vamana: length of a section"));
        }
        let mut places = Vec::new();
        places.resize(shape.rows, NONE)?;
        for (place, row) in order.as_u32s().iter().enumerate() {
            match places.get_mut(*row as usize) {
                Some(free) if *free == NONE => *free = place as u32,
                _ => return Err(bad("vamana: order of the records")),
            }
        }
        let quantizer = Quantizer::from_bytes(space, shape.code_bytes, BITS, book)?;
        let mut shape = *shape;
        let resident = match take_section(&mut sections, format::RECORDS) {
            Some(records) => {
                if records.len() != shape.records_len(shape.rows) {
                    return Err(bad("vamana: length of the records"));
                }
                // All of them are here.
                shape.resident = shape.rows;
                records
            }
            None => read_resident(&shape, reader)?,
        };
        for number in 0..shape.resident {
            let (offset, within) = shape.place(number);
            Record::checked(&shape, resident.get(offset + within..).unwrap_or_default())?;
            if number % 64 == 0 {
                relax()?;
            }
        }
        let disk = Self {
            space: *space,
            quantizer,
            codes,
            order,
            places,
            resident,
            scratch: Pool::new()?,
        };
        Ok((disk, shape))
    }

    /// Gives back memory that searches hand on to each other. Returns the bytes freed.
    pub(super) fn trim(&self) -> u64 {
        self.scratch.clear()
    }

    /// Bytes of memory held.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.quantizer.memory_bytes()
            + self.codes.memory_bytes()
            + self.order.memory_bytes()
            + 4 * self.places.capacity() as u64
            + self.resident.memory_bytes()
            + self.scratch.memory_bytes()
    }

    /// Walks from the entry and offers what it reads.
    pub(super) fn walk(&self, ask: &Ask<'_>, nearest: &mut Nearest, reader: Option<&dyn ReadAt>) -> Result<Cost> {
        self.with_scratch(ask, reader, |source, scratch, cost| {
            self.walk_with(source, ask, nearest, scratch, cost)
        })
    }

    /// Offers every accepted row.
    pub(super) fn scan(&self, ask: &Ask<'_>, nearest: &mut Nearest, reader: Option<&dyn ReadAt>) -> Result<Cost> {
        self.with_scratch(ask, reader, |source, scratch, cost| {
            self.scan_with(source, ask, nearest, scratch, cost)
        })
    }

    fn with_scratch(
        &self,
        ask: &Ask<'_>,
        reader: Option<&dyn ReadAt>,
        work: impl FnOnce(&Source<'_>, &mut Scratch, &mut Cost) -> Result,
    ) -> Result<Cost> {
        let Ask { shape, query, .. } = *ask;
        if query.space() != self.space {
            return Err(Error::Invalid("the query is of another space"));
        }
        let source = Source {
            shape,
            resident: &self.resident,
            reader,
        };
        let make = || -> Result<Scratch> {
            Ok(Scratch {
                visited: Visited::new(shape.rows)?,
                beam: Beam::new(),
                table: QueryScratch::new(&self.quantizer)?,
                blocks: Buffer::zeroed(HOP * shape.read_bytes())?,
                ids: Vec::new(),
                keys: Vec::new(),
            })
        };
        let mut cost = Cost::default();
        self.scratch.with(make, |scratch| work(&source, scratch, &mut cost))?;
        Ok(cost)
    }

    fn walk_with(
        &self,
        source: &Source<'_>,
        ask: &Ask<'_>,
        nearest: &mut Nearest,
        scratch: &mut Scratch,
        cost: &mut Cost,
    ) -> Result {
        let Ask {
            scope, query, width, ..
        } = *ask;
        let Scratch {
            visited,
            beam,
            table,
            blocks,
            ids,
            keys,
        } = scratch;
        let kernels = &scope.kernels;
        let table = self.quantizer.table(kernels, query, table)?;
        visited.clear();
        beam.reset(width)?;
        ids.clear();
        ids.push(source.shape.entry)?;
        visited.insert(source.shape.entry);
        let order = self.order.as_u32s();
        loop {
            keys.resize(ids.len(), 0)?;
            kernels
                .pq_gather(&table, &self.codes, source.shape.code_bytes, ids, keys)
                .map_err(|_| Error::Overflow)?;
            cost.codes += ids.len() as u64;
            for (key, number) in keys.iter().zip(ids.iter()) {
                if *key <= beam.limit() {
                    beam.offer(*key, *number);
                }
            }
            let mut picked = [0; HOP];
            let mut n = 0;
            for place in &mut picked {
                match beam.pop() {
                    Some(number) => *place = number,
                    None => break,
                }
                n += 1;
            }
            let picked = picked.get(..n).unwrap_or_default();
            if picked.is_empty() {
                return Ok(());
            }
            ids.clear();
            source.fetch(picked, blocks, cost, |number, record| {
                let row = order.get(number as usize).copied().unwrap_or(NONE);
                if scope.accepts(row) {
                    nearest.offer(compare(kernels, query, &record)?, row)?;
                }
                for neighbour in record.neighbours() {
                    if visited.insert(neighbour) {
                        ids.push(neighbour)?;
                    }
                }
                Ok(())
            })?;
            cost.hops += picked.len() as u64;
            cost.distances += picked.len() as u64;
            relax()?;
            if (scope.stop)() {
                cost.stopped = true;
                return Ok(());
            }
        }
    }

    fn scan_with(
        &self,
        source: &Source<'_>,
        ask: &Ask<'_>,
        nearest: &mut Nearest,
        scratch: &mut Scratch,
        cost: &mut Cost,
    ) -> Result {
        let Ask { scope, query, .. } = *ask;
        let Scratch { blocks, ids, .. } = scratch;
        let order = self.order.as_u32s();
        let mut rows = scope.accepted(source.shape.rows);
        loop {
            ids.clear();
            while ids.len() < HOP {
                let next = rows.next();
                let Some(row) = next else { break };
                ids.push(self.places.get(row as usize).copied().ok_or(Error::Overflow)?)?;
            }
            if ids.is_empty() {
                return Ok(());
            }
            source.fetch(ids, blocks, cost, |number, record| {
                let row = order.get(number as usize).copied().unwrap_or(NONE);
                nearest.offer(compare(&scope.kernels, query, &record)?, row)
            })?;
            cost.distances += ids.len() as u64;
            relax()?;
            if (scope.stop)() {
                cost.stopped = true;
                return Ok(());
            }
        }
    }
}

fn check_element(space: &Space) -> Result {
    if space.element() == Element::Binary {
        return Err(bad("vamana: product codes of binary vectors"));
    }
    Ok(())
}

/// Reads the records that are kept in memory.
fn read_resident(shape: &Shape, reader: Option<&dyn ReadAt>) -> Result<Buffer> {
    const PART: usize = 1 << 20;
    let mut resident = Buffer::zeroed(shape.records_len(shape.resident))?;
    let reader = reader.ok_or(bad("vamana: section missing"))?;
    let mut offset = 0;
    for data in resident.chunks_mut(PART) {
        let len = data.len() as u64;
        reader.read_many(&mut [Read { offset, data }])?;
        offset += len;
        relax()?;
    }
    Ok(resident)
}
