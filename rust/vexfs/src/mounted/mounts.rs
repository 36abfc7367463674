// SPDX-License-Identifier: Apache-2.0
//! The mounted filesystems, from /proc.

use std::path::PathBuf;

use crate::Error;
use crate::Result;

/// A mounted VexFS.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mount {
    /// Where it is mounted.
    pub path: PathBuf,
    /// What is mounted, mostly a device.
    pub source: String,
}

/// The VexFS filesystems that are mounted, in the order of /proc/self/mountinfo.
///
/// ```
/// for mount in vexfs::mounts()? {
///     println!("{} on {}", mount.source, mount.path.display());
/// }
/// # Ok::<(), vexfs::Error>(())
/// ```
///
/// # Errors
///
/// Those of reading /proc/self/mountinfo.
pub fn mounts() -> Result<Vec<Mount>> {
    let file = "/proc/self/mountinfo";
    let text = std::fs::read_to_string(file).map_err(|e| Error::io(format!("cannot read {file}"), e))?;
    Ok(parse_mounts(&text))
}

fn parse_mounts(text: &str) -> Vec<Mount> {
    let mut mounts = Vec::new();
    for line in text.lines() {
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        let mut right = right.split(' ');
        if right.next() != Some("vexfs") {
            continue;
        }
        if let (Some(path), Some(source)) = (left.split(' ').nth(4), right.next()) {
            mounts.push(Mount {
                path: PathBuf::from(unescape(path)),
                source: unescape(source),
            });
        }
    }
    mounts
}

/// Undoes the octal escapes of /proc's mount tables.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let code = after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                out.push(code.into());
                rest = &after[3..];
            }
            None => {
                out.push('\\');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_found_with_their_escapes_undone() {
        let text = "36 35 98:0 / /mnt rw,noatime master:1 - ext4 /dev/root rw\n\
                    40 36 0:40 / /mnt/a\\040b rw shared:1 - vexfs /dev/vdb rw\n";
        assert_eq!(
            parse_mounts(text),
            [Mount {
                path: "/mnt/a b".into(),
                source: "/dev/vdb".into()
            }]
        );
        assert_eq!(unescape("a\\134b\\x"), "a\\b\\x");
    }
}
