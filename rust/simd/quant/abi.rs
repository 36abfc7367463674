// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What crosses between the quantizers' part of the hard-float object and everybody else: words and bytes, never a
//! float type.
//!
//! Both halves compile this file. A float travels as the `u32` (an `f64` as the `u64`) of its bits.
//!
//! A *panel* is 16 centroids side by side, so that one instruction compares a vector with all of them: word
//! `d * LANES + l` is element `d` of centroid `l`, and the last 16 words are half the squared norms. `panel_words`
//! words in all. Lanes without a centroid hold zeros and the half norm +infinity.

/// Centroids of a panel.
pub const LANES: usize = 16;
/// Rows of a block of codes.
pub const BLOCK: usize = 64;

/// AVX2 and FMA.
pub const AVX2: u32 = 1;
/// AVX-512 F, BW and VBMI.
pub const AVX512: u32 = 2;

/// Words of a panel of centroids of `dim` elements.
pub const fn panel_words(dim: usize) -> usize {
    (dim + 1) * LANES
}

/// Vectors of `f32`.
///
/// # Invariants
///
/// Vector `i < count` is the `dim` words at `words + i * stride`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Floats {
    pub words: *const u32,
    pub stride: usize,
    pub dim: usize,
    pub count: usize,
}

/// Rows to be turned into vectors of `f32`.
///
/// # Invariants
///
/// `element` is one of the types that are not binary; row `i < count` is the `dim` elements at `rows + i * stride`
/// bytes; `inv_norms` is null or points to `count` inverse norms; `out` to `count * out_stride` words, and
/// `dim <= out_stride`.
#[repr(C)]
pub struct Unpack {
    pub rows: *const u8,
    pub inv_norms: *const u32,
    pub out: *mut u32,
    pub element: u32,
    pub stride: usize,
    pub dim: usize,
    pub count: usize,
    pub out_stride: usize,
}

/// A search of the nearest centroid of each vector.
///
/// # Invariants
///
/// `panels` points to `count` panels of the vectors' dimension; `best` and `nearest` to a word a vector: the bits of
/// the lowest score so far and its centroid. The centroids of these panels are numbered from `first`, a multiple of
/// [`LANES`].
#[repr(C)]
pub struct Assign {
    pub vectors: Floats,
    pub panels: *const u32,
    pub count: usize,
    pub first: u32,
    pub best: *mut u32,
    pub nearest: *mut u32,
}

/// A scan of blocks of codes.
///
/// A block is the codes of [`BLOCK`] rows, transposed: byte `j * BLOCK + i` is byte `j` of the code of row `i`. With 8
/// bits, byte `j` is part `j` of the code; with 4 bits its low half is part `2 j` and its high half part `2 j + 1`.
///
/// # Invariants
///
/// - `codes` points to the block of row `first / BLOCK * BLOCK`, and the blocks up to that of row `first + count - 1`
///   follow it; `bytes` is 1 to 128.
/// - `table` points to a byte for each value of each part: `table[part << bits | value]`, such that no code sums to
///   more than 32,767, and with 4 bits no two parts of a byte to more than 255.
/// - `terms` is null or points to a word of 16 bits for each row of these blocks.
/// - `keys` and `rows` point to `count` words.
#[repr(C)]
pub struct Scan {
    pub codes: *const u8,
    pub table: *const u8,
    pub terms: *const u16,
    pub bytes: usize,
    pub bits: u32,
    /// Added to a sum: the upper half of the row's term times this.
    pub factor: u32,
    pub first: usize,
    pub count: usize,
    /// The key of the largest distance wanted. Some rows of a slightly larger one may be found.
    pub limit: u32,
    /// A distance is the sum times `step`, plus `base`, plus `list`; these are `f32`s.
    pub base: u32,
    pub list: u32,
    pub step: u32,
    /// The keys and numbers of the rows found, in the order of rows.
    pub keys: *mut u32,
    pub rows: *mut u32,
}

/// A look at the codes of some rows.
///
/// # Invariants
///
/// - Row `id`'s code is the `bytes` bytes at `codes + id * stride`; each id of the `count` ones is that of a row.
/// - `table` points to `bytes * 256 + 1` words of 16 bits.
/// - `keys` points to `count` words.
#[repr(C)]
pub struct Gather {
    pub codes: *const u8,
    pub table: *const u16,
    pub ids: *const u32,
    pub keys: *mut u32,
    pub bytes: usize,
    pub stride: usize,
    pub count: usize,
    pub base: u32,
    pub step: u32,
}

/// The making of a table for [`Scan`] or [`Gather`].
///
/// The value of centroid `c` of part `m` is its score for part `m` of the query, doubled if `l2`; without `norms`, the
/// half norm is not part of the score; with `norms` and `l2`, the query's squared norm is added to the base.
///
/// # Invariants
///
/// `query` points to `parts * part_dim` words, `book` to the panels of all parts (`1 << bits >> 4` panels a part);
/// `values` to `parts << bits` words; `parts` is even if `bits` is 4. `bytes` is null or points to as many bytes as
/// `values` has words; else `words` points to a table as [`Gather`] wants it.
#[repr(C)]
pub struct Table {
    pub query: *const u32,
    pub book: *const u32,
    pub values: *mut u32,
    pub bytes: *mut u8,
    pub words: *mut u16,
    pub parts: usize,
    pub part_dim: usize,
    pub bits: u32,
    pub l2: bool,
    pub norms: bool,
    /// The least term of a row and the difference of two of them, `f32`s; both zero if rows have no terms.
    pub term_min: u32,
    pub term_step: u32,
    /// The results: what [`Scan`] and [`Gather`] want.
    pub base: u32,
    pub step: u32,
    pub factor: u32,
}

/// The part of the distance that the query's inner product with a row's code does not have.
///
/// # Invariants
///
/// `residuals` are what was encoded, `parts * part_dim` elements each; `codes` points to `parts` words a row, `book` to
/// the panels of all parts, `terms` to a word a row, `lists` to a word a row, a centroid of `centroids`, panels of
/// `dim` elements.
#[repr(C)]
pub struct Terms {
    pub residuals: Floats,
    pub codes: *const u32,
    pub book: *const u32,
    pub lists: *const u32,
    pub centroids: *const u32,
    pub terms: *mut u32,
    pub parts: usize,
    pub part_dim: usize,
    pub dim: usize,
    pub bits: u32,
}
