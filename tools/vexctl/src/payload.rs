// SPDX-License-Identifier: Apache-2.0
//! Payloads between JSON, which users write, and the binary form, which the kernel stores.
//!
//! The form is described in `vexfs_uapi::payload`. Strings of up to 255 bytes become keywords, longer ones
//! text; integers i64; other numbers f64; null fields are left out; lists hold one type. Objects in objects
//! have no binary form and are refused.

use anyhow::anyhow;
use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use serde_json::Map;
use serde_json::Number;
use serde_json::Value;
use vexfs_uapi::payload::*;

/// Turns a JSON object into the binary form; an object without fields becomes no bytes.
pub fn encode(object: &Map<String, Value>) -> Result<Vec<u8>> {
    let mut fields: Vec<(&str, u32, Vec<u8>)> = Vec::with_capacity(object.len());
    for (name, value) in object {
        if value.is_null() {
            continue;
        }
        if name.is_empty() || name.len() > 255 || name.contains('\0') {
            bail!("field name {name:?} is not 1 to 255 bytes without NUL");
        }
        let (kind, bytes) = encode_value(value).with_context(|| format!("field {name:?}"))?;
        fields.push((name, kind, bytes));
    }
    if fields.is_empty() {
        return Ok(Vec::new());
    }
    if fields.len() > VEXFS_PAYLOAD_FIELDS_MAX as usize {
        bail!("{} fields; at most {VEXFS_PAYLOAD_FIELDS_MAX} fit", fields.len());
    }
    fields.sort_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));

    let mut out = vec![VEXFS_PAYLOAD_VERSION as u8, 0];
    out.extend((fields.len() as u16).to_le_bytes());
    for (name, kind, value) in fields {
        out.extend([kind as u8, name.len() as u8, 0, 0]);
        out.extend((value.len() as u32).to_le_bytes());
        out.extend(name.as_bytes());
        out.extend(value);
    }
    if out.len() > VEXFS_PAYLOAD_MAX as usize {
        bail!("{} bytes; at most {VEXFS_PAYLOAD_MAX} fit", out.len());
    }
    Ok(out)
}

fn encode_value(value: &Value) -> Result<(u32, Vec<u8>)> {
    let Value::Array(list) = value else {
        let kind = scalar_kind(value)?;
        return Ok((kind, scalar_bytes(kind, value)?));
    };
    let mut kind = match list.first() {
        Some(first) => scalar_kind(first)?,
        // An empty list has no type of its own.
        None => VEXFS_FIELD_KEYWORD,
    };
    for element in list {
        kind = match (kind, scalar_kind(element)?) {
            (a, b) if a == b => a,
            (VEXFS_FIELD_I64, VEXFS_FIELD_F64) | (VEXFS_FIELD_F64, VEXFS_FIELD_I64) => VEXFS_FIELD_F64,
            (VEXFS_FIELD_KEYWORD, VEXFS_FIELD_TEXT) | (VEXFS_FIELD_TEXT, VEXFS_FIELD_KEYWORD) => VEXFS_FIELD_TEXT,
            _ => bail!("a list must hold values of one type"),
        };
    }
    let mut out = (list.len() as u32).to_le_bytes().to_vec();
    for element in list {
        let bytes = scalar_bytes(kind, element)?;
        if kind == VEXFS_FIELD_KEYWORD || kind == VEXFS_FIELD_TEXT {
            out.extend((bytes.len() as u32).to_le_bytes());
        }
        out.extend(bytes);
    }
    Ok((kind | VEXFS_FIELD_LIST, out))
}

fn scalar_kind(value: &Value) -> Result<u32> {
    Ok(match value {
        Value::Bool(_) => VEXFS_FIELD_BOOL,
        Value::Number(n) if n.is_i64() => VEXFS_FIELD_I64,
        Value::Number(n) if n.is_u64() => bail!("{n} does not fit a signed 64-bit integer"),
        Value::Number(_) => VEXFS_FIELD_F64,
        Value::String(s) if s.len() <= VEXFS_KEYWORD_MAX as usize => VEXFS_FIELD_KEYWORD,
        Value::String(_) => VEXFS_FIELD_TEXT,
        Value::Null => bail!("null in a list"),
        Value::Array(_) => bail!("a list in a list"),
        Value::Object(_) => bail!("an object in an object; give its fields names of their own, such as \"a.b\""),
    })
}

/// Encodes a scalar as `kind`, which is its own or one it was widened to.
fn scalar_bytes(kind: u32, value: &Value) -> Result<Vec<u8>> {
    let bytes = match (kind, value) {
        (VEXFS_FIELD_BOOL, Value::Bool(b)) => Some(vec![u8::from(*b)]),
        (VEXFS_FIELD_I64, Value::Number(n)) => n.as_i64().map(|i| i.to_le_bytes().to_vec()),
        (VEXFS_FIELD_F64, Value::Number(n)) => n
            .as_f64()
            .filter(|f| f.is_finite())
            .map(|f| f.to_bits().to_le_bytes().to_vec()),
        (VEXFS_FIELD_KEYWORD | VEXFS_FIELD_TEXT, Value::String(s)) => Some(s.clone().into_bytes()),
        _ => None,
    };
    bytes.ok_or_else(|| anyhow!("{value} has no binary form"))
}

/// Turns the binary form into a JSON object; no bytes are an object without fields.
pub fn decode(bytes: &[u8]) -> Result<Map<String, Value>> {
    let mut object = Map::new();
    if bytes.is_empty() {
        return Ok(object);
    }
    let mut reader = Reader(bytes);
    let [version, _reserved] = reader.array()?;
    if u32::from(version) != VEXFS_PAYLOAD_VERSION {
        bail!("payload of version {version}; this program reads {VEXFS_PAYLOAD_VERSION}");
    }
    for _ in 0..u16::from_le_bytes(reader.array()?) {
        let [kind, name_len, _, _] = reader.array()?;
        let value_len = reader.u32()? as usize;
        let name = reader.string(name_len.into())?;
        let value = reader.take(value_len)?;
        object.insert(name, decode_value(kind.into(), Reader(value))?);
    }
    if !reader.0.is_empty() {
        bail!("payload with {} bytes after its last field", reader.0.len());
    }
    Ok(object)
}

fn decode_value(kind: u32, mut value: Reader<'_>) -> Result<Value> {
    let scalar = kind & !VEXFS_FIELD_LIST;
    if kind == scalar {
        let len = value.0.len();
        return decode_scalar(scalar, &mut value, len);
    }
    let count = value.u32()?;
    let mut list = Vec::new();
    for _ in 0..count {
        let len = match scalar {
            VEXFS_FIELD_KEYWORD | VEXFS_FIELD_TEXT => value.u32()? as usize,
            VEXFS_FIELD_BOOL => 1,
            _ => 8,
        };
        list.push(decode_scalar(scalar, &mut value, len)?);
    }
    Ok(Value::Array(list))
}

fn decode_scalar(kind: u32, reader: &mut Reader<'_>, len: usize) -> Result<Value> {
    Ok(match kind {
        VEXFS_FIELD_KEYWORD | VEXFS_FIELD_TEXT => Value::String(reader.string(len)?),
        VEXFS_FIELD_I64 => Value::Number(i64::from_le_bytes(reader.array()?).into()),
        VEXFS_FIELD_F64 => {
            let number = f64::from_bits(u64::from_le_bytes(reader.array()?));
            Value::Number(Number::from_f64(number).context("payload with a number that is not finite")?)
        }
        VEXFS_FIELD_BOOL => Value::Bool(reader.array::<1>()? != [0]),
        other => bail!("payload with a field of unknown type {other}"),
    })
}

/// Takes bytes off the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(len).context("payload is cut short")?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn string(&mut self, len: usize) -> Result<String> {
        String::from_utf8(self.take(len)?.to_vec()).context("payload with a string that is not UTF-8")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(map) => map,
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
