// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Graphs against exact search.

mod codes;
mod damage;
mod extend;
mod filter;
mod recall;
mod support;
