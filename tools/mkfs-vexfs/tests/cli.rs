// SPDX-License-Identifier: Apache-2.0
//! `mkfs.vexfs` on image files: what it makes, what it refuses, what it returns.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;
use std::sync::Arc;

use tempfile::TempDir;
use vexfs_core::Fs;
use vexfs_host::device::Device;
use vexfs_host::device::FileBackend;

const MIB: u64 = 1 << 20;

fn mkfs(args: &[&str], path: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mkfs-vexfs"))
        .args(args)
        .arg(path)
        .output()
        .expect("run mkfs.vexfs")
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn image(len: u64) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("temporary folder");
    let path = dir.path().join("image");
    File::create(&path).expect("create").set_len(len).expect("size");
    (dir, path)
}

fn mount(path: &Path) -> vexfs_host::Result<()> {
    let device = Device::from_backend(Arc::new(FileBackend::open(path, true).expect("open")));
    let options = vexfs_core::mount::MountOptions {
        read_only: true,
        ..Default::default()
    };
    Fs::mount(device, options)?.unmount()
}

#[test]
fn what_it_makes_can_be_mounted_at_every_block_size() {
    for block in ["4096", "8k", "16k", "32k", "64k"] {
        let (_dir, path) = image(256 * MIB);
        let output = mkfs(&["-b", block, "-L", "data", "-J", "size=4M"], &path);
        assert!(output.status.success(), "{}", text(&output));
        assert!(text(&output).contains("data"));
        mount(&path).expect(block);
    }
}

#[test]
fn a_filesystem_is_overwritten_only_with_f() {
    let (_dir, path) = image(64 * MIB);
    assert!(mkfs(&[], &path).status.success());
    let output = mkfs(&[], &path);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output).contains("VexFS") && text(&output).contains("-f"),
        "{}",
        text(&output)
    );
    assert!(mkfs(&["-f"], &path).status.success());
    mount(&path).expect("mount");
}

#[test]
fn a_foreign_filesystem_is_named_and_left_alone() {
    let (_dir, path) = image(64 * MIB);
    let file = File::options().write(true).open(&path).expect("open");
    file.write_all_at(b"\x53\xef", 1080).expect("write");
    let before = std::fs::read(&path).expect("read");
    let output = mkfs(&[], &path);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("ext4"), "{}", text(&output));
    assert_eq!(std::fs::read(&path).expect("read"), before);
    assert!(mkfs(&["-f"], &path).status.success());
    mount(&path).expect("mount");
    let mut magic = [0; 2];
    File::open(&path)
        .expect("open")
        .read_exact_at(&mut magic, 1080)
        .expect("read");
    assert_ne!(&magic, b"\x53\xef", "the old filesystem is still recognised");
}

#[test]
fn a_dry_run_prints_the_layout_and_writes_nothing() {
    let (dir, path) = image(64 * MIB);
    let output = mkfs(&["-n"], &path);
    assert!(
        output.status.success() && text(&output).contains("group table"),
        "{}",
        text(&output)
    );
    assert!(std::fs::read(&path).expect("read").iter().all(|b| *b == 0));
    let absent = dir.path().join("absent");
    let output = Command::new(env!("CARGO_BIN_EXE_mkfs-vexfs"))
        .arg("-n")
        .arg(&absent)
        .arg("1G")
        .output()
        .expect("run");
    assert!(output.status.success() && !absent.exists(), "{}", text(&output));
}

#[test]
fn an_image_file_is_created_at_the_size_given() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let path = dir.path().join("image");
    let run = |args: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_mkfs-vexfs"))
            .arg("-q")
            .arg(&path)
            .args(args)
            .output()
            .expect("run")
    };
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("does not exist"), "{}", text(&output));
    assert_eq!(run(&["100k"]).status.code(), Some(1));
    assert!(!path.exists(), "it was created although it is too small");
    let output = run(&["64M"]);
    assert!(output.status.success() && text(&output).is_empty(), "{}", text(&output));
    assert_eq!(std::fs::metadata(&path).expect("stat").len(), 64 * MIB);
    mount(&path).expect("mount");
}

#[test]
fn the_same_uuid_is_found_again() {
    let (_dir, path) = image(64 * MIB);
    let uuid = "3f2b8a4c-6d1e-4f5a-9c0b-7e8d1a2b3c4d";
    let output = mkfs(&["-U", uuid], &path);
    assert!(text(&output).contains(uuid), "{}", text(&output));
}

#[test]
fn wrong_usage_exits_with_2() {
    let (_dir, path) = image(64 * MIB);
    for args in [
        &["-b", "1000"][..],
        &["-b", "128k"],
        &["-J", "64"],
        &["-J", "size=1k"],
        &["-U", "x"],
        &["-i", "3"],
        &["-L", "0123456789012345678901234567890123456789012345678901234567890123"],
        &["-x"],
    ] {
        assert_eq!(mkfs(args, &path).status.code(), Some(2), "{args:?}");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_mkfs-vexfs")).output().expect("run");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn it_names_its_version_and_documents_every_option() {
    let run = |arg: &str| {
        Command::new(env!("CARGO_BIN_EXE_mkfs-vexfs"))
            .arg(arg)
            .output()
            .expect("run")
    };
    let version = run("-V");
    assert!(
        version.status.success() && text(&version).starts_with("mkfs.vexfs "),
        "{}",
        text(&version)
    );
    let help = text(&run("--help"));
    for option in ["-V", "-D", "-L", "-b", "-i", "-J", "-U", "-f", "-q", "-n"] {
        assert!(help.contains(option), "{option} is not in --help");
    }
}
