// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! AVX-512 as of Ice Lake and Zen 4: F, BW, VL, VBMI, VNNI and VPOPCNTDQ. CPUs with less of it are served by AVX2.
#![allow(unused_unsafe)] // Intrinsics on registers became safe in Rust 1.87.
#![allow(clippy::incompatible_msrv)] // Compiled only where `build.rs` or Kbuild has found them.

mod float;
mod integer;

use crate::abi;

/// # Safety
///
/// `batch` holds its invariants; the CPU has the instructions named above.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vpopcntdq,fma,f16c")]
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
