// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Distance kernels behind an interface without floats.
//!
//! The engine is compiled soft-float in the kernel, so a float is the `u32` of its bits here, and a distance comes back
//! as an order-preserving key (see [`key_of`]). The arithmetic is in the hard-float object: what `hard_float.rs` names.
//! In the module the hard-float object is a separate hard-float object rooted at `hard_float.rs`; in userspace it is
//! part of this crate.
//!
//! # Results
//!
//! - l2 is the squared Euclidean distance, cosine is `1 - cos` in `0.0..=2.0`, inner product is `-dot`; smaller is
//!   nearer.
//! - Finite vectors never give NaN: where `f32` is too narrow the distance is computed in `f64` and rounded once.
//! - A variant's order of summation is fixed: the same query and row give the same key wherever the row lies and
//!   whatever other queries and rows share the call. Different variants may differ in the last bits, since they sum in
//!   another order and some round once a multiply-add; so results repeat exactly on one CPU type, not across all of
//!   them.
//! - Distances of bytes and bits are exact integers that become floats once, and keys of codes are rounded alike
//!   everywhere: these are the same in every variant.
//!
//! # FPU sections
//!
//! In the kernel each call splits its work into sections of some 64 KiB of rows (5 to 10 µs with vector instructions,
//! under 50 µs in portable code), between which the kernel may reschedule.
#![cfg_attr(not(CONFIG_RUST), no_std)]

// The hard-float object uses what this half does not.
#[allow(dead_code)]
mod abi;
mod convert;
mod fpu;
mod kernels;
mod keys;
mod prefetch;
mod project;
pub mod quant;
mod rows;
mod space;
mod sq8;

#[cfg(CONFIG_RUST)]
mod linked;
#[cfg(CONFIG_RUST)]
use linked as hard_float;

#[cfg(not(CONFIG_RUST))]
extern crate std;
#[cfg(all(not(CONFIG_RUST), target_arch = "aarch64"))]
mod aarch64;
#[cfg(not(CONFIG_RUST))]
mod codes;
#[cfg(not(CONFIG_RUST))]
mod element;
#[cfg(not(CONFIG_RUST))]
mod entry;
#[cfg(all(not(CONFIG_RUST), any(target_arch = "x86_64", target_arch = "aarch64")))]
mod groups;
#[cfg(not(CONFIG_RUST))]
mod norms;
#[cfg(not(CONFIG_RUST))]
mod reduce;
#[cfg(not(CONFIG_RUST))]
mod scalar;
#[cfg(all(not(CONFIG_RUST), target_arch = "x86_64"))]
mod x86_64;
#[cfg(not(CONFIG_RUST))]
use entry as hard_float;

#[cfg(test)]
mod tests;

pub use kernels::prefetch;
pub use kernels::Kernels;
pub use kernels::Variant;
pub use keys::bits_of;
pub use keys::key_of;
pub use project::Projection;
pub use project::Which;
pub use project::SKETCH_BYTES;
pub use rows::Query;
pub use rows::Rows;
pub use rows::ShapeMismatch;
pub use space::BadVector;
pub use space::Space;
pub use space::DIM_MAX;
pub use sq8::Codes;
pub use sq8::Sq8;
pub use sq8::Sq8Query;
pub use vexfs_uapi::Element;
pub use vexfs_uapi::Metric;
