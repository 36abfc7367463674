// SPDX-License-Identifier: Apache-2.0
//! `.fvecs` and `.bvecs`: per row a little-endian int32 dimension, then that many f32 or bytes.

use std::io::BufRead;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use vexfs::Element;

use super::Row;
use super::Rows;
use super::Vector;

/// Rows of a `.fvecs` (4 bytes an element) or `.bvecs` (1 byte) stream.
pub struct Vecs<R> {
    reader: R,
    element: Element,
    rows: Option<u64>,
    row: u64,
}

impl<R: BufRead> Vecs<R> {
    /// `size` is the stream's length in bytes, when it is known: the number of rows follows from it.
    pub fn fvecs(reader: R, size: Option<u64>) -> Result<Self> {
        Vecs::new(reader, Element::F32, size)
    }

    /// As [`Vecs::fvecs`].
    pub fn bvecs(reader: R, size: Option<u64>) -> Result<Self> {
        Vecs::new(reader, Element::U8, size)
    }

    fn new(mut reader: R, element: Element, size: Option<u64>) -> Result<Self> {
        let rows = match (reader.fill_buf()?.first_chunk::<4>(), size) {
            (Some(&dim), Some(size)) => {
                let row_bytes = element.vector_bytes(u32::from_le_bytes(dim) as usize) as u64 + 4;
                Some(size / row_bytes)
            }
            _ => None,
        };
        Ok(Vecs {
            reader,
            element,
            rows,
            row: 0,
        })
    }
}

impl<R: BufRead> Rows for Vecs<R> {
    fn next_row(&mut self) -> Result<Option<Row>> {
        if self.reader.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let row = self.row;
        let cut = || format!("row {row} is cut short");
        let mut dim = [0; 4];
        self.reader.read_exact(&mut dim).with_context(cut)?;
        let dim = i32::from_le_bytes(dim);
        if !(1..=1 << 20).contains(&dim) {
            bail!("row {row} says it has {dim} dimensions: this is no .fvecs or .bvecs file");
        }
        let mut bytes = vec![0; self.element.vector_bytes(dim as usize)];
        self.reader.read_exact(&mut bytes).with_context(cut)?;
        self.row += 1;
        Ok(Some(Vector::new(self.element, bytes).into()))
    }

    fn rows(&self) -> Option<u64> {
        self.rows
    }

    fn position(&self) -> String {
        format!("row {}", self.row.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_out_as_they_went_in() {
        let mut data = Vec::new();
        for row in [[1.0f32, -2.5], [0.0, 3.0]] {
            data.extend(2i32.to_le_bytes());
            row.iter().for_each(|x| data.extend(x.to_le_bytes()));
        }
        let mut rows = Vecs::fvecs(data.as_slice(), Some(data.len() as u64)).unwrap();
        assert_eq!(rows.rows(), Some(2));
        assert_eq!(rows.next_row().unwrap().unwrap().vector.numbers(), [1.0, -2.5]);
        assert_eq!(rows.next_row().unwrap().unwrap().vector.numbers(), [0.0, 3.0]);
        assert!(rows.next_row().unwrap().is_none());
    }

    #[test]
    fn bytes_stay_bytes() {
        let mut rows = Vecs::bvecs([3, 0, 0, 0, 0, 7, 255].as_slice(), None).unwrap();
        let vector = rows.next_row().unwrap().unwrap().vector;
        assert_eq!(
            (vector.element, vector.bytes.as_slice()),
            (Element::U8, &[0, 7, 255][..])
        );
    }

    #[test]
    fn a_row_that_is_cut_short_or_absurd_is_an_error() {
        for bad in [&[2, 0][..], &[2, 0, 0, 0, 1, 2, 3], &[0; 8], &[255; 8]] {
            assert!(Vecs::fvecs(bad, None).unwrap().next_row().is_err(), "{bad:?}");
        }
    }
}
