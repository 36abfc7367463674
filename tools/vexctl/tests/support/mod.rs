// SPDX-License-Identifier: Apache-2.0
//! Runs `vexctl` on a new image of its own.

use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;
use vexfs_core::mkfs::FormatOptions;
use vexfs_core::Fs;
use vexfs_host::device::Device;
use vexfs_host::device::FileBackend;

/// A formatted image.
pub struct Image {
    dir: TempDir,
    pub path: PathBuf,
}

pub fn image() -> Image {
    let dir = tempfile::tempdir().expect("temporary folder");
    let path = dir.path().join("image");
    std::fs::File::create(&path)
        .expect("create")
        .set_len(64 << 20)
        .expect("size");
    let device = Device::from_backend(Arc::new(FileBackend::open(&path, false).expect("open")));
    Fs::format(&device, &FormatOptions::default()).expect("format");
    Image { dir, path }
}

impl Image {
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vexctl"));
        command.arg("--image").arg(&self.path).args(args);
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("run vexctl")
    }

    /// Runs a command that must succeed and returns its document.
    pub fn json(&self, args: &[&str]) -> Value {
        let output = self.command(args).arg("--json").output().expect("run vexctl");
        assert!(
            output.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// Runs a command that must fail with this code and errno.
    pub fn fails(&self, args: &[&str], code: i32, errno: Option<i32>) -> String {
        let output = self.command(args).arg("--json").output().expect("run vexctl");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
        let document: Value = serde_json::from_str(&stderr).unwrap_or_else(|e| panic!("{args:?}: {e}: {stderr}"));
        assert_eq!(document["errno"].as_i64(), errno.map(i64::from), "{args:?}: {stderr}");
        document["error"].as_str().expect("text").to_string()
    }

    pub fn pipe(&self, args: &[&str], input: &[u8]) -> Output {
        let mut command = self.command(args);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("run vexctl");
        child.stdin.take().expect("stdin").write_all(input).expect("write");
        child.wait_with_output().expect("wait")
    }

    #[allow(dead_code, reason = "not every test has files of its own")]
    pub fn file(&self, name: &str, contents: &[u8]) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, contents).expect("write");
        path.to_str().expect("UTF-8").to_string()
    }

    pub fn ids(&self, args: &[&str]) -> Vec<u64> {
        let document = self.json(args);
        let hits = document["results"][0]["hits"].as_array().expect("hits").iter();
        hits.map(|h| h["id"].as_u64().expect("id")).collect()
    }
}

pub fn sample(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/data")
        .join(name);
    path.to_str().expect("UTF-8").to_string()
}
