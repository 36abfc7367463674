// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Reading the tree, whoever does it.

use crate::btree::Walk;
use crate::format::Key;
use vexfs_host::Error;
use vexfs_host::Result;

/// A use of the tree within a function that was called with something of it.
pub(super) const NESTED: Error = Error::Busy;

/// Reading the tree, in a [`View`](super::View) or within a [`Tx`](super::Tx).
///
/// The functions given to these methods run while the tree is locked: they must not call into the filesystem again, nor
/// do anything that may (such as touching user memory).
pub trait Read {
    /// Calls `f` on the tree, and again whenever it lacked a node, which has been read then.
    #[doc(hidden)]
    fn attempt(&self, f: &mut dyn FnMut(Walk<'_>) -> Result<()>) -> Result<()>;

    /// Called with every error of reading, before it is returned to the caller.
    #[doc(hidden)]
    fn met(&self, _error: &Error) {}

    /// Calls `f` with the value of `k`. `None` if there is no such item.
    ///
    /// # Errors
    ///
    /// Those of `f`; `Io` and `Corrupt` from reading nodes, `NoMemory`.
    fn get<R>(&self, k: &Key, f: impl FnOnce(&[u8]) -> Result<R>) -> Result<Option<R>> {
        let (mut f, mut found) = (Some(f), None);
        let done = self.attempt(&mut |walk| {
            walk.get(k, |data| {
                found = f.take().map(|f| f(data)).transpose()?;
                Ok(())
            })
        });
        done.inspect_err(|e| self.met(e))?;
        Ok(found)
    }

    /// Calls `f` with the first item whose key is not below `k`. `None` if there is none.
    fn first_at_or_after<R>(&self, k: &Key, f: impl FnOnce(&Key, &[u8]) -> Result<R>) -> Result<Option<R>> {
        let (mut f, mut found, mut at) = (Some(f), None, *k);
        let done = self.attempt(&mut |walk| {
            if walk.anew {
                at = *k;
            }
            walk.at_or_after(&mut at, |key, data| {
                found = f.take().map(|f| f(key, data)).transpose()?;
                Ok(())
            })
        });
        done.inspect_err(|e| self.met(e))?;
        Ok(found)
    }

    /// Calls `f` with the last item whose key is not above `k`. `None` if there is none.
    fn last_at_or_before<R>(&self, k: &Key, f: impl FnOnce(&Key, &[u8]) -> Result<R>) -> Result<Option<R>> {
        let (mut f, mut found, mut at) = (Some(f), None, *k);
        let done = self.attempt(&mut |walk| {
            if walk.anew {
                at = *k;
            }
            walk.at_or_before(&mut at, |key, data| {
                found = f.take().map(|f| f(key, data)).transpose()?;
                Ok(())
            })
        });
        done.inspect_err(|e| self.met(e))?;
        Ok(found)
    }

    /// Calls `f` with each item from `from` to `to_inclusive`, in order, until it returns false.
    fn scan(&self, from: &Key, to_inclusive: &Key, f: &mut dyn FnMut(&Key, &[u8]) -> Result<bool>) -> Result<()> {
        let mut at = *from;
        let done = self.attempt(&mut |walk| {
            // Once `f` was called with an item, the tree does not change between attempts.
            if walk.anew {
                at = *from;
            }
            walk.scan(&mut at, to_inclusive, &mut |key, data| {
                self.seen();
                f(key, data)
            })
        });
        done.inspect_err(|e| self.met(e))
    }

    /// The caller has seen something of the tree: what it sees from now on must be of the same state.
    #[doc(hidden)]
    fn seen(&self) {}
}
