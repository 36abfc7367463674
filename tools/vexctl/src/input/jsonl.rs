// SPDX-License-Identifier: Apache-2.0
//! JSON lines: a row a line, `{"id": 7, "vector": [..], "payload": {..}}`, or just its vector as an array.

use std::io::BufRead;

use anyhow::anyhow;
use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use serde_json::Map;
use serde_json::Value;

use super::Row;
use super::Rows;
use super::Vector;

/// Which fields of a line are what.
#[derive(Clone, Debug)]
pub struct Fields {
    pub id: String,
    pub vector: String,
    pub payload: String,
}

/// Rows of a stream of JSON lines.
pub struct Jsonl<R> {
    lines: Lines<R>,
    fields: Fields,
}

impl<R: BufRead> Jsonl<R> {
    pub fn new(reader: R, fields: Fields) -> Self {
        Jsonl {
            lines: Lines::new(reader),
            fields,
        }
    }
}

impl<R: BufRead> Rows for Jsonl<R> {
    fn next_row(&mut self) -> Result<Option<Row>> {
        let Some(value) = self.lines.next_value()? else {
            return Ok(None);
        };
        let line = self.lines.line;
        parse(value, &self.fields)
            .map(Some)
            .with_context(|| format!("line {line}"))
    }

    fn position(&self) -> String {
        format!("line {}", self.lines.line)
    }
}

/// Objects of a stream of JSON lines: metadata beside vectors that are elsewhere.
pub struct Objects<R>(Lines<R>);

impl<R: BufRead> Objects<R> {
    pub fn new(reader: R) -> Self {
        Objects(Lines::new(reader))
    }

    /// Returns the next object, or `None` at the end.
    pub fn next_object(&mut self) -> Result<Option<Map<String, Value>>> {
        match self.0.next_value()? {
            None => Ok(None),
            Some(Value::Object(object)) => Ok(Some(object)),
            Some(other) => bail!("line {}: {} instead of an object", self.0.line, kind(&other)),
        }
    }
}

/// Splits a stream into lines and parses them; empty lines are skipped.
struct Lines<R> {
    reader: R,
    line: u64,
    buffer: String,
}

impl<R: BufRead> Lines<R> {
    fn new(reader: R) -> Self {
        Lines {
            reader,
            line: 0,
            buffer: String::new(),
        }
    }

    fn next_value(&mut self) -> Result<Option<Value>> {
        loop {
            self.buffer.clear();
            self.line += 1;
            let line = self.line;
            if self
                .reader
                .read_line(&mut self.buffer)
                .with_context(|| format!("line {line}"))?
                == 0
            {
                return Ok(None);
            }
            let text = self.buffer.trim();
            if !text.is_empty() {
                return serde_json::from_str(text)
                    .map(Some)
                    .with_context(|| format!("line {line}"));
            }
        }
    }
}

fn parse(value: Value, fields: &Fields) -> Result<Row> {
    let mut object = match value {
        Value::Array(_) => {
            return Ok(numbers(&value)?.into());
        }
        Value::Object(object) => object,
        other => bail!("{} instead of an object or an array", kind(&other)),
    };
    let vector = object
        .remove(&fields.vector)
        .ok_or_else(|| anyhow!("no field {:?}", fields.vector))?;
    let vector = numbers(&vector).with_context(|| format!("field {:?}", fields.vector))?;
    let id = match object.remove(&fields.id) {
        None | Some(Value::Null) => None,
        Some(id) => Some(
            id.as_u64()
                .ok_or_else(|| anyhow!("field {:?}: {id} is no unsigned integer", fields.id))?,
        ),
    };
    let payload = match object.remove(&fields.payload) {
        // Everything else describes the row when nothing says it does.
        None => object,
        Some(payload) => {
            if let Some(name) = object.keys().next() {
                bail!(
                    "field {name:?} is neither id, vector nor payload: put it into {:?}",
                    fields.payload
                );
            }
            match payload {
                Value::Null => Map::new(),
                Value::Object(payload) => payload,
                other => bail!("field {:?}: {} instead of an object", fields.payload, kind(&other)),
            }
        }
    };
    Ok(Row { id, vector, payload })
}

/// Parses an array of numbers.
fn numbers(value: &Value) -> Result<Vector> {
    let Value::Array(list) = value else {
        bail!("{} instead of an array of numbers", kind(value));
    };
    let numbers = list.iter().enumerate().map(|(i, x)| match x.as_f64() {
        Some(x) => Ok(x as f32),
        None => bail!("element {i} is {} instead of a number", kind(x)),
    });
    Ok(numbers.collect::<Result<Vec<f32>>>()?.as_slice().into())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Row>> {
        let fields = Fields {
            id: "id".into(),
            vector: "vector".into(),
            payload: "payload".into(),
        };
        let mut rows = Jsonl::new(text.as_bytes(), fields);
        let mut out = Vec::new();
        while let Some(row) = rows.next_row()? {
            out.push(row);
        }
        Ok(out)
    }

    #[test]
    fn objects_and_bare_arrays_are_rows() {
        let rows = read(
            "{\"id\": 7, \"vector\": [1, 2.5], \"payload\": {\"a\": 1}}\n\n[3, 4]\n{\"vector\": [5, 6], \"b\": \"x\"}",
        )
        .unwrap();
        assert_eq!(rows.len(), 3);
        assert_eq!(
            (rows[0].id, rows[0].vector.numbers(), rows[0].payload["a"].as_i64()),
            (Some(7), vec![1.0, 2.5], Some(1))
        );
        assert_eq!(
            (rows[1].id, rows[1].vector.numbers(), rows[1].payload.len()),
            (None, vec![3.0, 4.0], 0)
        );
        assert_eq!(rows[2].payload["b"], "x");
    }

    #[test]
    fn a_bad_line_is_named() {
        for (text, word) in [
            ("[1]\n{", "line 2"),
            ("\n[1, \"x\"]", "line 2"),
            ("{\"id\": 1}", "vector"),
            ("{\"id\": -1, \"vector\": [1]}", "unsigned"),
            ("{\"vector\": 1}", "array"),
            ("{\"vector\": [1], \"payload\": 3}", "payload"),
            ("{\"vector\": [1], \"payload\": {}, \"b\": 3}", "\"b\""),
            ("3", "number"),
        ] {
            let e = read(text).expect_err(text);
            assert!(format!("{e:#}").contains(word), "{text}: {e:#}");
        }
    }

    #[test]
    fn metadata_lines_must_be_objects() {
        let mut objects = Objects::new("{\"a\": 1}\n[1]".as_bytes());
        assert_eq!(objects.next_object().unwrap().unwrap()["a"], 1);
        assert!(objects.next_object().is_err());
    }
}
