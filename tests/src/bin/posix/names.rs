// SPDX-License-Identifier: Apache-2.0
//! Names, paths, node types, modes.

use crate::fails;
use crate::sys;
use crate::tests;
use crate::Env;
use crate::Test;
use libc::*;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::MetadataExt;

pub const TESTS: &[Test] = tests![
    a_name_has_up_to_255_bytes,
    a_name_may_hold_every_byte_but_slash_and_nul,
    names_differ_by_case_and_are_not_normalised,
    a_missing_component_is_enoent_and_a_file_as_component_enotdir,
    exclusive_create_fails_on_anything_that_exists,
    open_creates_through_a_dangling_symlink,
    open_flags_guard_the_type,
    open_truncates,
    every_type_of_node_can_be_made,
    modes_keep_their_special_bits_and_obey_the_umask,
    a_symlink_holds_up_to_4095_bytes,
    a_symlink_loop_is_eloop,
    unlink_and_rmdir_check_the_type,
    mkdir_over_anything_is_eexist,
    a_directory_cannot_be_written_or_read_as_a_file,
];

fn a_name_has_up_to_255_bytes(e: &Env) {
    let ok = "n".repeat(255);
    let long = "n".repeat(256);
    for (i, c) in ["a", "b"].iter().enumerate() {
        let name = format!("{}{c}", &ok[..254]);
        fs::write(e.p(&name), [i as u8]).unwrap();
    }
    assert_eq!(fs::read(e.p(&format!("{}b", &ok[..254]))).unwrap(), [1]);
    fs::create_dir(e.p(&ok)).unwrap();
    fs::write(e.p(&ok).join(&ok), b"deep").unwrap();
    symlink("x", e.p(&ok).join(format!("{}s", &ok[..254]))).unwrap();
    let seen: Vec<_> = fs::read_dir(e.p(&ok))
        .unwrap()
        .map(|d| d.unwrap().file_name().len())
        .collect();
    assert_eq!(seen, [255, 255]);
    fs::write(e.p("f"), b"").unwrap();
    fails(fs::File::create(e.p(&long)), ENAMETOOLONG);
    fails(fs::create_dir(e.p(&long)), ENAMETOOLONG);
    fails(symlink("x", e.p(&long)), ENAMETOOLONG);
    fails(fs::rename(e.p("f"), e.p(&long)), ENAMETOOLONG);
    fails(fs::hard_link(e.p("f"), e.p(&long)), ENAMETOOLONG);
    fails(fs::metadata(e.p(&long)), ENAMETOOLONG);
    fails(sys::unlink(e.p(&long)), ENAMETOOLONG);
}

fn a_name_may_hold_every_byte_but_slash_and_nul(e: &Env) {
    for b in 1..=255u8 {
        if b == b'/' || b == b'.' {
            continue;
        }
        let path = e.dir.join(OsStr::from_bytes(&[b]));
        fs::write(&path, [b]).unwrap_or_else(|err| panic!("byte {b}: {err}"));
    }
    let mut seen: Vec<u8> = fs::read_dir(&e.dir)
        .unwrap()
        .map(|d| {
            let name = d.unwrap().file_name();
            assert_eq!(fs::read(e.dir.join(&name)).unwrap(), name.as_bytes());
            name.as_bytes()[0]
        })
        .collect();
    seen.sort_unstable();
    assert_eq!(seen.len(), 253);
}

fn names_differ_by_case_and_are_not_normalised(e: &Env) {
    for (i, name) in ["File", "file", "FILE", "caf\u{e9}", "cafe\u{301}", " file", "file "]
        .iter()
        .enumerate()
    {
        sys::open(e.p(name), O_CREAT | O_EXCL | O_WRONLY, 0o600).unwrap();
        fs::write(e.p(name), [i as u8]).unwrap();
    }
    assert_eq!(fs::read(e.p("file")).unwrap(), [1]);
    assert_eq!(fs::read(e.p("cafe\u{301}")).unwrap(), [4]);
}

fn a_missing_component_is_enoent_and_a_file_as_component_enotdir(e: &Env) {
    fs::write(e.p("f"), b"x").unwrap();
    fails(fs::metadata(e.p("no")), ENOENT);
    fails(fs::metadata(e.p("no/f")), ENOENT);
    fails(fs::metadata(e.p("f/x")), ENOTDIR);
    fails(fs::metadata(e.p("f/")), ENOTDIR);
    fails(fs::create_dir(e.p("f/d")), ENOTDIR);
    fails(fs::File::create(e.p("no/f")), ENOENT);
    fails(sys::unlink(e.p("no")), ENOENT);
    fails(sys::rmdir(e.p("no")), ENOENT);
    fails(sys::open(e.p("no"), O_RDONLY, 0), ENOENT);
    fails(fs::rename(e.p("no"), e.p("x")), ENOENT);
    fails(fs::rename(e.p("f"), e.p("no/x")), ENOENT);
    fails(fs::hard_link(e.p("no"), e.p("x")), ENOENT);
    fails(fs::read_dir(e.p("f")), ENOTDIR);
    assert!(fs::metadata(e.p("./../").join(e.dir.file_name().unwrap()).join("f")).is_ok());
}

fn exclusive_create_fails_on_anything_that_exists(e: &Env) {
    fs::write(e.p("f"), b"x").unwrap();
    fs::create_dir(e.p("d")).unwrap();
    symlink("nowhere", e.p("l")).unwrap();
    for name in ["f", "d", "l"] {
        fails(sys::open(e.p(name), O_CREAT | O_EXCL | O_WRONLY, 0o644), EEXIST);
    }
    assert_eq!(fs::read(e.p("f")).unwrap(), b"x");
    fails(fs::metadata(e.p("nowhere")), ENOENT);
}

fn open_creates_through_a_dangling_symlink(e: &Env) {
    symlink("target", e.p("l")).unwrap();
    fs::write(e.p("l"), b"through").unwrap();
    assert_eq!(fs::read(e.p("target")).unwrap(), b"through");
}

fn open_flags_guard_the_type(e: &Env) {
    fs::write(e.p("f"), b"").unwrap();
    fs::create_dir(e.p("d")).unwrap();
    symlink("f", e.p("l")).unwrap();
    fails(sys::open(e.p("f"), O_RDONLY | O_DIRECTORY, 0), ENOTDIR);
    fails(sys::open(e.p("d"), O_WRONLY, 0), EISDIR);
    fails(sys::open(e.p("d"), O_RDWR | O_CREAT, 0o644), EISDIR);
    fails(sys::open(e.p("l"), O_RDONLY | O_NOFOLLOW, 0), ELOOP);
    assert!(sys::open(e.p("l"), O_PATH | O_NOFOLLOW, 0).is_ok());
    assert!(sys::open(e.p("d"), O_RDONLY | O_DIRECTORY, 0).is_ok());
}

fn open_truncates(e: &Env) {
    for size in [1usize, 2048, 5000, 300_000] {
        fs::write(e.p("f"), vec![7; size]).unwrap();
        drop(sys::open(e.p("f"), O_WRONLY | O_TRUNC, 0).unwrap());
        let m = fs::metadata(e.p("f")).unwrap();
        assert_eq!((m.len(), m.blocks()), (0, 0), "after truncating {size}");
    }
}

fn every_type_of_node_can_be_made(e: &Env) {
    sys::mknod(e.p("fifo"), S_IFIFO | 0o640, 0).unwrap();
    sys::mknod(e.p("sock"), S_IFSOCK | 0o600, 0).unwrap();
    sys::mknod(e.p("chr"), S_IFCHR | 0o600, makedev(5, 1)).unwrap();
    sys::mknod(e.p("blk"), S_IFBLK | 0o600, makedev(300, 70_000)).unwrap();
    sys::mknod(e.p("reg"), S_IFREG | 0o600, 0).unwrap();
    let m = |n: &str| fs::symlink_metadata(e.p(n)).unwrap();
    assert!(m("fifo").file_type().is_fifo());
    assert_eq!(m("fifo").mode() & 0o7777, 0o640);
    assert!(m("sock").file_type().is_socket());
    assert!(m("chr").file_type().is_char_device());
    assert_eq!(m("chr").rdev(), makedev(5, 1));
    assert!(m("blk").file_type().is_block_device());
    assert_eq!(m("blk").rdev(), makedev(300, 70_000));
    assert!(m("reg").file_type().is_file());
    fails(sys::mknod(e.p("fifo"), S_IFIFO | 0o600, 0), EEXIST);
    // readdir tells the types too.
    for d in fs::read_dir(&e.dir).unwrap() {
        let d = d.unwrap();
        assert_eq!(
            d.file_type().unwrap(),
            fs::symlink_metadata(d.path()).unwrap().file_type()
        );
        assert_eq!(d.ino(), fs::symlink_metadata(d.path()).unwrap().ino());
    }
    // A fifo works as one.
    let path = e.p("fifo");
    std::thread::scope(|s| {
        let reader = s.spawn(|| fs::read(&path).unwrap());
        fs::write(&path, b"through the pipe").unwrap();
        assert_eq!(reader.join().unwrap(), b"through the pipe");
    });
}

use std::os::unix::fs::DirEntryExt;

fn modes_keep_their_special_bits_and_obey_the_umask(e: &Env) {
    drop(sys::open(e.p("f"), O_CREAT | O_WRONLY, 0o777).unwrap());
    assert_eq!(fs::metadata(e.p("f")).unwrap().mode(), S_IFREG | 0o755);
    fs::create_dir(e.p("d")).unwrap();
    assert_eq!(fs::metadata(e.p("d")).unwrap().mode(), S_IFDIR | 0o755);
    for mode in [0o7777, 0o4755, 0o2755, 0o1777, 0, 0o421] {
        sys::chmod(e.p("f"), mode).unwrap();
        sys::chmod(e.p("d"), mode).unwrap();
        assert_eq!(fs::metadata(e.p("f")).unwrap().mode(), S_IFREG | mode);
        assert_eq!(fs::metadata(e.p("d")).unwrap().mode(), S_IFDIR | mode);
    }
    sys::chmod(e.p("d"), 0o2755).unwrap();
    sys::chown(e.p("d"), 0, 4711).unwrap();
    fs::create_dir(e.p("d/sub")).unwrap();
    let m = fs::metadata(e.p("d/sub")).unwrap();
    assert_eq!(
        (m.mode(), m.gid()),
        (S_IFDIR | 0o2755, 4711),
        "a setgid directory passes group and bit on"
    );
    fs::write(e.p("d/f"), b"").unwrap();
    let m = fs::metadata(e.p("d/f")).unwrap();
    assert_eq!((m.mode(), m.gid()), (S_IFREG | 0o644, 4711));
}

fn a_symlink_holds_up_to_4095_bytes(e: &Env) {
    for len in [
        1usize, 2, 59, 60, 61, 255, 1000, 2047, 2048, 2049, 3000, 3800, 4000, 4094, 4095,
    ] {
        let target: String = (0..len).map(|i| char::from(b'a' + (i % 26) as u8)).collect();
        let path = e.p(&format!("l{len}"));
        symlink(&target, &path).unwrap_or_else(|err| panic!("length {len}: {err}"));
        assert_eq!(fs::read_link(&path).unwrap().as_os_str().as_bytes(), target.as_bytes());
        let m = fs::symlink_metadata(&path).unwrap();
        assert_eq!(m.len(), len as u64);
        assert_eq!(m.mode() & S_IFMT, S_IFLNK);
    }
    fails(symlink("t".repeat(4096), e.p("long")), ENAMETOOLONG);
    fails(symlink("", e.p("empty")), ENOENT);
    fails(fs::read_link(&e.dir), EINVAL);
}

fn a_symlink_loop_is_eloop(e: &Env) {
    symlink("b", e.p("a")).unwrap();
    symlink("a", e.p("b")).unwrap();
    fails(fs::metadata(e.p("a")), ELOOP);
    fails(fs::read(e.p("b")), ELOOP);
    sys::unlink(e.p("a")).unwrap();
    fails(fs::metadata(e.p("b")), ENOENT);
}

fn unlink_and_rmdir_check_the_type(e: &Env) {
    fs::write(e.p("f"), b"").unwrap();
    fs::create_dir(e.p("d")).unwrap();
    fs::write(e.p("d/x"), b"").unwrap();
    symlink("d", e.p("l")).unwrap();
    fails(sys::rmdir(e.p("f")), ENOTDIR);
    fails(sys::rmdir(e.p("l")), ENOTDIR);
    fails(sys::unlink(e.p("d")), EISDIR);
    fails(sys::rmdir(e.p("d")), ENOTEMPTY);
    fails(sys::rmdir(e.p("d/.")), EINVAL);
    fails(sys::rmdir(e.p("d/..")), ENOTEMPTY);
    sys::unlink(e.p("d/x")).unwrap();
    sys::rmdir(e.p("d")).unwrap();
    sys::unlink(e.p("l")).unwrap();
    fails(fs::metadata(e.p("d")), ENOENT);
}

fn mkdir_over_anything_is_eexist(e: &Env) {
    fs::write(e.p("f"), b"").unwrap();
    fs::create_dir(e.p("d")).unwrap();
    symlink("nowhere", e.p("l")).unwrap();
    for name in ["f", "d", "l", ".", ".."] {
        fails(fs::create_dir(e.p(name)), EEXIST);
    }
}

fn a_directory_cannot_be_written_or_read_as_a_file(e: &Env) {
    use std::io::Read;
    let mut d = sys::open(&e.dir, O_RDONLY, 0).unwrap();
    fails(d.read(&mut [0; 10]), EISDIR);
    fails(sys::truncate(&e.dir, 0), EISDIR);
    d.sync_all().unwrap();
    d.sync_data().unwrap();
}
