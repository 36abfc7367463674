// SPDX-License-Identifier: Apache-2.0
//! Rows to insert.

use serde_json::Value as Json;

use crate::Element;
use crate::Error;
use crate::Payload;
use crate::Result;
use crate::Vectors;

/// A row to insert: a vector and, if there are any, an id and a payload.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    vector: Vec<f32>,
    id: Option<u64>,
    payload: Option<Json>,
}

impl Row {
    /// A row of a vector alone; its id is assigned.
    pub fn new(vector: impl Into<Vec<f32>>) -> Self {
        Self {
            vector: vector.into(),
            id: None,
            payload: None,
        }
    }

    /// With this id.
    pub fn id(mut self, id: u64) -> Self {
        self.id = Some(id);
        self
    }

    /// With this payload, a JSON object.
    pub fn payload(mut self, payload: Json) -> Self {
        self.payload = Some(payload);
        self
    }
}

/// Rows that are inserted together, all of them or none, in the form in which they are stored.
///
/// This is the fast way for many rows; it can be cleared and used again. A batch has at most 65,536 rows and 16 MiB.
///
/// ```
/// use vexfs::{Metric, Payload, Vexfs};
///
/// let fs = Vexfs::in_memory(64 << 20)?;
/// let docs = fs.create_collection("/docs", 2, Metric::L2)?;
/// let mut batch = docs.batch();
/// for i in 0..1000 {
///     batch.push(i, &[i as f32, 0.5], &Payload::default())?;
/// }
/// assert_eq!(docs.insert_batch(&batch)?.rows, 1000);
/// # Ok::<(), vexfs::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Batch {
    element: Element,
    dim: usize,
    rows: usize,
    pub(crate) vectors: Vec<u8>,
    /// One a row, or none.
    pub(crate) ids: Vec<u64>,
    pub(crate) payload_lens: Vec<u32>,
    pub(crate) payloads: Vec<u8>,
}

impl Batch {
    /// Most rows of a batch.
    pub const ROWS_MAX: usize = vexfs_uapi::VEXFS_BATCH_ROWS_MAX as usize;
    /// Most bytes of vectors and payloads of a batch.
    pub const BYTES_MAX: usize = vexfs_uapi::VEXFS_BATCH_BYTES_MAX as usize;

    /// No rows yet, of vectors of `dim` elements of this type.
    pub fn new(element: Element, dim: u32) -> Self {
        Self {
            element,
            dim: dim as usize,
            rows: 0,
            vectors: Vec::new(),
            ids: Vec::new(),
            payload_lens: Vec::new(),
            payloads: Vec::new(),
        }
    }

    /// Adds a row. With `None` as its id one is assigned; either every row of a batch has an id or none has.
    ///
    /// # Errors
    ///
    /// `Invalid`: a vector of another dimension or with elements that the type does not have, or ids that some rows
    /// have. The batch is as it was.
    pub fn push<'v>(
        &mut self,
        id: impl Into<Option<u64>>,
        vector: impl Into<Vectors<'v>>,
        payload: &Payload,
    ) -> Result<()> {
        let id = id.into();
        if self.rows > 0 && id.is_some() != self.has_ids() {
            return Err(Error::invalid("either every row has an id or none has"));
        }
        let (bytes, count) = vector.into().in_form(self.element, self.dim)?;
        if count != 1 {
            return Err(Error::invalid(format!(
                "a vector of {} dimensions was wanted, these are {count}",
                self.dim
            )));
        }
        let len = u32::try_from(payload.as_bytes().len()).map_err(|_| Error::invalid("a payload is too large"))?;
        self.vectors.extend_from_slice(&bytes);
        self.ids.extend(id);
        self.payload_lens.push(len);
        self.payloads.extend_from_slice(payload.as_bytes());
        self.rows += 1;
        Ok(())
    }

    /// Rows in it.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Bytes of its vectors and payloads.
    pub fn bytes(&self) -> usize {
        self.vectors.len() + self.payloads.len()
    }

    /// Type of its elements.
    pub fn element(&self) -> Element {
        self.element
    }

    /// Elements of a vector.
    pub fn dim(&self) -> u32 {
        self.dim as u32
    }

    /// Whether its rows have ids.
    pub fn has_ids(&self) -> bool {
        !self.ids.is_empty()
    }

    /// The vectors, in their form, one after the other.
    pub fn vectors(&self) -> &[u8] {
        &self.vectors
    }

    /// The ids, one a row, or none.
    pub fn ids(&self) -> &[u64] {
        &self.ids
    }

    /// The length of each row's payload.
    pub fn payload_lens(&self) -> &[u32] {
        &self.payload_lens
    }

    /// The payloads, one after the other.
    pub fn payloads(&self) -> &[u8] {
        &self.payloads
    }

    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        self.rows = 0;
        self.vectors.clear();
        self.ids.clear();
        self.payload_lens.clear();
        self.payloads.clear();
    }

    /// Adds a row that says itself what it is.
    pub(crate) fn push_row(&mut self, row: &Row) -> Result<()> {
        let payload = match &row.payload {
            None => Payload::default(),
            Some(json) => Payload::from_json(json)?,
        };
        self.push(row.id, &row.vector, &payload)
    }
}
