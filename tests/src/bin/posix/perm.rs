// SPDX-License-Identifier: Apache-2.0
//! Permissions as an ordinary user meets them. The program itself runs as root; see [`sys::as_user`].

use crate::fails;
use crate::sys;
use crate::sys::as_user;
use crate::sys::as_user_in;
use crate::tests;
use crate::Env;
use crate::Test;
use libc::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::fs::MetadataExt;

pub const TESTS: &[Test] = tests![
    mode_bits_decide_who_reads_and_writes,
    a_directory_needs_x_to_pass_and_w_to_change,
    only_the_owner_changes_mode_and_times,
    only_root_gives_files_away,
    chown_and_writing_clear_the_setuid_bit,
    chmod_outside_the_group_clears_the_setgid_bit,
    a_sticky_directory_protects_what_others_own,
    new_files_belong_to_their_creator,
    group_membership_counts,
    user_attributes_need_file_permissions,
    hard_links_and_renames_need_write_permission_on_both_sides,
];

const ALICE: u32 = 1001;
const BOB: u32 = 1002;

/// A world-writable directory that both users reach.
fn open_up(e: &Env) {
    sys::chmod(&e.dir, 0o777).unwrap();
    sys::chmod(e.dir.parent().unwrap(), 0o755).unwrap();
}

fn mode_bits_decide_who_reads_and_writes(e: &Env) {
    open_up(e);
    fs::write(e.p("f"), b"secret").unwrap();
    sys::chown(e.p("f"), ALICE, ALICE).unwrap();
    for (mode, alice, bob) in [
        (0o600u32, R_OK | W_OK, 0),
        (0o644, R_OK | W_OK, R_OK),
        (0o444, R_OK, R_OK),
        (0o004, 0, R_OK),
        (0o002, 0, W_OK),
        (0o755, R_OK | W_OK | X_OK, R_OK | X_OK),
    ] {
        sys::chmod(e.p("f"), mode).unwrap();
        for (user, allowed) in [(ALICE, alice), (BOB, bob)] {
            as_user(user, user, || {
                for (bit, flags) in [(R_OK, O_RDONLY), (W_OK, O_WRONLY)] {
                    let opened = sys::open(e.p("f"), flags, 0);
                    if allowed & bit != 0 {
                        opened.unwrap_or_else(|err| panic!("{mode:o} {user}: {err}"));
                        sys::access(e.p("f"), bit).unwrap();
                    } else {
                        fails(opened, EACCES);
                        fails(sys::access(e.p("f"), bit), EACCES);
                    }
                }
                assert_eq!(sys::access(e.p("f"), X_OK).is_ok(), allowed & X_OK != 0);
            });
        }
    }
}

fn a_directory_needs_x_to_pass_and_w_to_change(e: &Env) {
    open_up(e);
    fs::create_dir(e.p("d")).unwrap();
    fs::write(e.p("d/f"), b"x").unwrap();
    sys::chmod(e.p("d/f"), 0o666).unwrap();
    for (mode, list, pass, change) in [
        (0o700u32, false, false, false),
        (0o704, true, false, false),
        (0o701, false, true, false),
        (0o705, true, true, false),
        (0o703, false, true, true),
        (0o706, true, false, false),
    ] {
        sys::chmod(e.p("d"), mode).unwrap();
        as_user(BOB, BOB, || {
            assert_eq!(fs::read_dir(e.p("d")).is_ok(), list, "{mode:o}: list");
            assert_eq!(fs::read(e.p("d/f")).is_ok(), pass, "{mode:o}: pass");
            let made = fs::write(e.p("d/new"), b"");
            assert_eq!(made.is_ok(), change, "{mode:o}: create");
            if change {
                sys::unlink(e.p("d/new")).unwrap();
            } else {
                fails(made, EACCES);
                fails(sys::unlink(e.p("d/f")), EACCES);
                fails(fs::create_dir(e.p("d/sub")), EACCES);
                fails(fs::rename(e.p("d/f"), e.p("d/g")), EACCES);
            }
        });
    }
}

fn only_the_owner_changes_mode_and_times(e: &Env) {
    open_up(e);
    fs::write(e.p("f"), b"").unwrap();
    sys::chown(e.p("f"), ALICE, ALICE).unwrap();
    sys::chmod(e.p("f"), 0o644).unwrap();
    as_user(BOB, BOB, || {
        fails(sys::chmod(e.p("f"), 0o777), EPERM);
        fails(sys::utimens(e.p("f"), (1, 0), (1, 0)), EPERM);
        fails(sys::utimens(e.p("f"), (0, UTIME_NOW), (0, UTIME_NOW)), EACCES);
        fails(sys::open(e.p("f"), O_RDONLY | O_NOATIME, 0), EPERM);
    });
    as_user(ALICE, ALICE, || {
        sys::chmod(e.p("f"), 0o666).unwrap();
        sys::utimens(e.p("f"), (1, 0), (1, 0)).unwrap();
    });
    as_user(BOB, BOB, || {
        sys::utimens(e.p("f"), (0, UTIME_NOW), (0, UTIME_NOW)).unwrap();
        fails(sys::utimens(e.p("f"), (5, 0), (5, 0)), EPERM);
    });
}

fn only_root_gives_files_away(e: &Env) {
    open_up(e);
    fs::write(e.p("f"), b"").unwrap();
    sys::chown(e.p("f"), ALICE, ALICE).unwrap();
    as_user_in(ALICE, ALICE, &[2000], || {
        fails(sys::chown(e.p("f"), BOB, u32::MAX), EPERM);
        fails(sys::chown(e.p("f"), u32::MAX, BOB), EPERM);
        sys::chown(e.p("f"), u32::MAX, 2000).unwrap();
        sys::chown(e.p("f"), ALICE, u32::MAX).unwrap();
    });
    let m = fs::metadata(e.p("f")).unwrap();
    assert_eq!((m.uid(), m.gid()), (ALICE, 2000));
    as_user(BOB, BOB, || fails(sys::chown(e.p("f"), u32::MAX, BOB), EPERM));
    sys::chown(e.p("f"), 0x1234_5678, 0x7654_3210).unwrap();
    let m = fs::metadata(e.p("f")).unwrap();
    assert_eq!((m.uid(), m.gid()), (0x1234_5678, 0x7654_3210));
}

fn chown_and_writing_clear_the_setuid_bit(e: &Env) {
    use std::os::unix::fs::FileExt;
    open_up(e);
    fs::write(e.p("f"), b"x").unwrap();
    sys::chown(e.p("f"), ALICE, ALICE).unwrap();
    let mode = || fs::metadata(e.p("f")).unwrap().mode() & 0o7777;
    type Change<'a> = (&'a str, &'a (dyn Fn() + Sync));
    let changes: [Change; 4] = [
        ("chown", &|| sys::chown(e.p("f"), ALICE, ALICE).unwrap()),
        ("write", &|| {
            let f = sys::open(e.p("f"), O_WRONLY, 0).unwrap();
            f.write_all_at(b"y", 0).unwrap();
        }),
        ("truncate", &|| sys::truncate(e.p("f"), 0).unwrap()),
        ("append", &|| {
            use std::io::Write;
            sys::open(e.p("f"), O_WRONLY | O_APPEND, 0)
                .unwrap()
                .write_all(b"z")
                .unwrap();
        }),
    ];
    for (what, change) in changes {
        sys::chmod(e.p("f"), 0o6777).unwrap();
        as_user(ALICE, ALICE, change);
        assert_eq!(mode(), 0o777, "after {what}");
    }
}

fn chmod_outside_the_group_clears_the_setgid_bit(e: &Env) {
    open_up(e);
    fs::write(e.p("f"), b"x").unwrap();
    sys::chown(e.p("f"), ALICE, 3000).unwrap();
    as_user(ALICE, ALICE, || sys::chmod(e.p("f"), 0o2755).unwrap());
    assert_eq!(fs::metadata(e.p("f")).unwrap().mode() & 0o7777, 0o755);
    as_user_in(ALICE, ALICE, &[3000], || sys::chmod(e.p("f"), 0o2755).unwrap());
    assert_eq!(fs::metadata(e.p("f")).unwrap().mode() & 0o7777, 0o2755);
}

fn a_sticky_directory_protects_what_others_own(e: &Env) {
    open_up(e);
    fs::create_dir(e.p("tmp")).unwrap();
    sys::chmod(e.p("tmp"), 0o1777).unwrap();
    as_user(ALICE, ALICE, || {
        fs::write(e.p("tmp/a"), b"").unwrap();
        fs::create_dir(e.p("tmp/ad")).unwrap();
    });
    as_user(BOB, BOB, || {
        fs::write(e.p("tmp/b"), b"").unwrap();
        fails(sys::unlink(e.p("tmp/a")), EPERM);
        fails(sys::rmdir(e.p("tmp/ad")), EPERM);
        fails(fs::rename(e.p("tmp/a"), e.p("tmp/c")), EPERM);
        fails(fs::rename(e.p("tmp/b"), e.p("tmp/a")), EPERM);
        sys::unlink(e.p("tmp/b")).unwrap();
    });
    as_user(ALICE, ALICE, || {
        fs::rename(e.p("tmp/a"), e.p("tmp/c")).unwrap();
        sys::unlink(e.p("tmp/c")).unwrap();
        sys::rmdir(e.p("tmp/ad")).unwrap();
    });
}

fn new_files_belong_to_their_creator(e: &Env) {
    open_up(e);
    as_user(ALICE, BOB, || {
        fs::write(e.p("f"), b"").unwrap();
        fs::create_dir(e.p("d")).unwrap();
        symlink("x", e.p("l")).unwrap();
        sys::mknod(e.p("p"), S_IFIFO | 0o644, 0).unwrap();
        fails(sys::mknod(e.p("c"), S_IFCHR | 0o644, makedev(1, 3)), EPERM);
        drop(sys::open(&e.dir, O_TMPFILE | O_RDWR, 0o600).unwrap());
    });
    for name in ["f", "d", "l", "p"] {
        let m = fs::symlink_metadata(e.p(name)).unwrap();
        assert_eq!((m.uid(), m.gid()), (ALICE, BOB), "{name}");
    }
}

fn group_membership_counts(e: &Env) {
    open_up(e);
    fs::write(e.p("f"), b"x").unwrap();
    sys::chown(e.p("f"), 0, 4000).unwrap();
    sys::chmod(e.p("f"), 0o640).unwrap();
    as_user(BOB, BOB, || fails(fs::read(e.p("f")), EACCES));
    as_user_in(BOB, BOB, &[4000], || fs::read(e.p("f")).map(drop).unwrap());
    sys::chmod(e.p("f"), 0o604).unwrap();
    as_user_in(BOB, BOB, &[4000], || fails(fs::read(e.p("f")), EACCES));
}

fn user_attributes_need_file_permissions(e: &Env) {
    open_up(e);
    fs::write(e.p("f"), b"").unwrap();
    sys::chown(e.p("f"), ALICE, ALICE).unwrap();
    sys::set_xattr(e.p("f"), "user.x", b"1", 0).unwrap();
    sys::set_xattr(e.p("f"), "trusted.t", b"2", 0).unwrap();
    sys::chmod(e.p("f"), 0o644).unwrap();
    as_user(BOB, BOB, || {
        assert_eq!(sys::get_xattr(e.p("f"), "user.x").unwrap(), b"1");
        fails(sys::set_xattr(e.p("f"), "user.x", b"2", 0), EACCES);
        fails(sys::remove_xattr(e.p("f"), "user.x"), EACCES);
        fails(sys::get_xattr(e.p("f"), "trusted.t"), ENODATA);
        fails(sys::set_xattr(e.p("f"), "trusted.t", b"3", 0), EPERM);
        assert_eq!(sys::list_xattr(e.p("f")).unwrap(), ["user.x"]);
    });
    sys::chmod(e.p("f"), 0o600).unwrap();
    as_user(BOB, BOB, || fails(sys::get_xattr(e.p("f"), "user.x"), EACCES));
    assert_eq!(sys::list_xattr(e.p("f")).unwrap(), ["trusted.t", "user.x"]);
    // user.* is for files and directories; in a sticky directory only for the owner.
    symlink("f", e.p("l")).unwrap();
    fails(sys::set_xattr(e.p("l"), "user.x", b"1", 0), EPERM);
    fs::create_dir(e.p("s")).unwrap();
    sys::chmod(e.p("s"), 0o1777).unwrap();
    as_user(BOB, BOB, || fails(sys::set_xattr(e.p("s"), "user.x", b"1", 0), EPERM));
}

fn hard_links_and_renames_need_write_permission_on_both_sides(e: &Env) {
    open_up(e);
    for d in ["mine", "theirs"] {
        fs::create_dir(e.p(d)).unwrap();
    }
    sys::chown(e.p("mine"), BOB, BOB).unwrap();
    fs::write(e.p("theirs/f"), b"").unwrap();
    sys::chmod(e.p("theirs/f"), 0o666).unwrap();
    as_user(BOB, BOB, || {
        fs::write(e.p("mine/g"), b"").unwrap();
        fails(fs::rename(e.p("theirs/f"), e.p("mine/f")), EACCES);
        fails(fs::rename(e.p("mine/g"), e.p("theirs/g")), EACCES);
        fails(fs::hard_link(e.p("mine/g"), e.p("theirs/g")), EACCES);
        fs::hard_link(e.p("mine/g"), e.p("mine/h")).unwrap();
    });
    assert_eq!(fs::metadata(e.p("mine/g")).unwrap().nlink(), 2);
}
