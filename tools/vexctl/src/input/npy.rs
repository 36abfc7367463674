// SPDX-License-Identifier: Apache-2.0
//! `.npy`: numpy's array format, versions 1 to 3, in C order with one or two dimensions: little-endian f32 or f16, bytes
//! with and without a sign.
//!
//! Format: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>

use std::io::BufRead;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use vexfs::Element;

use super::Row;
use super::Rows;

/// The first bytes of every `.npy` file.
pub const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// Rows of an array; a one-dimensional array is one row.
pub struct Npy<R> {
    reader: R,
    element: Element,
    dim: usize,
    rows: u64,
    row: u64,
    bytes: Vec<u8>,
}

impl<R: BufRead> Npy<R> {
    /// Reads the header.
    pub fn new(mut reader: R) -> Result<Self> {
        let mut start = [0; 8];
        reader.read_exact(&mut start).context("no .npy header")?;
        if !start.starts_with(MAGIC) {
            bail!("this is no .npy file: its first bytes are not \\x93NUMPY");
        }
        let len = match start[6] {
            1 => {
                let mut len = [0; 2];
                reader.read_exact(&mut len).context("the .npy header is cut short")?;
                u32::from(u16::from_le_bytes(len))
            }
            2 | 3 => {
                let mut len = [0; 4];
                reader.read_exact(&mut len).context("the .npy header is cut short")?;
                u32::from_le_bytes(len)
            }
            version => bail!(".npy version {version} is not known"),
        };
        if len > 1 << 16 {
            bail!("a .npy header of {len} bytes is too long");
        }
        let mut header = vec![0; len as usize];
        reader.read_exact(&mut header).context("the .npy header is cut short")?;
        let header = String::from_utf8(header).context("the .npy header is not text")?;

        let element = match field(&header, "descr")?.trim_matches(['\'', '"']) {
            "<f4" => Element::F32,
            "<f2" => Element::F16,
            "|i1" => Element::I8,
            "|u1" => Element::U8,
            other => {
                bail!("the array's elements are {other}, not <f4, <f2, |i1 or |u1; save array.astype('<f4') instead")
            }
        };
        if field(&header, "fortran_order")? != "False" {
            bail!("the array is in Fortran order; save numpy.ascontiguousarray(array) instead");
        }
        let (rows, dim) = match shape(field(&header, "shape")?)?.as_slice() {
            [dim] => (1, *dim),
            [rows, dim] => (*rows, *dim),
            other => bail!(
                "an array of {} dimensions; 1 (one vector) or 2 (a vector a row) are wanted",
                other.len()
            ),
        };
        if dim == 0 || dim > 1 << 20 {
            bail!("vectors of {dim} elements");
        }
        let dim = dim as usize;
        Ok(Npy {
            reader,
            element,
            dim,
            rows,
            row: 0,
            bytes: vec![0; element.vector_bytes(dim)],
        })
    }
}

/// Returns the text of a value of the header's dict.
fn field<'a>(header: &'a str, name: &str) -> Result<&'a str> {
    let at = |quote: char| {
        header
            .split_once(&format!("{quote}{name}{quote}:"))
            .map(|(_, rest)| rest)
    };
    let rest = at('\'')
        .or_else(|| at('"'))
        .with_context(|| format!("the .npy header has no {name}"))?;
    let rest = rest.trim_start();
    let end = match rest.starts_with('(') {
        true => rest.find(')').map(|i| i + 1),
        false => rest.find([',', '}']),
    };
    let value = end
        .and_then(|end| rest.get(..end))
        .with_context(|| format!("the .npy header's {name} does not end"))?;
    Ok(value.trim())
}

fn shape(text: &str) -> Result<Vec<u64>> {
    text.trim_matches(['(', ')'])
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| {
            part.trim_end_matches('L')
                .parse()
                .with_context(|| format!("the .npy header's shape is {text}"))
        })
        .collect()
}

impl<R: BufRead> Rows for Npy<R> {
    fn next_row(&mut self) -> Result<Option<Row>> {
        if self.row == self.rows {
            return Ok(None);
        }
        let (row, rows) = (self.row, self.rows);
        self.reader
            .read_exact(&mut self.bytes)
            .with_context(|| format!("row {row} is cut short; the header promises {rows}"))?;
        self.row += 1;
        Ok(Some(Row {
            vector: vexfs::decode(self.element, &self.bytes, self.dim),
            ..Row::default()
        }))
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
            assert_eq!(rows.next_row().unwrap().unwrap().vector, [1., 2., 3.]);
            assert_eq!(rows.next_row().unwrap().unwrap().vector, [4., 5., 6.]);
            assert!(rows.next_row().unwrap().is_none());
        }
        let one = npy(
            1,
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }",
            &[1., 2.],
        );
        let mut rows = Npy::new(one.as_slice()).unwrap();
        assert_eq!(rows.next_row().unwrap().unwrap().vector, [1., 2.]);
        assert!(rows.next_row().unwrap().is_none());
    }

    #[test]
    fn halves_and_bytes_become_numbers() {
        for (descr, bytes, row) in [
            ("<f2", &[0x00, 0x3c, 0x00, 0xc0][..], [1.0, -2.0]),
            ("|i1", &[255, 7], [-1.0, 7.0]),
            ("|u1", &[255, 7], [255.0, 7.0]),
        ] {
            let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (1, 2), }}");
            let mut data = npy(1, &header, &[]);
            data.extend(bytes);
            let mut rows = Npy::new(data.as_slice()).unwrap();
            assert_eq!(rows.next_row().unwrap().unwrap().vector, row);
        }
    }

    #[test]
    fn other_arrays_are_refused_with_what_to_do() {
        for (header, word) in [
            ("{'descr': '<f8', 'fortran_order': False, 'shape': (2, 2), }", "astype"),
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
