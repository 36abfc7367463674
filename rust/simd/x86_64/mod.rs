// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Kernels for x86-64, one folder an instruction set, one file a family of elements; `groups.rs` says what they have in common.

pub(crate) mod avx2;
#[cfg(vexfs_avx512)]
pub(crate) mod avx512;
mod partial;
mod reduce;
pub(crate) mod sse2;
