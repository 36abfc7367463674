// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The rows of a collection's tail in memory: what the scan reads.
//!
//! TailRows are only ever appended, in the order of the changes that made them; a row that is deleted or replaced stays
//! and notes when it died. So a reader that remembers the number of rows and of the last change (a [`TailSnapshot`])
//! sees exactly the state of that moment, however often it gives the lock back. Dead rows go when the whole is rebuilt.
//!
//! Vectors lie in chunks of at most 1 MiB and payloads in chunks of at least one and usually [`ARENA`] bytes, so that
//! no allocation grows with the collection but the tables of chunks and the index of ids.

use crate::limits::ROWS_MAX;
use vexfs_host::mem::U64Map;
use vexfs_host::mem::Vec;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd as simd;

/// Bytes of a chunk's vectors.
const CHUNK: usize = 1 << 20;
/// Shorter vectors are counted as so many bytes, which bounds the rows of a chunk.
const ROW_MIN: usize = 16;
/// Bytes of a chunk of payloads.
const ARENA: usize = 256 * 1024;

/// The number of a change; the first of a collection is 1.
pub(crate) type Seq = u64;

/// Where a row's payload lies; `len` 0 means that it has none.
#[derive(Clone, Copy, Default)]
struct PayloadRef {
    arena: u32,
    offset: u32,
    len: u32,
}

/// TailRows `i << shift` and on.
#[derive(Default)]
struct Chunk {
    vectors: Vec<u8>,
    /// Empty unless the metric is cosine.
    inv_norms: Vec<u32>,
    ids: Vec<u64>,
    /// The change that ended a row, 0 for a live one.
    died: Vec<Seq>,
    payloads: Vec<PayloadRef>,
}

impl Chunk {
    /// Takes memory for `rows` rows in all.
    fn reserve(&mut self, rows: usize, row_bytes: usize, with_norms: bool) -> Result {
        let more = rows.saturating_sub(self.ids.len());
        self.vectors.reserve(more * row_bytes)?;
        if with_norms {
            self.inv_norms.reserve(more)?;
        }
        self.ids.reserve(more)?;
        self.died.reserve(more)?;
        self.payloads.reserve(more)
    }

    /// Bytes of memory held.
    fn bytes(&self) -> u64 {
        let pairs = self.ids.capacity() + self.died.capacity();
        (self.vectors.capacity()
            + 4 * self.inv_norms.capacity()
            + 8 * pairs
            + size_of::<PayloadRef>() * self.payloads.capacity()) as u64
    }
}

/// A moment of a collection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TailSnapshot {
    /// TailRows that existed.
    pub(crate) count: usize,
    /// Those of them that were alive.
    pub(crate) live: usize,
    seq: Seq,
}

impl TailSnapshot {
    /// Whether a row with this death was alive.
    #[inline]
    pub(crate) fn sees(&self, died: Seq) -> bool {
        died == 0 || died > self.seq
    }
}

/// Consecutive rows of one chunk.
pub(crate) struct Block<'a> {
    pub(crate) vectors: simd::Rows<'a>,
    pub(crate) ids: &'a [u64],
    pub(crate) died: &'a [Seq],
}

/// New rows, as parallel slices.
///
/// # Invariants
///
/// There are `ids.len()` rows: so many vectors of the collection's dimension, inverse norms if the metric is cosine
/// (else none), and payload lengths (or none, if no row has a payload). `payloads` is as long as the lengths say.
#[derive(Clone, Copy)]
pub(crate) struct NewRows<'a> {
    pub(crate) ids: &'a [u64],
    pub(crate) vectors: &'a [u8],
    pub(crate) inv_norms: &'a [u32],
    pub(crate) payload_lens: &'a [u32],
    pub(crate) payloads: &'a [u8],
}

/// All rows, dead ones included.
///
/// # Invariants
///
/// Every chunk but the last has `1 << shift` rows; a chunk's parallel arrays agree in length. `live` rows have `died`
/// 0.
pub(crate) struct TailRows {
    space: simd::Space,
    /// Bytes of a vector.
    row_bytes: usize,
    shift: u32,
    chunks: Vec<Chunk>,
    arenas: Vec<Vec<u8>>,
    count: usize,
    live: usize,
    seq: Seq,
    /// Bytes of the chunks and arenas.
    bytes: u64,
}

impl TailRows {
    /// No rows, of vectors of this space.
    pub(crate) fn new(space: &simd::Space) -> Self {
        let row_bytes = space.row_bytes();
        let shift = (CHUNK / row_bytes.max(ROW_MIN)).checked_ilog2().unwrap_or(0);
        Self {
            space: *space,
            row_bytes,
            shift,
            chunks: Vec::new(),
            arenas: Vec::new(),
            count: 0,
            live: 0,
            seq: 0,
            bytes: 0,
        }
    }

    /// TailRows, live and dead.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// TailRows that a search can return.
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    /// The last change.
    pub(crate) fn seq(&self) -> Seq {
        self.seq
    }

    /// The present moment.
    pub(crate) fn snapshot(&self) -> TailSnapshot {
        TailSnapshot {
            count: self.count,
            live: self.live,
            seq: self.seq,
        }
    }

    /// Bytes of memory held.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let tables = self.chunks.capacity() * size_of::<Chunk>() + self.arenas.capacity() * size_of::<Vec<u8>>();
        self.bytes + tables as u64
    }

    fn chunk_of(&self, row: usize) -> Option<(&Chunk, usize)> {
        Some((self.chunks.get(row >> self.shift)?, row & ((1 << self.shift) - 1)))
    }

    /// Up to `max` rows from `first` on, as many as lie in one chunk.
    ///
    /// # Errors
    ///
    /// There is no such row.
    pub(crate) fn block(&self, first: usize, max: usize) -> Result<Block<'_>> {
        let none = Error::Invalid("no such row");
        let (chunk, at) = self.chunk_of(first).ok_or(none)?;
        let end = at.saturating_add(max).min(chunk.ids.len());
        let vectors = chunk
            .vectors
            .get(at * self.row_bytes..end * self.row_bytes)
            .ok_or(none)?;
        let inv_norms = if chunk.inv_norms.is_empty() {
            &[][..]
        } else {
            chunk.inv_norms.get(at..end).ok_or(none)?
        };
        Ok(Block {
            vectors: simd::Rows::new(&self.space, vectors, self.row_bytes, end - at, inv_norms).map_err(|_| none)?,
            ids: chunk.ids.get(at..end).ok_or(none)?,
            died: chunk.died.get(at..end).ok_or(none)?,
        })
    }

    /// The vector of a row.
    pub(crate) fn vector(&self, row: u32) -> Option<&[u8]> {
        let (chunk, at) = self.chunk_of(row as usize)?;
        chunk.vectors.get(at * self.row_bytes..(at + 1) * self.row_bytes)
    }

    /// The inverse norm of a row, if the metric needs it.
    pub(crate) fn norm(&self, row: u32) -> Option<u32> {
        let (chunk, at) = self.chunk_of(row as usize)?;
        chunk.inv_norms.get(at).copied()
    }

    /// The payload of a row, empty if it has none.
    pub(crate) fn payload(&self, row: u32) -> Option<&[u8]> {
        let (chunk, at) = self.chunk_of(row as usize)?;
        let place = chunk.payloads.get(at)?;
        if place.len == 0 {
            return Some(&[]);
        }
        let start = place.offset as usize;
        self.arenas
            .get(place.arena as usize)?
            .get(start..start + place.len as usize)
    }

    /// The id of a row and when it died.
    pub(crate) fn identity(&self, row: u32) -> Option<(u64, Seq)> {
        let (chunk, at) = self.chunk_of(row as usize)?;
        Some((*chunk.ids.get(at)?, *chunk.died.get(at)?))
    }

    /// Takes the memory that appending these rows needs.
    ///
    /// # Errors
    ///
    /// `NoMemory`; `TooBig` if there would be too many rows. Nothing changed.
    pub(crate) fn reserve(&mut self, new: &NewRows<'_>) -> Result {
        let total = self.count.checked_add(new.ids.len()).filter(|total| *total <= ROWS_MAX);
        let total = total.ok_or(Error::TooBig("rows of the collection"))?;
        let chunks = total.div_ceil(1 << self.shift);
        self.chunks.reserve(chunks.saturating_sub(self.chunks.len()))?;
        // Fill the tables with empty chunks at once: an empty chunk at the end breaks no invariant a reader relies on.
        while self.chunks.len() < chunks {
            self.chunks.push(Chunk::default())?;
        }
        for index in self.count >> self.shift..chunks {
            let in_chunk = (total - (index << self.shift)).min(1 << self.shift);
            if let Some(chunk) = self.chunks.get_mut(index) {
                let before = chunk.bytes();
                let reserved = chunk.reserve(in_chunk, self.row_bytes, !new.inv_norms.is_empty());
                self.bytes += chunk.bytes() - before;
                reserved?;
            }
        }
        self.reserve_payloads(new.payload_lens)
    }

    /// The arena that is filled next. Those behind it are empty: what was reserved for rows that did not come is there
    /// still.
    fn filling(&self) -> usize {
        self.arenas.iter().rposition(|arena| !arena.is_empty()).unwrap_or(0)
    }

    /// Takes the arenas that payloads of these lengths will fill, in the order in which they will.
    fn reserve_payloads(&mut self, lens: &[u32]) -> Result {
        let (mut next, mut free) = (self.filling(), 0);
        for (i, len) in lens.iter().enumerate() {
            let len = *len as usize;
            while len > free {
                if next >= self.arenas.len() {
                    let rest = lens.get(i..).unwrap_or_default();
                    let rest = rest.iter().fold(0usize, |sum, len| sum.saturating_add(*len as usize));
                    // Small batches grow a small arena: start at 4 KiB and double.
                    let last = self.arenas.last().map_or(2048, Vec::capacity);
                    let size = rest.clamp(last.saturating_mul(2).min(ARENA), ARENA).max(len);
                    self.arenas.push(Vec::with_capacity(size)?)?;
                    self.bytes += self.arenas.last().map_or(0, Vec::capacity) as u64;
                }
                free = self.arenas.get(next).map_or(0, |arena| arena.capacity() - arena.len());
                next += 1;
            }
            free -= len;
        }
        Ok(())
    }

    /// Appends rows with ids that are not in `index`, or are and shall be replaced. Returns how many were replaced.
    ///
    /// # Errors
    ///
    /// `NoMemory`, which cannot happen after [`TailRows::reserve`] and `index.reserve`; the whole must be thrown away
    /// then.
    pub(crate) fn append(&mut self, index: &mut U64Map<u32>, seq: Seq, new: &NewRows<'_>) -> Result<usize> {
        let mut replaced = 0;
        self.seq = seq;
        let mut done = 0;
        while done < new.ids.len() {
            let at = self.count & ((1 << self.shift) - 1);
            let end = (done + (1 << self.shift) - at).min(new.ids.len());
            let chunk = self.chunks.get_mut(self.count >> self.shift).ok_or(Error::NoMemory)?;
            let vectors = new.vectors.get(done * self.row_bytes..end * self.row_bytes);
            chunk
                .vectors
                .extend_from_slice(vectors.ok_or(Error::Invalid("vectors"))?)?;
            if !new.inv_norms.is_empty() {
                chunk
                    .inv_norms
                    .extend_from_slice(new.inv_norms.get(done..end).ok_or(Error::Invalid("norms"))?)?;
            }
            let ids = new.ids.get(done..end).ok_or(Error::Invalid("ids"))?;
            chunk.ids.extend_from_slice(ids)?;
            chunk.died.resize(chunk.ids.len(), 0)?;
            chunk.payloads.resize(chunk.ids.len(), PayloadRef::default())?;
            let first = self.count;
            self.count += ids.len();
            self.live += ids.len();
            for (i, id) in ids.iter().enumerate() {
                if let Some(old) = index.insert(*id, (first + i) as u32)? {
                    self.kill(old, seq);
                    replaced += 1;
                }
            }
            done = end;
        }
        self.append_payloads(new)?;
        Ok(replaced)
    }

    fn append_payloads(&mut self, new: &NewRows<'_>) -> Result {
        let mut rest = new.payloads;
        let first = self.count - new.ids.len();
        let mut arena = self.filling();
        for (i, len) in new.payload_lens.iter().enumerate() {
            let (payload, after) = rest
                .split_at_checked(*len as usize)
                .ok_or(Error::Invalid("payload lengths"))?;
            rest = after;
            if payload.is_empty() {
                continue;
            }
            while self
                .arenas
                .get(arena)
                .is_some_and(|arena| arena.capacity() - arena.len() < payload.len())
            {
                arena += 1;
            }
            let bytes = self.arenas.get_mut(arena).ok_or(Error::NoMemory)?;
            let place = PayloadRef {
                arena: arena as u32,
                offset: bytes.len() as u32,
                len: *len,
            };
            bytes.extend_from_slice(payload)?;
            let row = first + i;
            let at = row & ((1 << self.shift) - 1);
            if let Some(slot) = self
                .chunks
                .get_mut(row >> self.shift)
                .and_then(|chunk| chunk.payloads.get_mut(at))
            {
                *slot = place;
            }
        }
        Ok(())
    }

    /// Ends the rows of these ids; unknown ones are ignored. Returns how many there were.
    pub(crate) fn delete(&mut self, index: &mut U64Map<u32>, seq: Seq, ids: impl Iterator<Item = u64>) -> usize {
        self.seq = seq;
        let mut deleted = 0;
        for id in ids {
            if let Some(row) = index.remove(id) {
                self.kill(row, seq);
                deleted += 1;
            }
        }
        deleted
    }

    fn kill(&mut self, row: u32, seq: Seq) {
        let (row, mask) = (row as usize, (1usize << self.shift) - 1);
        let died = self
            .chunks
            .get_mut(row >> self.shift)
            .and_then(|chunk| chunk.died.get_mut(row & mask));
        if let Some(died) = died {
            if *died == 0 {
                *died = seq;
                self.live -= 1;
            }
        }
    }
}
