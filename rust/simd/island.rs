// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Root of the float island: the only hard-float object of the module.
//!
//! Kbuild compiles this file by a rule of its own for the host triple (see `lib.rs` for the other half). Invariants, which
//! the build checks with `nm -u`: nothing in here panics, allocates, faults, sleeps or calls a function outside the island.
//! Its ABI is `abi::Batch`, pointers and lengths; callers are inside an FPU section.
#![no_std]

mod abi;
mod codes;
mod element;
mod entry;
mod finish;
mod norms;
mod project {
    mod abi;
    mod codes;
    mod island;
}
#[path = "quant/island.rs"]
mod quant;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod x86_64;
