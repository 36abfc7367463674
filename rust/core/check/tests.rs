// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! That the checker finds what it is there to find: each test breaks one rule behind valid checksums.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

use super::check;
use super::Report;
use crate::dir::entry::insert_entry;
use crate::file::extents;
use crate::format::items::mode::S_IFDIR;
use crate::format::items::state;
use crate::format::ROOT_INO;
use crate::inode::change;
use crate::inode::key;
use crate::inode::testing::t;
use crate::inode::testing::TestFs;
use crate::inode::Ino;
use crate::txn::Reserve;
use crate::txn::Tx;
use std::string::ToString;
use vexfs_host::Result;

struct Made {
    t: TestFs,
    dir: Ino,
    file: Ino,
    other: Ino,
}

/// A directory with two files of several blocks in it.
fn made() -> Made {
    let t = TestFs::new();
    let dir = t.dir(ROOT_INO, "dir");
    let file = t.file(dir, "file");
    let other = t.file(dir, "other");
    for ino in [file, other] {
        t.fs.write(ino, 0, &[1; 30_000], self::t(1)).expect("writes");
    }
    t.fs.sync().expect("syncs");
    Made { t, dir, file, other }
}

fn report(t: &TestFs) -> Report {
    t.fs.sync().expect("syncs");
    check(t.fs.dev()).expect("can be checked")
}

/// Breaks something in a transaction and expects exactly one kind of complaint about `owner`.
fn expect(what: &str, owner: impl Fn(&Made) -> Ino, damage: impl Fn(&Made, &mut Tx<'_>) -> Result<()>) {
    let m = made();
    assert!(report(&m.t).is_clean());
    let mut tx = m.t.fs.begin(Reserve::items(20)).expect("begins");
    damage(&m, &mut tx).expect("damages");
    tx.commit();
    let report = report(&m.t);
    let found = report.problems.iter().any(|p| p.what == what && p.owner == owner(&m));
    assert!(found, "expected {what:?} of inode {}, found: {report}", owner(&m));
}

#[test]
fn a_link_count_that_is_not_the_number_of_names_is_found() {
    expect(
        "link count is not the number of names",
        |m| m.file,
        |m, tx| change(tx, m.file, |d| d.add_link()),
    );
    expect(
        "link count of a directory is not 2 and one per subdirectory",
        |m| m.dir,
        |m, tx| change(tx, m.dir, |d| d.add_link()),
    );
}

#[test]
fn names_that_lead_nowhere_or_lie_are_found() {
    expect(
        "directory entry for an inode that does not exist",
        |_| 4000,
        |m, tx| insert_entry(tx, m.dir, b"ghost", 4000, 8),
    );
    expect(
        "directory entry gives the inode another type",
        |m| m.file,
        |m, tx| insert_entry(tx, m.dir, b"second", m.file, (S_IFDIR >> 12) as u8),
    );
    expect(
        "the entries of a directory are counted wrongly",
        |m| m.dir,
        |m, tx| insert_entry(tx, m.dir, b"second", m.file, 8),
    );
    expect(
        "directory with another number of names than one",
        |m| m.dir,
        |m, tx| insert_entry(tx, ROOT_INO, b"second", m.dir, 4),
    );
    expect(
        "directory whose parent is not where its name is",
        |m| m.dir,
        |m, tx| {
            change(tx, m.dir, |d| {
                d.parent.set(m.dir);
                Ok(())
            })
        },
    );
    expect(
        "directory entry at the place of another name",
        |m| m.dir,
        |m, tx| {
            let from = key::dirent(m.dir, 77 << 7);
            tx.insert(&from, b"\x14\0\0\0\0\0\0\0\x08misplaced")
        },
    );
}

#[test]
fn blocks_used_twice_leaked_or_marked_free_are_found() {
    expect(
        "blocks that something else uses, too",
        |m| m.other,
        |m, tx| {
            let e = extents::covering(tx, m.file, 0)?.expect("an extent");
            let mut bytes = [0u8; 24];
            bytes[..8].copy_from_slice(&e.pblk.to_le_bytes());
            bytes[8] = 1;
            tx.insert(&key::extent(m.other, 100), &bytes)
        },
    );
    expect(
        "blocks marked used that nothing refers to",
        |_| 0,
        |m, tx| tx.remove(&key::extent(m.file, 0)),
    );
    expect(
        "blocks in use that are marked free",
        |_| 0,
        |m, tx| {
            let e = extents::covering(tx, m.file, 0)?.expect("an extent");
            tx.free_extent(e.pblk, 1, e.birth)
        },
    );
}

#[test]
fn contents_that_do_not_add_up_are_found() {
    expect(
        "contents behind the end of the file",
        |m| m.file,
        |m, tx| {
            change(tx, m.file, |d| {
                d.size.set(5000);
                Ok(())
            })
        },
    );
    expect(
        "the space of the contents is counted wrongly",
        |m| m.file,
        |m, tx| {
            change(tx, m.file, |d| {
                d.blocks.set(1);
                Ok(())
            })
        },
    );
    expect(
        "extent where no data can be",
        |m| m.file,
        |m, tx| {
            let mut bytes = [0u8; 24];
            bytes[..8].copy_from_slice(&u64::from(u32::MAX).to_le_bytes());
            bytes[8] = 1;
            tx.insert(&key::extent(m.file, 100), &bytes)
        },
    );
    expect(
        "the names of extended attributes are counted wrongly",
        |m| m.file,
        |m, tx| {
            change(tx, m.file, |d| {
                d.xattr_list.set(9);
                Ok(())
            })
        },
    );
}

#[test]
fn orphans_and_hidden_files_out_of_place_are_found() {
    expect(
        "inode without links and orphan item do not go together",
        |m| m.file,
        |m, tx| tx.insert(&key::orphan(m.file), &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    );
    expect(
        "orphan item for an inode that does not exist",
        |_| 4000,
        |_, tx| tx.insert(&key::orphan(4000), &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    );
    expect(
        "hidden file that does not belong to exactly one collection",
        |m| m.file,
        |m, tx| {
            change(tx, m.file, |d| {
                d.state.set(state::HIDDEN);
                Ok(())
            })
        },
    );
    expect("the superblock counts inodes wrongly", |_| 0, |_, tx| tx.add_inodes(1));
}

#[test]
fn a_damaged_node_is_found_and_the_rest_is_still_looked_at() {
    let m = made();
    for i in 0..2000 {
        m.t.root_file(&std::format!("f{i}"));
    }
    m.t.fs.sync().expect("syncs");
    let (dev, sb) = (
        m.t.fs.dev(),
        crate::mount::read_superblock(m.t.fs.dev(), false).expect("a superblock"),
    );
    let root = <crate::format::DiskSuperblock as zerocopy::FromBytes>::ref_from_prefix(&sb.bytes[..])
        .expect("a superblock")
        .0
        .root();
    assert!(root.level > 0);
    let mut node = [0; 16384];
    let at = root.block * 4096;
    dev.read(at, &mut node).expect("reads");
    let child = u64::from_le_bytes(node[64 + 24..64 + 32].try_into().expect("8 bytes"));
    dev.read(child * 4096, &mut node).expect("reads");
    node[5000] ^= 1;
    dev.write(child * 4096, &node).expect("writes");
    let report = check(dev).expect("can be checked");
    assert!(!report.complete && !report.is_clean());
    assert!(
        report
            .to_string()
            .contains(&std::format!("block {child}: node with a wrong checksum")),
        "{report}"
    );
    assert!(report.inodes > 500, "{report}");
}
