// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Replaying a tail into memory.
//!
//! A record is appended in one atomic write, so every record of a tail is whole. One that is not, or that does not follow
//! from those before it, means damage: nothing of the collection is shown then, rather than a part of it.
//!
//! The headers alone tell how many rows there are: [`survey`] reads nothing else.

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

/// Bytes read at once to replay, if records are shorter.
const WINDOW: usize = 1 << 20;
/// Bytes read at once for a survey: enough for many small records, not much more than the header of a large one.
const SURVEY_WINDOW: usize = 1 << 16;

/// A piece of the tail in memory.
struct Window<'a> {
    fs: &'a Fs,
    file: Ino,
    file_len: u64,
    size: usize,
    start: u64,
    words: Vec<u32>,
}

impl<'a> Window<'a> {
    /// No piece yet of the tail of a collection, of which `size` bytes are to be read at once.
    fn new(of: &'a Collection, file: Ino, size: usize) -> Result<Self> {
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
        Ok(Self {
            fs: &of.fs,
            file,
            file_len: inode.size,
            size,
            start: 0,
            words: Vec::new(),
        })
    }

    /// The `len` bytes at `at`, both multiples of 8; `None` if the file ends before.
    fn get(&mut self, at: u64, len: usize) -> Result<Option<&[u32]>> {
        let Some(left) = self.file_len.checked_sub(at).filter(|left| len as u64 <= *left) else {
            return Ok(None);
        };
        let held = self.start..self.start + 4 * self.words.len() as u64;
        if !held.contains(&at) || held.end - at < len as u64 {
            let want = (len.max(self.size) as u64).min(left) as usize / 4;
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

/// Follows the headers of records.
struct Chain<'a> {
    of: &'a Collection,
    window: Window<'a>,
    /// Where the next record begins.
    at: u64,
    seq: u64,
    next_id: u64,
    live: usize,
}

impl<'a> Chain<'a> {
    /// Before the first record.
    fn new(of: &'a Collection, window: Window<'a>, first_next_id: u64) -> Self {
        Self {
            of,
            window,
            at: 0,
            seq: 0,
            next_id: first_next_id,
            live: 0,
        }
    }

    fn damaged(&self, what: &'static str) -> Error {
        log!(
            err,
            "collection {}: {} at byte {} of its tail, object {}",
            self.of.dir,
            what,
            self.at,
            self.window.file
        );
        Error::corrupt(what, u64::MAX, self.of.dir)
    }

    /// The header of the next record, `None` at the end. [`pass`](Self::pass) is to be called next.
    fn header(&mut self) -> Result<Option<Header>> {
        relax()?;
        if self.at == self.window.file_len {
            return Ok(None);
        }
        let (file, dim) = (self.window.file, self.of.params.dim());
        let words = self.window.get(self.at, record::HEADER)?;
        let header = words.and_then(|words| words.as_bytes().first_chunk());
        let header = header.map_or(Err("record cut short"), |bytes| Header::decode(bytes, file, dim));
        let header = header.map_err(|what| self.damaged(what))?;
        if header.seq != self.seq + 1 {
            return Err(self.damaged("record out of sequence"));
        }
        if header.next_id < self.next_id {
            return Err(self.damaged("record that gives ids again"));
        }
        let possible = match header.change {
            Change::Insert { upsert: false, .. } => header.live == self.live + header.count,
            Change::Insert { upsert: true, .. } => (self.live..=self.live + header.count).contains(&header.live),
            Change::Delete => header.live + header.count == self.live,
        };
        if !possible {
            return Err(self.damaged("record with a wrong number of rows"));
        }
        if (record::HEADER + header.body_len()) as u64 > self.window.file_len - self.at {
            return Err(self.damaged("record cut short"));
        }
        Ok(Some(header))
    }

    /// Goes on behind the record with this header.
    fn pass(&mut self, header: &Header) {
        self.at += (record::HEADER + header.body_len()) as u64;
        self.seq = header.seq;
        self.next_id = header.next_id;
        self.live = header.live;
    }
}

/// What the headers of a tail tell.
pub(super) struct Survey {
    pub(super) len: u64,
    pub(super) live: usize,
    pub(super) dead: usize,
    pub(super) next_id: u64,
}

/// Reads the headers of tail `file` of a collection whose item says `first_next_id`.
pub(super) fn survey(of: &Collection, file: Ino, first_next_id: u64) -> Result<Survey> {
    let mut chain = Chain::new(of, Window::new(of, file, SURVEY_WINDOW)?, first_next_id);
    let mut inserted = 0;
    while let Some(header) = chain.header()? {
        if header.change != Change::Delete {
            inserted += header.count;
        }
        chain.pass(&header);
    }
    let dead = inserted - chain.live;
    Ok(Survey {
        len: chain.at,
        live: chain.live,
        dead,
        next_id: chain.next_id,
    })
}

/// What has been replayed.
struct Replay<'a> {
    chain: Chain<'a>,
    rows: Rows,
    index: U64Map<u32>,
    ids: Vec<u64>,
    inv_norms: Vec<u32>,
}

/// Reads tail `file` of a collection whose item says `first_next_id`.
#[inline(never)] // Its frame is not to be part of every caller's.
pub(super) fn load(of: &Collection, file: Ino, first_next_id: u64) -> Result<(Arc<Image>, TailEnd)> {
    let mut replay = Replay {
        chain: Chain::new(of, Window::new(of, file, WINDOW)?, first_next_id),
        rows: Rows::new(&of.params),
        index: U64Map::new(),
        ids: Vec::new(),
        inv_norms: Vec::new(),
    };
    while let Some(header) = replay.chain.header()? {
        replay.step(&header)?;
        replay.chain.pass(&header);
        if replay.rows.live() != header.live {
            return Err(replay
                .chain
                .damaged("record with a wrong number of rows before its end"));
        }
    }
    let Replay { chain, rows, index, .. } = replay;
    let end = TailEnd {
        len: chain.at,
        next_id: chain.next_id,
        txg: 0,
        rewrite_at: 0,
        is_alone: false,
    };
    Ok((Image::new(rows, index)?, end))
}

/// What can be wrong with a record's contents, or prevent them from being replayed.
enum Refusal {
    Damaged(&'static str),
    Failed(Error),
}

impl From<Error> for Refusal {
    fn from(e: Error) -> Self {
        Refusal::Failed(e)
    }
}

impl Replay<'_> {
    /// Replays the record with this header.
    fn step(&mut self, header: &Header) -> Result {
        match self.apply(header) {
            Ok(()) => Ok(()),
            Err(Refusal::Damaged(what)) => Err(self.chain.damaged(what)),
            Err(Refusal::Failed(e)) => Err(e),
        }
    }

    #[inline(never)] // Its frame is not to be part of the loop's.
    fn apply(&mut self, header: &Header) -> core::result::Result<(), Refusal> {
        let Replay {
            chain,
            rows,
            index,
            ids,
            inv_norms,
        } = self;
        let of = chain.of;
        let len = record::HEADER + header.body_len();
        let words = chain
            .window
            .get(chain.at, len)?
            .ok_or(Refusal::Damaged("record cut short"))?;
        let body = record::body(words);
        if !header.matches(body.as_bytes()) {
            return Err(Refusal::Damaged("record has a wrong checksum"));
        }
        let body = header.split(body)?;
        let Change::Insert { upsert, .. } = header.change else {
            return match rows.delete(index, header.seq, body.ids()) == header.count {
                true => Ok(()),
                false => Err(Refusal::Damaged("record that deletes rows which are not there")),
            };
        };
        check(of, header, &body).map_err(Refusal::Damaged)?;
        ids.clear();
        for id in body.ids() {
            ids.push(id)?;
        }
        of.inv_norms(body.vectors, inv_norms)?;
        let new = NewRows {
            ids,
            vectors: body.vectors,
            inv_norms,
            payload_lens: body.payload_lens,
            payloads: body.payloads,
        };
        index.reserve(new.ids.len())?;
        rows.reserve(&new)?;
        if rows.append(index, header.seq, &new)? != 0 && !upsert {
            return Err(Refusal::Damaged("record that inserts rows which are there already"));
        }
        Ok(())
    }
}

/// Checks the contents of an insert that do not depend on the rows before it.
fn check(of: &Collection, header: &Header, body: &record::Body<'_>) -> core::result::Result<(), &'static str> {
    if body.ids().any(|id| id >= header.next_id && id != u64::MAX) {
        return Err("record with an id that is still to be given");
    }
    let dim = of.params.dim();
    let space = of.params.space().map_err(|_| "parameters")?;
    if body
        .vectors
        .chunks(dim)
        .any(|vector| space.check(vector.as_bytes()).is_err())
    {
        return Err("record with a vector that is not allowed");
    }
    let mut rest = body.payloads;
    for len in body.payload_lens {
        let (payload, after) = rest
            .split_at_checked(*len as usize)
            .ok_or("record with wrong payload lengths")?;
        rest = after;
        if !payload.is_empty() && Payload::parse(payload).is_err() {
            return Err("record with a malformed payload");
        }
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err("record with wrong payload lengths")
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
        let written = self.kernels.inv_norms(&self.params.space()?, vectors.as_bytes(), out);
        written.map_err(|_| Error::Invalid("vectors of another dimension"))
    }
}
