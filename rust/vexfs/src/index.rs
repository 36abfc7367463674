// SPDX-License-Identifier: Apache-2.0
//! Kinds of indexes and their parameters.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use vexfs_engine as engine;
use vexfs_uapi as uapi;

use crate::element::named;
use crate::Error;
use crate::Result;

/// How rows are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u32)]
pub enum IndexKind {
    /// Every row is compared: exact.
    #[default]
    Flat = uapi::VEXFS_INDEX_FLAT,
    /// A hierarchical graph: the usual choice.
    Hnsw = uapi::VEXFS_INDEX_HNSW,
    /// Inverted lists: cheap to build.
    Ivf = uapi::VEXFS_INDEX_IVF,
    /// Codes of a product quantizer: small.
    Pq = uapi::VEXFS_INDEX_PQ,
    /// Inverted lists of such codes.
    IvfPq = uapi::VEXFS_INDEX_IVF_PQ,
    /// Hash tables in which near rows share a bucket.
    Lsh = uapi::VEXFS_INDEX_LSH,
    /// A graph on disk with codes in memory: for more rows than memory holds.
    Vamana = uapi::VEXFS_INDEX_VAMANA,
}

named!(IndexKind, "index", {
    Flat: "flat",
    Hnsw: "hnsw",
    Ivf: "ivf",
    Pq: "pq",
    IvfPq: "ivf-pq",
    Lsh: "lsh",
    Vamana: "vamana",
});

/// What a graph is searched with. The best rows are compared by their full vectors again, whatever it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[repr(u32)]
pub enum Codes {
    /// The full vectors.
    #[default]
    None = uapi::VEXFS_CODES_NONE,
    /// A byte an element.
    Sq8 = uapi::VEXFS_CODES_SQ8,
    /// bfloat16.
    Bf16 = uapi::VEXFS_CODES_BF16,
    /// A bit an element.
    Binary = uapi::VEXFS_CODES_BINARY,
}

named!(Codes, "kind of codes", {
    None: "none",
    Sq8: "sq8",
    Bf16: "bf16",
    Binary: "binary",
});

/// An index and its parameters. What is 0 has a default that suits the rows; what a kind does not use is ignored.
///
/// ```
/// use vexfs::{Codes, Index};
///
/// let index = Index { m: 24, ef_construction: 300, codes: Codes::Sq8, ..Index::HNSW };
/// assert_eq!(index.kind.name(), "hnsw");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Index {
    /// The kind.
    pub kind: IndexKind,
    /// Codes that the graph is searched with (hnsw).
    pub codes: Codes,
    /// Neighbours of a row: above the lowest level, on which there are twice as many (hnsw); in all (vamana).
    pub m: u32,
    /// Candidates that neighbours are chosen from (hnsw, vamana).
    pub ef_construction: u32,
    /// Inverted lists (ivf, ivf-pq).
    pub nlist: u32,
    /// Bytes of a code (pq, ivf-pq, vamana).
    pub pq_bytes: u32,
    /// Bits of each part of a code, 4 or 8 (pq, ivf-pq).
    pub pq_bits: u32,
    /// How much longer a detour may be for an edge to be left out, in thousandths (vamana).
    pub alpha_permille: u32,
    /// The recall that tables are sized for, in thousandths (lsh).
    pub recall_permille: u32,
    /// The share of rows whose vectors and edges are read from disk when they are needed, in percent (vamana).
    pub disk_percent: u32,
    /// Start of the pseudo-random numbers.
    pub seed: u64,
}

impl Index {
    /// No index, with which a search compares every row.
    pub const FLAT: Index = Index::of(IndexKind::Flat);
    /// A hierarchical graph with default parameters.
    pub const HNSW: Index = Index::of(IndexKind::Hnsw);
    /// Inverted lists with default parameters.
    pub const IVF: Index = Index::of(IndexKind::Ivf);
    /// Product-quantized codes with default parameters.
    pub const PQ: Index = Index::of(IndexKind::Pq);
    /// Inverted lists of product-quantized codes with default parameters.
    pub const IVF_PQ: Index = Index::of(IndexKind::IvfPq);
    /// Hash tables with default parameters.
    pub const LSH: Index = Index::of(IndexKind::Lsh);
    /// A graph on disk with default parameters.
    pub const VAMANA: Index = Index::of(IndexKind::Vamana);

    /// An index of this kind with default parameters.
    pub const fn of(kind: IndexKind) -> Self {
        Index {
            kind,
            codes: Codes::None,
            m: 0,
            ef_construction: 0,
            nlist: 0,
            pq_bytes: 0,
            pq_bits: 0,
            alpha_permille: 0,
            recall_permille: 0,
            disk_percent: 0,
            seed: 0,
        }
    }

    /// The struct of the user ABI.
    pub fn to_uapi(self) -> uapi::IndexParams {
        uapi::IndexParams {
            kind: self.kind.code(),
            codes: self.codes.code(),
            m: self.m,
            ef_construction: self.ef_construction,
            nlist: self.nlist,
            pq_bytes: self.pq_bytes,
            pq_bits: self.pq_bits,
            alpha_permille: self.alpha_permille,
            recall_permille: self.recall_permille,
            disk_percent: self.disk_percent,
            seed: self.seed,
            reserved: [0; 2],
        }
    }

    /// From the struct of the user ABI; `None` if a newer version wrote it.
    pub fn from_uapi(params: &uapi::IndexParams) -> Option<Self> {
        Some(Index {
            kind: IndexKind::from_code(params.kind)?,
            codes: Codes::from_code(params.codes)?,
            m: params.m,
            ef_construction: params.ef_construction,
            nlist: params.nlist,
            pq_bytes: params.pq_bytes,
            pq_bits: params.pq_bits,
            alpha_permille: params.alpha_permille,
            recall_permille: params.recall_permille,
            disk_percent: params.disk_percent,
            seed: params.seed,
        })
    }

    pub(crate) fn to_engine(self) -> Result<engine::IndexParams> {
        let unknown = || Error::invalid("an index of a newer version");
        let params = engine::IndexParams {
            codes: engine::Codes::from_code(self.codes.code()).ok_or_else(unknown)?,
            m: self.m,
            ef_construction: self.ef_construction,
            nlist: self.nlist,
            pq_bytes: self.pq_bytes,
            pq_bits: self.pq_bits,
            alpha_permille: self.alpha_permille,
            recall_permille: self.recall_permille,
            disk_percent: self.disk_percent,
            seed: self.seed,
            ..engine::IndexParams::new(engine::Kind::from_code(self.kind.code()).ok_or_else(unknown)?)
        };
        params.check()?;
        Ok(params)
    }

    pub(crate) fn from_engine(params: &engine::IndexParams) -> Self {
        Index {
            kind: IndexKind::from_code(params.kind as u32).unwrap_or_default(),
            codes: Codes::from_code(params.codes as u32).unwrap_or_default(),
            m: params.m,
            ef_construction: params.ef_construction,
            nlist: params.nlist,
            pq_bytes: params.pq_bytes,
            pq_bits: params.pq_bits,
            alpha_permille: params.alpha_permille,
            recall_permille: params.recall_permille,
            disk_percent: params.disk_percent,
            seed: params.seed,
        }
    }
}

impl From<IndexKind> for Index {
    fn from(kind: IndexKind) -> Self {
        Index::of(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_mean_the_same_to_the_engine_and_in_the_user_abi() {
        let index = Index {
            codes: Codes::Bf16,
            m: 2,
            ef_construction: 3,
            nlist: 4,
            pq_bytes: 5,
            pq_bits: 8,
            alpha_permille: 1200,
            recall_permille: 900,
            disk_percent: 7,
            seed: 9,
            ..Index::HNSW
        };
        assert_eq!(Index::from_engine(&index.to_engine().unwrap()), index);
        assert_eq!(Index::from_uapi(&index.to_uapi()), Some(index));
        for kind in IndexKind::ALL {
            assert_eq!(Index::from_engine(&Index::of(*kind).to_engine().unwrap()).kind, *kind);
        }
        assert!(Index { m: 1, ..Index::HNSW }.to_engine().is_err());
    }
}
