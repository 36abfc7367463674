// SPDX-License-Identifier: Apache-2.0
//! Free space: accounting, and behaviour when it runs out.

use crate::data::pattern;
use crate::fails;
use crate::sys;
use crate::tests;
use crate::Env;
use crate::Test;
use libc::*;
use std::fs;
use std::os::unix::fs::FileExt;

pub const TESTS: &[Test] = tests![statfs_follows_what_is_written_and_removed];

/// Run only when the caller allows to fill the filesystem.
pub const FILL_TESTS: &[Test] = tests![
    a_full_filesystem_says_enospc_and_keeps_what_it_has,
    space_comes_back_after_removing_on_a_full_filesystem,
    a_filesystem_full_of_small_files_says_enospc_and_recovers,
    mapped_writes_into_a_full_filesystem_are_sigbus_or_succeed,
];

fn free(e: &Env) -> u64 {
    let s = sys::statfs(&e.dir).unwrap();
    s.f_bfree * s.f_bsize as u64
}

fn settle(e: &Env) {
    let dir = sys::open(&e.dir, O_RDONLY, 0).unwrap();
    for _ in 0..3 {
        sys::syncfs(&dir).unwrap();
    }
}

fn statfs_follows_what_is_written_and_removed(e: &Env) {
    settle(e);
    let s = sys::statfs(&e.dir).unwrap();
    assert!(s.f_blocks > 0 && s.f_bfree <= s.f_blocks && s.f_bavail <= s.f_bfree);
    assert_eq!(s.f_namelen, 255);
    let before = free(e);
    fs::write(e.p("f"), pattern(1, 8 << 20)).unwrap();
    settle(e);
    let during = free(e);
    assert!(before - during >= 8 << 20, "8 MiB took {} bytes", before - during);
    assert!(before - during < 10 << 20, "8 MiB took {} bytes", before - during);
    sys::unlink(e.p("f")).unwrap();
    settle(e);
    let after = free(e);
    assert!(
        after + (256 << 10) >= before,
        "{before} bytes free before, {after} after"
    );
}

/// Writes files of 1 MiB until the filesystem is full; returns how many are complete.
fn fill(e: &Env) -> usize {
    for i in 0.. {
        let f = sys::rw(e.p(&format!("fill{i}")));
        let data = pattern(i, 1 << 20);
        if let Err(err) = f.write_all_at(&data, 0).and_then(|()| f.sync_all()) {
            assert_eq!(err.raw_os_error(), Some(ENOSPC), "file {i}");
            return i as usize;
        }
    }
    unreachable!()
}

fn verify(e: &Env, n: usize) {
    for i in 0..n {
        assert!(
            fs::read(e.p(&format!("fill{i}"))).unwrap() == pattern(i as u64, 1 << 20),
            "file {i} of {n}"
        );
    }
}

fn a_full_filesystem_says_enospc_and_keeps_what_it_has(e: &Env) {
    fs::write(e.p("kept"), pattern(77, 100_000)).unwrap();
    settle(e);
    let n = fill(e);
    assert!(n > 4, "only {n} MiB fit");
    verify(e, n);
    let more = sys::rw(e.p("kept"));
    fails(more.write_all_at(&pattern(1, 64 << 20), 1 << 20), ENOSPC);
    let mut kept = vec![0; 100_000];
    more.read_exact_at(&mut kept, 0).unwrap();
    assert!(kept == pattern(77, 100_000));
    fs::write("/proc/sys/vm/drop_caches", "3").unwrap();
    verify(e, n);
}

fn space_comes_back_after_removing_on_a_full_filesystem(e: &Env) {
    settle(e);
    let before = free(e);
    let n = fill(e);
    // Everything that frees must work without free space.
    sys::truncate(e.p("fill0"), 1000).unwrap();
    sys::unlink(e.p("fill1")).unwrap();
    fs::rename(e.p("fill2"), e.p("fill3")).unwrap();
    settle(e);
    fs::write(e.p("again"), pattern(5, 500_000)).unwrap();
    sys::rw(e.p("again")).sync_all().unwrap();
    assert!(fs::read(e.p("again")).unwrap() == pattern(5, 500_000));
    for i in 0..=n {
        let _ = sys::unlink(e.p(&format!("fill{i}")));
    }
    sys::unlink(e.p("again")).unwrap();
    settle(e);
    let after = free(e);
    assert!(
        after + (512 << 10) >= before,
        "{before} bytes free before, {after} after"
    );
}

fn a_filesystem_full_of_small_files_says_enospc_and_recovers(e: &Env) {
    // Leave a few MiB, so that the metadata of small files fills them.
    let n = fill(e);
    for i in 0..3.min(n) {
        sys::unlink(e.p(&format!("fill{i}"))).unwrap();
    }
    settle(e);
    let mut made = 0;
    loop {
        match fs::write(e.p(&format!("small{made}")), pattern(made, 900)) {
            Ok(()) => made += 1,
            Err(err) => {
                assert_eq!(err.raw_os_error(), Some(ENOSPC));
                break;
            }
        }
        if made == 50_000 {
            break;
        }
    }
    assert!(made > 500, "{made} small files fit");
    let dir = sys::open(&e.dir, O_RDONLY, 0).unwrap();
    sys::syncfs(&dir).unwrap();
    fs::write("/proc/sys/vm/drop_caches", "3").unwrap();
    for i in (0..made).step_by(37) {
        assert!(
            fs::read(e.p(&format!("small{i}"))).unwrap() == pattern(i, 900),
            "small file {i} of {made}"
        );
    }
    for i in 0..made {
        sys::unlink(e.p(&format!("small{i}"))).unwrap_or_else(|err| panic!("unlink on a full filesystem: {err}"));
    }
    fs::write(e.p("fits-again"), pattern(1, 1 << 20)).unwrap();
}

fn mapped_writes_into_a_full_filesystem_are_sigbus_or_succeed(e: &Env) {
    let f = sys::rw(e.p("sparse"));
    f.set_len(32 << 20).unwrap();
    f.sync_all().unwrap();
    fill(e);
    let m = sys::Mapping::shared(&f, 32 << 20);
    let status = sys::in_child(|| {
        for at in (0..32 << 20).step_by(4096) {
            m.write(at, b"dirty");
        }
    });
    assert!(
        (WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS) || (WIFEXITED(status) && WEXITSTATUS(status) == 0),
        "status {status:#x}"
    );
    drop(m);
    let _ = f.sync_all();
}
