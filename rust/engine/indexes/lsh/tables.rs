// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Hash tables as flat arrays: for each table the rows sorted by bucket, and where each bucket begins.

use super::format::Shape;
use super::format::SKETCH_BITS;
use super::format::SKETCH_BYTES;
use super::project::sketch;
use super::project::Functions;
use super::project::Projector;
use super::project::Workspace;
use super::project::CHUNK;
use core::ops::Range;
use vexfs_host::mem::Buffer;
use vexfs_host::mem::Vec;
use vexfs_host::relax;
use vexfs_host::sync::Mutex;
use vexfs_host::threads;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd::Kernels;
use vexfs_simd::Rows;

/// Rows that a thread projects before it hands over what it has.
const PART: usize = 4096;

/// All tables of an index.
///
/// # Invariants
///
/// `directories` has `shape.directory_len()` words a table, which start at 0, never fall and end at `rows`; `lists` has
/// `rows` words a table, each below `rows`.
pub(super) struct Tables {
    pub(super) shape: Shape,
    pub(super) rows: usize,
    pub(super) directories: Buffer,
    pub(super) lists: Buffer,
}

impl Tables {
    /// The rows in a bucket of a table.
    #[inline]
    pub(super) fn bucket(&self, table: usize, bucket: u32) -> &[u32] {
        let at = table * self.shape.directory_len() + bucket as usize;
        let range = match self.directories.as_u32s().get(at..at + 2) {
            Some([from, to]) => *from as usize..*to as usize,
            _ => return &[],
        };
        let list = table * self.rows;
        self.lists
            .as_u32s()
            .get(list + range.start..list + range.end)
            .unwrap_or_default()
    }

    /// Checks the invariants.
    pub(super) fn check(&self) -> Result {
        let bad = |what| Err(Error::corrupt(what, u64::MAX, 0));
        let words = |per_table: usize| per_table.checked_mul(self.shape.tables).and_then(|n| n.checked_mul(4));
        if words(self.shape.directory_len()) != Some(self.directories.len())
            || words(self.rows) != Some(self.lists.len())
        {
            return bad("lsh: length of the tables");
        }
        for directory in self.directories.as_u32s().chunks(self.shape.directory_len()) {
            let mut before = 0;
            let mut rising = directory.first() == Some(&0);
            for part in directory.chunks(1 << 16) {
                for at in part {
                    rising &= *at >= before;
                    before = *at;
                }
                relax()?;
            }
            if !rising || before as usize != self.rows {
                return bad("lsh: bucket directory");
            }
        }
        for part in self.lists.as_u32s().chunks(1 << 16) {
            if part.iter().any(|row| *row as usize >= self.rows) {
                return bad("lsh: row in a bucket");
            }
            relax()?;
        }
        Ok(())
    }

    /// Sorts rows into buckets. `buckets` has a word a row for each table, table by table.
    #[inline(never)] // own frame
    pub(super) fn build(shape: &Shape, rows: usize, buckets: &[u32]) -> Result<Self> {
        let len = shape.directory_len();
        let mut directories = Buffer::zeroed(shape.tables.checked_mul(len * 4).ok_or(Error::Overflow)?)?;
        let mut lists = Buffer::zeroed(buckets.len() * 4)?;
        if rows > 0 {
            let tables = directories
                .as_u32s_mut()
                .chunks_mut(len)
                .zip(lists.as_u32s_mut().chunks_mut(rows));
            for ((directory, list), buckets) in tables.zip(buckets.chunks(rows)) {
                sort_into(directory, list, buckets)?;
            }
        }
        Ok(Self {
            shape: *shape,
            rows,
            directories,
            lists,
        })
    }
}

/// Sorts row numbers by bucket, in one pass to count and one to place.
fn sort_into(directory: &mut [u32], list: &mut [u32], buckets: &[u32]) -> Result {
    for part in buckets.chunks(1 << 14) {
        for bucket in part {
            // Counted one place up: the first bucket begins at 0.
            let count = directory.get_mut(*bucket as usize + 1).ok_or(Error::Overflow)?;
            *count = count.saturating_add(1);
        }
        relax()?;
    }
    let mut sum = 0u32;
    for at in directory.iter_mut() {
        sum = sum.saturating_add(*at);
        *at = sum;
    }
    // Placed from the last row down, each bucket's end moves to its start, so that rows are ascending in a bucket.
    for (i, bucket) in buckets.iter().enumerate().rev() {
        let end = directory.get_mut(*bucket as usize + 1).ok_or(Error::Overflow)?;
        *end = end.checked_sub(1).ok_or(Error::Overflow)?;
        *list.get_mut(*end as usize).ok_or(Error::Overflow)? = i as u32;
        if i % (1 << 14) == 0 {
            relax()?;
        }
    }
    // Word `b + 1` is the start of bucket `b` now: move all down by one.
    let n = directory.len();
    directory.copy_within(1..n, 0);
    if let Some(last) = directory.last_mut() {
        *last = buckets.len() as u32;
    }
    Ok(())
}

/// How rows are hashed.
pub(super) struct Hashing<'a> {
    pub(super) kernels: Kernels,
    pub(super) projector: &'a Projector,
    pub(super) thresholds: &'a [i32],
    pub(super) functions: Option<&'a Functions>,
    pub(super) threads: usize,
}

/// Projects all rows and writes their sketches; and their buckets, a word a row for each table, if there are functions.
#[inline(never)] // own frame
pub(super) fn hash_rows(h: &Hashing<'_>, rows: &Rows<'_>, sketches: &mut [u8], buckets: &mut [u32]) -> Result {
    let count = rows.count();
    let parts = count.div_ceil(PART);
    let threads = h.threads.clamp(1, parts.max(1));
    let tables = h.functions.map_or(0, |f| f.shape.tables);
    // Threads take parts in turn and hand over what they made of one under this lock.
    let output = Mutex::new((sketches, buckets, 0usize))?;
    threads::run(threads, &|_| {
        let mut work = Workspace::new(h.projector, CHUNK)?;
        let mut own_sketches = Buffer::zeroed(PART * SKETCH_BYTES)?;
        let mut own_buckets = Vec::new();
        own_buckets.resize(PART * tables, 0u32)?;
        loop {
            let part = {
                let mut guard = output.lock();
                let part = guard.2;
                guard.2 = part.saturating_add(1);
                part
            };
            if part >= parts {
                return Ok(());
            }
            let range = part * PART..((part + 1) * PART).min(count);
            let rows = rows.slice(range.clone()).ok_or(Error::Overflow)?;
            hash_part(h, &rows, &mut work, &mut own_sketches, &mut own_buckets)?;
            let mut guard = output.lock();
            let (sketches, buckets, _) = &mut *guard;
            hand_over(
                &own_sketches,
                sketches,
                range.start * SKETCH_BYTES..range.end * SKETCH_BYTES,
            )?;
            for table in 0..tables {
                let own = own_buckets.get(table * PART..).unwrap_or_default();
                hand_over(own, buckets, table * count + range.start..table * count + range.end)?;
            }
        }
    })
}

/// Copies the start of `from` to a range of `to`.
fn hand_over<T: Copy>(from: &[T], to: &mut [T], range: Range<usize>) -> Result {
    let to = to.get_mut(range).ok_or(Error::Overflow)?;
    to.copy_from_slice(from.get(..to.len()).ok_or(Error::Overflow)?);
    Ok(())
}

/// Projects at most [`PART`] rows.
fn hash_part(
    h: &Hashing<'_>,
    rows: &Rows<'_>,
    work: &mut Workspace,
    sketches: &mut [u8],
    buckets: &mut [u32],
) -> Result {
    let mut first = 0;
    while first < rows.count() {
        let n = CHUNK.min(rows.count() - first);
        let chunk = rows.slice(first..first + n).ok_or(Error::Overflow)?;
        let outputs = h.projector.rows(&h.kernels, &chunk, work)?;
        for (i, outputs) in outputs.chunks(SKETCH_BITS).enumerate() {
            let at = first + i;
            let to = sketches
                .get_mut(at * SKETCH_BYTES..(at + 1) * SKETCH_BYTES)
                .ok_or(Error::Overflow)?;
            sketch(outputs, h.thresholds, to);
            if let Some(functions) = h.functions {
                for (table, buckets) in buckets.chunks_mut(PART).enumerate() {
                    if let Some(bucket) = buckets.get_mut(at) {
                        *bucket = functions.bucket_of(outputs, table);
                    }
                }
            }
        }
        first += n;
        relax()?;
    }
    Ok(())
}
