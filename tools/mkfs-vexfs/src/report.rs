// SPDX-License-Identifier: Apache-2.0
//! Prints the layout that was made.

use std::path::Path;

use uuid::Uuid;
use vexfs_core::mkfs::Layout;

/// Prints `layout` of `path` under `label`.
pub fn print(path: &Path, label: &str, layout: &Layout) {
    let geo = &layout.geometry;
    let block = u64::from(geo.block_size);
    let uuid = Uuid::from_bytes(layout.uuid);
    let rows = [
        (
            "device",
            format!("{}, {}", path.display(), bytes(geo.total_blocks * block)),
        ),
        (
            "label",
            if label.is_empty() {
                "none".into()
            } else {
                label.to_string()
            },
        ),
        ("uuid", uuid.to_string()),
        (
            "blocks",
            format!(
                "{} of {} bytes, {} free",
                geo.total_blocks, geo.block_size, layout.free_blocks
            ),
        ),
        ("tree nodes", format!("{} bytes", geo.node_size)),
        (
            "superblocks",
            format!("bytes 4096 and 8192, copy in block {}", geo.total_blocks - 1),
        ),
        ("group table", region(geo.gdt_start, geo.gdt_blocks * 2, block)),
        ("journal", region(geo.log_start, geo.log_blocks, block) + ", reserved"),
        (
            "groups",
            format!("{} of 32768 blocks from block {}", geo.group_count, geo.first_group),
        ),
        ("inodes", "made as needed".into()),
    ];
    for (name, value) in rows {
        println!("{name:<12} {value}");
    }
}

fn region(start: u64, blocks: u64, block: u64) -> String {
    format!("blocks {start} to {}, {}", start + blocks - 1, bytes(blocks * block))
}

/// Returns bytes in a unit a person reads.
fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = n as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match value.fract() == 0.0 {
        true => format!("{value:.0} {}", UNITS[unit]),
        false => format!("{value:.1} {}", UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_counts_read_well() {
        assert_eq!(bytes(4096), "4 KiB");
        assert_eq!(bytes(1536 << 10), "1.5 MiB");
        assert_eq!(bytes(1 << 30), "1 GiB");
    }
}
