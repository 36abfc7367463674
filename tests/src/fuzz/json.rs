// SPDX-License-Identifier: Apache-2.0
//! Filters and payloads as users write them: whatever text is accepted makes something that the engine accepts.
//!
//! Input: the JSON of a filter, and behind a newline that of a payload.

use vexfs::filter;
use vexfs::Payload;
use vexfs_engine::filter::Program;
use vexfs_engine::payload;

/// Tries an input.
pub fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (text, row) = text.split_once('\n').unwrap_or((&text, ""));
    let row = serde_json::from_str(row)
        .ok()
        .and_then(|json| Payload::from_json(&json).ok());
    if let Some(row) = row.as_ref().filter(|row| !row.is_empty()) {
        payload::Payload::parse(row.as_bytes()).expect("a payload that was made of JSON");
        let json = row.to_json().expect("JSON again").into();
        let again = Payload::from_json(&json).expect("what is written is read again");
        assert_eq!(row.as_bytes(), again.as_bytes(), "{json}");
    }
    let Ok(program) = filter::parse(text) else {
        return;
    };
    let program = Program::parse(&program).expect("a filter that was made of JSON");
    if let Some(row) = row {
        program.matches(row.as_bytes()).expect("an answer");
    }
}

/// Filters of every kind of condition.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let row = r#"{"lang": "en", "size": 12, "score": 1.5, "open": true, "tags": ["a", "b"], "none": []}"#;
    [
        (
            "short",
            r#"{"lang": "en", "size": {"gte": 1, "lt": 20.5}, "tags": ["a", "c"]}"#,
        ),
        (
            "full",
            r#"{"must": [{"key": "lang", "match": {"value": "en"}}, {"key": "size", "range": {"gt": 1, "lte": 12}}],
             "should": [{"key": "tags", "match": {"any": ["x", "b"]}}, {"must": {"key": "lang", "prefix": "e"}}],
             "must_not": {"key": "open", "match": {"value": false}}}"#,
        ),
        (
            "rest",
            r#"{"lang": {"except": ["de"]}, "none": {"exists": false}, "score": {"in": [1, 1.5, "x"]}}"#,
        ),
        ("empty", "{}"),
    ]
    .map(|(name, text)| {
        (
            name.to_owned(),
            format!("{}\n{row}", text.replace('\n', " ")).into_bytes(),
        )
    })
    .into()
}
