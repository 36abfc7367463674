// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Loading a collection: its segments' headers and tombstones, and its tail, which is replayed.
//!
//! A record is appended in one atomic write, so every record of a tail is whole. One that is not, or that does not
//! follow from those before it, means damage: nothing of the collection is shown then, rather than a part of it.
//!
//! The headers alone tell how many rows there are: [`survey`] reads nothing else.

use super::item::Item;
use super::record;
use super::record::Change;
use super::record::Header;
use super::tombstones;
use super::Collection;
use super::Dead;
use super::State;
use super::TailEnd;
use super::Version;
use crate::bits::Bits;
use crate::payload::Payload;
use crate::segment::find_id;
use crate::segment::Segment;
use crate::tail::NewRows;
use crate::tail::TailRows;
use crate::Ino;
use vexfs_core::Fs;
use vexfs_host::log;
use vexfs_host::mem::U64Map;
use vexfs_host::mem::Vec;
use vexfs_host::relax;
use vexfs_host::sync::Arc;
use vexfs_host::Error;
use vexfs_host::Result;

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
    bytes: Vec<u8>,
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
            bytes: Vec::new(),
        })
    }

    /// The `len` bytes at `at`; `None` if the file ends before.
    fn get(&mut self, at: u64, len: usize) -> Result<Option<&[u8]>> {
        let Some(left) = self.file_len.checked_sub(at).filter(|left| len as u64 <= *left) else {
            return Ok(None);
        };
        let held = self.start..self.start + self.bytes.len() as u64;
        if !held.contains(&at) || held.end - at < len as u64 {
            let want = (len.max(self.size) as u64).min(left) as usize;
            self.bytes.clear();
            self.bytes.resize(want, 0)?;
            self.start = at;
            if self.fs.read(self.file, at, &mut self.bytes)? != want {
                self.bytes.clear();
                return Ok(None);
            }
        }
        let from = (at - self.start) as usize;
        Ok(self.bytes.get(from..from + len))
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
    /// TailRows of segments that records ended.
    killed: u64,
    /// Of them, those that were deleted.
    deletes: usize,
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
            killed: 0,
            deletes: 0,
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
    #[inline(never)] // own frame
    fn header(&mut self) -> Result<Option<Header>> {
        relax()?;
        if self.at == self.window.file_len {
            return Ok(None);
        }
        let (file, space) = (self.window.file, self.of.params.space());
        let bytes = self.window.get(self.at, record::HEADER)?;
        let header = bytes.and_then(|bytes| bytes.first_chunk());
        let header = header.map_or(Err("record cut short"), |bytes| Header::decode(bytes, file, &space));
        let header = header.map_err(|what| self.damaged(what))?;
        if header.seq != self.seq + 1 {
            return Err(self.damaged("record out of sequence"));
        }
        if header.next_id < self.next_id {
            return Err(self.damaged("record that gives ids again"));
        }
        let (before, after) = (self.live, header.live);
        // How many rows of the tail the change ended.
        let ended = match header.change {
            Change::Insert { .. } => (before + header.count).checked_sub(after),
            Change::Delete => before.checked_sub(after),
        };
        let ended = ended.and_then(|ended| ended.checked_add(header.killed));
        let possible = match header.change {
            Change::Insert { upsert: false, .. } => ended == Some(0),
            Change::Insert { upsert: true, .. } => ended.is_some_and(|ended| ended <= header.count),
            Change::Delete => ended == Some(header.count),
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
        self.killed = self.killed.saturating_add(header.killed as u64);
        if header.change == Change::Delete {
            self.deletes = self.deletes.saturating_add(header.killed);
        }
    }
}

/// What the headers of a tail tell.
pub(super) struct Survey {
    pub(super) len: u64,
    pub(super) live: usize,
    pub(super) dead: usize,
    /// TailRows of segments that the tail ended.
    pub(super) killed: u64,
    pub(super) next_id: u64,
}

/// Reads the headers of the tail.
pub(super) fn survey(of: &Collection, item: &Item) -> Result<Survey> {
    let window = Window::new(of, item.tail, SURVEY_WINDOW)?;
    let mut chain = Chain::new(of, window, item.next_id);
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
        killed: chain.killed,
        next_id: chain.next_id,
    })
}

/// A segment and its dead rows, to which replaying adds.
struct Target {
    segment: Arc<Segment>,
    dead: Option<Bits>,
    count: u32,
}

impl Target {
    /// Ends the row with this id. Returns whether there is a live one.
    fn kill(&mut self, id: u64) -> Result<bool> {
        if !self.segment.may_have(id) {
            return Ok(false);
        }
        let ids = self.segment.ids()?;
        let Ok(row) = find_id(ids.as_u64s(), 0, id) else {
            return Ok(false);
        };
        let mut dead = match self.dead.take() {
            Some(dead) => dead,
            None => Bits::new(self.segment.count())?,
        };
        let alive = !dead.get(row as u32);
        if alive {
            dead.set(row as u32);
            self.count = self.count.saturating_add(1);
        }
        self.dead = Some(dead);
        Ok(alive)
    }
}

/// What has been replayed.
struct Replay<'a> {
    chain: Chain<'a>,
    targets: Vec<Target>,
    rows: TailRows,
    index: U64Map<u32>,
    ids: Vec<u64>,
    inv_norms: Vec<u32>,
    payload_lens: Vec<u32>,
}

/// Opens the segments of a collection.
#[inline(never)] // own frame
fn targets(of: &Collection, item: &Item) -> Result<Vec<Target>> {
    let mut targets = Vec::with_capacity(item.segments.len())?;
    for entry in &item.segments {
        let segment = Segment::open(&of.context, entry.file)?;
        let header = segment.header();
        if header.rows != entry.rows || header.number != entry.number {
            return Err(Error::corrupt("collection item with another segment", u64::MAX, of.dir));
        }
        if header.max_id >= item.next_id && header.max_id != u64::MAX {
            let what = "segment with an id that is still to be given";
            return Err(Error::corrupt(what, u64::MAX, of.dir));
        }
        let dead = match entry.tombstones {
            0 => None,
            _ => Some(tombstones::read(&of.context, entry)?),
        };
        targets.push(Target {
            segment,
            dead,
            count: entry.dead,
        })?;
        relax()?;
    }
    Ok(targets)
}

/// Reads the collection with this item.
#[inline(never)] // own frame
pub(super) fn load(of: &Collection, item: &Item) -> Result<(Arc<Version>, TailEnd)> {
    let window = Window::new(of, item.tail, WINDOW)?;
    let mut replay = Replay {
        chain: Chain::new(of, window, item.next_id),
        targets: targets(of, item)?,
        rows: TailRows::new(&of.params.space()),
        index: U64Map::new(),
        ids: Vec::new(),
        inv_norms: Vec::new(),
        payload_lens: Vec::new(),
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
    let Replay {
        chain,
        targets,
        rows,
        index,
        ..
    } = replay;
    let end = TailEnd {
        len: chain.at,
        next_id: chain.next_id,
        txg: 0,
        rewrite_at: 0,
        deletes: chain.deletes,
        is_alone: false,
    };
    let mut segments = Vec::with_capacity(targets.len())?;
    let mut dead = Vec::with_capacity(targets.len())?;
    for target in targets {
        segments.push(target.segment)?;
        dead.push(Dead {
            rows: target.dead.map(Arc::new).transpose()?,
            count: target.count,
        })?;
    }
    Ok((
        Version::new(&of.context, item, segments, State { rows, dead }, index)?,
        end,
    ))
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
    #[inline(never)] // own frame
    fn step(&mut self, header: &Header) -> Result {
        match self.apply(header) {
            Ok(()) => Ok(()),
            Err(Refusal::Damaged(what)) => Err(self.chain.damaged(what)),
            Err(Refusal::Failed(e)) => Err(e),
        }
    }

    /// Ends the row of a segment with this id, if there is one.
    fn kill(targets: &mut Vec<Target>, id: u64) -> Result<bool> {
        for target in targets {
            if target.kill(id)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    #[inline(never)] // own frame
    fn apply(&mut self, header: &Header) -> core::result::Result<(), Refusal> {
        let Replay {
            chain,
            targets,
            rows,
            index,
            ids,
            inv_norms,
            payload_lens,
        } = self;
        let (of, known) = (chain.of, chain.next_id);
        let len = record::HEADER + header.body_len();
        let bytes = chain
            .window
            .get(chain.at, len)?
            .ok_or(Refusal::Damaged("record cut short"))?;
        let body = record::body(bytes);
        if !header.matches(body) {
            return Err(Refusal::Damaged("record has a wrong checksum"));
        }
        let body = header.split(body)?;
        ids.clear();
        for id in body.ids() {
            ids.push(id)?;
        }
        let mut killed = 0;
        let Change::Insert { upsert, .. } = header.change else {
            for id in ids.iter() {
                killed += usize::from(!index.contains(*id) && Self::kill(targets, *id)?);
            }
            let deleted = rows.delete(index, header.seq, ids.iter().copied());
            return match deleted + killed == header.count && killed == header.killed {
                true => Ok(()),
                false => Err(Refusal::Damaged("record that deletes rows which are not there")),
            };
        };
        payload_lens.clear();
        for len in body.payload_lens() {
            payload_lens.push(len)?;
        }
        check(of, header, &body, ids, payload_lens).map_err(Refusal::Damaged)?;
        // An id that was still to be given is new.
        for id in ids.iter().filter(|id| **id < known || **id == u64::MAX) {
            killed += usize::from(!index.contains(*id) && Self::kill(targets, *id)?);
        }
        of.inv_norms(body.vectors, inv_norms)?;
        let new = NewRows {
            ids,
            vectors: body.vectors,
            inv_norms,
            payload_lens,
            payloads: body.payloads,
        };
        index.reserve(new.ids.len())?;
        rows.reserve(&new)?;
        let replaced = rows.append(index, header.seq, &new)?;
        if (replaced != 0 || killed != 0) && !upsert {
            return Err(Refusal::Damaged("record that inserts rows which are there already"));
        }
        if killed != header.killed {
            return Err(Refusal::Damaged("record with a wrong number of rows of segments"));
        }
        Ok(())
    }
}

/// Checks the contents of an insert that do not depend on the rows before it.
fn check(
    of: &Collection,
    header: &Header,
    body: &record::Body<'_>,
    ids: &[u64],
    payload_lens: &[u32],
) -> core::result::Result<(), &'static str> {
    if ids.iter().any(|id| *id >= header.next_id && *id != u64::MAX) {
        return Err("record with an id that is still to be given");
    }
    let space = of.params.space();
    let mut vectors = body.vectors.chunks(space.row_bytes());
    if vectors.any(|vector| space.check(vector).is_err()) {
        return Err("record with a vector that is not allowed");
    }
    let mut rest = body.payloads;
    for len in payload_lens {
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
    pub(super) fn inv_norms(&self, vectors: &[u8], out: &mut Vec<u32>) -> Result {
        out.clear();
        let space = self.params.space();
        if !space.needs_norms() {
            return Ok(());
        }
        out.resize(vectors.len().checked_div(space.row_bytes()).unwrap_or(0), 0)?;
        let written = self.kernels.inv_norms(&space, vectors, out);
        written.map_err(|_| Error::Invalid("vectors of another dimension"))
    }
}
