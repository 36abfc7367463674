// SPDX-License-Identifier: GPL-2.0
//! Directories: looking names up, listing, and everything that makes, moves or removes them.
//!
//! The VFS keeps two changes of one directory apart (`i_rwsem`); the core makes each change atomic. A directory's size
//! is the number of its entries, its link count 2 and one for each subdirectory; both are followed here as the core
//! changes them, so that nobody has to read the core's inode again.

use crate::control;
use crate::inode;
use crate::inode::fs;
use crate::inode::time_to_core;
use crate::inode::Inode;
use crate::inode::Stamp;
use crate::inode::TreeAttributes;
use crate::ioctl;
use crate::room::with_room;
use crate::super_block::collections;
use crate::super_block::VexFs;
use kernel::bindings;
use kernel::prelude::vtable;
use kernel::uaccess::UserPtr;
use vexfs_core::dir::RenameFlags;
use vexfs_core::inode::NewInode as NewCoreInode;
use vexfs_host::mem::Vec;
use vexfs_host::Error;
use vexfs_vfs::dir::DirContext;
use vexfs_vfs::dir::DirectoryOperations;
use vexfs_vfs::inode_ops::InodeOperations;
use vexfs_vfs::ioctl::IoctlOperations;
use vexfs_vfs::security;
use vexfs_vfs::Dentry;
use vexfs_vfs::File;
use vexfs_vfs::FileOpsTable;
use vexfs_vfs::Idmap;
use vexfs_vfs::InodeOpsTable;
use vexfs_vfs::InodeRef;
use vexfs_vfs::NewInode;
use vexfs_vfs::Result;
use vexfs_vfs::Spliced;

/// Longest name, in bytes.
pub const NAME_MAX: usize = 255;

/// Sets a new inode up as a directory.
pub fn init_inode(new: &NewInode<VexFs>) {
    new.set_ops(InodeOpsTable::of::<Directory>());
    new.set_file_ops(FileOpsTable::of_directory::<OpenDirectory>());
}

struct Directory;

#[vtable]
impl InodeOperations<VexFs> for Directory {
    type Attributes = TreeAttributes;

    fn lookup(dir: &Inode, dentry: &Dentry<VexFs>) -> Result<Option<InodeRef<VexFs>>> {
        let name = dentry.name();
        if name.len() > NAME_MAX {
            return Err(Error::NameTooLong.into());
        }
        if control::is_name(dir, name) {
            return control::get(dir.super_block()).map(Some);
        }
        let Some((ino, _)) = fs(dir).lookup(dir.ino(), name)? else {
            return Ok(None);
        };
        let damaged = |what| Err(Error::corrupt(what, u64::MAX, dir.ino()).into());
        if ino == control::INO {
            return damaged("entry of a reserved inode");
        }
        match inode::get(dir.super_block(), ino) {
            // Nobody can remove the last name while the directory is locked for looking it up.
            Ok(found) if found.nlink() == 0 || found.data().is_hidden() => damaged("entry of an inode without names"),
            Ok(found) => Ok(Some(found)),
            Err(vexfs_vfs::Failure::Host(Error::NotFound)) => damaged("entry of an inode that does not exist"),
            Err(failure) => Err(failure),
        }
    }

    fn create(
        idmap: Idmap<'_>,
        dir: &Inode,
        dentry: &Dentry<VexFs>,
        mode: u16,
        rdev: u32,
        target: Option<&[u8]>,
    ) -> Result<Option<Spliced>> {
        let name = dentry.name();
        if control::is_name(dir, name) {
            return Err(Error::Exists.into());
        }
        let stamp = Stamp::new([(dir, true)]);
        let now = stamp.now();
        let (new, made) = make(idmap, dir, dentry, mode, target, &mut |new| {
            fs(dir).create(dir.ino(), name, &NewCoreInode { rdev, now, ..*new })
        })?;
        stamp.keep(made.txg);
        dir.set_size(dir.size().saturating_add(1));
        if made.is_dir() {
            dir.set_nlink(dir.nlink().saturating_add(1));
        }
        let mut spliced = None;
        match new {
            Made::Here(new) => new.instantiate(dentry),
            Made::Elsewhere(found) if made.is_dir() => spliced = dentry.splice(found)?,
            Made::Elsewhere(found) => dentry.instantiate(found),
        }
        inode::finish(dir, made.txg)?;
        Ok(spliced)
    }

    fn tmpfile(idmap: Idmap<'_>, dir: &Inode, dentry: &Dentry<VexFs>, mode: u16) -> Result<NewInode<VexFs>> {
        let (new, _) = make(idmap, dir, dentry, mode, None, &mut |new| fs(dir).create_tmpfile(new))?;
        let Made::Here(new) = new else {
            // Handles do not reach an inode without a name that is not in memory, so nobody can have made it.
            return Err(Error::Busy.into());
        };
        // The VFS takes this one away again.
        new.set_nlink(1);
        Ok(new)
    }

    fn link(inode: &Inode, dir: &Inode, dentry: &Dentry<VexFs>) -> Result {
        if control::is_control(inode) || control::is_name(dir, dentry.name()) {
            return Err(Error::Permission.into());
        }
        let stamp = Stamp::new([(dir, true), (inode, false)]);
        let after = with_room(dir, || {
            Ok(fs(dir).link(inode.ino(), dir.ino(), dentry.name(), stamp.now())?)
        })?;
        stamp.keep(after.txg);
        inode.set_nlink(after.nlink);
        dir.set_size(dir.size().saturating_add(1));
        dentry.instantiate(inode.grab());
        inode::finish(dir, after.txg)
    }

    fn unlink(dir: &Inode, dentry: &Dentry<VexFs>, inode: &Inode) -> Result {
        if control::is_control(inode) {
            return Err(Error::Permission.into());
        }
        let stamp = Stamp::new([(dir, true), (inode, false)]);
        let after = fs(dir).unlink(dir.ino(), dentry.name(), stamp.now())?;
        stamp.keep(after.txg);
        inode.set_nlink(after.nlink);
        dir.set_size(dir.size().saturating_sub(1));
        inode::finish(dir, after.txg)
    }

    fn rmdir(dir: &Inode, dentry: &Dentry<VexFs>, inode: &Inode) -> Result {
        let stamp = Stamp::new([(dir, true), (inode, false)]);
        let after = if inode.data().is_collection() {
            let remove = || fs(dir).remove_collection(dir.ino(), dentry.name(), stamp.now());
            if inode.data().is_dropped_here() {
                remove()?
            } else {
                // Rows are not in sight of who removes empty directories: they must not be lost to him.
                collections(inode).get(inode.ino())?.if_empty(remove)?
            }
        } else {
            fs(dir).rmdir(dir.ino(), dentry.name(), stamp.now())?
        };
        stamp.keep(after.txg);
        inode.set_nlink(after.nlink);
        dir.set_size(dir.size().saturating_sub(1));
        dir.set_nlink(dir.nlink().saturating_sub(1));
        inode::finish(dir, after.txg)
    }

    fn rename(old_dir: &Inode, old: &Dentry<VexFs>, new_dir: &Inode, new: &Dentry<VexFs>, flags: u32) -> Result {
        if flags & !(bindings::RENAME_NOREPLACE | bindings::RENAME_EXCHANGE) != 0 {
            return Err(Error::Invalid("rename flags").into());
        }
        let moved = old.inode().ok_or(Error::NotFound)?;
        let target = new.inode();
        if control::is_control(moved)
            || target.is_some_and(control::is_control)
            || control::is_name(new_dir, new.name())
        {
            return Err(Error::Permission.into());
        }
        let exchange = flags & bindings::RENAME_EXCHANGE != 0;
        if target.is_some() && moved.is_regular() && !exchange {
            // Replacing a file is how programs update it: once the new name is on disk the contents must be, too. They
            // are sent on their way here, and the commit waits for them to arrive.
            moved.start_write()?;
            if !fs(moved).order_data(moved.data().data_state()?) {
                moved.write_and_wait()?;
            }
        }
        let core_flags = if exchange {
            RenameFlags::EXCHANGE
        } else if flags & bindings::RENAME_NOREPLACE != 0 {
            RenameFlags::NOREPLACE
        } else {
            RenameFlags::NONE
        };
        // An exchange moves the target, a plain rename takes one of its links; either way its change time moves.
        let stamp = Stamp::new([
            (old_dir, true),
            (new_dir, true),
            (moved, false),
            (target.unwrap_or(moved), false),
        ]);
        let rename = |flags| {
            let (from, to) = (old_dir.ino(), new_dir.ino());
            fs(old_dir).rename(from, old.name(), to, new.name(), flags, stamp.now())
        };
        let done = with_room(old_dir, || {
            Ok(match target {
                Some(target) if core_flags == RenameFlags::NONE && target.data().is_collection() => {
                    let over = || rename(RenameFlags::OVER_COLLECTION);
                    collections(target).get(target.ino())?.if_empty(over)?
                }
                _ => rename(core_flags)?,
            })
        })?;
        stamp.keep(done.txg);
        if let (Some(target), Some(after)) = (target, &done.replaced) {
            target.set_nlink(after.nlink);
        }
        recount(old_dir);
        recount(new_dir);
        inode::finish(old_dir, done.txg)?;
        inode::finish(new_dir, done.txg)
    }
}

/// Takes the size and the link count of a directory over from the core.
#[inline(never)] // own frame
fn recount(dir: &Inode) {
    // What changed them is done; a directory that cannot be read again is reported with its next use.
    if let Ok(after) = fs(dir).inode(dir.ino()) {
        dir.set_size(after.size);
        dir.set_nlink(after.nlink);
    }
}

/// A new inode in memory.
enum Made {
    /// Made by who creates it, and locked.
    Here(NewInode<VexFs>),
    /// Made by somebody who found it by its number as soon as it was in the core.
    Elsewhere(InodeRef<VexFs>),
}

/// Makes an inode by the rules for owner, mode and security labels: `create` makes it in the core, this in memory.
///
/// Everything that can fail comes before `create`, so that a failure leaves nothing behind.
fn make(
    idmap: Idmap<'_>,
    dir: &Inode,
    dentry: &Dentry<VexFs>,
    mode: u16,
    target: Option<&[u8]>,
    create: &mut dyn FnMut(&NewCoreInode<'_>) -> vexfs_host::Result<vexfs_core::inode::Inode>,
) -> Result<(Made, vexfs_core::inode::Inode)> {
    if dentry.name().len() > NAME_MAX {
        return Err(Error::NameTooLong.into());
    }
    let mut new = NewInode::new(dir.super_block())?;
    new.init_owner(idmap, dir, mode);
    inode::prepare(&new, target)?;
    let labels = security::labels(&new, dir, dentry)?;
    let mut xattrs: Vec<(&[u8], &[u8])> = Vec::new();
    for label in &labels {
        xattrs.push((&label.name, &label.value))?;
    }
    let owner = new.attributes();
    let core = NewCoreInode {
        mode: u32::from(owner.mode),
        uid: owner.uid,
        gid: owner.gid,
        rdev: 0,
        target,
        now: time_to_core(new.set_ctime_current()),
        xattrs: &xattrs,
    };
    let made = make_in_core(dir, &core, create)?;
    if let Some(found) = new.hash(made.ino) {
        return Ok((Made::Elsewhere(found), made));
    }
    inode::fill(&new, &made)?;
    Ok((Made::Here(new), made))
}

/// `create`, with a second try.
#[inline(never)] // own frame
fn make_in_core(
    dir: &Inode,
    new: &NewCoreInode<'_>,
    create: &mut dyn FnMut(&NewCoreInode<'_>) -> vexfs_host::Result<vexfs_core::inode::Inode>,
) -> Result<vexfs_core::inode::Inode> {
    with_room(dir, || Ok(create(new)?))
}

/// An open directory.
struct OpenDirectory;

impl DirectoryOperations<VexFs> for OpenDirectory {
    fn readdir(dir: &Inode, context: &mut DirContext<'_>) -> Result {
        if !context.emit_dots() {
            return Ok(());
        }
        // The core calls back without holding a lock.
        let end = fs(dir).readdir(dir.ino(), context.position(), &mut |position, name, ino, kind| {
            context.set_position(position);
            let more = context.emit(name, ino, kind);
            if more {
                // Should there be an error before the next one, the reader has this one.
                context.set_position(position.saturating_add(1));
            }
            more
        })?;
        context.set_position(end);
        Ok(())
    }

    fn fsync(dir: &Inode) -> Result {
        inode::sync(dir)
    }
}

impl IoctlOperations<VexFs> for OpenDirectory {
    fn ioctl(file: &File<VexFs>, cmd: u32, arg: UserPtr) -> Result<kernel::ffi::c_long> {
        ioctl::DirIoctl::ioctl(file, cmd, arg)
    }
}
