// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Estimating from the numbers of rows of values how many rows a filter lets through.

use super::lookup::Known;
use super::Field;
use super::FieldIndex;
use crate::filter::Check;
use crate::filter::Program;
use crate::filter::Step;
use vexfs_host::mem::Vec;
use vexfs_host::Error;
use vexfs_host::Result;

/// How many rows of a segment, dead ones included, a filter lets through.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Estimate {
    /// At least so many.
    pub lower: u64,
    /// At most so many.
    pub upper: u64,
    /// A guess between the two. Of a group it takes the members to be independent of each other.
    pub expected: u64,
    /// At most so many payloads have to be looked at, since indexes do not tell.
    pub doubtful: u64,
}

/// The share of rows that a test without an index is guessed to let through: one of so many, as in Selinger et al.,
/// "Access Path Selection in a Relational Database Management System" (SIGMOD 1979), table 1: equality, and an
/// interval.
const GUESS_EQUAL: u64 = 10;
const GUESS_RANGE: u64 = 4;

impl Estimate {
    /// So many, no more and no less.
    pub(crate) fn exactly(rows: u64) -> Self {
        Self {
            lower: rows,
            upper: rows,
            expected: rows,
            doubtful: 0,
        }
    }

    /// Different rows together.
    fn plus(self, other: Self, count: u64) -> Self {
        let sum = |a: u64, b: u64| a.saturating_add(b).min(count);
        Self {
            lower: sum(self.lower, other.lower),
            upper: sum(self.upper, other.upper),
            expected: sum(self.expected, other.expected),
            doubtful: sum(self.doubtful, other.doubtful),
        }
    }

    /// Rows that are in both.
    fn and(self, other: Self, count: u64) -> Self {
        let upper = self.upper.min(other.upper);
        Self {
            lower: self.lower.saturating_add(other.lower).saturating_sub(count),
            upper,
            expected: product(self.expected, other.expected, count).min(upper),
            doubtful: self.doubtful.saturating_add(other.doubtful).min(upper),
        }
    }

    /// The other rows.
    fn not(self, count: u64) -> Self {
        Self {
            lower: count.saturating_sub(self.upper),
            upper: count.saturating_sub(self.lower),
            expected: count.saturating_sub(self.expected),
            doubtful: self.doubtful,
        }
    }

    /// Rows that are in one of both.
    fn or(self, other: Self, count: u64) -> Self {
        self.not(count).and(other.not(count), count).not(count)
    }
}

/// `a * b / count`; all are numbers of rows, below 2^32.
fn product(a: u64, b: u64, count: u64) -> u64 {
    a.saturating_mul(b).checked_div(count).unwrap_or(0)
}

/// `a / b`, rounded up; `a` if `b` is 0.
fn divide_up(a: u64, b: u64) -> u64 {
    a.saturating_add(b.saturating_sub(1)).checked_div(b).unwrap_or(a)
}

/// A group some of whose members are estimated.
struct Group<'a> {
    step: Step<'a>,
    end: usize,
    value: Estimate,
}

impl FieldIndex {
    /// Estimates how many rows the filter lets through, by looking up numbers of rows.
    ///
    /// # Errors
    ///
    /// `NoMemory`, `Interrupted`.
    pub(crate) fn estimate(&self, program: &Program) -> Result<Estimate> {
        let count = self.count as u64;
        let mut stack: Vec<Group<'_>> = Vec::new();
        let mut at = 0;
        loop {
            let step = program.step(at).ok_or(Error::Invalid("filter without an end"))?;
            at += 1;
            let (end, start) = match step {
                Step::And { end } => (end, Estimate::exactly(count)),
                Step::Or { end } | Step::Not { end } => (end, Estimate::exactly(0)),
                Step::Test { name, test } => (at, self.estimate_test(name, &test)?),
            };
            let mut value = start;
            if at < end {
                stack.push(Group { step, end, value })?;
                continue;
            }
            loop {
                let Some(mut group) = stack.pop() else {
                    return Ok(value);
                };
                group.value = match group.step {
                    Step::And { .. } => group.value.and(value, count),
                    Step::Or { .. } => group.value.or(value, count),
                    _ => value.not(count),
                };
                if at < group.end {
                    stack.push(group)?;
                    break;
                }
                value = group.value;
            }
        }
    }

    fn estimate_test(&self, name: &[u8], check: &Check<'_>) -> Result<Estimate> {
        let count = self.count as u64;
        let mut sum = Estimate::default();
        // Values of one field: their rows may be the same.
        let mut current: Option<(&Field, Tally)> = None;
        self.look_up(name, check, &mut |known| {
            if let Known::Values(field, range) = known {
                let tally = self.tally(field, range);
                current = Some(match current.take() {
                    Some((other, before)) if core::ptr::eq(other, field) => (field, before.plus(tally)),
                    Some((other, before)) => {
                        sum = sum.plus(before.estimate(other), count);
                        (field, tally)
                    }
                    None => (field, tally),
                });
                return Ok(());
            }
            let part = match known {
                Known::Rows(field) => Estimate::exactly(field.rows.into()),
                Known::Doubt(field) => doubt(field.rows.into(), check),
                _ => doubt(count, check),
            };
            sum = sum.plus(part, count);
            Ok(())
        })?;
        if let Some((field, tally)) = current {
            sum = sum.plus(tally.estimate(field), count);
        }
        Ok(sum)
    }

    fn tally(&self, field: &Field, range: core::ops::Range<usize>) -> Tally {
        let part = self.part(field, range);
        let listed = part.list.len() as u64;
        let counts = self.dense_counts(field).get(part.dense).unwrap_or_default();
        counts.iter().fold(Tally { pairs: listed, most: 0 }, |tally, count| {
            tally.plus(Tally {
                pairs: (*count).into(),
                most: (*count).into(),
            })
        })
    }
}

/// The numbers of rows of values.
#[derive(Clone, Copy)]
struct Tally {
    /// Their sum.
    pairs: u64,
    /// The largest of those known.
    most: u64,
}

impl Tally {
    fn plus(self, other: Self) -> Self {
        Self {
            pairs: self.pairs.saturating_add(other.pairs),
            most: self.most.max(other.most),
        }
    }

    fn estimate(self, field: &Field) -> Estimate {
        let upper = self.pairs.min(field.rows.into());
        let lower = divide_up(self.pairs, field.per_row.into()).max(self.most).min(upper);
        Estimate {
            lower,
            upper,
            expected: lower + (upper - lower) / 2,
            doubtful: 0,
        }
    }
}

fn doubt(rows: u64, check: &Check<'_>) -> Estimate {
    let guess = match check {
        Check::NumberRange { .. } | Check::StringRange { .. } => GUESS_RANGE,
        Check::Exists => 1,
        _ => GUESS_EQUAL,
    };
    Estimate {
        lower: 0,
        upper: rows,
        expected: divide_up(rows, guess),
        doubtful: rows,
    }
}
