// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

use super::*;
use std::string::String;
use std::string::ToString;
use std::vec::Vec;

fn sample() -> Vec<u8> {
    let mut builder = Builder::new();
    builder.add("title", Value::Text("Grüße an alle")).unwrap();
    builder.add("section", Value::Keyword("net")).unwrap();
    builder.add("size", Value::I64(-42)).unwrap();
    builder.add("score", Value::F64(0.5f64.to_bits())).unwrap();
    builder.add("essential", Value::Bool(true)).unwrap();
    builder
        .add_list(
            "tags",
            &[Value::Keyword("a"), Value::Keyword(""), Value::Keyword("ccc")],
        )
        .unwrap();
    builder
        .add_list("sizes", &[Value::I64(1), Value::I64(i64::MIN)])
        .unwrap();
    builder.add_list("none", &[]).unwrap();
    builder.finish().unwrap().to_vec()
}

#[test]
fn what_is_built_is_read_back_in_order_of_names() {
    let bytes = sample();
    let payload = Payload::parse(&bytes).unwrap();
    let names: Vec<&str> = payload.fields().map(|f| f.name).collect();
    assert_eq!(
        names,
        [
            "essential",
            "none",
            "score",
            "section",
            "size",
            "sizes",
            "tags",
            "title"
        ]
    );
    assert_eq!(payload.get("title"), Some(Value::Text("Grüße an alle")));
    assert_eq!(payload.get("section"), Some(Value::Keyword("net")));
    assert_eq!(payload.get("size"), Some(Value::I64(-42)));
    assert_eq!(payload.get("score"), Some(Value::F64(0.5f64.to_bits())));
    assert_eq!(payload.get("essential"), Some(Value::Bool(true)));
    assert_eq!(payload.get("absent"), None);
    let Some(Value::List(tags)) = payload.get("tags") else {
        panic!()
    };
    let tags: Vec<Value<'_>> = tags.into_iter().collect();
    assert_eq!(tags, [Value::Keyword("a"), Value::Keyword(""), Value::Keyword("ccc")]);
    let Some(Value::List(none)) = payload.get("none") else {
        panic!()
    };
    assert!(none.is_empty() && none.into_iter().next().is_none());
}

#[test]
fn fields_copied_one_by_one_give_the_same_bytes() {
    let bytes = sample();
    let payload = Payload::parse(&bytes).unwrap();
    let mut fields: Vec<Field<'_>> = payload.fields().collect();
    fields.reverse();
    let mut builder = Builder::new();
    for field in fields {
        builder.add(field.name, field.value).unwrap();
    }
    assert_eq!(&builder.finish().unwrap()[..], bytes);
}

#[test]
fn no_prefix_of_a_payload_is_a_payload() {
    let bytes = sample();
    for end in 0..bytes.len() {
        assert!(Payload::parse(&bytes[..end]).is_err(), "{end}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(Payload::parse(&longer).is_err());
}

#[test]
fn a_changed_byte_is_refused_or_still_reads_without_surprise() {
    let bytes = sample();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            let Ok(payload) = Payload::parse(&changed) else {
                continue;
            };
            let fields = payload.fields().inspect(|field| {
                if let Value::List(list) = field.value {
                    assert_eq!(list.into_iter().count(), list.count());
                }
            });
            assert_eq!(fields.count(), 8);
        }
    }
}

#[test]
fn a_failed_addition_leaves_the_builder_as_it_was() {
    let mut builder = Builder::new();
    builder.add("a", Value::I64(1)).unwrap();
    let before = builder.finish().unwrap();
    let long: String = "x".repeat(256);
    assert_eq!(builder.add("a", Value::I64(2)), Err(Error::Exists));
    assert!(builder.add("", Value::I64(2)).is_err());
    assert!(builder.add(&long, Value::I64(2)).is_err());
    assert!(builder.add("b\0", Value::I64(2)).is_err());
    assert!(builder.add("b", Value::Keyword(&long)).is_err());
    assert!(builder.add("b", Value::F64(f64::NAN.to_bits())).is_err());
    assert!(builder.add("b", Value::Text(&"x".repeat(PAYLOAD_MAX))).is_err());
    assert!(builder.add_list("b", &[Value::I64(1), Value::Bool(true)]).is_err());
    assert_eq!(builder.finish().unwrap(), before);
}

#[test]
fn the_limits_of_bytes_and_fields_are_reached_and_not_passed() {
    let mut builder = Builder::new();
    for i in 0..FIELDS_MAX {
        builder.add(&i.to_string(), Value::Bool(false)).unwrap();
    }
    assert!(matches!(builder.add("x", Value::Bool(false)), Err(Error::TooBig(_))));
    let bytes = builder.finish().unwrap();
    assert_eq!(Payload::parse(&bytes).unwrap().fields().count(), FIELDS_MAX);

    let mut builder = Builder::new();
    let text = "x".repeat(PAYLOAD_MAX - HEADER - FIELD_HEADER - 1);
    builder.add("t", Value::Text(&text)).unwrap();
    let bytes = builder.finish().unwrap();
    assert_eq!(bytes.len(), PAYLOAD_MAX);
    assert!(Payload::parse(&bytes).is_ok());
}

#[test]
fn a_row_without_fields_has_no_payload() {
    assert_eq!(Builder::new().finish().unwrap().len(), 0);
    assert!(Payload::parse(&[]).is_err());
    assert!(Payload::parse(&[1, 0, 0, 0]).is_err());
}

#[test]
fn each_rule_of_the_form_is_enforced() {
    // One boolean field "b".
    let good = [1u8, 0, 1, 0, 5, 1, 0, 0, 1, 0, 0, 0, b'b', 1];
    Payload::parse(&good).unwrap();
    let broken = |at: usize, value: u8| {
        let mut bytes = good;
        bytes[at] = value;
        assert!(matches!(Payload::parse(&bytes), Err(Error::Invalid(_))), "{at} {value}");
    };
    broken(0, 2);
    broken(1, 1);
    broken(2, 0);
    broken(2, 2);
    broken(4, 0);
    broken(4, 6);
    broken(4, 0x85);
    broken(5, 0);
    broken(6, 1);
    broken(8, 2);
    broken(12, 0);
    broken(12, 0xff);
    broken(13, 2);
    let mut two = good.to_vec();
    two[2] = 2;
    two.extend_from_slice(&good[4..]);
    assert!(matches!(Payload::parse(&two), Err(Error::Invalid(_))), "a name twice");
    two[12] = b'a';
    Payload::parse(&two).unwrap();
}
