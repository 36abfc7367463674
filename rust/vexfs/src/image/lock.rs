// SPDX-License-Identifier: Apache-2.0
//! Opening an image or a device so that nobody else uses it meanwhile.
//!
//! An image file is locked, as every program that uses this crate does; a block device is opened exclusively, which
//! fails while it is mounted. A file that a loop device is over would be used behind the kernel's back, so it is
//! refused.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::Flock;
use nix::fcntl::FlockArg;

use crate::Error;
use crate::Result;

/// Opens `path` for reading and, when `write`, for writing. The lock lasts as long as the second value.
pub(crate) fn open(path: &Path, write: bool) -> Result<(File, Flock<File>)> {
    let name = path.display();
    let cannot = |e: io::Error| Error::io(format!("cannot open {name}"), e);
    let metadata = std::fs::metadata(path).map_err(cannot)?;
    let mut flags = libc::O_CLOEXEC;
    if metadata.file_type().is_block_device() {
        flags |= libc::O_EXCL;
    } else if !metadata.is_file() {
        return Err(Error::invalid(format!(
            "{name} is neither an image file nor a block device"
        )));
    } else if let Some(device) = loop_device(path).map_err(cannot)? {
        return Err(Error::in_use(format!("{name} is in use by {device}")));
    }
    let file = OpenOptions::new()
        .read(true)
        .write(write)
        .custom_flags(flags)
        .open(path)
        .map_err(cannot)?;
    let how = if write {
        FlockArg::LockExclusiveNonblock
    } else {
        FlockArg::LockSharedNonblock
    };
    let lock = Flock::lock(file.try_clone().map_err(cannot)?, how)
        .map_err(|_| Error::in_use(format!("{name} is in use by another program")))?;
    Ok((file, lock))
}

/// Returns the loop device that a file is behind.
fn loop_device(path: &Path) -> io::Result<Option<String>> {
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
