// SPDX-License-Identifier: Apache-2.0
//! Making an ioctl: the one place where structs and pointers are handed to the kernel.

use std::fs::File;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use vexfs_uapi as uapi;
use zerocopy::FromZeros;

/// An argument struct and the ioctl that takes it.
///
/// # Safety
///
/// The kernel reads and writes exactly `size_of::<Self>()` bytes at the struct for `CMD`, plus the memory its
/// members point to.
pub unsafe trait Argument: FromZeros {
    const CMD: u32;
    fn set_size(&mut self, size: u32);
}

macro_rules! arguments {
    ($($type:ident: $cmd:ident,)*) => {
        $(
            // SAFETY: both come from the ABI crate, where the command encodes the struct's size and the kernel
            // writes back at most `size` bytes, which `set_size` is always given the struct's own size for.
            unsafe impl Argument for uapi::$type {
                const CMD: u32 = uapi::$cmd;
                fn set_size(&mut self, size: u32) {
                    self.size = size;
                }
            }
        )*
    };
}

arguments! {
    CreateCollection: VEXFS_IOC_CREATE_COLLECTION,
    InsertVectors: VEXFS_IOC_INSERT_VECTORS,
    SearchVectors: VEXFS_IOC_SEARCH_VECTORS,
    GetStats: VEXFS_IOC_GET_STATS,
    GetVectors: VEXFS_IOC_GET_VECTORS,
    DeleteVectors: VEXFS_IOC_DELETE_VECTORS,
    CollectionInfo: VEXFS_IOC_COLLECTION_INFO,
    DropCollection: VEXFS_IOC_DROP_COLLECTION,
    BuildIndex: VEXFS_IOC_BUILD_INDEX,
    GetVectorStats: VEXFS_IOC_GET_VECTOR_STATS,
    Explain: VEXFS_IOC_EXPLAIN,
}

/// Makes the call.
///
/// # Safety
///
/// Every user pointer in `arg` is 0 or points to memory of the length that `arg` states, alive for the call, and
/// writable where the kernel writes.
pub unsafe fn call<T: Argument>(file: &File, arg: &mut T) -> Result<(), Errno> {
    arg.set_size(std::mem::size_of::<T>() as u32);
    // SAFETY: the fd is open, `arg` is a T as CMD demands (trait's contract), the rest is the caller's promise.
    let ret = unsafe { libc::ioctl(file.as_raw_fd(), T::CMD as libc::Ioctl, std::ptr::from_mut(arg)) };
    Errno::result(ret).map(drop)
}

/// Where a slice is, as the ABI has it.
pub fn address<T>(slice: &[T]) -> u64 {
    slice.as_ptr() as usize as u64
}

/// Where a slice is that the kernel may write.
pub fn address_mut<T>(slice: &mut [T]) -> u64 {
    slice.as_mut_ptr() as usize as u64
}
