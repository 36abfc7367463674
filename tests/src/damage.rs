// SPDX-License-Identifier: Apache-2.0
//! Damages metadata: finds where it lies on an image, and can make every checksum right again, so that what is behind
//! the checksums is tested, too.

use crate::model::op::Rng;
use vexfs_core::format::group::bitmap_csum;
use vexfs_core::format::group::groups_per_block;
use vexfs_core::format::group::GROUP_BYTES;
use vexfs_core::format::group::GROUP_SLOT;
use vexfs_core::format::group::GROUP_TABLE_HEADER;
use vexfs_core::format::group::GROUP_UNINIT;
use vexfs_core::format::node::ENTRY_BYTES;
use vexfs_core::format::node::NODE_HEADER;
use vexfs_core::format::DiskSuperblock;
use vexfs_core::format::Geometry;
use vexfs_core::format::BITMAP_BYTES;
use vexfs_core::format::SUPERBLOCK_BYTES;
use vexfs_core::format::SUPERBLOCK_OFFSETS;
use vexfs_host::crc32c;
use vexfs_host::device::RamBackend;
use zerocopy::FromBytes;

/// A part of the metadata: byte offset and length.
pub type Place = (u64, usize);

/// Metadata of an image.
pub struct Metadata {
    /// The superblock in use.
    pub superblock: Place,
    pub table: Vec<Place>,
    pub bitmaps: Vec<Place>,
    /// Children before their parents.
    pub nodes: Vec<Place>,
    geo: Geometry,
    uuid: [u8; 16],
}

fn load(image: &RamBackend, (at, len): Place) -> Vec<u8> {
    let mut buf = vec![0; len];
    image.load(at, &mut buf);
    buf
}

fn u32_at(b: &[u8], at: usize) -> u32 {
    b.get(at..at + 4)
        .map_or(0, |b| u32::from_le_bytes(b.try_into().unwrap_or_default()))
}

fn u64_at(b: &[u8], at: usize) -> u64 {
    b.get(at..at + 8)
        .map_or(0, |b| u64::from_le_bytes(b.try_into().unwrap_or_default()))
}

impl Metadata {
    /// Finds the metadata of an undamaged image.
    ///
    /// # Panics
    ///
    /// If there is no filesystem.
    pub fn find(image: &RamBackend, len: u64) -> Metadata {
        let newest = SUPERBLOCK_OFFSETS
            .iter()
            .filter_map(|at| {
                let buf = load(image, (*at, SUPERBLOCK_BYTES));
                let sb = DiskSuperblock::parse(&buf).ok()?;
                Some((sb.txg.get(), *at))
            })
            .max();
        let superblock = (newest.expect("a superblock").1, SUPERBLOCK_BYTES);
        let buf = load(image, superblock);
        let sb = DiskSuperblock::read_from_bytes(&buf).expect("a superblock");
        let geo = Geometry::from_superblock(&sb, len).expect("a geometry");
        let bs = geo.block_size as usize;
        let table: Vec<Place> = (0..geo.gdt_blocks)
            .map(|i| (geo.byte(geo.table_block(i, sb.table_slot(i))), bs))
            .collect();
        let mut m = Metadata {
            superblock,
            table,
            bitmaps: Vec::new(),
            nodes: Vec::new(),
            geo,
            uuid: sb.uuid,
        };
        for group in 0..geo.group_count {
            let (_, flags, _) = m.descriptor(image, group);
            if flags & GROUP_UNINIT == 0 {
                m.bitmaps
                    .push((geo.byte(geo.bitmap_block(group, flags & GROUP_SLOT != 0)), BITMAP_BYTES));
            }
        }
        m.add_nodes(image, sb.root().block, sb.root().level);
        m
    }

    /// Where the descriptor of a group lies, its flags, its bitmap's birth.
    fn descriptor(&self, image: &RamBackend, group: u64) -> (u64, u32, u64) {
        let per = groups_per_block(self.geo.block_size);
        let at =
            self.table[(group / per) as usize].0 + (GROUP_TABLE_HEADER + (group % per) as usize * GROUP_BYTES) as u64;
        let d = load(image, (at, GROUP_BYTES));
        (at, u32_at(&d, 4), u64_at(&d, 16))
    }

    fn add_nodes(&mut self, image: &RamBackend, block: u64, level: u8) {
        let place = (self.geo.byte(block), self.geo.node_size as usize);
        if level > 0 {
            let node = load(image, place);
            for i in 0..usize::from(u16::from_le_bytes([node[42], node[43]])) {
                self.add_nodes(image, u64_at(&node, NODE_HEADER + i * ENTRY_BYTES + 24), level - 1);
            }
        }
        self.nodes.push(place);
    }

    /// All of it.
    pub fn places(&self) -> Vec<Place> {
        let mut all = vec![self.superblock];
        all.extend(&self.table);
        all.extend(&self.bitmaps);
        all.extend(&self.nodes);
        all
    }

    /// Flips a few bits of one part.
    pub fn damage(&self, image: &RamBackend, rng: &mut Rng) -> Place {
        let places = self.places();
        let place = places[rng.below(places.len() as u64) as usize];
        let mut buf = load(image, place);
        for _ in 0..1 + rng.below(4) {
            // Most of what means something is at the start, or where there are no zeros.
            let mut at = rng.below(place.1 as u64) as usize;
            for _ in 0..40 {
                if buf[at] != 0 {
                    break;
                }
                at = rng.below(place.1 as u64) as usize;
            }
            if rng.below(3) == 0 {
                at = rng.below(200) as usize;
            }
            match rng.below(3) {
                0 => buf[at] ^= 1 << rng.below(8),
                1 => buf[at] = [0, 1, 0x7f, 0x80, 0xff][rng.below(5) as usize],
                _ => buf[at] = rng.draw() as u8,
            }
        }
        image.store(place.0, &buf);
        place
    }

    /// Makes all checksums right again, from the leaves to the superblock.
    pub fn seal(&self, image: &RamBackend) {
        for place in &self.nodes {
            let mut node = load(image, *place);
            if node[40] > 0 {
                let nr = usize::from(u16::from_le_bytes([node[42], node[43]]));
                for i in 0..nr.min((node.len() - NODE_HEADER) / ENTRY_BYTES) {
                    let at = NODE_HEADER + i * ENTRY_BYTES;
                    let child = self.geo.byte(u64_at(&node, at + 24));
                    if self.nodes.iter().any(|n| n.0 == child) {
                        let csum = load(image, (child + 4, 4));
                        node[at + 40..at + 44].copy_from_slice(&csum);
                    }
                }
            }
            let csum = crc32c(0, &node[8..]);
            node[4..8].copy_from_slice(&csum.to_le_bytes());
            image.store(place.0, &node);
        }
        for group in 0..self.geo.group_count {
            let (at, flags, birth) = self.descriptor(image, group);
            let block = self.geo.bitmap_block(group, flags & GROUP_SLOT != 0);
            if flags & GROUP_UNINIT == 0 {
                let bitmap = load(image, (self.geo.byte(block), BITMAP_BYTES));
                image.store(at + 8, &bitmap_csum(&self.uuid, block, birth, &bitmap).to_le_bytes());
            }
        }
        let mut table_csum = 0;
        for place in &self.table {
            let block = load(image, *place);
            let csum = crc32c(0, &block[8..]).to_le_bytes();
            image.store(place.0 + 4, &csum);
            table_csum = crc32c(table_csum, &csum);
        }
        let mut buf = load(image, self.superblock);
        if let Ok(sb) = DiskSuperblock::mut_from_bytes(&mut buf) {
            sb.gdt_csum.set(table_csum);
            sb.root_csum.set(u32_at(
                &load(image, (self.geo.byte(sb.root_block.get()).min(1 << 40), 8)),
                4,
            ));
            let csum = sb.compute_csum();
            sb.csum.set(csum);
        }
        image.store(self.superblock.0, &buf);
    }
}
