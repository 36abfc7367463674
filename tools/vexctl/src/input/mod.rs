// SPDX-License-Identifier: Apache-2.0
//! Reading rows: from files in several formats, from standard input, from the command line.

mod fvecs;
pub mod jsonl;
mod npy;

use std::fs::File;
use std::io::BufRead;
use std::io::BufReader;
use std::ops::Range;
use std::path::Path;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use clap::ValueEnum;
use serde_json::Map;
use serde_json::Value;
use vexfs::Element;

use self::fvecs::Vecs;
use self::jsonl::Fields;
use self::jsonl::Jsonl;
use self::jsonl::Objects;
use self::npy::Npy;

/// A vector in the form in which it was given: what a collection holds as it is, is not converted.
#[derive(Clone, Debug, PartialEq)]
pub struct Vector {
    pub element: Element,
    pub dim: usize,
    pub bytes: Vec<u8>,
}

impl Vector {
    /// A vector of this many bytes' elements, which are no bits.
    pub fn new(element: Element, bytes: Vec<u8>) -> Vector {
        Vector {
            element,
            dim: bytes.len() / element.vector_bytes(1),
            bytes,
        }
    }

    /// Its elements as numbers.
    pub fn numbers(&self) -> Vec<f32> {
        vexfs::decode(self.element, &self.bytes, self.dim)
    }
}

impl From<&[f32]> for Vector {
    fn from(numbers: &[f32]) -> Vector {
        Vector::new(Element::F32, numbers.iter().flat_map(|x| x.to_le_bytes()).collect())
    }
}

/// One row as a user gave it.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its id, when it has one.
    pub id: Option<u64>,
    pub vector: Vector,
    /// Its payload; without fields when it has none.
    pub payload: Map<String, Value>,
}

impl From<Vector> for Row {
    fn from(vector: Vector) -> Row {
        Row {
            id: None,
            vector,
            payload: Map::new(),
        }
    }
}

/// A stream of rows.
pub trait Rows {
    /// Returns the next row, or `None` at the end.
    fn next_row(&mut self) -> Result<Option<Row>>;

    /// Returns how many there are, when that is known beforehand.
    fn rows(&self) -> Option<u64> {
        None
    }

    /// Says where the row that was read last is: "line 7".
    fn position(&self) -> String;
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// By the file's name, or its first bytes
    Auto,
    /// JSON lines
    Jsonl,
    /// numpy array of floats or bytes
    Npy,
    /// dimension and f32 values, row by row
    Fvecs,
    /// dimension and bytes, row by row
    Bvecs,
}

/// What to read and how.
pub struct Options<'a> {
    pub format: Format,
    pub fields: &'a Fields,
    /// A file of JSON lines whose objects are the rows' payloads, in their order.
    pub payloads: Option<&'a Path>,
    /// Rows to read, counted from 0.
    pub range: Range<u64>,
}

/// Rows of one file, or of standard input when its path is `-`.
pub struct Input {
    name: String,
    rows: Box<dyn Rows>,
    payloads: Option<(String, Objects<Box<dyn BufRead>>)>,
    range: Range<u64>,
    next: u64,
}

impl Input {
    /// Opens `path`.
    pub fn open(path: &Path, options: &Options<'_>) -> Result<Input> {
        let name = name(path);
        let rows = open_rows(path, options).with_context(|| name.clone())?;
        let payloads = match options.payloads {
            None => None,
            Some(path) => Some((self::name(path), Objects::new(open_reader(path)?.0))),
        };
        Ok(Input {
            name,
            rows,
            payloads,
            range: options.range.clone(),
            next: 0,
        })
    }

    /// Returns the next row, or `None` at the end.
    pub fn next_row(&mut self) -> Result<Option<Row>> {
        loop {
            if self.next >= self.range.end {
                return Ok(None);
            }
            let Some(mut row) = self.rows.next_row().with_context(|| self.name.clone())? else {
                return Ok(None);
            };
            if let Some((name, payloads)) = &mut self.payloads {
                row.payload = payloads
                    .next_object()
                    .with_context(|| name.clone())?
                    .with_context(|| format!("{name} ends before row {} of {}", self.next, self.name))?;
            }
            self.next += 1;
            if self.range.contains(&(self.next - 1)) {
                return Ok(Some(row));
            }
        }
    }

    /// Returns how many rows there will be, when that is known.
    pub fn rows(&self) -> Option<u64> {
        let rows = self.rows.rows()?.min(self.range.end);
        Some(rows.saturating_sub(self.range.start))
    }

    /// Says where the row that was read last is.
    pub fn position(&self) -> String {
        format!("{}, {}", self.name, self.rows.position())
    }
}

/// Reads the objects of a file of JSON lines.
pub fn read_objects(path: &Path) -> Result<Vec<Map<String, Value>>> {
    let mut objects = Objects::new(open_reader(path)?.0);
    let mut out = Vec::new();
    while let Some(object) = objects.next_object().with_context(|| name(path))? {
        out.push(object);
    }
    Ok(out)
}

/// Parses a vector from the command line: numbers separated by commas or spaces, brackets allowed.
pub fn parse_vector(text: &str) -> Result<Vec<f32>, String> {
    let inner = text.trim().trim_start_matches('[').trim_end_matches(']');
    let vector = inner
        .split([',', ' ', '\t', '\n'])
        .filter(|part| !part.is_empty())
        .map(|part| part.parse::<f32>().map_err(|_| format!("{part:?} is no number")))
        .collect::<Result<Vec<f32>, String>>()?;
    match vector.is_empty() {
        true => Err("a vector needs at least one number".into()),
        false => Ok(vector),
    }
}

/// Parses a range of rows: `3..7`, `3..`, `..7`, or the number of the first rows, `7`.
pub fn parse_range(text: &str) -> Result<Range<u64>, String> {
    let number = |part: &str, default: u64| match part {
        "" => Ok(default),
        part => part.parse().map_err(|_| format!("{part:?} is no row number")),
    };
    let (start, end) = match text.split_once("..") {
        Some((start, end)) => (number(start, 0)?, number(end, u64::MAX)?),
        None => (0, number(text, 0)?),
    };
    match start < end {
        true => Ok(start..end),
        false => Err("the range is empty".into()),
    }
}

fn open_rows(path: &Path, options: &Options<'_>) -> Result<Box<dyn Rows>> {
    let (mut reader, size) = open_reader(path)?;
    let format = match options.format {
        Format::Auto => detect(path, reader.fill_buf()?)?,
        other => other,
    };
    Ok(match format {
        Format::Npy => Box::new(Npy::new(reader)?),
        Format::Fvecs => Box::new(Vecs::fvecs(reader, size)?),
        Format::Bvecs => Box::new(Vecs::bvecs(reader, size)?),
        Format::Jsonl | Format::Auto => Box::new(Jsonl::new(reader, options.fields.clone())),
    })
}

/// Opens a file, or standard input; also returns its size when it is a regular file.
fn open_reader(path: &Path) -> Result<(Box<dyn BufRead>, Option<u64>)> {
    if path == Path::new("-") {
        return Ok((Box::new(BufReader::with_capacity(BUFFER, std::io::stdin())), None));
    }
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let size = file.metadata().ok().filter(|m| m.is_file()).map(|m| m.len());
    Ok((Box::new(BufReader::with_capacity(BUFFER, file)), size))
}

const BUFFER: usize = 1 << 18;

/// Tells what a file holds from its name, or else from its first bytes.
fn detect(path: &Path, start: &[u8]) -> Result<Format> {
    let format = match path.extension().and_then(|e| e.to_str()) {
        Some("jsonl" | "ndjson" | "json") => Format::Jsonl,
        Some("npy") => Format::Npy,
        Some("fvecs") => Format::Fvecs,
        Some("bvecs") => Format::Bvecs,
        _ if start.starts_with(npy::MAGIC) => Format::Npy,
        _ => match start.iter().find(|b| !b.is_ascii_whitespace()) {
            None | Some(b'{' | b'[') => Format::Jsonl,
            Some(_) => bail!("cannot tell its format; say --format jsonl, npy, fvecs or bvecs"),
        },
    };
    Ok(format)
}

fn name(path: &Path) -> String {
    match path == Path::new("-") {
        true => "standard input".into(),
        false => path.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_by_name_and_then_by_first_bytes() {
        let auto = |name: &str, start: &[u8]| detect(Path::new(name), start).ok();
        assert_eq!(auto("a.fvecs", b"{"), Some(Format::Fvecs));
        assert_eq!(auto("a.npy", b""), Some(Format::Npy));
        assert_eq!(auto("-", b"\x93NUMPY\x01"), Some(Format::Npy));
        assert_eq!(auto("-", b" \n{"), Some(Format::Jsonl));
        assert_eq!(auto("-", b"[1"), Some(Format::Jsonl));
        assert_eq!(auto("-", &[128, 1, 0, 0]), None);
    }

    #[test]
    fn vectors_and_ranges_of_the_command_line_are_parsed() {
        assert_eq!(parse_vector("1, 2.5,-3e2"), Ok(vec![1.0, 2.5, -300.0]));
        assert_eq!(parse_vector("[1 2]"), Ok(vec![1.0, 2.0]));
        assert!(parse_vector("").is_err() && parse_vector("1,x").is_err());
        assert_eq!(parse_range("3..7"), Ok(3..7));
        assert_eq!(parse_range("3.."), Ok(3..u64::MAX));
        assert_eq!(parse_range("7"), Ok(0..7));
        assert!(parse_range("7..7").is_err() && parse_range("a").is_err() && parse_range("0").is_err());
    }

    #[test]
    fn payloads_beside_the_vectors_follow_them_and_must_not_end_early() {
        let dir = tempfile::tempdir().unwrap();
        let (vectors, payloads) = (dir.path().join("a.jsonl"), dir.path().join("p.jsonl"));
        std::fs::write(&vectors, "[1]\n[2]\n[3]\n").unwrap();
        std::fs::write(&payloads, "{\"n\": 1}\n{\"n\": 2}\n").unwrap();
        let fields = Fields {
            id: "id".into(),
            vector: "vector".into(),
            payload: "payload".into(),
        };
        let open = |range| {
            let options = Options {
                format: Format::Auto,
                fields: &fields,
                payloads: Some(&payloads),
                range,
            };
            Input::open(&vectors, &options).unwrap()
        };
        let mut input = open(1..2);
        let row = input.next_row().unwrap().unwrap();
        assert_eq!((row.vector.numbers(), row.payload["n"].as_i64()), (vec![2.0], Some(2)));
        assert!(input.next_row().unwrap().is_none());
        let mut input = open(0..u64::MAX);
        assert!(input.next_row().is_ok() && input.next_row().is_ok());
        assert!(format!("{:#}", input.next_row().unwrap_err()).contains("ends before row 2"));
    }
}
