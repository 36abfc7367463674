// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

use super::entry::*;
use super::*;
use crate::format::items::mode::*;
use crate::format::items::DiskInode;
use crate::format::items::LINK_MAX;
use crate::format::ROOT_INO;
use crate::inode::change;
use crate::inode::key;
use crate::inode::testing::new;
use crate::inode::testing::t;
use crate::inode::testing::TestFs;
use crate::inode::Ino;
use crate::inode::Inode;
use crate::txn::Read;
use crate::txn::Reserve;
use std::collections::BTreeSet;
use std::format;
use std::string::String;
use std::vec::Vec as StdVec;
use vexfs_host::Error;
use vexfs_host::Result;

fn rename(fs: &TestFs, odir: Ino, o: &str, ndir: Ino, n: &str, flags: RenameFlags) -> Result<Option<Inode>> {
    let done = fs.fs.rename(odir, o.as_bytes(), ndir, n.as_bytes(), flags, t(500))?;
    if let Some(i) = done.replaced.filter(|i| i.nlink == 0) {
        fs.fs.evict(i.ino)?;
    }
    Ok(done.replaced)
}

fn nlink(fs: &TestFs, ino: Ino) -> u32 {
    fs.fs.inode(ino).unwrap().nlink
}

const PLAIN: RenameFlags = RenameFlags::NONE;

#[test]
fn names_are_found_until_they_are_removed() {
    let fs = TestFs::new();
    let inos: StdVec<Ino> = (0..2000).map(|i| fs.root_file(&format!("file-{i}"))).collect();
    for (i, ino) in inos.iter().enumerate() {
        assert_eq!(
            fs.fs.lookup(ROOT_INO, format!("file-{i}").as_bytes()),
            Ok(Some((*ino, 8)))
        );
    }
    assert_eq!(fs.find(ROOT_INO, "file-2000"), None);
    assert_eq!(fs.fs.inode(ROOT_INO).unwrap().size, 2000);
    for (i, ino) in inos.iter().enumerate().step_by(2) {
        let after = fs.fs.unlink(ROOT_INO, format!("file-{i}").as_bytes(), t(200)).unwrap();
        assert_eq!((after.ino, after.nlink, after.ctime), (*ino, 0, t(200)));
        fs.fs.evict(*ino).unwrap();
        assert_eq!(fs.fs.inode(*ino), Err(Error::NotFound));
    }
    assert_eq!(fs.names(ROOT_INO).len(), 1000);
    let root = fs.fs.inode(ROOT_INO).unwrap();
    assert_eq!((root.size, root.mtime, root.ctime), (1000, t(200), t(200)));
    fs.check();
}

#[test]
fn names_that_no_entry_can_have_are_refused() {
    let fs = TestFs::new();
    let long = [b'x'; 256];
    let make = |name: &[u8]| fs.fs.create(ROOT_INO, name, &new(S_IFREG)).map(|_| ());
    assert_eq!(make(b""), Err(Error::NotFound));
    assert_eq!(make(&long), Err(Error::NameTooLong));
    for name in [&b"."[..], b"..", b"a/b", b"a\0b"] {
        assert!(matches!(make(name), Err(Error::Invalid(_))), "{name:?}");
    }
    assert_eq!(make(&long[..255]), Ok(()));
    assert_eq!(make(b"\xff\xfe \n"), Ok(()));
    assert_eq!(fs.fs.lookup(ROOT_INO, &long), Err(Error::NameTooLong));
    assert!(fs.fs.lookup(ROOT_INO, &long[..255]).unwrap().is_some());
    fs.check();
}

#[test]
fn names_with_equal_hashes_live_side_by_side() {
    let fs = TestFs::new();
    let name = |i: usize| format!("collide-{i}");
    let inos: StdVec<Ino> = (0..128).map(|i| fs.root_file(&name(i))).collect();
    let full = fs.fs.create(ROOT_INO, name(128).as_bytes(), &new(S_IFREG));
    assert_eq!(full, Err(Error::NoSpace));
    // The first one leaves a placeholder, so the others are still found.
    for (i, ino) in inos.iter().enumerate() {
        let again = fs.fs.create(ROOT_INO, name(i).as_bytes(), &new(S_IFREG));
        assert_eq!(again, Err(Error::Exists));
        fs.fs.unlink(ROOT_INO, name(i).as_bytes(), t(1)).unwrap();
        fs.fs.evict(*ino).unwrap();
        for (j, other) in inos.iter().enumerate() {
            assert_eq!(fs.find(ROOT_INO, &name(j)), (j > i).then_some(*other));
        }
        if i == 60 {
            // Takes the placeholder's slot.
            let back = fs.root_file(&name(0));
            assert_eq!(fs.find(ROOT_INO, &name(0)), Some(back));
            fs.check();
            fs.fs.unlink(ROOT_INO, name(0).as_bytes(), t(1)).unwrap();
            fs.fs.evict(back).unwrap();
        }
    }
    assert_eq!(fs.fs.inode(ROOT_INO).unwrap().size, 0);
    let first = first_slot(fs.fs.hash_key(), b"collide-0");
    let left = fs
        .fs
        .view()
        .unwrap()
        .get(&key::dirent(ROOT_INO, first), |_| Ok(()))
        .unwrap();
    assert_eq!(left, None, "the placeholder goes with the last name");
    fs.check();
}

#[test]
fn slots_leave_room_for_dot_and_dotdot_and_never_overflow() {
    for hash in [0, 1, 255, 256, u64::MAX, u64::MAX - 255, u64::MAX - 511] {
        let slot = slot_of_hash(hash);
        assert!(slot > 127 && slot | SEQ_MASK < i64::MAX as u64, "{hash:#x}");
    }
}

#[test]
fn a_listing_finds_every_entry_that_stays_while_others_come_and_go() {
    let fs = TestFs::new();
    for i in 0..3000 {
        fs.root_file(&format!("stay-{i}"));
        fs.root_file(&format!("go-{i}"));
    }
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut pos = 0;
    let mut round = 0;
    while pos < i64::MAX as u64 {
        let mut n = 0;
        pos = fs
            .fs
            .readdir(ROOT_INO, pos, &mut |_, name, _, _| {
                if n == 7 {
                    return false;
                }
                n += 1;
                let name = String::from_utf8(name.to_vec()).unwrap();
                assert!(seen.insert(name), "handed over twice");
                true
            })
            .unwrap();
        if round < 1500 {
            fs.fs.unlink(ROOT_INO, format!("go-{round}").as_bytes(), t(1)).unwrap();
            fs.root_file(&format!("come-{round}"));
        }
        round += 1;
    }
    assert!((0..3000).all(|i| seen.contains(&format!("stay-{i}"))));
    let mut none = true;
    fs.fs
        .readdir(ROOT_INO, pos, &mut |_, _, _, _| {
            none = false;
            true
        })
        .unwrap();
    assert!(none);
}

#[test]
fn listing_may_call_back_into_the_filesystem() {
    let fs = TestFs::new();
    for i in 0..100 {
        fs.root_file(&format!("f{i}"));
    }
    let dir = fs.dir(ROOT_INO, "d");
    let mut made = 0;
    fs.fs
        .readdir(ROOT_INO, 0, &mut |_, name, ino, _| {
            if ino != dir {
                fs.fs.link(ino, dir, name, t(1)).unwrap();
                made += 1;
            }
            true
        })
        .unwrap();
    assert_eq!((made, fs.names(dir).len()), (100, 100));
    let file = fs.find(dir, "f1").unwrap();
    assert_eq!(fs.fs.readdir(file, 0, &mut |_, _, _, _| true), Err(Error::NotDir));
    fs.check();
}

#[test]
fn a_link_is_another_name_of_the_same_inode() {
    let fs = TestFs::new();
    let dir = fs.dir(ROOT_INO, "d");
    let ino = fs.root_file("a");
    assert_eq!(fs.fs.link(ino, dir, b"b", t(7)).unwrap().nlink, 2);
    assert_eq!(fs.fs.link(ino, dir, b"b", t(7)), Err(Error::Exists));
    assert_eq!(fs.fs.link(dir, ROOT_INO, b"e", t(7)), Err(Error::Permission));
    assert_eq!(fs.fs.link(999, ROOT_INO, b"e", t(7)), Err(Error::NotFound));
    assert_eq!(fs.fs.link(ino, ino, b"e", t(7)), Err(Error::NotDir));
    assert_eq!(fs.fs.unlink(ROOT_INO, b"a", t(8)).unwrap().nlink, 1);
    assert_eq!(fs.find(dir, "b"), Some(ino));
    assert!(matches!(fs.fs.evict(ino), Err(Error::Invalid(_))));
    let gone = fs.fs.unlink(dir, b"b", t(9)).unwrap();
    assert_eq!(gone.nlink, 0);
    assert_eq!(fs.fs.link(ino, dir, b"c", t(9)), Err(Error::NotFound));
    fs.check();
}

fn set_nlink(fs: &TestFs, ino: Ino, n: u32) {
    let mut tx = fs.fs.begin(Reserve::items(1)).unwrap();
    tx.modify(&key::inode(ino), |data| {
        DiskInode::parse_mut(data, ino)?.nlink.set(n);
        Ok(())
    })
    .unwrap();
    tx.commit();
}

#[test]
fn the_number_of_links_is_limited() {
    let fs = TestFs::new();
    let ino = fs.root_file("a");
    let dir = fs.dir(ROOT_INO, "d");
    let other = fs.dir(ROOT_INO, "o");
    set_nlink(&fs, ino, LINK_MAX);
    set_nlink(&fs, dir, LINK_MAX);
    assert_eq!(fs.fs.link(ino, ROOT_INO, b"b", t(1)), Err(Error::TooManyLinks));
    let full = fs.fs.create(dir, b"x", &new(S_IFDIR));
    assert_eq!(full, Err(Error::TooManyLinks));
    assert_eq!(rename(&fs, ROOT_INO, "o", dir, "x", PLAIN), Err(Error::TooManyLinks));
    assert!(fs.fs.create(dir, b"f", &new(S_IFREG)).is_ok());
    assert_eq!(fs.find(ROOT_INO, "o"), Some(other));
    assert_eq!(fs.names(dir), ["f"]);
}

#[test]
fn only_empty_directories_are_removed_and_only_with_rmdir() {
    let fs = TestFs::new();
    let dir = fs.dir(ROOT_INO, "d");
    assert_eq!((nlink(&fs, ROOT_INO), nlink(&fs, dir)), (3, 2));
    let sub = fs.dir(dir, "s");
    fs.file(sub, "f");
    assert_eq!(fs.fs.unlink(ROOT_INO, b"d", t(1)), Err(Error::IsDir));
    assert_eq!(fs.fs.rmdir(sub, b"f", t(1)), Err(Error::NotDir));
    assert_eq!(fs.fs.rmdir(ROOT_INO, b"d", t(1)), Err(Error::NotEmpty));
    assert_eq!(fs.fs.rmdir(ROOT_INO, b"x", t(1)), Err(Error::NotFound));
    fs.fs.unlink(sub, b"f", t(1)).unwrap();
    let gone = fs.fs.rmdir(dir, b"s", t(1)).unwrap();
    assert_eq!((gone.ino, gone.nlink), (sub, 0));
    assert_eq!(nlink(&fs, dir), 2);
    let late = fs.fs.create(sub, b"late", &new(S_IFREG));
    assert_eq!(late, Err(Error::NotFound), "nothing is made in a removed directory");
    fs.fs.evict(sub).unwrap();
    fs.check();
}

#[test]
fn rename_moves_a_name_and_replaces_what_had_it() {
    let fs = TestFs::new();
    let dir = fs.dir(ROOT_INO, "d");
    let a = fs.root_file("a");
    let b = fs.file(dir, "b");
    assert_eq!(rename(&fs, ROOT_INO, "x", dir, "y", PLAIN), Err(Error::NotFound));
    let replaced = rename(&fs, ROOT_INO, "a", dir, "b", PLAIN).unwrap().unwrap();
    assert_eq!((replaced.ino, replaced.nlink), (b, 0));
    assert_eq!(fs.fs.inode(b), Err(Error::NotFound));
    assert_eq!(fs.find(dir, "b"), Some(a));
    assert_eq!(fs.find(ROOT_INO, "a"), None);
    assert_eq!(fs.fs.inode(a).unwrap().ctime, t(500));
    assert_eq!(rename(&fs, dir, "b", dir, "c", PLAIN), Ok(None));
    assert_eq!(fs.names(dir), ["c"]);
    assert_eq!(fs.fs.inode(dir).unwrap().size, 1);
    fs.check();
}

#[test]
fn rename_within_a_directory_works_among_names_with_equal_hashes() {
    let fs = TestFs::new();
    let a = fs.root_file("collide-a");
    let b = fs.root_file("collide-b");
    assert_eq!(
        rename(&fs, ROOT_INO, "collide-a", ROOT_INO, "collide-c", PLAIN),
        Ok(None)
    );
    assert_eq!(fs.find(ROOT_INO, "collide-c"), Some(a));
    assert_eq!(fs.find(ROOT_INO, "collide-b"), Some(b));
    rename(&fs, ROOT_INO, "collide-b", ROOT_INO, "collide-c", PLAIN).unwrap();
    assert_eq!(fs.names(ROOT_INO), ["collide-c"]);
    assert_eq!(fs.find(ROOT_INO, "collide-c"), Some(b));
    fs.check();
}

#[test]
fn two_names_of_one_inode_stay_when_one_is_renamed_to_the_other() {
    let fs = TestFs::new();
    let a = fs.root_file("a");
    fs.fs.link(a, ROOT_INO, b"b", t(1)).unwrap();
    assert_eq!(rename(&fs, ROOT_INO, "a", ROOT_INO, "b", PLAIN), Ok(None));
    assert_eq!(rename(&fs, ROOT_INO, "a", ROOT_INO, "a", PLAIN), Ok(None));
    assert_eq!(fs.names(ROOT_INO), ["a", "b"]);
    assert_eq!(nlink(&fs, a), 2);
    fs.check();
}

#[test]
fn rename_replaces_only_what_is_of_the_same_sort_and_empty() {
    let fs = TestFs::new();
    let full = fs.dir(ROOT_INO, "full");
    fs.file(full, "x");
    let empty = fs.dir(ROOT_INO, "empty");
    let moved = fs.dir(ROOT_INO, "moved");
    let inner = fs.file(moved, "inner");
    fs.root_file("file");
    assert_eq!(
        rename(&fs, ROOT_INO, "moved", ROOT_INO, "full", PLAIN),
        Err(Error::NotEmpty)
    );
    assert_eq!(
        rename(&fs, ROOT_INO, "moved", ROOT_INO, "file", PLAIN),
        Err(Error::NotDir)
    );
    assert_eq!(
        rename(&fs, ROOT_INO, "file", ROOT_INO, "empty", PLAIN),
        Err(Error::IsDir)
    );
    assert_eq!(nlink(&fs, ROOT_INO), 5);
    let replaced = rename(&fs, ROOT_INO, "moved", ROOT_INO, "empty", PLAIN)
        .unwrap()
        .unwrap();
    assert_eq!((replaced.ino, replaced.nlink), (empty, 0));
    assert_eq!(nlink(&fs, ROOT_INO), 4);
    assert_eq!(fs.find(moved, "inner"), Some(inner));
    assert_eq!(fs.names(ROOT_INO), ["empty", "file", "full"]);
    fs.check();
}

#[test]
fn a_moved_directory_knows_its_new_parent_and_both_parents_count_it() {
    let fs = TestFs::new();
    let a = fs.dir(ROOT_INO, "a");
    let b = fs.dir(ROOT_INO, "b");
    let d = fs.dir(a, "d");
    let victim = fs.dir(b, "d");
    assert_eq!(rename(&fs, a, "d", b, "e", PLAIN), Ok(None));
    assert_eq!((nlink(&fs, a), nlink(&fs, b)), (2, 4));
    assert_eq!(fs.fs.inode(d).unwrap().parent, b);
    assert_eq!(rename(&fs, b, "e", a, "d", PLAIN), Ok(None));
    assert_eq!(rename(&fs, a, "d", b, "d", PLAIN).unwrap().unwrap().ino, victim);
    assert_eq!((nlink(&fs, a), nlink(&fs, b)), (2, 3));
    fs.check();
}

#[test]
fn a_directory_cannot_be_moved_into_itself() {
    let fs = TestFs::new();
    let a = fs.dir(ROOT_INO, "a");
    let b = fs.dir(a, "b");
    let c = fs.dir(b, "c");
    let other = fs.dir(ROOT_INO, "other");
    for (odir, oname, ndir) in [(ROOT_INO, "a", a), (ROOT_INO, "a", c), (a, "b", c), (a, "b", b)] {
        let done = rename(&fs, odir, oname, ndir, "x", PLAIN);
        assert!(matches!(done, Err(Error::Invalid(_))), "{oname} into {ndir}");
    }
    let up = rename(&fs, b, "c", ROOT_INO, "a", RenameFlags::EXCHANGE);
    assert!(matches!(up, Err(Error::Invalid(_))));
    assert_eq!(rename(&fs, b, "c", ROOT_INO, "a", PLAIN), Err(Error::NotEmpty));
    assert_eq!(rename(&fs, a, "b", other, "b", PLAIN), Ok(None));
    fs.check();
}

#[test]
fn directories_that_contain_each_other_are_damage_however_many_inodes_the_superblock_counts() {
    for circle in 1..6usize {
        for tail in 0..4usize {
            let fs = TestFs::new();
            let moved = fs.dir(ROOT_INO, "moved");
            // A way up of `tail` directories that ends in a circle of `circle` ones.
            let way: StdVec<_> = (0..tail + circle).map(|i| fs.dir(ROOT_INO, &format!("d{i}"))).collect();
            let mut tx = fs.fs.begin(Reserve::items(way.len())).unwrap();
            for (i, dir) in way.iter().enumerate() {
                let up = way.get(i + 1).unwrap_or(&way[tail]);
                change(&mut tx, *dir, |d| {
                    d.parent.set(*up);
                    Ok(())
                })
                .unwrap();
            }
            tx.commit();
            fs.fs.tree.write().inode_count = u64::MAX / 2;
            let done = rename(&fs, ROOT_INO, "moved", way[0], "moved", PLAIN);
            assert!(matches!(done, Err(Error::Corrupt(_))), "{tail} and {circle}: {done:?}");
            assert_eq!(fs.find(ROOT_INO, "moved"), Some(moved));
        }
    }
}

#[test]
fn an_inode_number_that_was_to_be_new_and_is_in_use_is_damage_and_not_a_name_that_is_taken() {
    let fs = TestFs::new();
    let a = fs.root_file("a");
    fs.fs.tree.write().next_ino = a;
    let made = fs.fs.create(ROOT_INO, b"b", &new(S_IFREG)).err();
    assert!(matches!(made, Some(Error::Corrupt(_))), "{made:?}");
    assert_eq!(fs.names(ROOT_INO), ["a"]);
}

#[test]
fn rename_without_replacing_fails_when_the_name_is_taken() {
    let fs = TestFs::new();
    let a = fs.root_file("a");
    fs.root_file("b");
    assert_eq!(
        rename(&fs, ROOT_INO, "a", ROOT_INO, "b", RenameFlags::NOREPLACE),
        Err(Error::Exists)
    );
    assert_eq!(
        rename(&fs, ROOT_INO, "a", ROOT_INO, "c", RenameFlags::NOREPLACE),
        Ok(None)
    );
    assert_eq!(fs.find(ROOT_INO, "c"), Some(a));
    for flags in [3, 4, 7] {
        let done = rename(&fs, ROOT_INO, "c", ROOT_INO, "b", RenameFlags(flags));
        assert!(matches!(done, Err(Error::Invalid(_))));
    }
    fs.check();
}

#[test]
fn exchange_swaps_two_names_whatever_they_name() {
    let fs = TestFs::new();
    let a = fs.dir(ROOT_INO, "a");
    let b = fs.dir(ROOT_INO, "b");
    let file = fs.file(a, "x");
    let dir = fs.dir(b, "y");
    fs.file(dir, "inside");
    let exchange = |od, o, nd, n| rename(&fs, od, o, nd, n, RenameFlags::EXCHANGE);
    assert_eq!(exchange(a, "x", b, "z"), Err(Error::NotFound));
    assert_eq!(exchange(a, "x", b, "y"), Ok(None));
    assert_eq!((fs.find(a, "x"), fs.find(b, "y")), (Some(dir), Some(file)));
    assert_eq!(fs.fs.lookup(a, b"x").unwrap().unwrap().1, DT_DIR);
    assert_eq!((nlink(&fs, a), nlink(&fs, b)), (3, 2));
    assert_eq!(fs.fs.inode(dir).unwrap().parent, a);
    let other = fs.dir(b, "other");
    assert_eq!(exchange(a, "x", b, "other"), Ok(None));
    assert_eq!(
        (fs.fs.inode(dir).unwrap().parent, fs.fs.inode(other).unwrap().parent),
        (b, a)
    );
    assert_eq!(exchange(b, "y", b, "other"), Ok(None));
    assert_eq!((fs.find(b, "y"), fs.find(b, "other")), (Some(dir), Some(file)));
    fs.check();
}

#[test]
fn a_replacing_rename_is_whole_or_not_there_after_a_crash() {
    let fs = TestFs::new();
    let old = fs.root_file("a");
    let new = fs.root_file("a.new");
    fs.fs.write(old, 0, b"old", t(1)).unwrap();
    fs.fs.write(new, 0, b"new", t(1)).unwrap();
    fs.fs.sync().unwrap();
    fs.fs.rename(ROOT_INO, b"a.new", ROOT_INO, b"a", PLAIN, t(2)).unwrap();
    let before = fs.after_crash();
    assert_eq!(before.names(ROOT_INO), ["a", "a.new"]);
    fs.fs.sync().unwrap();
    let after = fs.after_crash();
    assert_eq!(after.names(ROOT_INO), ["a"]);
    assert_eq!(after.contents(after.find(ROOT_INO, "a").unwrap()), b"new");
    assert_eq!(after.fs.inode(old), Err(Error::NotFound), "the mount deleted it");
    after.check();
}

#[test]
fn threads_may_do_anything_to_the_same_directories_at_once() {
    let fs = TestFs::new();
    let dirs = [fs.dir(ROOT_INO, "a"), fs.dir(ROOT_INO, "b")];
    std::thread::scope(|s| {
        for thread in 0..4u64 {
            let fs = &fs;
            s.spawn(move || {
                let mut state = thread + 1;
                for _ in 0..2000 {
                    state = state
                        .wrapping_mul(6364136223846793005)
                        .wrapping_add(1442695040888963407);
                    let name = format!("n{}", (state >> 40) % 20);
                    let other = format!("n{}", (state >> 50) % 20);
                    let (dir, odir) = (dirs[(state >> 33) as usize % 2], dirs[(state >> 35) as usize % 2]);
                    let gone = match (state >> 60) % 5 {
                        0 | 1 => fs.fs.create(dir, name.as_bytes(), &new(S_IFREG)).map(|_| None),
                        2 => fs.fs.unlink(dir, name.as_bytes(), t(1)).map(Some),
                        3 => fs.fs.lookup(dir, name.as_bytes()).map(|_| None),
                        _ => fs
                            .fs
                            .rename(dir, name.as_bytes(), odir, other.as_bytes(), PLAIN, t(1))
                            .map(|r| r.replaced),
                    };
                    match gone {
                        Ok(Some(i)) if i.nlink == 0 => fs.fs.evict(i.ino).unwrap(),
                        Ok(_) | Err(Error::Exists | Error::NotFound) => {}
                        Err(e) => panic!("{e}"),
                    }
                }
            });
        }
    });
    fs.check();
}
