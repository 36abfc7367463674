// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Applying a program to one payload.

use super::Check;
use super::Number;
use super::Program;
use super::Step;
use super::DEPTH_MAX;
use crate::payload::Payload;
use crate::payload::Plain;
use crate::payload::Values;
use vexfs_host::relax;
use vexfs_host::Result;

/// Values looked at between two cooperative points: well under 100 µs, sets being searched by halves.
const WORK: usize = 2048;
/// What finding a field costs, in values: as much as stepping over a payload of many fields.
const FIND: usize = 32;

impl Check<'_> {
    /// Whether the test is true for this value.
    #[inline]
    pub(crate) fn accepts(&self, value: Plain<'_>) -> bool {
        match (self, value) {
            (Check::Exists, _) => true,
            (Check::Strings(set), Plain::String(string)) => set.contains(string),
            (Check::Numbers(set), Plain::I64(value)) => set.contains(Number::I64(value)),
            (Check::Numbers(set), Plain::F64(bits)) => set.contains(Number::F64(bits)),
            (Check::Bools { no, yes }, Plain::Bool(value)) => {
                if value {
                    *yes
                } else {
                    *no
                }
            }
            (Check::NumberRange { .. }, Plain::I64(value)) => self.contains_number(Number::I64(value)),
            (Check::NumberRange { .. }, Plain::F64(bits)) => self.contains_number(Number::F64(bits)),
            (Check::StringRange { lower, upper }, Plain::String(string)) => {
                lower.is_none_or(|bound| bound.is_below(string.cmp(bound.value)))
                    && upper.is_none_or(|bound| bound.is_above(string.cmp(bound.value)))
            }
            (Check::Prefix(prefix), Plain::String(string)) => string.starts_with(prefix),
            _ => false,
        }
    }

    fn contains_number(&self, number: Number) -> bool {
        let Check::NumberRange { lower, upper } = self else {
            return false;
        };
        lower.is_none_or(|bound| bound.is_below(number.order(bound.value)))
            && upper.is_none_or(|bound| bound.is_above(number.order(bound.value)))
    }

    /// Whether the test is true for one of the values.
    #[inline(never)] // own frame
    fn accepts_one(&self, values: Option<Values<'_>>, work: &mut usize) -> Result<bool> {
        did(FIND, work)?;
        for value in values.into_iter().flatten() {
            if self.accepts(value) {
                return Ok(true);
            }
            did(1, work)?;
        }
        Ok(false)
    }
}

/// Counts what was done since the last cooperative point.
#[inline]
fn did(some: usize, work: &mut usize) -> Result {
    *work = work.saturating_add(some);
    if *work >= WORK {
        *work = 0;
        relax()?;
    }
    Ok(())
}

/// A group whose answer is not known yet.
#[derive(Clone, Copy)]
enum Group {
    And,
    Or,
    Not,
}

impl Program {
    /// Whether the row with this payload (no bytes: without one) may be found. The payload is one that
    /// [`Payload::parse`] accepts; of other bytes the answer has no meaning.
    ///
    /// # Errors
    ///
    /// `Interrupted` by a fatal signal, nothing else.
    pub fn matches(&self, payload: &[u8]) -> Result<bool> {
        let payload = Payload::trusted(payload);
        // There are at most `INSTRUCTIONS_MAX` nodes: their numbers fit.
        let mut stack = [(Group::And, 0u16); DEPTH_MAX];
        let mut depth = 0usize;
        let mut at = 0;
        let mut work = 0;
        loop {
            // Down to a test, or to a group without members.
            let (group, end) = match self.step(at) {
                Some(Step::And { end }) => (Group::And, end),
                Some(Step::Or { end }) => (Group::Or, end),
                Some(Step::Not { end }) => (Group::Not, end),
                // There always is an instruction: programs are checked.
                None => return Ok(false),
                Some(Step::Test { name, test }) => {
                    let value = test.accepts_one(payload.values(name), &mut work)?;
                    let next = at + 1;
                    match answer(&mut stack, &mut depth, &mut at, value, next) {
                        Some(value) => return Ok(value),
                        None => continue,
                    }
                }
            };
            if end == at + 1 {
                let value = matches!(group, Group::And);
                if let Some(value) = answer(&mut stack, &mut depth, &mut at, value, end) {
                    return Ok(value);
                }
                continue;
            }
            match stack.get_mut(depth) {
                Some(slot) => *slot = (group, end as u16),
                // Programs are not deeper than that.
                None => return Ok(false),
            }
            depth += 1;
            at += 1;
        }
    }
}

/// Takes the value of the instruction that ends at `next` up to the first group that needs another member, whose number
/// is then in `at`; returns the value of the program when there is none.
fn answer(
    stack: &mut [(Group, u16)],
    depth: &mut usize,
    at: &mut usize,
    mut value: bool,
    mut next: usize,
) -> Option<bool> {
    loop {
        let Some((group, end)) = depth.checked_sub(1).and_then(|top| stack.get(top)) else {
            return Some(value);
        };
        let is_known = match group {
            Group::Not => {
                value = !value;
                true
            }
            Group::And => !value,
            Group::Or => value,
        };
        let end = usize::from(*end);
        if !is_known && next < end {
            *at = next;
            return None;
        }
        next = end;
        *depth -= 1;
    }
}
