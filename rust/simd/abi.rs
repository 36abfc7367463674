// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What crosses between the float island and everybody else: raw words, never a float type.
//!
//! Both halves compile this file, so that the layout cannot drift. A float travels as the `u32` of its bits.

/// Squared Euclidean distance.
pub const L2: u32 = 0;
/// One minus the cosine of the angle.
pub const COSINE: u32 = 1;
/// The negated inner product.
pub const INNER_PRODUCT: u32 = 2;

/// One query against consecutive rows.
///
/// # Invariants
///
/// - `query` points to `dim` words; row `i` starts at `rows + i * stride` and has `dim` words; `stride >= dim >= 1`.
/// - `inv_norms` points to `count` words if `metric` is [`COSINE`], and is not read otherwise.
/// - `keys` points to `count` words, which the island writes and never reads.
/// - All values are finite floats.
#[repr(C)]
pub struct Batch {
    pub query: *const u32,
    pub rows: *const u32,
    pub inv_norms: *const u32,
    pub keys: *mut u32,
    pub dim: usize,
    pub stride: usize,
    pub count: usize,
    /// The query's inverse norm, if `metric` is [`COSINE`].
    pub query_inv_norm: u32,
    pub metric: u32,
}
