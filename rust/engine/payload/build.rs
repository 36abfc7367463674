// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Making payloads field by field.

use super::check_name;
use super::is_finite;
use super::read::Value;
use super::Payload;
use super::Scalar;
use super::FIELDS_MAX;
use super::FIELD_HEADER;
use super::HEADER;
use super::KEYWORD_MAX;
use super::LIST;
use super::PAYLOAD_MAX;
use vexfs_host::mem::Vec;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_uapi::payload::VEXFS_PAYLOAD_VERSION;

/// Collects fields in any order and writes them in theirs.
///
/// # Invariants
///
/// `fields` holds the encoded fields back to back; `order` holds their (start, end), sorted by name without repetition.
#[derive(Default)]
pub struct Builder {
    fields: Vec<u8>,
    order: Vec<(usize, usize)>,
}

impl Builder {
    /// A payload without fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a field with one value.
    ///
    /// # Errors
    ///
    /// `Exists` for a name that is there, `Invalid` or `TooBig` if a rule of the form would be broken; nothing was
    /// added.
    pub fn add(&mut self, name: &str, value: Value<'_>) -> Result {
        match value {
            Value::List(list) => {
                let scalar = list.scalar_code();
                self.field(name, scalar | LIST, |out| {
                    out.extend_from_slice(&(list.count() as u32).to_le_bytes())?;
                    list.into_iter().try_for_each(|element| push_element(out, element))
                })
            }
            scalar => self.field(name, scalar_of(scalar)?.code(), |out| push_scalar(out, scalar)),
        }
    }

    /// Adds a field with a list of values of one type; an empty list is one of keywords.
    ///
    /// # Errors
    ///
    /// As [`Builder::add`]; `Invalid` also for values of different types.
    pub fn add_list(&mut self, name: &str, values: &[Value<'_>]) -> Result {
        let scalar = match values.first() {
            Some(first) => scalar_of(*first)?,
            None => Scalar::Keyword,
        };
        let count = u32::try_from(values.len()).map_err(|_| Error::TooBig("payload: over 64 KiB"))?;
        self.field(name, scalar.code() | LIST, |out| {
            out.extend_from_slice(&count.to_le_bytes())?;
            for value in values {
                if scalar_of(*value)? != scalar {
                    return Err(Error::Invalid("payload: a list of different types"));
                }
                push_element(out, *value)?;
            }
            Ok(())
        })
    }

    /// The payload, or no bytes if there are no fields.
    ///
    /// # Errors
    ///
    /// `NoMemory`, or `TooBig` if it has more than 64 KiB.
    pub fn finish(&self) -> Result<Vec<u8>> {
        if self.order.is_empty() {
            return Ok(Vec::new());
        }
        let len = self.fields.len().saturating_add(HEADER);
        if len > PAYLOAD_MAX {
            return Err(Error::TooBig("payload: over 64 KiB"));
        }
        let mut bytes = Vec::with_capacity(len)?;
        bytes.push(VEXFS_PAYLOAD_VERSION as u8)?;
        bytes.push(0)?;
        bytes.extend_from_slice(&(self.order.len() as u16).to_le_bytes())?;
        for (start, end) in &self.order {
            bytes.extend_from_slice(self.fields.get(*start..*end).unwrap_or_default())?;
        }
        debug_assert!(Payload::parse(&bytes).is_ok());
        Ok(bytes)
    }

    fn name_of(&self, range: (usize, usize)) -> &[u8] {
        let field = self.fields.get(range.0..range.1).unwrap_or_default();
        let len = field.get(1).map_or(0, |len| usize::from(*len));
        field
            .get(FIELD_HEADER..)
            .and_then(|rest| rest.get(..len))
            .unwrap_or_default()
    }

    fn field(&mut self, name: &str, kind: u8, value: impl FnOnce(&mut Vec<u8>) -> Result) -> Result {
        check_name(name)?;
        if self.order.len() >= FIELDS_MAX {
            return Err(Error::TooBig("payload: over 256 fields"));
        }
        let place = match self
            .order
            .binary_search_by(|range| self.name_of(*range).cmp(name.as_bytes()))
        {
            Ok(_) => return Err(Error::Exists),
            Err(place) => place,
        };
        let start = self.fields.len();
        let result = self.encode(name, kind, value).and_then(|()| {
            let end = self.fields.len();
            self.order.insert(place, (start, end))
        });
        if result.is_err() {
            self.fields.truncate(start);
        }
        result
    }

    fn encode(&mut self, name: &str, kind: u8, value: impl FnOnce(&mut Vec<u8>) -> Result) -> Result {
        self.fields.extend_from_slice(&[kind, name.len() as u8, 0, 0])?;
        let length_at = self.fields.len();
        self.fields.extend_from_slice(&[0; 4])?;
        self.fields.extend_from_slice(name.as_bytes())?;
        let value_at = self.fields.len();
        value(&mut self.fields)?;
        if self.fields.len().saturating_add(HEADER) > PAYLOAD_MAX {
            return Err(Error::TooBig("payload: over 64 KiB"));
        }
        let length = (self.fields.len() - value_at) as u32;
        if let Some(place) = self.fields.get_mut(length_at..).and_then(|rest| rest.first_chunk_mut()) {
            *place = length.to_le_bytes();
        }
        Ok(())
    }
}

fn scalar_of(value: Value<'_>) -> Result<Scalar> {
    match value {
        Value::Keyword(_) => Ok(Scalar::Keyword),
        Value::Text(_) => Ok(Scalar::Text),
        Value::I64(_) => Ok(Scalar::I64),
        Value::F64(_) => Ok(Scalar::F64),
        Value::Bool(_) => Ok(Scalar::Bool),
        Value::List(_) => Err(Error::Invalid("payload: a list inside a list")),
    }
}

fn push_scalar(out: &mut Vec<u8>, value: Value<'_>) -> Result {
    match value {
        Value::Keyword(text) if text.len() > KEYWORD_MAX => Err(Error::Invalid("payload: keyword over 255 bytes")),
        Value::Keyword(text) | Value::Text(text) => out.extend_from_slice(text.as_bytes()),
        Value::I64(number) => out.extend_from_slice(&number.to_le_bytes()),
        Value::F64(bits) if !is_finite(bits) => Err(Error::Invalid("payload: a number is NaN or infinite")),
        Value::F64(bits) => out.extend_from_slice(&bits.to_le_bytes()),
        Value::Bool(truth) => out.push(u8::from(truth)),
        Value::List(_) => Err(Error::Invalid("payload: a list inside a list")),
    }
}

fn push_element(out: &mut Vec<u8>, value: Value<'_>) -> Result {
    if let Value::Keyword(text) | Value::Text(text) = value {
        let len = u32::try_from(text.len()).map_err(|_| Error::TooBig("payload: over 64 KiB"))?;
        out.extend_from_slice(&len.to_le_bytes())?;
    }
    push_scalar(out, value)
}
