// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Searching first and filtering afterwards.

use super::choose;
use super::cost::Model;
use super::select;
use super::Accept;
use super::Ask;
use super::Facts;
use super::View;
use crate::bits::Bits;
use crate::fields::Selection;
use crate::filter::Program;
use crate::index::Nearest;
use vexfs_host::mem::Vec;
use vexfs_host::relax;
use vexfs_host::sync::Arc;
use vexfs_host::Result;
use vexfs_simd::Query;
use vexfs_uapi::Choice;
use vexfs_uapi::VEXFS_PART_CACHED;

/// What has been decided about rows: queries meet the same ones.
enum Decided {
    /// An earlier search has determined all matching rows.
    All(Arc<Selection>),
    /// Those that were met.
    Some { known: Bits, matching: Bits, room: Vec<u8> },
}

impl Decided {
    fn new(view: &View<'_>, program: &Program) -> Result<Self> {
        let rows = view.count;
        match view.fields.and_then(|fields| fields.known(program)) {
            Some(selection) => Ok(Decided::All(selection)),
            None => Ok(Decided::Some {
                known: Bits::new(rows)?,
                matching: Bits::new(rows)?,
                room: Vec::new(),
            }),
        }
    }

    fn ask(&mut self, view: &View<'_>, program: &Program, row: u32, evaluated: &mut u64) -> Result<bool> {
        match self {
            Decided::All(selection) => Ok(selection.rows.get(row)),
            Decided::Some { known, matching, room } => {
                if !known.get(row) {
                    *evaluated = evaluated.saturating_add(1);
                    if *evaluated % 32 == 0 {
                        relax()?;
                    }
                    if program.matches(view.payloads.payload(row, room)?)? {
                        matching.set(row);
                    }
                    known.set(row);
                }
                Ok(matching.get(row))
            }
        }
    }
}

/// Searches the index for more rows than wanted and offers those whose payloads match. From the first query on for
/// which these are too few, the matching rows are determined and the search goes on with them.
#[inline(never)] // own frame
pub(super) fn search(
    view: &View<'_>,
    ask: &Ask<'_>,
    model: &Model<'_>,
    program: &Program,
    queries: &[Query<'_>],
    nearest: &mut [Nearest],
    facts: &mut Facts,
) -> Result {
    let rows = view.count;
    let live = Accept::new(view, None)?;
    let scope = view.scope(live.bits());
    let mut decided = Decided::new(view, program)?;
    if matches!(decided, Decided::All(_)) {
        facts.part.flags |= VEXFS_PART_CACHED;
    }
    let mut done = 0;
    for (query, nearest) in queries.iter().zip(nearest.iter_mut()) {
        let want = model.over_fetch(nearest.k(), &facts.estimate).min(rows);
        let mut candidates = Nearest::new(want, rows, u32::MAX)?;
        let params = model.tuned(facts.part.live);
        facts.cost += model.of().search(&scope, query, &params, &mut candidates)?;
        let candidates = candidates.into_sorted();
        let mut matching: Vec<(u32, u32)> = Vec::with_capacity(nearest.k())?;
        for entry in &candidates {
            let (key, row) = ((entry >> 32) as u32, *entry as u32);
            if decided.ask(view, program, row, &mut facts.part.evaluated)? {
                matching.push((key, row))?;
                if matching.len() >= nearest.k() {
                    break;
                }
            }
        }
        let is_enough = matching.len() >= nearest.k() || candidates.len() as u64 >= facts.part.live;
        if is_enough || facts.cost.stopped {
            for (key, row) in &matching {
                nearest.offer(*key, *row)?;
            }
            done += 1;
        }
        if !is_enough || facts.cost.stopped {
            break;
        }
        relax()?;
    }
    if done == queries.len() || facts.cost.stopped {
        return Ok(());
    }
    let selection = select(view, program, facts)?;
    let accept = Accept::new(view, Some(selection))?;
    let (queries, nearest) = (queries.get(done..), nearest.get_mut(done..));
    facts.part.fallbacks = facts.part.fallbacks.saturating_add(1);
    choose(
        view,
        ask,
        &accept,
        queries.unwrap_or_default(),
        nearest.unwrap_or_default(),
        facts,
    )?;
    if done > 0 {
        facts.choose(Choice::PostFilter);
    }
    Ok(())
}
