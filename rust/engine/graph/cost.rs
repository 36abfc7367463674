// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What a search of a graph costs.

/// Rows that a search compares for each unit of its width, and besides: 992 at width 64 and 1,640 at width 128 of 128
/// dimensions, 1,139 and 2,006 of 384.
const COMPARED_PER_EF: u64 = 12;
const COMPARED_FIXED: u64 = 220;

/// Rows that a search of this width compares.
pub(crate) fn compared(width: u64) -> u64 {
    width.saturating_mul(COMPARED_PER_EF).saturating_add(COMPARED_FIXED)
}
