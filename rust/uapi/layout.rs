// SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note
//! The layout of every struct as data: asserted at compile time here, compared with a C compiler's view of the
//! generated header by `tests/uapi`.

/// One member of a struct.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// Its name, the same in C.
    pub name: &'static str,
    /// Its offset in bytes.
    pub offset: usize,
}

/// One struct, under the name it has in C.
#[derive(Clone, Copy, Debug)]
pub struct Struct {
    /// Its tag in C.
    pub name: &'static str,
    /// Its size in bytes.
    pub size: usize,
    /// Its members in order.
    pub members: &'static [Member],
}

/// A struct of the ABI.
pub trait Layout {
    /// Name, size and members.
    const STRUCT: Struct;
}

/// Declares the size and the offsets of a struct; the build fails when they are not the compiler's.
macro_rules! layout {
    ($type:ident, $name:literal, $size:literal, { $($member:ident : $offset:literal,)* }) => {
        const _: () = assert!(core::mem::size_of::<$type>() == $size && $size % 8 == 0);
        const _: () = assert!(core::mem::align_of::<$type>() <= 8);
        $(const _: () = assert!(core::mem::offset_of!($type, $member) == $offset);)*
        impl crate::layout::Layout for $type {
            const STRUCT: crate::layout::Struct = crate::layout::Struct {
                name: $name,
                size: $size,
                members: &[$(crate::layout::Member { name: stringify!($member), offset: $offset },)*],
            };
        }
    };
}
pub(crate) use layout;

/// Every struct of the ABI.
pub const STRUCTS: &[Struct] = &[
    crate::CreateCollection::STRUCT,
    crate::CollectionInfo::STRUCT,
    crate::DropCollection::STRUCT,
    crate::InsertVectors::STRUCT,
    crate::Row::STRUCT,
    crate::GetVectors::STRUCT,
    crate::DeleteVectors::STRUCT,
    crate::Hit::STRUCT,
    crate::QueryResult::STRUCT,
    crate::SearchVectors::STRUCT,
    crate::GetStats::STRUCT,
    crate::IndexParams::STRUCT,
    crate::BuildIndex::STRUCT,
    crate::GetVectorStats::STRUCT,
    crate::ExplainPart::STRUCT,
    crate::Explain::STRUCT,
];

/// Every ioctl, under the name it has in C.
pub const IOCTLS: &[(&str, u32)] = &[
    ("VEXFS_IOC_CREATE_COLLECTION", crate::VEXFS_IOC_CREATE_COLLECTION),
    ("VEXFS_IOC_INSERT_VECTORS", crate::VEXFS_IOC_INSERT_VECTORS),
    ("VEXFS_IOC_SEARCH_VECTORS", crate::VEXFS_IOC_SEARCH_VECTORS),
    ("VEXFS_IOC_GET_STATS", crate::VEXFS_IOC_GET_STATS),
    ("VEXFS_IOC_BUILD_INDEX", crate::VEXFS_IOC_BUILD_INDEX),
    ("VEXFS_IOC_GET_VECTOR_STATS", crate::VEXFS_IOC_GET_VECTOR_STATS),
    ("VEXFS_IOC_GET_VECTORS", crate::VEXFS_IOC_GET_VECTORS),
    ("VEXFS_IOC_DELETE_VECTORS", crate::VEXFS_IOC_DELETE_VECTORS),
    ("VEXFS_IOC_COLLECTION_INFO", crate::VEXFS_IOC_COLLECTION_INFO),
    ("VEXFS_IOC_DROP_COLLECTION", crate::VEXFS_IOC_DROP_COLLECTION),
    ("VEXFS_IOC_EXPLAIN", crate::VEXFS_IOC_EXPLAIN),
];
