// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Filters: bounded programs that say for a payload whether its row may be found.
//!
//! The form is defined in `vexfs_uapi::filter`. [`Program::parse`] checks all of a program once and makes a table of
//! its instructions, so that applying it cannot fail. It is applied to one payload here ([`Program::matches`]), and to
//! all rows of a segment in [`crate::fields`].
//!
//! A program is a tree. In the table it lies in the order of its bytes, each group before its members; a node knows
//! where what belongs to it ends, so that the members of a group whose answer is known are stepped over.

mod evaluate;
pub(crate) mod number;
mod parse;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use core::cmp::Ordering;
use number::Number;
use vexfs_host::mem::Vec;
use vexfs_uapi::filter as form;
use zerocopy::FromBytes as _;

/// Most bytes of a filter.
pub const FILTER_MAX: usize = form::VEXFS_FILTER_MAX as usize;
/// Most instructions of a filter.
pub const INSTRUCTIONS_MAX: usize = form::VEXFS_FILTER_INSTRUCTIONS_MAX as usize;
/// Most groups inside each other.
pub(crate) const DEPTH_MAX: usize = form::VEXFS_FILTER_DEPTH_MAX as usize;

/// A checked filter.
///
/// # Invariants
///
/// `nodes` is not empty; the first is the root, to which all belong. Groups lie inside each other at most [`DEPTH_MAX`]
/// deep, and a `Not` has one member. All spans lie in `bytes`. Sets are in strictly ascending order.
#[derive(Debug)]
pub struct Program {
    bytes: Vec<u8>,
    nodes: Vec<Node>,
    /// The elements of the sets of strings.
    strings: Vec<Span>,
}

/// A piece of a program's bytes.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    len: u32,
}

/// An instruction.
#[derive(Clone, Copy, Debug)]
struct Node {
    op: Op,
    /// The number of the first node after this and all that belongs to it.
    end: u32,
}

#[derive(Clone, Copy, Debug)]
enum Op {
    And,
    Or,
    Not,
    Test { name: Span, test: Test },
}

#[derive(Clone, Copy, Debug)]
enum Test {
    Exists,
    /// Elements `first` and on of `Program::strings`.
    Strings {
        first: u32,
        count: u32,
    },
    /// `count` elements of 8 bytes.
    Numbers {
        start: u32,
        count: u32,
        is_f64: bool,
    },
    Bools {
        no: bool,
        yes: bool,
    },
    NumberRange {
        lower: Option<Bound<Number>>,
        upper: Option<Bound<Number>>,
    },
    StringRange {
        lower: Option<Bound<Span>>,
        upper: Option<Bound<Span>>,
    },
    Prefix(Span),
}

/// An end of a range.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound<T> {
    pub(crate) value: T,
    /// The value itself is outside.
    pub(crate) is_open: bool,
}

impl<T> Bound<T> {
    /// Whether something that compares so with the bound's value is above a lower bound.
    #[inline]
    pub(crate) fn is_below(&self, order: Ordering) -> bool {
        order == Ordering::Greater || (order == Ordering::Equal && !self.is_open)
    }

    /// Whether something that compares so with the bound's value is below an upper bound.
    #[inline]
    pub(crate) fn is_above(&self, order: Ordering) -> bool {
        order == Ordering::Less || (order == Ordering::Equal && !self.is_open)
    }
}

/// An instruction, as evaluators see it.
#[derive(Clone, Copy)]
pub(crate) enum Step<'a> {
    /// All of the following, up to node `end`.
    And { end: usize },
    /// One of the following, up to node `end`.
    Or { end: usize },
    /// Not the following, which ends at `end`.
    Not { end: usize },
    /// A test of the field of this name.
    Test { name: &'a [u8], test: Check<'a> },
}

/// A test of a field's values.
#[derive(Clone, Copy)]
pub(crate) enum Check<'a> {
    Exists,
    Strings(StringSet<'a>),
    Numbers(NumberSet<'a>),
    Bools {
        no: bool,
        yes: bool,
    },
    NumberRange {
        lower: Option<Bound<Number>>,
        upper: Option<Bound<Number>>,
    },
    StringRange {
        lower: Option<Bound<&'a [u8]>>,
        upper: Option<Bound<&'a [u8]>>,
    },
    Prefix(&'a [u8]),
}

/// Strings in strictly ascending order.
#[derive(Clone, Copy)]
pub(crate) struct StringSet<'a> {
    program: &'a Program,
    spans: &'a [Span],
}

impl<'a> StringSet<'a> {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &'a [u8]> + 'a {
        let program = self.program;
        self.spans.iter().map(move |span| program.span(*span))
    }

    pub(crate) fn contains(&self, string: &[u8]) -> bool {
        let found = self.spans.binary_search_by(|span| self.program.span(*span).cmp(string));
        found.is_ok()
    }
}

/// Numbers in strictly ascending order.
#[derive(Clone, Copy)]
pub(crate) struct NumberSet<'a> {
    elements: &'a [[u8; 8]],
    is_f64: bool,
}

impl<'a> NumberSet<'a> {
    fn number(is_f64: bool, bytes: [u8; 8]) -> Number {
        if is_f64 {
            Number::F64(u64::from_le_bytes(bytes))
        } else {
            Number::I64(i64::from_le_bytes(bytes))
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Number> + 'a {
        let is_f64 = self.is_f64;
        self.elements.iter().map(move |bytes| Self::number(is_f64, *bytes))
    }

    pub(crate) fn contains(&self, number: Number) -> bool {
        let order = |bytes: &[u8; 8]| Self::number(self.is_f64, *bytes).order(number);
        self.elements.binary_search_by(order).is_ok()
    }
}

impl Program {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The instruction `at`; `None` behind the last.
    #[inline]
    pub(crate) fn step(&self, at: usize) -> Option<Step<'_>> {
        let node = self.nodes.get(at)?;
        let end = node.end as usize;
        Some(match node.op {
            Op::And => Step::And { end },
            Op::Or => Step::Or { end },
            Op::Not => Step::Not { end },
            Op::Test { name, test } => Step::Test {
                name: self.span(name),
                test: self.check(test),
            },
        })
    }

    fn check(&self, test: Test) -> Check<'_> {
        let bound = |bound: Option<Bound<Span>>| {
            bound.map(|bound| Bound {
                value: self.span(bound.value),
                is_open: bound.is_open,
            })
        };
        match test {
            Test::Exists => Check::Exists,
            Test::Strings { first, count } => {
                let rest = self.strings.get(first as usize..).unwrap_or_default();
                Check::Strings(StringSet {
                    program: self,
                    spans: rest.get(..count as usize).unwrap_or_default(),
                })
            }
            Test::Numbers { start, count, is_f64 } => {
                let bytes = self.span(Span {
                    start,
                    len: count.saturating_mul(8),
                });
                Check::Numbers(NumberSet {
                    elements: <[[u8; 8]]>::ref_from_bytes(bytes).unwrap_or_default(),
                    is_f64,
                })
            }
            Test::Bools { no, yes } => Check::Bools { no, yes },
            Test::NumberRange { lower, upper } => Check::NumberRange { lower, upper },
            Test::StringRange { lower, upper } => Check::StringRange {
                lower: bound(lower),
                upper: bound(upper),
            },
            Test::Prefix(span) => Check::Prefix(self.span(span)),
        }
    }

    #[inline]
    fn span(&self, span: Span) -> &[u8] {
        let start = span.start as usize;
        self.bytes
            .get(start..start.saturating_add(span.len as usize))
            .unwrap_or_default()
    }
}
