// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Views of rows and queries in their owners' buffers.

use crate::space::Space;
use core::ops::Range;

/// The shapes of the arguments do not fit together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ShapeMismatch;

/// A query with its norm.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    pub(crate) space: Space,
    pub(crate) bytes: &'a [u8],
    pub(crate) inv_norm: u32,
}

impl<'a> Query<'a> {
    /// What its vector is of.
    pub fn space(&self) -> Space {
        self.space
    }

    /// Its vector.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// Rows of one space in one buffer.
///
/// # Invariants
///
/// `space.row_bytes() <= stride`, and row `i < count` is `bytes[i * stride..][..space.row_bytes()]`; `norms` has one
/// word a row if the space needs norms, and none otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) norms: &'a [u32],
    pub(crate) stride: usize,
    count: usize,
    space: Space,
}

impl<'a> Rows<'a> {
    /// `count` rows, each starting `stride` bytes after the one before. `norms` are what [`Kernels::inv_norms`] writes,
    /// if the space needs them, else empty.
    ///
    /// [`Kernels::inv_norms`]: crate::Kernels::inv_norms
    ///
    /// # Errors
    ///
    /// The rows do not lie in `bytes` or overlap, or there are norms and should not be, or another number of them.
    pub fn new(
        space: &Space,
        bytes: &'a [u8],
        stride: usize,
        count: usize,
        norms: &'a [u32],
    ) -> Result<Self, ShapeMismatch> {
        let (len, norms_needed) = (space.row_bytes(), if space.needs_norms() { count } else { 0 });
        if stride < len || norms.len() != norms_needed {
            return Err(ShapeMismatch);
        }
        if let Some(before_last) = count.checked_sub(1) {
            let end = before_last.checked_mul(stride).and_then(|start| start.checked_add(len));
            if end.is_none_or(|end| end > bytes.len()) {
                return Err(ShapeMismatch);
            }
        }
        Ok(Self {
            bytes,
            norms,
            stride,
            count,
            space: *space,
        })
    }

    /// What the rows are of.
    pub fn space(&self) -> Space {
        self.space
    }

    /// The number of rows.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Bytes from the start of a row to the next.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// The vector of a row.
    #[inline]
    pub fn row(&self, i: usize) -> Option<&'a [u8]> {
        if i >= self.count {
            return None;
        }
        let start = i.checked_mul(self.stride)?;
        self.bytes.get(start..start.checked_add(self.space.row_bytes())?)
    }

    /// A row as a query, with its stored norm.
    #[inline]
    pub fn query(&self, i: usize) -> Option<Query<'a>> {
        Some(Query {
            space: self.space,
            bytes: self.row(i)?,
            inv_norm: self.norms.get(i).copied().unwrap_or(0),
        })
    }

    /// The inverse norm of a row, if the space needs norms.
    #[inline]
    pub fn norm(&self, i: usize) -> Option<u32> {
        self.norms.get(i).copied()
    }

    /// Some of the rows; `None` if the range is not within them.
    pub fn slice(&self, range: Range<usize>) -> Option<Self> {
        let count = range.end.checked_sub(range.start)?;
        if range.end > self.count {
            return None;
        }
        let bytes = match count {
            0 => &[],
            _ => self.bytes.get(range.start.checked_mul(self.stride)?..)?,
        };
        let norms = if self.space.needs_norms() {
            self.norms.get(range)?
        } else {
            &[]
        };
        Some(Self {
            bytes,
            norms,
            count,
            ..*self
        })
    }
}
