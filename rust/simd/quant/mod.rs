// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Quantizers: centroids, their training, and codes that are compared by tables.
//!
//! Vectors are `f32` here, whatever the rows are of: [`Kernels::unpack`] converts them. Centroids come as [`Panels`],
//! 16 side by side. A product quantizer ([`Pq`]) has one small set of centroids a part of the vector; a row's code says
//! which of them are nearest to its parts. A query is made into a table of what each centroid of each part adds to the
//! distance, rounded to bytes or 16 bits, so that comparing is adding integers: the sums are the same in every variant.
//!
//! Work is split into FPU sections as in the rest of this crate.

mod abi;
mod cluster;
mod codes;

#[cfg(CONFIG_RUST)]
mod linked;
#[cfg(CONFIG_RUST)]
use linked as hard_float;

#[cfg(all(not(CONFIG_RUST), target_arch = "x86_64"))]
mod avx2;
#[cfg(all(not(CONFIG_RUST), target_arch = "x86_64", vexfs_avx512))]
#[allow(clippy::incompatible_msrv)] // Only compiled where the compiler has it.
mod avx512;
#[cfg(not(CONFIG_RUST))]
mod entry;
#[cfg(not(CONFIG_RUST))]
mod portable;
#[cfg(not(CONFIG_RUST))]
mod table;
#[cfg(not(CONFIG_RUST))]
mod train;
#[cfg(not(CONFIG_RUST))]
use entry as hard_float;

#[cfg(test)]
mod tests;

pub use abi::BLOCK;
pub use abi::LANES;
pub use cluster::Panels;
pub use cluster::Vectors;
pub use codes::Book;
pub use codes::GatherTable;
pub use codes::Pq;
pub use codes::RowTerms;
pub use codes::ScanTable;

use crate::kernels::Variant;
use crate::Kernels;

/// Multiplications done in one FPU section.
const WORK: usize = 64 * 1024;

/// What the hard-float object is told to use.
fn level(kernels: &Kernels) -> u32 {
    match kernels.variant() {
        #[cfg(target_arch = "x86_64")]
        Variant::Avx2 => abi::AVX2,
        #[cfg(all(target_arch = "x86_64", vexfs_avx512))]
        Variant::Avx512 => abi::AVX512,
        // None of its levels: portable code.
        _ => 0,
    }
}
