// SPDX-License-Identifier: GPL-2.0
//! Directories as open files.
//!
//! C header: `include/linux/fs.h`.

use crate::answer;
use crate::file::File;
use crate::file::FileOpsTable;
use crate::filesystem::FileSystem;
use crate::inode::Inode;
use crate::ioctl::IoctlOperations;
use crate::Result;
use core::marker::PhantomData;
use kernel::bindings;
use kernel::ffi;
use vexfs_bindings as extra;

/// The operations of an open directory.
pub trait DirectoryOperations<T: FileSystem>: IoctlOperations<T> {
    /// Emits entries from the context's position on until there are no more or the reader has enough.
    fn readdir(dir: &Inode<T>, context: &mut DirContext<'_>) -> Result;

    /// Makes the directory durable.
    fn fsync(dir: &Inode<T>) -> Result;
}

/// A reader of a directory.
pub struct DirContext<'a> {
    raw: *mut bindings::dir_context,
    file: *mut bindings::file,
    _lifetime: PhantomData<&'a mut ()>,
}

impl DirContext<'_> {
    /// Where to go on reading.
    pub fn position(&self) -> u64 {
        // SAFETY: valid and ours for the lifetime.
        unsafe { (*self.raw).pos as u64 }
    }

    /// Says where to go on after what has been emitted.
    pub fn set_position(&mut self, position: u64) {
        // SAFETY: as above.
        unsafe { (*self.raw).pos = i64::try_from(position).unwrap_or(i64::MAX) }
    }

    /// Emits "." and ".." if they are due; false when the reader has enough.
    pub fn emit_dots(&mut self) -> bool {
        // SAFETY: as above; the file is open for the duration of the call.
        unsafe { extra::vexfs_dir_emit_dots(self.file, self.raw) }
    }

    /// Emits one entry at the current position; false when the reader has enough. Writes to user memory, so it may
    /// fault: no lock of the filesystem may be held.
    pub fn emit(&mut self, name: &[u8], ino: u64, kind: u8) -> bool {
        let Ok(len) = ffi::c_int::try_from(name.len()) else {
            return false;
        };
        // SAFETY: as above; the name has `len` bytes.
        unsafe { extra::vexfs_dir_emit(self.raw, name.as_ptr().cast(), len, ino, u32::from(kind)) }
    }
}

impl<T: FileSystem> FileOpsTable<T> {
    /// The table of a directory that calls `O`.
    pub const fn of_directory<O: DirectoryOperations<T>>() -> Self {
        // SAFETY: the functions in the table take files and inodes of type `T`, or any.
        unsafe { Self::new(Table::<T, O>::OPERATIONS) }
    }
}

struct Table<T, O>(PhantomData<(T, O)>);

impl<T: FileSystem, O: DirectoryOperations<T>> Table<T, O> {
    const OPERATIONS: &'static bindings::file_operations = &bindings::file_operations {
        llseek: Some(Self::llseek),
        read: Some(bindings::generic_read_dir),
        iterate_shared: Some(Self::iterate_shared),
        fsync: Some(Self::fsync),
        setlease: Some(extra::generic_setlease),
        unlocked_ioctl: Some(crate::ioctl::unlocked_ioctl::<T, O>),
        compat_ioctl: Some(crate::ioctl::compat_ioctl::<T, O>),
        // SAFETY: nullable pointers and integers, for which zero is a valid value.
        ..unsafe { core::mem::MaybeUninit::zeroed().assume_init() }
    };

    /// Positions are 63-bit hashes, so neither the largest file nor the directory's size limits them.
    unsafe extern "C" fn llseek(file: *mut bindings::file, offset: i64, whence: ffi::c_int) -> i64 {
        // SAFETY: an open file.
        unsafe { bindings::generic_file_llseek_size(file, offset, whence, i64::MAX, i64::MAX) }
    }

    unsafe extern "C" fn iterate_shared(file: *mut bindings::file, context: *mut bindings::dir_context) -> ffi::c_int {
        // SAFETY: an open directory of this type, locked shared, and a context that is ours for the call.
        let dir = unsafe { File::<T>::from_raw(file) }.inode();
        let mut context = DirContext {
            raw: context,
            file,
            _lifetime: PhantomData,
        };
        answer(dir.super_block(), O::readdir(dir, &mut context))
    }

    unsafe extern "C" fn fsync(file: *mut bindings::file, _start: i64, _end: i64, _datasync: ffi::c_int) -> ffi::c_int {
        // SAFETY: an open directory of this type.
        let dir = unsafe { File::<T>::from_raw(file) }.inode();
        answer(dir.super_block(), O::fsync(dir))
    }
}
