// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Walking level 0 when not all rows may be found.
//!
//! If many rows are accepted, the walk goes through the others as through any node and keeps them out of the result. If
//! few are, that would mostly compare rows that cannot be found; then it goes from accepted row to accepted row,
//! looking behind the others at their neighbours (ACORN: Patel, Kraft, Guestrin, Zaharia, arXiv 2403.04871, section 5,
//! with the unchanged graph).
//!
//! A walk that has compared as many rows as are accepted gives up: comparing exactly those is no more work and misses
//! none.

use super::layout::Base;
use super::layout::NONE;
use super::measure::Measure;
use super::scratch::Scratch;
use super::walk::Layer;
use super::walk::Walk;
use super::Hnsw;
use crate::bits::Bits;
use crate::graph::Visited;
use crate::heap;
use crate::index::Cost;
use crate::index::Scope;
use vexfs_host::relax;
use vexfs_host::Result;

/// If fewer than one row in so many is accepted, a walk goes from accepted row to accepted row. Where more are, one
/// that goes through the others finds what accepted rows do not lead to, for at most twice the time (measured: 50,000
/// vectors of SIFT, from a half to a twentieth of them accepted).
const TWO_HOP: usize = 8;
/// Hops between two cooperative points; one may look at a thousand nodes.
const HOPS: u64 = 16;

/// Whether a walk looks behind the rows that are not accepted.
pub(super) fn is_two_hop(count: usize, accepted: usize) -> bool {
    accepted < count / TWO_HOP
}

/// How a filtered walk goes.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    /// Accepted rows kept.
    width: usize,
    /// Rows compared after which it gives up.
    budget: usize,
    /// It goes from accepted row to accepted row.
    two_hop: bool,
}

impl Plan {
    /// For `accepted` of `count` rows.
    pub(super) fn new(count: usize, accepted: usize, width: usize) -> Self {
        Self {
            width,
            budget: accepted,
            two_hop: is_two_hop(count, accepted),
        }
    }
}

impl Hnsw {
    /// Leaves about the `width` nearest accepted rows in the beam; fewer if it gave up.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn walk_filtered(
        &self,
        scope: &Scope<'_>,
        accept: &Bits,
        measure: &impl Measure,
        plan: Plan,
        (key, entry): (u32, u32),
        scratch: &mut Scratch,
        cost: &mut Cost,
    ) -> Result {
        let base = self.graph.base();
        let Scratch { walk, frontier, .. } = scratch;
        let Walk {
            visited,
            beam,
            fresh,
            keys,
            ..
        } = walk;
        visited.clear();
        visited.insert(entry);
        beam.reset(plan.width)?;
        frontier.clear();
        frontier.push(!(u64::from(key) << 32 | u64::from(entry)))?;
        if accept.get(entry) {
            beam.offer(key, entry);
        }
        let (mut hops, mut compared) = (0u64, 0usize);
        while let Some(nearest) = pop(frontier) {
            let node = nearest as u32;
            if beam.is_full() && (nearest >> 32) as u32 > beam.limit() {
                break;
            }
            hops += 1;
            if hops % HOPS == 0 {
                relax()?;
                if (scope.stop)() {
                    cost.stopped = true;
                    break;
                }
            }
            if compared >= plan.budget {
                beam.reset(plan.width)?;
                break;
            }
            let count = match plan.two_hop {
                true => two_hops(&base, node, accept, visited, fresh),
                false => base.fresh(node, visited, fresh),
            };
            if let Some(next) = frontier.first() {
                base.prefetch(!*next as u32);
            }
            let (Some(fresh), Some(keys)) = (fresh.get(..count), keys.get_mut(..count)) else {
                break;
            };
            measure.keys(fresh, keys)?;
            compared = compared.saturating_add(count);
            for (key, node) in keys.iter().zip(fresh) {
                if beam.is_full() && *key > beam.limit() {
                    continue;
                }
                frontier.push(!(u64::from(*key) << 32 | u64::from(*node)))?;
                heap::sift_up(frontier);
                if plan.two_hop || accept.get(*node) {
                    beam.offer(*key, *node);
                }
            }
        }
        cost.hops = cost.hops.saturating_add(hops);
        measure.count(compared, cost);
        Ok(())
    }
}

/// Puts the accepted neighbours of a node that were not visited, and those of its neighbours that are not accepted,
/// into `fresh`. Returns how many.
fn two_hops(base: &Base<'_>, node: u32, accept: &Bits, visited: &mut Visited, fresh: &mut [u32]) -> usize {
    // All lists that will be looked behind are asked for first: waiting for one after the other would take most of the
    // time.
    for link in base.list(node).iter().take_while(|link| **link != NONE) {
        if !accept.get(*link) {
            base.prefetch(*link);
        }
    }
    let room = fresh.len();
    let mut count = 0;
    let mut add = |link: u32, count: &mut usize| {
        if let Some(place) = fresh.get_mut(*count) {
            *place = link;
            *count += 1;
        }
    };
    for link in base.list(node) {
        if *link == NONE || count >= room {
            break;
        }
        if !visited.insert(*link) {
            continue;
        }
        if accept.get(*link) {
            add(*link, &mut count);
            continue;
        }
        for link in base.list(*link) {
            if *link == NONE {
                break;
            }
            if accept.get(*link) && visited.insert(*link) {
                add(*link, &mut count);
            }
        }
    }
    count
}

/// Takes the nearest entry out of the heap.
fn pop(frontier: &mut vexfs_host::mem::Vec<u64>) -> Option<u64> {
    let last = frontier.len().checked_sub(1)?;
    frontier.swap(0, last);
    let entry = frontier.pop()?;
    heap::sift_down(frontier, 0);
    Some(!entry)
}
