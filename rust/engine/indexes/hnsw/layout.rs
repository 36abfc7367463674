// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The sections of a graph and their check.
//!
//! `docs/format-collections.md` has every byte. Level 0 is one record a row: its neighbours, then its code if there is
//! one, so that the lines of a node lie together. The levels above have a list of rows and one of neighbours each, by
//! places in their own level; they are small.

use super::beam::NODES_MAX;
use super::codes::Coding;
use super::levels::LEVELS_MAX;
use super::visited::Visited;
use super::walk::Layer;
use crate::index::take_section;
use crate::index::Build;
use crate::index::Codes;
use crate::index::Section;
use crate::index::Sections;
use vexfs_host::mem::Buffer;
use vexfs_host::mem::Vec;
use vexfs_host::relax;
use vexfs_host::Error;
use vexfs_host::Result;

/// The head: what the other sections look like.
pub(super) const HEAD: u32 = 0x301;
/// Level 0.
pub(super) const RECORDS: u32 = 0x302;
/// The levels above.
pub(super) const UPPER: u32 = 0x303;
/// What the codes are made with; absent if that is nothing.
pub(super) const CODES: u32 = 0x304;

/// Fills a list behind its last neighbour.
pub(super) const NONE: u32 = u32::MAX;
/// Bytes of a cache line.
const LINE: usize = 64;

const VERSION: u32 = 1;
const HEAD_WORDS: usize = 32;
/// The head's words with the number of nodes of each level.
const HEAD_NODES: usize = 16;

fn corrupt(what: &'static str) -> Error {
    Error::corrupt(what, u64::MAX, 0)
}

/// The sizes of a graph's lists.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Shape {
    /// Neighbours above level 0.
    pub(super) m: usize,
    /// Bytes of a record of level 0.
    pub(super) record_bytes: usize,
    pub(super) codes: Codes,
}

impl Shape {
    /// Records have room for codes of `code_bytes`; those with codes are whole cache lines.
    pub(super) fn new(m: usize, codes: Codes, code_bytes: usize) -> Self {
        let links = 8 * m;
        Self {
            m,
            record_bytes: match code_bytes {
                0 => links,
                _ => links.saturating_add(code_bytes).next_multiple_of(LINE),
            },
            codes,
        }
    }

    /// Neighbours of a node.
    pub(super) fn degree(&self, level: usize) -> usize {
        if level == 0 {
            2 * self.m
        } else {
            self.m
        }
    }

    /// Where a record's code begins.
    pub(super) fn code_at(&self) -> usize {
        8 * self.m
    }
}

/// A level above 0, as words of the section.
struct Span {
    rows: core::ops::Range<usize>,
    links: core::ops::Range<usize>,
}

/// A finished graph.
///
/// # Invariants
///
/// All neighbours are nodes of their level, and each node of a level is also one of the level below.
pub(super) struct Graph {
    pub(super) shape: Shape,
    pub(super) count: usize,
    pub(super) entry: u32,
    pub(super) records: Buffer,
    /// What the codes are made with.
    pub(super) params: Buffer,
    upper: Buffer,
    spans: Vec<Span>,
}

impl Graph {
    /// Puts the parts together; `nodes` are the numbers of nodes of the levels above 0.
    pub(super) fn new(shape: Shape, entry: u32, records: Buffer, upper: Buffer, nodes: &[usize]) -> Result<Self> {
        let count = records.len().checked_div(shape.record_bytes).unwrap_or(0);
        if count.checked_mul(shape.record_bytes) != Some(records.len()) {
            return Err(corrupt("the records of a graph are cut off"));
        }
        let mut spans = Vec::new();
        let mut at = 0usize;
        for nodes in nodes {
            let rows_end = at.checked_add(*nodes);
            let end = nodes
                .checked_mul(shape.m)
                .and_then(|links| rows_end?.checked_add(links));
            let (Some(rows_end), Some(end)) = (rows_end, end) else {
                return Err(corrupt("a graph's level is too large"));
            };
            spans.push(Span {
                rows: at..rows_end,
                links: rows_end..end,
            })?;
            at = end;
        }
        if at.checked_mul(4) != Some(upper.len()) {
            return Err(corrupt("the upper levels of a graph have a wrong length"));
        }
        Ok(Self {
            shape,
            count,
            entry,
            records,
            params: Buffer::default(),
            upper,
            spans,
        })
    }

    /// Writes the codes of the rows into the records.
    #[inline(never)] // own frame
    pub(super) fn encode(&mut self, b: &Build<'_>, coding: &Coding) -> Result {
        let Shape { record_bytes, .. } = self.shape;
        let offset = self.shape.code_at();
        self.params = coding.encode(b.kernels, &b.rows, &mut self.records, record_bytes, offset)?;
        Ok(())
    }

    /// The number of levels, with level 0.
    pub(super) fn levels(&self) -> usize {
        self.spans.len() + 1
    }

    /// Level 0.
    #[inline]
    pub(super) fn base(&self) -> Base<'_> {
        Base {
            words: self.records.as_u32s(),
            stride: self.shape.record_bytes / 4,
            degree: self.shape.degree(0),
        }
    }

    /// The words of a row's list at level 0.
    pub(super) fn list_mut(&mut self, row: u32) -> Option<&mut [u32]> {
        let start = (row as usize).checked_mul(self.shape.record_bytes / 4)?;
        let end = start.checked_add(self.shape.degree(0))?;
        self.records.as_u32s_mut().get_mut(start..end)
    }

    /// A level above 0.
    pub(super) fn upper(&self, level: usize) -> Option<Upper<'_>> {
        let span = self.spans.get(level.checked_sub(1)?)?;
        let words = self.upper.as_u32s();
        Some(Upper {
            rows: words.get(span.rows.clone())?,
            links: words.get(span.links.clone())?,
            degree: self.shape.m,
        })
    }

    /// The sections.
    #[inline(never)] // own frame
    pub(super) fn into_sections(self) -> Result<Sections> {
        let mut head = Buffer::zeroed(4 * HEAD_WORDS)?;
        let fields = [
            VERSION,
            self.shape.m as u32,
            self.count as u32,
            self.levels() as u32,
            self.entry,
            self.shape.codes as u32,
            self.shape.record_bytes as u32,
        ];
        let words = head.as_u32s_mut();
        for (word, field) in words.iter_mut().zip(fields) {
            *word = field;
        }
        let nodes = core::iter::once(self.count).chain(self.spans.iter().map(|span| span.rows.len()));
        for (word, nodes) in words.iter_mut().skip(HEAD_NODES).zip(nodes) {
            *word = nodes as u32;
        }
        let mut sections = Vec::new();
        for (kind, bytes) in [
            (HEAD, head),
            (RECORDS, self.records),
            (UPPER, self.upper),
            (CODES, self.params),
        ] {
            if kind != CODES || !bytes.is_empty() {
                sections.push(Section { kind, bytes })?;
            }
        }
        Ok(sections)
    }

    /// Reads the sections of a graph of `count` rows and checks every word of them.
    #[inline(never)] // own frame
    pub(super) fn open(count: usize, shape: Shape, coding: &Coding, sections: &mut Sections) -> Result<Self> {
        let head = take_section(sections, HEAD).ok_or(corrupt("a graph has no head"))?;
        let records = take_section(sections, RECORDS).ok_or(corrupt("a graph has no records"))?;
        let upper = take_section(sections, UPPER).ok_or(corrupt("a graph has no upper levels"))?;
        let Ok(head) = <&[u32; HEAD_WORDS]>::try_from(head.as_u32s()) else {
            return Err(corrupt("the head of a graph has a wrong length"));
        };
        let [version, m, rows, levels, entry, codes, record_bytes, ..] = *head;
        let known = version == VERSION
            && m as usize == shape.m
            && rows as usize == count
            && count < NODES_MAX
            && codes == shape.codes as u32
            && record_bytes as usize == shape.record_bytes
            && (1..=LEVELS_MAX as u32).contains(&levels)
            && head.iter().take(HEAD_NODES).skip(7).all(|word| *word == 0)
            && head.get(HEAD_NODES).copied() == Some(rows);
        if !known {
            return Err(corrupt("the head of a graph does not fit its segment"));
        }
        let mut nodes = Vec::new();
        for (i, word) in head.iter().skip(HEAD_NODES + 1).enumerate() {
            if i + 1 < levels as usize {
                nodes.push(*word as usize)?;
            } else if *word != 0 {
                return Err(corrupt("a graph has nodes above its levels"));
            }
        }
        let mut graph = Self::new(shape, entry, records, upper, &nodes)?;
        if graph.count != count {
            return Err(corrupt("the records of a graph have a wrong length"));
        }
        graph.params = take_section(sections, CODES).unwrap_or_default();
        graph.check()?;
        graph.check_codes(coding)?;
        Ok(graph)
    }

    /// Checks all lists.
    fn check(&self) -> Result {
        let base = self.base();
        if self.count > 0 && self.entry as usize >= self.count {
            return Err(corrupt("a graph's entry is no row"));
        }
        for node in 0..self.count {
            check_list(base.list(node as u32), node, self.count)?;
            if node % 4096 == 0 {
                relax()?;
            }
        }
        let mut below: Option<Upper<'_>> = None;
        for level in 1..self.levels() {
            let upper = self.upper(level).ok_or(corrupt("a graph's level is missing"))?;
            if upper.rows.is_empty() {
                return Err(corrupt("a level of a graph is empty"));
            }
            let mut last = None;
            for (node, row) in upper.rows.iter().enumerate() {
                let in_order = last.is_none_or(|last| last < *row);
                let is_below = match &below {
                    Some(below) => below.rows.binary_search(row).is_ok(),
                    None => (*row as usize) < self.count,
                };
                if !in_order || !is_below {
                    return Err(corrupt("a level of a graph has a wrong row"));
                }
                last = Some(*row);
                check_list(upper.list(node as u32), node, upper.rows.len())?;
                if node % 4096 == 0 {
                    relax()?;
                }
            }
            below = Some(upper);
        }
        if below.is_some_and(|top| top.rows.binary_search(&self.entry).is_err()) {
            return Err(corrupt("a graph's entry is not at its top"));
        }
        Ok(())
    }

    /// Checks all codes.
    fn check_codes(&self, coding: &Coding) -> Result {
        if !coding.check_params(&self.params) {
            return Err(corrupt("the parameters of a graph's codes are none"));
        }
        let (start, end) = (
            self.shape.code_at(),
            self.shape.code_at().saturating_add(coding.code_bytes()),
        );
        for (row, record) in self.records.chunks(self.shape.record_bytes.max(1)).enumerate() {
            let valid = record.get(start..end).is_some_and(|code| coding.check_code(code))
                && record.get(end..).is_some_and(|rest| rest.iter().all(|byte| *byte == 0));
            if !valid {
                return Err(corrupt("a code in a graph is none"));
            }
            if row % 256 == 0 {
                relax()?;
            }
        }
        Ok(())
    }

    /// Bytes of memory held.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.records.memory_bytes() + self.upper.memory_bytes() + self.params.memory_bytes()
    }
}

/// Checks that a node's neighbours exist, are not the node itself, and that nothing is behind them.
fn check_list(list: &[u32], node: usize, count: usize) -> Result {
    let mut ended = false;
    for link in list {
        let valid = if *link == NONE {
            ended = true;
            true
        } else {
            !ended && (*link as usize) < count && *link as usize != node
        };
        if !valid {
            return Err(corrupt("a neighbour in a graph is no node"));
        }
    }
    Ok(())
}

/// Level 0 of a finished graph.
#[derive(Clone, Copy)]
pub(super) struct Base<'a> {
    words: &'a [u32],
    stride: usize,
    degree: usize,
}

/// A level above it.
#[derive(Clone, Copy)]
pub(super) struct Upper<'a> {
    pub(super) rows: &'a [u32],
    links: &'a [u32],
    degree: usize,
}

impl<'a> Base<'a> {
    /// The words of a node's list.
    #[inline]
    pub(super) fn list(&self, node: u32) -> &'a [u32] {
        let start = (node as usize).saturating_mul(self.stride);
        self.words
            .get(start..start.saturating_add(self.degree))
            .unwrap_or_default()
    }
}

impl<'a> Upper<'a> {
    /// The words of a node's list.
    #[inline]
    pub(super) fn list(&self, node: u32) -> &'a [u32] {
        let start = (node as usize).saturating_mul(self.degree);
        self.links
            .get(start..start.saturating_add(self.degree))
            .unwrap_or_default()
    }

    /// The place of a row of this level.
    pub(super) fn node(&self, row: u32) -> Option<u32> {
        self.rows.binary_search(&row).ok().map(|node| node as u32)
    }
}

/// Copies those of a list's nodes that were not met.
#[inline]
fn fresh_of(list: &[u32], visited: &mut Visited, fresh: &mut [u32]) -> usize {
    let mut count = 0;
    for link in list {
        if *link == NONE {
            break;
        }
        if let Some(place) = fresh.get_mut(count) {
            *place = *link;
            count += usize::from(visited.insert(*link));
        }
    }
    count
}

impl Layer for Base<'_> {
    #[inline]
    fn fresh(&self, node: u32, visited: &mut Visited, fresh: &mut [u32]) -> usize {
        fresh_of(self.list(node), visited, fresh)
    }

    #[inline]
    fn prefetch(&self, node: u32) {
        for line in self.list(node).chunks(16) {
            if let Some(first) = line.first() {
                vexfs_simd::prefetch(first);
            }
        }
    }

    fn rows(&self) -> Option<&[u32]> {
        None
    }
}

impl Layer for Upper<'_> {
    #[inline]
    fn fresh(&self, node: u32, visited: &mut Visited, fresh: &mut [u32]) -> usize {
        fresh_of(self.list(node), visited, fresh)
    }

    #[inline]
    fn prefetch(&self, node: u32) {
        if let Some(first) = self.list(node).first() {
            vexfs_simd::prefetch(first);
        }
    }

    fn rows(&self) -> Option<&[u32]> {
        Some(self.rows)
    }
}
