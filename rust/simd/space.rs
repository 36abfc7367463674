// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What vectors are made of, how they are compared, and which are acceptable.

use crate::abi;

/// The largest dimension of a [`Space`]: sums of so many products of bytes fit an `i32`.
pub const DIM_MAX: usize = 32 * 1024;

/// The type of a vector's elements; the numbers are those of the kernel interface.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum Element {
    /// IEEE 754 binary32, little-endian.
    F32 = abi::F32,
    /// IEEE 754 binary16, little-endian.
    F16 = abi::F16,
    /// The upper half of a binary32, little-endian.
    Bf16 = abi::BF16,
    /// Signed bytes.
    I8 = abi::I8,
    /// Unsigned bytes.
    U8 = abi::U8,
    /// Bits: bit `i` is bit `i % 8` of byte `i / 8`; those that fill the last byte are zero.
    Binary = abi::BINARY,
}

impl Element {
    /// Bytes of a vector of `dim` elements.
    pub fn row_bytes(self, dim: usize) -> usize {
        match self {
            Self::F32 => dim.saturating_mul(4),
            Self::F16 | Self::Bf16 => dim.saturating_mul(2),
            Self::I8 | Self::U8 => dim,
            Self::Binary => dim.div_ceil(8),
        }
    }

    /// Whether the elements are floats.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::Bf16)
    }
}

/// How two vectors are compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum Metric {
    /// Squared Euclidean distance.
    L2 = abi::L2,
    /// One minus the cosine; vectors must not be zero.
    Cosine = abi::COSINE,
    /// The negated inner product.
    InnerProduct = abi::INNER_PRODUCT,
    /// The number of differing bits, of binary vectors only.
    Hamming = abi::HAMMING,
}

/// Why a vector is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BadVector {
    /// Its length is not that of the space's vectors.
    Length,
    /// An element is NaN or infinite.
    NotFinite,
    /// All elements are zero, and the metric needs a direction.
    Zero,
    /// A bit beyond the dimension of a binary vector is set.
    PadBits,
}

/// An element type, a metric and a dimension that go together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Space {
    element: Element,
    metric: Metric,
    dim: u32,
}

impl Space {
    /// `None` if `dim` is not in `1..=DIM_MAX`, or only one of element and metric is for binary vectors.
    pub fn new(element: Element, metric: Metric, dim: usize) -> Option<Self> {
        let binary = element == Element::Binary;
        let fits = (1..=DIM_MAX).contains(&dim) && binary == (metric == Metric::Hamming);
        fits.then_some(Self {
            element,
            metric,
            dim: dim as u32,
        })
    }

    /// The type of the elements.
    pub fn element(&self) -> Element {
        self.element
    }

    /// How vectors are compared.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// Elements of a vector.
    pub fn dim(&self) -> usize {
        self.dim as usize
    }

    /// Bytes of a vector.
    pub fn row_bytes(&self) -> usize {
        self.element.row_bytes(self.dim())
    }

    /// Whether comparing takes the rows' inverse norms.
    pub fn needs_norms(&self) -> bool {
        self.metric == Metric::Cosine
    }

    /// Checks that a vector can be a row or a query.
    ///
    /// # Errors
    ///
    /// See [`BadVector`].
    pub fn check(&self, row: &[u8]) -> Result<(), BadVector> {
        if row.len() != self.row_bytes() {
            return Err(BadVector::Length);
        }
        let zero = match self.element {
            Element::F32 => {
                let (mut any, mut bad) = (0, false);
                for bytes in row.chunks_exact(4) {
                    let bits = <[u8; 4]>::try_from(bytes).map_or(0, u32::from_le_bytes);
                    any |= bits & 0x7fff_ffff;
                    bad |= bits & 0x7f80_0000 == 0x7f80_0000;
                }
                if bad {
                    return Err(BadVector::NotFinite);
                }
                any == 0
            }
            Element::F16 => half_is_zero(row, 0x7c00)?,
            Element::Bf16 => half_is_zero(row, 0x7f80)?,
            Element::I8 | Element::U8 => row.iter().all(|byte| *byte == 0),
            Element::Binary => {
                let used = self.dim() % 8;
                let pad = row.last().map_or(0, |last| last >> used);
                if used != 0 && pad != 0 {
                    return Err(BadVector::PadBits);
                }
                false
            }
        };
        if zero && self.needs_norms() {
            return Err(BadVector::Zero);
        }
        Ok(())
    }
}

/// Whether all elements of 16 bits are zero; `exponent` is the mask that is full in infinities and NaNs.
fn half_is_zero(row: &[u8], exponent: u16) -> Result<bool, BadVector> {
    let (mut any, mut bad) = (0, false);
    for bytes in row.chunks_exact(2) {
        let bits = <[u8; 2]>::try_from(bytes).map_or(0, u16::from_le_bytes);
        any |= bits & 0x7fff;
        bad |= bits & exponent == exponent;
    }
    if bad {
        return Err(BadVector::NotFinite);
    }
    Ok(any == 0)
}
