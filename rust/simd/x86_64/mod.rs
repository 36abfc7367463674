// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Kernels for x86-64, one file an instruction set.
//!
//! All share one shape: four rows at a time, two accumulators a row, the query loaded once for the four. A group of fewer
//! than four rows repeats its first, so that a row's sum does not depend on its place in the batch.

pub(crate) mod avx2;
pub(crate) mod sse2;
