// SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note
//! The user ABI of VexFS: ioctl numbers, their argument structs, and the binary forms of payloads and filters.
//!
//! This crate is the source; `include/uapi/linux/vexfs.h` is generated from it and committed
//! (`cargo run -p vexfs-uapi-header -- --write`). It compiles into the module and into every tool, depends on nothing
//! but `zerocopy`, and contains no code that could fail. Nothing else gives these things numbers: what a number stands
//! for is an enumeration here ([`Element`], [`IndexKind`]), and the parameters of indexes are a table
//! ([`INDEX_PARAMS`]) that checks, help texts and output are made of.
//!
//! # Rules every struct keeps
//!
//! - Fixed-width members at their natural alignment, no implicit padding (derived `IntoBytes` refuses it),
//!   sizes that are multiples of 8: 32-bit and 64-bit callers share one layout.
//! - The first member is `size`, set by the caller to the size of the struct it knows. The kernel dispatches
//!   on type and number of the ioctl and leaves the size encoded in the number alone, so structs can grow: a
//!   shorter one is read as if followed by zeros and only its own bytes are written back, a longer one is
//!   accepted if the bytes the kernel does not know are zero (else `E2BIG`). `size` below the first released
//!   one is `EINVAL`.
//! - Unknown flags and non-zero reserved members: `EINVAL`. Things this version knows of but cannot do
//!   (building in the background): `EOPNOTSUPP`.
//! - User pointers are `u64`; an array of N-byte elements is N-byte aligned (else `EINVAL`), unmapped memory
//!   is `EFAULT`. Nothing is changed by a call that fails.
//! - An output buffer that is too small: `ERANGE`, with the needed size written back.
//!
//! # Naming a collection
//!
//! Every collection call takes a base directory from its fd and a name inside it. The base is the mount's
//! root for the control file (`.vexfs_control` in the root) and the directory itself for a directory fd. The
//! name is one path component, or empty for the base itself; an empty name on the control file is `EINVAL`.

#![cfg_attr(not(CONFIG_RUST), no_std)]
#![forbid(unsafe_code)]

mod code;
mod collection;
mod explain;
pub mod filter;
mod index;
mod ioctl;
pub mod layout;
pub mod payload;
mod rows;
mod search;
mod stats;

pub use code::UnknownName;
pub use collection::*;
pub use explain::*;
pub use index::*;
pub use ioctl::*;
pub use rows::*;
pub use search::*;
pub use stats::*;

/// Longest name of a collection in bytes, without the NUL.
pub const VEXFS_NAME_MAX: u32 = 255;

/// A byte of a C string; `char` in the header.
pub type Char = u8;

/// A name: at most [`VEXFS_NAME_MAX`] bytes and a NUL. Bytes after the first NUL are ignored; an array
/// without one is `EINVAL`.
pub type Name = [Char; 256];

/// The bits of an IEEE 754 binary32 value; `float` in the header.
///
/// Module code is compiled without floating point, so it carries the bits and never computes with them.
#[repr(transparent)]
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    derive::FromBytes,
    derive::IntoBytes,
    derive::Immutable,
    derive::KnownLayout,
)]
pub struct F32(pub u32);

/// The derives of `zerocopy`, which the kernel keeps in a crate of its own.
pub(crate) mod derive {
    #[cfg(not(CONFIG_RUST))]
    pub(crate) use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
    #[cfg(CONFIG_RUST)]
    pub(crate) use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};
}

/// Returns the bytes of a name up to its NUL, or `None` when there is no NUL.
pub fn name_bytes(name: &Name) -> Option<&[u8]> {
    let end = name.iter().position(|&c| c == 0)?;
    name.get(..end)
}

/// Returns `name` as a NUL-terminated array, or `None` when it is too long or contains a NUL.
pub fn name_from(name: &[u8]) -> Option<Name> {
    if name.contains(&0) {
        return None;
    }
    let mut out = [0; 256];
    let (head, tail) = out.split_at_mut_checked(name.len())?;
    // At least the last byte stays zero.
    if tail.is_empty() {
        return None;
    }
    head.copy_from_slice(name);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_goes_into_its_array_and_comes_out_again() {
        for name in [&b""[..], b"a", &[b'x'; 255]] {
            assert_eq!(name_bytes(&name_from(name).unwrap()), Some(name));
        }
    }

    #[test]
    fn a_name_that_is_too_long_or_has_a_nul_does_not_fit() {
        assert!(name_from(&[b'x'; 256]).is_none());
        assert!(name_from(&[b'x'; 1000]).is_none());
        assert!(name_from(b"a\0b").is_none());
    }

    #[test]
    fn an_array_without_a_nul_is_no_name() {
        assert_eq!(name_bytes(&[b'x'; 256]), None);
    }

    #[test]
    fn a_command_is_recognised_whatever_size_its_struct_has() {
        for &(name, cmd, _) in IOCTLS {
            let nr = cmd & 0xff;
            assert_eq!(vexfs_nr(cmd), Some(nr), "{name}");
            assert_eq!(vexfs_nr(cmd ^ (0x155 << 16)), Some(nr), "{name}");
            assert_eq!(vexfs_nr(cmd ^ (1 << 8)), None, "{name}");
            assert_eq!(vexfs_nr(cmd & !(1 << 30)), None, "{name}");
        }
    }
}
