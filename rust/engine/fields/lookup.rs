// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What the indexes know about a test.

use super::Field;
use super::FieldIndex;
use crate::filter::number::f64_of_key;
use crate::filter::number::i64_of_key;
use crate::filter::number::Number;
use crate::filter::Check;
use crate::payload::Scalar;
use core::ops::Range;
use vexfs_host::relax;
use vexfs_host::Result;

/// A part of what is known. Rows have a field of a name once, so those of different types are different.
pub(super) enum Known<'a> {
    /// The test is true for the rows that have the field.
    Rows(&'a Field),
    /// It is true for the rows with one of these values of the field.
    Values(&'a Field, Range<usize>),
    /// It may be true for rows that have the field.
    Doubt(&'a Field),
    /// It may be true for any row.
    DoubtAll,
}

/// The types of values that a test can be true for.
fn scalars(check: &Check<'_>) -> &'static [Scalar] {
    match check {
        Check::Exists => &[Scalar::Keyword, Scalar::Text, Scalar::I64, Scalar::F64, Scalar::Bool],
        Check::Strings(_) | Check::StringRange { .. } | Check::Prefix(_) => &[Scalar::Keyword, Scalar::Text],
        Check::Numbers(_) | Check::NumberRange { .. } => &[Scalar::I64, Scalar::F64],
        Check::Bools { .. } => &[Scalar::Bool],
    }
}

fn number(field: &Field, key: u64) -> Number {
    match field.scalar {
        Scalar::F64 => Number::F64(f64_of_key(key)),
        _ => Number::I64(i64_of_key(key)),
    }
}

impl FieldIndex {
    /// Tells `found` everything that is known about a test of the field of this name. For all other rows it is false.
    ///
    /// # Errors
    ///
    /// Those of `found`; `Interrupted`.
    pub(super) fn look_up<'a>(
        &'a self,
        name: &[u8],
        check: &Check<'_>,
        found: &mut dyn FnMut(Known<'a>) -> Result,
    ) -> Result {
        for scalar in scalars(check) {
            match self.field(name, *scalar) {
                None => {}
                Some(field) if matches!(check, Check::Exists) => found(Known::Rows(field))?,
                Some(field) if !field.is_indexed => found(Known::Doubt(field))?,
                Some(field) => self.look_up_values(field, check, found)?,
            }
        }
        if self.is_partial && !self.has_name(name) {
            found(Known::DoubtAll)?;
        }
        Ok(())
    }

    /// The number of values, from the first on, for which `is_before` is true.
    fn before(&self, field: &Field, mut is_before: impl FnMut(u64) -> bool) -> usize {
        self.keys(field).partition_point(|key| is_before(*key))
    }

    fn look_up_values<'a>(
        &'a self,
        field: &'a Field,
        check: &Check<'_>,
        found: &mut dyn FnMut(Known<'a>) -> Result,
    ) -> Result {
        let keys = self.keys(field);
        let mut add = |start: usize, end: usize| {
            if start < end {
                found(Known::Values(field, start..end))
            } else {
                Ok(())
            }
        };
        match check {
            Check::Exists => Ok(()),
            Check::Strings(set) => {
                for (i, string) in set.iter().enumerate() {
                    if let Ok(at) = keys.binary_search_by(|key| self.keyword(*key).cmp(string)) {
                        add(at, at + 1)?;
                    }
                    if i % 256 == 255 {
                        relax()?;
                    }
                }
                Ok(())
            }
            Check::Numbers(set) => {
                for (i, wanted) in set.iter().enumerate() {
                    if let Ok(at) = keys.binary_search_by(|key| number(field, *key).order(wanted)) {
                        add(at, at + 1)?;
                    }
                    if i % 256 == 255 {
                        relax()?;
                    }
                }
                Ok(())
            }
            Check::Bools { no, yes } => {
                let from = self.before(field, |key| key == 0 && !no);
                let to = self.before(field, |key| key == 0 || *yes);
                add(from, to)
            }
            Check::NumberRange { lower, upper } => {
                let order = |key, bound: Number| number(field, key).order(bound);
                let from = lower.map_or(0, |bound| {
                    self.before(field, |key| !bound.is_below(order(key, bound.value)))
                });
                let to = upper.map_or(keys.len(), |bound| {
                    self.before(field, |key| bound.is_above(order(key, bound.value)))
                });
                add(from, to)
            }
            Check::StringRange { lower, upper } => {
                let from = lower.map_or(0, |bound| {
                    self.before(field, |key| !bound.is_below(self.keyword(key).cmp(bound.value)))
                });
                let to = upper.map_or(keys.len(), |bound| {
                    self.before(field, |key| bound.is_above(self.keyword(key).cmp(bound.value)))
                });
                add(from, to)
            }
            Check::Prefix(prefix) => {
                let from = self.before(field, |key| self.keyword(key) < *prefix);
                let to = self.before(field, |key| {
                    let keyword = self.keyword(key);
                    keyword < *prefix || keyword.starts_with(prefix)
                });
                add(from, to)
            }
        }
    }
}
