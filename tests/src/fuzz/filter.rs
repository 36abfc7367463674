// SPDX-License-Identifier: Apache-2.0
//! Filters: checking a program and applying it to payloads.
//!
//! Input: pieces, each a length (u16, little-endian) and so many bytes. The first is the program, the others are
//! payloads.

use vexfs_engine::filter::Program;
use vexfs_engine::payload::Builder;
use vexfs_engine::payload::Payload;
use vexfs_engine::payload::Value;
use vexfs_uapi::filter as form;
use vexfs_uapi::payload as field;

fn pieces(mut input: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let Some((len, rest)) = input.split_first_chunk() {
        let len = usize::from(u16::from_le_bytes(*len)).min(rest.len());
        let (piece, rest) = rest.split_at(len);
        found.push(piece);
        input = rest;
    }
    found
}

/// Tries an input.
pub fn run(input: &[u8]) {
    let pieces = pieces(input);
    let Some((program, payloads)) = pieces.split_first() else {
        return;
    };
    let Ok(program) = Program::parse(program) else {
        return;
    };
    let again = Program::parse(program.as_bytes()).expect("what was accepted is accepted again");
    for payload in payloads {
        if payload.is_empty() || Payload::parse(payload).is_ok() {
            let matches = program.matches(payload);
            assert_eq!(matches, again.matches(payload), "a filter that answers both ways");
        }
    }
}

fn instruction(op: u32, name: &str, kind: u32, flags: u32, body: &[u8]) -> Vec<u8> {
    let mut out = vec![op as u8, name.len() as u8, kind as u8, flags as u8];
    out.extend((body.len() as u32).to_le_bytes());
    out.extend(name.as_bytes());
    out.extend(body);
    out
}

fn keyword(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
}

fn piece(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_le_bytes(), bytes].concat()
}

/// One program of every kind of instruction, and some inside others, with payloads of every kind of field.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let mut builder = Builder::new();
    builder.add("lang", Value::Keyword("english")).expect("a field");
    builder.add("size", Value::I64(-7)).expect("a field");
    builder.add("score", Value::F64(1.5f64.to_bits())).expect("a field");
    builder.add("open", Value::Bool(true)).expect("a field");
    builder.add("text", Value::Text("longer text")).expect("a field");
    let tags = [Value::Keyword("a"), Value::Keyword("b")];
    builder.add_list("tags", &tags).expect("a field");
    let sizes = [Value::I64(1), Value::I64(i64::MAX)];
    builder.add_list("sizes", &sizes).expect("a field");
    let payload = builder.finish().expect("a payload");

    let exists = instruction(form::VEXFS_FILTER_EXISTS, "lang", 0, 0, &[]);
    let strings = [&2u32.to_le_bytes()[..], &keyword("a"), &keyword("english")].concat();
    let strings = instruction(form::VEXFS_FILTER_IN, "tags", field::VEXFS_FIELD_KEYWORD, 0, &strings);
    let numbers = [&1u32.to_le_bytes()[..], &(-7i64).to_le_bytes()].concat();
    let numbers = instruction(form::VEXFS_FILTER_IN, "size", field::VEXFS_FIELD_I64, 0, &numbers);
    let floats = [&1u32.to_le_bytes()[..], &1.5f64.to_le_bytes()].concat();
    let floats = instruction(form::VEXFS_FILTER_IN, "score", field::VEXFS_FIELD_F64, 0, &floats);
    let bools = [&1u32.to_le_bytes()[..], &[1]].concat();
    let bools = instruction(form::VEXFS_FILTER_IN, "open", field::VEXFS_FIELD_BOOL, 0, &bools);
    let both = form::VEXFS_RANGE_LOWER | form::VEXFS_RANGE_UPPER | form::VEXFS_RANGE_UPPER_OPEN;
    let bound = |kind: u32, value: &[u8]| [&[kind as u8], value].concat();
    let range = [
        bound(field::VEXFS_FIELD_I64, &(-10i64).to_le_bytes()),
        bound(field::VEXFS_FIELD_F64, &2.5f64.to_le_bytes()),
    ];
    let range = instruction(form::VEXFS_FILTER_RANGE, "sizes", 0, both, &range.concat());
    let words = bound(field::VEXFS_FIELD_KEYWORD, &keyword("e"));
    let words = instruction(form::VEXFS_FILTER_RANGE, "lang", 0, form::VEXFS_RANGE_LOWER, &words);
    let prefix = instruction(
        form::VEXFS_FILTER_PREFIX,
        "text",
        field::VEXFS_FIELD_KEYWORD,
        0,
        b"long",
    );
    let not = instruction(form::VEXFS_FILTER_NOT, "", 0, 0, &exists);
    let or = instruction(
        form::VEXFS_FILTER_OR,
        "",
        0,
        0,
        &[&numbers[..], &floats, &bools].concat(),
    );
    let and = instruction(form::VEXFS_FILTER_AND, "", 0, 0, &[&not[..], &or, &range].concat());
    let programs = [
        ("exists", exists, 1u16),
        ("strings", strings, 1),
        ("range", range, 1),
        ("words", words, 1),
        ("prefix", prefix, 1),
        ("or", or, 4),
        ("tree", and, 8),
    ];
    let seed = |(name, program, instructions): (&str, Vec<u8>, u16)| {
        let [low, high] = instructions.to_le_bytes();
        let program = [&[form::VEXFS_FILTER_VERSION as u8, 0, low, high], &program[..]].concat();
        Program::parse(&program).expect(name);
        (name.to_owned(), [piece(&program), piece(&payload), piece(&[])].concat())
    };
    programs.into_iter().map(seed).collect()
}
