// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The consistency checker: reads a whole filesystem from its device and lists everything that is wrong with it.
//!
//! It shares the format and the reader of the log with the rest of the crate and nothing else: no cache, no look-up, no
//! allocator. It trusts no byte before it has looked at it, never writes, and goes on after a problem. Memory grows
//! with one bit per block and one entry per inode.
//!
//! What it holds the filesystem to, beyond the checks of single structures:
//!
//! - every node is the one its parent points to (place, birth, checksum, range of keys);
//! - no block is used twice, and the bitmaps say exactly which blocks are used;
//! - every name leads to an inode of the type it claims, every inode has as many names as its link count says, every
//!   directory is reached from the root by exactly one name;
//! - work that a crash interrupted is noted by an orphan item; hidden files belong to a collection.
//!
//! When a node cannot be read, what lies below it is unknown; the comparisons that would only repeat this are left out
//! and the report says so ([`Report::complete`]).

#![deny(clippy::indexing_slicing)]
#![deny(clippy::unwrap_used)]
#![deny(clippy::expect_used)]
#![deny(clippy::arithmetic_side_effects)]

mod links;
mod object;
mod space;
#[cfg(test)]
mod tests;
mod walk;

use crate::format::log::LogIdentity;
use crate::format::superblock::Unusable;
use crate::format::DiskSuperblock;
use crate::format::Geometry;
use crate::format::SUPERBLOCK_BYTES;
use crate::format::SUPERBLOCK_OFFSETS;
use crate::log::end::End;
use crate::log::read::Reader;
use crate::log::region::Region;
use core::fmt;
use vexfs_host::device::Device;
use vexfs_host::mem::Vec;
use vexfs_host::nofs;
use vexfs_host::Error;
use vexfs_host::Result;

/// Problems listed at most; the rest is only counted.
const MAX_LISTED: usize = 10_000;

/// One thing that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong, in words.
    pub what: &'static str,
    /// The block where it is seen; `u64::MAX` when it is not about a block.
    pub block: u64,
    /// The inode it belongs to; 0 when it belongs to none.
    pub owner: u64,
    /// What should be there and what is, when these are numbers.
    pub values: Option<(u64, u64)>,
}

impl Problem {
    /// A problem of inode `owner`.
    fn of(owner: u64, what: &'static str) -> Problem {
        Problem {
            what,
            block: u64::MAX,
            owner,
            values: None,
        }
    }

    /// A problem seen in `block`.
    fn at(block: u64, what: &'static str) -> Problem {
        Problem {
            what,
            block,
            owner: 0,
            values: None,
        }
    }

    fn owned_by(self, owner: u64) -> Problem {
        Problem { owner, ..self }
    }

    fn numbers(self, expected: u64, found: u64) -> Problem {
        Problem {
            values: Some((expected, found)),
            ..self
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.block != u64::MAX {
            write!(f, "block {}: ", self.block)?;
        }
        if self.owner != 0 {
            write!(f, "inode {}: ", self.owner)?;
        }
        f.write_str(self.what)?;
        if let Some((expected, found)) = self.values {
            write!(f, " (expected {expected}, found {found})")?;
        }
        Ok(())
    }
}

/// What a check found.
#[derive(Debug, Default)]
pub struct Report {
    /// The problems, in the order they were found.
    pub problems: Vec<Problem>,
    /// Problems beyond those listed.
    pub unlisted: u64,
    /// Whether everything could be looked at. If not, comparisons of the whole were left out.
    pub complete: bool,
    /// The transaction group that was checked.
    pub txg: u64,
    /// Nodes of the tree.
    pub nodes: u64,
    /// Items in its leaves.
    pub items: u64,
    /// Inodes, hidden ones included.
    pub inodes: u64,
    /// Blocks of file contents.
    pub data_blocks: u64,
    /// Free blocks.
    pub free_blocks: u64,
    /// Files with anything but zeros behind their end in their last block: harmless until they grow.
    pub stale_tails: u64,
    /// Inodes with unfinished work, as a crash leaves them.
    pub orphans: u64,
    /// Operations in the intent log that the next mount does again. What was checked is the state without them.
    pub log_ops: u64,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty() && self.complete
    }

    fn add(&mut self, problem: Problem) -> Result<()> {
        if self.problems.len() >= MAX_LISTED {
            self.unlisted = self.unlisted.saturating_add(1);
            return Ok(());
        }
        self.problems.push(problem)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for p in &self.problems {
            writeln!(f, "{p}")?;
        }
        if self.unlisted > 0 {
            writeln!(f, "and {} more problems", self.unlisted)?;
        }
        if !self.complete {
            writeln!(
                f,
                "parts of the tree could not be read; what depends on them was not compared"
            )?;
        }
        write!(
            f,
            "txg {}: {} inodes, {} nodes, {} items, {} blocks of data, {} blocks free",
            self.txg, self.inodes, self.nodes, self.items, self.data_blocks, self.free_blocks
        )?;
        match self.log_ops {
            0 => Ok(()),
            n => write!(f, "; {n} operations in the log, not part of this"),
        }
    }
}

/// What all parts of a check share.
struct Checker<'a> {
    dev: &'a Device,
    sb: &'a DiskSuperblock,
    geo: Geometry,
    hash_key: [u64; 2],
    report: Report,
    /// Blocks that something refers to.
    used: space::Blocks,
    links: links::Links,
}

impl Checker<'_> {
    fn add(&mut self, problem: Problem) -> Result<()> {
        self.report.add(problem)
    }
}

/// Checks the filesystem on `dev`, which nobody may write meanwhile.
///
/// # Errors
///
/// `Invalid` or `Corrupt` when there is no superblock to start from, `Unsupported` when it is of a version or has
/// features that this code does not know, `NoMemory`. Everything else is in the report.
pub fn check(dev: &Device) -> Result<Report> {
    let _nofs = nofs();
    let mut slots = Vec::new();
    slots.resize(SUPERBLOCK_BYTES.saturating_mul(2), 0u8)?;
    let current = newest_superblock(dev, &mut slots)?;
    let slot = slots.get(current..).unwrap_or(&[]);
    let Ok(sb) = DiskSuperblock::parse(slot) else {
        return Err(Error::corrupt("superblock changed while it was read", u64::MAX, 0));
    };
    sb.check_features()?;
    let geo = Geometry::from_superblock(sb, dev.len())?;
    let mut c = Checker {
        dev,
        sb,
        geo,
        hash_key: [sb.hash_key[0].get(), sb.hash_key[1].get()],
        report: Report {
            complete: true,
            txg: sb.txg.get(),
            ..Report::default()
        },
        used: space::Blocks::new(&geo)?,
        links: links::Links::default(),
    };
    c.check_copy()?;
    c.check_log()?;
    c.walk()?;
    c.check_links()?;
    c.check_space()?;
    Ok(c.report)
}

/// Reads both slots into `slots` and returns where in it the newest valid superblock starts.
fn newest_superblock(dev: &Device, slots: &mut [u8]) -> Result<usize> {
    let mut best: Option<(u64, usize)> = None;
    let mut why = Unusable::NotVexfs;
    for (i, (slot, offset)) in slots.chunks_mut(SUPERBLOCK_BYTES).zip(SUPERBLOCK_OFFSETS).enumerate() {
        dev.read(offset, slot)?;
        match DiskSuperblock::parse(slot) {
            Ok(sb) => {
                let txg = sb.txg.get();
                if best.is_none_or(|(t, _)| txg > t) {
                    best = Some((txg, i.saturating_mul(SUPERBLOCK_BYTES)));
                }
            }
            Err(e) if why == Unusable::NotVexfs => why = e,
            Err(_) => {}
        }
    }
    match (best, why) {
        (Some((_, at)), _) => Ok(at),
        (None, Unusable::NotVexfs) => Err(Error::Invalid("no VexFS filesystem")),
        (None, Unusable::Foreign(what)) => Err(Error::Invalid(what)),
        (None, Unusable::BadChecksum) => Err(Error::corrupt("both superblocks have wrong checksums", u64::MAX, 0)),
    }
}

impl Checker<'_> {
    /// The copy that mkfs left at the end has to describe the same filesystem.
    fn check_copy(&mut self) -> Result<()> {
        let mut buf = Vec::new();
        buf.resize(SUPERBLOCK_BYTES, 0u8)?;
        let what = match self.dev.read(self.geo.copy_offset(), &mut buf) {
            Err(_) => Some("the superblock's copy cannot be read"),
            Ok(()) => match DiskSuperblock::parse(&buf) {
                Err(_) => Some("the superblock's copy is damaged"),
                Ok(copy) if copy.uuid != self.sb.uuid => Some("the superblock's copy is of another filesystem"),
                Ok(copy) => match Geometry::from_superblock(copy, self.dev.len()) {
                    Ok(geo) if geo == self.geo => None,
                    _ => Some("the superblock's copy describes another layout"),
                },
            },
        };
        match what {
            Some(what) => self.add(Problem::at(self.geo.total_blocks.saturating_sub(1), what)),
            None => Ok(()),
        }
    }

    /// The log may end anywhere, but what is in it has to be possible.
    fn check_log(&mut self) -> Result<()> {
        let region = Region::new(self.sb, &self.geo);
        if region.units == 0 {
            return Ok(());
        }
        let identity = LogIdentity {
            uuid: self.sb.uuid,
            hash_key: self.hash_key,
        };
        let (txg, tail) = (self.sb.txg.get(), self.sb.log_head.get());
        let mut newer = 0u64;
        let mut read = || -> Result<()> {
            let end = End::find(self.dev, &self.geo, region, identity, tail, txg)?;
            let mut reader = Reader::new(self.dev, region, identity, tail).until(end.position);
            while let Some((_, mut ops)) = reader.next()? {
                while let Some((op, mut entries)) = ops.next()? {
                    newer = newer.saturating_add(u64::from(op.txg.get() > txg));
                    while entries.next()?.is_some() {}
                }
            }
            Ok(())
        };
        let what = match read() {
            Ok(()) => None,
            Err(Error::NoMemory) => return Err(Error::NoMemory),
            Err(Error::Corrupt(c)) => Some(c.what),
            Err(_) => Some("the intent log cannot be read"),
        };
        self.report.log_ops = newer;
        match what {
            Some(what) => self.add(Problem::at(self.geo.log_start, what)),
            None => Ok(()),
        }
    }
}
