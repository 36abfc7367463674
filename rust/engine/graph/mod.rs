// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What walks over graphs have in common: the nodes met, the nearest of them, and what it costs.

pub(crate) mod beam;
mod cost;
pub(crate) mod visited;

pub(crate) use beam::Beam;
pub(crate) use cost::compared;
pub(crate) use visited::Visited;
