// SPDX-License-Identifier: Apache-2.0
//! Opening what is to be formatted, and refusing what is in use.

use std::fs::File;
use std::fs::OpenOptions;
use std::io::Seek;
use std::io::SeekFrom;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;

/// An open device or image file.
pub struct Target {
    /// `None` when it does not exist, which a dry run lets pass.
    pub file: Option<File>,
    /// Its size in bytes; in a dry run the size it would have.
    pub len: u64,
}

/// Opens `path`, writable unless `read_only`.
///
/// `size` is for image files: they are created, or grown, to it. Block devices are opened exclusively, which
/// fails while they are mounted or part of something else.
pub fn open(path: &Path, size: Option<u64>, read_only: bool) -> Result<Target> {
    let name = path.display();
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => Some(metadata),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(e) => return Err(e).with_context(|| format!("cannot open {name}")),
    };
    let mut options = OpenOptions::new();
    options.read(true).write(!read_only).custom_flags(libc::O_CLOEXEC);
    match &metadata {
        None => {
            let Some(size) = size else {
                bail!("{name} does not exist; to create an image file, say how large: mkfs.vexfs {name} 1G");
            };
            if read_only {
                // Nothing may be written, but the layout can be shown.
                return Ok(Target { file: None, len: size });
            }
            let file = options
                .create_new(true)
                .open(path)
                .with_context(|| format!("cannot create {name}"))?;
            file.set_len(size)
                .with_context(|| format!("cannot give {name} {size} bytes"))?;
            Ok(Target {
                file: Some(file),
                len: size,
            })
        }
        Some(metadata) if metadata.file_type().is_block_device() => {
            if size.is_some() {
                bail!("{name} is a device: its size is its own");
            }
            if let Some(place) = mounted_at(metadata.rdev())? {
                bail!("{name} is mounted on {place}");
            }
            options.custom_flags(libc::O_CLOEXEC | libc::O_EXCL);
            let mut file = options.open(path).map_err(|e| match e.raw_os_error() {
                Some(libc::EBUSY) => {
                    anyhow::anyhow!("{name} is in use: mounted elsewhere, swap, or part of a RAID, LVM or dm device")
                }
                _ => anyhow::Error::new(e).context(format!("cannot open {name}")),
            })?;
            let len = file
                .seek(SeekFrom::End(0))
                .with_context(|| format!("cannot tell the size of {name}"))?;
            Ok(Target { file: Some(file), len })
        }
        Some(metadata) if metadata.is_file() => {
            if let Some(device) = loop_device(path)? {
                bail!("{name} is in use by {device}");
            }
            let file = options.open(path).with_context(|| format!("cannot open {name}"))?;
            let len = metadata.len().max(size.unwrap_or(0));
            if len > metadata.len() && !read_only {
                file.set_len(len)
                    .with_context(|| format!("cannot give {name} {len} bytes"))?;
            }
            Ok(Target { file: Some(file), len })
        }
        Some(_) => bail!("{name} is neither a block device nor a regular file"),
    }
}

/// Returns where the block device of this number is mounted.
fn mounted_at(rdev: u64) -> Result<Option<String>> {
    // Without /proc the exclusive open still refuses a mounted device.
    match std::fs::read_to_string("/proc/self/mountinfo") {
        Ok(text) => Ok(find_mount(&text, libc::major(rdev), libc::minor(rdev))),
        Err(_) => Ok(None),
    }
}

fn find_mount(mountinfo: &str, major: u32, minor: u32) -> Option<String> {
    let device = format!("{major}:{minor}");
    mountinfo.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let found = fields.nth(2)? == device;
        // After the device's number come the root within the filesystem and the mount point.
        fields.nth(1).filter(|_| found).map(str::to_string)
    })
}

/// Returns the loop device that a file is behind.
fn loop_device(path: &Path) -> Result<Option<String>> {
    let path = path.canonicalize()?;
    let Ok(devices) = std::fs::read_dir("/sys/block") else {
        return Ok(None);
    };
    for device in devices.flatten() {
        let backing = device.path().join("loop/backing_file");
        if std::fs::read_to_string(backing).is_ok_and(|file| Path::new(file.trim_end()) == path) {
            return Ok(Some(format!("/dev/{}", device.file_name().to_string_lossy())));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mounted_device_is_found_by_its_number() {
        let text = "29 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n\
                    40 29 254:16 / /mnt/a\\040b rw - vexfs /dev/vdb rw\n";
        assert_eq!(find_mount(text, 254, 16).as_deref(), Some("/mnt/a\\040b"));
        assert_eq!(find_mount(text, 254, 17), None);
    }

    #[test]
    fn a_dry_run_creates_and_grows_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        assert_eq!(open(&path, Some(1 << 30), true).unwrap().len, 1 << 30);
        assert!(!path.exists());
        assert!(open(&path, None, true).is_err());
        std::fs::write(&path, [0; 512]).unwrap();
        assert_eq!(open(&path, Some(1 << 30), true).unwrap().len, 1 << 30);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 512);
        assert!(open(dir.path(), None, true).is_err());
    }
}
