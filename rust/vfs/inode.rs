// SPDX-License-Identifier: GPL-2.0
//! Inodes.
//!
//! A filesystem's own data of an inode ([`FileSystem::InodeData`]) and the C `struct inode` share one slab object, a
//! [`Container`]; `inode_cache.rs` says when each part lives.
//!
//! C header: `include/linux/fs.h`.

use crate::completion::IoQueue;
use crate::filesystem::FileSystem;
use crate::idmap::Attr;
use crate::idmap::Idmap;
use crate::super_block::SuperBlock;
use crate::to_result;
use crate::Result;
use crate::Time;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::mem::MaybeUninit;
use core::ops::Deref;
use core::ptr::NonNull;
use kernel::bindings;
use kernel::ffi;
use kernel::types::Opaque;
use vexfs_bindings as extra;

/// An inode of a filesystem of type `T`.
///
/// # Invariants
///
/// The inode belongs to a superblock of type `T`, so it is the first member of a [`Container<T>`] whose data is
/// initialised for as long as a reference to the inode exists.
#[repr(transparent)]
pub struct Inode<T: FileSystem>(Opaque<bindings::inode>, PhantomData<T>);

// SAFETY: an inode is made to be used from many threads; what the methods below touch is either protected by the VFS's
// rules (locks named at each method) or read and written as single words.
unsafe impl<T: FileSystem> Send for Inode<T> {}
// SAFETY: as above; the Rust data is `Sync` by the bound on `InodeData`.
unsafe impl<T: FileSystem> Sync for Inode<T> {}

/// The slab object: the C inode and, behind it, the filesystem's own data.
#[repr(C)]
pub(crate) struct Container<T: FileSystem> {
    inode: Opaque<bindings::inode>,
    pub(crate) io: IoQueue,
    pub(crate) data: MaybeUninit<T::InodeData>,
}

/// Identity and times of an inode, as one copyable value.
#[derive(Clone, Copy)]
pub struct Attributes {
    /// File type and permissions.
    pub mode: u16,
    /// Owner, as stored (not mapped).
    pub uid: u32,
    /// Group, as stored (not mapped).
    pub gid: u32,
    /// Last access.
    pub atime: Time,
    /// Last change of contents.
    pub mtime: Time,
    /// Last change of anything.
    pub ctime: Time,
}

impl<T: FileSystem> Inode<T> {
    /// Makes a reference from a C pointer.
    ///
    /// # Safety
    ///
    /// `ptr` is a valid inode of a superblock of type `T`, and stays so for `'a`.
    pub unsafe fn from_raw<'a>(ptr: *mut bindings::inode) -> &'a Self {
        // SAFETY: by the function's contract; the struct is transparent over `Opaque<inode>`.
        unsafe { &*ptr.cast() }
    }

    /// The C inode.
    pub fn as_ptr(&self) -> *mut bindings::inode {
        self.0.get()
    }

    /// The filesystem's own data.
    pub fn data(&self) -> &T::InodeData {
        let container = self.as_ptr().cast::<Container<T>>();
        // SAFETY: by the type invariant the inode is the first member of a container with initialised data; only a
        // shared reference to the data is made, so it cannot alias the C part.
        unsafe { (*container).data.assume_init_ref() }
    }

    /// The superblock.
    pub fn super_block(&self) -> &SuperBlock<T> {
        // SAFETY: `i_sb` is set before the inode can be seen, never changes, and the superblock outlives its inodes.
        unsafe { SuperBlock::from_raw((*self.as_ptr()).i_sb) }
    }

    /// The inode number.
    pub fn ino(&self) -> u64 {
        // SAFETY: the number does not change once the inode is visible.
        unsafe { (*self.as_ptr()).i_ino }
    }

    /// File type and permission bits.
    pub fn mode(&self) -> u16 {
        // SAFETY: a valid inode; a racing chmod makes this the old or the new value.
        unsafe { (&raw const (*self.as_ptr()).i_mode).read_volatile() }
    }

    /// File type bits of the mode (`S_IFMT`).
    pub fn file_type(&self) -> u32 {
        u32::from(self.mode()) & bindings::S_IFMT
    }

    /// Whether this is a regular file.
    pub fn is_regular(&self) -> bool {
        self.file_type() == bindings::S_IFREG
    }

    /// Whether this is a directory.
    pub fn is_dir(&self) -> bool {
        self.file_type() == bindings::S_IFDIR
    }

    /// The size in bytes.
    pub fn size(&self) -> u64 {
        // SAFETY: a valid inode.
        unsafe { extra::vexfs_i_size_read(self.as_ptr()) as u64 }
    }

    /// Sets the size in bytes; the caller holds the inode lock or is the only user.
    pub fn set_size(&self, size: u64) {
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        // SAFETY: a valid inode; the caller serialises writers.
        unsafe { extra::vexfs_i_size_write(self.as_ptr(), size) }
    }

    /// Sets the space used, in units of 512 bytes.
    pub fn set_blocks(&self, sectors: u64) {
        // SAFETY: a valid inode; one word, read without a lock by stat.
        unsafe { (&raw mut (*self.as_ptr()).i_blocks).write_volatile(sectors) }
    }

    /// The link count.
    pub fn nlink(&self) -> u32 {
        // SAFETY: a valid inode; both members of the union are the same word.
        unsafe { (&raw const (*self.as_ptr()).__bindgen_anon_1.i_nlink).read_volatile() }
    }

    /// Sets the link count, from and to zero too; the caller holds the inode lock or is the only user.
    pub fn set_nlink(&self, nlink: u32) {
        if self.nlink() != nlink {
            // SAFETY: a valid inode; the caller serialises writers.
            unsafe { bindings::set_nlink(self.as_ptr(), nlink) }
        }
    }

    /// The generation, which tells users of one inode number apart.
    pub fn generation(&self) -> u32 {
        // SAFETY: set before the inode is visible.
        unsafe { (*self.as_ptr()).i_generation }
    }

    /// Last access.
    pub fn atime(&self) -> Time {
        let inode = self.as_ptr();
        // SAFETY: a valid inode; torn reads of seconds and nanoseconds are the VFS's own habit.
        unsafe {
            Time {
                sec: (&raw const (*inode).i_atime_sec).read_volatile(),
                nsec: (&raw const (*inode).i_atime_nsec).read_volatile(),
            }
        }
    }

    /// Last change of contents.
    pub fn mtime(&self) -> Time {
        let inode = self.as_ptr();
        // SAFETY: as for `atime`.
        unsafe {
            Time {
                sec: (&raw const (*inode).i_mtime_sec).read_volatile(),
                nsec: (&raw const (*inode).i_mtime_nsec).read_volatile(),
            }
        }
    }

    /// Last change of anything.
    pub fn ctime(&self) -> Time {
        // SAFETY: a valid inode.
        Time::from_raw(unsafe { extra::vexfs_inode_get_ctime(self.as_ptr()) })
    }

    /// Sets the time of last access.
    pub fn set_atime(&self, time: Time) {
        let inode = self.as_ptr();
        // SAFETY: a valid inode; plain words as in inode_set_atime().
        unsafe {
            (&raw mut (*inode).i_atime_sec).write_volatile(time.sec);
            (&raw mut (*inode).i_atime_nsec).write_volatile(time.nsec);
        }
    }

    /// Sets the time of the last change of contents.
    pub fn set_mtime(&self, time: Time) {
        let inode = self.as_ptr();
        // SAFETY: a valid inode; plain words as in inode_set_mtime().
        unsafe {
            (&raw mut (*inode).i_mtime_sec).write_volatile(time.sec);
            (&raw mut (*inode).i_mtime_nsec).write_volatile(time.nsec);
        }
    }

    /// Sets the time of the last change of anything.
    pub fn set_ctime(&self, time: Time) {
        // SAFETY: a valid inode.
        unsafe { bindings::inode_set_ctime_to_ts(self.as_ptr(), time.to_raw()) };
    }

    /// Sets the change time to now and returns it.
    pub fn set_ctime_current(&self) -> Time {
        // SAFETY: a valid inode.
        Time::from_raw(unsafe { bindings::inode_set_ctime_current(self.as_ptr()) })
    }

    /// Mode, owner and times as they are now.
    pub fn attributes(&self) -> Attributes {
        let inode = self.as_ptr();
        // SAFETY: a valid inode; the owner is one word each.
        let (uid, gid) = unsafe {
            (
                (&raw const (*inode).i_uid.val).read_volatile(),
                (&raw const (*inode).i_gid.val).read_volatile(),
            )
        };
        Attributes {
            mode: self.mode(),
            // Filesystems of this crate live in the initial user namespace, where the mapping is the identity.
            uid,
            gid,
            atime: self.atime(),
            mtime: self.mtime(),
            ctime: self.ctime(),
        }
    }

    /// Sets mode, owner and times; the caller holds the inode lock or is the only user.
    pub fn set_attributes(&self, attributes: &Attributes) {
        let inode = self.as_ptr();
        // SAFETY: a valid inode; the caller serialises writers, readers see single words.
        unsafe {
            (&raw mut (*inode).i_mode).write_volatile(attributes.mode);
            (&raw mut (*inode).i_uid.val).write_volatile(attributes.uid);
            (&raw mut (*inode).i_gid.val).write_volatile(attributes.gid);
        }
        self.set_atime(attributes.atime);
        self.set_mtime(attributes.mtime);
        self.set_ctime(attributes.ctime);
    }

    /// Checks an attribute change against permissions and limits (`setattr_prepare`).
    pub fn setattr_prepare(&self, idmap: Idmap<'_>, dentry: &crate::MovingDentry<T>, attr: &mut Attr) -> Result {
        // SAFETY: all pointers are valid for the call; the caller (notify_change) holds the inode lock.
        to_result(unsafe { bindings::setattr_prepare(idmap.as_ptr(), dentry.as_ptr(), attr.as_mut_ptr()) })
    }

    /// Applies an attribute change, size excepted, to the in-memory inode (`setattr_copy`).
    pub fn setattr_copy(&self, idmap: Idmap<'_>, attr: &Attr) {
        // SAFETY: all pointers are valid for the call; the caller holds the inode lock.
        unsafe { bindings::setattr_copy(idmap.as_ptr(), self.as_ptr(), attr.as_ptr()) }
    }

    /// The flags (`S_SYNC`, `S_APPEND`, ...).
    pub fn flags(&self) -> u32 {
        // SAFETY: a valid inode; one word.
        unsafe { (&raw const (*self.as_ptr()).i_flags).read_volatile() }
    }

    /// Replaces the flags in `mask` by those in `flags`.
    pub fn set_flags(&self, flags: u32, mask: u32) {
        // SAFETY: a valid inode; the function is atomic.
        unsafe { bindings::inode_set_flags(self.as_ptr(), flags & mask, mask) }
    }

    /// Whether changes of this inode are to be made durable at once (`sync` or `dirsync`, by mount or by flag).
    pub fn is_dirsync(&self) -> bool {
        // SAFETY: a valid inode.
        unsafe { extra::vexfs_is_dirsync(self.as_ptr()) }
    }

    /// Whether the inode is bad: it could not be read, or went wrong later.
    pub fn is_bad(&self) -> bool {
        // SAFETY: a valid inode.
        unsafe { bindings::is_bad_inode(self.as_ptr()) }
    }

    /// Marks the attributes changed, so that `write_inode` is called later.
    pub fn mark_dirty(&self) {
        let flags = bindings::inode_state_flags_enum_I_DIRTY_SYNC | bindings::inode_state_flags_enum_I_DIRTY_DATASYNC;
        // SAFETY: a valid inode.
        unsafe { bindings::__mark_inode_dirty(self.as_ptr(), flags as ffi::c_int) }
    }

    /// Writes the file's dirty pages and waits for them.
    pub fn write_and_wait(&self) -> Result {
        // SAFETY: a valid inode's mapping is valid.
        to_result(unsafe { bindings::filemap_write_and_wait_range((*self.as_ptr()).i_mapping, 0, i64::MAX) })
    }

    /// Sends all of the file's dirty pages on their way to the device, without waiting for them to arrive.
    pub fn start_write(&self) -> Result {
        // SAFETY: a valid inode's mapping is valid.
        to_result(unsafe { bindings::filemap_fdatawrite((*self.as_ptr()).i_mapping) })
    }

    /// Calls `write_inode` if the attributes are dirty, and waits.
    pub fn sync_metadata(&self) -> Result {
        // SAFETY: a valid inode; the caller holds a reference to it.
        to_result(unsafe { bindings::sync_inode_metadata(self.as_ptr(), 1) })
    }

    /// Another reference to this inode.
    pub fn grab(&self) -> InodeRef<T> {
        // SAFETY: whoever has `self` holds a reference, so the count is not zero; `ihold` adds one for us.
        unsafe { bindings::ihold(self.as_ptr()) };
        InodeRef(NonNull::from(self))
    }

    /// Mode and owner of a new inode in this directory, by POSIX's rules (`inode_init_owner`).
    pub(crate) fn init_owner(&self, idmap: Idmap<'_>, new: &Inode<T>, mode: u16) {
        // SAFETY: valid inodes of one filesystem; `new` is not visible to others yet.
        unsafe { bindings::inode_init_owner(idmap.as_ptr(), new.as_ptr(), self.as_ptr(), mode) }
    }
}

/// An owned reference to an inode.
///
/// # Invariants
///
/// One count of the inode's `i_count` belongs to this value.
pub struct InodeRef<T: FileSystem>(NonNull<Inode<T>>);

// SAFETY: it is a counted reference to a `Sync` value.
unsafe impl<T: FileSystem> Send for InodeRef<T> {}
// SAFETY: as above.
unsafe impl<T: FileSystem> Sync for InodeRef<T> {}

impl<T: FileSystem> InodeRef<T> {
    /// Takes over a counted reference.
    ///
    /// # Safety
    ///
    /// `ptr` is a valid inode of a superblock of type `T`, not null, with one reference for the new value.
    pub(crate) unsafe fn from_raw(ptr: *mut bindings::inode) -> Self {
        // SAFETY: not null by the contract.
        Self(unsafe { NonNull::new_unchecked(ptr.cast()) })
    }

    /// Hands the reference over to C.
    pub(crate) fn into_raw(self) -> *mut bindings::inode {
        ManuallyDrop::new(self).as_ptr()
    }
}

impl<T: FileSystem> Deref for InodeRef<T> {
    type Target = Inode<T>;

    fn deref(&self) -> &Inode<T> {
        // SAFETY: the counted reference keeps the inode alive.
        unsafe { self.0.as_ref() }
    }
}

impl<T: FileSystem> Drop for InodeRef<T> {
    fn drop(&mut self) {
        // SAFETY: gives back the reference this value owned.
        unsafe { bindings::iput(self.as_ptr()) }
    }
}

/// A table of address space operations for inodes of type `T`, and what completes their I/O.
pub struct AspaceOpsTable<T> {
    pub(crate) table: *const bindings::address_space_operations,
    pub(crate) worker: bindings::work_func_t,
    marker: PhantomData<T>,
}

impl<T> Clone for AspaceOpsTable<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for AspaceOpsTable<T> {}

impl<T: FileSystem> AspaceOpsTable<T> {
    /// Wraps a table.
    ///
    /// # Safety
    ///
    /// Every function in the table is sound when the VFS calls it for an inode of type `T`; `worker` is sound as the
    /// function of the work item of such an inode's [`IoQueue`].
    pub(crate) const unsafe fn new(
        table: &'static bindings::address_space_operations,
        worker: bindings::work_func_t,
    ) -> Self {
        Self {
            table,
            worker,
            marker: PhantomData,
        }
    }
}
