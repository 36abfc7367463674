// SPDX-License-Identifier: Apache-2.0

pub mod collection;
pub mod crash;
pub mod damage;
pub mod fuzz;
pub mod image;
pub mod logwrites;
pub mod model;
pub mod powercut;
pub mod stress;
