// SPDX-License-Identifier: Apache-2.0
//! What is written: a page for each command, with its options, and completions for three shells.

use std::path::Path;
use std::process::Command;

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir)
        .expect("a folder")
        .map(|entry| entry.expect("an entry"));
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    names
}

#[test]
fn every_command_has_a_page_and_every_shell_its_completions() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let status = Command::new(env!("CARGO_BIN_EXE_vexfs-pages"))
        .arg(dir.path())
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/man"))
        .status()
        .expect("run");
    assert!(status.success());
    let pages = names(&dir.path().join("man/man1"));
    for page in [
        "vexctl.1",
        "vexctl-search.1",
        "vexctl-index-build.1",
        "vexctl-collection-create.1",
    ] {
        assert!(pages.iter().any(|name| name == page), "{page} of {pages:?}");
    }
    assert!(pages.iter().all(|name| !name.contains("help")), "{pages:?}");
    assert_eq!(names(&dir.path().join("man/man8")), ["mkfs.vexfs.8"]);
    for file in [
        "bash-completion/completions/vexctl",
        "bash-completion/completions/mkfs.vexfs",
        "zsh/site-functions/_vexctl",
        "fish/vendor_completions.d/vexctl.fish",
    ] {
        let text = std::fs::read_to_string(dir.path().join(file)).expect(file);
        assert!(text.contains("vexctl") || text.contains("mkfs.vexfs"), "{file}");
    }
    let page = std::fs::read_to_string(dir.path().join("man/man1/vexctl.1")).expect("the page");
    for part in ["collection", ".SH \"INPUT\"", "must_not", ".SH \"EXAMPLES\""] {
        assert!(page.contains(part), "{part}");
    }
    let page = std::fs::read_to_string(dir.path().join("man/man1/vexctl-index-build.1")).expect("the page");
    assert!(page.contains("\\-\\-ef\\-construction") && page.contains("vamana"));
}
