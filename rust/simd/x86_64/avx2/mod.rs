// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! AVX2 with FMA, F16C and POPCNT, which CPUs got together.
#![allow(unused_unsafe)] // Intrinsics on registers became safe in Rust 1.87.

mod float;
mod integer;
mod partial;

use crate::abi;

/// # Safety
///
/// `batch` holds its invariants; the CPU has AVX2, FMA, F16C and POPCNT.
#[target_feature(enable = "avx2,fma,f16c,popcnt")]
pub(crate) unsafe fn run(batch: &abi::Batch) {
    // SAFETY: the caller's promise.
    unsafe {
        let l2 = batch.metric == abi::L2;
        match batch.element {
            abi::F32 if l2 => float::run::<{ abi::F32 }, true>(batch),
            abi::F32 => float::run::<{ abi::F32 }, false>(batch),
            abi::F16 if l2 => float::run::<{ abi::F16 }, true>(batch),
            abi::F16 => float::run::<{ abi::F16 }, false>(batch),
            abi::BF16 if l2 => float::run::<{ abi::BF16 }, true>(batch),
            abi::BF16 => float::run::<{ abi::BF16 }, false>(batch),
            abi::I8 if l2 => integer::bytes::<{ abi::I8 }, true>(batch),
            abi::I8 => integer::bytes::<{ abi::I8 }, false>(batch),
            abi::U8 if l2 => integer::bytes::<{ abi::U8 }, true>(batch),
            abi::U8 => integer::bytes::<{ abi::U8 }, false>(batch),
            abi::BINARY => integer::bits(batch),
            _ => integer::codes(batch),
        }
    }
}
