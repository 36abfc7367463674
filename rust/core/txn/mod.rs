// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Transactions: operations that happen completely or not at all.
//!
//! A [`View`] reads the tree as it is; any number of them exist at a time. A [`Tx`] changes it and is alone. An
//! operation begins a `Tx` with the number of items it may touch at most, so that a lack of space shows before anything
//! has changed, makes its changes, and calls [`Tx::commit`], which cannot fail. A `Tx` that is dropped instead takes
//! all its changes back, which cannot fail either.
//!
//! What a `Tx` commits is in memory; it becomes durable with the transaction group it belongs to (`commit`).
//!
//! Space that a `Tx` frees or adopts changes hands in [`Tx::commit`] only. Nodes that it copied or split stay so after
//! a rollback: that changes nothing of what the tree says.
//!
//! Locks, outermost first: commit or log, writer, tree, space, a shard of the cache. None is held while a node or a
//! bitmap is read from the device (`fetch`), but for the writer lock of an operation that needs it.

mod begin;
pub(crate) mod commit;
mod fetch;
pub(crate) mod order;
mod read;
#[cfg(test)]
mod tests;
mod tx;
mod view;

pub use begin::Reserve;
pub use read::Read;
pub use tx::Tx;
pub use view::View;
