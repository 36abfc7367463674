// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What is due, and doing it.
//!
//! A tail over its soft limit is sealed by maintenance, one over its hard limit by the insert that comes next: it is
//! bounded whatever happens. Segments of about the same size are merged when there are [`Tuning::fan`] of them, so that
//! their number is logarithmic and a row is copied a logarithmic number of times. (O'Neil et al., The log-structured
//! merge-tree, 1996; tiered as in the size-tiered compaction of its descendants.)
//!
//! [`Tuning::fan`]: super::Tuning::fan

use super::item::SEGMENTS_MAX;
use super::merge::Plan;
use super::publish::Update;
use super::Collection;
use super::Dead;
use super::Version;
use super::Writer;
use crate::index::IndexKind;
use crate::index::IndexParams;
use crate::permit::Always;
use crate::permit::Permit;
use crate::permit::Permitted;
use crate::permit::Work;
use crate::segment::Index;
use crate::segment::Segment;
use crate::Txg;
use vexfs_host::log;
use vexfs_host::mem::Vec;
use vexfs_host::nofs;
use vexfs_host::sync::Arc;
use vexfs_host::sync::RwLockWriteGuard;
use vexfs_host::Error;
use vexfs_host::Result;

/// Of a segment with more dead rows than one in so many, maintenance makes a new one.
const DEAD_SHARE: u64 = 4;
/// Segments with fewer rows may have dead ones without that being worth any work.
const DEAD_ROWS_MIN: u64 = 1024;

/// A segment as the choice of what to merge sees it.
struct Size {
    /// Its place among the segments.
    place: usize,
    live: usize,
}

impl Collection {
    /// Takes the right to add rows, with a tail below its hard limit.
    pub(super) fn writer_with_room<'a>(
        &'a self,
        permit: &'a dyn Permit,
    ) -> Result<(Permitted<'a>, RwLockWriteGuard<'a, Writer>)> {
        loop {
            let permitted = Permitted::by(permit)?;
            let mut writer = self.writer.write_killable()?;
            if writer.is_removed {
                return Err(Error::NotFound);
            }
            let version = self.loaded(&mut writer)?;
            let full = self.tail_reaches(&writer, &version, self.tuning.tail_rows_max, self.tuning.tail_bytes_max);
            let room = version.segments.len() < SEGMENTS_MAX;
            drop(version);
            if !full {
                return Ok((permitted, writer));
            }
            if room {
                // A crash may have left files whose space this needs.
                self.remove_leftovers(&mut writer);
                self.seal(&mut writer)?;
                return Ok((permitted, writer));
            }
            // A merge that is under way may have to wait for the permit before it ends.
            drop(writer);
            drop(permitted);
            self.merge_small(permit)?;
        }
    }

    fn tail_reaches(&self, writer: &Writer, version: &Version, rows: usize, bytes: u64) -> bool {
        let len = writer.end.as_ref().map_or(0, |end| end.len);
        len > 0 && (len >= bytes || version.state.read().rows.count() >= rows)
    }

    /// Merges the smallest segments into one without an index, to make room for a new one.
    fn merge_small(&self, permit: &dyn Permit) -> Result {
        let _maintenance = self.maintenance.write_killable()?;
        let segments = {
            let mut writer = self.writer.write_killable()?;
            let version = self.loaded(&mut writer)?;
            if version.segments.len() < SEGMENTS_MAX {
                return Ok(());
            }
            let mut sizes = sizes(&version)?;
            crate::heap::sort_by_key(&mut sizes, |size| size.live as u64);
            sizes.truncate(self.tuning.fan.max(2));
            pick(&version, &sizes)?
        };
        let plan = Plan {
            segments,
            index: IndexParams::of(IndexKind::Flat),
            urgent: false,
        };
        self.merge(plan, &Work::quiet(permit)).map(|_| ())
    }

    /// Does the most urgent of what is due: seals a long tail, merges segments, gives them the index that they lack,
    /// leaves dead rows behind. Returns whether anything was due; call again until nothing is.
    ///
    /// `progress` is told how much of how much is done of building an index, from any of `threads` threads.
    ///
    /// # Errors
    ///
    /// Those of reading and writing; the collection is as it was before the call then.
    pub fn maintain(&self, threads: usize, progress: &(dyn Fn(u64, u64) + Sync)) -> Result<bool> {
        self.maintain_with(&Work::new(threads, progress))
    }

    /// [`Collection::maintain`], asking for a permit before each change.
    ///
    /// # Errors
    ///
    /// As there; those of the permit; `Interrupted` while waiting for other such work.
    pub fn maintain_with(&self, work: &Work<'_>) -> Result<bool> {
        let _nofs = nofs();
        let _maintenance = self.maintenance.write_killable()?;
        let plan = {
            let _permitted = Permitted::by(work.permit)?;
            let mut writer = self.writer.write_killable()?;
            let version = self.loaded(&mut writer)?;
            self.remove_leftovers(&mut writer);
            let long = self.tail_reaches(&writer, &version, self.tuning.seal_rows, self.tuning.seal_bytes);
            if long && version.segments.len() < SEGMENTS_MAX {
                drop(version);
                self.seal(&mut writer)?;
                self.remove_leftovers(&mut writer);
                return Ok(true);
            }
            if version.has_dead_segment()? {
                drop(version);
                let update = Update {
                    urgent: true,
                    ..Update::default()
                };
                let published = self.publish(&mut writer, update);
                self.remove_leftovers(&mut writer);
                return published.map(|_| true);
            }
            self.due(&version, &writer.item.index)?
        };
        match plan {
            None => Ok(false),
            Some(plan) => self.merge(plan, work).map(|_| true),
        }
    }

    /// The merge that is due.
    fn due(&self, version: &Version, index: &IndexParams) -> Result<Option<Plan>> {
        let fan = self.tuning.fan.max(2);
        let mut sizes = sizes(version)?;
        crate::heap::sort_by_key(&mut sizes, |size| size.live as u64);
        // Segments in the order of their sizes: a run in which the largest is at most `fan` times the smallest is a
        // tier.
        let mut start = 0;
        while let Some(smallest) = sizes.get(start) {
            let floor = smallest.live.max(self.tuning.seal_rows / 2);
            let limit = floor.saturating_mul(fan);
            let tier = sizes.get(start..).unwrap_or_default();
            let len = tier.iter().take_while(|size| size.live < limit).count();
            if len >= fan {
                let tier = tier.get(..len).unwrap_or_default();
                let segments = pick(version, tier)?;
                return Ok(Some(self.plan(segments, index)));
            }
            start += len.max(1);
        }
        let (_, dead) = version.snapshot()?;
        for (place, (segment, dead)) in version.segments.iter().zip(&dead).enumerate() {
            let (rows, dead) = (segment.count() as u64, u64::from(dead.count));
            let live = segment.count().saturating_sub(dead as usize);
            let unindexed = index.kind() != IndexKind::Flat
                && segment.index_params() != index
                && live >= self.tuning.index_rows_min;
            let unneeded = index.kind() == IndexKind::Flat && segment.index_params().kind() != IndexKind::Flat;
            let wasteful = dead >= DEAD_ROWS_MIN && dead.saturating_mul(DEAD_SHARE) > rows;
            if unindexed || unneeded || wasteful {
                let segments = pick(version, &[Size { place, live }])?;
                return Ok(Some(self.plan(segments, index)));
            }
        }
        Ok(None)
    }

    /// Merging these segments, with an index if they have rows enough.
    fn plan(&self, segments: Vec<(Arc<Segment>, Dead)>, index: &IndexParams) -> Plan {
        let live = segments.iter().fold(0usize, |sum, (segment, dead)| {
            sum.saturating_add(segment.count().saturating_sub(dead.count as usize))
        });
        let index = match live >= self.tuning.index_rows_min {
            true => *index,
            false => IndexParams::of(IndexKind::Flat),
        };
        Plan {
            segments,
            index,
            urgent: false,
        }
    }

    /// Puts all rows into one segment without dead ones, which has the collection's index. Rows that come meanwhile are
    /// not among them.
    ///
    /// # Errors
    ///
    /// Those of reading and writing; what was done until then stays done, and no row is lost.
    pub fn optimize(&self, threads: usize, progress: &(dyn Fn(u64, u64) + Sync)) -> Result<Txg> {
        self.optimize_with(&Work::new(threads, progress))
    }

    /// [`Collection::optimize`], asking for a permit before each change.
    ///
    /// # Errors
    ///
    /// As there; those of the permit; `Interrupted` while waiting for other such work.
    pub fn optimize_with(&self, work: &Work<'_>) -> Result<Txg> {
        let _nofs = nofs();
        let _maintenance = self.maintenance.write_killable()?;
        match self.merge_all(None, work) {
            Err(Error::NoSpace) if self.leave_dead_behind(work)? => self.merge_all(None, work),
            done => done,
        }
    }

    /// Frees the space of dead rows on a full device: rewrites the tail, leaves out segments without live rows, and
    /// replaces others one by one, the ones with the fewest live rows first, for as long as there is room for that.
    /// Returns whether anything was freed. The caller holds `maintenance`.
    fn leave_dead_behind(&self, work: &Work<'_>) -> Result<bool> {
        let mut freed = {
            let _permitted = Permitted::by(work.permit)?;
            let mut writer = self.writer.write_killable()?;
            let version = self.loaded(&mut writer)?;
            let rows = {
                let state = version.state.read();
                state.rows.count() > state.rows.live()
            };
            let has_dead = rows || version.has_dead_segment()?;
            drop(version);
            let update = Update {
                urgent: true,
                ..Update::default()
            };
            has_dead && {
                let published = self.publish(&mut writer, update);
                self.remove_leftovers(&mut writer);
                may_lack_space(published)?
            }
        };
        loop {
            let plan = {
                let mut writer = self.writer.write_killable()?;
                let version = self.loaded(&mut writer)?;
                let (_, dead) = version.snapshot()?;
                let mut wasteful = sizes(&version)?;
                wasteful.retain(|size| dead.get(size.place).is_some_and(|dead| dead.count > 0));
                let Some(size) = wasteful.iter().min_by_key(|size| size.live) else {
                    return Ok(freed);
                };
                Plan {
                    segments: pick(&version, core::slice::from_ref(size))?,
                    index: IndexParams::of(IndexKind::Flat),
                    urgent: true,
                }
            };
            if !may_lack_space(self.merge(plan, work))? {
                return Ok(freed);
            }
            freed = true;
        }
    }

    /// Gives the collection this index from now on, and builds it for the rows there are: they become one segment.
    ///
    /// # Errors
    ///
    /// `Invalid` or `Unsupported` for parameters that do not fit the collection, and nothing has changed then; those of
    /// reading and writing, after which [`Collection::maintain`] goes on.
    pub fn build_index(
        &self,
        params: &IndexParams,
        threads: usize,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Txg> {
        self.build_index_with(params, &Work::new(threads, progress))
    }

    /// [`Collection::build_index`], asking for a permit before each change.
    ///
    /// # Errors
    ///
    /// As there; those of the permit; `Interrupted` while waiting for other such work.
    pub fn build_index_with(&self, params: &IndexParams, work: &Work<'_>) -> Result<Txg> {
        Index::check(&self.params.space(), params)?;
        let _nofs = nofs();
        let _maintenance = self.maintenance.write_killable()?;
        self.merge_all(Some(params), work)
    }

    /// Takes the index away: rows are compared one by one from now on.
    ///
    /// # Errors
    ///
    /// Those of reading and writing; if there was one, [`Collection::maintain`] frees the space of the indexes that are
    /// left.
    pub fn drop_index(&self) -> Result<Txg> {
        self.drop_index_with(&Always)
    }

    /// [`Collection::drop_index`], asking for a permit before each change.
    ///
    /// # Errors
    ///
    /// As there; those of the permit; `Interrupted` while waiting for other such work.
    pub fn drop_index_with(&self, permit: &dyn Permit) -> Result<Txg> {
        let _nofs = nofs();
        let _maintenance = self.maintenance.write_killable()?;
        let flat = IndexParams::of(IndexKind::Flat);
        let mut txg = self.set_index(&flat, permit)?;
        loop {
            let plan = {
                let mut writer = self.writer.write_killable()?;
                let version = self.loaded(&mut writer)?;
                let of_segments = version.segments.iter().enumerate();
                let mut indexed = of_segments.filter(|(_, segment)| segment.index_params().kind() != IndexKind::Flat);
                match indexed.next() {
                    None => return Ok(txg),
                    Some((place, _)) => Plan {
                        segments: pick(&version, &[Size { place, live: 0 }])?,
                        index: flat,
                        urgent: false,
                    },
                }
            };
            txg = self.merge(plan, &Work::quiet(permit))?;
        }
    }

    /// Publishes which index segments are to have.
    fn set_index(&self, params: &IndexParams, permit: &dyn Permit) -> Result<Txg> {
        let _permitted = Permitted::by(permit)?;
        let mut writer = self.writer.write_killable()?;
        self.loaded(&mut writer)?;
        let txg = writer.end.as_ref().map_or(0, |end| end.txg);
        if writer.item.index == *params {
            return Ok(txg);
        }
        let update = Update {
            index: Some(*params),
            ..Update::default()
        };
        let published = self.publish(&mut writer, update);
        self.remove_leftovers(&mut writer);
        published
    }

    /// Seals the tail and merges all segments. The caller holds `maintenance`.
    fn merge_all(&self, params: Option<&IndexParams>, work: &Work<'_>) -> Result<Txg> {
        let mut txg = match params {
            Some(params) => self.set_index(params, work.permit)?,
            None => 0,
        };
        let plan = {
            let _permitted = Permitted::by(work.permit)?;
            let mut writer = self.writer.write_killable()?;
            let version = self.loaded(&mut writer)?;
            let long = self.tail_reaches(&writer, &version, 1, 1);
            let room = version.segments.len() < SEGMENTS_MAX;
            drop(version);
            if long && room {
                txg = self.seal(&mut writer)?;
            } else if let Some(end) = &writer.end {
                txg = txg.max(end.txg);
            }
            self.remove_leftovers(&mut writer);
            let version = self.version.read().clone().ok_or(Error::Overflow)?;
            let index = writer.item.index;
            let (_, dead) = version.snapshot()?;
            let done = match (&version.segments[..], &dead[..]) {
                ([], _) => true,
                ([only], [dead]) => dead.count == 0 && *only.index_params() == index,
                _ => false,
            };
            if done {
                return Ok(txg);
            }
            log!(
                info,
                "collection {}: merging {} segments, index {}",
                self.dir,
                version.segments.len(),
                index.kind().name()
            );
            Plan {
                segments: pick(&version, &sizes(&version)?)?,
                index,
                urgent: false,
            }
        };
        // No index is computed for what cannot be written.
        let live = plan.segments.iter().fold(0u64, |sum, (segment, dead)| {
            sum.saturating_add((segment.count() as u64).saturating_sub(dead.count.into()))
        });
        let bytes = live.saturating_mul(self.params.row_bytes() as u64 + 8);
        let room = self
            .fs
            .space_info()
            .available
            .saturating_mul(self.fs.block_size().into());
        if bytes > room {
            return Err(Error::NoSpace);
        }
        self.merge(plan, work)
    }
}

/// Whether something was done; that there was no space for it is no error.
fn may_lack_space<T>(done: Result<T>) -> Result<bool> {
    match done {
        Ok(_) => Ok(true),
        Err(Error::NoSpace) => Ok(false),
        Err(e) => Err(e),
    }
}

fn sizes(version: &Version) -> Result<Vec<Size>> {
    let (_, dead) = version.snapshot()?;
    let mut sizes = Vec::with_capacity(version.segments.len())?;
    for (place, (segment, dead)) in version.segments.iter().zip(&dead).enumerate() {
        let live = segment.count().saturating_sub(dead.count as usize);
        sizes.push(Size { place, live })?;
    }
    Ok(sizes)
}

/// The segments at these places, with the rows of them that are dead now.
fn pick(version: &Version, sizes: &[Size]) -> Result<Vec<(Arc<Segment>, Dead)>> {
    let (_, dead) = version.snapshot()?;
    let mut picked = Vec::with_capacity(sizes.len())?;
    for size in sizes {
        let pair = version.segments.get(size.place).zip(dead.get(size.place));
        let (segment, dead) = pair.ok_or(Error::Overflow)?;
        picked.push((segment.clone(), dead.clone()))?;
    }
    Ok(picked)
}
