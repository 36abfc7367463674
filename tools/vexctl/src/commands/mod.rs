// SPDX-License-Identifier: Apache-2.0
//! The commands, one file each.

mod bench;
mod collection;
mod delete;
mod explain;
mod get;
mod index;
mod insert;
mod queries;
mod search;
mod status;
mod work;

use std::process::ExitCode;

use anyhow::Result;
use serde_json::Map;
use serde_json::Value;
use vexfs::CollectionInfo;
use vexfs::Payload;

use crate::cli::Cli;
use crate::cli::Command;
use crate::output::cut;
use crate::output::plain;
use crate::output::Align;
use crate::output::Output;
use crate::target::Target;

/// Runs a command and returns its exit code; errors are 1 or, when they are about usage, 2.
pub fn run(cli: &Cli, out: &Output) -> Result<ExitCode> {
    let target = Target::open(cli.image.as_deref(), cli.writes())?;
    let result = match &cli.command {
        Command::Status(args) => status::run(&target, args, out),
        Command::Collection(args) => collection::run(&target, args, out),
        Command::Insert(args) => insert::run(&target, args, out),
        Command::Get(args) => get::run(&target, args, out),
        Command::Delete(args) => delete::run(&target, args, out),
        Command::Search(args) => search::run(&target, args, out),
        Command::Explain(args) => explain::run(&target, args, out),
        Command::Index(args) => index::run(&target, args, out),
        Command::Optimize(args) => index::optimize(&target, args, out),
        Command::Bench(args) => bench::run(&target, args, out),
    };
    // Also after an error: what was done before it is kept.
    let finished = target.finish();
    let code = result?;
    finished.map(|()| code)
}

/// Longest cell of a payload field that is not the last column.
const CELL: usize = 40;

/// A row's payload, only the wanted fields when any are named.
fn payload_of(payload: &Payload, fields: &[String]) -> Result<Map<String, Value>> {
    let mut object = payload.to_json()?;
    if !fields.is_empty() {
        object.retain(|name, _| fields.contains(name));
    }
    Ok(object)
}

/// Returns the columns for payloads: the named fields, or all that occur, those with the longest text last.
fn payload_columns(payloads: &[Map<String, Value>], fields: &[String]) -> Vec<String> {
    if !fields.is_empty() {
        return fields.to_vec();
    }
    let mut columns: Vec<(usize, String)> = Vec::new();
    for (name, value) in payloads.iter().flatten() {
        let len = plain(value).chars().count();
        match columns.iter_mut().find(|(_, n)| n == name) {
            Some((longest, _)) => *longest = len.max(*longest),
            None => columns.push((len, name.clone())),
        }
    }
    columns.sort();
    columns.into_iter().map(|(_, name)| name).collect()
}

/// Returns the headings of payload columns; those of numbers are set right.
fn payload_headings<'a>(columns: &'a [String], payloads: &[Map<String, Value>]) -> Vec<(&'a str, Align)> {
    let numbers = |name: &String| payloads.iter().filter_map(|p| p.get(name)).all(Value::is_number);
    let align = |name| if numbers(name) { Align::Right } else { Align::Left };
    columns.iter().map(|name| (name.as_str(), align(name))).collect()
}

/// Returns a number with the digits an f32 has, which its conversion to f64 would not.
fn number(x: f32) -> Value {
    x.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

/// Returns the cells of a payload, one for each column.
fn payload_cells(payload: &Map<String, Value>, columns: &[String]) -> Vec<String> {
    let last = columns.len().saturating_sub(1);
    let text = |name: &String| payload.get(name).map(plain).unwrap_or_default();
    columns
        .iter()
        .enumerate()
        .map(|(i, name)| if i == last { text(name) } else { cut(&text(name), CELL) })
        .collect()
}

/// Returns a vector as numbers.
fn vector_json(vector: &[f32]) -> Value {
    Value::Array(vector.iter().copied().map(number).collect())
}

/// These members of what describes a collection.
fn members(info: &CollectionInfo, names: &[&str]) -> Result<Map<String, Value>> {
    let mut object = match serde_json::to_value(info)? {
        Value::Object(object) => object,
        _ => Map::new(),
    };
    object.retain(|name, _| names.contains(&name.as_str()));
    Ok(object)
}

/// Returns a vector as text, shortened when it is long.
fn vector_text(vector: &[f32]) -> String {
    let shown: Vec<String> = vector.iter().take(6).map(|x| format!("{x}")).collect();
    match vector.len() > shown.len() {
        true => format!("[{}, … {} in all]", shown.join(", "), vector.len()),
        false => format!("[{}]", shown.join(", ")),
    }
}
