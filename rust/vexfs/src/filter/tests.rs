// SPDX-License-Identifier: Apache-2.0

use super::*;
use crate::Payload;
use serde_json::json;
use vexfs_engine::filter::Program;

fn matches(filter: &Json, payload: &Json) -> bool {
    let program = Program::parse(&compile(filter).unwrap()).unwrap();
    let payload = Payload::from_json(payload).unwrap();
    program.matches(payload.as_bytes()).unwrap()
}

fn refusal(filter: Json) -> String {
    compile(&filter).unwrap_err().to_string()
}

#[test]
fn each_condition_means_what_it_says() {
    let row =
        json!({"s": "net", "t": "x".repeat(300), "i": 7, "f": 2.5, "b": true, "l": ["a", "b"], "n": [1, 5], "e": []});
    for (filter, expected) in [
        (json!({}), true),
        (json!({"must": []}), true),
        (json!({"should": []}), true),
        (json!({"must_not": []}), true),
        (json!({"s": "net"}), true),
        (json!({"s": "ne"}), false),
        (json!({"s": ["admin", "net"]}), true),
        (json!({"s": []}), false),
        (json!({"s": ["x", 1, true, 2.5]}), false),
        (json!({"t": "x".repeat(300)}), true),
        (json!({"t": {"prefix": "xx"}}), true),
        (json!({"i": 7.0}), true),
        (json!({"f": [1, 2.5]}), true),
        (json!({"i": {"gt": 6.5, "lte": 7}}), true),
        (json!({"i": {"gt": 7}}), false),
        (json!({"f": {"gte": 2, "lt": 2.5}}), false),
        (json!({"s": {"gte": "n", "lt": "o"}}), true),
        (json!({"i": {"gte": "n"}}), false),
        (json!({"b": true}), true),
        (json!({"b": false}), false),
        (json!({"b": [false, true]}), true),
        (json!({"b": 1}), false),
        (json!({"l": "b"}), true),
        (json!({"l": {"except": ["b"]}}), false),
        (json!({"l": {"except": ["c"]}}), true),
        (json!({"none": {"except": ["c"]}}), true),
        (json!({"n": {"gt": 1, "lt": 5}}), false),
        (json!({"n": {"gt": 1, "lte": 5}}), true),
        (json!({"e": {"exists": true}}), false),
        (json!({"e": {"exists": false}, "s": {"exists": true}}), true),
        (json!({"s": {"prefix": "n", "in": ["net"]}}), true),
        (json!({"must": {"key": "s", "match": {"value": "net"}}}), true),
        (
            json!({"must": [{"key": "s", "match": {"any": ["net"]}}, {"key": "i", "in": [8]}]}),
            false,
        ),
        (
            json!({"should": [{"key": "s", "prefix": "n"}, {"key": "i", "range": {"gt": 9}}]}),
            true,
        ),
        (
            json!({"must_not": [{"key": "s", "prefix": "n"}, {"key": "i", "range": {"gt": 9}}]}),
            false,
        ),
        (
            json!({"must": [{"should": [{"i": 1}, {"i": 7}]}], "s": "net", "must_not": {"b": false}}),
            true,
        ),
        (
            json!({"must": [{"key": "i", "range": {"gte": 1}, "match": {"except": [7]}}]}),
            false,
        ),
        (json!({"must": [{"key": "key", "exists": false}]}), true),
    ] {
        assert_eq!(matches(&filter, &row), expected, "{filter}");
    }
}

#[test]
fn errors_name_the_place() {
    for (filter, message) in [
        (json!(1), "filter: a filter is an object"),
        (json!({"must": 1}), "filter: must: it is a list of conditions"),
        (json!({"must": [{}, 1]}), "filter: must[1]: a filter is an object"),
        (
            json!({"must": [{"key": 1}]}),
            "filter: must[0].key: the name of a field is a string",
        ),
        (
            json!({"must": [{"key": "a"}]}),
            "filter: must[0]: a condition has match, range, in, prefix or exists",
        ),
        (
            json!({"should": [{"key": "a", "near": 1}]}),
            "filter: should[0].near: a condition has match, range, in, prefix or exists",
        ),
        (
            json!({"must": [{"key": "a", "match": "x"}]}),
            "filter: must[0].match: it is an object",
        ),
        (
            json!({"must": [{"key": "a", "match": {"gt": 1}}]}),
            "filter: must[0].match.gt: it is none of value, any, in, except",
        ),
        (
            json!({"must_not": {"key": "a", "range": {}}}),
            "filter: must_not.range: it has one of gt, gte, lt, lte",
        ),
        (json!({"a": {"gt": 1, "gte": 2}}), "filter: a: it has gte and gt"),
        (
            json!({"a": {"gt": 1, "lt": "x"}}),
            "filter: a: it goes from a number to a string",
        ),
        (
            json!({"a": {"lt": null}}),
            "filter: a.lt: a bound is a number or a string",
        ),
        (json!({"a": {"prefix": 1}}), "filter: a.prefix: a prefix is a string"),
        (json!({"a": {"exists": "no"}}), "filter: a.exists: it is true or false"),
        (json!({"a": {"any": 1}}), "filter: a.any: it is a list of values"),
        (
            json!({"a": [1, [2]]}),
            "filter: a[1]: a value is a string, a number or a truth value",
        ),
        (
            json!({"a": u64::MAX}),
            "filter: a: 18446744073709551615 does not fit a signed 64-bit integer",
        ),
        (
            json!({"": 1}),
            "filter: : the name of a field has 1 to 255 bytes and no NUL",
        ),
    ] {
        assert_eq!(refusal(filter), message);
    }
    assert!(refusal(json!({"a": null})).starts_with("filter: a: null is no value"));
    assert!(parse("{").unwrap_err().to_string().starts_with("filter: EOF"));
}

#[test]
fn limits_are_told_before_the_filesystem_refuses() {
    let nested = |depth: usize| (0..depth).fold(json!({"a": 1}), |inner, _| json!({"must_not": [inner]}));
    Program::parse(&compile(&nested(16)).unwrap()).unwrap();
    assert_eq!(
        refusal(nested(17)),
        "filter: groups are nested 17 deep; 16 is the limit"
    );
    assert!(refusal(nested(1000)).ends_with("conditions are nested too deeply"));
    let wide = |n: usize| json!({"should": (0..n).map(|i| json!({"a": {"gt": i}})).collect::<Vec<_>>()});
    Program::parse(&compile(&wide(1023)).unwrap()).unwrap();
    assert_eq!(
        refusal(wide(1024)),
        "filter: it has 1025 tests and groups; 1024 is the limit"
    );
    assert!(refusal(json!({"a": "x".repeat(70_000)})).ends_with("64 KiB is the limit"));
    // Groups of one member are none.
    let plain = (0..30).fold(json!({"a": 1}), |inner, _| json!({"must": [inner]}));
    assert_eq!(compile(&plain).unwrap(), compile(&json!({"a": 1})).unwrap());
}
