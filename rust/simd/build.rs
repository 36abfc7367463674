// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Says whether the compiler has AVX-512 (stable since 1.89). The kernel build decides for itself in Kbuild.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(vexfs_avx512)");
    let x86_64 = std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64");
    if x86_64 && minor_version().is_some_and(|minor| minor >= 89) {
        println!("cargo::rustc-cfg=vexfs_avx512");
    }
}

/// The `y` of `rustc 1.y.z`.
fn minor_version() -> Option<u32> {
    let output = Command::new(std::env::var_os("RUSTC")?)
        .arg("--version")
        .output()
        .ok()?;
    let version = String::from_utf8(output.stdout).ok()?;
    version.strip_prefix("rustc 1.")?.split('.').next()?.parse().ok()
}
