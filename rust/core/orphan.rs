// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Orphans: work on an inode that takes more than one transaction, and is finished after a crash.
//!
//! An orphan item is made in the transaction that makes the work necessary (a last name removed, a file cut, a
//! collection dropped) and is removed in the transaction that ends it. In between, bounded transactions free a few
//! items each. A crash at any point leaves the item, and the next mount goes on ([`recovery`](crate::recovery)): each
//! step finds by itself what is left to do.

use crate::format::items::DiskOrphan;
use crate::format::Kind;
use crate::inode::key;
use crate::inode::Ino;
use crate::txn::Read;
use crate::txn::Tx;
use vexfs_host::Error;
use vexfs_host::Result;
use zerocopy::FromZeros;
use zerocopy::IntoBytes;

/// Notes `actions` to be done for inode `ino`.
pub(crate) fn add(tx: &mut Tx<'_>, ino: Ino, actions: u32) -> Result<()> {
    let mut item = DiskOrphan::new_zeroed();
    item.actions.set(actions);
    match tx.insert(&key::orphan(ino), item.as_bytes()) {
        Err(Error::Exists) => {}
        done => return done,
    }
    let old = get(tx, ino)?;
    item.actions.set(old | actions);
    tx.put(&key::orphan(ino), item.as_bytes())
}

/// Removes `actions` from what is to be done for inode `ino`.
pub(crate) fn remove(tx: &mut Tx<'_>, ino: Ino, actions: u32) -> Result<()> {
    let left = get(tx, ino)? & !actions;
    if left == 0 {
        return tx.remove(&key::orphan(ino));
    }
    let mut item = DiskOrphan::new_zeroed();
    item.actions.set(left);
    tx.put(&key::orphan(ino), item.as_bytes())
}

fn get(tx: &Tx<'_>, ino: Ino) -> Result<u32> {
    match pending(tx, ino)? {
        0 => Err(tx.damaged("orphan item missing", ino)),
        actions => Ok(actions),
    }
}

/// What is to be done for inode `ino`, 0 if nothing.
pub(crate) fn pending(r: &impl Read, ino: Ino) -> Result<u32> {
    let found = r.get(&key::orphan(ino), |data| {
        Ok(DiskOrphan::parse(data, ino)?.actions.get())
    })?;
    Ok(found.unwrap_or(0))
}

/// The first inode from `from` on with work that is pending, and what that is.
pub(crate) fn first_from(r: &impl Read, from: Ino) -> Result<Option<(Ino, Result<u32>)>> {
    let found = r.first_at_or_after(&key::orphan(from), |k, data| {
        if k.obj != 0 || k.kind != Kind::ORPHAN {
            return Ok(None);
        }
        let actions = DiskOrphan::parse(data, k.offset).map(|o| o.actions.get());
        Ok(Some((k.offset, actions)))
    })?;
    Ok(found.flatten())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::items::orphan::DELETE;
    use crate::format::items::orphan::TRUNCATE;
    use crate::inode::testing::TestFs;
    use crate::txn::Reserve;

    #[test]
    fn actions_for_one_inode_add_up_and_are_struck_off_one_by_one() {
        let fs = TestFs::new();
        let mut tx = fs.fs.begin(Reserve::items(8)).unwrap();
        add(&mut tx, 99, TRUNCATE).unwrap();
        add(&mut tx, 99, DELETE).unwrap();
        assert_eq!(pending(&tx, 99), Ok(TRUNCATE | DELETE));
        remove(&mut tx, 99, TRUNCATE).unwrap();
        assert_eq!(pending(&tx, 99), Ok(DELETE));
        remove(&mut tx, 99, DELETE).unwrap();
        assert_eq!(pending(&tx, 99), Ok(0));
        assert!(matches!(remove(&mut tx, 99, DELETE), Err(Error::Corrupt(_))));
    }
}
