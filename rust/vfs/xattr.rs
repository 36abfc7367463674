// SPDX-License-Identifier: GPL-2.0
//! Extended attributes: handlers for the namespaces user, trusted and security.
//!
//! C header: `include/linux/xattr.h`.

use crate::answer;
use crate::fail;
use crate::filesystem::FileSystem;
use crate::inode::Inode;
use crate::Result;
use core::marker::PhantomData;
use kernel::bindings;
use kernel::ffi;
use kernel::str::CStr;
use vexfs_bindings as extra;

/// Whether an attribute may or must exist when it is set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SetMode {
    /// Either way.
    Any,
    /// It must not exist (`XATTR_CREATE`).
    Create,
    /// It must exist (`XATTR_REPLACE`).
    Replace,
}

/// How a filesystem stores extended attributes. Names are full names ("user.color").
pub trait XattrOperations<T: FileSystem> {
    /// Copies the value into `buffer`, or only returns its length if there is none. ERANGE if it does not fit.
    fn get(inode: &Inode<T>, name: &[u8], buffer: Option<&mut [u8]>) -> Result<usize>;

    /// Sets the value, or removes the attribute if there is none. The inode is locked.
    fn set(inode: &Inode<T>, name: &[u8], value: Option<&[u8]>, mode: SetMode) -> Result;
}

/// A table of handlers for superblocks of type `T`.
pub struct XattrTable<T>(&'static [*const bindings::xattr_handler; 4], PhantomData<T>);

impl<T: FileSystem> XattrTable<T> {
    /// Handlers for all three namespaces that call `O`.
    pub const fn of<O: XattrOperations<T>>() -> Self {
        Self(Table::<T, O>::HANDLERS, PhantomData)
    }

    pub(crate) fn as_ptr(&self) -> *const *const bindings::xattr_handler {
        self.0.as_ptr()
    }
}

/// Whether the caller may see names in the namespace trusted.
pub fn may_list_trusted() -> bool {
    // SAFETY: reads the current task's credentials.
    unsafe { bindings::capable(bindings::CAP_SYS_ADMIN as ffi::c_int) }
}

struct Table<T, O>(PhantomData<(T, O)>);

impl<T: FileSystem, O: XattrOperations<T>> Table<T, O> {
    const USER: &'static bindings::xattr_handler = &Self::handler(c"user.");
    const TRUSTED: &'static bindings::xattr_handler = &Self::handler(c"trusted.");
    const SECURITY: &'static bindings::xattr_handler = &Self::handler(c"security.");
    const HANDLERS: &'static [*const bindings::xattr_handler; 4] =
        &[Self::USER, Self::TRUSTED, Self::SECURITY, core::ptr::null()];

    const fn handler(prefix: &'static CStr) -> bindings::xattr_handler {
        bindings::xattr_handler {
            name: core::ptr::null(),
            prefix: prefix.as_ptr().cast(),
            flags: 0,
            list: None,
            get: Some(Self::get),
            set: Some(Self::set),
        }
    }

    unsafe extern "C" fn get(
        handler: *const bindings::xattr_handler,
        _dentry: *mut bindings::dentry,
        inode: *mut bindings::inode,
        name: *const ffi::c_char,
        buffer: *mut ffi::c_void,
        size: usize,
    ) -> ffi::c_int {
        // SAFETY: called by the VFS: a live inode, a name whose prefix stands before it, and a buffer of `size` bytes,
        // if any.
        let (inode, name, buffer) = unsafe {
            (
                Inode::<T>::from_raw(inode),
                CStr::from_ptr(extra::xattr_full_name(handler, name).cast()),
                if buffer.is_null() || size == 0 {
                    None
                } else {
                    Some(core::slice::from_raw_parts_mut(buffer.cast::<u8>(), size))
                },
            )
        };
        match O::get(inode, name.to_bytes(), buffer) {
            // Values are at most 64 KiB.
            Ok(len) => ffi::c_int::try_from(len).unwrap_or(ffi::c_int::MAX),
            Err(failure) => fail(inode.super_block(), failure),
        }
    }

    unsafe extern "C" fn set(
        handler: *const bindings::xattr_handler,
        _idmap: *mut bindings::mnt_idmap,
        _dentry: *mut bindings::dentry,
        inode: *mut bindings::inode,
        name: *const ffi::c_char,
        value: *const ffi::c_void,
        size: usize,
        flags: ffi::c_int,
    ) -> ffi::c_int {
        // SAFETY: called by the VFS: a live, locked inode, a name whose prefix stands before it, and a value of `size`
        // bytes, or none for a removal.
        let (inode, name, value) = unsafe {
            (
                Inode::<T>::from_raw(inode),
                CStr::from_ptr(extra::xattr_full_name(handler, name).cast()),
                if value.is_null() {
                    None
                } else {
                    Some(core::slice::from_raw_parts(value.cast::<u8>(), size))
                },
            )
        };
        let flags = flags as u32;
        let mode = if flags & bindings::XATTR_CREATE != 0 {
            SetMode::Create
        } else if flags & bindings::XATTR_REPLACE != 0 {
            SetMode::Replace
        } else {
            SetMode::Any
        };
        answer(inode.super_block(), O::set(inode, name.to_bytes(), value, mode))
    }
}
