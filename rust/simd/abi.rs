// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What crosses between the hard-float object and everybody else: bytes and words, never a float type.
//!
//! Both halves compile this file, so that the layout cannot drift. A float travels as the `u32` of its bits.

/// IEEE 754 binary32.
pub const F32: u32 = 1;
/// IEEE 754 binary16.
pub const F16: u32 = 2;
/// The upper half of a binary32.
pub const BF16: u32 = 3;
/// Signed bytes.
pub const I8: u32 = 4;
/// Unsigned bytes.
pub const U8: u32 = 5;
/// Bits, the lowest of a byte first.
pub const BINARY: u32 = 6;
/// Codes of a byte a dimension, which stand for floats; see `codes.rs`. No element type of the user ABI has this
/// number.
pub const SQ8: u32 = 1 << 16;

/// Squared Euclidean distance.
pub const L2: u32 = 1;
/// One minus the cosine of the angle.
pub const COSINE: u32 = 2;
/// The negated inner product.
pub const INNER_PRODUCT: u32 = 3;
/// The number of differing bits.
pub const HAMMING: u32 = 4;

/// One query against some rows.
///
/// # Invariants
///
/// - `element` and `metric` are constants of this file that go together; `dim >= 1`, and a vector is `bytes` bytes
///   long.
/// - `query` points to a vector. Row `n` starts at `rows + n * stride`; `stride >= bytes`.
/// - Key `i < count` is of row `ids[i]`, or of row `i` if `ids` is null. All these rows are readable, and so are their
///   words in `inv_norms` if `metric` is [`COSINE`].
/// - `keys` points to `count` words, which the hard-float object writes and never reads.
/// - If `element` is [`SQ8`], a row is `dim` codes, and for [`L2`] four bytes of its term after them (both together are
///   `bytes`). `query` points to the weights of `dim` codes as the variant wants them, see `codes.rs`.
/// - Floats are finite, and unused bits of binary vectors zero. Nothing is aligned.
#[repr(C)]
pub struct Batch {
    pub query: *const u8,
    pub rows: *const u8,
    pub ids: *const u32,
    pub inv_norms: *const u32,
    pub keys: *mut u32,
    pub dim: usize,
    pub bytes: usize,
    pub stride: usize,
    pub count: usize,
    pub element: u32,
    pub metric: u32,
    /// The query's inverse norm, if `metric` is [`COSINE`].
    pub query_inv_norm: u32,
    /// If `element` is [`SQ8`].
    pub constants: Constants,
}

/// What a key of codes takes besides the sum of weights times codes: it is of `base + term + factor * (sum - bias)`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Constants {
    pub base: u32,
    pub factor: u32,
    pub bias: i32,
}

/// Bytes of parameters of a dimension of codes: two floats, while training the least and the largest value, later the
/// middle and the step.
pub const PARAM_BYTES: usize = 8;

/// Some rows of floats that codes are made of or learnt from, or that are converted.
///
/// # Invariants
///
/// - `params`, if codes are asked for, points to [`PARAM_BYTES`] for each of `dim` dimensions, which nobody else has
///   access to while training.
/// - Row `i < count` starts at `rows + i * stride` and has `dim` elements of the float type `element`.
/// - What is made of row `i` goes to `out + i * out_stride`: codes (`dim` bytes, and four more if `metric` is [`L2`]),
///   or elements of another type.
#[repr(C)]
pub struct Coding {
    pub params: *mut u8,
    pub rows: *const u8,
    pub out: *mut u8,
    pub dim: usize,
    pub stride: usize,
    pub out_stride: usize,
    pub count: usize,
    pub element: u32,
    pub metric: u32,
}
