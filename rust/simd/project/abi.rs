// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What crosses between the projections' part of the hard-float object and everybody else. Both halves compile this
//! file.

/// Rounds of signs and Hadamard transform.
pub(super) const ROUNDS: usize = 3;

/// Rows to be projected.
///
/// # Invariants
///
/// - `rows` points to `count` rows of `dim` elements of type `element`, `stride` bytes apart; `norms` is null or points
///   to `count` words, `out` to `count * outputs` words.
/// - `width` is a power of two, at least 8, at least `dim`, and more than `dim` if `lengthen` is not 0; `scratch`
///   points to `width` words and `signs` to `ROUNDS * width` for each `width` outputs or part of them: 0 or the sign
///   bit.
#[repr(C)]
pub(super) struct Project {
    pub(super) rows: *const u8,
    pub(super) norms: *const u32,
    pub(super) signs: *const u32,
    pub(super) scratch: *mut u32,
    pub(super) out: *mut i32,
    pub(super) stride: usize,
    pub(super) dim: usize,
    pub(super) width: usize,
    pub(super) outputs: usize,
    pub(super) count: usize,
    pub(super) element: u32,
    /// `f32` that elements are multiplied by.
    pub(super) scale: u32,
    /// Whether one more element makes all rows `length` long, an `f32`.
    pub(super) lengthen: u32,
    pub(super) length: u32,
}

/// Bytes of a sketch.
pub(super) const SKETCH: usize = 32;

/// A search of sketches that differ in few bits.
///
/// # Invariants
///
/// - `query` points to [`SKETCH`] bytes, and sketch `i` is so many bytes at `sketches + i * SKETCH`.
/// - `ids` is null, and there are sketches `first .. first + count`; or it points to `count` numbers of sketches.
/// - `rows` and `distances` point to `count` words.
#[repr(C)]
pub(super) struct Sketches {
    pub(super) sketches: *const u8,
    pub(super) query: *const u8,
    pub(super) ids: *const u32,
    pub(super) rows: *mut u32,
    pub(super) distances: *mut u32,
    pub(super) first: usize,
    pub(super) count: usize,
    /// Sketches at a greater distance are left out.
    pub(super) limit: u32,
}
