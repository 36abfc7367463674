// SPDX-License-Identifier: Apache-2.0
//! Vectors between f32 and the form in which they are stored.

use std::borrow::Cow;

use half::bf16;
use half::f16;
use vexfs_uapi::Element;

use crate::Error;
use crate::Result;

/// Appends a vector in the form of an element type. Floats are rounded to the nearest, ties to even; of binary vectors,
/// what is greater than 0 becomes 1.
///
/// That floats are finite is not asked here: whoever stores or searches asks it, whatever the vector was made of.
///
/// # Errors
///
/// `Invalid`: beyond the type's range, or no integer where those are wanted; the element is named.
///
/// ```
/// use vexfs::Element;
///
/// let mut bytes = Vec::new();
/// vexfs::encode(Element::I8, &[-1.0, 127.0], &mut bytes)?;
/// assert_eq!(bytes, [255, 127]);
/// assert!(vexfs::encode(Element::I8, &[128.0], &mut bytes).is_err());
/// # Ok::<(), vexfs::Error>(())
/// ```
pub fn encode(element: Element, vector: &[f32], out: &mut Vec<u8>) -> Result<()> {
    let refuse = |bad: &dyn Fn(f32) -> bool, what: &str| match vector.iter().position(|x| bad(*x)) {
        Some(i) => Err(Error::invalid(format!(
            "element {i} of the vector is {}, which is {what}",
            vector[i]
        ))),
        None => Ok(()),
    };
    let no_integer = |low: f32, high: f32| move |x: f32| x.fract() != 0.0 || x < low || x > high;
    match element {
        Element::F32 => out.extend(vector.iter().flat_map(|x| x.to_le_bytes())),
        Element::F16 => {
            refuse(
                &|x| x.is_finite() && f16::from_f32(x).is_infinite(),
                "beyond the range of f16",
            )?;
            out.extend(vector.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()));
        }
        Element::Bf16 => {
            refuse(
                &|x| x.is_finite() && bf16::from_f32(x).is_infinite(),
                "beyond the range of bf16",
            )?;
            out.extend(vector.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()));
        }
        Element::I8 => {
            refuse(&no_integer(-128.0, 127.0), "no integer from -128 to 127")?;
            out.extend(vector.iter().map(|x| *x as i8 as u8));
        }
        Element::U8 => {
            refuse(&no_integer(0.0, 255.0), "no integer from 0 to 255")?;
            out.extend(vector.iter().map(|x| *x as u8));
        }
        Element::Binary => {
            // A bit does not show any more what it was made of.
            refuse(&|x| !x.is_finite(), "not finite")?;
            out.extend(vector.chunks(8).map(|bits| {
                bits.iter()
                    .enumerate()
                    .fold(0, |byte, (i, x)| byte | (u8::from(*x > 0.0) << i))
            }));
        }
    }
    Ok(())
}

/// A vector of `dim` elements from its form in an element type; bits become 0 and 1.
pub fn decode(element: Element, bytes: &[u8], dim: usize) -> Vec<f32> {
    let halves = || bytes.chunks_exact(2).map(|b| [b[0], b[1]]);
    let mut vector: Vec<f32> = match element {
        Element::F32 => bytes
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect(),
        Element::F16 => halves().map(|b| f16::from_le_bytes(b).to_f32()).collect(),
        Element::Bf16 => halves().map(|b| bf16::from_le_bytes(b).to_f32()).collect(),
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

/// One or more vectors, one after the other, as a caller has them.
///
/// Those that say their type go into every collection: unchanged if it is the collection's, converted if not. The
/// others go only into one of that type.
#[derive(Clone, Copy, Debug)]
pub enum Vectors<'a> {
    /// Numbers, converted to the collection's type.
    F32(&'a [f32]),
    /// Elements of this type in its form, converted to the collection's type if that is another.
    Of(Element, &'a [u8]),
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
            Vectors::Of(from, vectors) if from == element => Vectors::Bytes(vectors).in_form(element, dim),
            Vectors::Of(from, vectors) => {
                let unit = from.vector_bytes(dim);
                let count = wrong(vectors.len(), unit, "bytes")?;
                let mut out = Vec::with_capacity(bytes.saturating_mul(count));
                for vector in vectors.chunks(unit) {
                    encode(element, &decode(from, vector, dim), &mut out)?;
                }
                Ok((Cow::Owned(out), count))
            }
            Vectors::F32(vectors) => {
                let count = wrong(vectors.len(), dim, "elements")?;
                let mut out = Vec::with_capacity(bytes.saturating_mul(count));
                // One by one: bits of two vectors never share a byte.
                for vector in vectors.chunks(dim) {
                    encode(element, vector, &mut out)?;
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
    fn vectors_of_the_same_type_are_borrowed_and_others_converted() {
        let halves: Vec<u8> = [1.5, -2.0]
            .iter()
            .flat_map(|x| f16::from_f32(*x).to_le_bytes())
            .collect();
        let (same, count) = Vectors::Of(Element::F16, &halves).in_form(Element::F16, 2).unwrap();
        assert!(matches!(same, Cow::Borrowed(_)) && count == 1);
        let (floats, _) = Vectors::Of(Element::F16, &halves).in_form(Element::F32, 2).unwrap();
        assert_eq!(decode(Element::F32, &floats, 2), [1.5, -2.0]);
        let (signed, count) = Vectors::Of(Element::U8, &[1, 127, 3, 0])
            .in_form(Element::I8, 2)
            .unwrap();
        assert_eq!((&*signed, count), (&[1, 127, 3, 0][..], 2));
        assert!(Vectors::Of(Element::U8, &[200, 0]).in_form(Element::I8, 2).is_err());
        assert!(Vectors::Of(Element::F16, &halves[..3])
            .in_form(Element::F32, 2)
            .is_err());
        let (bits, _) = Vectors::Of(Element::U8, &[0, 1, 1])
            .in_form(Element::Binary, 3)
            .unwrap();
        assert_eq!(*bits, [6]);
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
            encode(*element, vector, &mut bytes).unwrap();
            assert_eq!(bytes.len(), element.vector_bytes(vector.len()));
            let back = decode(*element, &bytes, vector.len());
            if *element == Element::Bf16 {
                assert_eq!(back[..2], vector[..2]);
            } else {
                assert_eq!(&back, vector);
            }
        }
        for (element, x) in [
            (Element::F16, 65520.0),
            (Element::Bf16, f32::MAX),
            (Element::I8, 128.0),
            (Element::I8, 0.5),
            (Element::U8, -1.0),
            (Element::U8, 256.0),
            (Element::Binary, f32::INFINITY),
        ] {
            let error = encode(element, &[0.0, x], &mut Vec::new()).unwrap_err();
            assert!(error.to_string().contains("element 1"), "{element} {x}: {error}");
        }
    }
}
