// SPDX-License-Identifier: GPL-2.0
//! Directory entries.
//!
//! C header: `include/linux/dcache.h`.

use crate::filesystem::FileSystem;
use crate::inode::Inode;
use crate::inode::InodeRef;
use crate::Result;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use kernel::bindings;
use kernel::ffi;
use kernel::types::Opaque;
use vexfs_bindings as extra;

/// A dentry of a filesystem of type `T`.
///
/// # Invariants
///
/// It belongs to a superblock of type `T`, and while a reference exists its name does not change: the operations that
/// get one run with the parent directory locked.
#[repr(transparent)]
pub struct Dentry<T: FileSystem>(Opaque<bindings::dentry>, PhantomData<T>);

/// The dentry that a directory has instead of the one it was made through, with a reference for the VFS.
pub struct Spliced(NonNull<bindings::dentry>);

impl Spliced {
    /// Hands the reference over to C.
    pub(crate) fn into_raw(self) -> *mut bindings::dentry {
        ManuallyDrop::new(self).0.as_ptr()
    }
}

impl Drop for Spliced {
    fn drop(&mut self) {
        // SAFETY: gives back the reference that d_splice_alias() returned.
        unsafe { bindings::dput(self.0.as_ptr()) }
    }
}

/// A dentry of a filesystem of type `T` whose name may change at any time: operations that run without the lock of the
/// parent directory get this.
///
/// # Invariants
///
/// It belongs to a superblock of type `T`.
#[repr(transparent)]
pub struct MovingDentry<T: FileSystem>(Opaque<bindings::dentry>, PhantomData<T>);

impl<T: FileSystem> MovingDentry<T> {
    /// Makes a reference from a C pointer.
    ///
    /// # Safety
    ///
    /// `ptr` is a valid dentry of a superblock of type `T` for `'a`.
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut bindings::dentry) -> &'a Self {
        // SAFETY: by the contract; the struct is transparent.
        unsafe { &*ptr.cast() }
    }

    /// The C dentry.
    pub(crate) fn as_ptr(&self) -> *mut bindings::dentry {
        self.0.get()
    }
}

impl<T: FileSystem> Dentry<T> {
    /// Makes a reference from a C pointer.
    ///
    /// # Safety
    ///
    /// `ptr` is a valid dentry of a superblock of type `T` for `'a`, with a stable name.
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut bindings::dentry) -> &'a Self {
        // SAFETY: by the contract; the struct is transparent.
        unsafe { &*ptr.cast() }
    }

    /// The C dentry.
    pub fn as_ptr(&self) -> *mut bindings::dentry {
        self.0.get()
    }

    /// The name, without a terminator.
    pub fn name(&self) -> &[u8] {
        // SAFETY: by the type invariant the name is stable; `name` points to `len` bytes.
        unsafe {
            let name = &(*self.as_ptr()).__bindgen_anon_1.d_name;
            core::slice::from_raw_parts(name.name, name.__bindgen_anon_1.__bindgen_anon_1.len as usize)
        }
    }

    /// The name as C wants it.
    pub(crate) fn qstr(&self) -> *const bindings::qstr {
        // SAFETY: only the address is taken.
        unsafe { &raw const (*self.as_ptr()).__bindgen_anon_1.d_name }
    }

    /// The inode, none for a negative dentry.
    pub fn inode(&self) -> Option<&Inode<T>> {
        // SAFETY: a valid dentry; the caller's locks keep it from changing between positive and negative, and a
        // positive dentry holds a reference to its inode.
        unsafe {
            let inode = (*self.as_ptr()).d_inode;
            if inode.is_null() {
                None
            } else {
                Some(Inode::from_raw(inode))
            }
        }
    }

    /// Binds the inode of a new directory to this negative dentry. A handle may have opened the directory by now: then
    /// the dentry that it has got becomes the one with the name, since a directory has no two.
    pub fn splice(&self, inode: InodeRef<T>) -> Result<Option<Spliced>> {
        // SAFETY: called with the parent locked; the dentry is negative, and unhashed before it is spliced, which takes
        // over the reference to the inode.
        let other = unsafe {
            bindings::d_drop(self.as_ptr());
            bindings::d_splice_alias(inode.into_raw(), self.as_ptr())
        };
        let code = other as isize;
        if (-(extra::MAX_ERRNO as isize)..0).contains(&code) {
            crate::to_result(code as ffi::c_int)?;
        }
        Ok(NonNull::new(other).map(Spliced))
    }

    /// Binds an existing inode to this negative dentry (a new link).
    pub fn instantiate(&self, inode: InodeRef<T>) {
        // SAFETY: called with the directory locked; the dentry takes over the reference.
        unsafe { bindings::d_instantiate(self.as_ptr(), inode.into_raw()) }
    }
}
