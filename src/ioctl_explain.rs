// SPDX-License-Identifier: GPL-2.0
//! Explaining a search.

use kernel::error::code::EINVAL;
use kernel::error::code::ERANGE;
use kernel::ffi::c_long;
use kernel::uaccess::UserPtr;
use vexfs_engine::Choice;
use vexfs_engine::Knobs;
use vexfs_engine::PartFacts;
use vexfs_engine::Search;
use vexfs_host::mem::Vec;
use vexfs_host::monotonic;
use vexfs_uapi as uapi;
use vexfs_vfs::Result;
use zerocopy::IntoBytes;

use crate::ioctl::Access;
use crate::ioctl::Caller;
use crate::ioctl_arg;
use crate::ioctl_arg::read_vectors;
use crate::ioctl_arg::Arg;
use crate::ioctl_arg::Output;
use crate::ioctl_rows::check_count;
use crate::ioctl_rows::check_vectors;
use crate::ioctl_rows::counters;
use crate::ioctl_search::radius;
use crate::ioctl_search::read_filter;
use crate::ioctl_search::Deadline;
use crate::ioctl_search::SEARCH_FLAGS;

/// EXPLAIN.
pub fn explain(caller: &Caller<'_>, arg: UserPtr) -> Result<c_long> {
    let mut arg = Arg::<uapi::Explain>::read(arg)?;
    if arg.flags & !SEARCH_FLAGS != 0 || arg.reserved != [0; 4] {
        return Err(EINVAL.into());
    }
    let deadline = Deadline::new(arg.time_limit_us);
    let radius = radius(arg.flags, arg.radius)?;
    let k = check_count(arg.k, uapi::VEXFS_K_MAX)?;
    let (_target, collection) = caller.collection(ioctl_arg::name(&arg.name)?, Access::Read)?;
    let params = collection.params();
    check_vectors(arg.dim, arg.element, &params)?;
    let query = read_vectors(arg.query, 1, &params, 0)?;
    let filter = read_filter(arg.filter, arg.filter_bytes)?;
    let stop = || deadline.is_over();
    let begin = monotonic();
    let explained = collection.explain(&Search {
        queries: &query,
        k,
        radius,
        knobs: Knobs {
            ef: arg.ef,
            nprobe: arg.nprobe,
            rerank: arg.rerank,
        },
        exact: arg.flags & uapi::VEXFS_SEARCH_EXACT != 0,
        filter: filter.as_ref(),
        stop: deadline.is_set().then_some(&stop),
    })?;
    arg.elapsed_ns = monotonic().saturating_sub(begin);
    let scanned = explained.parts.iter().fold(0u64, |sum, part| {
        let cost = &part.facts.cost;
        sum.saturating_add(cost.distances).saturating_add(cost.codes)
    });
    counters(caller).searched(1, scanned);

    let room = arg.parts_max;
    arg.parts_max = explained.parts.len() as u64;
    arg.hits = u32::try_from(explained.hits).unwrap_or(u32::MAX);
    if room < arg.parts_max {
        arg.write()?;
        return Err(ERANGE.into());
    }
    let mut parts: Vec<uapi::ExplainPart> = Vec::new();
    for part in &explained.parts {
        parts.push(part_of(part))?;
    }
    let bytes = parts.as_slice().as_bytes();
    Output::new(arg.parts, bytes.len(), align_of::<uapi::ExplainPart>())?.write(0, bytes)?;
    arg.write()?;
    Ok(0)
}

/// The ABI's form of what was done in a part of a collection.
fn part_of(part: &PartFacts) -> uapi::ExplainPart {
    let facts = &part.facts;
    let flag = |on: bool, flag: u32| if on { flag } else { 0 };
    uapi::ExplainPart {
        segment: part.segment,
        index: part.kind as u32,
        choice: match facts.choice {
            Choice::Scan => uapi::VEXFS_CHOICE_SCAN,
            Choice::Index => uapi::VEXFS_CHOICE_INDEX,
            Choice::Filtered => uapi::VEXFS_CHOICE_FILTERED,
            Choice::PostFilter => uapi::VEXFS_CHOICE_POST_FILTER,
        },
        rows: facts.rows,
        live: facts.alive,
        expected: facts.estimate.expected,
        expected_min: facts.estimate.lower,
        expected_max: facts.estimate.upper,
        matching: facts.matching.unwrap_or(uapi::VEXFS_NOT_COUNTED),
        scan_cost: facts.scan_cost,
        index_cost: facts.index_cost,
        evaluated: facts.evaluated,
        distances: facts.cost.distances,
        codes: facts.cost.codes,
        hops: facts.cost.hops,
        reads: facts.cost.reads,
        fallbacks: u32::try_from(facts.fallbacks).unwrap_or(u32::MAX),
        flags: flag(facts.cached, uapi::VEXFS_PART_CACHED) | flag(facts.cost.stopped, uapi::VEXFS_PART_STOPPED),
    }
}
