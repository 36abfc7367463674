// SPDX-License-Identifier: GPL-2.0
//! Inodes in memory: how they are filled from the core's, how attributes get back there, and what all kinds have in
//! common.
//!
//! The core's inode is the truth for everything but times and size: `i_atime`, `i_mtime` and `i_ctime` change here
//! first and reach the core with the operation that caused them, or later, through `write_inode`. Whoever changes them
//! and then calls the core sets them here *before* (see [`Stamp`]), and [`write_attrs`] looks at them again after it
//! has stored them, so whichever comes last, the newer times reach the core in the end.
//!
//! `InodeData::last_txg` is the transaction group that carries the latest change; fsync waits for it.

use crate::control;
use crate::dir;
use crate::file;
use crate::room::with_room;
use crate::super_block::VexFs;
use crate::symlink;
use crate::xattr;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicI32;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering;
use kernel::bindings;
use kernel::current;
use kernel::prelude::vtable;
use kernel::sync::SetOnce;
use vexfs_core::file::DataState;
use vexfs_core::inode::SetAttr;
use vexfs_host::sync::Arc;
use vexfs_host::Error;
use vexfs_vfs::fileattr::FileAttr;
use vexfs_vfs::inode::Attributes;
use vexfs_vfs::inode_ops::AttributeOperations;
use vexfs_vfs::inode_ops::InodeOperations;
use vexfs_vfs::iomap::FiemapInfo;
use vexfs_vfs::stat::KStat;
use vexfs_vfs::Attr;
use vexfs_vfs::Idmap;
use vexfs_vfs::InodeOpsTable;
use vexfs_vfs::InodeRef;
use vexfs_vfs::MovingDentry;
use vexfs_vfs::NewInode;
use vexfs_vfs::Result;
use vexfs_vfs::SuperBlock;
use vexfs_vfs::Time;

/// An inode of VexFS.
pub type Inode = vexfs_vfs::Inode<VexFs>;

/// The root directory's inode number.
pub const ROOT: u64 = 2;

/// What VexFS keeps with each inode in memory.
pub struct InodeData {
    /// Of regular files: what the core keeps of contents not on disk yet.
    data: SetOnce<DataState>,
    /// The transaction group of the latest change.
    last_txg: AtomicU64,
    /// `FS_*_FL` flags as stored.
    attr_flags: AtomicU32,
    /// Time of creation.
    btime: SetOnce<Time>,
    /// Whether this is a file of a collection, without a name.
    hidden: AtomicBool,
    /// Whether this is a collection. Once it is, it stays one until it is removed.
    collection: AtomicBool,
    /// The thread that is removing the collection with its rows, 0 if none is.
    dropping: AtomicI32,
    /// The VFS inode's count of blocks is behind the core's.
    blocks_changed: AtomicBool,
}

impl InodeData {
    /// Nothing yet.
    pub fn new() -> Self {
        Self {
            data: SetOnce::new(),
            last_txg: AtomicU64::new(0),
            attr_flags: AtomicU32::new(0),
            btime: SetOnce::new(),
            hidden: AtomicBool::new(false),
            collection: AtomicBool::new(false),
            dropping: AtomicI32::new(0),
            blocks_changed: AtomicBool::new(false),
        }
    }

    /// What the core keeps of a regular file's contents.
    pub fn data_state(&self) -> Result<&DataState> {
        Ok(self.data.as_ref().ok_or(Error::Invalid("not a regular file"))?)
    }

    /// Notes that transaction group `txg` carries a change of this inode.
    pub fn note_txg(&self, txg: u64) {
        self.last_txg.fetch_max(txg, Ordering::Relaxed);
    }

    /// Notes that transaction group `txg` carries a change of this inode's contents and so maybe of the space they
    /// take.
    pub fn note_contents(&self, txg: u64) {
        self.note_txg(txg);
        self.blocks_changed.store(true, Ordering::Release);
    }

    /// Whether the count of blocks has to be looked up again.
    pub fn take_blocks_changed(&self) -> bool {
        self.blocks_changed.load(Ordering::Relaxed) && self.blocks_changed.swap(false, Ordering::Acquire)
    }

    /// Whether this is a file of a collection, without a name.
    pub fn is_hidden(&self) -> bool {
        self.hidden.load(Ordering::Relaxed)
    }

    /// Notes that this is a collection.
    pub fn note_collection(&self) {
        self.collection.store(true, Ordering::Relaxed);
    }

    /// Whether this is a collection.
    pub fn is_collection(&self) -> bool {
        self.collection.load(Ordering::Relaxed)
    }

    /// From now on, until [`InodeData::end_drop`], a removal of this directory by the calling thread takes its rows
    /// along. The caller holds the lock of the directory that it is in.
    pub fn begin_drop(&self) {
        self.dropping.store(current!().pid(), Ordering::Relaxed);
    }

    /// Ends what the calling thread began with [`InodeData::begin_drop`].
    pub fn end_drop(&self) {
        let me = current!().pid();
        // Another thread may be at it by now.
        let _ = self
            .dropping
            .compare_exchange(me, 0, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Whether the calling thread may remove the rows along with the directory.
    pub fn is_dropped_here(&self) -> bool {
        self.dropping.load(Ordering::Relaxed) == current!().pid()
    }

    /// The transaction group of the latest change.
    pub fn last_txg(&self) -> u64 {
        self.last_txg.load(Ordering::Relaxed)
    }
}

/// The core under an inode.
pub fn fs(inode: &Inode) -> &Arc<vexfs_core::Fs> {
    &inode.super_block().info().fs
}

/// A core time for the VFS.
pub fn time_from_core(time: vexfs_core::inode::Time) -> Time {
    Time {
        sec: time.sec,
        nsec: time.nsec,
    }
}

/// A VFS time for the core.
pub fn time_to_core(time: Time) -> vexfs_core::inode::Time {
    vexfs_core::inode::Time {
        sec: time.sec,
        nsec: time.nsec,
    }
}

/// New times of inodes that an operation changes, taken back unless the operation succeeds.
pub struct Stamp<'a, const N: usize> {
    inodes: [(&'a Inode, bool); N],
    /// Change and modification times before.
    before: [(Time, Time); N],
    now: Time,
    kept: bool,
}

impl<'a, const N: usize> Stamp<'a, N> {
    /// Sets the change time of all `inodes` to one new time, and the modification time of those with a true flag.
    ///
    /// The caller holds all their locks.
    pub fn new(inodes: [(&'a Inode, bool); N]) -> Self {
        let before = core::array::from_fn(|i| {
            inodes
                .get(i)
                .map_or((Time::EPOCH, Time::EPOCH), |(inode, _)| (inode.ctime(), inode.mtime()))
        });
        // The clock ticks finer for an inode whose change time someone has looked at, and never goes back, so the last
        // answer is good for all.
        let mut now = Time::EPOCH;
        for (inode, _) in &inodes {
            now = inode.set_ctime_current();
        }
        for (inode, contents) in &inodes {
            inode.set_ctime(now);
            if *contents {
                inode.set_mtime(now);
            }
        }
        Self {
            inodes,
            before,
            now,
            kept: false,
        }
    }

    /// The new time, for the core.
    pub fn now(&self) -> vexfs_core::inode::Time {
        time_to_core(self.now)
    }

    /// The operation succeeded in transaction group `txg`.
    pub fn keep(mut self, txg: u64) {
        for (inode, _) in &self.inodes {
            inode.data().note_txg(txg);
        }
        self.kept = true;
    }
}

impl<const N: usize> Drop for Stamp<'_, N> {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        for ((inode, contents), (ctime, mtime)) in self.inodes.iter().zip(&self.before) {
            inode.set_ctime(*ctime);
            if *contents {
                inode.set_mtime(*mtime);
            }
        }
    }
}

/// Makes what transaction group `txg` did to `inode` durable if it is to be synchronous.
pub fn finish(inode: &Inode, txg: u64) -> Result {
    if inode.is_dirsync() {
        fs(inode).sync_txg(txg)?;
    }
    Ok(())
}

/// Finds an inode by number.
pub fn get(sb: &SuperBlock<VexFs>, ino: u64) -> Result<InodeRef<VexFs>> {
    sb.iget(ino, |new| fill(new, &sb.info().fs.inode(ino)?))
}

/// Gets the memory a new inode needs besides its own; a symlink's only if its target is known.
pub fn prepare(new: &NewInode<VexFs>, target: Option<&[u8]>) -> Result {
    if new.is_regular() && new.data().data.as_ref().is_none() {
        new.data().data.populate(DataState::new()?);
    }
    target.map_or(Ok(()), |target| new.set_link(target))
}

/// Fills a new inode from the core's.
pub fn fill(new: &NewInode<VexFs>, attr: &vexfs_core::inode::Inode) -> Result {
    let damaged = |what| Error::corrupt(what, u64::MAX, attr.ino);
    new.set_attributes(&Attributes {
        mode: u16::try_from(attr.mode).map_err(|_| damaged("inode mode"))?,
        uid: attr.uid,
        gid: attr.gid,
        atime: time_from_core(attr.atime),
        mtime: time_from_core(attr.mtime),
        ctime: time_from_core(attr.ctime),
    });
    new.set_nlink(attr.nlink);
    new.set_size(attr.size);
    new.set_blocks(attr.blocks);
    // File handles hold 32 bits; numbers are never reused, so they need no more.
    new.set_generation(attr.generation as u32);
    let data = new.data();
    data.note_txg(attr.txg);
    data.hidden.store(attr.is_hidden(), Ordering::Relaxed);
    data.collection.store(attr.is_collection(), Ordering::Relaxed);
    data.btime.populate(time_from_core(attr.btime));
    set_flags(new, attr.flags);
    match attr.mode & bindings::S_IFMT {
        bindings::S_IFREG => {
            prepare(new, None)?;
            let (file_ops, aspace_ops) = file::regular_tables();
            new.set_ops(InodeOpsTable::of::<RegularInode>());
            new.set_file_ops(file_ops);
            new.set_aspace_ops(aspace_ops);
            file::init_inode(new);
        }
        bindings::S_IFDIR => dir::init_inode(new),
        bindings::S_IFLNK => symlink::init_inode(new)?,
        bindings::S_IFCHR | bindings::S_IFBLK | bindings::S_IFIFO | bindings::S_IFSOCK => {
            new.set_ops(InodeOpsTable::of::<SpecialInode>());
            new.init_special(attr.rdev);
        }
        _ => return Err(damaged("inode type").into()),
    }
    Ok(())
}

/// Notes that the contents of an inode have just changed, which was done without its lock. The caller may change the
/// mount.
pub fn touch(inode: &Inode) {
    inode.set_mtime(inode.set_ctime_current());
    inode.mark_dirty();
}

/// Stores the times of an inode in the core.
pub fn write_attrs(inode: &Inode) -> Result {
    if control::is_control(inode) || inode.nlink() == 0 {
        return Ok(());
    }
    let times = |inode: &Inode| (inode.atime(), inode.mtime(), inode.ctime());
    let (atime, mtime, ctime) = times(inode);
    let txg = fs(inode).set_attr(
        inode.ino(),
        &SetAttr {
            atime: Some(time_to_core(atime)),
            mtime: Some(time_to_core(mtime)),
            ctime: Some(time_to_core(ctime)),
            ..Default::default()
        },
    );
    let txg = txg.inspect_err(|error| {
        if *error == Error::NoMemory {
            // The VFS takes the inode for clean now; it must come again.
            inode.mark_dirty();
        }
    })?;
    inode.data().note_txg(txg);
    if times(inode) != (atime, mtime, ctime) {
        // They changed meanwhile; an operation that stored newer ones may have been overtaken.
        inode.mark_dirty();
    }
    Ok(())
}

/// Makes everything about an inode durable that has reached the core or waits in memory, file contents excepted.
pub fn sync(inode: &Inode) -> Result {
    inode.sync_metadata()?;
    fs(inode).sync_txg(inode.data().last_txg())?;
    Ok(())
}

/// Changes attributes; see [`AttributeOperations::setattr`].
fn setattr(idmap: Idmap<'_>, dentry: &MovingDentry<VexFs>, inode: &Inode, attr: &mut Attr) -> Result {
    inode.setattr_prepare(idmap, dentry, attr)?;
    if let Some(size) = attr.size() {
        if !inode.is_regular() {
            return Err(Error::Invalid("only regular files have a length to set").into());
        }
        let old = inode.size();
        if size != old && !attr.touches() {
            attr.touch(inode.set_ctime_current());
        }
        with_room(inode, || file::truncate(inode, old, size))?;
    }
    let before = inode.attributes();
    inode.setattr_copy(idmap, attr);
    let after = inode.attributes();
    let new = SetAttr {
        mode: Some(u32::from(after.mode)),
        uid: Some(after.uid),
        gid: Some(after.gid),
        atime: Some(time_to_core(after.atime)),
        mtime: Some(time_to_core(after.mtime)),
        ctime: Some(time_to_core(after.ctime)),
        ..Default::default()
    };
    let store = || fs(inode).set_attr(inode.ino(), &new);
    let stored = with_room(inode, || {
        Ok(match attr.size() {
            // The length has changed: the call must not say that it failed for a lack of memory.
            Some(_) => fs(inode).patiently(store),
            None => store(),
        }?)
    });
    match stored {
        Ok(txg) => {
            inode.data().note_txg(txg);
            finish(inode, txg)
        }
        Err(error) => {
            inode.set_attributes(&before);
            Err(error)
        }
    }
}

/// Reads attributes; see [`AttributeOperations::getattr`].
fn getattr(idmap: Idmap<'_>, inode: &Inode, stat: &mut KStat, request_mask: u32) -> Result {
    stat.fill(idmap, request_mask, inode);
    let data = inode.data();
    if let Some(btime) = data.btime.as_ref() {
        stat.set_btime(*btime);
    }
    let flags = data.attr_flags.load(Ordering::Relaxed);
    let pairs = [
        (bindings::FS_IMMUTABLE_FL, bindings::STATX_ATTR_IMMUTABLE),
        (bindings::FS_APPEND_FL, bindings::STATX_ATTR_APPEND),
        (bindings::FS_NODUMP_FL, bindings::STATX_ATTR_NODUMP),
    ];
    for (flag, attribute) in pairs {
        stat.set_attributes(attribute, if flags & flag != 0 { attribute } else { 0 });
    }
    if inode.is_regular() {
        file::fill_stat(inode, stat);
    } else if inode.data().is_collection() {
        // What its rows take, which nobody would find otherwise. A failure is none of the directory's own attributes.
        if let Ok((bytes, blocks)) = fs(inode).hidden_usage(inode.ino()) {
            stat.set_size(bytes);
            stat.add_blocks(blocks);
        }
    }
    Ok(())
}

/// The flags of `chattr` that mean something here.
const FLAGS: u32 = bindings::FS_SYNC_FL
    | bindings::FS_IMMUTABLE_FL
    | bindings::FS_APPEND_FL
    | bindings::FS_NODUMP_FL
    | bindings::FS_NOATIME_FL
    | bindings::FS_DIRSYNC_FL;

/// Sets the flags in memory, where the VFS heeds them.
fn set_flags(inode: &Inode, flags: u32) {
    let pairs = [
        (bindings::FS_SYNC_FL, bindings::S_SYNC),
        (bindings::FS_IMMUTABLE_FL, bindings::S_IMMUTABLE),
        (bindings::FS_APPEND_FL, bindings::S_APPEND),
        (bindings::FS_NOATIME_FL, bindings::S_NOATIME),
        (bindings::FS_DIRSYNC_FL, bindings::S_DIRSYNC),
    ];
    let (mut set, mut mask) = (0, 0);
    for (flag, vfs) in pairs {
        mask |= vfs;
        if flags & flag != 0 {
            set |= vfs;
        }
    }
    inode.set_flags(set, mask);
    inode.data().attr_flags.store(flags & FLAGS, Ordering::Relaxed);
}

/// Sets the flags of `chattr`.
fn fileattr_set(inode: &Inode, attr: &FileAttr) -> Result {
    let flags = attr.flags();
    if attr.has_more() || flags & !FLAGS != 0 || (flags & bindings::FS_DIRSYNC_FL != 0 && !inode.is_dir()) {
        return Err(Error::Unsupported("file flags").into());
    }
    let stamp = Stamp::new([(inode, false)]);
    let new = SetAttr {
        flags: Some(flags),
        ctime: Some(stamp.now()),
        ..Default::default()
    };
    let txg = with_room(inode, || Ok(fs(inode).set_attr(inode.ino(), &new)?))?;
    stamp.keep(txg);
    set_flags(inode, flags);
    finish(inode, txg)
}

/// The attributes of everything in the tree.
pub struct TreeAttributes;

impl AttributeOperations<VexFs> for TreeAttributes {
    fn setattr(idmap: Idmap<'_>, dentry: &MovingDentry<VexFs>, inode: &Inode, attr: &mut Attr) -> Result {
        setattr(idmap, dentry, inode, attr)
    }

    fn getattr(idmap: Idmap<'_>, inode: &Inode, stat: &mut KStat, request_mask: u32) -> Result {
        getattr(idmap, inode, stat, request_mask)
    }

    fn try_store_atime(inode: &Inode) -> bool {
        let atime = inode.atime();
        // If it changed meanwhile, an operation that stored a newer one may have been overtaken.
        inode.nlink() > 0 && fs(inode).try_set_atime(inode.ino(), time_to_core(atime)) && inode.atime() == atime
    }

    fn listxattr(inode: &Inode, each: &mut dyn FnMut(&[u8]) -> Result) -> Result {
        xattr::list(inode, each)
    }

    fn fileattr_get(inode: &Inode, attr: &mut FileAttr) -> Result {
        attr.fill(inode.data().attr_flags.load(Ordering::Relaxed));
        Ok(())
    }

    fn fileattr_set(inode: &Inode, attr: &FileAttr) -> Result {
        fileattr_set(inode, attr)
    }
}

/// A regular file.
struct RegularInode;

#[vtable]
impl InodeOperations<VexFs> for RegularInode {
    type Attributes = TreeAttributes;

    fn fiemap(inode: &Inode, info: &mut FiemapInfo, start: u64, len: u64) -> Result {
        file::fiemap(inode, info, start, len)
    }
}

/// A device, socket or fifo.
struct SpecialInode;

#[vtable]
impl InodeOperations<VexFs> for SpecialInode {
    type Attributes = TreeAttributes;
}
