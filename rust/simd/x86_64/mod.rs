// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Kernels for x86-64, one file an instruction set.
//!
//! All share one shape: four rows at a time, two accumulators a row, the query loaded once for the four. A group of fewer
//! than four rows repeats its first, so that a row's sum does not depend on its place in the batch.

/// Runs a batch in groups of four rows: `$four` gives the sums of four rows as an `__m128`.
///
/// A macro, so that the loop is compiled with the instruction set of the function it stands in.
macro_rules! in_fours {
    ($batch:expr, $metric:ident, $four:path) => {{
        let batch: &crate::abi::Batch = $batch;
        let mut i = 0;
        while i < batch.count {
            let live = if batch.count - i < 4 { batch.count - i } else { 4 };
            let row = |k: usize| {
                let row = i + if k < live { k } else { 0 };
                batch.rows.wrapping_add(row * batch.stride).cast::<f32>()
            };
            let rows = [row(0), row(1), row(2), row(3)];
            let mut sums = [0f32; 4];
            // SAFETY: rows `i .. i + live` are rows of the batch, the rest of the four repeat row `i`; `sums` has room for
            // four; the instruction set is the caller's.
            unsafe {
                _mm_storeu_ps(sums.as_mut_ptr(), $four(batch.query.cast(), rows, batch.dim));
                for (k, sum) in sums.iter().enumerate() {
                    if k < live {
                        crate::scalar::finish::<$metric>(batch, i + k, *sum);
                    }
                }
            }
            i += 4;
        }
    }};
}

pub(crate) mod avx2;
pub(crate) mod sse2;
