// SPDX-License-Identifier: Apache-2.0
//! Payloads between JSON, which users write, and the binary form, which is stored.
//!
//! The form itself is the engine's (`vexfs_engine::payload`). Strings of up to 255 bytes become keywords, longer ones
//! text; integers i64; other numbers f64; null fields are left out; lists hold one type. Objects in objects
//! have no binary form and are refused.

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use serde_json::Map;
use serde_json::Number;
use serde_json::Value as Json;
use vexfs_engine::payload::Builder;
use vexfs_engine::payload::Payload;
use vexfs_engine::payload::Value;
use vexfs_uapi::payload::VEXFS_KEYWORD_MAX;

/// Turns a JSON object into the binary form; an object without fields becomes no bytes.
pub fn encode(object: &Map<String, Json>) -> Result<Vec<u8>> {
    let mut builder = Builder::new();
    for (name, value) in object {
        if !value.is_null() {
            add(&mut builder, name, value).with_context(|| format!("field {name:?}"))?;
        }
    }
    Ok(builder.finish()?.to_vec())
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
            _ => bail!("{n} does not fit a signed 64-bit integer"),
        },
        Json::String(text) if text.len() <= VEXFS_KEYWORD_MAX as usize => Value::Keyword(text),
        Json::String(text) => Value::Text(text),
        Json::Null => bail!("null in a list"),
        Json::Array(_) => bail!("a list in a list"),
        Json::Object(_) => bail!("an object in an object; give its fields names of their own, such as \"a.b\""),
    })
}

/// Turns the binary form into a JSON object; no bytes are an object without fields.
pub fn decode(bytes: &[u8]) -> Result<Map<String, Json>> {
    if bytes.is_empty() {
        return Ok(Map::new());
    }
    let payload = Payload::parse(bytes)?;
    payload
        .fields()
        .map(|field| Ok((field.name.to_string(), json(field.value)?)))
        .collect()
}

fn json(value: Value<'_>) -> Result<Json> {
    Ok(match value {
        Value::Keyword(text) | Value::Text(text) => Json::String(text.to_string()),
        Value::I64(number) => Json::Number(number.into()),
        Value::F64(bits) => Json::Number(Number::from_f64(f64::from_bits(bits)).context("a number is not finite")?),
        Value::Bool(truth) => Json::Bool(truth),
        Value::List(list) => Json::Array(list.into_iter().map(json).collect::<Result<_>>()?),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Json) -> Map<String, Json> {
        match value {
            Json::Object(map) => map,
            other => panic!("{other} is no object"),
        }
    }

    #[test]
    fn json_survives_the_binary_form() {
        let value = object(json!({
            "zeta": "last", "package": "bmf", "size": -61292, "ratio": 0.25, "free": true, "text": "x".repeat(300),
            "tags": ["a", "b"], "long": ["a", "y".repeat(300)], "n": [1, 2], "mixed": [1, 2.5], "none": [], "b": [true, false],
        }));
        let mut expected = value.clone();
        expected["mixed"] = json!([1.0, 2.5]);
        assert_eq!(decode(&encode(&value).unwrap()).unwrap(), expected);
    }

    #[test]
    fn fields_are_in_the_order_of_their_bytes_and_null_is_left_out() {
        let bytes = encode(&object(json!({"b": 1, "a": true, "c": null}))).unwrap();
        let expected: &[u8] = &[
            1, 0, 2, 0, 5, 1, 0, 0, 1, 0, 0, 0, b'a', 1, 3, 1, 0, 0, 8, 0, 0, 0, b'b', 1, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(bytes, expected);
        assert!(encode(&object(json!({"c": null}))).unwrap().is_empty());
        assert!(decode(&[]).unwrap().is_empty());
    }

    #[test]
    fn what_has_no_binary_form_is_refused() {
        for bad in [
            json!({"a": {"b": 1}}),
            json!({"a": [[1]]}),
            json!({"a": [1, "x"]}),
            json!({"a": [null]}),
            json!({"a": u64::MAX}),
            json!({"": 1}),
            json!({"a": "x".repeat(70_000)}),
        ] {
            assert!(encode(&object(bad.clone())).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_cut_of_a_payload_is_an_error_and_not_a_panic() {
        let bytes = encode(&object(json!({"a": [1, 2], "b": "text", "c": ["x"]}))).unwrap();
        for len in 1..bytes.len() {
            assert!(decode(&bytes[..len]).is_err(), "{len}");
        }
        let mut longer = bytes;
        longer.push(0);
        assert!(decode(&longer).is_err());
    }
}
