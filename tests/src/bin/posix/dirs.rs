// SPDX-License-Identifier: Apache-2.0
//! Directories: link counts, reading while changing, large ones, positions.

use crate::fails;
use crate::sys;
use crate::tests;
use crate::Env;
use crate::Test;
use libc::*;
use std::collections::BTreeSet;
use std::ffi::CStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

pub const TESTS: &[Test] = tests![
    a_directory_has_two_links_and_one_per_subdirectory,
    dot_and_dotdot_are_listed_and_lead_home,
    every_entry_is_read_exactly_once_from_a_large_directory,
    entries_that_stay_are_read_once_while_others_are_removed,
    entries_that_stay_are_read_once_while_others_are_created,
    a_directory_removed_while_it_is_read_loses_nothing,
    telldir_and_seekdir_return_to_the_same_entry,
    rewinddir_sees_what_was_created_since,
    a_removed_open_directory_is_empty_and_refuses_new_names,
    deep_trees_can_be_made_and_removed,
    threads_can_create_and_remove_in_one_directory,
];

fn a_directory_has_two_links_and_one_per_subdirectory(e: &Env) {
    let links = || fs::metadata(&e.dir).unwrap().nlink();
    assert_eq!(links(), 2);
    for i in 0..40 {
        fs::create_dir(e.p(&format!("d{i}"))).unwrap();
        fs::write(e.p(&format!("f{i}")), b"").unwrap();
    }
    assert_eq!(links(), 42);
    sys::rmdir(e.p("d7")).unwrap();
    assert_eq!(links(), 41);
    fs::rename(e.p("d8"), e.p("d9/d8")).unwrap();
    assert_eq!(links(), 40);
    assert_eq!(fs::metadata(e.p("d9")).unwrap().nlink(), 3);
    fs::rename(e.p("d10"), e.p("d11")).unwrap();
    assert_eq!(links(), 39, "replacing an empty directory drops one link");
}

/// A directory stream, for telldir and friends.
struct Stream(*mut DIR);

impl Stream {
    fn open(path: impl AsRef<Path>) -> Stream {
        let path = sys::cstr(path);
        // SAFETY: `path` is NUL-terminated.
        let dir = unsafe { opendir(path.as_ptr()) };
        assert!(!dir.is_null(), "opendir");
        Stream(dir)
    }

    fn next(&mut self) -> Option<(String, u64)> {
        // SAFETY: the stream is open; the entry is copied before the next call.
        unsafe {
            let d = readdir64(self.0);
            if d.is_null() {
                return None;
            }
            Some((
                CStr::from_ptr((*d).d_name.as_ptr()).to_string_lossy().into_owned(),
                (*d).d_ino,
            ))
        }
    }

    fn tell(&self) -> i64 {
        // SAFETY: the stream is open.
        unsafe { telldir(self.0) }
    }

    fn seek(&mut self, pos: i64) {
        // SAFETY: the stream is open.
        unsafe { seekdir(self.0, pos) }
    }

    fn rewind(&mut self) {
        // SAFETY: the stream is open.
        unsafe { rewinddir(self.0) }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: opened by `open`, closed once.
        unsafe { closedir(self.0) };
    }
}

fn make_files(e: &Env, prefix: &str, n: usize) -> BTreeSet<String> {
    (0..n)
        .map(|i| {
            let name = format!("{prefix}{i:05}");
            drop(sys::rw(e.p(&name)));
            name
        })
        .collect()
}

fn dot_and_dotdot_are_listed_and_lead_home(e: &Env) {
    fs::create_dir(e.p("sub")).unwrap();
    let mut s = Stream::open(e.p("sub"));
    let mut seen = std::collections::BTreeMap::new();
    while let Some((name, ino)) = s.next() {
        seen.insert(name, ino);
    }
    assert_eq!(seen.len(), 2);
    assert_eq!(seen["."], fs::metadata(e.p("sub")).unwrap().ino());
    assert_eq!(seen[".."], fs::metadata(&e.dir).unwrap().ino());
    assert_eq!(
        fs::metadata(e.p("sub/..")).unwrap().ino(),
        fs::metadata(&e.dir).unwrap().ino()
    );
}

fn every_entry_is_read_exactly_once_from_a_large_directory(e: &Env) {
    let names = make_files(e, "entry-with-a-longer-name-", 5000);
    let mut seen = BTreeSet::new();
    for d in fs::read_dir(&e.dir).unwrap() {
        assert!(
            seen.insert(d.unwrap().file_name().into_string().unwrap()),
            "an entry was read twice"
        );
    }
    assert_eq!(seen, names);
}

fn entries_that_stay_are_read_once_while_others_are_removed(e: &Env) {
    let stay = make_files(e, "stay", 1000);
    let go = make_files(e, "go", 1000);
    let mut go = go.into_iter();
    let mut s = Stream::open(&e.dir);
    let mut seen = BTreeSet::new();
    while let Some((name, _)) = s.next() {
        if name.starts_with("stay") {
            assert!(seen.insert(name), "an entry was read twice");
        }
        if let Some(name) = go.next() {
            sys::unlink(e.p(&name)).unwrap();
        }
    }
    assert_eq!(seen, stay);
}

fn entries_that_stay_are_read_once_while_others_are_created(e: &Env) {
    let stay = make_files(e, "stay", 1000);
    let mut s = Stream::open(&e.dir);
    let mut seen = BTreeSet::new();
    let mut i = 0;
    while let Some((name, _)) = s.next() {
        if name.starts_with("stay") {
            assert!(seen.insert(name), "an entry was read twice");
        }
        if i < 1500 {
            drop(sys::rw(e.p(&format!("new{i}"))));
            i += 1;
        }
    }
    assert_eq!(seen, stay);
}

fn a_directory_removed_while_it_is_read_loses_nothing(e: &Env) {
    let names = make_files(e, "x", 2000);
    let mut s = Stream::open(&e.dir);
    let mut seen = BTreeSet::new();
    while let Some((name, _)) = s.next() {
        if name != "." && name != ".." {
            sys::unlink(e.p(&name)).unwrap_or_else(|err| panic!("{name}: {err}"));
            assert!(seen.insert(name));
        }
    }
    assert_eq!(seen, names);
    assert_eq!(fs::read_dir(&e.dir).unwrap().count(), 0);
}

fn telldir_and_seekdir_return_to_the_same_entry(e: &Env) {
    make_files(e, "x", 700);
    let mut s = Stream::open(&e.dir);
    let mut places = Vec::new();
    loop {
        let pos = s.tell();
        match s.next() {
            Some((name, _)) => places.push((pos, name)),
            None => break,
        }
    }
    assert_eq!(places.len(), 702);
    for (pos, name) in places.iter().rev().step_by(13) {
        s.seek(*pos);
        assert_eq!(s.next().unwrap().0, *name);
    }
    // Positions outlive the removal of other entries.
    let (pos, name) = &places[350];
    for (_, other) in &places {
        if other != name && other != "." && other != ".." {
            sys::unlink(e.p(other)).unwrap();
        }
    }
    s.seek(*pos);
    if !name.starts_with('.') {
        assert_eq!(s.next().unwrap().0, *name);
    }
}

fn rewinddir_sees_what_was_created_since(e: &Env) {
    make_files(e, "a", 3);
    let mut s = Stream::open(&e.dir);
    while s.next().is_some() {}
    make_files(e, "b", 3);
    s.rewind();
    let mut n = 0;
    while s.next().is_some() {
        n += 1;
    }
    assert_eq!(n, 8);
}

fn a_removed_open_directory_is_empty_and_refuses_new_names(e: &Env) {
    fs::create_dir(e.p("d")).unwrap();
    let d = sys::open(e.p("d"), O_RDONLY | O_DIRECTORY, 0).unwrap();
    sys::rmdir(e.p("d")).unwrap();
    use std::os::fd::AsRawFd;
    let inside = format!("/proc/self/fd/{}/f", d.as_raw_fd());
    fails(fs::File::create(&inside), ENOENT);
    fails(fs::create_dir(&inside), ENOENT);
    assert_eq!(d.metadata().unwrap().nlink(), 0);
    fs::create_dir(e.p("d")).unwrap();
    fails(fs::metadata(inside), ENOENT);
}

fn deep_trees_can_be_made_and_removed(e: &Env) {
    let mut path = e.dir.clone();
    for i in 0..150 {
        path.push(format!("level{i}"));
        fs::create_dir(&path).unwrap();
    }
    fs::write(path.join("leaf"), b"deep").unwrap();
    assert_eq!(fs::read(path.join("leaf")).unwrap(), b"deep");
    fs::rename(e.p("level0/level1/level2"), e.p("moved")).unwrap();
    assert_eq!(
        fs::metadata(e.p("moved/..")).unwrap().ino(),
        fs::metadata(&e.dir).unwrap().ino()
    );
    fs::remove_dir_all(e.p("moved")).unwrap();
    fs::remove_dir_all(e.p("level0")).unwrap();
    assert_eq!(fs::metadata(&e.dir).unwrap().nlink(), 2);
}

fn threads_can_create_and_remove_in_one_directory(e: &Env) {
    std::thread::scope(|s| {
        for t in 0..4 {
            s.spawn(move || {
                for i in 0..300 {
                    let path = e.p(&format!("t{t}-{i}"));
                    fs::write(&path, format!("{t} {i}")).unwrap();
                    if i % 3 == 0 {
                        sys::unlink(&path).unwrap();
                    } else if i % 3 == 1 {
                        fs::rename(&path, e.p(&format!("r{t}-{i}"))).unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(fs::read_dir(&e.dir).unwrap().count(), 4 * 200);
    for t in 0..4 {
        for i in 0..300 {
            let name = match i % 3 {
                0 => continue,
                1 => format!("r{t}-{i}"),
                _ => format!("t{t}-{i}"),
            };
            assert_eq!(fs::read_to_string(e.p(&name)).unwrap(), format!("{t} {i}"));
        }
    }
}
