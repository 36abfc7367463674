// SPDX-License-Identifier: Apache-2.0
//! Vectors of the command line and of files, checked and brought into their form before they are sent: what the kernel can
//! only answer with EINVAL is said here in words.

use std::borrow::Cow;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use vexfs::Element;
use vexfs::Metric;

use crate::backend::Collection;
use crate::backend::Info;
use crate::backend::Search;
use crate::cli::Looking;
use crate::cli::Source;
use crate::error::Usage;
use crate::input::read_objects;
use crate::input::Input;
use crate::input::Options;
use crate::output::plain;

/// Fails when `vector` is none this collection can hold or be asked for; `normalize` says it will be scaled.
pub fn check(vector: &[f32], info: &Info, normalize: bool) -> Result<()> {
    if vector.len() != info.dim as usize {
        bail!(
            "the vector has {} dimensions, {} has {}",
            vector.len(),
            info.path.display(),
            info.dim
        );
    }
    if let Some(i) = vector.iter().position(|x| !x.is_finite()) {
        bail!(
            "element {i} of the vector is {}: only finite numbers have distances",
            vector[i]
        );
    }
    if (info.metric == Metric::Cosine || normalize) && vector.iter().all(|x| *x == 0.0) {
        bail!("the vector is all zeros, which has no direction");
    }
    Ok(())
}

/// Returns the elements of a vector: those of binary vectors may be given packed, as one number for eight of them.
pub fn unpacked<'a>(vector: &'a [f32], info: &Info) -> Cow<'a, [f32]> {
    let (dim, is_byte) = (info.dim as usize, |x: &f32| {
        x.fract() == 0.0 && (0.0..256.0).contains(x)
    });
    if info.element != Element::Binary
        || vector.len() == dim
        || vector.len() != dim.div_ceil(8)
        || !vector.iter().all(is_byte)
    {
        return Cow::Borrowed(vector);
    }
    let bytes: Vec<u8> = vector.iter().map(|x| *x as u8).collect();
    Cow::Owned(vexfs::decode(Element::Binary, &bytes, dim))
}

/// Checks a vector and appends its form.
pub fn encode(vector: &[f32], info: &Info, normalize: bool, out: &mut Vec<u8>) -> Result<()> {
    let vector = unpacked(vector, info);
    check(&vector, info, normalize)?;
    Ok(vexfs::encode(info.element, &vector, out)?)
}

/// The queries, one after the other in their form, and what each is called.
#[derive(Default)]
pub struct Queries {
    pub bytes: Vec<u8>,
    pub labels: Vec<Option<String>>,
}

impl Queries {
    /// Adds the vectors of the command line and of files.
    pub fn add_source(&mut self, info: &Info, source: &Source, labels: &Labels<'_>) -> Result<()> {
        for vector in &source.vector {
            encode(vector, info, false, &mut self.bytes).context("--vector")?;
            self.labels.push(None);
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
                encode(&row.vector, info, false, &mut self.bytes).with_context(|| input.position())?;
                self.labels
                    .push(names.get(number).and_then(|l| l.get(labels.field)).map(plain));
                number += 1;
            }
        }
        Ok(())
    }

    /// Adds the vectors of rows of the collection.
    pub fn add_rows(&mut self, info: &Info, collection: &dyn Collection, ids: &[u64]) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        for row in collection.get(ids, true)? {
            let Some(vector) = row.vector else {
                bail!("no row {} in {}", row.id, info.path.display());
            };
            self.bytes.extend(vector);
            self.labels.push(Some(format!("like row {}", row.id)));
        }
        Ok(())
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

/// Returns a search for these queries.
pub fn search(queries: Vec<u8>, looking: &Looking) -> Result<Search> {
    if looking.radius.is_some_and(f32::is_nan) {
        return Err(Usage("--radius is not a number".into()).into());
    }
    Ok(Search {
        queries,
        k: looking.k,
        radius: looking.radius,
        exact: looking.exact,
        ef: looking.ef.unwrap_or(0),
        nprobe: looking.nprobe.unwrap_or(0),
        rerank: looking.rerank.unwrap_or(0),
        time_limit_us: looking.time_limit.unwrap_or(0),
        filter: filter_program(looking.filter.as_deref())?,
        want_vectors: false,
        want_payloads: false,
    })
}

#[cfg(test)]
mod tests {
    use vexfs::IndexKind;

    use super::*;

    #[test]
    fn bits_may_be_given_one_by_one_or_packed() {
        let info = Info {
            path: "/c".into(),
            id: 1,
            dim: 10,
            element: Element::Binary,
            metric: Metric::Hamming,
            index: IndexKind::Flat,
            rows: 0,
            dead_rows: 0,
            next_id: 0,
            disk_bytes: 0,
            memory_bytes: 0,
        };
        let (mut one, mut packed) = (Vec::new(), Vec::new());
        encode(&[1., 0., 0., 0., 0., 0., 0., 1., 0., 1.], &info, false, &mut one).unwrap();
        encode(&[129., 2.], &info, false, &mut packed).unwrap();
        assert_eq!(one, [129, 2]);
        assert_eq!(packed, one);
        assert!(encode(&[129.5, 2.], &info, false, &mut packed).is_err());
    }
}
