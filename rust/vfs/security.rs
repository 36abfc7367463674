// SPDX-License-Identifier: GPL-2.0
//! Labels that security modules put on new inodes.
//!
//! C header: `include/linux/security.h`.

use crate::dentry::Dentry;
use crate::filesystem::FileSystem;
use crate::inode::Inode;
use crate::to_result;
use crate::Result;
use kernel::bindings;
use kernel::error::code::*;
use kernel::ffi;
use kernel::str::CStr;
use vexfs_bindings as extra;
use vexfs_host::mem::Vec;

/// One extended attribute: full name and value.
pub struct Label {
    /// The full name, "security.something".
    pub name: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
}

/// The attributes that security modules want a new inode to be born with. Usually none.
pub fn labels<T: FileSystem>(inode: &Inode<T>, dir: &Inode<T>, dentry: &Dentry<T>) -> Result<Vec<Label>> {
    let mut labels = Vec::new();
    // SAFETY: valid pointers for the call; `collect` gets `labels` back and nothing else uses it meanwhile.
    to_result(unsafe {
        extra::vexfs_security_inode_init_security(
            inode.as_ptr(),
            dir.as_ptr(),
            dentry.qstr(),
            Some(collect),
            (&raw mut labels).cast(),
        )
    })?;
    Ok(labels)
}

unsafe extern "C" fn collect(
    _inode: *mut bindings::inode,
    mut xattr: *const bindings::xattr,
    labels: *mut ffi::c_void,
) -> ffi::c_int {
    // SAFETY: the pointer `labels` was given to C by `labels()`, which waits for us.
    let labels = unsafe { &mut *labels.cast::<Vec<Label>>() };
    // SAFETY: an array that ends with an entry without a name; names are strings, values have `value_len` bytes.
    while !unsafe { (*xattr).name }.is_null() {
        // SAFETY: as above.
        let (name, value) = unsafe {
            let value = if (*xattr).value.is_null() {
                &[][..]
            } else {
                core::slice::from_raw_parts((*xattr).value.cast::<u8>(), (*xattr).value_len)
            };
            (CStr::from_ptr((*xattr).name.cast()).to_bytes(), value)
        };
        let add = || -> vexfs_host::Result<Label> {
            let mut label = Label {
                name: Vec::new(),
                value: Vec::new(),
            };
            label.name.extend_from_slice(b"security.")?;
            label.name.extend_from_slice(name)?;
            label.value.extend_from_slice(value)?;
            Ok(label)
        };
        if add().and_then(|label| labels.push(label)).is_err() {
            return ENOMEM.to_errno();
        }
        // SAFETY: not the last entry.
        xattr = unsafe { xattr.add(1) };
    }
    0
}
