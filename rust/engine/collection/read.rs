// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Searching, and reading rows by id.
//!
//! Answers refer to rows in memory instead of copying them; the rows stay for as long as the answer does, even if they are
//! deleted meanwhile. So a caller can look at lengths first, and copy vectors and payloads with no lock held while it
//! touches user memory.

use super::write::refusal;
use super::Collection;
use super::Image;
use crate::flat;
use crate::flat::TopK;
use crate::limits::BATCH_ROWS_MAX;
use crate::limits::HITS_MAX;
use crate::limits::K_MAX;
use crate::limits::QUERIES_MAX;
use vexfs_host::mem::Vec;
use vexfs_host::relax;
use vexfs_host::sync::Arc;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_simd as simd;
use zerocopy::IntoBytes as _;

/// What to search for.
#[derive(Clone, Copy, Debug)]
pub struct Search<'a> {
    /// The queries, one after the other, as bits of f32.
    pub queries: &'a [u32],
    /// Most hits of a query.
    pub k: usize,
    /// The largest distance of a hit, as bits of an f32 that is not NaN.
    pub radius: Option<u32>,
}

/// A row of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RowRef {
    /// Its id.
    pub id: u64,
    /// Bytes of its payload, 0 if it has none.
    pub payload_len: usize,
    row: u32,
}

/// A row near a query.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hit {
    /// The row.
    pub row: RowRef,
    /// Its distance, as bits of f32.
    pub distance: u32,
}

/// What the rows of an answer contain.
pub struct Contents {
    image: Arc<Image>,
}

impl Contents {
    /// Copies the vector of a row of the same answer.
    ///
    /// # Errors
    ///
    /// `Invalid` if `out` has another length, or the row is from elsewhere.
    pub fn vector(&self, row: &RowRef, out: &mut [u32]) -> Result {
        let rows = self.image.rows.read();
        match rows.vector(row.row) {
            Some(vector) if vector.len() == out.len() => {
                out.copy_from_slice(vector);
                Ok(())
            }
            _ => Err(Error::Invalid("no such row, or a buffer of another length")),
        }
    }

    /// Appends the payload of a row of the same answer to `out`.
    ///
    /// # Errors
    ///
    /// `NoMemory`; `Invalid` if the row is from elsewhere.
    pub fn payload(&self, row: &RowRef, out: &mut Vec<u8>) -> Result {
        // Memory first: no allocation under the lock.
        out.reserve(row.payload_len)?;
        let rows = self.image.rows.read();
        match rows.payload(row.row) {
            Some(payload) if payload.len() == row.payload_len => out.extend_from_slice(payload),
            _ => Err(Error::Invalid("no such row")),
        }
    }
}

/// The answer to a search.
pub struct Found {
    /// The hits of all queries, those of the first query first, each query's nearest first.
    pub hits: Vec<Hit>,
    /// The number of hits of each query.
    pub counts: Vec<u32>,
    /// Rows compared with a query, over all queries.
    pub scanned: u64,
    /// What the rows contain.
    pub contents: Contents,
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

/// The answer to a reading by ids.
pub struct Got {
    /// In the order of the ids; `None` where there is no such row.
    pub rows: Vec<Option<RowRef>>,
    /// What the rows contain.
    pub contents: Contents,
}

impl Collection {
    /// Finds the rows nearest to each query by comparing it with all of them.
    ///
    /// # Errors
    ///
    /// `Invalid` for no queries, queries of another dimension, with a NaN, an infinity or (cosine) only zeros, `k` 0, or a
    /// radius that is NaN; `TooBig` beyond the limits; `Interrupted` by a fatal signal; those of loading the collection.
    pub fn search(&self, search: &Search<'_>) -> Result<Found> {
        let dim = self.params.dim();
        let count = search.queries.len().checked_div(dim).unwrap_or(0);
        if count == 0 || search.queries.len().checked_rem(dim) != Some(0) {
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
        let space = self.params.space()?;
        for vector in search.queries.chunks(dim) {
            space.check(vector.as_bytes()).map_err(refusal)?;
            let query = self.kernels.query(&space, vector.as_bytes());
            queries.push(query.map_err(|_| Error::Invalid("a query of another dimension"))?)?;
        }

        let image = self.image()?;
        let rows = image.rows.read().count();
        let mut tops = Vec::with_capacity(count)?;
        for _ in 0..count {
            // Rows may be added until the scan begins; the heap grows then.
            tops.push(TopK::new(search.k, rows, limit)?)?;
        }
        let scanned = flat::scan(self.kernels, dim, &image.rows, &queries, &mut tops)?;

        let mut hits = Vec::new();
        let mut counts = Vec::with_capacity(count)?;
        for top in tops {
            let candidates = top.into_sorted();
            counts.push(candidates.len() as u32)?;
            hits.reserve(candidates.len())?;
            let rows = image.rows.read();
            for candidate in &candidates {
                let payload_len = rows.payload(candidate.row).map_or(0, <[u8]>::len);
                let row = RowRef {
                    id: candidate.id,
                    payload_len,
                    row: candidate.row,
                };
                hits.push(Hit {
                    row,
                    distance: simd::bits_of(candidate.key),
                })?;
            }
            drop(rows);
            relax()?;
        }
        Ok(Found {
            hits,
            counts,
            scanned,
            contents: Contents { image },
        })
    }

    /// Looks rows up by id.
    ///
    /// # Errors
    ///
    /// `Invalid` for no ids, `TooBig` for too many; those of loading the collection.
    pub fn get(&self, ids: &[u64]) -> Result<Got> {
        if ids.is_empty() {
            return Err(Error::Invalid("no ids"));
        }
        if ids.len() > BATCH_ROWS_MAX {
            return Err(Error::TooBig("rows of a batch"));
        }
        let image = self.image()?;
        let mut found = Vec::with_capacity(ids.len())?;
        {
            let index = image.index.read();
            let rows = image.rows.read();
            for id in ids {
                let row = index.get(*id).map(|row| {
                    let payload_len = rows.payload(*row).map_or(0, <[u8]>::len);
                    RowRef {
                        id: *id,
                        payload_len,
                        row: *row,
                    }
                });
                found.push(row)?;
            }
        }
        Ok(Got {
            rows: found,
            contents: Contents { image },
        })
    }
}
