// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What walks over graphs have in common: the nodes met, and the nearest of them.

pub(crate) mod beam;
pub(crate) mod visited;

pub(crate) use beam::Beam;
pub(crate) use visited::Visited;
