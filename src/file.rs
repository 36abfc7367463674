// SPDX-License-Identifier: GPL-2.0
//! Regular files: reading, writing, truncating, holes, fsync.
//!
//! Locks: a write holds the inode lock; a direct read holds it shared, so that nothing is truncated under it, and so
//! does a direct write of whole blocks inside the file; a buffered read holds none. All of it is as on ext4. Truncation
//! and hole punching also hold the invalidate lock, which keeps faults and readahead away from the range.
//!
//! Direct writes of the same blocks at the same time have blocks of their own on the device. Each is recorded as a
//! whole block when it is there, which frees what was recorded before: the last one stays.

use kernel::error::code::EAGAIN;
use kernel::error::code::EINVAL;
use kernel::ffi::c_long;
use kernel::uaccess::UserPtr;
use vexfs_bindings as bindings;
use vexfs_core::inode::Time;
use vexfs_host::Error;
use vexfs_vfs::address_space;
use vexfs_vfs::file_ops;
use vexfs_vfs::file_ops::FileOperations;
use vexfs_vfs::inode_ops::check_new_size;
use vexfs_vfs::ioctl::IoctlOperations;
use vexfs_vfs::iomap;
use vexfs_vfs::iomap::FiemapInfo;
use vexfs_vfs::kiocb::IovIter;
use vexfs_vfs::kiocb::Kiocb;
use vexfs_vfs::locks::InvalidateLock;
use vexfs_vfs::stat::KStat;
use vexfs_vfs::AspaceOpsTable;
use vexfs_vfs::Failure;
use vexfs_vfs::File;
use vexfs_vfs::FileOpsTable;
use vexfs_vfs::Inode;
use vexfs_vfs::NewInode;
use vexfs_vfs::Result;

use crate::room::with_room;
use crate::super_block::VexFs;

/// Largest size of a file. Half of what an offset can say, so that rounding up to blocks never overflows one.
pub const MAX_BYTES: u64 = 1 << 62;

/// Regular files.
struct RegularFile;

/// The tables of a regular file.
pub fn regular_tables() -> (FileOpsTable<VexFs>, AspaceOpsTable<VexFs>) {
    (file_ops::table::<VexFs, RegularFile>(), address_space::table::<VexFs>())
}

/// Prepares the page cache of a regular file; called last, before anybody else sees the inode.
pub fn init_inode(inode: &NewInode<VexFs>) {
    inode.allow_large_folios();
    inode.keep_writes_stable();
}

/// Adds what only the data path knows to a file's attributes.
pub fn fill_stat(inode: &Inode<VexFs>, stat: &mut KStat) {
    let block = inode.block_size();
    if inode.data().take_blocks_changed() {
        match inode.super_block().info().fs.inode(inode.ino()) {
            Ok(stored) => {
                inode.set_blocks(stored.blocks);
                stat.set_blocks(stored.blocks);
            }
            Err(_) => inode.data().note_contents(0),
        }
    }
    if let Ok(data) = inode.data().data_state() {
        // Without blocks tar and cp take a file for one large hole.
        stat.add_blocks(data.reserved_blocks().saturating_mul(block / 512));
    }
    // Smaller direct writes work too, through the page cache.
    stat.set_dio_align(inode.dio_memory_align(), block as u32);
}

/// Answers FIEMAP.
pub fn fiemap(inode: &Inode<VexFs>, info: &mut FiemapInfo, start: u64, len: u64) -> Result {
    let _lock = inode.lock_shared();
    info.fill(inode, start, len)
}

/// Forgets the promises of an inode whose pages are gone.
pub fn release(inode: &Inode<VexFs>) {
    if let Ok(data) = inode.data().data_state() {
        inode.super_block().info().fs.release_data_state(data);
    }
}

/// Changes the size of a file from `old` to `new`; the caller holds the inode lock and has checked the new size.
pub fn truncate(inode: &Inode<VexFs>, old: u64, new: u64) -> Result {
    if new == old {
        return Ok(());
    }
    inode.wait_direct();
    let lock = inode.lock_invalidate();
    if new > old {
        grow(inode, old, new, &lock)
    } else {
        shrink(inode, new, &lock)
    }
}

fn grow(inode: &Inode<VexFs>, old: u64, new: u64, lock: &InvalidateLock<'_, VexFs>) -> Result {
    let fs = &inode.super_block().info().fs;
    zero_end(inode, old, new, lock)?;
    write_uncovered(inode, old)?;
    let txg = fs.truncate_data(inode.ino(), inode.data().data_state()?, new, Time::now())?;
    inode.data().note_contents(txg);
    inode.truncate_cache(new, lock);
    Ok(())
}

fn shrink(inode: &Inode<VexFs>, new: u64, lock: &InvalidateLock<'_, VexFs>) -> Result {
    let fs = &inode.super_block().info().fs;
    let data = inode.data().data_state()?;
    let block = inode.block_size();
    if new % block != 0 {
        // The core cuts the last block off as it is on the device.
        inode.write_and_wait_range(new / block * block, new.next_multiple_of(block))?;
    }
    write_uncovered(inode, new)?;
    inode.truncate_cache(new, lock);
    fs.unreserve(data, new.div_ceil(block), u64::MAX);
    // What the cache had behind the new end is gone, and some of it was nowhere else: a lack of memory must not end
    // this.
    let done = fs.patiently(|| match fs.truncate(inode.ino(), new, Time::now()) {
        // No room for a new copy of the last block: what lies behind the end is zeroed when the file grows.
        Err(Error::NoSpace) => fs.truncate_data(inode.ino(), data, new, Time::now()),
        done => done,
    });
    match done {
        Ok(txg) => {
            inode.data().note_contents(txg);
            Ok(())
        }
        Err(error) => {
            // Nothing was cut off: what is on the device is there to be seen again, all of the last block too, of which
            // the cache has a part only.
            if let Ok(stored) = fs.inode(inode.ino()) {
                inode.set_size(stored.size);
                if inode.write_and_wait().is_ok() {
                    let end = stored.size.max(new).next_multiple_of(block);
                    inode.drop_cache_range(new / block * block, end, lock);
                }
            }
            Err(error.into())
        }
    }
}

/// Writes back what the size on the device does not cover yet, up to `end`: a size that is about to be stored must not
/// cover data that is not there.
fn write_uncovered(inode: &Inode<VexFs>, end: u64) -> Result {
    let stored = inode.super_block().info().fs.inode(inode.ino())?.size;
    if stored < end {
        inode.write_and_wait_range(stored, end)?;
    }
    Ok(())
}

/// Makes sure that a file's last block has zeros behind its end `old` before the end moves to `new`: a program may have
/// written there through a mapping.
fn zero_end(inode: &Inode<VexFs>, old: u64, new: u64, lock: &InvalidateLock<'_, VexFs>) -> Result {
    let end = old.next_multiple_of(inode.block_size()).min(new);
    if end > old {
        iomap::zero_range(inode, old, end - old, lock)?;
    }
    Ok(())
}

/// What has to be done under the inode lock before every write; false if there is nothing to write.
fn prepare_write(iocb: &mut Kiocb<VexFs>, from: &mut IovIter) -> Result<bool> {
    if !iocb.check_write(from)? {
        return Ok(false);
    }
    let pos = iocb.pos();
    {
        let inode = iocb.inode();
        let size = inode.size();
        if pos > size {
            inode.wait_direct();
            let lock = inode.lock_invalidate();
            zero_end(inode, size, pos, &lock)?;
        }
    }
    iocb.modified()?;
    Ok(true)
}

/// Whether a write is of whole blocks.
fn is_aligned(iocb: &Kiocb<VexFs>, from: &IovIter) -> bool {
    (iocb.pos() | from.count() as u64) % iocb.inode().block_size() == 0
}

/// Whether a direct write may share the inode lock: it replaces whole blocks and changes nothing else but times.
fn may_share(iocb: &Kiocb<VexFs>, from: &IovIter) -> bool {
    let inode = iocb.inode();
    !iocb.is_append()
        && inode.has_no_privileges()
        && is_aligned(iocb, from)
        && iocb.pos().saturating_add(from.count() as u64) <= inode.size()
}

/// Writes around the page cache beside other such writes; none if that takes the inode lock for itself.
fn write_shared(iocb: &mut Kiocb<VexFs>, from: &mut IovIter) -> Result<Option<usize>> {
    if !may_share(iocb, from) {
        return Ok(None);
    }
    let inode = iocb.inode().grab();
    let _lock = inode.lock_shared();
    // The size and the privileges may have changed, and limits shorten the write.
    if !may_share(iocb, from) {
        return Ok(None);
    }
    if !iocb.check_write(from)? {
        return Ok(Some(0));
    }
    if !is_aligned(iocb, from) {
        return Ok(None);
    }
    iocb.modified()?;
    direct_or_none(iomap::direct_write(iocb, from, false))
}

/// What a direct write has done; none if the page cache could not be emptied, so that the write has to go through it.
fn direct_or_none(result: Result<usize>) -> Result<Option<usize>> {
    match result {
        Err(Failure::Errno(error)) if error.to_errno() == -(bindings::ENOTBLK as i32) => Ok(None),
        result => result.map(Some),
    }
}

/// Writes around the page cache; none if it has to go through it.
fn write_direct(iocb: &mut Kiocb<VexFs>, from: &mut IovIter) -> Result<Option<usize>> {
    if let Some(written) = write_shared(iocb, from)? {
        return Ok(Some(written));
    }
    let inode = iocb.inode().grab();
    let _lock = inode.lock();
    if !prepare_write(iocb, from)? {
        return Ok(Some(0));
    }
    if !is_aligned(iocb, from) {
        return Ok(None);
    }
    let grows = iocb.pos().saturating_add(from.count() as u64) > inode.size();
    let result = direct_or_none(iomap::direct_write(iocb, from, grows));
    if result.is_err() && grows {
        // Part of it may be recorded, and the size with it: they must not differ, or what is behind this one comes
        // back.
        if let Ok(stored) = inode.super_block().info().fs.inode(inode.ino()) {
            inode.set_size(stored.size.max(inode.size()));
        }
    }
    let written = result?;
    // Recorded with the data already.
    if written.is_some() && iocb.pos() > inode.size() {
        inode.set_size(iocb.pos());
    }
    Ok(written)
}

/// Writes through the page cache.
fn write_buffered(iocb: &mut Kiocb<VexFs>, from: &mut IovIter) -> Result<usize> {
    let inode = iocb.inode().grab();
    with_room(&inode, || {
        let _lock = inode.lock();
        if iocb.is_direct() {
            // Part of a block: the rest of it may be on its way around the page cache.
            inode.wait_direct();
        }
        if !prepare_write(iocb, from)? {
            return Ok(0);
        }
        iomap::buffered_write(iocb, from)
    })
}

impl FileOperations<VexFs> for RegularFile {
    fn read_iter(iocb: &mut Kiocb<VexFs>, to: &mut IovIter) -> Result<usize> {
        if !iocb.is_direct() {
            return iocb.read_cached(to, 0);
        }
        if to.count() == 0 {
            return Ok(0);
        }
        iocb.accessed();
        let inode = iocb.inode().grab();
        let read = {
            let _lock = inode.lock_for(true, iocb.is_nowait())?;
            iomap::direct_read(iocb, to)?
        };
        if to.count() == 0 || iocb.pos() >= inode.size() {
            return Ok(read);
        }
        // Inline data: the page cache has to do it.
        iocb.clear_direct();
        iocb.read_cached(to, read)
    }

    fn write_iter(iocb: &mut Kiocb<VexFs>, from: &mut IovIter) -> Result<usize> {
        if from.count() == 0 {
            return Ok(0);
        }
        // Promising and allocating space may wait, for the device or for a commit.
        if iocb.is_nowait() {
            return Err(EAGAIN.into());
        }
        if !iocb.is_direct() {
            let written = write_buffered(iocb, from)?;
            return if written > 0 { iocb.sync_written(written) } else { Ok(0) };
        }
        let (inode, count) = (iocb.inode().grab(), from.count());
        let direct = with_room(&inode, || match from.count() == count {
            true => write_direct(iocb, from),
            // Part of it is on its way, which ended with an error all the same.
            false => Err(Error::NoSpace.into()),
        });
        if let Some(written) = direct? {
            return Ok(written);
        }
        let written = write_buffered(iocb, from)?;
        if written > 0 {
            let end = iocb.pos();
            iocb.inode()
                .write_and_wait_range(end.saturating_sub(written as u64), end)?;
            return iocb.sync_written(written);
        }
        Ok(0)
    }

    fn fsync(file: &File<VexFs>, start: i64, end: i64, datasync: bool) -> Result {
        let inode = file.inode();
        file.write_and_wait_range(start, end)?;
        if !datasync {
            inode.sync_metadata()?;
        }
        Ok(inode.super_block().info().fs.sync_txg(inode.data().last_txg())?)
    }

    fn seek_data(inode: &Inode<VexFs>, pos: i64) -> Result<u64> {
        let _lock = inode.lock_shared();
        iomap::seek_data(inode, pos)
    }

    fn seek_hole(inode: &Inode<VexFs>, pos: i64) -> Result<u64> {
        let _lock = inode.lock_shared();
        iomap::seek_hole(inode, pos)
    }

    fn fallocate(file: &File<VexFs>, mode: u32, pos: u64, len: u64) -> Result {
        let keep_size = mode & bindings::FALLOC_FL_KEEP_SIZE != 0;
        let inode = file.inode();
        let end = pos.checked_add(len).ok_or(EINVAL)?;
        match mode & !bindings::FALLOC_FL_KEEP_SIZE {
            // The VFS lets it through with KEEP_SIZE only.
            bindings::FALLOC_FL_PUNCH_HOLE => {}
            bindings::FALLOC_FL_ZERO_RANGE => {}
            // Space set aside for a block would not be used: data always goes to a new place. A length beyond what the
            // process may make is said to be that first, as elsewhere.
            bindings::FALLOC_FL_ALLOCATE_RANGE if !keep_size => {
                let _lock = inode.lock();
                if end > inode.size() {
                    check_new_size(inode, end)?;
                }
                return Err(Error::Unsupported("preallocation").into());
            }
            _ => return Err(Error::Unsupported("preallocation").into()),
        }
        {
            let _lock = inode.lock();
            inode.wait_direct();
            let size = inode.size();
            let grows = !keep_size && end > size;
            if grows {
                check_new_size(inode, end)?;
            }
            file.modified()?;
            with_room(inode, || punch(inode, pos, end.min(size)))?;
            if grows {
                with_room(inode, || truncate(inode, size, end))?;
            }
        }
        if file.is_sync() {
            inode.write_and_wait()?;
            crate::inode::sync(inode)?;
        }
        Ok(())
    }
}

/// Makes the bytes `pos..end`, which lie before the end of the file, zeros, and whole blocks of them holes; the caller
/// holds the inode lock and direct I/O is done.
fn punch(inode: &Inode<VexFs>, pos: u64, end: u64) -> Result {
    if pos >= end {
        return Ok(());
    }
    let block = inode.block_size();
    let lock = inode.lock_invalidate();
    inode.write_and_wait_range(pos / block * block, end.next_multiple_of(block))?;
    // A last block that the range covers up to the end of the file goes as a whole.
    let first = pos.div_ceil(block);
    let last = if end >= inode.size() {
        end.div_ceil(block)
    } else {
        end / block
    };
    if first < last {
        let fs = &inode.super_block().info().fs;
        let data = inode.data().data_state()?;
        inode.drop_cache_range(first * block, last * block, &lock);
        fs.unreserve(data, first, last - first);
        let txg = fs.punch_blocks(inode.ino(), data, first, last - first, Time::now())?;
        inode.data().note_contents(txg);
    }
    let head = (first * block).min(end);
    if pos < head {
        iomap::zero_range(inode, pos, head - pos, &lock)?;
    }
    let tail = (last * block).max(head);
    if tail < end {
        iomap::zero_range(inode, tail, end - tail, &lock)?;
    }
    Ok(())
}

impl IoctlOperations<VexFs> for RegularFile {
    fn ioctl(file: &File<VexFs>, cmd: u32, arg: UserPtr) -> Result<c_long> {
        crate::ioctl::any_file(file, cmd, arg)
    }
}
