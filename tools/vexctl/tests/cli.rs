// SPDX-License-Identifier: Apache-2.0
//! What `vexctl` says and returns where there is no VexFS.

use std::process::Command;
use std::process::Output;

fn vexctl(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vexctl"))
        .args(args)
        .output()
        .expect("run vexctl")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn wrong_usage_exits_with_2() {
    for args in [
        &[][..],
        &["frobnicate"],
        &["collection", "create", "/tmp/x", "--metric", "l2"],
        &["collection", "create", "/tmp/x", "--dim", "0", "--metric", "l2"],
        &["collection", "create", "/tmp/x", "--dim", "4097", "--metric", "l2"],
        &["search", "/tmp", "--vector", "1,x"],
        &["search", "/tmp", "--vector", "1", "-k", "0"],
        &["search", "/tmp"],
        &["search", "/tmp", "--vector", "1", "--radius", "nan"],
        &["insert", "/tmp"],
        &["insert", "/tmp", "--vector", "1", "--vector", "2", "--id", "3"],
        &["insert", "/tmp", "--id", "3", "file.jsonl"],
        &["insert", "/tmp", "--vector", "1", "--id", "3", "--first-id", "4"],
        &["get", "/tmp"],
        &["delete", "/tmp"],
    ] {
        let output = vexctl(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn a_path_that_is_no_collection_exits_with_1_and_says_what_to_do() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let path = dir.path().to_str().expect("UTF-8");
    for args in [
        &["status", path][..],
        &["collection", "info", path],
        &["insert", path, "--vector", "1"],
        &["search", path, "--vector", "1"],
        &["get", path, "1"],
        &["delete", path, "1"],
    ] {
        let output = vexctl(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        let text = stderr(&output);
        assert!(
            text.contains("ENOTTY") && text.contains("hint:") && text.contains(path),
            "{args:?}: {text}"
        );
        assert!(output.stdout.is_empty());
    }
    assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 0);
}

#[test]
fn a_missing_path_is_named() {
    let output = vexctl(&["collection", "info", "/nonexistent/docs"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("/nonexistent/docs") && stderr(&output).contains("ENOENT"));
}

#[test]
fn with_json_an_error_is_a_document_with_its_errno() {
    let output = vexctl(&["--json", "collection", "info", "/"]);
    assert_eq!(output.status.code(), Some(1));
    let document: serde_json::Value = serde_json::from_slice(&output.stderr).expect("JSON");
    assert_eq!(document["errno"], libc::ENOTTY);
}

#[test]
fn listing_where_there_is_nothing_is_no_error() {
    let dir = tempfile::tempdir().expect("temporary folder");
    std::fs::create_dir(dir.path().join("plain")).expect("mkdir");
    let path = dir.path().to_str().expect("UTF-8");
    let output = vexctl(&["--json", "collection", "list", "--recursive", path]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(output.stdout, b"{\"collections\":[]}\n");
}
