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

/// Every struct of the ABI that is no argument of an ioctl, but lies in one or is pointed to by it.
pub const STRUCTS: &[Struct] = &[
    crate::Row::STRUCT,
    crate::Hit::STRUCT,
    crate::QueryResult::STRUCT,
    crate::IndexParams::STRUCT,
    crate::ExplainPart::STRUCT,
];
