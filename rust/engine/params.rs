// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What a collection is made with.

use crate::index::IndexKind;
use crate::limits::DIM_MAX;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd::Element;
use vexfs_simd::Metric;
use vexfs_simd::Space;

/// The properties of a collection that never change, and the index it is made with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Params {
    space: Space,
    index: IndexKind,
}

impl Params {
    /// Checks the numbers of the ABI: `VEXFS_ELEMENT_*`, `VEXFS_METRIC_*`, and `VEXFS_INDEX_*` or 0 for none.
    ///
    /// # Errors
    ///
    /// `Invalid` for a dimension out of range or a metric that the elements do not have, `Unsupported` for a number
    /// that this version does not know.
    pub fn new(dim: u32, element: u32, metric: u32, index: u32) -> Result<Self> {
        if dim == 0 || dim as usize > DIM_MAX {
            return Err(Error::Invalid("a collection has 1 to 4096 dimensions"));
        }
        let element = Element::from_code(element).ok_or(Error::Unsupported("element type"))?;
        let metric = Metric::from_code(metric).ok_or(Error::Unsupported("metric"))?;
        let index = match index {
            0 => IndexKind::Flat,
            code => IndexKind::from_code(code).ok_or(Error::Unsupported("kind of index"))?,
        };
        let space = Space::new(element, metric, dim as usize);
        let space = space.ok_or(Error::Invalid(
            "hamming is the metric of binary vectors, and of no others",
        ))?;
        Ok(Self { space, index })
    }

    /// What vectors are made of and how they are compared.
    pub fn space(&self) -> Space {
        self.space
    }

    /// Elements of a vector.
    pub fn dim(&self) -> usize {
        self.space.dim()
    }

    /// Bytes of a vector.
    pub fn row_bytes(&self) -> usize {
        self.space.row_bytes()
    }

    /// What vectors are made of.
    pub fn element(&self) -> Element {
        self.space.element()
    }

    /// How vectors are compared.
    pub fn metric(&self) -> Metric {
        self.space.metric()
    }

    /// The kind of index that the collection had when it was made or opened.
    pub fn index(&self) -> IndexKind {
        self.index
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vexfs_uapi as uapi;

    #[test]
    fn parameters_out_of_range_are_refused() {
        let (f32, l2) = (uapi::VEXFS_ELEMENT_F32, uapi::VEXFS_METRIC_L2);
        assert!(matches!(Params::new(0, f32, l2, 0), Err(Error::Invalid(_))));
        assert!(matches!(Params::new(4097, f32, l2, 0), Err(Error::Invalid(_))));
        assert!(matches!(Params::new(4, 7, l2, 0), Err(Error::Unsupported(_))));
        assert!(matches!(Params::new(4, f32, 0, 0), Err(Error::Unsupported(_))));
        assert!(matches!(Params::new(4, f32, l2, 8), Err(Error::Unsupported(_))));
        assert!(Params::new(4096, f32, l2, uapi::VEXFS_INDEX_FLAT).is_ok());
        let (binary, hamming) = (uapi::VEXFS_ELEMENT_BINARY, uapi::VEXFS_METRIC_HAMMING);
        assert!(matches!(Params::new(4, f32, hamming, 0), Err(Error::Invalid(_))));
        assert!(matches!(Params::new(4, binary, l2, 0), Err(Error::Invalid(_))));
        assert_eq!(Params::new(12, binary, hamming, 0).unwrap().row_bytes(), 2);
    }
}
