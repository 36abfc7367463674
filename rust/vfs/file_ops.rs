// SPDX-License-Identifier: GPL-2.0
//! Operations on open regular files, and on files that only answer ioctls.
//!
//! C header: `include/linux/fs.h`.

use kernel::error::code::EINVAL;
use kernel::ffi::c_int;
use kernel::ffi::c_uint;
use vexfs_bindings as bindings;

use crate::answer;
use crate::fail;
use crate::file::File;
use crate::file::FileOpsTable;
use crate::inode::Inode;
use crate::ioctl;
use crate::ioctl::IoctlOperations;
use crate::iomap::BlockMap;
use crate::kiocb::IovIter;
use crate::kiocb::Kiocb;
use crate::mmap;
use crate::super_block::SuperBlock;
use crate::Result;

/// What a filesystem does for open regular files.
pub trait FileOperations<T: BlockMap>: IoctlOperations<T> {
    /// Reads; returns the number of bytes.
    fn read_iter(iocb: &mut Kiocb<T>, to: &mut IovIter) -> Result<usize>;

    /// Writes; returns the number of bytes.
    fn write_iter(iocb: &mut Kiocb<T>, from: &mut IovIter) -> Result<usize>;

    /// Makes the file durable, at least its bytes in `start..=end`.
    fn fsync(file: &File<T>, start: i64, end: i64, datasync: bool) -> Result;

    /// Finds the next data.
    fn seek_data(inode: &Inode<T>, pos: i64) -> Result<u64>;

    /// Finds the next hole.
    fn seek_hole(inode: &Inode<T>, pos: i64) -> Result<u64>;

    /// Manipulates the space of a range; `mode` is of FALLOC_FL_*.
    fn fallocate(file: &File<T>, mode: u32, pos: u64, len: u64) -> Result;
}

struct Tables<T, O>(core::marker::PhantomData<(T, O)>);

impl<T: BlockMap, O: FileOperations<T>> Tables<T, O> {
    const FILE: bindings::file_operations = {
        // SAFETY: All members are optional functions, pointers and flags, for which zero is none.
        let mut table: bindings::file_operations = unsafe { core::mem::zeroed() };
        table.llseek = Some(llseek::<T, O>);
        table.read_iter = Some(read_iter::<T, O>);
        table.write_iter = Some(write_iter::<T, O>);
        table.splice_read = Some(bindings::filemap_splice_read);
        table.splice_write = Some(bindings::iter_file_splice_write);
        table.mmap_prepare = Some(mmap::mmap_prepare::<T>);
        // Without huge pages every address is as good as another.
        #[cfg(CONFIG_TRANSPARENT_HUGEPAGE)]
        {
            table.get_unmapped_area = Some(bindings::thp_get_unmapped_area);
        }
        table.open = Some(open);
        table.fsync = Some(fsync::<T, O>);
        table.fallocate = Some(fallocate::<T, O>);
        table.unlocked_ioctl = Some(ioctl::unlocked_ioctl::<T, O>);
        table.compat_ioctl = Some(ioctl::compat_ioctl::<T, O>);
        table.setlease = Some(bindings::generic_setlease);
        table
    };
}

impl<T: BlockMap, O: IoctlOperations<T>> Tables<T, O> {
    const IOCTL_ONLY: bindings::file_operations = {
        // SAFETY: As above.
        let mut table: bindings::file_operations = unsafe { core::mem::zeroed() };
        table.llseek = Some(bindings::noop_llseek);
        table.open = Some(bindings::nonseekable_open);
        table.unlocked_ioctl = Some(ioctl::unlocked_ioctl::<T, O>);
        table.compat_ioctl = Some(ioctl::compat_ioctl::<T, O>);
        table
    };
}

/// The table for regular files.
pub fn table<T: BlockMap, O: FileOperations<T>>() -> FileOpsTable<T> {
    // SAFETY: The functions below fit files of type `T`.
    unsafe { FileOpsTable::new(&Tables::<T, O>::FILE) }
}

/// The table for files that only answer ioctls.
pub fn ioctl_table<T: BlockMap, O: IoctlOperations<T>>() -> FileOpsTable<T> {
    // SAFETY: The functions fit files of type `T`.
    unsafe { FileOpsTable::new(&Tables::<T, O>::IOCTL_ONLY) }
}

unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
    // SAFETY: The VFS opens a regular file; the mode is ours to change before the file is published.
    unsafe {
        (*file).f_mode |= bindings::FMODE_NOWAIT | bindings::FMODE_CAN_ODIRECT;
        bindings::generic_file_open(inode, file)
    }
}

/// The superblock of the file that a request is about, for when its call returns: a request that nobody waits for may
/// be over then, and gone.
///
/// # Safety
///
/// Whoever made the request keeps the file for longer than `'a`.
unsafe fn super_block<'a, T: BlockMap>(iocb: &Kiocb<T>) -> &'a SuperBlock<T> {
    // SAFETY: A live inode; its superblock stays for as long as the file is open.
    unsafe { SuperBlock::from_raw((*iocb.inode().as_ptr()).i_sb) }
}

unsafe extern "C" fn read_iter<T: BlockMap, O: FileOperations<T>>(
    iocb: *mut bindings::kiocb,
    to: *mut bindings::iov_iter,
) -> isize {
    // SAFETY: The VFS passes a request on an open file of ours and the memory it is about, both for the call alone.
    let (iocb, to) = unsafe { (Kiocb::<T>::from_raw(iocb), IovIter::from_raw(to)) };
    // SAFETY: The VFS's callers hold the file until their call has returned.
    let sb = unsafe { super_block(iocb) };
    match O::read_iter(iocb, to) {
        Ok(read) => read as isize,
        Err(failure) => fail(sb, failure) as isize,
    }
}

unsafe extern "C" fn write_iter<T: BlockMap, O: FileOperations<T>>(
    iocb: *mut bindings::kiocb,
    from: *mut bindings::iov_iter,
) -> isize {
    // SAFETY: As for `read_iter`.
    let (iocb, from) = unsafe { (Kiocb::<T>::from_raw(iocb), IovIter::from_raw(from)) };
    // SAFETY: As for `read_iter`.
    let sb = unsafe { super_block(iocb) };
    match O::write_iter(iocb, from) {
        Ok(written) => written as isize,
        Err(failure) => fail(sb, failure) as isize,
    }
}

unsafe extern "C" fn fsync<T: BlockMap, O: FileOperations<T>>(
    file: *mut bindings::file,
    start: i64,
    end: i64,
    datasync: c_int,
) -> c_int {
    // SAFETY: The VFS passes an open file of ours.
    let file = unsafe { File::<T>::from_raw(file) };
    answer(file.inode().super_block(), O::fsync(file, start, end, datasync != 0))
}

unsafe extern "C" fn llseek<T: BlockMap, O: FileOperations<T>>(
    file: *mut bindings::file,
    offset: i64,
    whence: c_int,
) -> i64 {
    // SAFETY: The VFS passes an open file of ours.
    let this = unsafe { File::<T>::from_raw(file) };
    let inode = this.inode();
    let found = match whence as c_uint {
        bindings::SEEK_DATA => O::seek_data(inode, offset),
        bindings::SEEK_HOLE => O::seek_hole(inode, offset),
        // SAFETY: As above.
        _ => return unsafe { bindings::generic_file_llseek(file, offset, whence) },
    };
    match found {
        // SAFETY: As above; the superblock outlives its files.
        Ok(pos) => unsafe { bindings::vfs_setpos(file, pos as i64, (*(*inode.as_ptr()).i_sb).s_maxbytes) },
        Err(failure) => i64::from(fail(inode.super_block(), failure)),
    }
}

unsafe extern "C" fn fallocate<T: BlockMap, O: FileOperations<T>>(
    file: *mut bindings::file,
    mode: c_int,
    pos: i64,
    len: i64,
) -> isize {
    // SAFETY: The VFS passes an open file of ours.
    let file = unsafe { File::<T>::from_raw(file) };
    let result = match (u64::try_from(pos), u64::try_from(len)) {
        (Ok(pos), Ok(len)) => O::fallocate(file, mode as u32, pos, len),
        _ => Err(EINVAL.into()),
    };
    answer(file.inode().super_block(), result) as isize
}

impl<T: BlockMap> File<T> {
    /// Writes back the dirty data in `start..=end` and waits for it; an error of an earlier writeback is returned once.
    pub fn write_and_wait_range(&self, start: i64, end: i64) -> Result {
        // SAFETY: An open file.
        crate::to_result(unsafe { bindings::file_write_and_wait_range(self.as_ptr(), start, end) })
    }

    /// Drops set-id bits and sets the times before a change; the caller holds the inode lock.
    pub fn modified(&self) -> Result {
        // SAFETY: An open file.
        crate::to_result(unsafe { bindings::file_modified(self.as_ptr()) })
    }

    /// Whether every change through it must be durable before the call returns.
    pub fn is_sync(&self) -> bool {
        // SAFETY: A live inode.
        self.flags() & bindings::O_DSYNC != 0 || unsafe { bindings::vexfs_is_sync(self.inode().as_ptr()) }
    }
}

impl<T: BlockMap> Inode<T> {
    /// Alignment in memory that direct I/O needs.
    pub fn dio_memory_align(&self) -> u32 {
        // SAFETY: A live inode's superblock has a device.
        unsafe { bindings::vexfs_bdev_dma_alignment((*(*self.as_ptr()).i_sb).s_bdev) + 1 }
    }
}

impl<T: BlockMap> SuperBlock<T> {
    /// Writes back the data of all files and waits for it; the caller may hold inode locks. False if the filesystem is
    /// just being mounted, frozen or unmounted: who does that may be waiting for the caller.
    pub fn write_back(&self) -> bool {
        // SAFETY: A live superblock; the caller holds no locks that writeback needs.
        unsafe { bindings::vexfs_write_back(self.as_ptr()) }
    }

    /// Writes everything out and waits for it, like syncfs(2).
    pub fn sync_all(&self) -> Result {
        // SAFETY: A live superblock; its `s_umount` is not held by an operation on an open file.
        crate::to_result(unsafe { bindings::vexfs_sync_filesystem(self.as_ptr()) })
    }
}
