// SPDX-License-Identifier: GPL-2.0
//! The VexFS module.
//!
//! This crate is glue: it answers the VFS's calls with calls into `vexfs_core` (files and directories) and
//! `vexfs_engine` (collections). Policy that is not the VFS's lives there; `unsafe` lives in `vexfs_vfs` and
//! `vexfs_host`.
//!
//! - `super.rs`: mount, remount, sync, freeze, unmount, error policy; `stats.rs`: /proc/fs/vexfs, also as /proc/vexfs
//! - `inode.rs`: inodes in memory and their attributes; `symlink.rs`, `dir.rs`, `file.rs`: kinds of inodes
//! - `xattr.rs`: extended attributes; `control.rs`: the control file; `ioctl*.rs`: what it understands
//! - `iomap.rs`: where a file's data is
//!
//! # Locks, outermost first
//!
//! 1. the VFS's: `s_umount`, freeze protection, `i_rwsem` of parents, then of children, `invalidate_lock`, folio locks;
//! 2. a collection's lock;
//! 3. the core's: commit mutex, tree lock, allocator, node cache.
//!
//! The core never calls back into the VFS, and allocates under its locks with `GFP_NOFS`, so reclaim cannot come back
//! for them. User memory is never touched under a lock of group 3: a fault could need that lock.

#![deny(unsafe_code)]

mod control;
mod dir;
mod file;
mod inode;
mod ioctl;
mod iomap;
mod room;
mod stats;
#[path = "super.rs"]
mod super_block;
mod symlink;
mod xattr;

use kernel::prelude::*;
use super_block::VexFs;
use vexfs_vfs::filesystem::Registration;
use vexfs_vfs::proc::Folder;
use vexfs_vfs::proc::Link;

module! {
    type: Module,
    name: "vexfs",
    authors: ["The VexFS authors"],
    description: "VexFS: a filesystem with vector search",
    license: "GPL",
    alias: ["fs-vexfs"],
}

/// The loaded module. Members are dropped in this order.
struct Module {
    _filesystem: Registration<VexFs>,
    _link: Link,
    _proc: Folder,
}

impl kernel::Module for Module {
    fn init(module: &'static ThisModule) -> Result<Self> {
        vexfs_host::self_check().map_err(|e| errno(e.into()))?;
        let proc = Folder::new(c"fs/vexfs").map_err(errno)?;
        let link = Link::new(c"vexfs", c"fs/vexfs").map_err(errno)?;
        let this = Self {
            _filesystem: Registration::new(module).map_err(errno)?,
            _link: link,
            _proc: proc,
        };
        pr_info!("distances: {}\n", vexfs_simd::Kernels::detect().name());
        Ok(this)
    }
}

/// The kernel's error for a failure.
fn errno(failure: vexfs_vfs::Failure) -> Error {
    Error::from_errno(failure.to_errno())
}
