// SPDX-License-Identifier: GPL-2.0
//! Inode operations: the trait a kind of inode implements and the table of C callbacks made from it.
//!
//! The VFS holds the locks its documentation names (`Documentation/filesystems/locking.rst`) around every call: parents
//! exclusively for changes, shared for `lookup`, the inode itself for `setattr`.

use crate::answer;
use crate::dentry::Dentry;
use crate::dentry::MovingDentry;
use crate::dentry::Spliced;
use crate::fail;
use crate::file::File;
use crate::fileattr::FileAttr;
use crate::filesystem::FileSystem;
use crate::idmap::Attr;
use crate::idmap::Idmap;
use crate::inode::Inode;
use crate::inode::InodeRef;
use crate::iomap::FiemapInfo;
use crate::new_inode::NewInode;
use crate::stat::KStat;
use crate::to_result;
use crate::Result;
use core::marker::PhantomData;
use kernel::bindings;
use kernel::error::Error as Errno;
use kernel::error::VTABLE_DEFAULT_ERROR;
use kernel::ffi;
use kernel::prelude::*;
use kernel::str::CStr;
use vexfs_bindings as extra;

/// What all kinds of inodes have.
pub trait AttributeOperations<T: FileSystem> {
    /// Changes attributes.
    fn setattr(idmap: Idmap<'_>, dentry: &MovingDentry<T>, inode: &Inode<T>, attr: &mut Attr) -> Result;

    /// Reads attributes.
    fn getattr(idmap: Idmap<'_>, inode: &Inode<T>, stat: &mut KStat, request_mask: u32) -> Result;

    /// Stores when the inode was read last, if that takes no waiting; returns whether it did. The VFS keeps the inode
    /// in memory otherwise, until it is written back.
    fn try_store_atime(inode: &Inode<T>) -> bool;

    /// Calls `each` with the full name of every extended attribute until it fails.
    fn listxattr(inode: &Inode<T>, each: &mut dyn FnMut(&[u8]) -> Result) -> Result;

    /// Reads the flags of `chattr`.
    fn fileattr_get(inode: &Inode<T>, attr: &mut FileAttr) -> Result;

    /// Sets the flags of `chattr`; the VFS has checked permission.
    fn fileattr_set(inode: &Inode<T>, attr: &FileAttr) -> Result;
}

/// The operations of one kind of inode. Those left out are not offered to the VFS, which then returns an error or does
/// what it does by default.
#[vtable]
pub trait InodeOperations<T: FileSystem> {
    /// Its attributes.
    type Attributes: AttributeOperations<T>;

    /// Finds a name in a directory.
    fn lookup(_dir: &Inode<T>, _dentry: &Dentry<T>) -> Result<Option<InodeRef<T>>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Creates a file, directory, device, socket, fifo or (with `target`) symlink and binds it to the dentry.
    ///
    /// One method for `create`, `mkdir`, `mknod` and `symlink`: `mode` holds the type, `rdev` the device number of a
    /// device in the encoding of userspace. A directory may end up at another dentry ([`Dentry::splice`]).
    fn create(
        _idmap: Idmap<'_>,
        _dir: &Inode<T>,
        _dentry: &Dentry<T>,
        _mode: u16,
        _rdev: u32,
        _target: Option<&[u8]>,
    ) -> Result<Option<Spliced>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Creates a file without a name and returns it, locked, with a link count of 1, which the VFS takes back.
    fn tmpfile(_idmap: Idmap<'_>, _dir: &Inode<T>, _dentry: &Dentry<T>, _mode: u16) -> Result<NewInode<T>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Gives an inode another name and binds it to the dentry.
    fn link(_inode: &Inode<T>, _dir: &Inode<T>, _dentry: &Dentry<T>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Removes a name of something that is not a directory.
    fn unlink(_dir: &Inode<T>, _dentry: &Dentry<T>, _inode: &Inode<T>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Removes an empty directory.
    fn rmdir(_dir: &Inode<T>, _dentry: &Dentry<T>, _inode: &Inode<T>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Moves or exchanges (`RENAME_*`).
    fn rename(_old_dir: &Inode<T>, _old: &Dentry<T>, _new_dir: &Inode<T>, _new: &Dentry<T>, _flags: u32) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Reports where a file's data is.
    fn fiemap(_inode: &Inode<T>, _info: &mut FiemapInfo, _start: u64, _len: u64) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Whether the inode is a symlink whose target was given to [`NewInode::set_link`].
    const IS_SYMLINK: bool = false;
}

/// A table of inode operations for inodes of type `T`.
pub struct InodeOpsTable<T>(*const bindings::inode_operations, PhantomData<T>);

impl<T: FileSystem> InodeOpsTable<T> {
    /// The table that calls `O`.
    pub const fn of<O: InodeOperations<T>>() -> Self {
        Self(Table::<T, O>::OPERATIONS, PhantomData)
    }

    pub(crate) fn as_ptr(&self) -> *const bindings::inode_operations {
        self.0
    }
}

/// What a dentry-returning operation returns for a failure.
fn dentry_error(code: ffi::c_int) -> *mut bindings::dentry {
    Errno::from_errno(code).to_ptr()
}

struct Table<T, O>(PhantomData<(T, O)>);

impl<T: FileSystem, O: InodeOperations<T>> Table<T, O> {
    const OPERATIONS: &'static bindings::inode_operations = &bindings::inode_operations {
        lookup: if O::HAS_LOOKUP { Some(Self::lookup) } else { None },
        create: if O::HAS_CREATE { Some(Self::create) } else { None },
        mkdir: if O::HAS_CREATE { Some(Self::mkdir) } else { None },
        mknod: if O::HAS_CREATE { Some(Self::mknod) } else { None },
        symlink: if O::HAS_CREATE { Some(Self::symlink) } else { None },
        tmpfile: if O::HAS_TMPFILE { Some(Self::tmpfile) } else { None },
        link: if O::HAS_LINK { Some(Self::link) } else { None },
        unlink: if O::HAS_UNLINK { Some(Self::unlink) } else { None },
        rmdir: if O::HAS_RMDIR { Some(Self::rmdir) } else { None },
        rename: if O::HAS_RENAME { Some(Self::rename) } else { None },
        setattr: Some(Self::setattr),
        getattr: Some(Self::getattr),
        update_time: Some(Self::update_time),
        listxattr: Some(Self::listxattr),
        fiemap: if O::HAS_FIEMAP { Some(Self::fiemap) } else { None },
        fileattr_get: Some(Self::fileattr_get),
        fileattr_set: Some(Self::fileattr_set),
        get_link: if O::IS_SYMLINK {
            Some(bindings::simple_get_link)
        } else {
            None
        },
        // SAFETY: all members are nullable function pointers, for which zero is a valid value.
        ..unsafe { core::mem::MaybeUninit::zeroed().assume_init() }
    };

    unsafe extern "C" fn lookup(
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        _flags: ffi::c_uint,
    ) -> *mut bindings::dentry {
        // SAFETY: a live directory of this type, locked, and a dentry of it that is being looked up.
        let (dir, name) = unsafe { (Inode::<T>::from_raw(dir), Dentry::<T>::from_raw(dentry)) };
        match O::lookup(dir, name) {
            Ok(found) => {
                let inode = found.map_or(core::ptr::null_mut(), InodeRef::into_raw);
                // SAFETY: takes over the reference to the inode, if there is one; the dentry is not hashed yet.
                unsafe { bindings::d_splice_alias(inode, dentry) }
            }
            Err(failure) => dentry_error(fail(dir.super_block(), failure)),
        }
    }

    /// # Safety
    ///
    /// As the VFS calls a creating operation: the directory is locked, the dentry negative, all pointers valid.
    unsafe fn make(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: u32,
        rdev: u32,
        target: Option<&[u8]>,
    ) -> core::result::Result<Option<Spliced>, ffi::c_int> {
        // SAFETY: by the contract.
        let (idmap, dir, dentry) = unsafe {
            (
                Idmap::from_raw(idmap),
                Inode::<T>::from_raw(dir),
                Dentry::<T>::from_raw(dentry),
            )
        };
        let made = O::create(idmap, dir, dentry, mode as u16, rdev, target);
        made.map_err(|failure| fail(dir.super_block(), failure))
    }

    /// What `create`, `mknod` and `symlink` return: what they make is bound to the dentry that they got.
    fn code(made: core::result::Result<Option<Spliced>, ffi::c_int>) -> ffi::c_int {
        made.err().unwrap_or(0)
    }

    unsafe extern "C" fn create(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
        // Linux 7.3 does without: that the file is new has been checked by then.
        #[cfg(not(vexfs_linux_7_3))] _excl: bool,
    ) -> ffi::c_int {
        // SAFETY: called by the VFS.
        Self::code(unsafe { Self::make(idmap, dir, dentry, u32::from(mode) | bindings::S_IFREG, 0, None) })
    }

    unsafe extern "C" fn mkdir(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
    ) -> *mut bindings::dentry {
        // SAFETY: called by the VFS.
        match unsafe { Self::make(idmap, dir, dentry, u32::from(mode) | bindings::S_IFDIR, 0, None) } {
            // Null says: the dentry passed in is the one.
            Ok(spliced) => spliced.map_or(core::ptr::null_mut(), Spliced::into_raw),
            Err(code) => dentry_error(code),
        }
    }

    unsafe extern "C" fn mknod(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
        rdev: bindings::dev_t,
    ) -> ffi::c_int {
        // SAFETY: called by the VFS.
        Self::code(unsafe {
            Self::make(
                idmap,
                dir,
                dentry,
                u32::from(mode),
                crate::new_inode::encode_dev(rdev),
                None,
            )
        })
    }

    unsafe extern "C" fn symlink(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        target: *const ffi::c_char,
    ) -> ffi::c_int {
        // SAFETY: called by the VFS; the target is a string that lives across the call.
        Self::code(unsafe {
            let target = CStr::from_ptr(target.cast()).to_bytes();
            Self::make(idmap, dir, dentry, bindings::S_IFLNK | 0o777, 0, Some(target))
        })
    }

    unsafe extern "C" fn tmpfile(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        file: *mut bindings::file,
        mode: bindings::umode_t,
    ) -> ffi::c_int {
        // SAFETY: called by the VFS: valid pointers, and the file has a dentry of its own without a name.
        let (idmap, dir, open) = unsafe {
            (
                Idmap::from_raw(idmap),
                Inode::<T>::from_raw(dir),
                File::<T>::from_raw(file),
            )
        };
        // SAFETY: as above.
        let dentry = unsafe { Dentry::<T>::from_raw(open.dentry()) };
        match O::tmpfile(idmap, dir, dentry, mode) {
            Ok(new) => {
                let extra_ref = new.grab();
                // SAFETY: the dentry takes over the reference; the inode has a link count of 1.
                unsafe { bindings::d_tmpfile(file, extra_ref.into_raw()) };
                drop(new.unlock());
                // SAFETY: the file's dentry is positive now.
                unsafe { extra::vexfs_finish_open_simple(file, 0) }
            }
            Err(failure) => fail(dir.super_block(), failure),
        }
    }

    unsafe extern "C" fn link(
        old: *mut bindings::dentry,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
    ) -> ffi::c_int {
        // SAFETY: called by the VFS: `old` is positive, its inode and the directory are locked.
        let (inode, dir, dentry) = unsafe {
            (
                Inode::<T>::from_raw((*old).d_inode),
                Inode::<T>::from_raw(dir),
                Dentry::<T>::from_raw(dentry),
            )
        };
        answer(dir.super_block(), O::link(inode, dir, dentry))
    }

    unsafe extern "C" fn unlink(dir: *mut bindings::inode, dentry: *mut bindings::dentry) -> ffi::c_int {
        // SAFETY: called by the VFS: the directory and the victim are locked and valid.
        let (dir, inode, dentry) = unsafe {
            (
                Inode::<T>::from_raw(dir),
                Inode::<T>::from_raw((*dentry).d_inode),
                Dentry::<T>::from_raw(dentry),
            )
        };
        answer(dir.super_block(), O::unlink(dir, dentry, inode))
    }

    unsafe extern "C" fn rmdir(dir: *mut bindings::inode, dentry: *mut bindings::dentry) -> ffi::c_int {
        // SAFETY: as for `unlink`.
        let (dir, inode, dentry) = unsafe {
            (
                Inode::<T>::from_raw(dir),
                Inode::<T>::from_raw((*dentry).d_inode),
                Dentry::<T>::from_raw(dentry),
            )
        };
        answer(dir.super_block(), O::rmdir(dir, dentry, inode))
    }

    unsafe extern "C" fn rename(
        _idmap: *mut bindings::mnt_idmap,
        old_dir: *mut bindings::inode,
        old: *mut bindings::dentry,
        new_dir: *mut bindings::inode,
        new: *mut bindings::dentry,
        flags: ffi::c_uint,
    ) -> ffi::c_int {
        // SAFETY: called by the VFS: directories and victims are locked and valid, `old` is positive.
        let (old_dir, old, new_dir, new) = unsafe {
            (
                Inode::<T>::from_raw(old_dir),
                Dentry::<T>::from_raw(old),
                Inode::<T>::from_raw(new_dir),
                Dentry::<T>::from_raw(new),
            )
        };
        answer(old_dir.super_block(), O::rename(old_dir, old, new_dir, new, flags))
    }

    unsafe extern "C" fn setattr(
        idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        attr: *mut bindings::iattr,
    ) -> ffi::c_int {
        // SAFETY: called by the VFS: a positive dentry whose inode is locked, and attributes that are ours for the
        // call.
        let (idmap, inode, dentry, attr) = unsafe {
            (
                Idmap::from_raw(idmap),
                Inode::<T>::from_raw((*dentry).d_inode),
                MovingDentry::<T>::from_raw(dentry),
                Attr::from_raw(attr),
            )
        };
        answer(inode.super_block(), O::Attributes::setattr(idmap, dentry, inode, attr))
    }

    unsafe extern "C" fn getattr(
        idmap: *mut bindings::mnt_idmap,
        path: *const bindings::path,
        stat: *mut bindings::kstat,
        request_mask: u32,
        _query_flags: ffi::c_uint,
    ) -> ffi::c_int {
        // SAFETY: called by the VFS: a path with a positive dentry, and a buffer that is ours for the call.
        let (idmap, inode, stat) = unsafe {
            (
                Idmap::from_raw(idmap),
                Inode::<T>::from_raw((*(*path).dentry).d_inode),
                KStat::from_raw(stat),
            )
        };
        answer(
            inode.super_block(),
            O::Attributes::getattr(idmap, inode, stat, request_mask),
        )
    }

    unsafe extern "C" fn update_time(
        inode: *mut bindings::inode,
        kind: bindings::fs_update_time,
        flags: ffi::c_uint,
    ) -> ffi::c_int {
        if kind != bindings::fs_update_time_FS_UPD_ATIME {
            // SAFETY: what the VFS passes, for an inode that it would do this for by itself.
            return unsafe { bindings::generic_update_time(inode, kind, flags) };
        }
        // SAFETY: as above.
        let dirty = unsafe { bindings::inode_update_time(inode, kind, flags) };
        // An inode that is dirty cannot be reclaimed, and one that was read has been made so for hardly anything: many
        // files read once would fill the reader's memory cgroup. With lazytime, the VFS is asked to wait.
        let now = dirty > 0 && dirty & bindings::inode_state_flags_enum_I_DIRTY_TIME as ffi::c_int == 0;
        // SAFETY: called by the VFS with an inode of this filesystem.
        if dirty <= 0 || now && O::Attributes::try_store_atime(unsafe { Inode::from_raw(inode) }) {
            return dirty.min(0);
        }
        // SAFETY: as above.
        unsafe { bindings::__mark_inode_dirty(inode, dirty) };
        0
    }

    unsafe extern "C" fn listxattr(dentry: *mut bindings::dentry, buffer: *mut ffi::c_char, size: usize) -> isize {
        // SAFETY: called by the VFS: a positive dentry.
        let inode = unsafe { Inode::<T>::from_raw((*dentry).d_inode) };
        let mut used = 0usize;
        let result = O::Attributes::listxattr(inode, &mut |name| {
            // Names are at most 255 bytes and there cannot be enough of them to overflow.
            let end = used.saturating_add(name.len()).saturating_add(1);
            if !buffer.is_null() {
                if end > size {
                    return Err(ERANGE.into());
                }
                // SAFETY: the buffer has `size` bytes and `end` does not exceed that.
                unsafe {
                    core::ptr::copy_nonoverlapping(name.as_ptr(), buffer.cast::<u8>().add(used), name.len());
                    *buffer.cast::<u8>().add(end - 1) = 0;
                }
            }
            used = end;
            Ok(())
        });
        match result {
            Ok(()) => used as isize,
            Err(failure) => fail(inode.super_block(), failure) as isize,
        }
    }

    unsafe extern "C" fn fiemap(
        inode: *mut bindings::inode,
        info: *mut bindings::fiemap_extent_info,
        start: u64,
        len: u64,
    ) -> ffi::c_int {
        // SAFETY: called by the VFS: a live inode, and a request that is ours for the call.
        let (inode, info) = unsafe { (Inode::<T>::from_raw(inode), FiemapInfo::from_raw(info.cast())) };
        answer(inode.super_block(), O::fiemap(inode, info, start, len))
    }

    unsafe extern "C" fn fileattr_get(dentry: *mut bindings::dentry, attr: *mut bindings::file_kattr) -> ffi::c_int {
        // SAFETY: called by the VFS: a positive dentry, and a buffer that is ours for the call.
        let (inode, attr) = unsafe { (Inode::<T>::from_raw((*dentry).d_inode), FileAttr::from_raw(attr.cast())) };
        answer(inode.super_block(), O::Attributes::fileattr_get(inode, attr))
    }

    unsafe extern "C" fn fileattr_set(
        _idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        attr: *mut bindings::file_kattr,
    ) -> ffi::c_int {
        // SAFETY: called by the VFS, which has checked permission: a positive dentry whose inode is locked, and a
        // request that is ours for the call.
        let (inode, attr) = unsafe { (Inode::<T>::from_raw((*dentry).d_inode), FileAttr::from_raw(attr.cast())) };
        answer(inode.super_block(), O::Attributes::fileattr_set(inode, attr))
    }
}

/// `inode_newsize_ok`: whether the process and the filesystem allow a file of this size.
pub fn check_new_size<T: FileSystem>(inode: &Inode<T>, size: u64) -> Result {
    let size = i64::try_from(size).map_err(|_| EFBIG)?;
    // SAFETY: a live, locked inode.
    to_result(unsafe { bindings::inode_newsize_ok(inode.as_ptr(), size) })
}
