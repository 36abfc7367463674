// SPDX-License-Identifier: Apache-2.0
//! Generates `include/uapi/linux/vexfs.h` from `rust/uapi`.
//!
//! cbindgen does the work; what it cannot express (the kernel's type names, structs that appear in no function)
//! is arranged here. The header is committed so that C users need no Rust; `tests/header.rs` fails when it is
//! not what the crate says.

use std::collections::HashMap;
use std::path::Path;
use std::path::PathBuf;

use anyhow::anyhow;
use anyhow::Context;
use anyhow::Result;

/// Returns the repository's root folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Returns where the header is committed.
pub fn header_path() -> PathBuf {
    root().join("include/uapi/linux/vexfs.h")
}

/// Returns the text the header must have.
pub fn generate() -> Result<String> {
    let source = root().join("rust/uapi");
    let mut config =
        cbindgen::Config::from_file(source.join("cbindgen.toml")).map_err(|e| anyhow!("cbindgen.toml: {e}"))?;
    // No function uses them, so each is named.
    config.export.include = type_names(&source)?;
    let renames = config.export.rename.clone();
    let mut builder = cbindgen::Builder::new().with_config(config);
    for file in SOURCES {
        builder = builder.with_src(source.join(file));
    }
    let mut text = Vec::new();
    builder.generate().context("cbindgen")?.write(&mut text);
    let text = String::from_utf8(text)?;
    Ok(kernel_style(&text, &renames))
}

/// Source files in the order their items appear in the header.
const SOURCES: &[&str] = &[
    "lib.rs",
    "ioctl.rs",
    "collection.rs",
    "rows.rs",
    "search.rs",
    "index.rs",
    "explain.rs",
    "stats.rs",
    "payload.rs",
    "filter.rs",
];

/// Returns the names of the `#[repr(C)]` structs, which are those `layout!` is called for.
fn type_names(source: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for file in SOURCES {
        let text = std::fs::read_to_string(source.join(file)).with_context(|| file.to_string())?;
        names.extend(
            text.lines()
                .filter_map(|line| line.strip_prefix("layout!("))
                .filter_map(|rest| rest.split(',').next())
                .map(str::to_string),
        );
    }
    Ok(names)
}

/// Brings cbindgen's output into the shape of a uapi header: the kernel's type names instead of C99's, tabs,
/// comments in the kernel's style and with C names, and the ioctls, whose numbers cbindgen cannot compute.
fn kernel_style(text: &str, renames: &HashMap<String, String>) -> String {
    let mut out: Vec<String> = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        // cbindgen opens a comment on a line of its own and indents its text by one space, without a star.
        if line.trim() == "/*" && lines.peek().is_some_and(|next| !next.trim_start().starts_with('*')) {
            let indent = if line.starts_with(' ') { "\t" } else { "" };
            let body: Vec<String> = lines
                .by_ref()
                .map(str::trim)
                .take_while(|l| *l != "*/")
                .map(|l| c_names(l, renames))
                .collect();
            comment(&mut out, indent, &body);
            continue;
        }
        if line.starts_with("#endif") {
            ioctls(&mut out);
        }
        let line = line
            .replace("uint8_t", "__u8")
            .replace("uint32_t", "__u32")
            .replace("uint64_t", "__u64")
            .replace("struct float", "float")
            .replace("Name name;", "char name[VEXFS_NAME_MAX + 1];")
            .replace("VEXFS_IOC_TYPE 86", "VEXFS_IOC_TYPE 'V'")
            .replace("        ", "\t");
        if !(line.is_empty() && out.last().is_some_and(String::is_empty)) {
            out.push(line.trim_end().to_string());
        }
    }
    out.join("\n") + "\n"
}

/// Writes a comment, wrapped at 80 columns; a body line is a paragraph's part, an empty one ends a paragraph.
fn comment(out: &mut Vec<String>, indent: &str, body: &[String]) {
    // A tab counts as 8 columns, the star and its spaces as 3.
    let width = 80 - 3 - indent.len() * 8;
    if let [one] = body {
        if one.len() + 3 <= width {
            out.push(format!("{indent}/* {one} */"));
            return;
        }
    }
    out.push(format!("{indent}/*"));
    for (i, paragraph) in body.split(|l| l.is_empty()).enumerate() {
        if i > 0 {
            out.push(format!("{indent} *"));
        }
        let mut line = String::new();
        for word in paragraph.iter().flat_map(|l| l.split_whitespace()) {
            if !line.is_empty() && line.len() + 1 + word.len() > width {
                out.push(format!("{indent} * {line}"));
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        out.push(format!("{indent} * {line}"));
    }
    out.push(format!("{indent} */"));
}

/// Writes the ioctl commands: VEXFS_IOC_X has number VEXFS_NR_X and takes a struct vexfs_x.
fn ioctls(out: &mut Vec<String>) {
    for (name, ..) in vexfs_uapi::IOCTLS {
        let stem = name.trim_start_matches("VEXFS_IOC_");
        out.push(format!("#define {name} \\"));
        out.push(format!(
            "\t_IOWR(VEXFS_IOC_TYPE, VEXFS_NR_{stem}, struct vexfs_{})",
            stem.to_lowercase()
        ));
    }
    out.push(String::new());
}

/// Turns a line of Rust documentation into one of a C comment.
fn c_names(line: &str, renames: &HashMap<String, String>) -> String {
    let mut line = line.to_string();
    for (rust, c) in renames {
        line = line.replace(&format!("[`{rust}`]"), &format!("struct {c}"));
    }
    line.replace("[`", "").replace("`]", "").replace('`', "")
}
