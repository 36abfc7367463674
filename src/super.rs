// SPDX-License-Identifier: GPL-2.0
//! Mounts: options, the way in and out, what runs in the background, and what happens after an error.
//!
//! Options: `errors=remount-ro` (default) or `errors=panic`, what to do when a commit fails or damage is met while
//! something is changed, and `commit=SECONDS`, the longest time a change waits for the disk.
//!
//! With `errors=remount-ro` the core stops taking and writing changes; what it had not written is lost, and every sync
//! says so. As on ext4 the superblock's read-only flag stays off: with it the VFS would answer syncs by itself, with
//! success. `/proc/mounts` shows `emergency_ro` instead.
//!
//! A mount that fails leaves nothing behind: what `mount` made is dropped with [`MountInfo`], and what `mounted`
//! started stops in `put_super`.

use crate::control;
use crate::file;
use crate::inode;
use crate::inode::Inode;
use crate::inode::InodeData;
use crate::ioctl;
use crate::ioctl::Counters;
use crate::stats::Stats;
use crate::xattr::TreeXattrs;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering;
use kernel::prelude::fmt;
use kernel::seq_file::seq_print;
use kernel::seq_file::SeqFile;
use kernel::str::CStr;
use kernel::str::CString;
use vexfs_core::mount::MountOptions;
use vexfs_core::Fs;
use vexfs_engine::Collections;
use vexfs_host::log;
use vexfs_host::sync::Arc;
use vexfs_host::sync::Mutex;
use vexfs_host::Error;
use vexfs_vfs::completion::IoWorkqueue;
use vexfs_vfs::export::stale;
use vexfs_vfs::filesystem::FileSystemType;
use vexfs_vfs::fs_context::Parameter;
use vexfs_vfs::fs_context::ParameterTable;
use vexfs_vfs::proc::Report;
use vexfs_vfs::shrinker::Shrink;
use vexfs_vfs::shrinker::Shrinker;
use vexfs_vfs::stat::StatFs;
use vexfs_vfs::super_block::Geometry;
use vexfs_vfs::super_block::NewSuperBlock;
use vexfs_vfs::workqueue::Repeat;
use vexfs_vfs::workqueue::Repeating;
use vexfs_vfs::xattr::XattrTable;
use vexfs_vfs::FileSystem;
use vexfs_vfs::InodeRef;
use vexfs_vfs::Result;
use vexfs_vfs::SuperBlock;

/// `f_type` of statfs: "VEXF", as every VexFS so far has shown it.
pub const MAGIC: u32 = 0x5645_5846;

/// The filesystem type.
pub struct VexFs;

static FS_TYPE: FileSystemType<VexFs> = FileSystemType::new();

/// The collections of the filesystem an inode is on.
pub fn collections<'a>(inode: &'a Inode) -> &'a Collections {
    &inode.super_block().info().collections
}

/// The state of a mount.
pub struct MountInfo {
    /// The filesystem.
    pub fs: Arc<Fs>,
    /// Where finished writes are recorded.
    pub io_queue: IoWorkqueue,
    /// The collections in use.
    pub collections: Arc<Collections>,
    /// What has been done to their rows.
    pub counters: Counters,
    policy: Arc<Policy>,
    background: Mutex<Option<Background>>,
    /// Mounted without what the intent log holds.
    norecovery: bool,
}

/// What the mount options say, changeable by a remount.
struct Policy {
    /// It has been logged that the mount takes no changes any more.
    told: AtomicBool,
    panic: AtomicBool,
    commit_seconds: AtomicU32,
}

impl Policy {
    /// For `errors=panic`.
    fn after_error(&self) {
        if self.panic.load(Ordering::Relaxed) {
            vexfs_vfs::panic::panic_on_error();
        }
    }
}

/// What runs beside the VFS's calls; dropping it stops it.
struct Background {
    commits: Option<Repeating<Committer>>,
    _stats: Report<Stats>,
    _nodes: Shrinker<Nodes>,
    _rows: Shrinker<Rows>,
}

/// The commits every `commit=` seconds.
struct Committer {
    fs: Arc<Fs>,
    policy: Arc<Policy>,
}

impl Repeat for Committer {
    fn run(&self) -> u32 {
        if self.fs.sync().is_err() && self.fs.abort_reason().is_some() {
            // The core has said what went wrong and refuses changes from now on. Anything less, such as a lack of
            // memory, may be over by the next time.
            self.policy.after_error();
        }
        self.policy.commit_seconds.load(Ordering::Relaxed).saturating_mul(1000)
    }
}

/// The core's cache of tree nodes.
struct Nodes(Arc<Fs>);

impl Shrink for Nodes {
    fn count(&self) -> usize {
        self.0.cached_nodes()
    }

    fn scan(&self, wanted: usize) -> usize {
        self.0.shrink(wanted)
    }
}

/// The rows of collections, which can be read again. Counted in pages.
struct Rows(Arc<Collections>);

impl Shrink for Rows {
    fn count(&self) -> usize {
        (self.0.memory_bytes() / PAGE) as usize
    }

    fn scan(&self, wanted: usize) -> usize {
        (self.0.shrink((wanted as u64).saturating_mul(PAGE)) / PAGE) as usize
    }
}

const PAGE: u64 = kernel::page::PAGE_SIZE as u64;

/// The mount options.
pub struct Options {
    panic: bool,
    commit_seconds: u32,
    norecovery: bool,
}

const ERRORS: u8 = 0;
const COMMIT: u8 = 1;
/// What `show_options` says after an abort. mount(8) hands it back in a remount, where it means nothing.
const EMERGENCY_RO: u8 = 2;
const NORECOVERY: u8 = 3;
const COMMIT_DEFAULT: u32 = 5;
const COMMIT_MAX: u32 = 3600;

static PARAMETERS: [Parameter; 5] = [
    Parameter::value(c"errors", ERRORS),
    Parameter::value(c"commit", COMMIT),
    Parameter::flag(c"emergency_ro", EMERGENCY_RO),
    Parameter::flag(c"norecovery", NORECOVERY),
    Parameter::end(),
];

/// A text for a message.
fn printable(text: &[u8]) -> &str {
    core::str::from_utf8(text).unwrap_or("?")
}

/// A decimal number.
fn parse_number(text: &[u8]) -> Option<u32> {
    core::str::from_utf8(text).ok()?.parse().ok()
}

impl FileSystem for VexFs {
    type Info = MountInfo;
    type InodeData = InodeData;
    type Options = Options;

    const NAME: &'static CStr = c"vexfs";
    const CACHE_NAME: &'static CStr = c"vexfs_inode";

    fn fs_type() -> &'static FileSystemType<Self> {
        &FS_TYPE
    }

    fn parameters() -> ParameterTable {
        ParameterTable::new(&PARAMETERS)
    }

    fn new_options(reconfigure: Option<&SuperBlock<Self>>) -> Result<Options> {
        Ok(match reconfigure {
            None => Options {
                panic: false,
                commit_seconds: COMMIT_DEFAULT,
                norecovery: false,
            },
            Some(sb) => Options {
                panic: sb.info().policy.panic.load(Ordering::Relaxed),
                commit_seconds: sb.info().policy.commit_seconds.load(Ordering::Relaxed),
                norecovery: sb.info().norecovery,
            },
        })
    }

    fn parse(options: &mut Options, id: u8, value: &[u8]) -> Result {
        match (id, value) {
            (ERRORS, b"remount-ro") => options.panic = false,
            (ERRORS, b"panic") => options.panic = true,
            (ERRORS, _) => {
                log!(err, "errors={}: remount-ro and panic are known", printable(value));
                return Err(Error::Invalid("errors=").into());
            }
            (COMMIT, _) => match parse_number(value) {
                Some(0) => options.commit_seconds = COMMIT_DEFAULT,
                Some(seconds) if seconds <= COMMIT_MAX => options.commit_seconds = seconds,
                _ => {
                    log!(err, "commit={}: 0 to {} seconds", printable(value), COMMIT_MAX);
                    return Err(Error::Invalid("commit=").into());
                }
            },
            (EMERGENCY_RO, _) => {}
            (NORECOVERY, _) => options.norecovery = true,
            _ => return Err(Error::Invalid("mount option").into()),
        }
        Ok(())
    }

    fn mount(sb: &NewSuperBlock<'_, Self>, options: &Options) -> Result<(MountInfo, Geometry)> {
        let policy = Arc::new(Policy {
            told: AtomicBool::new(false),
            panic: AtomicBool::new(options.panic),
            commit_seconds: AtomicU32::new(options.commit_seconds),
        })?;
        let background = Mutex::new(None)?;
        let io_queue = IoWorkqueue::new(c"vexfs-io")?;
        let mount_options = MountOptions {
            read_only: sb.is_read_only(),
            norecovery: options.norecovery,
            ..Default::default()
        };
        let fs = Fs::mount(sb.device()?, mount_options)?;
        let geometry = Geometry {
            magic: MAGIC,
            block_size: fs.block_size(),
            max_bytes: file::MAX_BYTES,
            time_range: (i64::MIN, i64::MAX),
            uuid: *fs.uuid(),
            max_links: vexfs_core::format::items::LINK_MAX,
        };
        let info = MountInfo {
            collections: Arc::new(Collections::new(fs.clone())?)?,
            counters: Counters::default(),
            fs,
            io_queue,
            policy,
            background,
            norecovery: options.norecovery,
        };
        Ok((info, geometry))
    }

    fn root(sb: &SuperBlock<Self>) -> Result<InodeRef<Self>> {
        let root = inode::get(sb, inode::ROOT)?;
        if !root.is_dir() {
            return Err(Error::corrupt("root is not a directory", u64::MAX, inode::ROOT).into());
        }
        Ok(root)
    }

    fn mounted(sb: &SuperBlock<Self>) -> Result {
        let info = sb.info();
        let path = CString::try_from_fmt(fmt!("fs/vexfs/{}", sb.id()))?;
        *info.background.lock() = Some(Background {
            _stats: Report::new(&path, c"stats", Stats(info.fs.clone()))?,
            _nodes: Shrinker::new(c"vexfs-nodes", Nodes(info.fs.clone()))?,
            _rows: Shrinker::new(c"vexfs-rows", Rows(info.collections.clone()))?,
            commits: if sb.is_read_only() {
                None
            } else {
                Some(info.start_commits()?)
            },
        });
        Ok(())
    }

    fn reconfigure(sb: &SuperBlock<Self>, options: &Options, read_only: Option<bool>) -> Result {
        let info = sb.info();
        if options.norecovery != info.norecovery {
            log!(err, "norecovery: not by a remount");
            return Err(Error::Invalid("norecovery").into());
        }
        match read_only {
            Some(true) => {
                if let Err(error) = info.fs.set_read_only(true) {
                    // After an abort nothing is written any more, which is what is wanted. Otherwise the mount stays as
                    // it was.
                    if info.fs.abort_reason().is_none() {
                        return Err(error.into());
                    }
                }
                info.set_commits(None);
            }
            Some(false) => {
                if sb.has_unlinked_inodes() {
                    // After a forced remount (sysrq): going on would delete them under their users.
                    return Err(Error::Busy.into());
                }
                // They find nothing to do until there are changes.
                let commits = info.start_commits()?;
                info.fs.set_read_only(false)?;
                info.set_commits(Some(commits));
            }
            None if !sb.is_read_only() && info.fs.abort_reason().is_some() => return Err(Error::ReadOnly.into()),
            None => {}
        }
        info.policy.panic.store(options.panic, Ordering::Relaxed);
        info.policy
            .commit_seconds
            .store(options.commit_seconds, Ordering::Relaxed);
        Ok(())
    }

    fn put_super(sb: &SuperBlock<Self>) {
        let info = sb.info();
        let background = info.background.lock().take();
        // Waits for what is running, which may need no lock of ours.
        drop(background);
        let aborted = info.fs.abort_reason().is_some();
        if let (Err(error), false) = (info.fs.unmount(), aborted) {
            log!(err, "{}: the last commit failed: {}", sb.id(), error);
        }
    }

    fn new_inode_data() -> Result<InodeData> {
        Ok(InodeData::new())
    }

    fn evict(inode: &Inode) -> Result {
        // A bad inode has nothing, and its number may be another's by now.
        if inode.is_bad() || inode.ino() == 0 {
            return Ok(());
        }
        if inode.is_regular() {
            file::release(inode);
        } else if inode.is_dir() {
            ioctl::collection_evict(inode);
        }
        if inode.nlink() != 0 || control::is_control(inode) {
            return Ok(());
        }
        let _no_freeze = inode.super_block().no_freeze();
        match inode::fs(inode).evict(inode.ino()) {
            // A read-only filesystem keeps the orphan, and the next writable mount deletes it.
            Err(Error::ReadOnly | Error::Shutdown) => Ok(()),
            result => Ok(result?),
        }
    }

    fn write_inode(inode: &Inode) -> Result {
        inode::write_attrs(inode)
    }

    fn sync_fs(sb: &SuperBlock<Self>, wait: bool) -> Result {
        if wait {
            sb.info().fs.sync()?;
        }
        Ok(())
    }

    fn freeze(sb: &SuperBlock<Self>) -> Result {
        Ok(sb.info().fs.sync()?)
    }

    fn unfreeze(_sb: &SuperBlock<Self>) -> Result {
        Ok(())
    }

    fn statfs(sb: &SuperBlock<Self>, buf: &mut StatFs) -> Result {
        let fs = &sb.info().fs;
        let space = fs.statfs();
        let id = u64::from_le_bytes(*space.uuid.first_chunk().ok_or(Error::Overflow)?);
        buf.set_identity(MAGIC, space.block_size, id, space.name_max);
        buf.set_blocks(space.blocks, space.free, space.available);
        buf.set_files(space.inodes.saturating_add(space.free_inodes), space.free_inodes);
        Ok(())
    }

    fn show_options(sb: &SuperBlock<Self>, seq: &SeqFile) {
        let policy = &sb.info().policy;
        if policy.panic.load(Ordering::Relaxed) {
            seq_print!(seq, ",errors=panic");
        }
        if sb.info().fs.abort_reason().is_some() {
            seq_print!(seq, ",emergency_ro");
        }
        if sb.info().norecovery {
            seq_print!(seq, ",norecovery");
        }
        let seconds = policy.commit_seconds.load(Ordering::Relaxed);
        if seconds != COMMIT_DEFAULT {
            seq_print!(seq, ",commit={}", seconds);
        }
    }

    fn device_gone(sb: &SuperBlock<Self>) {
        log!(err, "{}: the device was removed", sb.id());
        sb.info().fs.abort(Error::Shutdown);
    }

    fn report(sb: &SuperBlock<Self>, error: &Error) {
        let info = sb.info();
        // Damage met by reading is an error of that operation; the core has stopped if it was met while changing
        // something.
        info.fs.note_failure(error);
        let reason = info.fs.abort_reason().filter(|reason| *reason != Error::Shutdown);
        if let Some(reason) = reason {
            if !info.policy.told.swap(true, Ordering::Relaxed) {
                log!(err, "{}: {}; no changes until it is mounted again", sb.id(), reason);
            }
        }
        if reason.is_some() {
            info.policy.after_error();
        }
    }

    fn xattr_handlers() -> XattrTable<Self> {
        XattrTable::of::<TreeXattrs>()
    }

    fn by_handle(sb: &SuperBlock<Self>, ino: u64, generation: u32) -> Result<InodeRef<Self>> {
        if ino < inode::ROOT || ino == control::INO {
            return Err(stale());
        }
        // One that is in memory may have lost its last name, as long as it is in use. Otherwise it must have one: the
        // files of a collection are the engine's, and so is the deletion of those without a name somebody else's.
        let found = sb.iget(ino, |new| {
            let attr = match sb.info().fs.inode(ino) {
                Err(Error::NotFound) => return Err(stale()),
                attr => attr?,
            };
            if attr.nlink == 0 || attr.is_hidden() || attr.generation as u32 != generation {
                return Err(stale());
            }
            inode::fill(new, &attr)
        })?;
        if found.generation() != generation || found.data().is_hidden() {
            return Err(stale());
        }
        Ok(found)
    }

    fn parent(dir: &Inode) -> Result<InodeRef<Self>> {
        let parent = inode::fs(dir).inode(dir.ino())?.parent;
        inode::get(dir.super_block(), parent)
    }

    fn commit_metadata(inode: &Inode) -> Result {
        inode::sync(inode)
    }
}

impl MountInfo {
    fn start_commits(&self) -> Result<Repeating<Committer>> {
        let committer = Committer {
            fs: self.fs.clone(),
            policy: self.policy.clone(),
        };
        let seconds = self.policy.commit_seconds.load(Ordering::Relaxed);
        Repeating::start(committer, seconds.saturating_mul(1000))
    }

    /// Takes over periodic commits that were started, or ends them.
    fn set_commits(&self, new: Option<Repeating<Committer>>) {
        let old = match &mut *self.background.lock() {
            Some(background) => core::mem::replace(&mut background.commits, new),
            None => new,
        };
        // Outside the lock: this waits for a commit in progress.
        drop(old);
    }
}
