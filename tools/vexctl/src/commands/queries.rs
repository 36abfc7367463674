// SPDX-License-Identifier: Apache-2.0
//! Vectors of the command line and of files, as batches take them. What the engine refuses of them, and the kernel can
//! say with EINVAL only, is said here in words.

use std::borrow::Cow;
use std::time::Duration;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use vexfs::Batch;
use vexfs::Element;
use vexfs::ErrorKind;
use vexfs::Metric;
use vexfs::Payload;
use vexfs::Search;
use vexfs::Stored;
use vexfs::Vectors;

use crate::cli::Looking;
use crate::cli::Source;
use crate::error::Usage;
use crate::input::read_objects;
use crate::input::Input;
use crate::input::Options;
use crate::input::Vector;
use crate::output::plain;
use crate::target::Open;

/// Adds a row to a batch for a collection. Binary vectors may be given packed, as one number for eight elements.
pub fn push(batch: &mut Batch, id: Option<u64>, vector: &Vector, payload: &Payload, open: &Open) -> Result<()> {
    let dim = batch.dim() as usize;
    let packed;
    let vectors = if vector.dim == dim {
        Vectors::Of(vector.element, &vector.bytes)
    } else {
        packed = packed_bits(vector).filter(|bits| batch.element() == Element::Binary && bits.len() == dim.div_ceil(8));
        match &packed {
            Some(bits) => Vectors::Bytes(bits),
            None => bail!(
                "the vector has {} dimensions, {} has {dim}",
                vector.dim,
                open.path.display()
            ),
        }
    };
    Ok(batch.push(id, vectors, payload)?)
}

/// The elements of a vector if each can be eight bits.
fn packed_bits(vector: &Vector) -> Option<Cow<'_, [u8]>> {
    if vector.element == Element::U8 {
        return Some(Cow::Borrowed(&vector.bytes));
    }
    let byte = |x: f32| (x.fract() == 0.0 && (0.0..256.0).contains(&x)).then_some(x as u8);
    let bytes: Option<Vec<u8>> = vector.numbers().into_iter().map(byte).collect();
    bytes.map(Cow::Owned)
}

/// Which of a batch's vectors the engine refuses for its numbers, and why, after it has refused one of them.
pub fn refused(batch: &Batch, metric: Metric, normalize: bool) -> Option<(usize, String)> {
    let dim = batch.dim() as usize;
    let rows = batch.vectors().chunks(batch.element().vector_bytes(dim));
    rows.enumerate().find_map(|(row, bytes)| {
        let vector = vexfs::decode(batch.element(), bytes, dim);
        if let Some(i) = vector.iter().position(|x| !x.is_finite()) {
            let text = format!(
                "element {i} of the vector is {}: only finite numbers have distances",
                vector[i]
            );
            return Some((row, text));
        }
        let bits_used = dim % 8;
        if batch.element() == Element::Binary && bits_used > 0 && bytes.last().is_some_and(|byte| byte >> bits_used > 0)
        {
            return Some((row, format!("a bit beyond the {dim} of the vector is set")));
        }
        let needs_direction = metric == Metric::Cosine || normalize;
        let has_none = needs_direction && vector.iter().all(|x| *x == 0.0);
        has_none.then(|| (row, "the vector is all zeros, which has no direction".into()))
    })
}

/// Queries for a collection: their vectors, where they are from, and what each is called.
pub struct Queries<'a> {
    open: &'a Open,
    batch: Batch,
    places: Vec<String>,
    pub labels: Vec<Option<String>>,
}

impl<'a> Queries<'a> {
    pub fn new(open: &'a Open) -> Self {
        Self {
            open,
            batch: open.collection.batch(),
            places: Vec::new(),
            labels: Vec::new(),
        }
    }

    /// The vectors, one after the other in the collection's form.
    pub fn vectors(&self) -> &[u8] {
        self.batch.vectors()
    }

    /// The vectors one by one.
    pub fn each(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        let bytes = self.batch.element().vector_bytes(self.batch.dim() as usize);
        self.vectors().chunks(bytes)
    }

    fn add(&mut self, vector: &Vector, place: String, label: Option<String>) -> Result<()> {
        match push(&mut self.batch, None, vector, &Payload::default(), self.open) {
            Ok(()) => {
                self.places.push(place);
                self.labels.push(label);
                Ok(())
            }
            Err(e) => Err(e.context(place)),
        }
    }

    /// Adds the vectors of the command line and of files.
    pub fn add_source(&mut self, source: &Source, labels: &Labels<'_>) -> Result<()> {
        for vector in &source.vector {
            self.add(&vector.as_slice().into(), "--vector".into(), None)?;
        }
        let names = labels.file.map(read_objects).transpose()?.unwrap_or_default();
        for file in &source.files {
            let fields = source.fields();
            let range = source.range();
            let mut number = range.start as usize;
            let options = Options {
                format: source.format,
                fields: &fields,
                payloads: None,
                range,
            };
            let mut input = Input::open(file, &options)?;
            while let Some(row) = input.next_row()? {
                let label = names.get(number).and_then(|l| l.get(labels.field)).map(plain);
                self.add(&row.vector, input.position(), label)?;
                number += 1;
            }
        }
        Ok(())
    }

    /// Adds the vectors of rows of the collection.
    pub fn add_rows(&mut self, ids: &[u64]) -> Result<()> {
        for (id, row) in ids.iter().zip(self.rows(ids)?) {
            let row = row.with_context(|| format!("no row {id} in {}", self.open.path.display()))?;
            self.add_row(&row)?;
        }
        Ok(())
    }

    /// Reads rows of the collection.
    pub fn rows(&self, ids: &[u64]) -> Result<Vec<Option<Stored>>> {
        let rows = self.open.collection.get(ids);
        Ok(rows.map_err(self.open.error("read from"))?)
    }

    /// Adds the vector of a row.
    pub fn add_row(&mut self, row: &Stored) -> Result<()> {
        let name = format!("like row {}", row.id);
        self.batch.push(None, &row.vector, &Payload::default())?;
        self.places.push(name.clone());
        self.labels.push(Some(name));
        Ok(())
    }

    /// A search's error; that a vector is refused is said in words.
    pub fn refusal(&self, verb: &'static str, error: vexfs::Error) -> anyhow::Error {
        if error.kind() == ErrorKind::Invalid {
            if let Some((query, why)) = refused(&self.batch, self.open.collection.metric(), false) {
                return anyhow::Error::msg(why).context(self.places[query].clone());
            }
        }
        self.open.error(verb)(error).into()
    }
}

/// What the queries of a file are called.
#[derive(Default)]
pub struct Labels<'a> {
    pub file: Option<&'a std::path::Path>,
    pub field: &'a str,
}

/// Returns the program of a filter.
pub fn filter_program(text: Option<&str>) -> Result<Option<Vec<u8>>> {
    let program = text.map(vexfs::filter::parse).transpose();
    program.map_err(|e| Usage(format!("--{e}")).into())
}

/// Returns a search that looks so.
pub fn search(looking: &Looking) -> Result<Search> {
    if looking.radius.is_some_and(f32::is_nan) {
        return Err(Usage("--radius is not a number".into()).into());
    }
    let mut search = Search::new(looking.k as usize)
        .ef(looking.ef.unwrap_or(0))
        .nprobe(looking.nprobe.unwrap_or(0))
        .rerank(looking.rerank.unwrap_or(0));
    if let Some(radius) = looking.radius {
        search = search.radius(radius);
    }
    if looking.exact {
        search = search.exact();
    }
    if let Some(micros) = looking.time_limit {
        search = search.time_limit(Duration::from_micros(micros.into()));
    }
    if let Some(program) = filter_program(looking.filter.as_deref())? {
        search = search.filter_program(program);
    }
    Ok(search)
}

#[cfg(test)]
mod tests {
    use vexfs::CollectionOptions;
    use vexfs::Vexfs;

    use super::*;

    fn open(options: CollectionOptions) -> Open {
        let fs = Vexfs::in_memory(64 << 20).unwrap();
        Open {
            collection: fs.create_collection_with("/c", options).unwrap(),
            path: "/c".into(),
        }
    }

    fn form(open: &Open, vector: &Vector) -> Result<Vec<u8>> {
        let mut batch = open.collection.batch();
        push(&mut batch, None, vector, &Payload::default(), open)?;
        Ok(batch.vectors().to_vec())
    }

    #[test]
    fn bits_may_be_given_one_by_one_or_packed() {
        let open = open(CollectionOptions::new(10, Metric::Hamming).element(Element::Binary));
        let floats = |numbers: &[f32]| form(&open, &numbers.into());
        assert_eq!(floats(&[1., 0., 0., 0., 0., 0., 0., 1., 0., 1.]).unwrap(), [129, 2]);
        assert_eq!(floats(&[129., 2.]).unwrap(), [129, 2]);
        assert_eq!(form(&open, &Vector::new(Element::U8, vec![129, 2])).unwrap(), [129, 2]);
        assert!(floats(&[129.5, 2.]).is_err() && floats(&[1., 2., 3.]).is_err());
    }

    #[test]
    fn what_is_refused_is_named() {
        let cosines = open(CollectionOptions::new(2, Metric::Cosine));
        let mut batch = cosines.collection.batch();
        for vector in [[1.0, 2.0], [1.0, f32::NAN], [0.0, 0.0]] {
            push(
                &mut batch,
                None,
                &vector.as_slice().into(),
                &Payload::default(),
                &cosines,
            )
            .unwrap();
        }
        let error = cosines.collection.insert_batch(&batch).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let (row, why) = refused(&batch, Metric::Cosine, false).unwrap();
        assert!(
            row == 1 && why.contains("element 1 of the vector is NaN"),
            "{row} {why}"
        );

        let bits = open(CollectionOptions::new(10, Metric::Hamming).element(Element::Binary));
        let mut batch = bits.collection.batch();
        let vector = Vector::new(Element::U8, vec![129, 6]);
        push(&mut batch, None, &vector, &Payload::default(), &bits).unwrap();
        let error = bits.collection.insert_batch(&batch).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let (_, why) = refused(&batch, Metric::Hamming, false).unwrap();
        assert!(why.contains("beyond the 10"), "{why}");
    }
}
