// SPDX-License-Identifier: Apache-2.0
//! The command line, in the manner of mkfs.ext4 and mkfs.xfs.

use std::path::PathBuf;

use clap::ArgAction;
use clap::Parser;
use uuid::Uuid;

/// Makes a VexFS filesystem on a block device or in an image file.
///
/// Nothing is written when the device is mounted or otherwise in use, nor, without -f, when it holds a
/// filesystem, a partition table or anything else that is recognised. Exit codes: 0 success, 1 failure,
/// 2 usage.
#[derive(Parser, Debug)]
#[command(name = "mkfs.vexfs", version, disable_version_flag = true)]
pub struct Cli {
    /// Block device or image file
    #[arg(required_unless_present = "version")]
    pub device: Option<PathBuf>,
    /// Size of an image file, which is created or grown to it: 512M, 2G
    #[arg(value_parser = parse_size)]
    pub size: Option<u64>,
    /// Label, at most 63 bytes
    #[arg(short = 'L', value_name = "LABEL", default_value = "", hide_default_value = true, value_parser = parse_label)]
    pub label: String,
    /// Block size in bytes, a power of two from 4k to 64k
    #[arg(short = 'b', value_name = "SIZE", default_value = "4096", value_parser = parse_block_size)]
    pub block_size: u32,
    /// Size of the journal region, 1M to 128M; a number without a unit is in MiB, as with mkfs.ext4. It holds the
    /// intent log, which makes fsync cheap: the larger it is, the longer that goes on without a commit [default: 1/64
    /// of the device]
    #[arg(short = 'J', value_name = "size=SIZE", value_parser = parse_journal)]
    pub journal: Option<u64>,
    /// UUID, or "random"
    #[arg(short = 'U', value_name = "UUID", default_value = "random", value_parser = parse_uuid, hide_default_value = true)]
    pub uuid: Uuid,
    /// Accepted for scripts written for mkfs.ext4 and checked (1k to 64M), but changes nothing: VexFS makes inodes as
    /// they are needed
    #[arg(short = 'i', value_name = "BYTES-PER-INODE", value_parser = parse_inode_ratio)]
    pub inode_ratio: Option<u64>,
    /// Do not tell the device first that all of its blocks are unused (which frees them on SSDs and in image files)
    #[arg(short = 'D')]
    pub no_discard: bool,
    /// Format even if something is recognised on the device; never one that is in use
    #[arg(short = 'f')]
    pub force: bool,
    /// Say nothing but errors
    #[arg(short = 'q')]
    pub quiet: bool,
    /// Print the layout that would be made and write nothing
    #[arg(short = 'n')]
    pub dry_run: bool,
    /// Print the version
    #[arg(short = 'V', long, action = ArgAction::Version)]
    pub version: Option<bool>,
}

/// Parses a number of bytes with an optional unit.
pub fn parse_size(text: &str) -> Result<u64, String> {
    parse_unit(text, 1)
}

fn parse_unit(text: &str, default_unit: u64) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" => default_unit,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        other => return Err(format!("{other:?} is no unit; use k, M, G or T (powers of 1024)")),
    };
    let number: u64 = digits.parse().map_err(|_| format!("{text:?} is no size"))?;
    number.checked_mul(unit).ok_or_else(|| format!("{text} is too large"))
}

fn parse_block_size(text: &str) -> Result<u32, String> {
    let size = parse_size(text)?;
    match size.is_power_of_two() && (4096..=65536).contains(&size) {
        true => Ok(size as u32),
        false => Err("the block size is a power of two from 4k to 64k".into()),
    }
}

fn parse_journal(text: &str) -> Result<u64, String> {
    let size = text.strip_prefix("size=").ok_or("write -J size=64M")?;
    let size = parse_unit(size, 1 << 20)?;
    match (1 << 20..=128 << 20).contains(&size) {
        true => Ok(size),
        false => Err("the journal has 1M to 128M".into()),
    }
}

fn parse_inode_ratio(text: &str) -> Result<u64, String> {
    let ratio = parse_size(text)?;
    match (1 << 10..=64 << 20).contains(&ratio) {
        true => Ok(ratio),
        false => Err("the bytes for each inode are 1k to 64M".into()),
    }
}

fn parse_label(text: &str) -> Result<String, String> {
    match text.len() {
        0..=63 if !text.contains('\0') => Ok(text.to_string()),
        0..=63 => Err("a label contains no NUL".into()),
        n => Err(format!("a label has at most 63 bytes, not {n}")),
    }
}

fn parse_uuid(text: &str) -> Result<Uuid, String> {
    match text {
        "random" => Ok(Uuid::new_v4()),
        text => match Uuid::parse_str(text) {
            Ok(uuid) if uuid.is_nil() => Err("the nil UUID identifies nothing".into()),
            Ok(uuid) => Ok(uuid),
            Err(_) => Err("a UUID looks like 3f2b8a4c-6d1e-4f5a-9c0b-7e8d1a2b3c4d".into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!(parse_size("4096"), Ok(4096));
        assert_eq!(parse_size("4k"), Ok(4096));
        assert_eq!(parse_size("2G"), Ok(2 << 30));
        assert_eq!(parse_size("1MiB"), Ok(1 << 20));
        for bad in ["", "k", "4x", "-1", "99999999999T", "1.5G"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_journal_is_in_mebibytes_as_with_ext4() {
        assert_eq!(parse_journal("size=64"), Ok(64 << 20));
        assert_eq!(parse_journal("size=2M"), Ok(2 << 20));
        for bad in ["64", "size=", "size=0", "size=129", "size=512k"] {
            assert!(parse_journal(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        assert!(
            parse_block_size("2048").is_err() && parse_block_size("128k").is_err() && parse_block_size("5000").is_err()
        );
        assert_eq!(parse_block_size("64k"), Ok(65536));
        assert!(parse_label(&"x".repeat(64)).is_err() && parse_label(&"x".repeat(63)).is_ok());
        assert!(parse_inode_ratio("16384").is_ok() && parse_inode_ratio("1").is_err());
        assert!(parse_uuid("00000000-0000-0000-0000-000000000000").is_err() && parse_uuid("x").is_err());
    }
}
