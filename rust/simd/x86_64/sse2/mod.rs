// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! SSE2, which every x86-64 has. Bits are left to portable code: there is no instruction for them.
#![allow(unused_unsafe)] // Intrinsics on registers became safe in Rust 1.87.

mod float;
mod integer;

use crate::abi;

/// # Safety
///
/// `batch` holds its invariants.
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
            abi::SQ8 => integer::codes(batch),
            _ => crate::scalar::run(batch),
        }
    }
}
