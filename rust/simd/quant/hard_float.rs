// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The quantizers' part of the hard-float object, as the root `../hard_float.rs` takes it in.

mod abi;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(all(target_arch = "x86_64", vexfs_avx512))]
mod avx512;
mod entry;
mod portable;
mod table;
mod train;
