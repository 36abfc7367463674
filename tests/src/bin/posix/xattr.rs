// SPDX-License-Identifier: Apache-2.0
//! Extended attributes.

use crate::data::pattern;
use crate::fails;
use crate::sys;
use crate::tests;
use crate::Env;
use crate::Test;
use libc::*;
use std::fs;
use std::os::unix::fs::symlink;

pub const TESTS: &[Test] = tests![
    attributes_are_set_read_listed_and_removed,
    create_and_replace_flags_are_honoured,
    a_short_buffer_is_erange_and_size_zero_asks,
    values_of_many_sizes_are_kept,
    names_of_many_lengths_are_kept,
    unknown_namespaces_are_eopnotsupp,
    attributes_follow_the_inode,
    trusted_and_security_work_for_root,
    many_attributes_fit_a_file,
    a_replaced_value_leaves_nothing_of_the_old_one,
];

fn attributes_are_set_read_listed_and_removed(e: &Env) {
    fs::write(e.p("f"), b"").unwrap();
    fs::create_dir(e.p("d")).unwrap();
    for path in [e.p("f"), e.p("d")] {
        assert_eq!(sys::list_xattr(&path).unwrap(), [] as [&str; 0]);
        fails(sys::get_xattr(&path, "user.a"), ENODATA);
        fails(sys::remove_xattr(&path, "user.a"), ENODATA);
        sys::set_xattr(&path, "user.a", b"one", 0).unwrap();
        sys::set_xattr(&path, "user.b", b"", 0).unwrap();
        sys::set_xattr(&path, "user.A", &[0, 255, 10, 0], 0).unwrap();
        assert_eq!(sys::get_xattr(&path, "user.a").unwrap(), b"one");
        assert_eq!(sys::get_xattr(&path, "user.b").unwrap(), b"");
        assert_eq!(sys::get_xattr(&path, "user.A").unwrap(), [0, 255, 10, 0]);
        assert_eq!(sys::list_xattr(&path).unwrap(), ["user.A", "user.a", "user.b"]);
        sys::set_xattr(&path, "user.a", b"two", 0).unwrap();
        assert_eq!(sys::get_xattr(&path, "user.a").unwrap(), b"two");
        sys::remove_xattr(&path, "user.a").unwrap();
        fails(sys::get_xattr(&path, "user.a"), ENODATA);
        assert_eq!(sys::list_xattr(&path).unwrap(), ["user.A", "user.b"]);
    }
}

fn create_and_replace_flags_are_honoured(e: &Env) {
    fs::write(e.p("f"), b"").unwrap();
    fails(sys::set_xattr(e.p("f"), "user.x", b"1", XATTR_REPLACE), ENODATA);
    sys::set_xattr(e.p("f"), "user.x", b"1", XATTR_CREATE).unwrap();
    fails(sys::set_xattr(e.p("f"), "user.x", b"2", XATTR_CREATE), EEXIST);
    sys::set_xattr(e.p("f"), "user.x", b"3", XATTR_REPLACE).unwrap();
    assert_eq!(sys::get_xattr(e.p("f"), "user.x").unwrap(), b"3");
    fails(sys::set_xattr(e.p("f"), "user.x", b"4", 8), EINVAL);
}

fn a_short_buffer_is_erange_and_size_zero_asks(e: &Env) {
    fs::write(e.p("f"), b"").unwrap();
    sys::set_xattr(e.p("f"), "user.x", b"0123456789", 0).unwrap();
    assert_eq!(sys::get_xattr_sized(e.p("f"), "user.x", 0).unwrap().0, 10);
    fails(sys::get_xattr_sized(e.p("f"), "user.x", 9), ERANGE);
    assert_eq!(sys::get_xattr_sized(e.p("f"), "user.x", 10).unwrap().1, b"0123456789");
    let path = sys::cstr(e.p("f"));
    // SAFETY: size 0 with a NULL list only asks for the length.
    assert_eq!(unsafe { llistxattr(path.as_ptr(), std::ptr::null_mut(), 0) }, 7);
    let mut small = [0u8; 6];
    // SAFETY: the buffer is valid for 6 bytes.
    fails(
        sys::cvt(unsafe { llistxattr(path.as_ptr(), small.as_mut_ptr().cast(), 6) } as i64),
        ERANGE,
    );
}

fn values_of_many_sizes_are_kept(e: &Env) {
    let sizes: &[usize] = if e.is_vexfs() {
        &[1, 100, 1000, 3000, 3700, 3800, 3900, 4096, 8000, 20_000, 65_535, 65_536]
    } else {
        &[1, 100, 1000, 3000]
    };
    for (i, size) in sizes.iter().enumerate() {
        let path = e.p(&format!("f{i}"));
        fs::write(&path, b"").unwrap();
        let value = pattern(i as u64, *size);
        sys::set_xattr(&path, "user.value", &value, 0).unwrap_or_else(|err| panic!("{size} bytes: {err}"));
        assert!(sys::get_xattr(&path, "user.value").unwrap() == value, "{size} bytes");
    }
    let dir = sys::open(&e.dir, O_RDONLY, 0).unwrap();
    sys::syncfs(&dir).unwrap();
    fs::write("/proc/sys/vm/drop_caches", "2").unwrap();
    for (i, size) in sizes.iter().enumerate() {
        assert!(sys::get_xattr(e.p(&format!("f{i}")), "user.value").unwrap() == pattern(i as u64, *size));
    }
    fails(sys::set_xattr(e.p("f0"), "user.value", &vec![0; 65_537], 0), E2BIG);
}

fn names_of_many_lengths_are_kept(e: &Env) {
    fs::write(e.p("f"), b"").unwrap();
    for len in [1usize, 2, 100, 249, 250] {
        let name = format!("user.{}", "n".repeat(len));
        sys::set_xattr(e.p("f"), &name, &[len as u8], 0).unwrap_or_else(|err| panic!("{len}: {err}"));
        assert_eq!(sys::get_xattr(e.p("f"), &name).unwrap(), [len as u8]);
    }
    assert_eq!(sys::list_xattr(e.p("f")).unwrap().len(), 5);
    fails(
        sys::set_xattr(e.p("f"), &format!("user.{}", "n".repeat(251)), b"", 0),
        ERANGE,
    );
    fails(sys::set_xattr(e.p("f"), "user.", b"", 0), EINVAL);
}

fn unknown_namespaces_are_eopnotsupp(e: &Env) {
    fs::write(e.p("f"), b"").unwrap();
    fails(sys::set_xattr(e.p("f"), "nonsense.x", b"1", 0), EOPNOTSUPP);
    fails(sys::get_xattr(e.p("f"), "nonsense.x"), EOPNOTSUPP);
    fails(sys::set_xattr(e.p("f"), "x", b"1", 0), EOPNOTSUPP);
}

fn attributes_follow_the_inode(e: &Env) {
    fs::write(e.p("f"), b"content").unwrap();
    sys::set_xattr(e.p("f"), "user.x", b"mine", 0).unwrap();
    fs::hard_link(e.p("f"), e.p("g")).unwrap();
    fs::rename(e.p("f"), e.p("h")).unwrap();
    fs::write(e.p("g"), b"other content").unwrap();
    for name in ["g", "h"] {
        assert_eq!(sys::get_xattr(e.p(name), "user.x").unwrap(), b"mine");
    }
    fs::write(e.p("new"), b"").unwrap();
    fs::rename(e.p("new"), e.p("g")).unwrap();
    fails(sys::get_xattr(e.p("g"), "user.x"), ENODATA);
}

fn trusted_and_security_work_for_root(e: &Env) {
    fs::write(e.p("f"), b"").unwrap();
    symlink("f", e.p("l")).unwrap();
    for (path, name) in [
        ("f", "trusted.t"),
        ("f", "security.s"),
        ("l", "trusted.t"),
        ("l", "security.s"),
    ] {
        sys::set_xattr(e.p(path), name, path.as_bytes(), 0).unwrap_or_else(|err| panic!("{path} {name}: {err}"));
    }
    assert_eq!(sys::get_xattr(e.p("l"), "trusted.t").unwrap(), b"l");
    assert_eq!(sys::get_xattr(e.p("f"), "security.s").unwrap(), b"f");
    assert_eq!(sys::list_xattr(e.p("l")).unwrap(), ["security.s", "trusted.t"]);
}

fn many_attributes_fit_a_file(e: &Env) {
    let n = if e.is_vexfs() { 600 } else { 30 };
    fs::write(e.p("f"), b"").unwrap();
    for i in 0..n {
        sys::set_xattr(
            e.p("f"),
            &format!("user.attribute-{i}"),
            format!("value {i}").as_bytes(),
            0,
        )
        .unwrap();
    }
    assert_eq!(sys::list_xattr(e.p("f")).unwrap().len(), n);
    for i in (0..n).step_by(2) {
        sys::remove_xattr(e.p("f"), &format!("user.attribute-{i}")).unwrap();
    }
    for i in (1..n).step_by(2) {
        let value = sys::get_xattr(e.p("f"), &format!("user.attribute-{i}")).unwrap();
        assert_eq!(value, format!("value {i}").as_bytes());
    }
    assert_eq!(sys::list_xattr(e.p("f")).unwrap().len(), n / 2);
}

fn a_replaced_value_leaves_nothing_of_the_old_one(e: &Env) {
    fs::write(e.p("f"), b"").unwrap();
    let sizes: &[usize] = if e.is_vexfs() {
        &[50_000, 10, 9000, 4000, 65_536, 0, 3800]
    } else {
        &[3000, 10, 900, 0]
    };
    for (i, size) in sizes.iter().enumerate() {
        let value = pattern(i as u64, *size);
        sys::set_xattr(e.p("f"), "user.x", &value, 0).unwrap();
        assert!(sys::get_xattr(e.p("f"), "user.x").unwrap() == value, "step {i}");
        assert_eq!(sys::list_xattr(e.p("f")).unwrap(), ["user.x"]);
    }
}
