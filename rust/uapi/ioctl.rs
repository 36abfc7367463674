// SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note
//! Ioctl numbers.
//!
//! All are `_IOWR('V', nr, struct)`. Numbers 16, 17 and 19 (files bound to rows, mixed batches), 34 (scroll), 38
//! (verify) and 48 to 52 (snapshots) are taken by what is designed and not built yet; the kernel answers them
//! with `ENOTTY`.

use crate::layout::Layout;
use crate::layout::Struct;
use crate::BuildIndex;
use crate::CollectionInfo;
use crate::CreateCollection;
use crate::DeleteVectors;
use crate::DropCollection;
use crate::Explain;
use crate::GetStats;
use crate::GetVectorStats;
use crate::GetVectors;
use crate::InsertVectors;
use crate::SearchVectors;

/// The type byte of every VexFS ioctl: 'V'.
pub const VEXFS_IOC_TYPE: u32 = 0x56;

/// Number of [`CreateCollection`].
pub const VEXFS_NR_CREATE_COLLECTION: u32 = 1;
/// Number of [`InsertVectors`].
pub const VEXFS_NR_INSERT_VECTORS: u32 = 2;
/// Number of [`SearchVectors`].
pub const VEXFS_NR_SEARCH_VECTORS: u32 = 3;
/// Number of [`GetStats`].
pub const VEXFS_NR_GET_STATS: u32 = 4;
/// Number of [`BuildIndex`].
pub const VEXFS_NR_BUILD_INDEX: u32 = 18;
/// Number of [`GetVectorStats`].
pub const VEXFS_NR_GET_VECTOR_STATS: u32 = 20;
/// Number of [`GetVectors`].
pub const VEXFS_NR_GET_VECTORS: u32 = 32;
/// Number of [`DeleteVectors`].
pub const VEXFS_NR_DELETE_VECTORS: u32 = 33;
/// Number of [`CollectionInfo`].
pub const VEXFS_NR_COLLECTION_INFO: u32 = 35;
/// Number of [`DropCollection`].
pub const VEXFS_NR_DROP_COLLECTION: u32 = 36;
/// Number of [`Explain`].
pub const VEXFS_NR_EXPLAIN: u32 = 37;

const fn iowr<T>(nr: u32) -> u32 {
    let size = core::mem::size_of::<T>() as u32;
    // Direction in bits 30–31, size in 16–29, type in 8–15, number in 0–7 (asm-generic/ioctl.h).
    assert!(size < 1 << 14);
    (3 << 30) | (size << 16) | (VEXFS_IOC_TYPE << 8) | nr
}

/// The argument of an ioctl, whose first member is its size.
pub trait Argument: Layout {
    /// The command.
    const COMMAND: u32;

    /// Sets the size to that of the struct.
    fn set_size(&mut self);
}

/// Gives each argument its command: `_IOWR` of the number and the struct.
macro_rules! ioctls {
    ($($type:ident: $number:ident, $command:ident;)+) => {
        $(
            #[doc = concat!("Command of [`", stringify!($type), "`].")]
            pub const $command: u32 = iowr::<$type>($number);

            impl Argument for $type {
                const COMMAND: u32 = $command;

                fn set_size(&mut self) {
                    self.size = core::mem::size_of::<Self>() as u32;
                }
            }
        )+

        /// Every ioctl: the name of its command in C, the command, and its argument.
        pub const IOCTLS: &[(&str, u32, Struct)] = &[$((stringify!($command), $command, $type::STRUCT),)+];
    };
}

ioctls! {
    CreateCollection: VEXFS_NR_CREATE_COLLECTION, VEXFS_IOC_CREATE_COLLECTION;
    InsertVectors: VEXFS_NR_INSERT_VECTORS, VEXFS_IOC_INSERT_VECTORS;
    SearchVectors: VEXFS_NR_SEARCH_VECTORS, VEXFS_IOC_SEARCH_VECTORS;
    GetStats: VEXFS_NR_GET_STATS, VEXFS_IOC_GET_STATS;
    BuildIndex: VEXFS_NR_BUILD_INDEX, VEXFS_IOC_BUILD_INDEX;
    GetVectorStats: VEXFS_NR_GET_VECTOR_STATS, VEXFS_IOC_GET_VECTOR_STATS;
    GetVectors: VEXFS_NR_GET_VECTORS, VEXFS_IOC_GET_VECTORS;
    DeleteVectors: VEXFS_NR_DELETE_VECTORS, VEXFS_IOC_DELETE_VECTORS;
    CollectionInfo: VEXFS_NR_COLLECTION_INFO, VEXFS_IOC_COLLECTION_INFO;
    DropCollection: VEXFS_NR_DROP_COLLECTION, VEXFS_IOC_DROP_COLLECTION;
    Explain: VEXFS_NR_EXPLAIN, VEXFS_IOC_EXPLAIN;
}

/// Returns the number of an ioctl command of ours, whatever size its caller's struct has; `None` for others.
pub const fn vexfs_nr(cmd: u32) -> Option<u32> {
    if cmd >> 30 == 3 && (cmd >> 8) & 0xff == VEXFS_IOC_TYPE {
        Some(cmd & 0xff)
    } else {
        None
    }
}
