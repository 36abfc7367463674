// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! SSE2, which every x86-64 has. Bits are left to portable code: there is no instruction for them.
#![allow(unused_unsafe)] // Intrinsics on registers became safe in Rust 1.87.

mod float;
mod integer;

use crate::abi;
use crate::groups::by_element;

/// # Safety
///
/// `batch` holds its invariants.
pub(crate) unsafe fn run(batch: &abi::Batch) {
    // SAFETY: the caller's promise.
    unsafe { by_element!(batch, abi::SQ8 => integer::codes(batch), _ => crate::scalar::run(batch)) }
}
