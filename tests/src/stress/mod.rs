// SPDX-License-Identifier: Apache-2.0
//! Loads that know what must be there while processes are killed and allocations fail around them.
//!
//! A *seat* is a directory and a collection that one process at a time works on. What must be in them is a
//! [`model::Model`] in memory that outlives the process: before each operation it writes down the state before and
//! after, so that whoever finds it dead knows which two states, or which mixture of them, the seat may be in.

pub mod carry;
pub mod choose;
pub mod model;
pub mod observe;
pub mod promise;
pub mod shared;
