// SPDX-License-Identifier: GPL-2.0
//! Names in directories, as the VFS looks them up, makes and removes them for a caller, with all of its checks.
//!
//! For ioctls that take a name: permissions, security modules, idmapped mounts, umask, locks and notifications are the
//! same as for the system calls.
//!
//! C headers: `include/linux/namei.h`, `include/linux/fs.h`.

use core::ops::Deref;
use core::ptr;
use core::ptr::NonNull;

use kernel::error::code::EEXIST;
use kernel::error::code::EINVAL;
use kernel::error::code::EIO;
use kernel::ffi::c_int;
use kernel::ffi::c_uint;
use vexfs_bindings as bindings;

use crate::file::File;
use crate::filesystem::FileSystem;
use crate::inode::Inode;
use crate::to_result;
use crate::Result;

/// A reference to a dentry that has an inode and keeps it.
///
/// # Invariants
///
/// A counted reference to a positive dentry of a superblock of type `T`; while it is held the dentry stays positive.
pub struct Name<T: FileSystem>(NonNull<bindings::dentry>, core::marker::PhantomData<T>);

impl<T: FileSystem> Drop for Name<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::dput(self.0.as_ptr()) };
    }
}

impl<T: FileSystem> Name<T> {
    /// Its inode.
    pub fn inode(&self) -> &Inode<T> {
        // SAFETY: By the type invariant; a positive dentry holds its inode.
        unsafe { Inode::from_raw((*self.0.as_ptr()).d_inode) }
    }
}

/// A file that was opened here, not by a program.
///
/// # Invariants
///
/// One count of an open file of a superblock of type `T` is this value's.
pub struct Opened<T: FileSystem>(NonNull<bindings::file>, core::marker::PhantomData<T>);

impl<T: FileSystem> Deref for Opened<T> {
    type Target = File<T>;

    fn deref(&self) -> &File<T> {
        // SAFETY: By the type invariant.
        unsafe { File::from_raw(self.0.as_ptr()) }
    }
}

impl<T: FileSystem> Drop for Opened<T> {
    fn drop(&mut self) {
        // SAFETY: Gives back the count of the type invariant.
        unsafe { bindings::fput(self.0.as_ptr()) };
    }
}

/// What C functions return: an object or an error in a pointer.
fn pointer<O>(ptr: *mut O) -> Result<NonNull<O>> {
    let code = ptr as isize;
    if (-(bindings::MAX_ERRNO as isize)..0).contains(&code) {
        to_result(code as c_int)?;
    }
    NonNull::new(ptr).ok_or(EIO.into())
}

/// A directory that names are looked up in, on behalf of who opened a file.
pub struct Base<'a, T: FileSystem> {
    file: &'a File<T>,
    dir: Name<T>,
}

impl<T: FileSystem> File<T> {
    /// The directory this file is.
    pub fn as_base(&self) -> Base<'_, T> {
        // SAFETY: An open file holds a positive dentry.
        let dir = unsafe { bindings::vexfs_dget(self.dentry()) };
        Base {
            file: self,
            // SAFETY: As above, so not null.
            dir: Name(unsafe { NonNull::new_unchecked(dir) }, core::marker::PhantomData),
        }
    }

    /// The root directory of the filesystem this file is on.
    pub fn root_base(&self) -> Base<'_, T> {
        // SAFETY: A mounted superblock has a root, which is positive.
        let dir = unsafe { bindings::vexfs_dget((*self.inode().super_block().as_ptr()).s_root) };
        Base {
            file: self,
            // SAFETY: As above, so not null.
            dir: Name(unsafe { NonNull::new_unchecked(dir) }, core::marker::PhantomData),
        }
    }

    fn idmap(&self) -> *mut bindings::mnt_idmap {
        // SAFETY: An open file has a mount.
        unsafe { bindings::vexfs_file_mnt_idmap(self.as_ptr()) }
    }

    /// Opens a directory found through this file for reading, as its caller would: security modules that go by paths
    /// are asked here, and by what is done through the result.
    pub fn open_found(&self, name: &Name<T>) -> Result<Opened<T>> {
        let path = self.path_of(&name.0);
        let flags = (bindings::O_RDONLY | bindings::O_DIRECTORY) as c_int;
        // SAFETY: A live mount and a positive dentry of its filesystem, both kept for the call.
        let file = pointer(unsafe { bindings::vexfs_dentry_open(&path, flags) })?;
        // INVARIANT: A new file, whose count is ours; it is of the superblock of the dentry.
        Ok(Opened(file, core::marker::PhantomData))
    }

    /// The path of a dentry in the mount of this file.
    fn path_of(&self, dentry: &NonNull<bindings::dentry>) -> bindings::path {
        bindings::path {
            // SAFETY: An open file's path does not change, and it keeps its mount.
            mnt: unsafe { (*self.as_ptr()).__bindgen_anon_1.f_path.mnt },
            dentry: dentry.as_ptr(),
        }
    }

    /// Asks security modules and whoever watches the file before its contents are read, or before they are changed.
    pub fn verify(&self, write: bool) -> Result {
        let direction = if write { bindings::WRITE } else { bindings::READ };
        // SAFETY: An open file; no position is given.
        to_result(unsafe { bindings::rw_verify_area(direction as c_int, self.as_ptr(), ptr::null(), 0) })
    }

    /// Tells those who watch the file that its contents have changed.
    pub fn notify_modified(&self) {
        // SAFETY: An open file.
        unsafe { bindings::vexfs_fsnotify_modify(self.as_ptr()) };
    }

    /// Whether who calls may do `mask` (MAY_READ, MAY_WRITE, MAY_EXEC) to `inode`, through the mount of this file.
    pub fn permission(&self, inode: &Inode<T>, mask: u32) -> Result {
        // SAFETY: A live inode and the mapping of a mount it is reached through.
        to_result(unsafe { bindings::inode_permission(self.idmap(), inode.as_ptr(), mask as c_int) })
    }
}

impl<T: FileSystem> Base<'_, T> {
    /// The directory.
    pub fn inode(&self) -> &Inode<T> {
        self.dir.inode()
    }

    fn qstr(name: &[u8]) -> Result<bindings::qstr> {
        let mut qstr = bindings::qstr::default();
        if name.is_empty() {
            return Err(EINVAL.into());
        }
        qstr.name = name.as_ptr();
        qstr.__bindgen_anon_1.__bindgen_anon_1.len = c_uint::try_from(name.len()).map_err(|_| EINVAL)?;
        Ok(qstr)
    }

    /// Finds a name; ENOENT if there is none.
    pub fn find(&self, name: &[u8]) -> Result<Name<T>> {
        let mut name = Self::qstr(name)?;
        // SAFETY: A live directory, whose lock is not held; the name lives across the call.
        let found =
            unsafe { bindings::lookup_one_positive_unlocked(self.file.idmap(), &mut name, self.dir.0.as_ptr()) };
        // INVARIANT: Positive and counted, as the function promises. It does not cross into other mounts.
        Ok(Name(pointer(found)?, core::marker::PhantomData))
    }

    /// Makes a directory and lets `then` complete it before anybody else can use it; if `then` fails it is removed.
    pub fn make_dir(&self, name: &[u8], mode: u16, then: impl FnOnce(&Inode<T>) -> Result) -> Result<Name<T>> {
        let mut name = Self::qstr(name)?;
        let dir = self.inode().as_ptr();
        let idmap = self.file.idmap();
        let path = self.file.path_of(&self.dir.0);
        // SAFETY: A live directory, whose lock is not held; with the dentry comes the directory's lock, which
        // end_dirop() gives back together with the dentry's reference. vfs_mkdir() does that itself when it fails.
        unsafe {
            let child = pointer(bindings::start_creating(idmap, self.dir.0.as_ptr(), &mut name))?;
            if !(*child.as_ptr()).d_inode.is_null() {
                bindings::end_dirop(child.as_ptr());
                return Err(EEXIST.into());
            }
            // vfs_mkdir() leaves the modules that go by paths to its callers.
            if let Err(failure) = to_result(bindings::vexfs_security_path_mkdir(&path, child.as_ptr(), mode)) {
                bindings::end_dirop(child.as_ptr());
                return Err(failure);
            }
            let child = pointer(bindings::vfs_mkdir(idmap, dir, child.as_ptr(), mode, ptr::null_mut()))?;
            if (*child.as_ptr()).d_inode.is_null() {
                // A filesystem may leave the dentry to a later lookup; ours does not.
                bindings::end_dirop(child.as_ptr());
                return Err(EIO.into());
            }
            // INVARIANT: Positive; counted here.
            let made = Name::<T>(
                NonNull::new_unchecked(bindings::vexfs_dget(child.as_ptr())),
                core::marker::PhantomData,
            );
            let done = then(made.inode());
            if done.is_err() {
                // The directory was made a moment ago under this lock, so it is empty.
                bindings::vfs_rmdir(idmap, dir, child.as_ptr(), ptr::null_mut());
            }
            bindings::end_dirop(child.as_ptr());
            done.map(|()| made)
        }
    }

    /// Removes a directory if `check` agrees.
    pub fn remove_dir(&self, name: &[u8], check: impl FnOnce(&Inode<T>) -> Result) -> Result {
        let mut name = Self::qstr(name)?;
        let dir = self.inode().as_ptr();
        let idmap = self.file.idmap();
        let path = self.file.path_of(&self.dir.0);
        // SAFETY: As in `make_dir`; the dentry is positive.
        unsafe {
            let child = pointer(bindings::start_removing(idmap, self.dir.0.as_ptr(), &mut name))?;
            let inode = Inode::<T>::from_raw((*child.as_ptr()).d_inode);
            let child_ptr = child.as_ptr();
            let mut result = check(inode);
            if result.is_ok() {
                // vfs_rmdir() leaves the modules that go by paths to its callers, but security_path_rmdir() is not for
                // modules. To rename a directory, to anything at all, takes the right to remove it.
                let asked = bindings::vexfs_security_path_rename(&path, child_ptr, &path, child_ptr, 0);
                result = to_result(asked);
            }
            if result.is_ok() {
                result = to_result(bindings::vfs_rmdir(idmap, dir, child_ptr, ptr::null_mut()));
            }
            bindings::end_dirop(child_ptr);
            result
        }
    }
}
