// SPDX-License-Identifier: GPL-2.0
//! File data through iomap: buffered and direct I/O, faults, writeback, holes.
//!
//! iomap's interface changes with every kernel release; what uses it is in this folder and in `completion.rs` only. A
//! filesystem says where its data is by implementing [`BlockMap`] and gets page cache, large folios, delayed allocation
//! and direct I/O for it.
//!
//! Data is never overwritten in place. A buffered write promises space for the blocks it dirties
//! ([`BlockMap::reserve`]) and reads what it does not overwrite from where it is now (iomap's source mapping).
//! Writeback allocates new space under the folio lock, and when the bytes are there the run is recorded
//! ([`BlockMap::record`]) before the folio's writeback ends. Inline data is presented as a mapped block that has no
//! address (`IOMAP_F_PRIVATE`): `read.rs` reads it through [`BlockMap::read_inline`].
//!
//! # Invariants
//!
//! - A dirty block of the page cache has a promise, or was dirtied behind the filesystem's back in a folio that is all
//!   valid, or is not dirty but for its bit: folios become dirty as a whole when somebody writes to a mapping of them,
//!   and when writeback has to come again.
//! - A mapping handed to a write carries the sequence number it was made under, and is dropped if that has changed once
//!   the folio is locked: an old address might have been freed, an old hole filled.
//!
//! C header: `include/linux/iomap.h`.

mod direct;
mod read;
mod write;
mod writeback;

use kernel::error::code::EIO;
use kernel::ffi::c_int;
use vexfs_bindings as bindings;

use crate::completion::IoWorkqueue;
use crate::filesystem::FileSystem;
use crate::inode::Inode;
use crate::to_result;
use crate::Result;

pub use direct::direct_read;
pub use direct::direct_write;
pub use read::seek_data;
pub use read::seek_hole;
pub use read::FiemapInfo;
pub use write::buffered_write;
pub use write::zero_range;

pub(crate) use read::read_folio;
pub(crate) use read::readahead;
pub(crate) use write::page_mkwrite;
pub(crate) use writeback::writepages;

/// Where the bytes of a range are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Backing {
    /// Nowhere: they read as zeros.
    Hole,
    /// In metadata; only the first block of a file can be.
    Inline,
    /// On the device, from this byte on.
    Disk(u64),
}

/// What is known of a range of a file. Offsets and lengths are multiples of the block size.
#[derive(Clone, Copy)]
pub struct Mapping {
    /// Offset in the file.
    pub offset: u64,
    /// Length, not 0.
    pub length: u64,
    /// Where its bytes are, as far as metadata knows.
    pub backing: Backing,
    /// Space is promised for all of it: the page cache may have newer bytes.
    pub reserved: bool,
    /// All of it is being written to a new place: the page cache has newer bytes.
    pub in_flight: bool,
}

/// What writeback is to do with a range that starts at the position asked for.
pub enum Allocation {
    /// Write `len` bytes to the device at `addr`.
    Disk {
        /// Offset on the device.
        addr: u64,
        /// Length, a multiple of the block size, at most what was asked for.
        len: u64,
    },
    /// There is nothing to write in the next `len` bytes: nobody promised space for them, and they lie in a hole or
    /// cannot have changed.
    Nothing {
        /// Length, a multiple of the block size, at most what was asked for.
        len: u64,
    },
    /// Nobody promised space for the next `len` bytes, which may have changed, and there is none.
    NoSpace {
        /// Length, a multiple of the block size, at most what was asked for.
        len: u64,
    },
}

/// A run of written data. The length need not be a multiple of the block size.
#[derive(Clone, Copy)]
pub struct Written {
    /// Offset in the file.
    pub pos: u64,
    /// Length, not 0.
    pub len: u64,
    /// Offset on the device.
    pub addr: u64,
    /// CRC-32C of all that was written, if it is known.
    pub csum: Option<u32>,
}

/// Runs that are recorded together at most.
pub const TOGETHER: usize = 16;

/// A filesystem whose files' data goes through iomap.
///
/// All positions are bytes; ranges passed in are multiples of the block size unless a function says otherwise.
/// Everything here may be called with folios locked and may sleep; none may wait for a folio or an inode lock.
pub trait BlockMap: FileSystem {
    /// Longest content of a file that is kept inline.
    const INLINE_MAX: u64;

    /// Longest run of which [`Self::record`] wants a checksum.
    const CHECKED_MAX: u64;

    /// Describes a range that contains the byte `pos` and reaches `len` bytes from there or less.
    fn map(inode: &Inode<Self>, pos: u64, len: u64) -> Result<Mapping>;

    /// A number that changes whenever bytes of the file become reachable at another place or not at all.
    fn sequence(inode: &Inode<Self>) -> u64;

    /// Promises space for a range, all of it or none; what is promised already stays so.
    fn reserve(inode: &Inode<Self>, pos: u64, len: u64) -> Result;

    /// Turns promises into what they are used for and makes freed space available, after [`Self::reserve`] found none.
    /// Returns whether it may find some now. Called without locked folios and invalidate locks.
    fn make_room(inode: &Inode<Self>) -> bool;

    /// Takes back the promises in a range.
    fn unreserve(inode: &Inode<Self>, pos: u64, len: u64);

    /// Fills `buf` with the inline data of the file and zeros behind it.
    fn read_inline(inode: &Inode<Self>, buf: &mut [u8]) -> Result;

    /// Writes back the content of a file of at most [`Self::INLINE_MAX`] bytes that `copy` copies out, using up the
    /// promise for its first block. False if it should be written to a block after all.
    fn write_inline(inode: &Inode<Self>, len: usize, copy: &mut dyn FnMut(&mut [u8])) -> Result<bool>;

    /// Allocates space for a range of dirty data, using up its promise. `uptodate` says whether all of the folio that
    /// it is in is valid; if not, only what has a promise is.
    fn allocate(inode: &Inode<Self>, pos: u64, len: u64, uptodate: bool) -> Result<Allocation>;

    /// Allocates space for a direct write: where, and how many bytes of the range. Promises are left alone.
    fn allocate_direct(inode: &Inode<Self>, pos: u64, len: u64) -> Result<(u64, u64)>;

    /// Records that the `len` bytes at `pos` are now at `addr`, and that the file is at least `pos + len` bytes long.
    /// The length need not be a multiple of the block size. `csum` is the CRC-32C of all that was written, if that is
    /// known. Gives the space back if it fails.
    fn record(inode: &Inode<Self>, pos: u64, len: u64, addr: u64, csum: Option<u32>) -> Result;

    /// Records up to [`TOGETHER`] runs, in the order of the file: all of them or, on an error, none. The caller records
    /// them one by one then.
    fn record_together(inode: &Inode<Self>, runs: &[Written]) -> Result;

    /// Gives back what was allocated for the `len` bytes at `pos`.
    fn release(inode: &Inode<Self>, pos: u64, len: u64, addr: u64);

    /// Keeps what can be mapped from now on from being overwritten with other files' data, until [`Self::unpin_reads`]
    /// gets the number. Takes no lock.
    fn pin_reads(inode: &Inode<Self>) -> u64;

    /// Ends a pin. Called in interrupts too.
    fn unpin_reads(inode: &Inode<Self>, pin: u64);

    /// Where the writes of an inode are recorded.
    fn io_workqueue(inode: &Inode<Self>) -> &IoWorkqueue;
}

const NO_ADDRESS: u64 = u64::MAX;

/// Fills in an iomap from a mapping; leaves its validity cookie alone.
fn describe<T: BlockMap>(inode: &Inode<T>, to: &mut bindings::iomap, mapping: &Mapping) {
    let (kind, addr, flags) = match mapping.backing {
        Backing::Hole => (bindings::IOMAP_HOLE, NO_ADDRESS, 0),
        Backing::Inline => (bindings::IOMAP_MAPPED, NO_ADDRESS, bindings::IOMAP_F_PRIVATE),
        Backing::Disk(addr) => (bindings::IOMAP_MAPPED, addr, 0),
    };
    to.type_ = kind as u16;
    to.addr = addr;
    to.flags = flags as u16;
    to.offset = mapping.offset as i64;
    to.length = mapping.length;
    // SAFETY: The superblock of an inode and its block device outlive it.
    to.bdev = unsafe { (*(*inode.as_ptr()).i_sb).s_bdev };
}

/// Turns what an I/O function returned into a result; asynchronous I/O under way is the errno EIOCBQUEUED.
fn transferred(code: isize) -> Result<usize> {
    usize::try_from(code).map_err(|_| match to_result(code as c_int) {
        Err(failure) => failure,
        Ok(()) => EIO.into(),
    })
}

/// A pin for the time of a call.
struct ReadPin<'a, T: BlockMap> {
    inode: &'a Inode<T>,
    pin: u64,
}

impl<'a, T: BlockMap> ReadPin<'a, T> {
    fn new(inode: &'a Inode<T>) -> Self {
        Self {
            inode,
            pin: T::pin_reads(inode),
        }
    }
}

impl<T: BlockMap> Drop for ReadPin<'_, T> {
    fn drop(&mut self) {
        T::unpin_reads(self.inode, self.pin);
    }
}
