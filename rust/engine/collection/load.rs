// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Replaying a tail into memory.
//!
//! A record is appended in one atomic write, so every record of a tail is whole. One that is not, or that does not follow
//! from those before it, means damage: nothing of the collection is shown then, rather than a part of it.

use super::record;
use super::record::Change;
use super::record::Header;
use super::rows::NewRows;
use super::rows::Rows;
use super::Collection;
use super::Image;
use super::TailEnd;
use crate::payload::Payload;
use crate::Ino;
use vexfs_core::Fs;
use vexfs_host::log;
use vexfs_host::mem::U64Map;
use vexfs_host::mem::Vec;
use vexfs_host::relax;
use vexfs_host::sync::Arc;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd as simd;
use zerocopy::IntoBytes as _;

/// Bytes read at once, if records are shorter.
const WINDOW: usize = 1 << 20;

/// A piece of the tail in memory.
struct Window<'a> {
    fs: &'a Fs,
    file: Ino,
    file_len: u64,
    start: u64,
    words: Vec<u32>,
}

impl Window<'_> {
    /// The `len` bytes at `at`, both multiples of 8; `None` if the file ends before.
    fn get(&mut self, at: u64, len: usize) -> Result<Option<&[u32]>> {
        let Some(left) = self.file_len.checked_sub(at).filter(|left| len as u64 <= *left) else {
            return Ok(None);
        };
        let held = self.start..self.start + 4 * self.words.len() as u64;
        if !held.contains(&at) || held.end - at < len as u64 {
            let want = (len.max(WINDOW) as u64).min(left) as usize / 4;
            self.words.clear();
            self.words.resize(want, 0)?;
            self.start = at;
            if self.fs.read(self.file, at, self.words.as_mut_bytes())? != 4 * want {
                self.words.clear();
                return Ok(None);
            }
        }
        let from = (at - self.start) as usize / 4;
        Ok(self.words.get(from..from + len / 4))
    }
}

/// Space for the parts of a batch.
#[derive(Default)]
struct Scratch {
    ids: Vec<u64>,
    inv_norms: Vec<u32>,
}

/// What has been replayed.
struct Replay<'a> {
    of: &'a Collection,
    rows: Rows,
    index: U64Map<u32>,
    next_id: u64,
    scratch: Scratch,
}

/// Reads tail `file` of a collection whose item says `first_next_id`.
#[inline(never)] // Its frame is not to be part of every caller's.
pub(super) fn load(of: &Collection, file: Ino, first_next_id: u64) -> Result<(Arc<Image>, TailEnd)> {
    let inode = of.fs.inode(file).map_err(|e| match e {
        Error::NotFound => Error::corrupt("collection without its tail", u64::MAX, of.dir),
        e => e,
    })?;
    if !inode.is_hidden() || inode.parent != of.dir {
        return Err(Error::corrupt(
            "collection with a tail that is not its own",
            u64::MAX,
            of.dir,
        ));
    }
    let mut window = Window {
        fs: &of.fs,
        file,
        file_len: inode.size,
        start: 0,
        words: Vec::new(),
    };
    let rows = Rows::new(of.params.dim());
    let mut replay = Replay {
        of,
        rows,
        index: U64Map::new(),
        next_id: first_next_id,
        scratch: Scratch::default(),
    };
    let mut at = 0;
    while at < inode.size {
        at = match replay.step(&mut window, at) {
            Ok(next) => next,
            Err(Error::Corrupt(c)) => {
                log!(
                    err,
                    "collection {}: {} at byte {} of its tail (object {})",
                    of.dir,
                    c.what,
                    at,
                    file
                );
                return Err(Error::Corrupt(c));
            }
            Err(e) => return Err(e),
        };
        relax()?;
    }
    let end = TailEnd {
        len: inode.size,
        next_id: replay.next_id,
        txg: 0,
        rewrite_at: 0,
    };
    Ok((Image::new(replay.rows, replay.index)?, end))
}

impl Replay<'_> {
    fn damaged(&self, what: &'static str) -> Error {
        Error::corrupt(what, u64::MAX, self.of.dir)
    }

    /// Replays the record at `at` and returns where the next one begins.
    fn step(&mut self, window: &mut Window<'_>, at: u64) -> Result<u64> {
        let cut = self.damaged("record cut short");
        let file = window.file;
        let words = window.get(at, record::HEADER)?.ok_or(cut)?;
        let bytes = words.as_bytes().first_chunk().ok_or(cut)?;
        let header = Header::decode(bytes, file, self.of.params.dim()).map_err(|what| self.damaged(what))?;
        if header.seq != self.rows.seq() + 1 {
            return Err(self.damaged("record out of sequence"));
        }
        if header.next_id < self.next_id {
            return Err(self.damaged("record that gives ids again"));
        }
        let len = record::HEADER + header.body_len();
        let body = window.get(at, len)?.map(record::body).ok_or(cut)?;
        if !header.matches(body.as_bytes()) {
            return Err(self.damaged("record has a wrong checksum"));
        }
        let body = header.split(body)?;
        self.next_id = header.next_id;
        match header.change {
            Change::Delete => {
                if self.rows.delete(&mut self.index, header.seq, body.ids()) != header.count {
                    return Err(self.damaged("record that deletes rows which are not there"));
                }
            }
            Change::Insert { upsert, .. } => self.insert(header.seq, &body, upsert)?,
        }
        Ok(at + len as u64)
    }

    fn insert(&mut self, seq: u64, body: &record::Body<'_>, upsert: bool) -> Result {
        let (dim, metric) = (self.of.params.dim(), self.of.params.metric());
        self.scratch.ids.clear();
        for id in body.ids() {
            if id >= self.next_id && id != u64::MAX {
                return Err(self.damaged("record with an id that is still to be given"));
            }
            self.scratch.ids.push(id)?;
        }
        if body
            .vectors
            .chunks(dim)
            .any(|vector| simd::check(metric, vector).is_err())
        {
            return Err(self.damaged("record with a vector that is not allowed"));
        }
        let mut rest = body.payloads;
        for len in body.payload_lens {
            let (payload, after) = rest
                .split_at_checked(*len as usize)
                .ok_or(self.damaged("record with wrong payload lengths"))?;
            rest = after;
            if !payload.is_empty() && Payload::parse(payload).is_err() {
                return Err(self.damaged("record with a malformed payload"));
            }
        }
        if !rest.is_empty() {
            return Err(self.damaged("record with wrong payload lengths"));
        }
        self.of.inv_norms(body.vectors, &mut self.scratch.inv_norms)?;
        let new = NewRows {
            ids: &self.scratch.ids,
            vectors: body.vectors,
            inv_norms: &self.scratch.inv_norms,
            payload_lens: body.payload_lens,
            payloads: body.payloads,
        };
        self.index.reserve(new.ids.len())?;
        self.rows.reserve(&new)?;
        let replaced = self.rows.append(&mut self.index, seq, &new)?;
        if replaced != 0 && !upsert {
            return Err(self.damaged("record that inserts rows which are there already"));
        }
        Ok(())
    }
}

impl Collection {
    /// Puts the inverse norms of packed vectors into `out`, if the metric needs them.
    pub(super) fn inv_norms(&self, vectors: &[u32], out: &mut Vec<u32>) -> Result {
        out.clear();
        if self.params.metric() != simd::Metric::Cosine {
            return Ok(());
        }
        out.resize(vectors.len().checked_div(self.params.dim()).unwrap_or(0), 0)?;
        let written = self.kernels.inv_norms(vectors, self.params.dim(), out);
        written.map_err(|_| Error::Invalid("vectors of another dimension"))
    }
}
