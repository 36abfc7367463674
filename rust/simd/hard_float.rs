// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Root of the hard-float object: the only hard-float object of the module.
//!
//! Kbuild compiles this file by a rule of its own for the host triple (see `lib.rs` for the other half). Invariants,
//! which the build checks with `nm -u`: nothing in here panics, allocates, faults, sleeps or calls a function outside
//! the hard-float object. Its ABI is `abi::Batch`, pointers and lengths; callers are inside an FPU section.
#![no_std]
// Stable since Rust 1.89; the kernel's compiler may be older, and Kbuild lets it use them.
#![cfg_attr(vexfs_avx512, allow(stable_features))]
#![cfg_attr(vexfs_avx512, feature(stdarch_x86_avx512, avx512_target_feature))]

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod abi;
mod codes;
mod element;
mod entry;
mod reduce;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod groups;
mod norms;
mod prefetch;
mod project {
    mod abi;
    mod hard_float;
    mod sketch;
}
#[path = "quant/hard_float.rs"]
mod quant;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod x86_64;
