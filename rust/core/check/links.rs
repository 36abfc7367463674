// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What ties inodes together: names and link counts, parents, orphans, files of collections.

use super::Checker;
use super::Problem;
use crate::format::items::dtype;
use crate::format::items::mode;
use crate::format::items::orphan;
use crate::format::items::state;
use crate::format::ROOT_INO;
use vexfs_host::mem::U64Map;
use vexfs_host::mem::Vec;
use vexfs_host::relax;
use vexfs_host::Error;
use vexfs_host::Result;

/// What inodes say about themselves and others about them.
#[derive(Default)]
pub(super) struct InodeLinks {
    /// Whether there is an inode.
    pub exists: bool,
    pub mode: u32,
    pub nlink: u32,
    pub state: u32,
    /// Its parent, as it says.
    pub parent: u64,
    /// Directory entries that name it, the directory of one of them, and the type that they give it (255: several).
    pub names: u32,
    pub named_in: u64,
    pub dtypes: u8,
    /// Entries of it that name directories.
    pub subdirs: u32,
    /// Collections that claim it as a hidden file, and one of them.
    pub owners: u32,
    pub owned_by: u64,
    /// Work an orphan item asks for.
    pub actions: u32,
    /// What does not add up in it, unless an unfinished deletion explains it.
    pub partial: Option<Problem>,
    /// Known to be reached from the root by names.
    reached: bool,
}

impl InodeLinks {
    fn is_dir(&self) -> bool {
        self.mode & mode::S_IFMT == mode::S_IFDIR
    }
}

/// All inodes by number.
#[derive(Default)]
pub(super) struct Links {
    map: U64Map<InodeLinks>,
}

impl Links {
    /// What is known of `ino`; starts with nothing.
    pub(super) fn entry(&mut self, ino: u64) -> Result<&mut InodeLinks> {
        if !self.map.contains(ino) {
            self.map.insert(ino, InodeLinks::default())?;
        }
        self.map.get_mut(ino).ok_or(Error::NoMemory)
    }

    pub(super) fn get_mut(&mut self, ino: u64) -> Option<&mut InodeLinks> {
        self.map.get_mut(ino)
    }
}

impl Checker<'_> {
    /// Compares what inodes say of themselves with what others say of them.
    pub(super) fn check_links(&mut self) -> Result<()> {
        let links = core::mem::take(&mut self.links);
        match links.map.get(ROOT_INO) {
            Some(root) if root.exists && root.is_dir() && root.parent == ROOT_INO && root.names == 0 => {}
            _ if !self.report.complete => {}
            _ => self.add(Problem::of(ROOT_INO, "there is no proper root directory"))?,
        }
        let count = links.map.iter().filter(|(_, i)| i.exists).count() as u64;
        if self.report.complete && count != self.sb.inode_count.get() {
            let found = self.sb.inode_count.get();
            self.add(Problem::of(0, "the superblock counts inodes wrongly").numbers(count, found))?;
        }
        // In order of their numbers, so that two checks of one image give the same report.
        let mut inos = Vec::with_capacity(links.map.len())?;
        for (ino, _) in links.map.iter() {
            inos.push(ino)?;
        }
        inos.sort_unstable();
        for ino in &inos {
            relax()?;
            if let Some(info) = links.map.get(*ino) {
                self.check_inode(&links, *ino, info)?;
            }
        }
        self.links = links;
        if self.report.complete {
            self.check_reachable(&inos)?;
        }
        Ok(())
    }

    fn check_inode(&mut self, links: &Links, ino: u64, info: &InodeLinks) -> Result<()> {
        let bad = |what| Problem::of(ino, what);
        if !info.exists {
            if !self.report.complete {
                return Ok(());
            }
            if info.names > 0 {
                self.add(bad("directory entry for an inode that does not exist").numbers(0, info.named_in))?;
            }
            if info.owners > 0 {
                self.add(bad("collection that claims a file that does not exist").numbers(0, info.owned_by))?;
            }
            if info.actions != 0 {
                self.add(bad("orphan item for an inode that does not exist"))?;
            }
            return Ok(());
        }
        let deleting = info.nlink == 0 && info.state & state::HIDDEN == 0;
        if let Some(problem) = info.partial {
            let owner = links.map.get(info.parent);
            let dropped = info.state & state::HIDDEN != 0
                && owner.is_some_and(|o| o.actions & (orphan::DISOWN | orphan::DELETE) != 0);
            if !deleting && !dropped && info.state & state::TRUNCATING == 0 {
                self.add(problem)?;
            }
        }
        if !self.report.complete {
            return Ok(());
        }
        if info.names > 0 && info.dtypes != dtype(info.mode) {
            let found = info.dtypes.into();
            self.add(bad("directory entry gives the inode another type").numbers(dtype(info.mode).into(), found))?;
        }
        if deleting != (info.actions & orphan::DELETE != 0) {
            self.add(bad("inode without links and orphan item do not go together"))?;
        }
        if (info.state & state::TRUNCATING != 0) != (info.actions & orphan::TRUNCATE != 0) {
            self.add(bad("inode being truncated and orphan item do not go together"))?;
        }
        if info.actions & orphan::DISOWN != 0 && !info.is_dir() {
            self.add(bad("orphan item of a collection for an inode that is no directory"))?;
        }
        if info.state & state::HIDDEN != 0 {
            if info.owners != 1 || info.owned_by != info.parent || info.names != 0 {
                self.add(bad("hidden file that does not belong to exactly one collection"))?;
            }
            return Ok(());
        }
        if info.owners > 0 {
            self.add(bad("collection that claims a file which is not hidden").numbers(0, info.owned_by))?;
        }
        if info.is_dir() {
            self.check_dir(ino, info)
        } else if info.names != info.nlink {
            self.add(bad("link count is not the number of names").numbers(info.names.into(), info.nlink.into()))
        } else {
            Ok(())
        }
    }

    fn check_dir(&mut self, ino: u64, info: &InodeLinks) -> Result<()> {
        let bad = |what| Problem::of(ino, what);
        let expected = match info.nlink {
            0 => 0,
            _ => info.subdirs.saturating_add(2),
        };
        if info.nlink != expected {
            self.add(
                bad("link count of a directory is not 2 and one per subdirectory")
                    .numbers(expected.into(), info.nlink.into()),
            )?;
        }
        if ino == ROOT_INO {
            return Ok(());
        }
        let names = u32::from(info.nlink != 0);
        if info.names != names {
            return self
                .add(bad("directory with another number of names than one").numbers(names.into(), info.names.into()));
        }
        if info.names == 1 && info.named_in != info.parent {
            return self
                .add(bad("directory whose parent is not where its name is").numbers(info.named_in, info.parent));
        }
        Ok(())
    }

    /// Follows every directory up to the root.
    fn check_reachable(&mut self, inos: &[u64]) -> Result<()> {
        let mut links = core::mem::take(&mut self.links);
        if let Some(root) = links.get_mut(ROOT_INO) {
            root.reached = true;
        }
        let mut path: Vec<u64> = Vec::new();
        for ino in inos {
            let mut at = *ino;
            path.clear();
            let ends_well = loop {
                match links.map.get(at) {
                    Some(i) if i.reached => break true,
                    // A removed directory has no way up. Neither has one that is damaged, which was reported.
                    Some(i) if i.exists && i.is_dir() && i.names == 1 && path.len() <= inos.len() => {
                        path.push(at)?;
                        at = i.named_in;
                    }
                    _ => break path.len() <= inos.len(),
                }
            };
            if !ends_well {
                self.add(Problem::of(*ino, "directory that is in a circle of directories"))?;
            }
            for p in &path {
                if let Some(i) = links.get_mut(*p) {
                    i.reached = true;
                }
            }
        }
        self.links = links;
        Ok(())
    }
}
