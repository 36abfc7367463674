// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The quantizers' part of the hard-float object as the module sees it: symbols of another object, documented in
//! `entry.rs`.

use super::abi;

extern "C" {
    pub(super) fn vexfs_quant_unpack(args: *const abi::Unpack);
    pub(super) fn vexfs_quant_subtract(
        vectors: *const abi::Floats,
        nearest: *const u32,
        panels: *const u32,
        dim: usize,
    );
    pub(super) fn vexfs_quant_fill(centroids: *const abi::Floats, panels: *mut u32);
    pub(super) fn vexfs_quant_add(vectors: *const abi::Floats, nearest: *const u32, sums: *mut u64);
    pub(super) fn vexfs_quant_mean(sum: *const u64, dim: usize, count: u32, out: *mut u32);
    pub(super) fn vexfs_quant_split(one: *mut u32, other: *mut u32, dim: usize);
    pub(super) fn vexfs_quant_lower(vectors: *const abi::Floats, seed: *const u32, distances: *mut u32);
    pub(super) fn vexfs_quant_total(distances: *const u32, count: usize, sum: *mut u64);
    pub(super) fn vexfs_quant_target(target: *mut u64, draw: u64);
    pub(super) fn vexfs_quant_pick(distances: *const u32, count: usize, target: *mut u64) -> usize;
    pub(super) fn vexfs_quant_terms(args: *const abi::Terms);
    pub(super) fn vexfs_quant_narrow(
        terms: *const u32,
        count: usize,
        min: u32,
        max: u32,
        out: *mut u16,
        step: *mut u32,
    );
    pub(super) fn vexfs_quant_assign(level: u32, args: *const abi::Assign);
    pub(super) fn vexfs_quant_distances(
        level: u32,
        x: *const u32,
        panels: *const u32,
        count: usize,
        dim: usize,
        l2: bool,
        keys: *mut u32,
    );
    pub(super) fn vexfs_quant_table(level: u32, args: *mut abi::Table);
    pub(super) fn vexfs_quant_scan(level: u32, args: *const abi::Scan) -> usize;
    pub(super) fn vexfs_quant_gather(level: u32, args: *const abi::Gather);
}
