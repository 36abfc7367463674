// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Making a filesystem: an empty root directory and everything that leads to it.
//!
//! What was there before is made unusable first, and the superblock slots are written last, so that a power cut in
//! between leaves no filesystem rather than a broken one.

use crate::format::group::*;
use crate::format::items::mode::S_IFDIR;
use crate::format::node::NodePtr;
use crate::format::superblock::INCOMPAT_INTENT_LOG;
use crate::format::superblock::MAGIC;
use crate::format::superblock::VERSION;
use crate::format::DiskGroup;
use crate::format::DiskInode;
use crate::format::DiskSuperblock;
use crate::format::Geometry;
use crate::format::Key;
use crate::format::Kind;
use crate::format::BITMAP_BYTES;
use crate::format::FIRST_INO;
use crate::format::GROUP_BLOCKS;
use crate::format::GROUP_HEAD_BLOCKS;
use crate::format::ROOT_INO;
use crate::format::SUPERBLOCK_BYTES;
use crate::format::SUPERBLOCK_OFFSETS;
use crate::fs::Fs;
use crate::node::Node;
use crate::space::group::fresh_descriptor;
use crate::space::seal::write_table;
use vexfs_host::device::Device;
use vexfs_host::mem::Vec;
use vexfs_host::nofs;
use vexfs_host::Error;
use vexfs_host::Result;
use zerocopy::FromBytes as _;
use zerocopy::FromZeros as _;
use zerocopy::IntoBytes as _;

/// What to make.
#[derive(Clone, Copy, Debug)]
pub struct FormatOptions<'a> {
    /// UTF-8, up to 63 bytes.
    pub label: &'a str,
    /// Identity; a random one if `None`.
    pub uuid: Option<[u8; 16]>,
    /// Bytes of a block: a power of two from 4096 to 65536.
    pub block_size: u32,
    /// Bytes of the region for the intent log; a size that fits the device if `None`.
    pub journal_bytes: Option<u64>,
    /// Key of the hash of names; a random one if `None`, which is what everything but a test wants.
    pub hash_key: Option<[u64; 2]>,
    /// Owner and group of the root directory.
    pub owner: (u32, u32),
    /// Tell the device first that all its blocks are unused.
    pub discard: bool,
    /// Use the region for the intent log. Without it, every fsync is a commit, as in filesystems from before there was
    /// a log.
    pub intent_log: bool,
}

impl Default for FormatOptions<'_> {
    fn default() -> Self {
        FormatOptions {
            label: "",
            uuid: None,
            block_size: 4096,
            journal_bytes: None,
            hash_key: None,
            owner: (0, 0),
            discard: true,
            intent_log: true,
        }
    }
}

/// What was made.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Where things lie.
    pub geometry: Geometry,
    /// Identity.
    pub uuid: [u8; 16],
    /// Free blocks of the new filesystem.
    pub free_blocks: u64,
}

/// The transaction group that mkfs writes.
const FIRST_TXG: u64 = 1;

impl Fs {
    /// Says what [`Fs::format`] would make, without writing anything.
    pub fn plan(dev: &Device, options: &FormatOptions<'_>) -> Result<Layout> {
        if options.label.len() >= 64 || options.label.as_bytes().contains(&0) {
            return Err(Error::Invalid(
                "the label must be shorter than 64 bytes and must not contain zero bytes",
            ));
        }
        let geometry = Geometry::plan(dev.len(), options.block_size, options.journal_bytes)?;
        if dev.logical_block_size() > geometry.block_size || dev.logical_block_size() as usize > SUPERBLOCK_BYTES {
            return Err(Error::Unsupported(
                "devices with logical blocks of more than 4096 bytes are not supported",
            ));
        }
        let uuid = match options.uuid {
            Some(u) => u,
            None => {
                let mut u = [0; 16];
                vexfs_host::random(&mut u)?;
                // RFC 9562: version 4, variant 10.
                let [_, _, _, _, _, _, version, _, variant, ..] = &mut u;
                *version = *version & 0x0f | 0x40;
                *variant = *variant & 0x3f | 0x80;
                u
            }
        };
        Ok(Layout {
            geometry,
            uuid,
            free_blocks: geometry.usable_blocks() - u64::from(geometry.node_blocks),
        })
    }

    /// Makes an empty filesystem on `dev`. What was on it is lost.
    ///
    /// # Errors
    ///
    /// `Invalid` and `Unsupported` for options or a device that cannot be used, `ReadOnly`, `Io`.
    pub fn format(dev: &Device, options: &FormatOptions<'_>) -> Result<Layout> {
        let _nofs = nofs();
        let layout = Fs::plan(dev, options)?;
        if dev.is_read_only() {
            return Err(Error::ReadOnly);
        }
        wipe(dev, &layout.geometry, options.discard)?;
        let mut sb_bytes = Vec::new();
        sb_bytes.resize(SUPERBLOCK_BYTES, 0)?;
        let sb = DiskSuperblock::mut_from_bytes(&mut sb_bytes).map_err(|_| Error::NoMemory)?;
        sb.magic = MAGIC;
        sb.version = VERSION.into();
        sb.uuid = layout.uuid;
        if let Some(place) = sb.label.get_mut(..options.label.len()) {
            place.copy_from_slice(options.label.as_bytes());
        }
        layout.geometry.to_superblock(sb);
        if options.intent_log {
            sb.incompat = INCOMPAT_INTENT_LOG.into();
        }
        let key = match options.hash_key {
            Some(k) => k,
            None => {
                let mut bytes = [0; 16];
                vexfs_host::random(&mut bytes)?;
                let key = u128::from_le_bytes(bytes);
                [key as u64, (key >> 64) as u64]
            }
        };
        sb.hash_key = key.map(|k| k.into());
        sb.txg = FIRST_TXG.into();
        sb.next_ino = FIRST_INO.into();
        sb.inode_count = 1.into();
        sb.free_blocks = layout.free_blocks.into();
        let now = vexfs_host::now();
        sb.created = now.0.into();
        sb.written = now.0.into();
        let root = write_root(dev, &layout, options, now)?;
        sb.root_block = root.block.into();
        sb.root_birth = root.birth.into();
        sb.root_csum = root.csum.into();
        sb.root_level = root.level;
        sb.gdt_csum = write_groups(dev, &layout, root.block)?.into();
        let csum = sb.compute_csum();
        sb.csum = csum.into();
        dev.write(layout.geometry.copy_offset(), &sb_bytes)?;
        dev.flush()?;
        for offset in SUPERBLOCK_OFFSETS {
            dev.write_fua(offset, &sb_bytes)?;
        }
        Ok(layout)
    }
}

/// Makes sure that nothing of what was there before is found again: by a mount of it, or by tools that look for magics.
fn wipe(dev: &Device, geo: &Geometry, discard: bool) -> Result<()> {
    if discard {
        // Advice, which not every device takes.
        let _ = dev.discard(0, geo.byte(geo.total_blocks));
    }
    let mut zeros = Vec::new();
    zeros.resize(SUPERBLOCK_BYTES, 0u8)?;
    // The region before the groups covers the magics of all common filesystems: 68 KiB. The boot sector's is at the
    // start.
    let end = geo.byte(geo.first_group).min(128 << 10);
    for offset in (0..end).step_by(SUPERBLOCK_BYTES) {
        dev.write(offset, &zeros)?;
    }
    // Backups at the end: the second GPT header, md and our own copy.
    dev.write(geo.copy_offset(), &zeros)?;
    dev.flush()
}

/// Writes the only node of the tree, a leaf with the root directory.
fn write_root(dev: &Device, layout: &Layout, options: &FormatOptions<'_>, now: (i64, u32)) -> Result<NodePtr> {
    let geo = &layout.geometry;
    let nb = u64::from(geo.node_blocks).max(1);
    let block = geo
        .group_start(0)
        .saturating_add(GROUP_HEAD_BLOCKS.next_multiple_of(nb));
    let mut inode = DiskInode::new_zeroed();
    inode.mode = (S_IFDIR | 0o755).into();
    (inode.uid, inode.gid) = (options.owner.0.into(), options.owner.1.into());
    inode.nlink = 2.into();
    inode.generation = FIRST_TXG.into();
    inode.txg = FIRST_TXG.into();
    inode.parent = ROOT_INO.into();
    for (sec, nsec) in [
        (&mut inode.atime, &mut inode.atime_ns),
        (&mut inode.mtime, &mut inode.mtime_ns),
        (&mut inode.ctime, &mut inode.ctime_ns),
        (&mut inode.btime, &mut inode.btime_ns),
    ] {
        *sec = now.0.into();
        *nsec = now.1.into();
    }
    let mut node = Node::new(geo.node_size, block, FIRST_TXG, 0)?;
    if !node.insert(0, &Key::new(ROOT_INO, Kind::INODE, 0), inode.as_bytes(), &mut []) {
        return Err(Error::Invalid("the root directory does not fit into a node"));
    }
    let csum = node.seal(&layout.uuid);
    dev.write(geo.byte(block), node.bytes())?;
    Ok(NodePtr {
        block,
        birth: FIRST_TXG,
        csum,
        level: 0,
    })
}

/// Writes the bitmap of group 0 and the group table. Returns the checksum over the table.
fn write_groups(dev: &Device, layout: &Layout, root: u64) -> Result<u32> {
    let geo = &layout.geometry;
    let mut bitmap = Vec::new();
    bitmap.resize(BITMAP_BYTES, 0u8)?;
    let in_group = root.saturating_sub(geo.group_start(0));
    let used = (0..GROUP_HEAD_BLOCKS)
        .chain(in_group..in_group.saturating_add(u64::from(geo.node_blocks)))
        .chain(geo.group_len(0)..GROUP_BLOCKS);
    for index in used {
        if let Some(byte) = bitmap.get_mut((index / 8) as usize) {
            *byte |= 1 << (index % 8);
        }
    }
    let block = geo.bitmap_block(0, false);
    dev.write(geo.byte(block), &bitmap)?;
    let fresh = fresh_descriptor(geo, 0);
    let first = DiskGroup {
        free_blocks: fresh.free_blocks.get().saturating_sub(geo.node_blocks).into(),
        flags: 0.into(),
        bitmap_csum: bitmap_csum(&layout.uuid, block, FIRST_TXG, &bitmap).into(),
        free_places: fresh.free_places.get().saturating_sub(1).into(),
        bitmap_birth: FIRST_TXG.into(),
        reserved: 0.into(),
    };
    let mut table = Vec::new();
    table.resize(geo.block_size as usize, 0u8)?;
    let here = groups_per_block(geo.block_size).max(1);
    let mut list: Vec<DiskGroup> = Vec::with_capacity(here as usize)?;
    let mut all = 0;
    for index in 0..geo.gdt_blocks {
        list.clear();
        let from = index.saturating_mul(here);
        for group in from..from.saturating_add(here).min(geo.group_count) {
            list.push(if group == 0 {
                first
            } else {
                fresh_descriptor(geo, group)
            })?;
        }
        let block = geo.table_block(index, false);
        let csum = write_table(&mut table, &layout.uuid, block, FIRST_TXG, index, list.iter());
        dev.write(geo.byte(block), &table)?;
        all = vexfs_host::crc32c(all, &csum.to_le_bytes());
        vexfs_host::relax()?;
    }
    Ok(all)
}
