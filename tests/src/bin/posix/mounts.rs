// SPDX-License-Identifier: Apache-2.0
//! What concerns the mount: read-only remount, freezing, idmapped mounts, persistence. They take the whole filesystem.

use crate::data::pattern;
use crate::fails;
use crate::sys;
use crate::tests;
use crate::Env;
use crate::Test;
use libc::*;
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

pub const TESTS: &[Test] = tests![
    a_tree_survives_unmounting,
    a_read_only_remount_refuses_changes,
    a_read_only_mount_refuses_changes_and_serves_reads,
    remounting_read_only_with_an_open_writer_is_ebusy,
    a_frozen_filesystem_holds_writers_back,
    an_idmapped_mount_shows_shifted_owners,
    unmounting_with_an_open_file_is_ebusy,
    unknown_options_are_refused,
    two_mounts_of_one_device_are_one_filesystem,
];

fn remount(e: &Env, flags: u64, data: &str) -> io::Result<()> {
    sys::mount(&e.device, &e.root, &e.fstype, MS_REMOUNT | flags, data)
}

fn digest(path: &Path, prefix: &str, out: &mut Vec<String>) {
    let mut entries: Vec<_> = fs::read_dir(path).unwrap().map(|d| d.unwrap().path()).collect();
    entries.sort();
    for p in entries {
        let m = fs::symlink_metadata(&p).unwrap();
        let name = format!("{prefix}/{}", p.file_name().unwrap().to_string_lossy());
        let xattrs: Vec<_> = sys::list_xattr(&p)
            .unwrap()
            .into_iter()
            .map(|n| format!("{n}={:?}", sys::get_xattr(&p, &n).unwrap()))
            .collect();
        let content = if m.is_file() {
            fs::read(&p)
                .unwrap()
                .iter()
                .fold(1u64, |h, b| h.wrapping_mul(0x100_0000_01b3) ^ u64::from(*b))
        } else {
            0
        };
        out.push(format!(
            "{name} {:o} {} {} {} {} {} {}.{} {}.{} {content:x} {xattrs:?} {:?}",
            m.mode(),
            m.ino(),
            m.nlink(),
            m.uid(),
            m.gid(),
            if m.is_dir() { 0 } else { m.len() },
            m.mtime(),
            m.mtime_nsec(),
            m.ctime(),
            m.ctime_nsec(),
            fs::read_link(&p).ok()
        ));
        if m.is_dir() {
            digest(&p, &name, out);
        }
    }
}

fn a_tree_survives_unmounting(e: &Env) {
    for i in 0..300usize {
        let d = e.p(&format!("d{}", i % 7));
        fs::create_dir_all(&d).unwrap();
        let f = d.join(format!("file {i}"));
        fs::write(&f, pattern(i as u64, i * i)).unwrap();
        if i % 3 == 0 {
            fs::hard_link(&f, d.join(format!("link {i}"))).unwrap();
        }
        if i % 5 == 0 {
            symlink(&f, d.join(format!("symlink {i}"))).unwrap();
            sys::set_xattr(&f, "user.i", i.to_string().as_bytes(), 0).unwrap();
        }
        if i % 11 == 0 {
            sys::utimens(&f, (i as i64, 7), (i as i64, 9)).unwrap();
            sys::chown(&f, i as u32, 5).unwrap();
        }
        if i % 13 == 0 {
            sys::mknod(d.join(format!("fifo {i}")), S_IFIFO | 0o600, 0).unwrap();
        }
    }
    let (mut before, mut after) = (Vec::new(), Vec::new());
    digest(&e.dir, "", &mut before);
    let unlinked = sys::rw(e.p("unlinked"));
    unlinked.write_all_at(&[1; 100_000], 0).unwrap();
    sys::unlink(e.p("unlinked")).unwrap();
    drop(unlinked);
    sys::umount(&e.root).unwrap();
    sys::mount(&e.device, &e.root, &e.fstype, 0, "").unwrap();
    digest(&e.dir, "", &mut after);
    assert_eq!(before.len(), after.len());
    for (b, a) in before.iter().zip(&after) {
        assert_eq!(b, a);
    }
}

fn check_read_only(e: &Env) {
    fails(fs::write(e.p("new"), b""), EROFS);
    fails(sys::open(e.p("f"), O_RDWR, 0), EROFS);
    fails(sys::unlink(e.p("f")), EROFS);
    fails(fs::create_dir(e.p("d")), EROFS);
    fails(fs::rename(e.p("f"), e.p("g")), EROFS);
    fails(fs::hard_link(e.p("f"), e.p("g")), EROFS);
    fails(symlink("x", e.p("l")), EROFS);
    fails(sys::chmod(e.p("f"), 0o600), EROFS);
    fails(sys::chown(e.p("f"), 1, 1), EROFS);
    fails(sys::utimens(e.p("f"), (1, 0), (1, 0)), EROFS);
    fails(sys::truncate(e.p("f"), 0), EROFS);
    fails(sys::set_xattr(e.p("f"), "user.x", b"1", 0), EROFS);
    fails(sys::access(e.p("f"), W_OK), EROFS);
    assert_eq!(fs::read(e.p("f")).unwrap(), b"before");
    assert_eq!(fs::read_dir(&e.dir).unwrap().count(), 1);
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let shown = mounts
        .lines()
        .any(|l| l.split(' ').nth(1) == e.root.to_str() && l.contains(" ro"));
    assert!(shown, "{mounts}");
}

fn a_read_only_remount_refuses_changes(e: &Env) {
    fs::write(e.p("f"), b"before").unwrap();
    remount(e, MS_RDONLY, "").unwrap();
    check_read_only(e);
    remount(e, 0, "").unwrap();
    fs::write(e.p("f"), b"after").unwrap();
    assert_eq!(fs::read(e.p("f")).unwrap(), b"after");
}

fn a_read_only_mount_refuses_changes_and_serves_reads(e: &Env) {
    fs::write(e.p("f"), b"before").unwrap();
    sys::umount(&e.root).unwrap();
    sys::mount(&e.device, &e.root, &e.fstype, MS_RDONLY, "").unwrap();
    check_read_only(e);
    sys::umount(&e.root).unwrap();
    sys::mount(&e.device, &e.root, &e.fstype, 0, "").unwrap();
    fs::write(e.p("f"), b"after").unwrap();
}

fn remounting_read_only_with_an_open_writer_is_ebusy(e: &Env) {
    let f = sys::rw(e.p("f"));
    fails(remount(e, MS_RDONLY, ""), EBUSY);
    f.write_all_at(b"still writable", 0).unwrap();
    drop(f);
    let unlinked = sys::open(e.p("f"), O_RDONLY, 0).unwrap();
    sys::unlink(e.p("f")).unwrap();
    // An unlinked open file is a deletion still to come.
    fails(remount(e, MS_RDONLY, ""), EBUSY);
    drop(unlinked);
    remount(e, MS_RDONLY, "").unwrap();
    remount(e, 0, "").unwrap();
}

fn a_frozen_filesystem_holds_writers_back(e: &Env) {
    fs::write(e.p("f"), b"before").unwrap();
    let dir = sys::open(&e.dir, O_RDONLY, 0).unwrap();
    for _ in 0..3 {
        sys::freeze(&dir).unwrap();
        fails(sys::freeze(&dir), EBUSY);
        assert_eq!(fs::read(e.p("f")).unwrap(), b"before");
        let done = AtomicBool::new(false);
        std::thread::scope(|s| {
            s.spawn(|| {
                fs::write(e.p("g"), b"held back").unwrap();
                done.store(true, Ordering::SeqCst);
            });
            std::thread::sleep(Duration::from_millis(300));
            assert!(!done.load(Ordering::SeqCst), "a write got through");
            sys::thaw(&dir).unwrap();
        });
        assert_eq!(fs::read(e.p("g")).unwrap(), b"held back");
    }
    fails(sys::thaw(&dir), EINVAL);
}

#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// A user namespace that maps id 0.. to `base`.., as an open descriptor.
fn user_namespace(base: u32) -> fs::File {
    // SAFETY: the child only unshares and waits to be killed.
    let pid = unsafe { fork() };
    if pid == 0 {
        // SAFETY: no pointers; async-signal-safe calls only.
        unsafe {
            if unshare(CLONE_NEWUSER) != 0 {
                _exit(1);
            }
            loop {
                pause();
            }
        }
    }
    let own = fs::read_link("/proc/self/ns/user").unwrap();
    while fs::read_link(format!("/proc/{pid}/ns/user")).is_ok_and(|ns| ns == own) {
        // SAFETY: our own child; no status is asked for.
        let gone = unsafe { waitpid(pid, std::ptr::null_mut(), WNOHANG) };
        assert_eq!(gone, 0, "no user namespace can be made here (not in a chroot, for one)");
        std::thread::yield_now();
    }
    for map in ["uid_map", "gid_map"] {
        fs::write(format!("/proc/{pid}/{map}"), format!("0 {base} 65536")).unwrap();
    }
    let ns = fs::File::open(format!("/proc/{pid}/ns/user")).unwrap();
    // SAFETY: our own child, reaped right away.
    unsafe {
        kill(pid, SIGKILL);
        waitpid(pid, std::ptr::null_mut(), 0);
    }
    ns
}

fn an_idmapped_mount_shows_shifted_owners(e: &Env) {
    use std::os::fd::AsRawFd;
    use std::os::fd::FromRawFd;
    fs::create_dir(e.p("tree")).unwrap();
    fs::write(e.p("tree/f"), b"x").unwrap();
    sys::chown(e.p("tree/f"), 5, 6).unwrap();
    fs::create_dir("/tmp").ok();
    let at = Path::new("/tmp/vexfs-idmapped");
    fs::create_dir_all(at).unwrap();
    let ns = user_namespace(100_000);
    let source = sys::cstr(e.p("tree"));
    let empty = CString::default();
    let target = sys::cstr(at);
    // SAFETY: strings are NUL-terminated; the attribute has the layout of struct mount_attr (version 0, 32 bytes).
    unsafe {
        let tree = sys::cvt(syscall(SYS_open_tree, AT_FDCWD, source.as_ptr(), 1 | O_CLOEXEC)).unwrap() as i32;
        let tree = fs::File::from_raw_fd(tree);
        let attr = MountAttr {
            attr_set: 0x0010_0000,
            attr_clr: 0,
            propagation: 0,
            userns_fd: ns.as_raw_fd() as u64,
        };
        sys::cvt(syscall(
            SYS_mount_setattr,
            tree.as_raw_fd(),
            empty.as_ptr(),
            AT_EMPTY_PATH,
            &attr,
            32,
        ))
        .unwrap_or_else(|err| panic!("mount_setattr: {err}"));
        sys::cvt(syscall(
            SYS_move_mount,
            tree.as_raw_fd(),
            empty.as_ptr(),
            AT_FDCWD,
            target.as_ptr(),
            4,
        ))
        .unwrap();
    }
    let m = fs::metadata(at.join("f")).unwrap();
    assert_eq!((m.uid(), m.gid()), (100_005, 100_006));
    sys::chmod(e.p("tree"), 0o777).unwrap();
    sys::as_user(100_007, 100_008, || {
        fs::write(at.join("g"), b"mapped").unwrap();
        fs::create_dir(at.join("d")).unwrap();
    });
    for name in ["tree/g", "tree/d"] {
        let m = fs::metadata(e.p(name)).unwrap();
        assert_eq!((m.uid(), m.gid()), (7, 8), "{name}");
    }
    // Ids outside the map cannot own anything here.
    sys::as_user(42, 42, || fails(fs::write(at.join("h"), b""), EOVERFLOW));
    sys::chown(at.join("g"), 100_001, 100_002).unwrap();
    let m = fs::metadata(e.p("tree/g")).unwrap();
    assert_eq!((m.uid(), m.gid()), (1, 2));
    sys::umount(at).unwrap();
}

fn unmounting_with_an_open_file_is_ebusy(e: &Env) {
    let f = sys::rw(e.p("f"));
    fails(sys::umount(&e.root), EBUSY);
    f.write_all_at(b"alive", 0).unwrap();
    assert_eq!(fs::read(e.p("f")).unwrap(), b"alive");
}

fn unknown_options_are_refused(e: &Env) {
    assert!(remount(e, 0, "no-such-option-here").is_err());
    fs::write(e.p("f"), b"alive").unwrap();
    sys::umount(&e.root).unwrap();
    let refused = sys::mount(&e.device, &e.root, &e.fstype, 0, "no-such-option-here=5");
    sys::mount(&e.device, &e.root, &e.fstype, 0, "").unwrap();
    fails(refused, EINVAL);
}

fn two_mounts_of_one_device_are_one_filesystem(e: &Env) {
    fs::create_dir_all("/tmp/vexfs-second").unwrap();
    sys::mount(&e.device, "/tmp/vexfs-second", &e.fstype, 0, "").unwrap();
    fs::write(e.p("f"), b"one").unwrap();
    let rel = e
        .p("f")
        .strip_prefix(e.root.canonicalize().unwrap())
        .unwrap()
        .to_path_buf();
    let seen = fs::read(Path::new("/tmp/vexfs-second").join(rel));
    sys::umount("/tmp/vexfs-second").unwrap();
    assert_eq!(seen.unwrap(), b"one");
}
