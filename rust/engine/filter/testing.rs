// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Filters and payloads for tests: a plain model of both, random ones, their bytes, and what a filter means.

use crate::payload::Builder;
use crate::payload::Value;
use proptest::prelude::*;
use std::boxed::Box;
use std::collections::BTreeMap;
use std::string::String;
use std::string::ToString;
use std::vec::Vec;
use vexfs_uapi::filter::*;
use vexfs_uapi::payload::*;

/// A value of a field.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Val {
    Keyword(String),
    Text(String),
    I64(i64),
    F64(f64),
    Bool(bool),
    List(Vec<Val>),
}

/// The fields of a row.
pub(crate) type Row = BTreeMap<String, Val>;

/// What a filter says.
#[derive(Clone, Debug)]
pub(crate) enum Expr {
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    Exists(String),
    /// Values of one type in ascending order.
    In(String, Vec<Val>),
    /// Bounds, and whether they are outside themselves.
    Range(String, Option<(Val, bool)>, Option<(Val, bool)>),
    Prefix(String, String),
}

fn value(val: &Val) -> Value<'_> {
    match val {
        Val::Keyword(text) => Value::Keyword(text),
        Val::Text(text) => Value::Text(text),
        Val::I64(number) => Value::I64(*number),
        Val::F64(number) => Value::F64(number.to_bits()),
        Val::Bool(truth) => Value::Bool(*truth),
        Val::List(_) => unreachable!("a list in a list"),
    }
}

/// The payload of a row; no bytes without fields.
pub(crate) fn payload(row: &Row) -> Vec<u8> {
    let mut builder = Builder::new();
    for (name, val) in row {
        match val {
            Val::List(vals) => {
                let values: Vec<Value<'_>> = vals.iter().map(value).collect();
                builder.add_list(name, &values).unwrap();
            }
            val => builder.add(name, value(val)).unwrap(),
        }
    }
    builder.finish().unwrap().to_vec()
}

/// An instruction.
pub(crate) fn instruction(op: u32, name: &str, kind: u32, flags: u32, body: &[u8]) -> Vec<u8> {
    let mut out = std::vec![op as u8, name.len() as u8, kind as u8, flags as u8];
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(body);
    out
}

/// A program of `count` instructions.
pub(crate) fn program(count: usize, root: &[u8]) -> Vec<u8> {
    let mut out = std::vec![VEXFS_FILTER_VERSION as u8, 0];
    out.extend_from_slice(&(count as u16).to_le_bytes());
    out.extend_from_slice(root);
    out
}

fn kind(val: &Val) -> u32 {
    match val {
        Val::Keyword(_) | Val::Text(_) => VEXFS_FIELD_KEYWORD,
        Val::I64(_) => VEXFS_FIELD_I64,
        Val::F64(_) => VEXFS_FIELD_F64,
        Val::Bool(_) => VEXFS_FIELD_BOOL,
        Val::List(_) => unreachable!("a list in a filter"),
    }
}

fn element(val: &Val) -> Vec<u8> {
    match val {
        Val::Keyword(text) | Val::Text(text) => {
            let mut out = (text.len() as u32).to_le_bytes().to_vec();
            out.extend_from_slice(text.as_bytes());
            out
        }
        Val::I64(number) => number.to_le_bytes().to_vec(),
        Val::F64(number) => number.to_le_bytes().to_vec(),
        Val::Bool(truth) => std::vec![u8::from(*truth)],
        Val::List(_) => unreachable!("a list in a filter"),
    }
}

impl Expr {
    /// The number of instructions and the bytes of the first with all that belongs to it.
    fn instructions(&self) -> (usize, Vec<u8>) {
        let group = |op, members: &[Expr]| {
            let parts: Vec<_> = members.iter().map(Expr::instructions).collect();
            let count = 1 + parts.iter().map(|part| part.0).sum::<usize>();
            let body: Vec<u8> = parts.into_iter().flat_map(|part| part.1).collect();
            (count, instruction(op, "", 0, 0, &body))
        };
        match self {
            Expr::And(members) => group(VEXFS_FILTER_AND, members),
            Expr::Or(members) => group(VEXFS_FILTER_OR, members),
            Expr::Not(member) => group(VEXFS_FILTER_NOT, std::slice::from_ref(member)),
            Expr::Exists(name) => (1, instruction(VEXFS_FILTER_EXISTS, name, 0, 0, &[])),
            Expr::In(name, vals) => {
                let mut body = (vals.len() as u32).to_le_bytes().to_vec();
                vals.iter().for_each(|val| body.extend(element(val)));
                (1, instruction(VEXFS_FILTER_IN, name, kind(&vals[0]), 0, &body))
            }
            Expr::Range(name, lower, upper) => {
                let (mut flags, mut body) = (0, Vec::new());
                for (bound, there, open) in [
                    (lower, VEXFS_RANGE_LOWER, VEXFS_RANGE_LOWER_OPEN),
                    (upper, VEXFS_RANGE_UPPER, VEXFS_RANGE_UPPER_OPEN),
                ] {
                    if let Some((val, is_open)) = bound {
                        flags |= there | if *is_open { open } else { 0 };
                        body.push(kind(val) as u8);
                        body.extend(element(val));
                    }
                }
                (1, instruction(VEXFS_FILTER_RANGE, name, 0, flags, &body))
            }
            Expr::Prefix(name, prefix) => {
                let body = prefix.as_bytes();
                (1, instruction(VEXFS_FILTER_PREFIX, name, VEXFS_FIELD_KEYWORD, 0, body))
            }
        }
    }

    /// The bytes of the program.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (count, root) = self.instructions();
        program(count, &root)
    }

    /// Whether the filter lets the row through.
    pub(crate) fn holds(&self, row: &Row) -> bool {
        let one = |name: &String, test: &dyn Fn(&Val) -> bool| match row.get(name) {
            None => false,
            Some(Val::List(vals)) => vals.iter().any(test),
            Some(val) => test(val),
        };
        match self {
            Expr::And(members) => members.iter().all(|member| member.holds(row)),
            Expr::Or(members) => members.iter().any(|member| member.holds(row)),
            Expr::Not(member) => !member.holds(row),
            Expr::Exists(name) => one(name, &|_| true),
            Expr::In(name, vals) => one(name, &|val| vals.iter().any(|other| order(val, other) == Some(0))),
            Expr::Range(name, lower, upper) => one(name, &|val| {
                let above = lower.as_ref().is_none_or(|(bound, open)| {
                    order(val, bound).is_some_and(|order| order > 0 || (order == 0 && !open))
                });
                let below = upper.as_ref().is_none_or(|(bound, open)| {
                    order(val, bound).is_some_and(|order| order < 0 || (order == 0 && !open))
                });
                above && below
            }),
            Expr::Prefix(name, prefix) => one(name, &|val| match val {
                Val::Keyword(text) | Val::Text(text) => text.starts_with(prefix.as_str()),
                _ => false,
            }),
        }
    }
}

/// How two values compare: -1, 0 or 1; `None` if they do not. The numbers of [`number`] are exact in quarters.
fn order(a: &Val, b: &Val) -> Option<i32> {
    let quarters = |val: &Val| match val {
        Val::I64(number) => Some(i128::from(*number) * 4),
        Val::F64(number) => Some((number * 4.0) as i128),
        _ => None,
    };
    let order = match (a, b) {
        (Val::Keyword(a) | Val::Text(a), Val::Keyword(b) | Val::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Val::Bool(a), Val::Bool(b)) => a.cmp(b),
        _ => quarters(a)?.cmp(&quarters(b)?),
    };
    Some(order as i32)
}

const NAMES: [&str; 4] = ["a", "b", "bb", "ü"];
const STRINGS: [&str; 8] = ["", "a", "ab", "abc", "b", "net", "ü", "üx"];

fn integer() -> impl Strategy<Value = i64> {
    prop_oneof![4 => -3i64..4, 1 => (1i64 << 53) - 2..(1i64 << 53) + 3, 1 => Just(i64::MIN), 1 => Just(i64::MAX)]
}

fn float() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (-9i32..10).prop_map(|quarters| f64::from(quarters) / 4.0),
        1 => Just(-0.0),
        1 => (0u32..3).prop_map(|i| 9_007_199_254_740_992.0 + f64::from(i)),
        1 => Just(1e30),
        1 => Just(-9_223_372_036_854_775_808.0),
        1 => Just(9_223_372_036_854_775_808.0),
    ]
}

fn string() -> impl Strategy<Value = String> {
    prop_oneof![prop::sample::select(&STRINGS[..]).prop_map(str::to_string), "[ab]{0,3}"]
}

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(&NAMES[..]).prop_map(str::to_string)
}

fn val() -> impl Strategy<Value = Val> {
    let list = |strategy: BoxedStrategy<Val>| prop::collection::vec(strategy, 0..5).prop_map(Val::List);
    let scalars = [
        string().prop_map(Val::Keyword).boxed(),
        string().prop_map(Val::Text).boxed(),
        integer().prop_map(Val::I64).boxed(),
        float().prop_map(Val::F64).boxed(),
        any::<bool>().prop_map(Val::Bool).boxed(),
    ];
    prop::sample::select(std::vec::Vec::from(scalars))
        .prop_flat_map(move |scalar| prop_oneof![2 => scalar.clone(), 1 => list(scalar)])
}

/// Fields of every type under few names.
pub(crate) fn row() -> impl Strategy<Value = Row> {
    prop::collection::btree_map(name(), val(), 0..4)
}

fn set(vals: Vec<Val>) -> Vec<Val> {
    let mut vals = vals;
    vals.sort_by(|a, b| order(a, b).unwrap().cmp(&0));
    vals.dedup_by(|a, b| order(a, b) == Some(0));
    vals
}

fn test() -> impl Strategy<Value = Expr> {
    let some = |strategy: BoxedStrategy<Val>| prop::collection::vec(strategy, 1..4).prop_map(set);
    let number = || prop_oneof![integer().prop_map(Val::I64), float().prop_map(Val::F64)].boxed();
    let keyword = || string().prop_map(Val::Keyword).boxed();
    let sets = prop_oneof![
        some(keyword()),
        some(integer().prop_map(Val::I64).boxed()),
        some(float().prop_map(Val::F64).boxed()),
        some(any::<bool>().prop_map(Val::Bool).boxed()),
    ];
    let range = |strategy: BoxedStrategy<Val>| {
        let bound = prop::option::of((strategy, any::<bool>()));
        (name(), bound.clone(), bound)
            .prop_filter("a range has a bound", |(_, lower, upper)| {
                lower.is_some() || upper.is_some()
            })
            .prop_map(|(name, lower, upper)| Expr::Range(name, lower, upper))
    };
    prop_oneof![
        1 => name().prop_map(Expr::Exists),
        3 => (name(), sets).prop_map(|(name, vals)| Expr::In(name, vals)),
        3 => range(number()),
        2 => range(keyword()),
        2 => (name(), string()).prop_map(|(name, prefix)| Expr::Prefix(name, prefix)),
    ]
}

/// Filters with groups up to a few deep.
pub(crate) fn expr() -> impl Strategy<Value = Expr> {
    test().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Expr::And),
            prop::collection::vec(inner.clone(), 0..4).prop_map(Expr::Or),
            inner.prop_map(|member| Expr::Not(Box::new(member))),
        ]
    })
}
