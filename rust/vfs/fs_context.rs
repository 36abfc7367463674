// SPDX-License-Identifier: GPL-2.0
//! Mounting and remounting: options, and the way to a superblock.
//!
//! C headers: `include/linux/fs_context.h`, `include/linux/fs_parser.h`.

use crate::fail;
use crate::filesystem::FileSystem;
use crate::super_block;
use crate::super_block::SuperBlock;
use crate::Result;
use core::marker::PhantomData;
use kernel::alloc::KBox;
use kernel::bindings;
use kernel::error::code::*;
use kernel::ffi;
use kernel::prelude::GFP_KERNEL;
use kernel::str::CStr;
use kernel::types::ForeignOwnable;
use vexfs_bindings as extra;

/// One mount option.
#[repr(transparent)]
pub struct Parameter(extra::fs_parameter_spec);

// SAFETY: constant data that points to static strings and functions.
unsafe impl Sync for Parameter {}

impl Parameter {
    /// An option with a value: `name=value`.
    pub const fn value(name: &'static CStr, id: u8) -> Self {
        Self::new(name, id, Some(extra::fs_param_is_string))
    }

    /// An option without a value: `name`.
    pub const fn flag(name: &'static CStr, id: u8) -> Self {
        Self::new(name, id, None)
    }

    const fn new(name: &'static CStr, id: u8, kind: extra::fs_param_type) -> Self {
        Self(extra::fs_parameter_spec {
            name: name.as_ptr().cast(),
            type_: kind,
            opt: id,
            flags: 0,
            data: core::ptr::null(),
        })
    }

    /// The mark at the end of a table.
    pub const fn end() -> Self {
        Self(extra::fs_parameter_spec {
            name: core::ptr::null(),
            type_: None,
            opt: 0,
            flags: 0,
            data: core::ptr::null(),
        })
    }
}

/// A table of mount options.
///
/// # Invariants
///
/// It ends with [`Parameter::end`].
#[derive(Clone, Copy)]
pub struct ParameterTable(&'static [Parameter]);

impl ParameterTable {
    /// Wraps a table; a table without an end fails to compile where this is used in a constant.
    pub const fn new(table: &'static [Parameter]) -> Self {
        match table.last() {
            Some(last) => assert!(last.0.name.is_null()),
            None => panic!(),
        }
        Self(table)
    }

    pub(crate) fn as_ptr(self) -> *const extra::fs_parameter_spec {
        self.0.as_ptr().cast()
    }
}

/// The options of a context.
///
/// # Safety
///
/// `fc` is a context that `init_fs_context::<T>` set up, and nobody changes the options for `'a`.
pub(crate) unsafe fn options<'a, T: FileSystem>(fc: *mut extra::fs_context) -> &'a T::Options {
    // SAFETY: `init_fs_context` stored a boxed `T::Options`.
    unsafe { &*(*fc).fs_private.cast::<T::Options>() }
}

/// `file_system_type.init_fs_context`.
pub(crate) unsafe extern "C" fn init_fs_context<T: FileSystem>(fc: *mut bindings::fs_context) -> ffi::c_int {
    // CAST: opaque to the kernel crate, complete in `vexfs_bindings`.
    let fc = fc.cast::<extra::fs_context>();
    // SAFETY: a context that is being made; when it is for a remount, `root` is a dentry of the mounted superblock,
    // which is of this type.
    let current = unsafe {
        if (*fc).purpose() == extra::fs_context_purpose_FS_CONTEXT_FOR_RECONFIGURE {
            Some(SuperBlock::<T>::from_raw((*(*fc).root).d_sb))
        } else {
            None
        }
    };
    let make = || -> Result<KBox<T::Options>> {
        let options = T::new_options(current)?;
        Ok(KBox::new(options, GFP_KERNEL).map_err(|_| ENOMEM)?)
    };
    match make() {
        Ok(options) => {
            // SAFETY: the context is ours to set up.
            unsafe {
                (*fc).fs_private = options.into_foreign().cast();
                (*fc).ops = Table::<T>::OPERATIONS;
            }
            0
        }
        Err(failure) => failure.to_errno(),
    }
}

/// The operations of contexts of type `T`.
struct Table<T>(PhantomData<T>);

impl<T: FileSystem> Table<T> {
    const OPERATIONS: &'static extra::fs_context_operations = &extra::fs_context_operations {
        free: Some(Self::free),
        dup: None,
        parse_param: Some(Self::parse_param),
        parse_monolithic: None,
        get_tree: Some(Self::get_tree),
        reconfigure: Some(Self::reconfigure),
    };

    unsafe extern "C" fn free(fc: *mut extra::fs_context) {
        // SAFETY: the last call for this context; the pointer is null or a box from `init_fs_context`.
        unsafe {
            let options = (*fc).fs_private;
            (*fc).fs_private = core::ptr::null_mut();
            if !options.is_null() {
                drop(KBox::<T::Options>::from_foreign(options.cast()));
            }
        }
    }

    unsafe extern "C" fn parse_param(fc: *mut extra::fs_context, param: *mut extra::fs_parameter) -> ffi::c_int {
        let mut result = extra::fs_parse_result::default();
        // SAFETY: valid pointers; the table ends with an empty entry.
        let id = unsafe { extra::__fs_parse(&raw mut (*fc).log, T::parameters().as_ptr(), param, &mut result) };
        if id < 0 {
            return id;
        }
        // SAFETY: the context's lock keeps others from the options. __fs_parse() accepted the parameter, so it is a
        // flag, which has no value, or a string, NUL-terminated.
        let (options, value) = unsafe {
            let value = if (*param).type_() == extra::fs_value_type_fs_value_is_string {
                CStr::from_ptr((*param).__bindgen_anon_1.string.cast()).to_bytes()
            } else {
                &[]
            };
            (&mut *(*fc).fs_private.cast::<T::Options>(), value)
        };
        match T::parse(options, id as u8, value) {
            Ok(()) => 0,
            Err(failure) => failure.to_errno(),
        }
    }

    unsafe extern "C" fn get_tree(fc: *mut extra::fs_context) -> ffi::c_int {
        // SAFETY: a complete context; `fill_super` gets a new superblock of this type.
        unsafe { extra::get_tree_bdev(fc, Some(super_block::fill_super::<T>)) }
    }

    unsafe extern "C" fn reconfigure(fc: *mut extra::fs_context) -> ffi::c_int {
        // SAFETY: the context of a remount: `root` belongs to a mounted superblock of this type, whose `s_umount` is
        // held.
        let (sb, options, flags, mask) = unsafe {
            (
                SuperBlock::<T>::from_raw((*(*fc).root).d_sb),
                options::<T>(fc),
                (*fc).sb_flags,
                (*fc).sb_flags_mask,
            )
        };
        // A failure to write a file's data is reported to those who have it open; it must not keep the mount writable.
        let _ = super_block::sync(sb);
        let wanted = flags & extra::SB_RDONLY != 0;
        let change = mask & extra::SB_RDONLY != 0 && wanted != sb.is_read_only();
        let result = T::reconfigure(sb, options, change.then_some(wanted));
        match result {
            Ok(()) => 0,
            Err(failure) => fail(sb, failure),
        }
    }
}
