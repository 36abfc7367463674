// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Turning a filter into the set of rows that it lets through.
//!
//! Each instruction becomes two sets: the rows for which it is true for sure, and those for which it may be. They are
//! the same unless a test could not be answered by the indexes; the groups combine them as they combine truth values,
//! NOT exchanges their roles. What is in doubt at the end, and only that, is decided by payloads, with the program as a
//! whole.

use super::lookup::Known;
use super::FieldIndex;
use super::Payloads;
use crate::bits::Bits;
use crate::filter::Check;
use crate::filter::Program;
use crate::filter::Step;
use vexfs_host::mem::Vec;
use vexfs_host::relax;
use vexfs_host::sync::Arc;
use vexfs_host::Error;
use vexfs_host::Result;

/// The rows that a filter lets through.
pub(crate) struct Selection {
    /// The rows, dead ones included.
    pub(crate) rows: Bits,
    /// Their number.
    pub(crate) count: usize,
    /// Payloads that were looked at to find them.
    pub(crate) evaluated: u64,
}

/// Rows for which an instruction is true.
///
/// # Invariants
///
/// `maybe` contains `sure`.
struct Truth {
    sure: Bits,
    /// `None`: the same as `sure`.
    maybe: Option<Bits>,
}

impl Truth {
    fn and(self, other: Truth) -> Result<Truth> {
        self.combine(other, Bits::and)
    }

    fn or(self, other: Truth) -> Result<Truth> {
        self.combine(other, Bits::or)
    }

    fn combine(mut self, other: Truth, apply: fn(&mut Bits, &Bits)) -> Result<Truth> {
        if self.maybe.is_none() && other.maybe.is_some() {
            self.maybe = Some(self.sure.try_clone()?);
        }
        if let Some(maybe) = &mut self.maybe {
            apply(maybe, other.maybe.as_ref().unwrap_or(&other.sure));
        }
        apply(&mut self.sure, &other.sure);
        Ok(self)
    }

    fn not(mut self) -> Truth {
        self.sure.invert();
        if let Some(maybe) = &mut self.maybe {
            maybe.invert();
            core::mem::swap(maybe, &mut self.sure);
        }
        self
    }
}

/// A group some of whose members are known.
struct Group<'a> {
    step: Step<'a>,
    end: usize,
    /// `None` before the first member.
    value: Option<Truth>,
}

impl FieldIndex {
    /// The rows that the filter lets through, from the last searches with it or anew.
    ///
    /// Returns also whether they were known already.
    ///
    /// # Errors
    ///
    /// `NoMemory`, `Interrupted`.
    pub(crate) fn select(&self, program: &Program, payloads: &dyn Payloads) -> Result<(Arc<Selection>, bool)> {
        if let Some(selection) = self.cache.get(program) {
            return Ok((selection, true));
        }
        let selection = Arc::new(self.compute(program, payloads)?)?;
        self.cache.keep(program, &selection);
        Ok((selection, false))
    }

    /// The rows that the filter lets through, if they are known.
    pub(crate) fn known(&self, program: &Program) -> Option<Arc<Selection>> {
        self.cache.get(program)
    }

    #[inline(never)] // own frame
    fn compute(&self, program: &Program, payloads: &dyn Payloads) -> Result<Selection> {
        let Truth { sure, maybe } = self.truth(program)?;
        let mut selection = Selection {
            rows: sure,
            count: 0,
            evaluated: 0,
        };
        if let Some(mut doubtful) = maybe {
            doubtful.and_not(&selection.rows);
            payloads.expect(doubtful.count())?;
            let mut room = Vec::new();
            for row in doubtful.iter() {
                selection.evaluated += 1;
                if program.matches(payloads.payload(row, &mut room)?)? {
                    selection.rows.set(row);
                }
                if selection.evaluated % 32 == 0 {
                    relax()?;
                }
            }
        }
        selection.count = selection.rows.count();
        Ok(selection)
    }

    #[inline(never)] // own frame
    fn truth(&self, program: &Program) -> Result<Truth> {
        let mut stack: Vec<Group<'_>> = Vec::new();
        let mut at = 0;
        loop {
            let step = program.step(at).ok_or(Error::Invalid("filter without an end"))?;
            at += 1;
            let mut value = match step {
                Step::And { end } | Step::Or { end } | Step::Not { end } if at < end => {
                    stack.push(Group { step, end, value: None })?;
                    continue;
                }
                Step::And { .. } => self.everything()?,
                Step::Or { .. } | Step::Not { .. } => self.nothing()?,
                Step::Test { name, test } => self.test(name, &test)?,
            };
            relax()?;
            loop {
                let Some(mut group) = stack.pop() else {
                    return Ok(value);
                };
                value = match (group.step, group.value.take()) {
                    (Step::Not { .. }, _) => value.not(),
                    (_, None) => value,
                    (Step::And { .. }, Some(before)) => before.and(value)?,
                    (_, Some(before)) => before.or(value)?,
                };
                if at < group.end {
                    group.value = Some(value);
                    stack.push(group)?;
                    break;
                }
            }
        }
    }

    fn nothing(&self) -> Result<Truth> {
        Ok(Truth {
            sure: Bits::new(self.count)?,
            maybe: None,
        })
    }

    fn everything(&self) -> Result<Truth> {
        Ok(Truth {
            sure: Bits::full(self.count)?,
            maybe: None,
        })
    }

    #[inline(never)] // own frame
    fn test(&self, name: &[u8], check: &Check<'_>) -> Result<Truth> {
        let mut truth = self.nothing()?;
        let mut doubtful: Option<Bits> = None;
        self.look_up(name, check, &mut |known| {
            let in_doubt = match known {
                Known::Rows(field) => return self.add_rows(field, &mut truth.sure),
                Known::Values(field, range) => {
                    let part = self.part(field, range);
                    add_list(&mut truth.sure, part.list)?;
                    for place in part.dense {
                        truth.sure.or_words(self.bitmap(field, place));
                    }
                    return Ok(());
                }
                Known::Doubt(field) => Some(field),
                Known::DoubtAll => None,
            };
            let mut bits = match doubtful.take() {
                Some(bits) => bits,
                None => Bits::new(self.count)?,
            };
            match in_doubt {
                Some(field) => self.add_rows(field, &mut bits)?,
                None => bits.set_range(0, self.count),
            }
            doubtful = Some(bits);
            Ok(())
        })?;
        if let Some(mut maybe) = doubtful {
            maybe.or(&truth.sure);
            truth.maybe = Some(maybe);
        }
        Ok(truth)
    }

    /// Adds the rows that have the field.
    fn add_rows(&self, field: &super::Field, bits: &mut Bits) -> Result {
        if field.in_all {
            bits.set_range(0, self.count);
        } else if field.is_bitmap {
            bits.or_words(super::slice(self.bitmaps.as_u64s(), field.bitmaps_at, self.words()));
        } else {
            add_list(bits, super::slice(self.rows.as_u32s(), field.rows_at, field.listed()))?;
        }
        Ok(())
    }
}

fn add_list(bits: &mut Bits, rows: &[u32]) -> Result {
    for rows in rows.chunks(16 * 1024) {
        for row in rows {
            bits.set(*row);
        }
        if rows.len() == 16 * 1024 {
            relax()?;
        }
    }
    Ok(())
}
