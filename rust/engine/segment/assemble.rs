// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Putting the rows of a new segment together from those of others and of the tail.

use super::column::Column;
use super::format::kind;
use crate::bits::Bits;
use crate::fields::Payloads;
use crate::heap;
use crate::index::Section;
use crate::index::Sections;
use crate::limits::ROWS_MAX;
use crate::tail::TailRows;
use vexfs_host::mem::Buffer;
use vexfs_host::mem::Vec;
use vexfs_host::relax;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd::Rows;
use vexfs_simd::Space;

/// Rows handled between two cooperative points.
const STRETCH: usize = 256;

/// Rows that go into a segment. Those of all sources together have different ids.
pub(crate) enum Source<'a> {
    /// The rows of a segment that are not dead.
    Segment {
        ids: &'a [u64],
        rows: Rows<'a>,
        column: Column,
        dead: Option<&'a Bits>,
    },
    /// Rows of the tail: ids and row numbers, ascending.
    Tail { rows: &'a TailRows, order: Vec<(u64, u32)> },
}

impl<'a> Source<'a> {
    /// The live rows of a tail.
    pub(crate) fn tail(rows: &'a TailRows) -> Result<Self> {
        let mut order = Vec::with_capacity(rows.live())?;
        let mut ascending = true;
        let mut last = None;
        for row in 0..rows.count() as u32 {
            if let Some((id, 0)) = rows.identity(row) {
                ascending &= last < Some(id);
                last = Some(id);
                order.push((id, row))?;
            }
            if row as usize % (1 << 14) == 0 {
                relax()?;
            }
        }
        if !ascending {
            heap::sort(&mut order);
        }
        Ok(Self::Tail { rows, order })
    }

    /// The first live row at or behind place `at`: its place, id and number.
    fn next(&self, at: usize) -> Option<(usize, u64, u32)> {
        match self {
            Source::Tail { order, .. } => order.get(at).map(|(id, row)| (at, *id, *row)),
            Source::Segment { ids, dead: None, .. } => ids.get(at).map(|id| (at, *id, at as u32)),
            Source::Segment {
                ids, dead: Some(dead), ..
            } => {
                let rest = ids.get(at..)?;
                let mut rows = rest.iter().zip(at..);
                let (id, row) = rows.find(|(_, row)| !dead.get(*row as u32))?;
                Some((row, *id, row as u32))
            }
        }
    }

    fn live(&self) -> usize {
        match self {
            Source::Tail { order, .. } => order.len(),
            Source::Segment { ids, dead, .. } => ids.len().saturating_sub(dead.map_or(0, Bits::count)),
        }
    }

    fn vector(&self, row: u32) -> Option<&[u8]> {
        match self {
            Source::Tail { rows, .. } => rows.vector(row),
            Source::Segment { rows, .. } => rows.row(row as usize),
        }
    }

    fn norm(&self, row: u32) -> Option<u32> {
        match self {
            Source::Tail { rows, .. } => rows.norm(row),
            Source::Segment { rows, .. } => rows.norm(row as usize),
        }
    }

    fn payload(&self, row: u32) -> Option<&[u8]> {
        match self {
            Source::Tail { rows, .. } => rows.payload(row),
            Source::Segment { column, .. } => Some(column.get(row)),
        }
    }
}

/// The rows of a new segment.
pub(crate) struct Material {
    pub(crate) ids: Buffer,
    pub(crate) vectors: Buffer,
    pub(crate) norms: Buffer,
    ends: Buffer,
    payloads: Buffer,
    has_payloads: bool,
}

impl Material {
    /// The number of rows.
    pub(crate) fn count(&self) -> usize {
        self.ids.as_u64s().len()
    }

    /// The vectors.
    pub(crate) fn rows(&self, space: &Space) -> Result<Rows<'_>> {
        Rows::new(
            space,
            &self.vectors,
            space.row_bytes(),
            self.count(),
            self.norms.as_u32s(),
        )
        .map_err(|_| Error::Invalid("vectors of another dimension"))
    }

    pub(super) fn into_sections(self) -> Result<Sections> {
        let mut sections = Sections::new();
        let mut add = |kind, bytes| sections.push(Section { kind, bytes });
        add(kind::IDS, self.ids)?;
        add(kind::VECTORS, self.vectors)?;
        if !self.norms.is_empty() {
            add(kind::NORMS, self.norms)?;
        }
        if self.has_payloads {
            add(kind::PAYLOAD_ENDS, self.ends)?;
            add(kind::PAYLOADS, self.payloads)?;
        }
        Ok(sections)
    }
}

impl Payloads for Material {
    fn payload<'a>(&'a self, row: u32, _room: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        if !self.has_payloads {
            return Ok(&[]);
        }
        let (start, end) = super::column::bounds(self.ends.as_u64s(), row);
        Ok(self.payloads.get(start..end).unwrap_or_default())
    }
}

/// A row of a source.
#[derive(Clone, Copy)]
struct Pick {
    source: u32,
    row: u32,
}

/// The live rows of all sources in the order of their ids, and the bytes of their payloads.
fn pick(sources: &[Source<'_>]) -> Result<(Vec<Pick>, usize)> {
    let count = sources
        .iter()
        .fold(0usize, |sum, source| sum.saturating_add(source.live()));
    if count > ROWS_MAX {
        return Err(Error::TooBig("rows of a segment"));
    }
    let mut picks = Vec::with_capacity(count)?;
    let mut payload_bytes = 0usize;
    // The next row of each source that has one: id, place behind it, source and row.
    let mut heads: Vec<(u64, usize, Pick)> = Vec::with_capacity(sources.len())?;
    for (i, source) in sources.iter().enumerate() {
        if let Some((at, id, row)) = source.next(0) {
            let pick = Pick { source: i as u32, row };
            heads.push((id, at + 1, pick))?;
        }
    }
    while let Some((least, head)) = heads.iter_mut().enumerate().min_by_key(|(_, head)| head.0) {
        let pick = head.2;
        let source = sources.get(pick.source as usize).ok_or(Error::Overflow)?;
        picks.push(pick)?;
        payload_bytes = payload_bytes.saturating_add(source.payload(pick.row).map_or(0, <[u8]>::len));
        match source.next(head.1) {
            Some((at, id, row)) => *head = (id, at + 1, Pick { row, ..pick }),
            None => drop(heads.remove(least)),
        }
        if picks.len() % STRETCH == 0 {
            relax()?;
        }
    }
    Ok((picks, payload_bytes))
}

/// Copies the live rows of the sources, in the order of their ids.
///
/// For source `base` the new number of each of its rows is returned too, `u32::MAX` for the dead ones.
#[inline(never)] // own frame
pub(crate) fn assemble(space: &Space, sources: &[Source<'_>], base: Option<usize>) -> Result<(Material, Vec<u32>)> {
    let (picks, payload_bytes) = pick(sources)?;
    let (count, len) = (picks.len(), space.row_bytes());
    let bytes = |each: usize| count.checked_mul(each).ok_or(Error::NoMemory);
    let mut material = Material {
        ids: Buffer::zeroed(bytes(8)?)?,
        vectors: Buffer::zeroed(bytes(len)?)?,
        norms: Buffer::zeroed(if space.needs_norms() { bytes(4)? } else { 0 })?,
        ends: Buffer::zeroed(if payload_bytes > 0 { bytes(8)? } else { 0 })?,
        payloads: Buffer::zeroed(payload_bytes)?,
        has_payloads: payload_bytes > 0,
    };
    let mut map = Vec::new();
    if let Some(Source::Segment { ids, .. }) = base.and_then(|base| sources.get(base)) {
        map.resize(ids.len(), u32::MAX)?;
    }
    let gone = Error::Invalid("no such row");
    let mut payload_end = 0usize;
    for (i, pick) in picks.iter().enumerate() {
        let source = sources.get(pick.source as usize).ok_or(gone)?;
        let id = match source {
            Source::Segment { ids, .. } => ids.get(pick.row as usize).copied(),
            Source::Tail { rows, .. } => rows.identity(pick.row).map(|(id, _)| id),
        };
        *material.ids.as_u64s_mut().get_mut(i).ok_or(gone)? = id.ok_or(gone)?;
        let vector = source.vector(pick.row).filter(|vector| vector.len() == len);
        let to = material.vectors.as_bytes_mut().get_mut(i * len..(i + 1) * len);
        to.ok_or(gone)?.copy_from_slice(vector.ok_or(gone)?);
        if space.needs_norms() {
            let norm = source.norm(pick.row).ok_or(gone)?;
            *material.norms.as_u32s_mut().get_mut(i).ok_or(gone)? = norm;
        }
        if payload_bytes > 0 {
            let payload = source.payload(pick.row).ok_or(gone)?;
            let end = payload_end.saturating_add(payload.len());
            let to = material.payloads.as_bytes_mut().get_mut(payload_end..end);
            to.ok_or(gone)?.copy_from_slice(payload);
            payload_end = end;
            *material.ends.as_u64s_mut().get_mut(i).ok_or(gone)? = end as u64;
        }
        if base == Some(pick.source as usize) {
            *map.get_mut(pick.row as usize).ok_or(gone)? = i as u32;
        }
        if i % STRETCH == STRETCH - 1 {
            relax()?;
        }
    }
    Ok((material, map))
}
