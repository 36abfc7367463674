// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Searching.
//!
//! A search takes the segments, their dead rows and the state of the tail at one moment, asks each segment for its
//! nearest rows, scans the tail, and merges all by (distance, id).

use super::read::Contents;
use super::read::RowRef;
use super::read::TAIL;
use super::scan;
use super::write::refusal;
use super::Collection;
use super::Dead;
use super::Version;
use crate::fields::FieldIndex;
use crate::filter::Program;
use crate::index::Cost;
use crate::index::Index;
use crate::index::IndexKind;
use crate::index::Nearest;
use crate::index::SearchParams;
use crate::limits::HITS_MAX;
use crate::limits::K_MAX;
use crate::limits::QUERIES_MAX;
use crate::plan;
use crate::plan::Ask;
use crate::plan::Facts;
use crate::plan::View;
use crate::segment;
use crate::segment::Kept;
use crate::segment::LazyColumn;
use crate::segment::Segment;
use crate::topk::Candidate;
use crate::topk::TopK;
use vexfs_host::mem::Vec;
use vexfs_host::relax;
use vexfs_host::sync::Arc;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd as simd;
use vexfs_simd::Query;
use vexfs_uapi::ExplainPart;

/// What to search for.
#[derive(Clone, Copy, Default)]
pub struct SearchRequest<'a> {
    /// The queries, one after the other, in the form of the collection's elements (see `vexfs_simd::Element`).
    pub queries: &'a [u8],
    /// Most hits of a query.
    pub k: usize,
    /// The largest distance of a hit, as bits of an f32 that is not NaN.
    pub radius: Option<u32>,
    /// How thorough indexes are to be.
    pub params: SearchParams,
    /// Compare every row, whatever indexes there are.
    pub exact: bool,
    /// What the payload of a hit must match.
    pub filter: Option<&'a Program>,
    /// Asked now and then: whether to stop with what has been found.
    pub stop: Option<&'a dyn Fn() -> bool>,
}

/// A row near a query.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hit {
    /// The row.
    pub row: RowRef,
    /// Its distance, as bits of f32.
    pub distance: u32,
}

/// The answer to a search.
pub struct Found {
    /// The hits of all queries, those of the first query first, each query's nearest first.
    pub hits: Vec<Hit>,
    /// The number of hits of each query.
    pub counts: Vec<u32>,
    /// Whether the search was told to stop before it was done: rows may be missing.
    pub stopped: bool,
    /// Rows compared with a query, over all queries, by code or vector.
    pub scanned: u64,
    /// What it took.
    pub cost: Cost,
    /// What the rows contain.
    pub contents: Contents,
}

/// The answer to a question how a search is done.
pub struct Explained {
    /// Hits, over all queries.
    pub hits: u64,
    /// The segments, then the rows that are in none.
    pub parts: Vec<ExplainPart>,
}

/// A moment of a collection, and what is searched for in it.
struct Task<'a> {
    version: &'a Version,
    search: &'a SearchRequest<'a>,
    queries: &'a [Query<'a>],
    stop: &'a dyn Fn() -> bool,
}

impl Found {
    /// The hits of each query.
    pub fn by_query(&self) -> impl Iterator<Item = &[Hit]> + '_ {
        let mut rest = &self.hits[..];
        self.counts.iter().map_while(move |count| {
            let (hits, after) = rest.split_at_checked(*count as usize)?;
            rest = after;
            Some(hits)
        })
    }
}

impl Collection {
    /// Finds the rows nearest to each query.
    ///
    /// # Errors
    ///
    /// `Invalid` for no queries, queries of another dimension, with a NaN, an infinity or (cosine) only zeros, `k` 0,
    /// or a radius that is NaN; `TooBig` beyond the limits; `Interrupted` by a fatal signal; those of loading the
    /// collection.
    pub fn search(&self, search: &SearchRequest<'_>) -> Result<Found> {
        self.search_parts(search, &mut |_| Ok(()))
    }

    /// Searches, and tells how.
    ///
    /// # Errors
    ///
    /// Those of [`Collection::search`].
    pub fn explain(&self, search: &SearchRequest<'_>) -> Result<Explained> {
        let mut parts = Vec::new();
        let found = self.search_parts(search, &mut |part| parts.push(part))?;
        Ok(Explained {
            hits: found.hits.len() as u64,
            parts,
        })
    }

    /// Searches, and tells `tell` of each segment and of the tail.
    fn search_parts(&self, search: &SearchRequest<'_>, tell: &mut dyn FnMut(ExplainPart) -> Result) -> Result<Found> {
        let (queries, limit) = self.check_search(search)?;
        let version = self.version()?;
        let (snapshot, dead) = version.snapshot()?;
        let task = Task {
            version: &version,
            search,
            queries: &queries,
            stop: search.stop.unwrap_or(&|| false),
        };
        let mut tops = Vec::with_capacity(queries.len())?;
        let rows = version
            .segments
            .iter()
            .fold(snapshot.count, |sum, s| sum.saturating_add(s.count()));
        for _ in 0..queries.len() {
            tops.push(TopK::new(search.k, rows, limit)?)?;
        }
        let mut cost = Cost::default();
        for (place, (segment, dead)) in version.segments.iter().zip(&dead).enumerate() {
            let (mut part, done) = self.search_segment(&task, place, segment, dead, &mut tops)?.told();
            cost += done;
            part.segment = segment.header().number;
            part.index = segment.index_params().kind().code();
            tell(part)?;
        }
        let scan = scan::Scan {
            kernels: self.kernels,
            snapshot,
            filter: search.filter,
            stop: task.stop,
        };
        let (mut part, done) = scan.search(&version.state, &queries, &mut tops)?.told();
        cost += done;
        part.index = IndexKind::Flat.code();
        tell(part)?;
        self.answer(version, tops, cost)
    }

    /// Checks a search and returns its queries and the largest key of a hit.
    #[inline(never)] // own frame
    fn check_search<'a>(&self, search: &SearchRequest<'a>) -> Result<(Vec<Query<'a>>, u32)> {
        let space = self.params.space();
        let row_bytes = space.row_bytes();
        let count = search.queries.len().checked_div(row_bytes).unwrap_or(0);
        if count == 0 || search.queries.len().checked_rem(row_bytes) != Some(0) {
            return Err(Error::Invalid(
                "a search has one or more queries of the collection's dimension",
            ));
        }
        if search.k == 0 {
            return Err(Error::Invalid("k is at least 1"));
        }
        if search.k > K_MAX {
            return Err(Error::TooBig("k"));
        }
        if count > QUERIES_MAX || count.saturating_mul(search.k) > HITS_MAX {
            return Err(Error::TooBig("queries of a search"));
        }
        let limit = match search.radius {
            Some(radius) if radius & 0x7fff_ffff > 0x7f80_0000 => return Err(Error::Invalid("radius is NaN")),
            Some(radius) => simd::key_of(radius),
            None => u32::MAX,
        };
        let mut queries = Vec::with_capacity(count)?;
        for vector in search.queries.chunks(row_bytes) {
            space.check(vector).map_err(refusal)?;
            let query = self.kernels.query(&space, vector);
            queries.push(query.map_err(|_| Error::Invalid("a query of another dimension"))?)?;
        }
        Ok((queries, limit))
    }

    /// Offers the nearest rows of a segment.
    #[inline(never)] // own frame
    fn search_segment(
        &self,
        task: &Task<'_>,
        place: usize,
        segment: &Segment,
        dead: &Dead,
        tops: &mut [TopK<Candidate>],
    ) -> Result<Facts> {
        let search = task.search;
        let kept_fields = match search.filter {
            Some(_) => Some(segment.fields()?),
            None => None,
        };
        let fields = kept_fields.as_deref().map(Kept::value);
        if let (Some(program), Some(fields)) = (search.filter, fields) {
            // Neither vectors nor an index are needed then.
            if !plan::may_match(program, fields)? {
                return plan::nothing(program, fields, segment.count(), dead.rows.as_deref());
            }
        }
        let facts = self.search_matching(task, place, segment, dead, fields, tops);
        if let Some(fields) = &kept_fields {
            fields.recount();
        }
        facts
    }

    /// Searches a segment that may have rows which match; `fields` if there is a filter.
    #[inline(never)] // own frame
    fn search_matching(
        &self,
        task: &Task<'_>,
        place: usize,
        segment: &Segment,
        dead: &Dead,
        fields: Option<&FieldIndex>,
        tops: &mut [TopK<Candidate>],
    ) -> Result<Facts> {
        let search = task.search;
        let index = match task.version.use_indexes && !search.exact {
            true => segment.index()?,
            false => None,
        };
        let mut nearests = Vec::with_capacity(task.queries.len())?;
        for top in tops.iter() {
            nearests.push(Nearest::new(search.k, segment.count(), top.limit())?)?;
        }
        let of_index = index.as_deref().map(Kept::value);
        let facts = self.search_rows(task, segment, dead, fields, of_index, &mut nearests);
        if let Some(index) = &index {
            index.recount();
        }
        let facts = facts?;
        offer(segment, place, nearests, tops)?;
        Ok(facts)
    }

    /// Searches the rows of a segment.
    #[inline(never)] // own frame
    fn search_rows(
        &self,
        task: &Task<'_>,
        segment: &Segment,
        dead: &Dead,
        fields: Option<&FieldIndex>,
        index: Option<&segment::Index>,
        nearests: &mut [Nearest],
    ) -> Result<Facts> {
        let search = task.search;
        let column = LazyColumn::new(segment);
        // An index that reads vectors itself spares those of the segment.
        let vectors = match index.is_some_and(Index::has_vectors) {
            true => None,
            false => Some(segment.vectors()?),
        };
        let view = View {
            kernels: self.kernels,
            rows: match &vectors {
                Some(vectors) => vectors.rows(segment)?,
                None => self.no_rows()?,
            },
            count: segment.count(),
            dead: dead.rows.as_deref(),
            index: index.map(|index| index as &dyn Index),
            fields,
            payloads: &column,
            stop: task.stop,
        };
        let ask = Ask {
            filter: search.filter,
            params: search.params,
            exact: search.exact,
        };
        plan::search(&view, &ask, task.queries, nearests)
    }

    /// The vectors of no rows.
    #[inline(never)] // own frame
    fn no_rows(&self) -> Result<simd::Rows<'static>> {
        let space = self.params.space();
        simd::Rows::new(&space, &[], space.row_bytes(), 0, &[]).map_err(|_| Error::Overflow)
    }

    #[inline(never)] // own frame
    fn answer(&self, version: Arc<Version>, tops: Vec<TopK<Candidate>>, cost: Cost) -> Result<Found> {
        let mut hits: Vec<Hit> = Vec::new();
        let mut counts = Vec::with_capacity(tops.len())?;
        for top in tops {
            let candidates = top.into_sorted();
            counts.push(candidates.len() as u32)?;
            hits.reserve(candidates.len())?;
            let state = version.state.read();
            for candidate in &candidates {
                let payload = (candidate.segment == TAIL).then(|| state.rows.payload(candidate.row));
                let row = RowRef {
                    id: candidate.id,
                    payload_len: payload.flatten().map_or(0, <[u8]>::len),
                    segment: candidate.segment,
                    row: candidate.row,
                };
                hits.push(Hit {
                    row,
                    distance: simd::bits_of(candidate.key),
                })?;
            }
            drop(state);
            relax()?;
        }
        for (place, segment) in version.segments.iter().enumerate() {
            let mut of_segment = hits.iter_mut().filter(|hit| hit.row.segment == place as u32).peekable();
            if of_segment.peek().is_some() {
                for hit in of_segment {
                    hit.row.payload_len = segment.payload_len(hit.row.row)?;
                }
            }
        }
        Ok(Found {
            hits,
            counts,
            stopped: cost.stopped,
            scanned: cost.distances.saturating_add(cost.codes),
            cost,
            contents: Contents { version },
        })
    }
}

/// Offers the nearest rows of segment number `place` to each query.
#[inline(never)] // own frame
fn offer(segment: &Segment, place: usize, nearests: Vec<Nearest>, tops: &mut [TopK<Candidate>]) -> Result {
    let ids = segment.ids()?;
    for (nearest, top) in nearests.into_iter().zip(tops) {
        for entry in &nearest.into_sorted() {
            let (key, row) = ((entry >> 32) as u32, *entry as u32);
            top.push(Candidate {
                key,
                id: ids.as_u64s().get(row as usize).copied().ok_or(Error::Overflow)?,
                segment: place as u32,
                row,
            })?;
        }
    }
    Ok(())
}
