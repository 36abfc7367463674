// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! AVX-512 as of Ice Lake and Zen 4: F, BW, VL, VBMI, VNNI and VPOPCNTDQ. CPUs with less of it are served by AVX2.
#![allow(unused_unsafe)] // Intrinsics on registers became safe in Rust 1.87.
#![allow(clippy::incompatible_msrv)] // Compiled only where `build.rs` or Kbuild has found them.

mod float;
mod integer;

use crate::abi;
use crate::groups::by_element;

/// # Safety
///
/// `batch` holds its invariants; the CPU has the instructions named above.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vpopcntdq,fma,f16c")]
pub(crate) unsafe fn run(batch: &abi::Batch) {
    // SAFETY: the caller's promise.
    unsafe { by_element!(batch, abi::BINARY => integer::bits(batch), _ => integer::codes(batch)) }
}
