// SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note
//! Creating, describing and dropping collections.

use crate::code::codes;
use crate::derive::FromBytes;
use crate::derive::Immutable;
use crate::derive::IntoBytes;
use crate::derive::KnownLayout;
use crate::layout::layout;
use crate::Name;

/// Largest number of dimensions of a vector.
pub const VEXFS_DIM_MAX: u32 = 4096;

/// Elements are IEEE 754 binary32, little-endian.
pub const VEXFS_ELEMENT_F32: u32 = 1;
/// Elements are IEEE 754 binary16, little-endian.
pub const VEXFS_ELEMENT_F16: u32 = 2;
/// Elements are bfloat16, the upper half of a binary32, little-endian.
pub const VEXFS_ELEMENT_BF16: u32 = 3;
/// Elements are signed bytes.
pub const VEXFS_ELEMENT_I8: u32 = 4;
/// Elements are unsigned bytes.
pub const VEXFS_ELEMENT_U8: u32 = 5;
/// Elements are bits: element i is bit i % 8 of byte i / 8. Bits behind the last are 0.
pub const VEXFS_ELEMENT_BINARY: u32 = 6;

/// Squared Euclidean distance.
pub const VEXFS_METRIC_L2: u32 = 1;
/// 1 - cosine similarity; zero vectors are refused.
pub const VEXFS_METRIC_COSINE: u32 = 2;
/// Negated inner product, so that smaller is nearer as with the others.
pub const VEXFS_METRIC_IP: u32 = 3;
/// Number of bits that differ: the metric of VEXFS_ELEMENT_BINARY, and of nothing else.
pub const VEXFS_METRIC_HAMMING: u32 = 4;

codes! {
    /// What a vector consists of: its elements, little-endian, one after the other.
    #[derive(Default)]
    pub enum Element: "element type" {
        /// IEEE 754 binary32.
        #[default]
        F32 = VEXFS_ELEMENT_F32, "f32";
        /// IEEE 754 binary16.
        F16 = VEXFS_ELEMENT_F16, "f16";
        /// bfloat16, the upper half of a binary32.
        Bf16 = VEXFS_ELEMENT_BF16, "bf16";
        /// Signed bytes.
        I8 = VEXFS_ELEMENT_I8, "i8";
        /// Unsigned bytes.
        U8 = VEXFS_ELEMENT_U8, "u8";
        /// Bits, eight a byte, the lowest first; those behind the last are 0.
        Binary = VEXFS_ELEMENT_BINARY, "binary";
    }
}

impl Element {
    /// Bytes of a vector of `dim` elements.
    pub const fn vector_bytes(self, dim: usize) -> usize {
        match self {
            Element::F32 => dim.saturating_mul(4),
            Element::F16 | Element::Bf16 => dim.saturating_mul(2),
            Element::I8 | Element::U8 => dim,
            Element::Binary => dim.div_ceil(8),
        }
    }

    /// Alignment of a vector in memory, and of the distance between two.
    pub const fn alignment(self) -> usize {
        match self {
            Element::F32 => 4,
            Element::F16 | Element::Bf16 => 2,
            Element::I8 | Element::U8 | Element::Binary => 1,
        }
    }

    /// Whether the elements are floats.
    pub const fn is_float(self) -> bool {
        matches!(self, Element::F32 | Element::F16 | Element::Bf16)
    }
}

codes! {
    /// How far apart two vectors are. Smaller is nearer with all of them.
    pub enum Metric: "metric" {
        /// Squared Euclidean distance.
        L2 = VEXFS_METRIC_L2, "l2";
        /// 1 - cosine similarity; zero vectors are refused.
        Cosine = VEXFS_METRIC_COSINE, "cosine";
        /// Negated inner product.
        Ip = VEXFS_METRIC_IP, "ip";
        /// Number of bits that differ; of binary vectors, and of nothing else.
        Hamming = VEXFS_METRIC_HAMMING, "hamming";
    }
}

/// Makes a directory that is a collection.
///
/// With a name, the directory is created (`EEXIST` if the name is taken). Without one, the directory the fd is
/// open on becomes a collection: it must be empty (`ENOTEMPTY`), not one already (`EEXIST`), not the root
/// (`EINVAL`).
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct CreateCollection {
    /// Size of this struct.
    pub size: u32,
    /// None yet: 0.
    pub flags: u32,
    /// Name in the base directory, or empty.
    pub name: Name,
    /// Dimensions, 1 to VEXFS_DIM_MAX.
    pub dim: u32,
    /// VEXFS_ELEMENT_*.
    pub element: u32,
    /// VEXFS_METRIC_*.
    pub metric: u32,
    /// VEXFS_INDEX_* with its default parameters, or 0 for VEXFS_INDEX_FLAT.
    pub index: u32,
    /// Permission bits of a directory that is created; 0 means 0777. The umask applies.
    pub mode: u32,
    /// Must be 0.
    pub reserved: u32,
    /// Out: inode number of the directory, which is the collection's id.
    pub id: u64,
}

layout!(CreateCollection, "vexfs_create_collection", 296, {
    size: 0, flags: 4, name: 8, dim: 264, element: 268, metric: 272, index: 276, mode: 280, reserved: 284, id: 288,
});

/// Describes a collection. Everything after the name is output.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct CollectionInfo {
    /// Size of this struct.
    pub size: u32,
    /// None yet: 0.
    pub flags: u32,
    /// Name in the base directory, or empty.
    pub name: Name,
    /// Out: inode number of the directory, which is the collection's id.
    pub id: u64,
    /// Out: dimensions.
    pub dim: u32,
    /// Out: VEXFS_ELEMENT_*.
    pub element: u32,
    /// Out: VEXFS_METRIC_*.
    pub metric: u32,
    /// Out: VEXFS_INDEX_*.
    pub index: u32,
    /// Out: rows a search can return.
    pub rows: u64,
    /// Out: dead rows (deleted or replaced) that still take space on disk.
    pub dead_rows: u64,
    /// Out: the id the next row without one will get.
    pub next_id: u64,
    /// Out: bytes on disk, live and dead.
    pub disk_bytes: u64,
    /// Out: bytes in memory now; 0 when nothing is loaded.
    pub memory_bytes: u64,
    /// Out: zero.
    pub reserved: [u64; 4],
}

layout!(CollectionInfo, "vexfs_collection_info", 360, {
    size: 0, flags: 4, name: 8, id: 264, dim: 272, element: 276, metric: 280, index: 284, rows: 288, dead_rows: 296,
    next_id: 304, disk_bytes: 312, memory_bytes: 320, reserved: 328,
});

/// Removes a collection with all its rows, and its directory.
///
/// The name may not be empty here. As with rmdir, files in the directory make it fail with `ENOTEMPTY`; a
/// directory that is no collection is left alone.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct DropCollection {
    /// Size of this struct.
    pub size: u32,
    /// None yet: 0.
    pub flags: u32,
    /// Name in the base directory.
    pub name: Name,
}

layout!(DropCollection, "vexfs_drop_collection", 264, { size: 0, flags: 4, name: 8, });
