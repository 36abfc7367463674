// SPDX-License-Identifier: Apache-2.0
//! Filters: which rows a search may return, written as JSON.
//!
//! [`compile`] turns them into the bounded programs that the filesystem evaluates; their form is in
//! `vexfs_uapi::filter`.
//!
//! # Short
//!
//! An object names fields and what is wanted of them; all of it has to hold. A value stands for itself, a list for any
//! of its values, an object for a test:
//!
//! ```
//! use serde_json::json;
//! # use vexfs::Payload;
//! # use vexfs_engine::filter::Program;
//! # fn matches(filter: serde_json::Value, payload: serde_json::Value) -> bool {
//! #     let program = Program::parse(&vexfs::filter::compile(&filter).unwrap()).unwrap();
//! #     program.matches(Payload::from_json(&payload).unwrap().as_bytes()).unwrap()
//! # }
//!
//! let libc = json!({"name": "libc6", "section": "libs", "size": 13000, "tags": ["core", "c"]});
//! # let m = |filter| matches(filter, libc.clone());
//!
//! assert!(m(json!({"section": "libs", "size": {"gte": 1000}})));
//! assert!(m(json!({"section": ["admin", "libs"]})));
//! assert!(m(json!({"name": {"prefix": "lib"}, "tags": "core"})));
//! assert!(m(json!({"homepage": {"exists": false}})));
//! assert!(!m(json!({"size": {"gt": 13000}})));
//! ```
//!
//! # In full
//!
//! `must` has conditions that all have to hold, `should` some of which at least one has to, `must_not` some of which
//! none may. Each is a list, or a single condition; an empty list demands nothing. A condition is one on a field, or a
//! filter again:
//!
//! ```
//! # use serde_json::json;
//! # use vexfs::Payload;
//! # use vexfs_engine::filter::Program;
//! # let libc = json!({"name": "libc6", "section": "libs", "size": 13000, "tags": ["core", "c"]});
//! # let m = |filter: serde_json::Value| {
//! #     let program = Program::parse(&vexfs::filter::compile(&filter).unwrap()).unwrap();
//! #     program.matches(Payload::from_json(&libc).unwrap().as_bytes()).unwrap()
//! # };
//! assert!(m(json!({
//!     "must": [
//!         {"key": "section", "match": {"value": "libs"}},
//!         {"key": "size", "range": {"gte": 1000, "lt": 20000}},
//!     ],
//!     "should": [
//!         {"key": "tags", "match": {"any": ["core", "base"]}},
//!         {"must": [{"key": "name", "prefix": "python"}, {"key": "homepage", "exists": true}]},
//!     ],
//!     "must_not": {"key": "essential", "match": {"value": true}},
//! })));
//! ```
//!
//! | condition on a field | true for |
//! |---|---|
//! | `"match": {"value": v}` | the value `v` |
//! | `"match": {"any": [v, …]}`, `"in": [v, …]` | one of the values |
//! | `"match": {"except": [v, …]}` | rows with none of the values, also those without the field |
//! | `"range": {"gte": v, "lt": w}` with `gt`, `gte`, `lt`, `lte` | numbers, or strings, in between |
//! | `"prefix": "p"` | strings that begin so |
//! | `"exists": true`, `"exists": false` | rows with a value of the field, or without |
//!
//! In short filters the tests stand without `match` and `range`: `{"size": {"gte": 1, "lt": 9}}`,
//! `{"section": {"any": ["a"]}}`.
//!
//! # What is compared how
//!
//! A list matches if one of its values does; a range has to hold as a whole for one of them. Strings are compared by
//! code points, numbers by what they are, whether they are stored as integers or not: `1` is `1.0`. A test of a type
//! that the field does not have is false.
//!
//! # Errors
//!
//! They say where:
//!
//! ```
//! # use serde_json::json;
//! let error = vexfs::filter::compile(&json!({"must": [{"key": "size", "range": {"gte": true}}]})).unwrap_err();
//! assert_eq!(error.to_string(), "filter: must[0].range.gte: a bound is a number or a string");
//! ```

use std::fmt;

use serde_json::Map;
use serde_json::Value as Json;
use vexfs_uapi::filter as form;
use vexfs_uapi::payload as types;

use crate::Error;
use crate::Result;

/// The program that a filter says.
///
/// # Errors
///
/// `Invalid`: it is no filter; the text says where and why.
pub fn compile(filter: &Json) -> Result<Vec<u8>> {
    let root = filter_of(filter, &Path::Root)?;
    let (instructions, depth) = (root.instructions(), root.depth());
    if instructions > form::VEXFS_FILTER_INSTRUCTIONS_MAX as usize {
        let most = form::VEXFS_FILTER_INSTRUCTIONS_MAX;
        return Err(Path::Root.error(format!("it has {instructions} tests and groups; {most} is the limit")));
    }
    if depth > form::VEXFS_FILTER_DEPTH_MAX as usize {
        let most = form::VEXFS_FILTER_DEPTH_MAX;
        return Err(Path::Root.error(format!("groups are nested {depth} deep; {most} is the limit")));
    }
    let mut program = vec![form::VEXFS_FILTER_VERSION as u8, 0];
    program.extend((instructions as u16).to_le_bytes());
    root.encode(&mut program);
    if program.len() > form::VEXFS_FILTER_MAX as usize {
        return Err(Path::Root.error(format!("it takes {} bytes; 64 KiB is the limit", program.len())));
    }
    Ok(program)
}

/// The program that a filter in the text of a JSON object says.
///
/// # Errors
///
/// `Invalid`: it is no JSON, or no filter.
pub fn parse(text: &str) -> Result<Vec<u8>> {
    let filter: Json = serde_json::from_str(text).map_err(|e| Error::invalid(format!("filter: {e}")))?;
    compile(&filter)
}

/// How deep conditions may lie in each other, so that nothing overflows the stack.
const NESTING_MAX: usize = 64;

/// A place in a filter, for messages.
enum Path<'a> {
    Root,
    Key(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Key(Path::Root, key) => f.write_str(key),
            Path::Key(outer, key) => write!(f, "{outer}.{key}"),
            Path::Index(outer, index) => write!(f, "{outer}[{index}]"),
        }
    }
}

impl Path<'_> {
    fn error(&self, what: impl fmt::Display) -> Error {
        match self {
            Path::Root => Error::invalid(format!("filter: {what}")),
            path => Error::invalid(format!("filter: {path}: {what}")),
        }
    }

    fn depth(&self) -> usize {
        match self {
            Path::Root => 0,
            Path::Key(outer, _) | Path::Index(outer, _) => 1 + outer.depth(),
        }
    }
}

/// An instruction.
enum Node {
    /// AND, OR or NOT.
    Group(u32, Vec<Node>),
    /// All bytes of a test.
    Test(Vec<u8>),
}

impl Node {
    /// All of the members, or the only one.
    fn all(members: Vec<Node>) -> Node {
        Self::group(form::VEXFS_FILTER_AND, members)
    }

    /// One of the members, or the only one.
    fn any(members: Vec<Node>) -> Node {
        Self::group(form::VEXFS_FILTER_OR, members)
    }

    fn not(member: Node) -> Node {
        Node::Group(form::VEXFS_FILTER_NOT, vec![member])
    }

    fn group(op: u32, mut members: Vec<Node>) -> Node {
        match members.pop() {
            Some(only) if members.is_empty() => only,
            last => {
                members.extend(last);
                Node::Group(op, members)
            }
        }
    }

    fn test(op: u32, field: &str, kind: u32, flags: u32, body: &[u8]) -> Node {
        let mut bytes = vec![op as u8, field.len() as u8, kind as u8, flags as u8];
        bytes.extend((body.len() as u32).to_le_bytes());
        bytes.extend(field.as_bytes());
        bytes.extend(body);
        Node::Test(bytes)
    }

    fn instructions(&self) -> usize {
        match self {
            Node::Group(_, members) => 1 + members.iter().map(Node::instructions).sum::<usize>(),
            Node::Test(_) => 1,
        }
    }

    fn depth(&self) -> usize {
        match self {
            Node::Group(_, members) => 1 + members.iter().map(Node::depth).max().unwrap_or(0),
            Node::Test(_) => 0,
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Node::Test(bytes) => out.extend(bytes),
            Node::Group(op, members) => {
                out.extend([*op as u8, 0, 0, 0]);
                let len_at = out.len();
                out.extend([0; 4]);
                members.iter().for_each(|member| member.encode(out));
                let len = (out.len() - len_at - 4) as u32;
                out[len_at..len_at + 4].copy_from_slice(&len.to_le_bytes());
            }
        }
    }
}

/// A filter: clauses, fields, or both.
fn filter_of(filter: &Json, path: &Path<'_>) -> Result<Node> {
    if path.depth() > NESTING_MAX {
        return Err(path.error("conditions are nested too deeply"));
    }
    let Json::Object(object) = filter else {
        return Err(path.error("a filter is an object"));
    };
    let mut all = Vec::new();
    for (key, value) in object {
        let place = Path::Key(path, key);
        match key.as_str() {
            "must" => all.extend(conditions(value, &place)?),
            "should" => {
                let some = conditions(value, &place)?;
                if !some.is_empty() {
                    all.push(Node::any(some));
                }
            }
            "must_not" => {
                let none = conditions(value, &place)?;
                if !none.is_empty() {
                    all.push(Node::not(Node::any(none)));
                }
            }
            field => all.push(short(field, value, &place)?),
        }
    }
    Ok(Node::all(all))
}

fn conditions(clause: &Json, path: &Path<'_>) -> Result<Vec<Node>> {
    match clause {
        Json::Array(list) => list
            .iter()
            .enumerate()
            .map(|(i, item)| condition(item, &Path::Index(path, i)))
            .collect(),
        Json::Object(_) => Ok(vec![condition(clause, path)?]),
        _ => Err(path.error("it is a list of conditions")),
    }
}

/// A condition on the field that `key` names, or a filter again.
fn condition(condition: &Json, path: &Path<'_>) -> Result<Node> {
    match condition {
        Json::Object(object) if object.contains_key("key") => {
            let Some(field) = object.get("key").and_then(Json::as_str) else {
                return Err(Path::Key(path, "key").error("the name of a field is a string"));
            };
            check_name(field, &Path::Key(path, "key"))?;
            let rest = object.iter().filter(|(name, _)| *name != "key");
            let mut all = Vec::new();
            for (name, value) in rest {
                let place = Path::Key(path, name);
                all.push(match (name.as_str(), value) {
                    ("match", Json::Object(object)) => tests(field, object, &["value", "any", "in", "except"], &place)?,
                    ("range", Json::Object(object)) => tests(field, object, &["gt", "gte", "lt", "lte"], &place)?,
                    ("match" | "range", _) => return Err(place.error("it is an object")),
                    ("in" | "any" | "prefix" | "exists", _) => test(field, name, value, &place)?,
                    _ => return Err(place.error("a condition has match, range, in, prefix or exists")),
                });
            }
            if all.is_empty() {
                return Err(path.error("a condition has match, range, in, prefix or exists"));
            }
            Ok(Node::all(all))
        }
        _ => filter_of(condition, path),
    }
}

/// What is wanted of a field, in short.
fn short(field: &str, wanted: &Json, path: &Path<'_>) -> Result<Node> {
    check_name(field, path)?;
    match wanted {
        Json::Object(object) => {
            const ALL: [&str; 10] = [
                "value", "any", "in", "except", "gt", "gte", "lt", "lte", "prefix", "exists",
            ];
            tests(field, object, &ALL, path)
        }
        Json::Array(list) => is_in(field, list, path),
        value => is_in(field, std::slice::from_ref(value), path),
    }
}

/// All tests that an object has.
fn tests(field: &str, object: &Map<String, Json>, known: &[&str], path: &Path<'_>) -> Result<Node> {
    let mut all = Vec::new();
    for (name, value) in object {
        let place = Path::Key(path, name);
        match name.as_str() {
            name if !known.contains(&name) => {
                return Err(place.error(format!("it is none of {}", known.join(", "))));
            }
            "gt" | "gte" | "lt" | "lte" => {}
            name => all.push(test(field, name, value, &place)?),
        }
    }
    all.extend(range(field, object, path)?);
    if all.is_empty() {
        return Err(path.error(format!("it has one of {}", known.join(", "))));
    }
    Ok(Node::all(all))
}

/// One test that is not of a range.
fn test(field: &str, name: &str, value: &Json, path: &Path<'_>) -> Result<Node> {
    match (name, value) {
        ("value", value) => is_in(field, std::slice::from_ref(value), path),
        ("any" | "in", Json::Array(list)) => is_in(field, list, path),
        ("except", Json::Array(list)) => Ok(Node::not(is_in(field, list, path)?)),
        ("prefix", Json::String(prefix)) => Ok(Node::test(
            form::VEXFS_FILTER_PREFIX,
            field,
            types::VEXFS_FIELD_KEYWORD,
            0,
            prefix.as_bytes(),
        )),
        ("exists", Json::Bool(exists)) => {
            let test = Node::test(form::VEXFS_FILTER_EXISTS, field, 0, 0, &[]);
            Ok(if *exists { test } else { Node::not(test) })
        }
        ("prefix", _) => Err(path.error("a prefix is a string")),
        ("exists", _) => Err(path.error("it is true or false")),
        _ => Err(path.error("it is a list of values")),
    }
}

/// A value that a field can have.
enum Value<'a> {
    String(&'a str),
    I64(i64),
    F64(f64),
    Bool(bool),
}

fn value<'a>(value: &'a Json, path: &Path<'_>) -> Result<Value<'a>> {
    Ok(match value {
        Json::String(text) => Value::String(text),
        Json::Bool(truth) => Value::Bool(*truth),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Value::I64(integer),
            // Payloads cannot have these either.
            (None, Some(float)) if !number.is_u64() => Value::F64(float),
            _ => return Err(path.error(format!("{number} does not fit a signed 64-bit integer"))),
        },
        Json::Null => return Err(path.error("null is no value; {\"exists\": false} asks for rows without the field")),
        Json::Array(_) | Json::Object(_) => return Err(path.error("a value is a string, a number or a truth value")),
    })
}

/// Whether a value of the field is one of the list; the elements of each type are one test.
fn is_in(field: &str, list: &[Json], path: &Path<'_>) -> Result<Node> {
    let (mut strings, mut integers, mut floats, mut bools) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (i, element) in list.iter().enumerate() {
        // A value that stands alone is no element.
        let place = Path::Index(path, i);
        let place = if list.len() == 1 { path } else { &place };
        match value(element, place)? {
            Value::String(string) => strings.push(string),
            Value::I64(integer) => integers.push(integer),
            // Both zeros are one.
            Value::F64(float) => floats.push(if float == 0.0 { 0.0 } else { float }),
            Value::Bool(truth) => bools.push(truth),
        }
    }
    strings.sort_unstable();
    strings.dedup();
    integers.sort_unstable();
    integers.dedup();
    floats.sort_unstable_by(f64::total_cmp);
    floats.dedup();
    bools.sort_unstable();
    bools.dedup();
    let mut some = Vec::new();
    let mut add = |kind: u32, elements: Vec<Vec<u8>>| {
        if !elements.is_empty() {
            let mut body = (elements.len() as u32).to_le_bytes().to_vec();
            body.extend(elements.concat());
            some.push(Node::test(form::VEXFS_FILTER_IN, field, kind, 0, &body));
        }
    };
    add(
        types::VEXFS_FIELD_KEYWORD,
        strings.into_iter().map(string_element).collect(),
    );
    add(
        types::VEXFS_FIELD_I64,
        integers
            .into_iter()
            .map(|integer| integer.to_le_bytes().to_vec())
            .collect(),
    );
    add(
        types::VEXFS_FIELD_F64,
        floats.into_iter().map(|float| float.to_le_bytes().to_vec()).collect(),
    );
    add(
        types::VEXFS_FIELD_BOOL,
        bools.into_iter().map(|truth| vec![u8::from(truth)]).collect(),
    );
    Ok(Node::any(some))
}

fn string_element(string: &str) -> Vec<u8> {
    let mut element = (string.len() as u32).to_le_bytes().to_vec();
    element.extend(string.as_bytes());
    element
}

/// The test of the range that an object has, if it has one.
fn range(field: &str, object: &Map<String, Json>, path: &Path<'_>) -> Result<Option<Node>> {
    let (mut flags, mut body) = (0, Vec::new());
    let mut kinds = Vec::new();
    for (closed, open, there, is_open) in [
        ("gte", "gt", form::VEXFS_RANGE_LOWER, form::VEXFS_RANGE_LOWER_OPEN),
        ("lte", "lt", form::VEXFS_RANGE_UPPER, form::VEXFS_RANGE_UPPER_OPEN),
    ] {
        let (name, bound, flag) = match (object.get(closed), object.get(open)) {
            (None, None) => continue,
            (Some(_), Some(_)) => return Err(path.error(format!("it has {closed} and {open}"))),
            (Some(bound), None) => (closed, bound, there),
            (None, Some(bound)) => (open, bound, there | is_open),
        };
        flags |= flag;
        let place = Path::Key(path, name);
        let is_bound = matches!(bound, Json::Number(_) | Json::String(_));
        let bound = if is_bound { Some(value(bound, &place)?) } else { None };
        match bound {
            Some(Value::String(string)) => {
                body.push(types::VEXFS_FIELD_KEYWORD as u8);
                body.extend(string_element(string));
                kinds.push("a string");
            }
            Some(Value::I64(integer)) => {
                body.push(types::VEXFS_FIELD_I64 as u8);
                body.extend(integer.to_le_bytes());
                kinds.push("a number");
            }
            Some(Value::F64(float)) => {
                body.push(types::VEXFS_FIELD_F64 as u8);
                body.extend(float.to_le_bytes());
                kinds.push("a number");
            }
            Some(Value::Bool(_)) | None => return Err(place.error("a bound is a number or a string")),
        }
    }
    if let [lower, upper] = kinds[..] {
        if lower != upper {
            return Err(path.error(format!("it goes from {lower} to {upper}")));
        }
    }
    Ok((flags != 0).then(|| Node::test(form::VEXFS_FILTER_RANGE, field, 0, flags, &body)))
}

fn check_name(field: &str, path: &Path<'_>) -> Result<()> {
    if field.is_empty() || field.len() > 255 || field.contains('\0') {
        return Err(path.error("the name of a field has 1 to 255 bytes and no NUL"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
