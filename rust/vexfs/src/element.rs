// SPDX-License-Identifier: Apache-2.0
//! Types of elements, metrics, and vectors between f32 and the form in which they are stored.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use vexfs_uapi as uapi;

use crate::Error;
use crate::Result;

/// What a vector consists of. The form of a vector is its elements, little-endian, one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[repr(u32)]
pub enum Element {
    /// IEEE 754 binary32.
    #[default]
    F32 = uapi::VEXFS_ELEMENT_F32,
    /// IEEE 754 binary16.
    F16 = uapi::VEXFS_ELEMENT_F16,
    /// bfloat16, the upper half of a binary32.
    Bf16 = uapi::VEXFS_ELEMENT_BF16,
    /// Signed bytes.
    I8 = uapi::VEXFS_ELEMENT_I8,
    /// Unsigned bytes.
    U8 = uapi::VEXFS_ELEMENT_U8,
    /// Bits, eight a byte, the lowest first; those behind the last are 0.
    Binary = uapi::VEXFS_ELEMENT_BINARY,
}

/// How far apart two vectors are. Smaller is nearer with all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[repr(u32)]
pub enum Metric {
    /// Squared Euclidean distance.
    L2 = uapi::VEXFS_METRIC_L2,
    /// 1 - cosine similarity; zero vectors are refused.
    Cosine = uapi::VEXFS_METRIC_COSINE,
    /// Negated inner product.
    Ip = uapi::VEXFS_METRIC_IP,
    /// Number of bits that differ; of binary vectors, and of nothing else.
    Hamming = uapi::VEXFS_METRIC_HAMMING,
}

/// Enumerations with names and the ABI's numbers.
macro_rules! named {
    ($type:ident, $what:literal, { $($variant:ident: $name:literal,)* }) => {
        impl $type {
            /// All of them.
            pub const ALL: &'static [$type] = &[$($type::$variant,)*];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self {
                    $($type::$variant => $name,)*
                }
            }

            /// Its number in the user ABI.
            pub fn code(self) -> u32 {
                self as u32
            }

            /// What has this number in the user ABI.
            pub fn from_code(code: u32) -> Option<Self> {
                Self::ALL.iter().copied().find(|it| it.code() == code)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }

        impl FromStr for $type {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                Self::ALL.iter().copied().find(|it| it.name() == text).ok_or_else(|| {
                    let names: Vec<&str> = Self::ALL.iter().map(|it| it.name()).collect();
                    Error::invalid(format!("{text:?} is no {}: {}", $what, names.join(", ")))
                })
            }
        }
    };
}
pub(crate) use named;

named!(Element, "element type", {
    F32: "f32",
    F16: "f16",
    Bf16: "bf16",
    I8: "i8",
    U8: "u8",
    Binary: "binary",
});

named!(Metric, "metric", {
    L2: "l2",
    Cosine: "cosine",
    Ip: "ip",
    Hamming: "hamming",
});

impl Element {
    /// Bytes of a vector of `dim` elements.
    pub fn vector_bytes(self, dim: usize) -> usize {
        match self {
            Element::F32 => dim.saturating_mul(4),
            Element::F16 | Element::Bf16 => dim.saturating_mul(2),
            Element::I8 | Element::U8 => dim,
            Element::Binary => dim.div_ceil(8),
        }
    }

    /// Alignment of a vector, and of the distance between two.
    pub fn alignment(self) -> usize {
        match self {
            Element::F32 => 4,
            Element::F16 | Element::Bf16 => 2,
            Element::I8 | Element::U8 | Element::Binary => 1,
        }
    }

    /// Appends a vector in the form of this type. Floats are rounded to the nearest, ties to even; of binary vectors,
    /// what is greater than 0 becomes 1.
    ///
    /// # Errors
    ///
    /// `Invalid`: not finite, beyond the type's range, or no integer where those are wanted; the element is named.
    ///
    /// ```
    /// use vexfs::Element;
    ///
    /// let mut bytes = Vec::new();
    /// Element::I8.encode(&[-1.0, 127.0], &mut bytes)?;
    /// assert_eq!(bytes, [255, 127]);
    /// assert!(Element::I8.encode(&[128.0], &mut bytes).is_err());
    /// # Ok::<(), vexfs::Error>(())
    /// ```
    pub fn encode(self, vector: &[f32], out: &mut Vec<u8>) -> Result<()> {
        if let Some((i, x)) = vector.iter().enumerate().find(|(_, x)| !x.is_finite()) {
            return Err(Error::invalid(format!(
                "element {i} of the vector is {x}: only finite numbers have distances"
            )));
        }
        let range = |i: usize, what: &str| {
            let x = vector.get(i).copied().unwrap_or_default();
            Error::invalid(format!("element {i} of the vector is {x}, which is {what}"))
        };
        let integer = |low: f32, high: f32, what: &str| match vector
            .iter()
            .position(|x| x.fract() != 0.0 || *x < low || *x > high)
        {
            Some(i) => Err(range(i, what)),
            None => Ok(()),
        };
        match self {
            Element::F32 => out.extend(vector.iter().flat_map(|x| x.to_le_bytes())),
            Element::F16 => {
                let halves: Vec<u16> = vector.iter().map(|x| f16_of(*x)).collect();
                if let Some(i) = halves.iter().position(|h| h & 0x7fff == 0x7c00) {
                    return Err(range(i, "beyond the range of f16"));
                }
                out.extend(halves.iter().flat_map(|h| h.to_le_bytes()));
            }
            Element::Bf16 => {
                let halves: Vec<u16> = vector.iter().map(|x| bf16_of(*x)).collect();
                if let Some(i) = halves.iter().position(|h| h & 0x7fff == 0x7f80) {
                    return Err(range(i, "beyond the range of bf16"));
                }
                out.extend(halves.iter().flat_map(|h| h.to_le_bytes()));
            }
            Element::I8 => {
                integer(-128.0, 127.0, "no integer from -128 to 127")?;
                out.extend(vector.iter().map(|x| *x as i8 as u8));
            }
            Element::U8 => {
                integer(0.0, 255.0, "no integer from 0 to 255")?;
                out.extend(vector.iter().map(|x| *x as u8));
            }
            Element::Binary => out.extend(vector.chunks(8).map(|bits| {
                bits.iter()
                    .enumerate()
                    .fold(0, |byte, (i, x)| byte | (u8::from(*x > 0.0) << i))
            })),
        }
        Ok(())
    }

    /// A vector of `dim` elements from its form in this type; bits become 0 and 1.
    pub fn decode(self, bytes: &[u8], dim: usize) -> Vec<f32> {
        let halves = || bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
        let mut vector: Vec<f32> = match self {
            Element::F32 => bytes
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect(),
            Element::F16 => halves().map(f32_of_f16).collect(),
            Element::Bf16 => halves().map(|h| f32::from_bits(u32::from(h) << 16)).collect(),
            Element::I8 => bytes.iter().map(|b| f32::from(*b as i8)).collect(),
            Element::U8 => bytes.iter().map(|b| f32::from(*b)).collect(),
            Element::Binary => bytes
                .iter()
                .flat_map(|byte| (0..8).map(move |i| f32::from(byte >> i & 1)))
                .collect(),
        };
        vector.truncate(dim);
        vector
    }
}

/// The nearest binary16, ties to even; infinity beyond its range.
fn f16_of(x: f32) -> u16 {
    let bits = x.to_bits();
    let sign = (bits >> 16 & 0x8000) as u16;
    let magnitude = bits & 0x7fff_ffff;
    if magnitude >= 0x4780_0000 {
        // 65536 and on, and infinity; NaN is refused before.
        return sign | 0x7c00;
    }
    if magnitude < 0x3880_0000 {
        // Below 2^-14 the unit is 2^-24: adding a number whose last bit is that rounds as IEEE 754 does.
        let rounded = f32::from_bits(magnitude) + 0.5;
        return sign | (rounded.to_bits() - 0.5f32.to_bits()) as u16;
    }
    // Exponent from bias 127 to 15; of the 13 bits that go, just over half or half and odd rounds up.
    let odd = magnitude >> 13 & 1;
    sign | ((magnitude - (112 << 23) + 0xfff + odd) >> 13) as u16
}

fn f32_of_f16(half: u16) -> f32 {
    let sign = u32::from(half & 0x8000) << 16;
    let magnitude = u32::from(half & 0x7fff);
    let value = match magnitude >> 10 {
        0 => magnitude as f32 / 16_777_216.0,
        31 => f32::from_bits(0x7f80_0000 | magnitude << 13),
        _ => f32::from_bits((magnitude << 13) + (112 << 23)),
    };
    f32::from_bits(value.to_bits() | sign)
}

/// The nearest bfloat16, ties to even; infinity beyond its range.
fn bf16_of(x: f32) -> u16 {
    let bits = x.to_bits();
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// One or more vectors, one after the other, as a caller has them.
///
/// f32 goes into every collection, converted to its type; the others only into one of that type.
#[derive(Clone, Copy, Debug)]
pub enum Vectors<'a> {
    /// Numbers, converted to the collection's type.
    F32(&'a [f32]),
    /// Signed bytes.
    I8(&'a [i8]),
    /// The bytes of the collection's own form: unsigned bytes, packed bits, binary16.
    Bytes(&'a [u8]),
}

impl<'a> From<&'a [f32]> for Vectors<'a> {
    fn from(vectors: &'a [f32]) -> Self {
        Vectors::F32(vectors)
    }
}

impl<'a, const N: usize> From<&'a [f32; N]> for Vectors<'a> {
    fn from(vectors: &'a [f32; N]) -> Self {
        Vectors::F32(vectors)
    }
}

impl<'a> From<&'a Vec<f32>> for Vectors<'a> {
    fn from(vectors: &'a Vec<f32>) -> Self {
        Vectors::F32(vectors)
    }
}

impl<'a> From<&'a [i8]> for Vectors<'a> {
    fn from(vectors: &'a [i8]) -> Self {
        Vectors::I8(vectors)
    }
}

impl<'a> From<&'a [u8]> for Vectors<'a> {
    fn from(vectors: &'a [u8]) -> Self {
        Vectors::Bytes(vectors)
    }
}

impl<'a> From<&'a Vec<u8>> for Vectors<'a> {
    fn from(vectors: &'a Vec<u8>) -> Self {
        Vectors::Bytes(vectors)
    }
}

impl<'a> Vectors<'a> {
    /// The form of these vectors in a collection of `dim` elements of this type, and how many they are.
    pub(crate) fn in_form(self, element: Element, dim: usize) -> Result<(Cow<'a, [u8]>, usize)> {
        let wrong = |len: usize, unit: usize, what: &str| {
            if unit == 0 || len == 0 || len % unit != 0 {
                return Err(Error::invalid(format!(
                    "{len} {what} are no vectors of {dim} dimensions, which have {unit} each"
                )));
            }
            Ok(len / unit)
        };
        let bytes = element.vector_bytes(dim);
        match self {
            Vectors::F32(vectors) => {
                let count = wrong(vectors.len(), dim, "elements")?;
                let mut out = Vec::with_capacity(bytes.saturating_mul(count));
                // One by one: bits of two vectors never share a byte.
                for vector in vectors.chunks(dim) {
                    element.encode(vector, &mut out)?;
                }
                Ok((Cow::Owned(out), count))
            }
            Vectors::I8(vectors) if element == Element::I8 => {
                let count = wrong(vectors.len(), dim, "elements")?;
                Ok((Cow::Owned(vectors.iter().map(|x| *x as u8).collect()), count))
            }
            Vectors::I8(_) => Err(Error::invalid(format!(
                "signed bytes are no elements of type {element}"
            ))),
            Vectors::Bytes(vectors) => {
                let count = wrong(vectors.len(), bytes, "bytes")?;
                Ok((Cow::Borrowed(vectors), count))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_f16_survives_f32_and_what_lies_between_two_goes_to_the_nearest_even() {
        for half in 0..0x7c00u16 {
            let x = f32_of_f16(half);
            assert_eq!((f16_of(x), f16_of(-x)), (half, half | 0x8000), "{half:#x}");
            if half < 0x7bff {
                let next = f32_of_f16(half + 1);
                let middle = (x + next) / 2.0;
                assert_eq!(f16_of(middle), half + (half & 1), "{half:#x}");
                assert_eq!(f16_of(f32::from_bits(middle.to_bits() + 1)), half + 1, "{half:#x}");
                assert_eq!(f16_of(f32::from_bits(middle.to_bits() - 1)), half, "{half:#x}");
            }
        }
        assert_eq!(
            (f16_of(65504.0), f16_of(65519.9), f16_of(65520.0)),
            (0x7bff, 0x7bff, 0x7c00)
        );
    }

    #[test]
    fn every_bf16_survives_f32_and_what_lies_between_two_goes_to_the_nearest_even() {
        for half in 0..0x7f80u16 {
            let bits = u32::from(half) << 16;
            assert_eq!(bf16_of(f32::from_bits(bits)), half);
            assert_eq!(bf16_of(f32::from_bits(bits + 0x8000)), half + (half & 1));
            assert_eq!(bf16_of(f32::from_bits(bits + 0x8001)), half + 1);
            assert_eq!(bf16_of(f32::from_bits(bits + 0x7fff)), half);
        }
    }

    #[test]
    fn what_a_type_can_hold_comes_out_as_it_went_in_and_the_rest_is_refused() {
        let good: &[(Element, &[f32])] = &[
            (Element::F32, &[1.5, -0.1, 3e38]),
            (Element::F16, &[1.5, -0.25, 65504.0]),
            (
                Element::Bf16,
                &[1.5, -0.25, 3.0e38f32.to_bits().wrapping_shr(16) as f32],
            ),
            (Element::I8, &[-128.0, 0.0, 127.0]),
            (Element::U8, &[0.0, 255.0, 7.0]),
            (Element::Binary, &[1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]),
        ];
        for (element, vector) in good {
            let mut bytes = Vec::new();
            element.encode(vector, &mut bytes).unwrap();
            assert_eq!(bytes.len(), element.vector_bytes(vector.len()));
            let back = element.decode(&bytes, vector.len());
            if *element == Element::Bf16 {
                assert_eq!(back[..2], vector[..2]);
            } else {
                assert_eq!(&back, vector);
            }
        }
        for (element, x) in [
            (Element::F32, f32::NAN),
            (Element::F16, 65520.0),
            (Element::Bf16, f32::MAX),
            (Element::I8, 128.0),
            (Element::I8, 0.5),
            (Element::U8, -1.0),
            (Element::U8, 256.0),
            (Element::Binary, f32::INFINITY),
        ] {
            let error = element.encode(&[0.0, x], &mut Vec::new()).unwrap_err();
            assert!(error.to_string().contains("element 1"), "{element} {x}: {error}");
        }
    }

    #[test]
    fn names_and_numbers_are_read_back() {
        for element in Element::ALL {
            assert_eq!(element.name().parse::<Element>().unwrap(), *element);
            assert_eq!(Element::from_code(element.code()), Some(*element));
        }
        let error = "l3".parse::<Metric>().unwrap_err().to_string();
        assert!(error.contains("cosine"), "{error}");
    }
}
