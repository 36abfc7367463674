// SPDX-License-Identifier: Apache-2.0
//! The filesystem's oracle: a model in memory that is too simple to be wrong, and the machinery to hold `vexfs-core`
//! and `vexfs-engine` to it.
//!
//! An [`Op`] is decoded from 64 random bits and always means something: it picks among what exists when it runs. The
//! [`Harness`] applies it to both sides and compares what they answer; [`compare`] compares everything there is. The
//! [`State`] is cheap to clone, so crash tests keep one for every moment.

pub mod compare;
pub mod content;
pub mod harness;
pub mod op;
pub mod pages;
pub mod rows;
pub mod state;

pub use content::Content;
pub use harness::Harness;
pub use op::Op;
pub use state::State;
