// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What an index is made with, and how that is stored in collection items and segment headers.

use vexfs_host::Error;
use vexfs_host::Result;
use zerocopy::little_endian::U16;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;
use zerocopy::FromBytes as _;
use zerocopy::FromZeros as _;
use zerocopy::IntoBytes as _;
use zerocopy_derive::*;

/// The kinds of indexes, with their numbers in the ABI and on disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum Kind {
    /// None: every row is compared.
    Flat = 1,
    /// A hierarchical navigable small world graph (Malkov, Yashunin: arXiv 1603.09320).
    Hnsw = 2,
    /// Inverted lists of the rows nearest to centroids.
    Ivf = 3,
    /// Product-quantized codes (Jégou, Douze, Schmid: TPAMI 2011), all of them scanned.
    Pq = 4,
    /// Inverted lists of product-quantized residuals.
    IvfPq = 5,
    /// Locality-sensitive hash tables, probed in many buckets (Lv et al.: VLDB 2007).
    Lsh = 6,
    /// A graph on disk (Subramanya et al.: DiskANN, NeurIPS 2019).
    Vamana = 7,
}

impl Kind {
    /// The kind with this number.
    pub fn from_code(code: u32) -> Option<Self> {
        [
            Kind::Flat,
            Kind::Hnsw,
            Kind::Ivf,
            Kind::Pq,
            Kind::IvfPq,
            Kind::Lsh,
            Kind::Vamana,
        ]
        .into_iter()
        .find(|kind| *kind as u32 == code)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Flat => "flat",
            Kind::Hnsw => "hnsw",
            Kind::Ivf => "ivf",
            Kind::Pq => "pq",
            Kind::IvfPq => "ivf-pq",
            Kind::Lsh => "lsh",
            Kind::Vamana => "vamana",
        }
    }
}

/// The codes that a graph is searched on; hits are compared by their full vectors all the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum Codes {
    /// None: the full vectors.
    None = 0,
    /// A byte a dimension.
    Sq8 = 1,
    /// The upper halves of f32.
    Bf16 = 2,
    /// A bit a dimension.
    Binary = 3,
}

impl Codes {
    /// The codes with this number.
    pub fn from_code(code: u32) -> Option<Self> {
        [Codes::None, Codes::Sq8, Codes::Bf16, Codes::Binary]
            .into_iter()
            .find(|codes| *codes as u32 == code)
    }

    /// Their name.
    pub fn name(self) -> &'static str {
        match self {
            Codes::None => "none",
            Codes::Sq8 => "sq8",
            Codes::Bf16 => "bf16",
            Codes::Binary => "binary",
        }
    }
}

/// What an index is made with. What a kind does not use is ignored; 0 stands for a default that suits the rows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct IndexParams {
    /// The kind.
    pub kind: Kind,
    /// Codes (hnsw).
    pub codes: Codes,
    /// Neighbours of a node above level 0, half of those at level 0 (hnsw); of a node (vamana).
    pub m: u32,
    /// Candidates that neighbours are chosen from (hnsw, vamana).
    pub ef_construction: u32,
    /// Inverted lists (ivf, ivf-pq).
    pub nlist: u32,
    /// Bytes of a code (pq, ivf-pq, vamana).
    pub pq_bytes: u32,
    /// Bits of each part of a code, 4 or 8 (pq, ivf-pq).
    pub pq_bits: u32,
    /// How much longer a way may be before an edge is left out, in thousandths (vamana).
    pub alpha_permille: u32,
    /// The recall at 10 that parameters are derived for, in thousandths (lsh).
    pub recall_permille: u32,
    /// The share of rows whose vectors and edges are only read from disk, 0 to 100 (vamana).
    pub disk_percent: u32,
    /// Where random numbers start.
    pub seed: u64,
}

/// Bytes of [`IndexParams`] on disk.
pub(crate) const PARAMS_BYTES: usize = 64;

#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
struct DiskParams {
    kind: U32,
    codes: U32,
    m: U32,
    ef_construction: U32,
    nlist: U32,
    pq_bytes: U32,
    pq_bits: U16,
    disk_percent: U16,
    alpha_permille: U16,
    recall_permille: U16,
    seed: U64,
    reserved: [u8; 24],
}

const _: () = assert!(size_of::<DiskParams>() == PARAMS_BYTES);

impl IndexParams {
    /// The largest number of neighbours.
    pub const M_MAX: u32 = 256;
    /// The largest number of candidates.
    pub const EF_MAX: u32 = 65_536;
    /// The largest number of lists.
    pub const NLIST_MAX: u32 = 1 << 20;

    /// An index of this kind with defaults only.
    pub fn new(kind: Kind) -> Self {
        Self {
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

    /// Checks what can be told without the rows.
    ///
    /// # Errors
    ///
    /// `Invalid` with what is out of range.
    pub fn check(&self) -> Result {
        if self.m == 1 || self.m > Self::M_MAX {
            return Err(Error::Invalid("m is 2 to 256"));
        }
        if self.ef_construction > Self::EF_MAX {
            return Err(Error::Invalid("ef_construction is at most 65536"));
        }
        if self.nlist > Self::NLIST_MAX {
            return Err(Error::Invalid("nlist is at most 1048576"));
        }
        if self.pq_bytes > 2048 {
            return Err(Error::Invalid("a code has at most 2048 bytes"));
        }
        if !matches!(self.pq_bits, 0 | 4 | 8) {
            return Err(Error::Invalid("a part of a code has 4 or 8 bits"));
        }
        if self.alpha_permille != 0 && !(1000..=3000).contains(&self.alpha_permille) {
            return Err(Error::Invalid("alpha is 1 to 3"));
        }
        if self.recall_permille > 999 {
            return Err(Error::Invalid("a recall target is below 1"));
        }
        if self.disk_percent > 100 {
            return Err(Error::Invalid("the share of rows on disk is a percentage"));
        }
        Ok(())
    }

    /// The form on disk.
    pub(crate) fn encode(&self) -> [u8; PARAMS_BYTES] {
        let mut disk = DiskParams::new_zeroed();
        disk.kind.set(self.kind as u32);
        disk.codes.set(self.codes as u32);
        disk.m.set(self.m);
        disk.ef_construction.set(self.ef_construction);
        disk.nlist.set(self.nlist);
        disk.pq_bytes.set(self.pq_bytes);
        // `check` bounds all of these far below.
        disk.pq_bits.set(self.pq_bits as u16);
        disk.disk_percent.set(self.disk_percent as u16);
        disk.alpha_permille.set(self.alpha_permille as u16);
        disk.recall_permille.set(self.recall_permille as u16);
        disk.seed.set(self.seed);
        let mut bytes = [0; PARAMS_BYTES];
        bytes.copy_from_slice(disk.as_bytes());
        bytes
    }

    /// The parameters stored in these bytes; `None` if they are none.
    pub(crate) fn decode(bytes: &[u8; PARAMS_BYTES]) -> Option<Self> {
        let disk = DiskParams::ref_from_bytes(bytes).ok()?;
        let params = Self {
            kind: Kind::from_code(disk.kind.get())?,
            codes: Codes::from_code(disk.codes.get())?,
            m: disk.m.get(),
            ef_construction: disk.ef_construction.get(),
            nlist: disk.nlist.get(),
            pq_bytes: disk.pq_bytes.get(),
            pq_bits: disk.pq_bits.get().into(),
            alpha_permille: disk.alpha_permille.get().into(),
            recall_permille: disk.recall_permille.get().into(),
            disk_percent: disk.disk_percent.get().into(),
            seed: disk.seed.get(),
        };
        (params.check().is_ok() && disk.reserved == [0; 24]).then_some(params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_survive_the_disk_and_damage_is_refused() {
        let params = IndexParams {
            codes: Codes::Sq8,
            m: 16,
            ef_construction: 200,
            nlist: 1024,
            pq_bytes: 32,
            pq_bits: 4,
            alpha_permille: 1200,
            recall_permille: 900,
            disk_percent: 50,
            seed: u64::MAX,
            ..IndexParams::new(Kind::Hnsw)
        };
        let bytes = params.encode();
        assert_eq!(IndexParams::decode(&bytes), Some(params));
        for at in 0..bytes.len() {
            let mut changed = bytes;
            changed[at] ^= 0x80;
            assert_ne!(IndexParams::decode(&changed), Some(params), "{at}");
        }
    }

    #[test]
    fn parameters_out_of_range_are_refused() {
        let base = IndexParams::new(Kind::Vamana);
        assert_eq!(base.check(), Ok(()));
        for bad in [
            IndexParams { m: 1, ..base },
            IndexParams { m: 257, ..base },
            IndexParams { pq_bits: 5, ..base },
            IndexParams {
                alpha_permille: 999,
                ..base
            },
            IndexParams {
                recall_permille: 1000,
                ..base
            },
            IndexParams {
                disk_percent: 101,
                ..base
            },
        ] {
            assert!(matches!(bad.check(), Err(Error::Invalid(_))), "{bad:?}");
        }
    }
}
