// SPDX-License-Identifier: GPL-2.0
//! Ioctls.
//!
//! C header: `include/linux/fs.h`.

use kernel::ffi::c_long;
use kernel::ffi::c_uint;
use kernel::ffi::c_ulong;
use kernel::uaccess::UserPtr;
use vexfs_bindings as bindings;

use crate::fail;
use crate::file::File;
use crate::filesystem::FileSystem;
use crate::to_result;
use crate::Result;

/// What a filesystem answers to ioctls on some kind of file.
pub trait IoctlOperations<T: FileSystem>: 'static {
    /// Answers one; ENOTTY for what it does not know.
    fn ioctl(file: &File<T>, cmd: u32, arg: UserPtr) -> Result<c_long>;
}

/// `file_operations.unlocked_ioctl`.
///
/// # Safety
///
/// As the VFS calls it, on a file of type `T`.
pub(crate) unsafe extern "C" fn unlocked_ioctl<T: FileSystem, O: IoctlOperations<T>>(
    file: *mut bindings::file,
    cmd: c_uint,
    arg: c_ulong,
) -> c_long {
    // SAFETY: By the caller's promise.
    let file = unsafe { File::<T>::from_raw(file) };
    match O::ioctl(file, cmd, UserPtr::from_addr(arg)) {
        Ok(value) => value,
        Err(failure) => fail(file.inode().super_block(), failure) as c_long,
    }
}

/// `file_operations.compat_ioctl`: all arguments are pointers to structs that look the same to 32-bit callers.
///
/// # Safety
///
/// As the VFS calls it, on a file of type `T`.
pub(crate) unsafe extern "C" fn compat_ioctl<T: FileSystem, O: IoctlOperations<T>>(
    file: *mut bindings::file,
    cmd: c_uint,
    arg: c_ulong,
) -> c_long {
    // SAFETY: By the caller's promise. A 32-bit pointer is zero-extended (compat_ptr()).
    unsafe { unlocked_ioctl::<T, O>(file, cmd, arg & u32::MAX as c_ulong) }
}

/// The right to change the filesystem a file is on, held: it is neither read-only nor frozen meanwhile.
pub struct WriteAccess<'a, T: FileSystem>(&'a File<T>);

impl<T: FileSystem> File<T> {
    /// Gets the right to change the filesystem (`EROFS` on a read-only mount).
    pub fn want_write(&self) -> Result<WriteAccess<'_, T>> {
        // SAFETY: An open file.
        to_result(unsafe { bindings::mnt_want_write_file(self.as_ptr()) })?;
        Ok(WriteAccess(self))
    }
}

impl<T: FileSystem> Drop for WriteAccess<'_, T> {
    fn drop(&mut self) {
        // SAFETY: Taken when the guard was made.
        unsafe { bindings::mnt_drop_write_file(self.0.as_ptr()) };
    }
}

/// Whether the caller may administrate the system (CAP_SYS_ADMIN).
pub fn is_admin() -> bool {
    // SAFETY: Looks at the caller's credentials.
    unsafe { bindings::capable(bindings::CAP_SYS_ADMIN as kernel::ffi::c_int) }
}
