// SPDX-License-Identifier: Apache-2.0
//! Reading .fvecs and .bvecs files, and bringing their rows into an element type of the engine.

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context as _;
use anyhow::Result;
use vexfs_uapi as uapi;

/// Rows as floats.
pub struct Vectors {
    pub dim: usize,
    pub floats: Vec<f32>,
}

impl Vectors {
    /// Reads a file, all of its rows or the first `rows`.
    pub fn read(path: &str, rows: usize) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| path.to_owned())?;
        let size = if path.ends_with(".bvecs") { 1 } else { 4 };
        ensure!(
            size == 1 || path.ends_with(".fvecs"),
            "{path}: not a .fvecs or .bvecs file"
        );
        let head = bytes.first_chunk().with_context(|| format!("{path}: empty"))?;
        let dim = u32::from_le_bytes(*head) as usize;
        ensure!((1..=4096).contains(&dim), "{path}: {dim} dimensions");
        let record = 4 + dim * size;
        ensure!(bytes.len() % record == 0, "{path}: its end is missing");
        let mut floats = Vec::with_capacity(bytes.len() / record * dim);
        for record in bytes.chunks(record).take(rows) {
            let (head_here, row) = record.split_at(4);
            ensure!(head_here == head, "{path}: rows of different dimensions");
            match size {
                1 => floats.extend(row.iter().map(|byte| f32::from(*byte))),
                _ => floats.extend(
                    row.chunks_exact(4)
                        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
                ),
            }
        }
        Ok(Self { dim, floats })
    }

    pub fn count(&self) -> usize {
        self.floats.len() / self.dim
    }

    /// All rows as elements of this type, packed.
    pub fn elements(&self, element: Element) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.floats.len() * 4);
        for row in self.floats.chunks(self.dim) {
            match element {
                Element::F32 => out.extend(row.iter().flat_map(|x| x.to_le_bytes())),
                Element::Bf16 => out.extend(row.iter().flat_map(|x| bf16(*x).to_le_bytes())),
                Element::F16 => out.extend(row.iter().flat_map(|x| f16(*x).to_le_bytes())),
                Element::U8 => out.extend(row.iter().map(|x| x.round().clamp(0.0, 255.0) as u8)),
                Element::I8 => out.extend(row.iter().map(|x| x.round().clamp(-128.0, 127.0) as i8 as u8)),
                Element::Binary => {
                    let bit = |bits: &[f32]| bits.iter().rev().fold(0, |byte, x| byte << 1 | u8::from(*x > 0.0));
                    out.extend(row.chunks(8).map(bit));
                }
            }
        }
        out
    }
}

/// Types of elements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Element {
    F32,
    F16,
    Bf16,
    I8,
    U8,
    Binary,
}

impl Element {
    pub fn parse(name: &str) -> Result<Self> {
        Ok(match name {
            "f32" => Element::F32,
            "f16" => Element::F16,
            "bf16" => Element::Bf16,
            "i8" => Element::I8,
            "u8" => Element::U8,
            "binary" => Element::Binary,
            _ => bail!("no such element type: {name}"),
        })
    }

    pub fn code(self) -> u32 {
        match self {
            Element::F32 => uapi::VEXFS_ELEMENT_F32,
            Element::F16 => uapi::VEXFS_ELEMENT_F16,
            Element::Bf16 => uapi::VEXFS_ELEMENT_BF16,
            Element::I8 => uapi::VEXFS_ELEMENT_I8,
            Element::U8 => uapi::VEXFS_ELEMENT_U8,
            Element::Binary => uapi::VEXFS_ELEMENT_BINARY,
        }
    }
}

/// `VEXFS_METRIC_*` of a name.
pub fn metric(name: &str) -> Result<u32> {
    Ok(match name {
        "l2" => uapi::VEXFS_METRIC_L2,
        "cosine" => uapi::VEXFS_METRIC_COSINE,
        "ip" => uapi::VEXFS_METRIC_IP,
        "hamming" => uapi::VEXFS_METRIC_HAMMING,
        _ => bail!("no such metric: {name}"),
    })
}

/// The nearest bfloat16, ties to even.
fn bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// The nearest binary16, ties to even; what is too large becomes the largest.
fn f16(x: f32) -> u16 {
    let sign = (x.to_bits() >> 16) as u16 & 0x8000;
    let magnitude = x.abs().min(65504.0);
    // Units of the last place: ten bits below the leading one, or 2^-24 where numbers have no leading one.
    let exponent = ((magnitude.to_bits() >> 23) as i32 - 127).max(-14);
    let units = (magnitude / ((exponent - 10) as f32).exp2()).round_ties_even() as u16;
    // The leading one adds itself to the exponent, as does a carry.
    sign | ((((exponent + 14) as u16) << 10) + units)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrow_floats_are_the_nearest() {
        let halves = [
            (0.0, 0),
            (1.0, 0x3c00),
            (-2.0, 0xc000),
            (65504.0, 0x7bff),
            (1e9, 0x7bff),
            (6e-8, 1),
        ];
        for (x, want) in halves {
            assert_eq!(f16(x), want, "{x}");
        }
        assert_eq!(f16(1.0 + 1.5 / 1024.0), 0x3c02);
        assert_eq!(f16(2047.9 / 2048.0), 0x3c00);
        assert_eq!((bf16(1.0), bf16(-1.005)), (0x3f80, 0xbf81));
    }

    #[test]
    fn a_binary_vector_has_the_signs_lowest_first() {
        let row = Vectors {
            dim: 9,
            floats: vec![1.0, -1.0, 0.0, 2.0, -1.0, -1.0, -1.0, 0.5, 3.0],
        };
        assert_eq!(row.elements(Element::Binary), [0b1000_1001, 1]);
    }
}
