// SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note
//! Choosing and building indexes, and what a collection consists of.

use crate::code::codes;
use crate::derive::FromBytes;
use crate::derive::Immutable;
use crate::derive::IntoBytes;
use crate::derive::KnownLayout;
use crate::layout::layout;
use crate::Name;

/// Exact scan: no index.
pub const VEXFS_INDEX_FLAT: u32 = 1;
/// Hierarchical graph.
pub const VEXFS_INDEX_HNSW: u32 = 2;
/// Inverted lists of a k-means clustering, with whole vectors.
pub const VEXFS_INDEX_IVF: u32 = 3;
/// Product quantizer: every row's code is compared, the best with whole vectors again.
pub const VEXFS_INDEX_PQ: u32 = 4;
/// Inverted lists of codes of a product quantizer.
pub const VEXFS_INDEX_IVF_PQ: u32 = 5;
/// Hash tables in which near rows share a bucket.
pub const VEXFS_INDEX_LSH: u32 = 6;
/// Graph on disk, with codes of a product quantizer in memory.
pub const VEXFS_INDEX_VAMANA: u32 = 7;

/// A graph is searched with whole vectors.
pub const VEXFS_CODES_NONE: u32 = 0;
/// A graph is searched with a byte an element, the best rows compared with whole vectors again.
pub const VEXFS_CODES_SQ8: u32 = 1;
/// As above with bfloat16 elements.
pub const VEXFS_CODES_BF16: u32 = 2;
/// As above with the signs of the elements, a bit each.
pub const VEXFS_CODES_BINARY: u32 = 3;

codes! {
    /// How rows are found.
    #[derive(Default)]
    pub enum IndexKind: "index" {
        /// Every row is compared: exact.
        #[default]
        Flat = VEXFS_INDEX_FLAT, "flat";
        /// A hierarchical navigable small world graph (Malkov, Yashunin: arXiv 1603.09320): the usual choice.
        Hnsw = VEXFS_INDEX_HNSW, "hnsw";
        /// Inverted lists of the rows nearest to centroids: cheap to build.
        Ivf = VEXFS_INDEX_IVF, "ivf";
        /// Product-quantized codes (Jégou, Douze, Schmid: TPAMI 2011), all of them scanned: small.
        Pq = VEXFS_INDEX_PQ, "pq";
        /// Inverted lists of product-quantized residuals.
        IvfPq = VEXFS_INDEX_IVF_PQ, "ivf-pq";
        /// Locality-sensitive hash tables, probed in many buckets (Lv et al.: VLDB 2007).
        Lsh = VEXFS_INDEX_LSH, "lsh";
        /// A graph on disk (Subramanya et al.: DiskANN, NeurIPS 2019) with codes in memory: for more rows than memory
        /// holds.
        Vamana = VEXFS_INDEX_VAMANA, "vamana";
    }
}

codes! {
    /// What a graph is searched with. The best rows are compared by their full vectors again, whatever it is.
    #[derive(Default)]
    pub enum Codes: "kind of codes" {
        /// The full vectors.
        #[default]
        None = VEXFS_CODES_NONE, "none";
        /// A byte an element.
        Sq8 = VEXFS_CODES_SQ8, "sq8";
        /// bfloat16.
        Bf16 = VEXFS_CODES_BF16, "bf16";
        /// A bit an element.
        Binary = VEXFS_CODES_BINARY, "binary";
    }
}

/// Which index, and its parameters. A parameter that is 0 has a default that suits the rows; one that the index does
/// not have is ignored.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct IndexParams {
    /// VEXFS_INDEX_*.
    pub kind: u32,
    /// VEXFS_CODES_*: what HNSW is searched with.
    pub codes: u32,
    /// Neighbours of a row: of HNSW a level (twice as many on the lowest), of Vamana in all.
    pub m: u32,
    /// Candidates looked at for a row's neighbours while building HNSW and Vamana.
    pub ef_construction: u32,
    /// Lists of IVF and IVF-PQ.
    pub nlist: u32,
    /// Bytes of a code of PQ, IVF-PQ and Vamana.
    pub pq_bytes: u32,
    /// Bits of a part of such a code: 4 or 8.
    pub pq_bits: u32,
    /// How much longer a detour may be for Vamana to leave an edge out, in thousandths.
    pub alpha_permille: u32,
    /// The recall that LSH sizes its tables for, in thousandths.
    pub recall_permille: u32,
    /// The share of rows whose vectors and edges Vamana reads from disk when it needs them, in percent.
    pub disk_percent: u32,
    /// Start of the pseudo-random numbers: the same rows and seed give the same index.
    pub seed: u64,
    /// Must be 0.
    pub reserved: [u64; 2],
}

layout!(IndexParams, "vexfs_index_params", 64, {
    kind: 0, codes: 4, m: 8, ef_construction: 12, nlist: 16, pq_bytes: 20, pq_bits: 24, alpha_permille: 28,
    recall_permille: 32, disk_percent: 36, seed: 40, reserved: 48,
});

impl IndexParams {
    /// No index, with which a search compares every row.
    pub const FLAT: Self = Self::of(IndexKind::Flat);
    /// A hierarchical graph with default parameters.
    pub const HNSW: Self = Self::of(IndexKind::Hnsw);
    /// Inverted lists with default parameters.
    pub const IVF: Self = Self::of(IndexKind::Ivf);
    /// Product-quantized codes with default parameters.
    pub const PQ: Self = Self::of(IndexKind::Pq);
    /// Inverted lists of product-quantized codes with default parameters.
    pub const IVF_PQ: Self = Self::of(IndexKind::IvfPq);
    /// Hash tables with default parameters.
    pub const LSH: Self = Self::of(IndexKind::Lsh);
    /// A graph on disk with default parameters.
    pub const VAMANA: Self = Self::of(IndexKind::Vamana);

    /// An index of this kind with default parameters.
    pub const fn of(kind: IndexKind) -> Self {
        IndexParams {
            kind: kind.code(),
            codes: Codes::None.code(),
            m: 0,
            ef_construction: 0,
            nlist: 0,
            pq_bytes: 0,
            pq_bits: 0,
            alpha_permille: 0,
            recall_permille: 0,
            disk_percent: 0,
            seed: 0,
            reserved: [0; 2],
        }
    }

    /// Its kind; `None` for one of a newer version.
    pub fn kind(&self) -> Option<IndexKind> {
        IndexKind::from_code(self.kind)
    }

    /// Its codes; `None` for those of a newer version.
    pub fn codes(&self) -> Option<Codes> {
        Codes::from_code(self.codes)
    }

    /// With other codes to search the graph with.
    pub const fn with_codes(mut self, codes: Codes) -> Self {
        self.codes = codes.code();
        self
    }
}

impl From<IndexKind> for IndexParams {
    fn from(kind: IndexKind) -> Self {
        Self::of(kind)
    }
}

/// As an object of names and what [`INDEX_PARAMS`] says of the values.
#[cfg(feature = "serde")]
impl serde::Serialize for IndexParams {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("kind", &self.kind())?;
        map.serialize_entry("codes", &self.codes())?;
        for param in INDEX_PARAMS.iter().filter(|param| param.member != "codes") {
            map.serialize_entry(param.member, &(param.get)(self))?;
        }
        map.end()
    }
}

/// What values a parameter takes, besides 0, which is the default.
#[derive(Clone, Copy, Debug)]
pub enum Values {
    /// All from the first to the second.
    Range(u64, u64),
    /// These.
    OneOf(&'static [u64]),
    /// A fraction: thousandths of it from the first to the second.
    Permille(u64, u64),
    /// Numbers with names.
    Named(&'static [&'static str]),
}

impl Values {
    /// Whether a parameter may have this value.
    pub fn contain(&self, value: u64) -> bool {
        value == 0
            || match self {
                Values::Range(low, high) | Values::Permille(low, high) => (*low..=*high).contains(&value),
                Values::OneOf(values) => values.contains(&value),
                Values::Named(names) => value < names.len() as u64,
            }
    }
}

/// A parameter of indexes.
#[derive(Clone, Copy, Debug)]
pub struct IndexParam {
    /// Its name where users give it: `ef-construction`.
    pub name: &'static str,
    /// Its member of [`IndexParams`].
    pub member: &'static str,
    /// What it is, in a line.
    pub help: &'static str,
    /// Its values.
    pub values: Values,
    /// What is said of other values.
    pub refusal: &'static str,
    /// Reads it.
    pub get: fn(&IndexParams) -> u64,
    /// Sets it; the value is one of [`values`](Self::values).
    pub set: fn(&mut IndexParams, u64),
}

/// Declares a parameter that is the member `$member`.
macro_rules! param {
    ($member:ident: $type:ident, $name:literal, $help:literal, $values:expr, $refusal:literal) => {
        IndexParam {
            name: $name,
            member: stringify!($member),
            help: $help,
            values: $values,
            refusal: $refusal,
            get: |params| u64::from(params.$member),
            set: |params, value| params.$member = value as $type,
        }
    };
}

/// Every parameter, in the order in which users see them.
pub const INDEX_PARAMS: &[IndexParam] = &[
    param!(
        codes: u32,
        "codes",
        "What the graph is searched with; hits are compared by whole vectors all the same (hnsw)",
        Values::Named(Codes::NAMES),
        "no such codes"
    ),
    param!(
        m: u32,
        "m",
        "Neighbours of a row (hnsw, vamana)",
        Values::Range(2, 256),
        "m is 2 to 256"
    ),
    param!(
        ef_construction: u32,
        "ef-construction",
        "Candidates that neighbours are chosen from (hnsw, vamana)",
        Values::Range(1, 65_536),
        "ef_construction is at most 65536"
    ),
    param!(
        nlist: u32,
        "nlist",
        "Lists (ivf, ivf-pq)",
        Values::Range(1, 1 << 20),
        "nlist is at most 1048576"
    ),
    param!(
        pq_bytes: u32,
        "pq-bytes",
        "Bytes of a code (pq, ivf-pq, vamana)",
        Values::Range(1, 2048),
        "a code has at most 2048 bytes"
    ),
    param!(
        pq_bits: u32,
        "pq-bits",
        "Bits of each part of a code (pq, ivf-pq)",
        Values::OneOf(&[4, 8]),
        "a part of a code has 4 or 8 bits"
    ),
    param!(
        alpha_permille: u32,
        "alpha",
        "How much longer a detour may be for an edge to be left out, 1 to 3 (vamana)",
        Values::Permille(1000, 3000),
        "alpha is 1 to 3"
    ),
    param!(
        recall_permille: u32,
        "recall",
        "The recall to size tables for, below 1 (lsh)",
        Values::Permille(1, 999),
        "a recall target is below 1"
    ),
    param!(
        disk_percent: u32,
        "disk-percent",
        "The share of rows whose vectors and edges are read from disk when needed (vamana)",
        Values::Range(0, 100),
        "the share of rows on disk is a percentage"
    ),
    param!(
        seed: u64,
        "seed",
        "Start of the pseudo-random numbers",
        Values::Range(0, u64::MAX),
        "seeds are 64-bit numbers"
    ),
];

/// Gives the collection this index from now on, and builds it for the rows there are.
pub const VEXFS_BUILD_SET: u32 = 1;
/// Takes the index away: rows are scanned from now on.
pub const VEXFS_BUILD_DROP: u32 = 2;
/// Merges all rows into one segment without deleted rows, and indexes it.
pub const VEXFS_BUILD_OPTIMIZE: u32 = 3;
/// Does what has become due: seals recent rows, merges small segments, indexes what has no index.
pub const VEXFS_BUILD_MAINTAIN: u32 = 4;

/// Return when the work is done. Without it, it would be done in the background: `EOPNOTSUPP` in this version.
pub const VEXFS_BUILD_WAIT: u32 = 1 << 0;

/// Builds, changes, drops and optimizes the index of a collection.
///
/// Searches and changes go on meanwhile. A call that is interrupted leaves the collection as it was after the last
/// step that ended; calling again goes on from there.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct BuildIndex {
    /// Size of this struct.
    pub size: u32,
    /// VEXFS_BUILD_WAIT.
    pub flags: u32,
    /// Name in the base directory, or empty.
    pub name: Name,
    /// VEXFS_BUILD_SET and so on.
    pub action: u32,
    /// Must be 0.
    pub reserved: u32,
    /// With VEXFS_BUILD_SET: what to build. Else zero.
    pub params: IndexParams,
    /// Out: rows that an index covers.
    pub indexed_rows: u64,
    /// Out: segments.
    pub segments: u64,
}

layout!(BuildIndex, "vexfs_build_index", 352, {
    size: 0, flags: 4, name: 8, action: 264, reserved: 268, params: 272, indexed_rows: 336, segments: 344,
});

/// What a collection consists of. Everything after the name is output.
///
/// While an index is built, `build_done` of `build_total` rows are.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct GetVectorStats {
    /// Size of this struct.
    pub size: u32,
    /// None yet: 0.
    pub flags: u32,
    /// Name in the base directory, or empty.
    pub name: Name,
    /// Out: the index that the collection is to have, with its parameters.
    pub index: IndexParams,
    /// Out: rows a search can return.
    pub rows: u64,
    /// Out: dead rows (deleted or replaced) that still take space.
    pub dead_rows: u64,
    /// Out: rows, live and dead, that are in no segment yet.
    pub tail_rows: u64,
    /// Out: rows, live and dead, of segments that have the index.
    pub indexed_rows: u64,
    /// Out: segments.
    pub segments: u64,
    /// Out: bytes on disk of rows that are in no segment yet.
    pub tail_bytes: u64,
    /// Out: bytes on disk of segments: all of what follows, and their headers.
    pub segment_bytes: u64,
    /// Out: of them, vectors.
    pub vector_bytes: u64,
    /// Out: of them, graphs, lists, hash tables and codes.
    pub index_bytes: u64,
    /// Out: of them, payloads.
    pub payload_bytes: u64,
    /// Out: of them, indexes of payload fields.
    pub field_bytes: u64,
    /// Out: bytes in memory now; 0 when nothing is loaded.
    pub memory_bytes: u64,
    /// Out: rows indexed by the build that is running.
    pub build_done: u64,
    /// Out: rows that it has to index; 0 when none is running.
    pub build_total: u64,
    /// Out: zero.
    pub reserved: [u64; 8],
}

layout!(GetVectorStats, "vexfs_get_vector_stats", 504, {
    size: 0, flags: 4, name: 8, index: 264, rows: 328, dead_rows: 336, tail_rows: 344, indexed_rows: 352,
    segments: 360, tail_bytes: 368, segment_bytes: 376, vector_bytes: 384, index_bytes: 392, payload_bytes: 400,
    field_bytes: 408, memory_bytes: 416, build_done: 424, build_total: 432, reserved: 440,
});
