// SPDX-License-Identifier: GPL-2.0
//! What a filesystem is: the trait that ties its types and functions together, and its registration.
//!
//! C header: `include/linux/fs.h`.

use crate::fs_context::ParameterTable;
use crate::inode::Inode;
use crate::inode::InodeRef;
use crate::inode_cache;
use crate::stat::StatFs;
use crate::super_block::Geometry;
use crate::super_block::NewSuperBlock;
use crate::super_block::SuperBlock;
use crate::to_result;
use crate::xattr::XattrTable;
use crate::Result;
use core::marker::PhantomData;
use core::sync::atomic::AtomicPtr;
use core::sync::atomic::Ordering;
use kernel::bindings;
use kernel::error::code::*;
use kernel::ffi;
use kernel::str::CStr;
use kernel::types::Opaque;
use kernel::ThisModule;

/// A filesystem on a block device.
pub trait FileSystem: Sized + Send + Sync + 'static {
    /// The state of a mount.
    type Info: Send + Sync + 'static;
    /// What the filesystem keeps with each inode in memory.
    type InodeData: Send + Sync + 'static;
    /// Mount options while they are being collected.
    type Options: Send + Sync + 'static;

    /// The name for mount(8).
    const NAME: &'static CStr;
    /// The name of the slab cache of inodes.
    const CACHE_NAME: &'static CStr;

    /// The static this filesystem is registered with.
    fn fs_type() -> &'static FileSystemType<Self>;

    /// The mount options.
    fn parameters() -> ParameterTable;

    /// The options before any is parsed: the defaults, or those of the mount that is to be changed.
    fn new_options(reconfigure: Option<&SuperBlock<Self>>) -> Result<Self::Options>;

    /// Takes one option, with the id from the table; the value of a flag is empty.
    fn parse(options: &mut Self::Options, id: u8, value: &[u8]) -> Result;

    /// Opens the filesystem on the superblock's device.
    fn mount(sb: &NewSuperBlock<'_, Self>, options: &Self::Options) -> Result<(Self::Info, Geometry)>;

    /// The root directory.
    fn root(sb: &SuperBlock<Self>) -> Result<InodeRef<Self>>;

    /// Called when the root is there, last in a mount.
    fn mounted(sb: &SuperBlock<Self>) -> Result;

    /// Changes the options of a mount; `read_only` is set if that is to change. What was dirty has been written.
    fn reconfigure(sb: &SuperBlock<Self>, options: &Self::Options, read_only: Option<bool>) -> Result;

    /// Writes what is left and stops everything that works in the background; all inodes are gone.
    fn put_super(sb: &SuperBlock<Self>);

    /// Makes an inode's data. May sleep.
    fn new_inode_data() -> Result<Self::InodeData>;

    /// Lets go of an inode whose pages are gone; deletes it if it has no links.
    fn evict(inode: &Inode<Self>) -> Result;

    /// Stores an inode's dirty attributes. Who wants them to be durable syncs afterwards: fsync, sync_fs and
    /// [`FileSystem::commit_metadata`] do.
    fn write_inode(inode: &Inode<Self>) -> Result;

    /// Makes everything durable, if `wait`, or starts to.
    fn sync_fs(sb: &SuperBlock<Self>, wait: bool) -> Result;

    /// Everything is written and nobody writes until `unfreeze`: brings the device into a state that mounts cleanly.
    fn freeze(sb: &SuperBlock<Self>) -> Result;

    /// The end of `freeze`.
    fn unfreeze(sb: &SuperBlock<Self>) -> Result;

    /// Space and files, free and used.
    fn statfs(sb: &SuperBlock<Self>, buf: &mut StatFs) -> Result;

    /// Prints the options that differ from the defaults, each with a comma before it.
    fn show_options(sb: &SuperBlock<Self>, seq: &kernel::seq_file::SeqFile);

    /// The device was removed.
    fn device_gone(sb: &SuperBlock<Self>);

    /// An operation failed: the place for `errors=` policies.
    fn report(sb: &SuperBlock<Self>, error: &vexfs_host::Error);

    /// The extended attributes it has.
    fn xattr_handlers() -> XattrTable<Self>;

    /// Finds an inode for a file handle; ESTALE when it is gone.
    fn by_handle(sb: &SuperBlock<Self>, ino: u64, generation: u32) -> Result<InodeRef<Self>>;

    /// The parent of a directory.
    fn parent(dir: &Inode<Self>) -> Result<InodeRef<Self>>;

    /// Makes an inode's attributes and its directory entry durable (for NFS).
    fn commit_metadata(inode: &Inode<Self>) -> Result;
}

/// The static half of a registered filesystem.
pub struct FileSystemType<T: FileSystem> {
    inner: Opaque<bindings::file_system_type>,
    cache: AtomicPtr<bindings::kmem_cache>,
    _filesystem: PhantomData<T>,
}

// SAFETY: `inner` is changed before registration and by the VFS under its locks; the rest is atomic.
unsafe impl<T: FileSystem> Sync for FileSystemType<T> {}

impl<T: FileSystem> FileSystemType<T> {
    /// Not registered yet.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self {
            // SAFETY: integers, nullable pointers and list nodes, for all of which zero is valid (C statics of this
            // type leave most members zero too).
            inner: Opaque::new(unsafe { core::mem::MaybeUninit::zeroed().assume_init() }),
            cache: AtomicPtr::new(core::ptr::null_mut()),
            _filesystem: PhantomData,
        }
    }

    /// The slab cache of inodes; null before registration.
    pub(crate) fn cache(&self) -> *mut bindings::kmem_cache {
        self.cache.load(Ordering::Relaxed)
    }
}

/// A registered filesystem; dropping it unregisters it.
pub struct Registration<T: FileSystem>(PhantomData<T>);

impl<T: FileSystem> Registration<T> {
    /// Makes the filesystem mountable.
    pub fn new(module: &'static ThisModule) -> Result<Self> {
        let fs_type = T::fs_type();
        let cache = inode_cache::create::<T>()?;
        if fs_type
            .cache
            .compare_exchange(
                core::ptr::null_mut(),
                cache.as_ptr(),
                Ordering::Relaxed,
                Ordering::Relaxed,
            )
            .is_err()
        {
            // SAFETY: just made and unused.
            unsafe { bindings::kmem_cache_destroy(cache.as_ptr()) };
            return Err(EBUSY.into());
        }
        let raw = fs_type.inner.get();
        // SAFETY: setting `cache` made us the only one to register this type; C does not know it yet.
        let result = unsafe {
            (*raw).name = T::NAME.as_ptr().cast();
            (*raw).owner = module.as_ptr();
            (*raw).fs_flags =
                (bindings::FS_REQUIRES_DEV | bindings::FS_ALLOW_IDMAP | bindings::FS_MGTIME | bindings::FS_LBS)
                    as ffi::c_int;
            (*raw).init_fs_context = Some(crate::fs_context::init_fs_context::<T>);
            (*raw).parameters = T::parameters().as_ptr().cast();
            (*raw).kill_sb = Some(bindings::kill_block_super);
            to_result(bindings::register_filesystem(raw))
        };
        let this = Self(PhantomData);
        if let Err(failure) = result {
            core::mem::forget(this);
            Self::destroy_cache();
            return Err(failure);
        }
        Ok(this)
    }

    fn destroy_cache() {
        // SAFETY: no superblock of this type exists any more, so no inode does; those freed by RCU are back in the
        // cache, which they find through the type, after the barrier.
        unsafe { bindings::rcu_barrier() };
        let cache = T::fs_type().cache.swap(core::ptr::null_mut(), Ordering::Relaxed);
        // SAFETY: nobody uses the cache any more.
        unsafe { bindings::kmem_cache_destroy(cache) };
    }
}

impl<T: FileSystem> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: it was registered in `new`. Mounts hold a reference to the module, so there are none.
        unsafe { bindings::unregister_filesystem(T::fs_type().inner.get()) };
        Self::destroy_cache();
    }
}
