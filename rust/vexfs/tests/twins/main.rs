// SPDX-License-Identifier: Apache-2.0
//! An image and a mounted filesystem are used alike: the same checks of both.
//!
//! `VEXFS_MOUNTED` names a directory of a mounted VexFS that this user may write to. Without it, the mounted one is
//! left out; in a guest, the program `twins` of the tests crate runs the same checks.

mod checks;

use std::path::Path;

use vexfs::Collection;
use vexfs::ErrorKind;
use vexfs::Metric;
use vexfs::Vexfs;

#[test]
fn an_image_passes_every_check() {
    let fs = Vexfs::in_memory(256 << 20).unwrap();
    for (name, check) in checks::CHECKS {
        println!("{name}");
        check(&fs);
    }
    fs.close().unwrap();
}

#[test]
fn a_mounted_filesystem_passes_every_check() {
    let Some(dir) = std::env::var_os("VEXFS_MOUNTED") else {
        eprintln!("VEXFS_MOUNTED names no directory of a mounted VexFS: only the image is checked");
        return;
    };
    let dir = tempfile::tempdir_in(Path::new(&dir)).unwrap();
    let fs = Vexfs::mounted(dir.path()).unwrap();
    for (name, check) in checks::CHECKS {
        println!("{name}");
        check(&fs);
    }
    let docs = fs.create_collection("/docs", 2, Metric::L2).unwrap();
    assert_eq!(Collection::open(dir.path().join("docs")).unwrap().id(), docs.id());
    assert!(!vexfs::mounts().unwrap().is_empty());
    fs.drop_collection("/docs").unwrap();
}

#[test]
fn another_filesystem_is_no_vexfs() {
    let dir = tempfile::tempdir().unwrap();
    let error = Vexfs::mounted(dir.path()).unwrap_err();
    assert_eq!(
        (error.kind(), error.errno()),
        (ErrorKind::NotMounted, Some(libc::ENOTTY))
    );
    let error = Collection::open(dir.path()).unwrap_err();
    assert_eq!(
        (error.kind(), error.errno()),
        (ErrorKind::NotCollection, Some(libc::ENOTTY))
    );
    let error = Vexfs::mounted(dir.path().join("none")).unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::NotFound, Some(libc::ENOENT)));
}
