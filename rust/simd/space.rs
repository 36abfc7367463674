// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What vectors are made of, how they are compared, and which are acceptable.

use crate::abi;
use vexfs_uapi::Element;
use vexfs_uapi::Metric;

/// The largest dimension of a [`Space`]: sums of so many products of bytes fit an `i32`.
pub const DIM_MAX: usize = 32 * 1024;

// The hard-float object has no other crate, so it has the numbers again.
const _: () = {
    assert!(abi::F32 == Element::F32.code() && abi::F16 == Element::F16.code());
    assert!(abi::BF16 == Element::Bf16.code() && abi::I8 == Element::I8.code());
    assert!(abi::U8 == Element::U8.code() && abi::BINARY == Element::Binary.code());
    assert!(abi::L2 == Metric::L2.code() && abi::COSINE == Metric::Cosine.code());
    assert!(abi::INNER_PRODUCT == Metric::Ip.code() && abi::HAMMING == Metric::Hamming.code());
};

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
        self.element.vector_bytes(self.dim())
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
