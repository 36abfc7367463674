// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The open index: lists, and the codes of what rows differ from their list's centroid.
//!
//! The pq index is the one with a single list. For l2 and cosine each row has a term besides its code, so that one
//! table serves all lists: with `c` the centroid and `s` the decoded residual,
//! `|q - c - s|^2 = |q - c|^2 - 2 <q, s> + (|s|^2 + 2 <c, s>)`, and only the middle part needs the table.

use super::scratch::Scratch;
use crate::index::take_section;
use crate::index::Build;
use crate::index::IndexKind;
use crate::index::IndexParams;
use crate::index::Kind;
use crate::index::Opening;
use crate::index::Section;
use crate::index::Sections;
use crate::indexes::ivf;
use crate::indexes::ivf::Lists;
use crate::kmeans::fits;
use crate::pool::Pool;
use vexfs_host::mem::Buffer;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd::quant::Book;
use vexfs_simd::quant::Pq;
use vexfs_simd::quant::RowTerms;
use vexfs_simd::quant::BLOCK;
use vexfs_simd::Space;
use zerocopy::little_endian::U32;
use zerocopy::FromBytes as _;
use zerocopy::FromZeros as _;
use zerocopy::IntoBytes as _;
use zerocopy_derive::*;

/// The shape: [`DiskShape`].
const SHAPE: u32 = 0x501;
/// The book, as panels.
const BOOK: u32 = 0x502;
/// The codes, in blocks.
const CODES: u32 = 0x503;
/// The terms, 16 bits a place, filled up to whole blocks.
const TERMS: u32 = 0x504;

#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
struct DiskShape {
    bytes: U32,
    bits: U32,
    term_min: U32,
    term_step: U32,
    reserved: [u8; 16],
}

/// An open index.
///
/// # Invariants
///
/// `book` has `pq.book_words()` words; `codes` has whole blocks, enough for all places, and `terms`, with l2, 2 bytes
/// for each place of them.
pub(crate) struct PqIndex {
    pub(super) pq: Pq,
    pub(super) lists: Lists,
    pub(super) book: Buffer,
    pub(super) codes: Buffer,
    pub(super) terms: Option<(RowTerms, Buffer)>,
    pub(super) scratch: Pool<Scratch>,
}

impl PqIndex {
    /// The shape of the codes that the parameters ask for.
    pub(super) fn shape(space: &Space, params: &IndexParams) -> Result<Pq> {
        let bits = match params.pq_bits {
            0 => super::DEFAULT_BITS,
            bits => bits as usize,
        };
        let bytes = match params.pq_bytes {
            0 => super::default_bytes(space.dim()),
            bytes => bytes as usize,
        };
        if bytes > Pq::SCAN_BYTES_MAX {
            return Err(Error::Invalid("a code that is scanned has at most 128 bytes"));
        }
        Pq::new(space.dim(), bytes, bits).ok_or(Error::Invalid("no such codes"))
    }

    /// The sections that [`open`](Self::open) takes.
    #[inline(never)] // own frame
    pub(super) fn into_sections(self) -> Result<Sections> {
        let mut sections = Sections::new();
        let mut shape = DiskShape::new_zeroed();
        shape.bytes.set(self.pq.code_bytes() as u32);
        shape.bits.set(self.pq.bits() as u32);
        self.lists.into_sections(&mut sections)?;
        if let Some((range, bytes)) = self.terms {
            shape.term_min.set(range.min);
            shape.term_step.set(range.step);
            sections.push(Section { kind: TERMS, bytes })?;
        }
        sections.push(Section {
            kind: SHAPE,
            bytes: Buffer::copy_of(shape.as_bytes())?,
        })?;
        for (kind, bytes) in [(BOOK, self.book), (CODES, self.codes)] {
            sections.push(Section { kind, bytes })?;
        }
        Ok(sections)
    }

    /// The centroids of all parts.
    pub(super) fn book(&self) -> Result<Book<'_>> {
        fits(Book::new(self.pq, self.book.as_u32s()))
    }
}

impl<R> Kind<R> for PqIndex {
    fn check(space: &Space, params: &IndexParams) -> Result {
        ivf::check(space)?;
        Self::shape(space, params).map(|_| ())
    }

    fn build(build: &Build<'_>) -> Result<Sections> {
        Self::of_rows(build)?.into_sections()
    }

    #[inline(never)] // own frame
    fn open(opening: Opening<'_, R>) -> Result<Self> {
        let damaged = || Error::corrupt("product codes are damaged", u64::MAX, 0);
        let Opening {
            space,
            count,
            params,
            mut sections,
            ..
        } = opening;
        let lists = Lists::open(space, count, &mut sections)?;
        let shape = take_section(&mut sections, SHAPE).ok_or_else(damaged)?;
        let book = take_section(&mut sections, BOOK).ok_or_else(damaged)?;
        let codes = take_section(&mut sections, CODES).ok_or_else(damaged)?;
        let shape = DiskShape::read_from_bytes(shape.as_bytes()).map_err(|_| damaged())?;
        let (bytes, bits) = (shape.bytes.get() as usize, shape.bits.get() as usize);
        let pq = Pq::new(space.dim(), bytes, bits).ok_or_else(damaged)?;
        let blocks = count.div_ceil(BLOCK);
        let range = RowTerms {
            min: shape.term_min.get(),
            step: shape.term_step.get(),
        };
        if shape.reserved != [0; 16]
            || bytes > Pq::SCAN_BYTES_MAX
            || (params.kind() == IndexKind::Pq && lists.count() != 1)
            || book.len() != pq.book_words() * 4
            || Some(codes.len()) != blocks.checked_mul(BLOCK * bytes)
        {
            return Err(damaged());
        }
        let mut terms = None;
        if lists.l2() {
            let bytes = take_section(&mut sections, TERMS).ok_or_else(damaged)?;
            if Some(bytes.len()) != blocks.checked_mul(BLOCK * 2) {
                return Err(damaged());
            }
            terms = Some((range, bytes));
        }
        Ok(Self {
            pq,
            lists,
            book,
            codes,
            terms,
            scratch: Pool::new()?,
        })
    }
}
