// SPDX-License-Identifier: Apache-2.0
//! The committed C header is the Rust ABI: same text as generated, same sizes, offsets and numbers in C.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use vexfs_uapi::layout::Struct;
use vexfs_uapi::layout::STRUCTS;
use vexfs_uapi::IOCTLS;

/// Every struct of the ABI.
fn structs() -> impl Iterator<Item = Struct> {
    let arguments = IOCTLS.iter().map(|(.., argument)| *argument);
    STRUCTS.iter().copied().chain(arguments)
}

/// Runs a compiler on `source` with the header's folder in its path; panics with its output when it complains.
fn compile(compiler: &str, args: &[&str], source: &Path, output: &Path) {
    let include = vexfs_uapi_header::root().join("include/uapi");
    let out = Command::new(compiler)
        .args(["-Wall", "-Wextra", "-pedantic", "-Werror"])
        .args(args)
        .arg("-I")
        .arg(include)
        .arg("-o")
        .arg(output)
        .arg(source)
        .output()
        .unwrap_or_else(|e| {
            panic!("cannot run {compiler}: {e}; install it with: apt install gcc g++ libc6-dev linux-libc-dev")
        });
    assert!(
        out.status.success(),
        "{compiler} {args:?}:\n{}",
        String::from_utf8_lossy(&out.stderr)
    );
}

/// A program that prints every struct's size, every member's offset and every ioctl's number, and whose
/// compilation asserts the sizes.
fn printer() -> String {
    let mut c = String::from("#include <linux/vexfs.h>\n#include <stddef.h>\n#include <stdio.h>\n");
    for s in structs() {
        let _ = writeln!(c, "_Static_assert(sizeof(struct {}) == {}, \"size\");", s.name, s.size);
        for m in s.members {
            let _ = writeln!(
                c,
                "_Static_assert(offsetof(struct {}, {}) == {}, \"{0}.{1}\");",
                s.name, m.name, m.offset
            );
        }
    }
    c.push_str("int main(void)\n{\n");
    for s in structs() {
        let _ = writeln!(c, "\tprintf(\"{} %zu\\n\", sizeof(struct {0}));", s.name);
        for m in s.members {
            let _ = writeln!(
                c,
                "\tprintf(\"{}.{} %zu\\n\", offsetof(struct {0}, {1}));",
                s.name, m.name
            );
        }
    }
    for (name, ..) in IOCTLS {
        let _ = writeln!(c, "\tprintf(\"{name} %lu\\n\", (unsigned long)({name}));");
    }
    c.push_str("\treturn 0;\n}\n");
    c
}

/// What [`printer`] must print.
fn expected() -> String {
    let mut text = String::new();
    for s in structs() {
        let _ = writeln!(text, "{} {}", s.name, s.size);
        for m in s.members {
            let _ = writeln!(text, "{}.{} {}", s.name, m.name, m.offset);
        }
    }
    for (name, number, _) in IOCTLS {
        let _ = writeln!(text, "{name} {number}");
    }
    text
}

#[test]
fn the_committed_header_is_what_the_crate_generates() {
    let committed = std::fs::read_to_string(vexfs_uapi_header::header_path()).expect("read the header");
    let generated = vexfs_uapi_header::generate().expect("generate");
    assert!(
        committed == generated,
        "include/uapi/linux/vexfs.h is out of date; run: cargo run -p vexfs-uapi-header -- --write"
    );
}

#[test]
fn a_c_program_sees_the_same_sizes_offsets_and_numbers() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let (source, program) = (dir.path().join("abi.c"), dir.path().join("abi"));
    std::fs::write(&source, printer()).expect("write");
    compile("gcc", &["-std=c11"], &source, &program);
    let out = Command::new(&program).output().expect("run");
    assert!(out.status.success());
    assert_eq!(String::from_utf8_lossy(&out.stdout), expected());
}

#[test]
fn every_struct_member_is_declared_in_the_header() {
    // The layout tables name every member: a member missing from them would escape the comparison above.
    let header = std::fs::read_to_string(vexfs_uapi_header::header_path()).expect("read the header");
    for s in structs() {
        let body = header
            .split_once(&format!("struct {} {{", s.name))
            .and_then(|(_, rest)| rest.split_once("};"))
            .map(|(body, _)| body)
            .unwrap_or_else(|| panic!("struct {} is not in the header", s.name));
        // Lines of comments may end like declarations.
        let declarations = body
            .lines()
            .map(str::trim)
            .filter(|l| !l.starts_with('*') && !l.starts_with("/*"));
        let declared = declarations.filter(|l| l.ends_with(';')).count();
        assert_eq!(declared, s.members.len(), "struct {}", s.name);
    }
}

#[test]
fn a_cplusplus_program_can_include_the_header() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let source = dir.path().join("abi.cc");
    std::fs::write(
        &source,
        "#include <linux/vexfs.h>\nint main() { vexfs_search_vectors s{}; s.size = sizeof(s); return s.size == 0; }\n",
    )
    .expect("write");
    compile("g++", &["-std=c++11"], &source, &dir.path().join("abi"));
}

#[test]
fn the_example_of_the_documentation_compiles() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let source = vexfs_uapi_header::root().join("tests/uapi/example.c");
    compile("gcc", &["-std=gnu11"], &source, &dir.path().join("example"));
}
