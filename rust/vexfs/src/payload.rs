// SPDX-License-Identifier: Apache-2.0
//! Payloads between JSON, which users write, and the binary form, which is stored.
//!
//! The form itself is the engine's (`vexfs_engine::payload`). Strings of up to 255 bytes become keywords, longer ones
//! text; integers i64; other numbers f64; null fields are left out; lists hold one type. Objects in objects
//! have no binary form and are refused.

use serde_json::Map;
use serde_json::Number;
use serde_json::Value as Json;
use vexfs_engine::payload::Builder;
use vexfs_engine::payload::Value;
use vexfs_uapi::payload::VEXFS_KEYWORD_MAX;

use crate::Error;
use crate::Result;

/// What a row says about itself besides its vector: named, typed fields, in their binary form.
///
/// ```
/// use vexfs::Payload;
///
/// let payload = Payload::from_json(&serde_json::json!({"title": "first", "year": 2024, "tags": ["a", "b"]}))?;
/// assert_eq!(payload.to_json()?["year"], 2024);
/// # Ok::<(), vexfs::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload(Vec<u8>);

impl Payload {
    /// The payload that a JSON object says; an object without fields is an empty one.
    ///
    /// # Errors
    ///
    /// `Invalid`: not an object, or a field that has no binary form; it is named.
    pub fn from_json(value: &Json) -> Result<Self> {
        match value {
            Json::Object(object) => Self::from_object(object),
            _ => Err(Error::invalid("a payload is a JSON object")),
        }
    }

    /// As [`Payload::from_json`].
    ///
    /// # Errors
    ///
    /// As [`Payload::from_json`].
    pub fn from_object(object: &Map<String, Json>) -> Result<Self> {
        let mut builder = Builder::new();
        for (name, value) in object {
            if !value.is_null() {
                add(&mut builder, name, value).map_err(|e| Error::invalid(format!("field {name:?}: {e}")))?;
            }
        }
        Ok(Self(builder.finish()?.to_vec()))
    }

    /// A payload in the binary form. It is checked when it is inserted or turned into JSON.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The binary form; nothing for an empty payload.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether it has no fields.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its fields as a JSON object.
    ///
    /// # Errors
    ///
    /// `Invalid` if the bytes are no payload.
    pub fn to_json(&self) -> Result<Map<String, Json>> {
        if self.0.is_empty() {
            return Ok(Map::new());
        }
        let payload = vexfs_engine::payload::Payload::parse(&self.0)?;
        payload
            .fields()
            .map(|field| Ok((field.name.to_string(), json(field.value)?)))
            .collect()
    }
}

fn add(builder: &mut Builder, name: &str, value: &Json) -> Result<()> {
    let Json::Array(list) = value else {
        return Ok(builder.add(name, scalar(value)?)?);
    };
    let mut values = list.iter().map(scalar).collect::<Result<Vec<_>>>()?;
    widen(&mut values);
    Ok(builder.add_list(name, &values)?)
}

/// Makes the elements of a list one type where nothing is lost: keywords become texts, integers other numbers.
fn widen(values: &mut [Value<'_>]) {
    if values.iter().any(|v| matches!(v, Value::Text(_))) {
        for value in values.iter_mut() {
            if let Value::Keyword(text) = *value {
                *value = Value::Text(text);
            }
        }
    }
    if values.iter().any(|v| matches!(v, Value::F64(_))) {
        for value in values {
            if let Value::I64(number) = *value {
                *value = Value::F64((number as f64).to_bits());
            }
        }
    }
}

fn scalar(value: &Json) -> Result<Value<'_>> {
    Ok(match value {
        Json::Bool(truth) => Value::Bool(*truth),
        Json::Number(n) => match (n.as_i64(), n.as_f64()) {
            (Some(integer), _) => Value::I64(integer),
            (None, Some(number)) if !n.is_u64() => Value::F64(number.to_bits()),
            _ => return Err(Error::invalid(format!("{n} does not fit a signed 64-bit integer"))),
        },
        Json::String(text) if text.len() <= VEXFS_KEYWORD_MAX as usize => Value::Keyword(text),
        Json::String(text) => Value::Text(text),
        Json::Null => return Err(Error::invalid("null in a list")),
        Json::Array(_) => return Err(Error::invalid("a list in a list")),
        Json::Object(_) => {
            return Err(Error::invalid(
                "an object in an object; give its fields names of their own, such as \"a.b\"",
            ))
        }
    })
}

fn json(value: Value<'_>) -> Result<Json> {
    Ok(match value {
        Value::Keyword(text) | Value::Text(text) => Json::String(text.to_string()),
        Value::I64(number) => Json::Number(number.into()),
        Value::F64(bits) => match Number::from_f64(f64::from_bits(bits)) {
            Some(number) => Json::Number(number),
            None => return Err(Error::invalid("a number is not finite")),
        },
        Value::Bool(truth) => Json::Bool(truth),
        Value::List(list) => Json::Array(list.into_iter().map(json).collect::<Result<_>>()?),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn encode(value: &Json) -> Result<Vec<u8>> {
        Ok(Payload::from_json(value)?.0)
    }

    #[test]
    fn json_survives_the_binary_form() {
        let value = json!({
            "zeta": "last", "package": "bmf", "size": -61292, "ratio": 0.25, "free": true, "text": "x".repeat(300),
            "tags": ["a", "b"], "long": ["a", "y".repeat(300)], "n": [1, 2], "mixed": [1, 2.5], "none": [], "b": [true, false],
        });
        let mut expected = value.clone();
        expected["mixed"] = json!([1.0, 2.5]);
        let payload = Payload::from_json(&value).unwrap();
        assert_eq!(Json::Object(payload.to_json().unwrap()), expected);
    }

    #[test]
    fn fields_are_in_the_order_of_their_bytes_and_null_is_left_out() {
        let bytes = encode(&json!({"b": 1, "a": true, "c": null})).unwrap();
        let expected: &[u8] = &[
            1, 0, 2, 0, 5, 1, 0, 0, 1, 0, 0, 0, b'a', 1, 3, 1, 0, 0, 8, 0, 0, 0, b'b', 1, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(bytes, expected);
        assert!(encode(&json!({"c": null})).unwrap().is_empty());
        assert!(Payload::default().to_json().unwrap().is_empty());
    }

    #[test]
    fn what_has_no_binary_form_is_refused() {
        for bad in [
            json!([]),
            json!({"a": {"b": 1}}),
            json!({"a": [[1]]}),
            json!({"a": [1, "x"]}),
            json!({"a": [null]}),
            json!({"a": u64::MAX}),
            json!({"": 1}),
            json!({"a": "x".repeat(70_000)}),
        ] {
            assert!(encode(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_cut_of_a_payload_is_an_error_and_not_a_panic() {
        let bytes = encode(&json!({"a": [1, 2], "b": "text", "c": ["x"]})).unwrap();
        for len in 1..bytes.len() {
            assert!(Payload::from_bytes(bytes[..len].to_vec()).to_json().is_err(), "{len}");
        }
        let mut longer = bytes;
        longer.push(0);
        assert!(Payload::from_bytes(longer).to_json().is_err());
    }
}
