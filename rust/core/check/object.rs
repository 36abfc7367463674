// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The items of one object at a time: the walk delivers them in key order, the inode first.

use super::Checker;
use super::Problem;
use crate::dir::entry::first_slot;
use crate::format::items::dtype;
use crate::format::items::mode;
use crate::format::items::orphan;
use crate::format::items::state;
use crate::format::items::DiskDirent;
use crate::format::items::DiskExtent;
use crate::format::items::DiskHidden;
use crate::format::items::DiskInode;
use crate::format::items::DiskOrphan;
use crate::format::items::DiskXattr;
use crate::format::items::INLINE_MAX;
use crate::format::items::SYMLINK_MAX;
use crate::format::Key;
use crate::format::Kind;
use crate::format::FIRST_INO;
use crate::format::ITEM_MAX;
use crate::format::ROOT_INO;
use crate::xattr::first_offset;
use vexfs_host::mem::Vec;
use vexfs_host::Result;
use zerocopy::FromBytes;

/// Low bits of a directory entry's offset that tell names with one hash apart.
const DIRENT_SEQ: u64 = 0x7f;
/// Low bits of an attribute's offset: sequence number and chunk.
const XATTR_LOW: u64 = 0xffff;
const XATTR_CHUNK: u64 = 0xfff;

/// What is known of the object whose items are coming in.
#[derive(Default)]
pub(super) struct Object {
    ino: u64,
    inode: Option<DiskInode>,
    /// Directory entries, without placeholders.
    entries: u64,
    /// Bytes of attribute names with their terminators.
    xattr_list: u64,
    /// Space of the contents in units of 512 bytes.
    units: u64,
    /// The logical block behind the last extent.
    end: u64,
    /// The last extent: first logical block, first block, blocks.
    last_extent: Option<(u64, u64, u64)>,
    inline: Option<u64>,
    /// Pieces and bytes of a symbolic link's target.
    pieces: u64,
    target: u64,
    collection: bool,
    /// Names with the same hash as the current one, each behind a length byte, and that hash's first offset.
    group: u64,
    names: Vec<u8>,
    /// A placeholder at the start of the group, and how many names are in it.
    placeholder: bool,
    in_group: u64,
    /// The attribute whose chunks are coming in: offset of the next, and bytes of the value that are missing.
    chunk: Option<(u64, u64)>,
    /// Set when something does not add up that an unfinished deletion explains.
    partial: Option<Problem>,
}

impl Object {
    /// Whether the name was already there in its hash group.
    fn add_name(&mut self, name: &[u8]) -> Result<bool> {
        let mut rest = self.names.as_slice();
        while let Some((len, tail)) = rest.split_first() {
            let Some((n, tail)) = tail.split_at_checked(usize::from(*len)) else {
                break;
            };
            if n == name {
                return Ok(true);
            }
            rest = tail;
        }
        self.names.push(name.len().min(255) as u8)?;
        self.names.extend_from_slice(name)?;
        Ok(false)
    }

    fn start_group(&mut self, group: u64) {
        self.group = group;
        self.names.clear();
        self.placeholder = false;
        self.in_group = 0;
    }
}

impl Checker<'_> {
    /// Takes the next item of the tree.
    pub(super) fn item(&mut self, o: &mut Object, key: &Key, data: &[u8], block: u64) -> Result<()> {
        if key.obj == 0 {
            return self.orphan_item(key, data, block);
        }
        if key.obj != o.ino {
            self.end_object(o)?;
            *o = Object {
                ino: key.obj,
                names: core::mem::take(&mut o.names),
                ..Object::default()
            };
            o.names.clear();
            if key.kind != Kind::INODE {
                self.add(Problem::at(block, "items of an object that has no inode").owned_by(key.obj))?;
            }
        }
        let bad = |what| Problem::at(block, what).owned_by(key.obj);
        if matches!(key.kind, Kind::INODE | Kind::INLINE) && key.offset != 0 {
            return self.add(bad("item at an offset that it cannot have").numbers(0, key.offset));
        }
        if key.kind == Kind::XATTR && o.chunk.is_none() && o.xattr_list == 0 {
            // Attributes come after the last directory entry.
            self.end_group(o)?;
        }
        let file_type = o.inode.as_ref().map_or(0, |i| i.mode.get() & mode::S_IFMT);
        match key.kind {
            Kind::INODE => self.inode_item(o, key, data, block),
            Kind::XATTR => self.xattr_item(o, key, data, block),
            // Whose inode is missing or damaged has been reported.
            _ if o.inode.is_none() => Ok(()),
            Kind::DIRENT if file_type == mode::S_IFDIR => self.dirent_item(o, key, data, block),
            Kind::EXTENT if file_type == mode::S_IFREG => self.extent_item(o, key, data, block),
            Kind::INLINE if file_type == mode::S_IFREG => self.inline_item(o, data, block),
            Kind::SYMLINK if file_type == mode::S_IFLNK => self.symlink_item(o, key, data, block),
            Kind::COLLECTION if file_type == mode::S_IFDIR => self.collection_item(o, key, data, block),
            Kind::DIRENT | Kind::EXTENT | Kind::INLINE | Kind::SYMLINK | Kind::COLLECTION => {
                self.add(bad("item that does not belong to an inode of this type"))
            }
            _ => self.add(bad("item of a kind that this version does not know").numbers(0, key.kind.0.into())),
        }
    }

    fn orphan_item(&mut self, key: &Key, data: &[u8], block: u64) -> Result<()> {
        if key.kind != Kind::ORPHAN {
            return self.add(Problem::at(block, "item of an unknown kind of the filesystem itself"));
        }
        self.report.orphans = self.report.orphans.saturating_add(1);
        let known = orphan::DELETE | orphan::TRUNCATE | orphan::DISOWN;
        match DiskOrphan::parse(data, key.offset) {
            Ok(o) if o.actions.get() != 0 && o.actions.get() & !known == 0 && o.reserved == [0; 12] => {
                self.links.entry(key.offset)?.actions = o.actions.get();
                Ok(())
            }
            _ => self.add(Problem::at(block, "damaged orphan item").owned_by(key.offset)),
        }
    }

    fn inode_item(&mut self, o: &mut Object, key: &Key, data: &[u8], block: u64) -> Result<()> {
        let ino = key.obj;
        let bad = |what| Problem::at(block, what).owned_by(ino);
        self.report.inodes = self.report.inodes.saturating_add(1);
        let Ok(inode) = DiskInode::parse(data, ino) else {
            return self.add(bad("damaged inode"));
        };
        o.inode = Some(*inode);
        if (ino < FIRST_INO && ino != ROOT_INO) || ino >= self.sb.next_ino.get() {
            self.add(bad("inode with a number that was never given out"))?;
        }
        if inode.mode.get() & !(mode::S_IFMT | 0o7777) != 0 || inode.reserved != [0; 28] {
            self.add(bad("inode with reserved bits set"))?;
        }
        if inode.generation.get() > self.report.txg || inode.txg.get() > self.report.txg {
            self.add(bad("inode of a transaction group after the superblock's"))?;
        }
        let file_type = inode.mode.get() & mode::S_IFMT;
        let bits = inode.state.get();
        let misplaced = (bits & (state::HIDDEN | state::TRUNCATING) != 0 && file_type != mode::S_IFREG)
            || (bits & state::COLLECTION != 0 && file_type != mode::S_IFDIR)
            || (bits & state::TMPFILE != 0 && inode.nlink.get() != 0);
        if misplaced {
            self.add(bad("inode in a state that its type cannot have"))?;
        }
        let info = self.links.entry(ino)?;
        info.mode = inode.mode.get();
        info.nlink = inode.nlink.get();
        info.parent = inode.parent.get();
        info.state = bits;
        info.exists = true;
        Ok(())
    }

    fn dirent_item(&mut self, o: &mut Object, key: &Key, data: &[u8], block: u64) -> Result<()> {
        let bad = |what| Problem::at(block, what).owned_by(key.obj);
        let Ok((head, name)) = DiskDirent::parse(data, key.obj) else {
            return self.add(bad("damaged directory entry"));
        };
        let group = key.offset & !DIRENT_SEQ;
        if group != o.group {
            self.end_group(o)?;
            o.start_group(group);
            if key.offset != group {
                self.add(bad(
                    "directory entry that a look-up does not find: sequence number 0 of its hash is free",
                ))?;
            }
        }
        if head.ino.get() == 0 {
            o.placeholder = true;
            if key.offset != group {
                self.add(bad("placeholder of directory entries with a sequence number"))?;
            }
            return Ok(());
        }
        o.in_group = o.in_group.saturating_add(1);
        o.entries = o.entries.saturating_add(1);
        if name.iter().any(|b| matches!(b, 0 | b'/')) || name == b"." || name == b".." {
            self.add(bad("directory entry with an impossible name"))?;
        }
        if first_slot(&self.hash_key, name) != group {
            self.add(
                bad("directory entry at the place of another name").numbers(first_slot(&self.hash_key, name), group),
            )?;
        }
        if o.add_name(name)? {
            self.add(bad("two directory entries with one name"))?;
        }
        let removed = o.inode.as_ref().is_some_and(|i| i.nlink.get() == 0);
        if removed {
            self.add(bad("removed directory with an entry"))?;
        }
        let target = head.ino.get();
        let info = self.links.entry(target)?;
        info.names = info.names.saturating_add(1);
        info.named_in = key.obj;
        if info.dtypes == 0 || info.dtypes == head.dtype {
            info.dtypes = head.dtype;
        } else {
            info.dtypes = u8::MAX;
        }
        if head.dtype == dtype(mode::S_IFDIR) {
            let dir = self.links.entry(key.obj)?;
            dir.subdirs = dir.subdirs.saturating_add(1);
        }
        Ok(())
    }

    /// A placeholder is allowed only while other names have its hash.
    fn end_group(&mut self, o: &mut Object) -> Result<()> {
        if o.placeholder && o.in_group == 0 {
            self.add(Problem::of(
                o.ino,
                "placeholder of directory entries that are not there",
            ))?;
        }
        o.start_group(0);
        Ok(())
    }

    fn xattr_item(&mut self, o: &mut Object, key: &Key, data: &[u8], block: u64) -> Result<()> {
        let bad = |what| Problem::at(block, what).owned_by(key.obj);
        if key.offset & XATTR_CHUNK != 0 {
            return match o.chunk.take() {
                Some((next, left)) if next == key.offset && data.len() as u64 == left.min(ITEM_MAX as u64) => {
                    let left = left.saturating_sub(data.len() as u64);
                    o.chunk = (left > 0).then_some((next.saturating_add(1), left));
                    Ok(())
                }
                _ => {
                    o.partial = Some(bad("chunk of an extended attribute out of place or of a wrong length"));
                    Ok(())
                }
            };
        }
        self.end_attribute(o)?;
        let Ok((head, name, piece)) = DiskXattr::parse(data, key.obj) else {
            return self.add(bad("damaged extended attribute"));
        };
        let group = key.offset & !XATTR_LOW;
        if group != o.group || o.names.is_empty() {
            o.start_group(group);
        }
        if first_offset(&self.hash_key, name) != group || name.contains(&0) || head.reserved != [0; 3] {
            self.add(bad("extended attribute at the place of another name"))?;
        }
        if o.add_name(name)? {
            self.add(bad("two extended attributes with one name"))?;
        }
        o.xattr_list = o.xattr_list.saturating_add(name.len() as u64).saturating_add(1);
        let left = u64::from(head.value_len.get()).saturating_sub(piece.len() as u64);
        if left > 0 && data.len() != ITEM_MAX {
            self.add(bad("first chunk of an extended attribute that is not full"))?;
        }
        o.chunk = (left > 0).then_some((key.offset.saturating_add(1), left));
        Ok(())
    }

    fn end_attribute(&mut self, o: &mut Object) -> Result<()> {
        if let Some((_, left)) = o.chunk.take() {
            o.partial = Some(Problem::of(o.ino, "extended attribute with a chunk missing").numbers(0, left));
        }
        Ok(())
    }

    fn extent_item(&mut self, o: &mut Object, key: &Key, data: &[u8], block: u64) -> Result<()> {
        let bad = |what| Problem::at(block, what).owned_by(key.obj);
        let Ok(extent) = DiskExtent::parse(data, key.obj, key.offset) else {
            return self.add(bad("damaged extent"));
        };
        let (pblk, len) = (extent.pblk.get(), u64::from(extent.len.get()));
        if key.offset < o.end {
            self.add(bad("extents that overlap in the file").numbers(o.end, key.offset))?;
        }
        o.end = key.offset.saturating_add(len);
        if extent.birth.get() > self.report.txg {
            self.add(bad("extent of a transaction group after the superblock's"))?;
        }
        if !self.geo.is_data_place(pblk, len) {
            return self.add(
                Problem::at(pblk, "extent where no data can be")
                    .owned_by(key.obj)
                    .numbers(len, pblk),
            );
        }
        let per_block = u64::from(self.geo.block_size) / 512;
        o.units = o.units.saturating_add(len.saturating_mul(per_block));
        o.last_extent = Some((key.offset, pblk, len));
        self.report.data_blocks = self.report.data_blocks.saturating_add(len);
        self.claim(pblk, len, key.obj)
    }

    fn inline_item(&mut self, o: &mut Object, data: &[u8], block: u64) -> Result<()> {
        let bad = |what| Problem::at(block, what).owned_by(o.ino);
        if data.is_empty() || data.len() > INLINE_MAX {
            return self.add(bad("inline data of a wrong length"));
        }
        o.inline = Some(data.len() as u64);
        o.units = o.units.saturating_add(data.len().div_ceil(512) as u64);
        Ok(())
    }

    fn symlink_item(&mut self, o: &mut Object, key: &Key, data: &[u8], block: u64) -> Result<()> {
        if key.offset != o.pieces || data.contains(&0) {
            self.add(Problem::at(block, "piece of a symbolic link's target out of place").owned_by(o.ino))?;
        }
        o.pieces = o.pieces.saturating_add(1);
        o.target = o.target.saturating_add(data.len() as u64);
        Ok(())
    }

    fn collection_item(&mut self, o: &mut Object, key: &Key, data: &[u8], block: u64) -> Result<()> {
        if key.offset == 0 {
            o.collection = true;
            return Ok(());
        }
        let bad = |what| Problem::at(block, what).owned_by(o.ino);
        match DiskHidden::ref_from_bytes(data) {
            Ok(h) if h.flags.get() == 0 => {}
            _ => self.add(bad("damaged entry for a file of a collection"))?,
        }
        let info = self.links.entry(key.offset)?;
        info.owners = info.owners.saturating_add(1);
        info.owned_by = o.ino;
        Ok(())
    }

    /// Checks what can be said when all items of an object have been seen.
    pub(super) fn end_object(&mut self, o: &mut Object) -> Result<()> {
        self.end_attribute(o)?;
        self.end_group(o)?;
        let Some(inode) = o.inode.take() else {
            return Ok(());
        };
        let ino = o.ino;
        let bits = inode.state.get();
        let size = inode.size.get();
        let block_size = u64::from(self.geo.block_size);
        let mut partial = o.partial.take();
        let mut wrong = |what, expected: u64, found: u64| {
            if expected != found && partial.is_none() {
                partial = Some(Problem::of(ino, what).numbers(expected, found));
            }
        };
        wrong(
            "the space of the contents is counted wrongly",
            o.units,
            inode.blocks.get(),
        );
        wrong(
            "the names of extended attributes are counted wrongly",
            o.xattr_list,
            inode.xattr_list.get().into(),
        );
        match inode.mode.get() & mode::S_IFMT {
            mode::S_IFDIR => {
                wrong("the entries of a directory are counted wrongly", o.entries, size);
                wrong(
                    "collection without or with a needless collection item",
                    o.collection.into(),
                    (bits & state::COLLECTION != 0).into(),
                );
            }
            mode::S_IFLNK => {
                wrong("the target of a symbolic link has another length", o.target, size);
                wrong(
                    "the target of a symbolic link is too long",
                    0,
                    (o.target > SYMLINK_MAX as u64 || o.target == 0).into(),
                );
            }
            mode::S_IFREG => {
                let behind = o.end > size.div_ceil(block_size) || o.inline.is_some_and(|n| n > size);
                wrong(
                    "contents behind the end of the file",
                    (bits & state::TRUNCATING != 0 && behind).into(),
                    behind.into(),
                );
            }
            _ => wrong("device, pipe or socket with contents", 0, size),
        }
        // Extents come before inline data, so the first one is known only now.
        if let Some(info) = self.links.get_mut(ino) {
            info.partial = partial;
        }
        if bits & state::TRUNCATING == 0 && inode.mode.get() & mode::S_IFMT == mode::S_IFREG {
            self.check_tail(o, size)?;
        }
        Ok(())
    }

    /// Counts files with anything but zeros between their end and the end of their last block.
    fn check_tail(&mut self, o: &Object, size: u64) -> Result<()> {
        let block_size = u64::from(self.geo.block_size);
        let within = size.checked_rem(block_size).unwrap_or(0);
        let last = size.checked_div(block_size).unwrap_or(0);
        let Some((lblk, pblk, len)) = o.last_extent.filter(|_| within != 0) else {
            return Ok(());
        };
        let Some(at) = last.checked_sub(lblk).filter(|at| *at < len) else {
            return Ok(());
        };
        let mut buf = Vec::new();
        buf.resize(self.geo.block_size as usize, 0u8)?;
        let read = self.dev.read(self.geo.byte(pblk.saturating_add(at)), &mut buf);
        let tail = buf.get(within as usize..).unwrap_or(&[]);
        if read.is_ok() && tail.iter().any(|b| *b != 0) {
            self.report.stale_tails = self.report.stale_tails.saturating_add(1);
        }
        Ok(())
    }
}
