// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! AVX2 with FMA, F16C and POPCNT, which CPUs got together.
#![allow(unused_unsafe)] // Intrinsics on registers became safe in Rust 1.87.

mod float;
mod integer;
mod partial;

use crate::abi;
use crate::groups::by_element;

/// # Safety
///
/// `batch` holds its invariants; the CPU has AVX2, FMA, F16C and POPCNT.
#[target_feature(enable = "avx2,fma,f16c,popcnt")]
pub(crate) unsafe fn run(batch: &abi::Batch) {
    // SAFETY: the caller's promise.
    unsafe { by_element!(batch, abi::BINARY => integer::bits(batch), _ => integer::codes(batch)) }
}
