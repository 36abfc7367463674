// SPDX-License-Identifier: Apache-2.0
//! Searching a collection.

use std::borrow::Cow;
use std::ops::Deref;
use std::time::Duration;

use serde_json::Map;
use serde_json::Value as Json;

use crate::Collection;
use crate::Element;
use crate::Error;
use crate::Explained;
use crate::Payload;
use crate::Result;
use crate::Vectors;

/// What a search is to find, and how.
///
/// ```
/// use vexfs::Search;
///
/// // The ten nearest rows, at a distance of at most 0.4, with their payloads.
/// let search = Search::new(10).radius(0.4).payloads();
/// # let _ = search;
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    pub(crate) k: usize,
    pub(crate) radius: Option<f32>,
    pub(crate) exact: bool,
    pub(crate) ef: u32,
    pub(crate) nprobe: u32,
    pub(crate) rerank: u32,
    pub(crate) time_limit: Option<Duration>,
    pub(crate) filter: Option<Vec<u8>>,
    pub(crate) want_vectors: bool,
    pub(crate) want_payloads: bool,
}

impl Search {
    /// The `k` nearest rows.
    pub fn new(k: usize) -> Self {
        Self {
            k,
            radius: None,
            exact: false,
            ef: 0,
            nprobe: 0,
            rerank: 0,
            time_limit: None,
            filter: None,
            want_vectors: false,
            want_payloads: false,
        }
    }

    /// Only rows at most this far away.
    pub fn radius(mut self, radius: f32) -> Self {
        self.radius = Some(radius);
        self
    }

    /// Compare every row instead of using an index.
    pub fn exact(mut self) -> Self {
        self.exact = true;
        self
    }

    /// Width of the search of a graph: larger is slower and finds more. 0 is the index's default.
    pub fn ef(mut self, ef: u32) -> Self {
        self.ef = ef;
        self
    }

    /// Lists (ivf) or buckets of a table (lsh) to look into: more is slower and finds more. 0 is the index's default.
    pub fn nprobe(mut self, nprobe: u32) -> Self {
        self.nprobe = nprobe;
        self
    }

    /// Candidates found by codes that are compared by their full vectors, as a multiple of `k`. 0 is the index's
    /// default.
    pub fn rerank(mut self, rerank: u32) -> Self {
        self.rerank = rerank;
        self
    }

    /// Stop after this long, in all and to the microsecond, with what has been found; [`Answer::stopped_early`] tells.
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = Some(limit);
        self
    }

    /// Only rows whose payload matches a filter, written as JSON: see [`filter`](crate::filter).
    ///
    /// ```
    /// # let fs = vexfs::Vexfs::in_memory(64 << 20)?;
    /// # let docs = fs.create_collection("/docs", 2, vexfs::Metric::L2)?;
    /// # use vexfs::{Row, Search};
    /// use serde_json::json;
    ///
    /// docs.insert([
    ///     Row::new([1.0, 0.0]).payload(json!({"year": 2019})),
    ///     Row::new([0.0, 1.0]).payload(json!({"year": 2024})),
    /// ])?;
    /// let recent = Search::new(5).filter(&json!({"year": {"gte": 2020}}))?;
    /// let hits = docs.search(&[1.0, 0.0], &recent)?;
    /// assert_eq!(hits.iter().map(|hit| hit.id).collect::<Vec<_>>(), [1]);
    /// # Ok::<(), vexfs::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `Invalid`: no filter; what is wrong and where is said.
    pub fn filter(self, filter: &Json) -> Result<Self> {
        Ok(self.filter_program(crate::filter::compile(filter)?))
    }

    /// Only rows that this compiled filter accepts: see [`filter::compile`](crate::filter::compile).
    pub fn filter_program(mut self, program: Vec<u8>) -> Self {
        self.filter = Some(program);
        self
    }

    /// Return the vectors of the rows, too.
    pub fn vectors(mut self) -> Self {
        self.want_vectors = true;
        self
    }

    /// Return the payloads of the rows, too.
    pub fn payloads(mut self) -> Self {
        self.want_payloads = true;
        self
    }
}

/// A row near a query.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Hit {
    /// Its id.
    pub id: u64,
    /// Its distance.
    pub distance: f32,
    /// Its vector in its form, if the search wanted vectors.
    pub vector: Option<Vec<u8>>,
    /// Its payload, if the search wanted payloads.
    pub payload: Option<Payload>,
    pub(crate) element: Element,
    pub(crate) dim: u32,
}

impl Hit {
    /// Its payload as a JSON object, without fields if it has none or the search did not want payloads.
    ///
    /// # Errors
    ///
    /// `Invalid` for a payload of a newer version.
    pub fn payload(&self) -> Result<Map<String, Json>> {
        self.payload.as_ref().map_or_else(|| Ok(Map::new()), Payload::to_json)
    }

    /// Its vector as numbers; empty if the search did not want vectors.
    pub fn vector(&self) -> Vec<f32> {
        let bytes = self.vector.as_deref().unwrap_or_default();
        crate::decode(self.element, bytes, self.dim as usize)
    }
}

/// The answer to one query: hits by ascending distance, equal ones by ascending id.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Answer {
    /// The hits.
    pub hits: Vec<Hit>,
    /// The time limit stopped it before it had seen everything: rows may be missing.
    pub stopped_early: bool,
}

impl Deref for Answer {
    type Target = [Hit];

    fn deref(&self) -> &[Hit] {
        &self.hits
    }
}

impl IntoIterator for Answer {
    type Item = Hit;
    type IntoIter = std::vec::IntoIter<Hit>;

    fn into_iter(self) -> Self::IntoIter {
        self.hits.into_iter()
    }
}

/// The answers to several queries, and what they cost.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Answers {
    /// One a query, in their order.
    pub answers: Vec<Answer>,
    /// Rows that were compared with a query.
    pub scanned: u64,
}

impl Collection {
    /// Finds the rows nearest to a query.
    ///
    /// # Errors
    ///
    /// `Invalid`: a query of another dimension or with elements that have no distance, `k` 0, a radius that is NaN;
    /// `TooBig`: `k` above 4096; those of reading.
    pub fn search<'v>(&self, query: impl Into<Vectors<'v>>, search: &Search) -> Result<Answer> {
        let bytes = self.one_query(query.into())?;
        let answers = self.0.search(&bytes, search)?;
        Ok(answers.answers.into_iter().next().unwrap_or_default())
    }

    /// Finds the rows nearest to each of several queries, which lie one after the other.
    ///
    /// ```
    /// # let fs = vexfs::Vexfs::in_memory(64 << 20)?;
    /// # let docs = fs.create_collection("/docs", 2, vexfs::Metric::L2)?;
    /// # use vexfs::{Row, Search};
    /// docs.insert([Row::new([1.0, 0.0]), Row::new([0.0, 1.0])])?;
    /// let found = docs.search_many(&[0.9, 0.0, 0.0, 0.9], &Search::new(1))?;
    /// let ids: Vec<u64> = found.answers.iter().map(|answer| answer[0].id).collect();
    /// assert_eq!(ids, [0, 1]);
    /// # Ok::<(), vexfs::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Collection::search`].
    pub fn search_many<'v>(&self, queries: impl Into<Vectors<'v>>, search: &Search) -> Result<Answers> {
        let (bytes, _) = queries.into().in_form(self.element(), self.dim() as usize)?;
        self.0.search(&bytes, search)
    }

    /// Answers a query and says how: for each segment, what was chosen and why, and what it cost.
    ///
    /// ```
    /// # let fs = vexfs::Vexfs::in_memory(64 << 20)?;
    /// # let docs = fs.create_collection("/docs", 2, vexfs::Metric::L2)?;
    /// # use vexfs::{Choice, Row, Search};
    /// docs.insert([Row::new([1.0, 0.0]), Row::new([0.0, 1.0])])?;
    /// let explained = docs.explain(&[0.9, 0.0], &Search::new(1))?;
    /// assert_eq!(explained.parts[0].choice(), Some(Choice::Scan));
    /// assert_eq!(explained.parts[0].distances, 2);
    /// # Ok::<(), vexfs::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Collection::search`].
    pub fn explain<'v>(&self, query: impl Into<Vectors<'v>>, search: &Search) -> Result<Explained> {
        let bytes = self.one_query(query.into())?;
        self.0.explain(&bytes, search)
    }

    /// The form of one query.
    fn one_query<'v>(&self, query: Vectors<'v>) -> Result<Cow<'v, [u8]>> {
        let (bytes, count) = query.in_form(self.element(), self.dim() as usize)?;
        match count {
            1 => Ok(bytes),
            _ => Err(Error::invalid(format!(
                "a query of {} dimensions was wanted; search_many takes several",
                self.dim()
            ))),
        }
    }
}
