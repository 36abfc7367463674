// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What a collection is made with, and the collection item that keeps it.

use crate::limits::DIM_MAX;
use crate::Ino;
use vexfs_host::mem::Vec;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd::Element;
use vexfs_simd::Metric;
use vexfs_simd::Space;
use vexfs_uapi as uapi;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;
use zerocopy::FromBytes as _;
use zerocopy::FromZeros as _;
use zerocopy::IntoBytes as _;
use zerocopy_derive::*;

/// Version of the collection item and of the tail's records.
const VERSION: u32 = 1;

/// The collection item: see `docs/format-collections.md`.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
struct DiskCollection {
    version: U32,
    /// Bits that change the meaning of the rest: a reader refuses those it does not know.
    features: U32,
    dim: U32,
    element: U32,
    metric: U32,
    index: U32,
    /// The hidden file that is the tail.
    tail: U64,
    /// The id that the first row without one gets, if no record of the tail says otherwise.
    next_id: U64,
    reserved: [u8; 24],
}

const _: () = assert!(size_of::<DiskCollection>() == 64);
const _: () = assert!(core::mem::offset_of!(DiskCollection, tail) == 24);

/// The properties of a collection that never change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Params {
    dim: u32,
    metric: Metric,
}

impl Params {
    /// Checks the numbers of the ABI: `VEXFS_ELEMENT_*`, `VEXFS_METRIC_*`, and `VEXFS_INDEX_*` or 0 for the default.
    ///
    /// # Errors
    ///
    /// `Invalid` for a dimension out of range, `Unsupported` for a number that this version does not know.
    pub fn new(dim: u32, element: u32, metric: u32, index: u32) -> Result<Self> {
        if dim == 0 || dim as usize > DIM_MAX {
            return Err(Error::Invalid("a collection has 1 to 4096 dimensions"));
        }
        if element != uapi::VEXFS_ELEMENT_F32 {
            return Err(Error::Unsupported("element type: only f32 is supported"));
        }
        if index != 0 && index != uapi::VEXFS_INDEX_FLAT {
            return Err(Error::Unsupported("index: only flat is supported"));
        }
        let metric = match metric {
            uapi::VEXFS_METRIC_L2 => Metric::L2,
            uapi::VEXFS_METRIC_COSINE => Metric::Cosine,
            uapi::VEXFS_METRIC_IP => Metric::InnerProduct,
            _ => return Err(Error::Unsupported("metric: l2, cosine and inner product are supported")),
        };
        Ok(Self { dim, metric })
    }

    /// Elements of a vector.
    pub fn dim(&self) -> usize {
        self.dim as usize
    }

    /// What its vectors are, and how they are compared.
    pub fn space(&self) -> Result<Space> {
        Space::new(Element::F32, self.metric, self.dim()).ok_or(Error::Invalid("parameters of a collection"))
    }

    /// How vectors are compared.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// `VEXFS_METRIC_*`.
    pub fn metric_code(&self) -> u32 {
        match self.metric {
            Metric::L2 => uapi::VEXFS_METRIC_L2,
            Metric::Cosine => uapi::VEXFS_METRIC_COSINE,
            Metric::InnerProduct => uapi::VEXFS_METRIC_IP,
            Metric::Hamming => uapi::VEXFS_METRIC_HAMMING,
        }
    }

    /// `VEXFS_ELEMENT_*`.
    pub fn element_code(&self) -> u32 {
        uapi::VEXFS_ELEMENT_F32
    }

    /// `VEXFS_INDEX_*`.
    pub fn index_code(&self) -> u32 {
        uapi::VEXFS_INDEX_FLAT
    }

    /// The collection item of a collection with this tail, whose first row without an id gets `next_id`.
    pub(super) fn encode(&self, tail: Ino, next_id: u64) -> Result<Vec<u8>> {
        let mut item = DiskCollection::new_zeroed();
        item.version.set(VERSION);
        item.dim.set(self.dim);
        item.element.set(self.element_code());
        item.metric.set(self.metric_code());
        item.index.set(self.index_code());
        item.tail.set(tail);
        item.next_id.set(next_id);
        let mut bytes = Vec::new();
        bytes.extend_from_slice(item.as_bytes())?;
        Ok(bytes)
    }

    /// The parameters, the tail and the first next id in the collection item of directory `dir`.
    pub(super) fn decode(bytes: &[u8], dir: Ino) -> Result<(Self, Ino, u64)> {
        let corrupt = |what| Error::corrupt(what, u64::MAX, dir);
        let item = DiskCollection::read_from_bytes(bytes).map_err(|_| corrupt("collection item has a wrong length"))?;
        if item.version.get() != VERSION || item.features.get() != 0 {
            return Err(Error::Unsupported("the collection was made by a newer version"));
        }
        if item.reserved != [0; 24] || item.tail.get() == 0 || item.tail.get() == dir {
            return Err(corrupt("collection item has a wrong tail or reserved bytes"));
        }
        let params = Self::new(item.dim.get(), item.element.get(), item.metric.get(), item.index.get());
        let params = params.map_err(|_| corrupt("collection item has parameters out of range"))?;
        Ok((params, item.tail.get(), item.next_id.get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collection_item_is_read_back_and_any_changed_byte_is_noticed_or_harmless() {
        let params = Params::new(384, uapi::VEXFS_ELEMENT_F32, uapi::VEXFS_METRIC_COSINE, 0).unwrap();
        let bytes = params.encode(77, 5).unwrap();
        assert_eq!(Params::decode(&bytes, 20).unwrap(), (params, 77, 5));
        assert!(Params::decode(&bytes[..63], 20).is_err());
        assert!(Params::decode(&bytes, 77).is_err());
        for at in 0..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[at] ^= 0x40;
            // Another dimension, tail or next id cannot be told from here: the node's checksum and the tail's records do.
            assert!(
                Params::decode(&changed, 20).is_err() || (8..12).contains(&at) || (24..40).contains(&at),
                "{at}"
            );
        }
    }

    #[test]
    fn parameters_out_of_range_are_refused() {
        let (f32, l2) = (uapi::VEXFS_ELEMENT_F32, uapi::VEXFS_METRIC_L2);
        assert!(matches!(Params::new(0, f32, l2, 0), Err(Error::Invalid(_))));
        assert!(matches!(Params::new(4097, f32, l2, 0), Err(Error::Invalid(_))));
        assert!(matches!(Params::new(4, 2, l2, 0), Err(Error::Unsupported(_))));
        assert!(matches!(Params::new(4, f32, 0, 0), Err(Error::Unsupported(_))));
        assert!(matches!(Params::new(4, f32, l2, 2), Err(Error::Unsupported(_))));
        assert!(Params::new(4096, f32, l2, uapi::VEXFS_INDEX_FLAT).is_ok());
    }
}
