// SPDX-License-Identifier: Apache-2.0
//! `.npy`: numpy's array format, in C order with one or two dimensions: little-endian floats, bytes with and without a
//! sign.
//!
//! The crate `npyz` reads the header. What follows it are the rows as they are.

use std::io::BufRead;
use std::io::Read;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use npyz::DType;
use npyz::NpyHeader;
use npyz::Order;
use vexfs::Element;

use super::Row;
use super::Rows;
use super::Vector;

/// The first bytes of every `.npy` file.
pub const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// The longest header that is read.
const HEADER_MAX: u64 = 1 << 16;

/// What the elements of an array are.
#[derive(Clone, Copy)]
enum Numbers {
    /// Elements that a collection may have.
    Of(Element),
    /// binary64, which is rounded to f32.
    Doubles,
}

/// Rows of an array; a one-dimensional array is one row.
pub struct Npy<R> {
    reader: R,
    numbers: Numbers,
    row_bytes: usize,
    rows: u64,
    row: u64,
}

impl<R: BufRead> Npy<R> {
    /// Reads the header.
    pub fn new(mut reader: R) -> Result<Self> {
        let header = NpyHeader::from_reader((&mut reader).take(HEADER_MAX)).context("no .npy header")?;
        let name = match header.dtype() {
            DType::Plain(dtype) => dtype.to_string(),
            other => other.descr(),
        };
        let numbers = match name.as_str() {
            "<f8" => Numbers::Doubles,
            "<f4" => Numbers::Of(Element::F32),
            "<f2" => Numbers::Of(Element::F16),
            "|i1" => Numbers::Of(Element::I8),
            "|u1" => Numbers::Of(Element::U8),
            other => bail!(
                "the array's elements are {other}, not <f8, <f4, <f2, |i1 or |u1; save array.astype('<f4') instead"
            ),
        };
        if header.order() == Order::Fortran {
            bail!("the array is in Fortran order; save numpy.ascontiguousarray(array) instead");
        }
        let (rows, dim) = match *header.shape() {
            [dim] => (1, dim),
            [rows, dim] => (rows, dim),
            ref other => bail!(
                "an array of {} dimensions; 1 (one vector) or 2 (a vector a row) are wanted",
                other.len()
            ),
        };
        if dim == 0 || dim > 1 << 20 {
            bail!("vectors of {dim} elements");
        }
        let row_bytes = match numbers {
            Numbers::Of(element) => element.vector_bytes(dim as usize),
            Numbers::Doubles => dim as usize * 8,
        };
        Ok(Npy {
            reader,
            numbers,
            row_bytes,
            rows,
            row: 0,
        })
    }
}

fn rounded(doubles: &[u8]) -> Vec<f32> {
    let number = |b: &[u8; 8]| f64::from_le_bytes(*b) as f32;
    doubles
        .chunks_exact(8)
        .filter_map(<[u8]>::first_chunk)
        .map(number)
        .collect()
}

impl<R: BufRead> Rows for Npy<R> {
    fn next_row(&mut self) -> Result<Option<Row>> {
        if self.row == self.rows {
            return Ok(None);
        }
        let (row, rows) = (self.row, self.rows);
        let mut bytes = vec![0; self.row_bytes];
        self.reader
            .read_exact(&mut bytes)
            .with_context(|| format!("row {row} is cut short; the header promises {rows}"))?;
        self.row += 1;
        let vector = match self.numbers {
            Numbers::Of(element) => Vector::new(element, bytes),
            Numbers::Doubles => rounded(&bytes).as_slice().into(),
        };
        Ok(Some(vector.into()))
    }

    fn rows(&self) -> Option<u64> {
        Some(self.rows)
    }

    fn position(&self) -> String {
        format!("row {}", self.row.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(version: u8, header: &str, values: &[f32]) -> Vec<u8> {
        let mut data = MAGIC.to_vec();
        data.extend([version, 0]);
        match version {
            1 => data.extend((header.len() as u16).to_le_bytes()),
            _ => data.extend((header.len() as u32).to_le_bytes()),
        }
        data.extend(header.as_bytes());
        values.iter().for_each(|v| data.extend(v.to_le_bytes()));
        data
    }

    #[test]
    fn versions_1_and_2_with_one_or_two_dimensions_are_read() {
        for version in [1, 2, 3] {
            let two = npy(
                version,
                "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   \n",
                &[1., 2., 3., 4., 5., 6.],
            );
            let mut rows = Npy::new(two.as_slice()).unwrap();
            assert_eq!(rows.rows(), Some(2));
            assert_eq!(rows.next_row().unwrap().unwrap().vector.numbers(), [1., 2., 3.]);
            assert_eq!(rows.next_row().unwrap().unwrap().vector.numbers(), [4., 5., 6.]);
            assert!(rows.next_row().unwrap().is_none());
        }
        let one = npy(
            1,
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }",
            &[1., 2.],
        );
        let mut rows = Npy::new(one.as_slice()).unwrap();
        assert_eq!(rows.next_row().unwrap().unwrap().vector.numbers(), [1., 2.]);
        assert!(rows.next_row().unwrap().is_none());
    }

    #[test]
    fn halves_and_bytes_stay_what_they_are_and_doubles_are_rounded() {
        let doubles: Vec<u8> = [0.1f64, -2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        for (descr, bytes, element, row) in [
            ("<f2", &[0x00, 0x3c, 0x00, 0xc0][..], Element::F16, [1.0, -2.0]),
            ("|i1", &[255, 7], Element::I8, [-1.0, 7.0]),
            ("|u1", &[255, 7], Element::U8, [255.0, 7.0]),
            ("<f8", &doubles, Element::F32, [0.1, -2.0]),
        ] {
            let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (1, 2), }}");
            let mut data = npy(1, &header, &[]);
            data.extend(bytes);
            let mut rows = Npy::new(data.as_slice()).unwrap();
            let vector = rows.next_row().unwrap().unwrap().vector;
            assert_eq!(vector.numbers(), row);
            assert_eq!(vector.element, element);
            assert!(vector.bytes == bytes || element == Element::F32);
        }
    }

    #[test]
    fn other_arrays_are_refused_with_what_to_do() {
        for (header, word) in [
            ("{'descr': '<i4', 'fortran_order': False, 'shape': (2, 2), }", "astype"),
            ("{'descr': '>f4', 'fortran_order': False, 'shape': (2, 2), }", "astype"),
            ("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2), }", "Fortran"),
            (
                "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2, 2), }",
                "dimensions",
            ),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (), }", "dimensions"),
            ("{'descr': '<f4', 'fortran_order': False}", "shape"),
        ] {
            let e = Npy::new(npy(1, header, &[]).as_slice()).err().expect(header);
            assert!(format!("{e:#}").contains(word), "{header}: {e:#}");
        }
    }

    #[test]
    fn an_array_that_is_cut_short_is_an_error() {
        let data = npy(
            1,
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }",
            &[1., 2., 3., 4.],
        );
        for len in 0..data.len() {
            let read = Npy::new(&data[..len]).and_then(|mut rows| {
                while rows.next_row()?.is_some() {}
                Ok(())
            });
            assert!(read.is_err(), "{len}");
        }
    }
}
