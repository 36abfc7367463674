// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What an index is made with: the ABI's parameters once they are checked, and how collection items and segment headers
//! store them.

use core::ops::Deref;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_uapi as uapi;
use vexfs_uapi::Codes;
use vexfs_uapi::IndexKind;
use zerocopy::little_endian::U16;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;
use zerocopy::FromBytes as _;
use zerocopy::FromZeros as _;
use zerocopy::IntoBytes as _;
use zerocopy_derive::*;

/// Parameters of an index that are known to be valid. What a kind does not use is ignored; 0 stands for a default that
/// suits the rows.
///
/// # Invariants
///
/// `raw` has known codes, reserved members that are 0, and values that [`uapi::INDEX_PARAMS`] allows; `kind` and
/// `codes` are its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct IndexParams {
    raw: uapi::IndexParams,
    kind: IndexKind,
    codes: Codes,
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
    /// The largest `m`.
    pub(crate) const M_MAX: u32 = 256;

    /// Checks what can be told without the rows.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a kind or codes that this version does not know; `Invalid` with what is out of range.
    pub fn new(raw: &uapi::IndexParams) -> Result<Self> {
        let kind = IndexKind::from_code(raw.kind).ok_or(Error::Unsupported("index"))?;
        let codes = Codes::from_code(raw.codes).ok_or(Error::Unsupported("codes"))?;
        for param in uapi::INDEX_PARAMS {
            if !param.values.contain((param.get)(raw)) {
                return Err(Error::Invalid(param.refusal));
            }
        }
        if raw.reserved != [0; 2] {
            return Err(Error::Invalid("parameters of an index of a newer version"));
        }
        Ok(Self { raw: *raw, kind, codes })
    }

    /// An index of this kind with defaults only.
    pub fn of(kind: IndexKind) -> Self {
        Self {
            raw: uapi::IndexParams::of(kind),
            kind,
            codes: Codes::None,
        }
    }

    /// The kind.
    pub fn kind(&self) -> IndexKind {
        self.kind
    }

    /// The codes that a graph is searched with.
    pub fn codes(&self) -> Codes {
        self.codes
    }

    /// The ABI's struct.
    pub fn raw(&self) -> &uapi::IndexParams {
        &self.raw
    }

    /// With these numbers of neighbours and candidates, which are in range, where there are none.
    pub(crate) fn with_graph_defaults(mut self, m: u32, ef_construction: u32) -> Self {
        for (value, default) in [(&mut self.raw.m, m), (&mut self.raw.ef_construction, ef_construction)] {
            if *value == 0 {
                *value = default;
            }
        }
        self
    }

    /// With other values, which a test knows to be valid.
    #[cfg(test)]
    pub(crate) fn with(self, change: impl FnOnce(&mut uapi::IndexParams)) -> Self {
        let mut raw = self.raw;
        change(&mut raw);
        Self::new(&raw).unwrap()
    }

    /// The form on disk.
    pub(crate) fn encode(&self) -> [u8; PARAMS_BYTES] {
        let raw = &self.raw;
        let mut disk = DiskParams::new_zeroed();
        disk.kind.set(raw.kind);
        disk.codes.set(raw.codes);
        disk.m.set(raw.m);
        disk.ef_construction.set(raw.ef_construction);
        disk.nlist.set(raw.nlist);
        disk.pq_bytes.set(raw.pq_bytes);
        // The table of parameters bounds all of these far below.
        disk.pq_bits.set(raw.pq_bits as u16);
        disk.disk_percent.set(raw.disk_percent as u16);
        disk.alpha_permille.set(raw.alpha_permille as u16);
        disk.recall_permille.set(raw.recall_permille as u16);
        disk.seed.set(raw.seed);
        let mut bytes = [0; PARAMS_BYTES];
        bytes.copy_from_slice(disk.as_bytes());
        bytes
    }

    /// The parameters stored in these bytes; `None` if they are none.
    pub(crate) fn decode(bytes: &[u8; PARAMS_BYTES]) -> Option<Self> {
        let disk = DiskParams::ref_from_bytes(bytes).ok()?;
        let raw = uapi::IndexParams {
            kind: disk.kind.get(),
            codes: disk.codes.get(),
            m: disk.m.get(),
            ef_construction: disk.ef_construction.get(),
            nlist: disk.nlist.get(),
            pq_bytes: disk.pq_bytes.get(),
            pq_bits: disk.pq_bits.get().into(),
            alpha_permille: disk.alpha_permille.get().into(),
            recall_permille: disk.recall_permille.get().into(),
            disk_percent: disk.disk_percent.get().into(),
            seed: disk.seed.get(),
            reserved: [0; 2],
        };
        let params = Self::new(&raw).ok()?;
        (disk.reserved == [0; 24]).then_some(params)
    }
}

impl Deref for IndexParams {
    type Target = uapi::IndexParams;

    fn deref(&self) -> &uapi::IndexParams {
        &self.raw
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_survive_the_disk_and_damage_is_refused() {
        let params = IndexParams::new(&uapi::IndexParams {
            m: 16,
            ef_construction: 200,
            nlist: 1024,
            pq_bytes: 32,
            pq_bits: 4,
            alpha_permille: 1200,
            recall_permille: 900,
            disk_percent: 50,
            seed: u64::MAX,
            ..uapi::IndexParams::HNSW.with_codes(Codes::Sq8)
        })
        .unwrap();
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
        let base = uapi::IndexParams::VAMANA;
        assert!(IndexParams::new(&base).is_ok());
        let m = |m| IndexParams::new(&uapi::IndexParams { m, ..base });
        assert!(m(IndexParams::M_MAX).is_ok() && m(IndexParams::M_MAX + 1).is_err());
        for param in uapi::INDEX_PARAMS {
            let bad = match param.values {
                uapi::Values::Range(_, u64::MAX) => continue,
                uapi::Values::Range(_, high) | uapi::Values::Permille(_, high) => high + 1,
                uapi::Values::OneOf(_) => 5,
                uapi::Values::Named(names) => names.len() as u64,
            };
            let mut params = base;
            (param.set)(&mut params, bad);
            assert!(IndexParams::new(&params).is_err(), "{}", param.name);
            if let uapi::Values::Range(low @ 2.., _) | uapi::Values::Permille(low @ 2.., _) = param.values {
                (param.set)(&mut params, low - 1);
                assert!(
                    matches!(IndexParams::new(&params), Err(Error::Invalid(_))),
                    "{}",
                    param.name
                );
            }
        }
        let unknown = uapi::IndexParams { kind: 8, ..base };
        assert!(matches!(IndexParams::new(&unknown), Err(Error::Unsupported(_))));
        let newer = uapi::IndexParams {
            reserved: [0, 1],
            ..base
        };
        assert!(IndexParams::new(&newer).is_err());
    }
}
