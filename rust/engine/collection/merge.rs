// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Making new segments: of the tail, and of others.
//!
//! A tail is sealed by its writer, without an index: copying rows and writing them in order takes little longer than
//! appending them did. Merging takes its time. It reads segments, which never change, without any lock but
//! `maintenance`; only at its end does it take `writer`, ends in the new segment the rows that changes have ended in
//! the old ones meanwhile, and publishes. The permit to change the filesystem it has while it writes, not while it
//! computes.

use super::publish::Update;
use super::Collection;
use super::Dead;
use super::Writer;
use crate::bits::Bits;
use crate::fields;
use crate::index::Build;
use crate::index::IndexKind;
use crate::index::IndexParams;
use crate::index::Sections;
use crate::permit::Always;
use crate::permit::Permitted;
use crate::permit::Work;
use crate::segment::assemble;
use crate::segment::find_id;
use crate::segment::Base;
use crate::segment::Column;
use crate::segment::File;
use crate::segment::Index;
use crate::segment::Kept;
use crate::segment::Material;
use crate::segment::Segment;
use crate::segment::Source;
use crate::segment::Vectors;
use crate::segment::Writing;
use crate::Time;
use crate::Txg;
use core::sync::atomic::Ordering;
use vexfs_host::mem::Buffer;
use vexfs_host::mem::Vec;
use vexfs_host::relax;
use vexfs_host::sync::Arc;
use vexfs_host::Error;
use vexfs_host::Result;

/// A segment that is being merged, with what has to be in memory for that.
struct Input {
    segment: Arc<Segment>,
    /// The rows that were dead when the merge began.
    dead: Dead,
    ids: Arc<Kept<Buffer>>,
    vectors: Arc<Kept<Vectors>>,
    column: Column,
}

impl Input {
    fn load(segment: &Arc<Segment>, dead: &Dead) -> Result<Self> {
        Ok(Self {
            segment: segment.clone(),
            dead: dead.clone(),
            ids: segment.ids()?,
            vectors: segment.vectors()?,
            column: segment.column()?,
        })
    }

    fn source(&self) -> Result<Source<'_>> {
        Ok(Source::Segment {
            ids: self.ids.as_u64s(),
            rows: self.vectors.rows(&self.segment)?,
            column: self.column.clone(),
            dead: self.dead.rows.as_deref(),
        })
    }

    fn live(&self) -> usize {
        self.segment.count().saturating_sub(self.dead.count as usize)
    }
}

/// What a merge is made of.
pub(super) struct Plan {
    /// The segments, with the rows of them that are dead now.
    pub(super) segments: Vec<(Arc<Segment>, Dead)>,
    /// What its index is made with.
    pub(super) index: IndexParams,
    /// It frees more than it writes: it may use the reserve of a full device.
    pub(super) urgent: bool,
}

impl Collection {
    /// A new file for a segment, which is not taken for a leftover while it is in use.
    pub(super) fn new_segment_file(&self, writer: &mut Writer) -> Result<(File, u64)> {
        if let Some(end) = &mut writer.end {
            end.is_alone = false;
        }
        let number = writer.item.next_number;
        let next = number.checked_add(1).ok_or(Error::Overflow)?;
        let ino = self.fs.create_hidden(self.dir, Time::now())?;
        let file = File::new(&self.context, ino)?;
        writer.item.next_number = next;
        Ok((file, number))
    }

    /// Moves the live rows of the tail into a segment without an index. The version must be loaded.
    ///
    /// # Errors
    ///
    /// Those of writing; what was written until then is gone again: the next attempt needs its space.
    pub(super) fn seal(&self, writer: &mut Writer) -> Result<Txg> {
        let sealed = self.seal_tail(writer);
        if sealed.is_err() {
            self.remove_leftovers(writer);
        }
        sealed
    }

    #[inline(never)] // own frame
    fn seal_tail(&self, writer: &mut Writer) -> Result<Txg> {
        let version = self.version.read().clone().ok_or(Error::Overflow)?;
        let material = {
            let state = version.state.read();
            match state.rows.live() {
                0 => None,
                _ => {
                    let source = Source::tail(&state.rows)?;
                    Some(assemble(&self.params.space(), &[source], None)?.0)
                }
            }
        };
        drop(version);
        let Some(material) = material else {
            return self.publish(writer, Update::default());
        };
        let (file, number) = self.new_segment_file(writer)?;
        let flat = IndexParams::of(IndexKind::Flat);
        let more = self.sections(&material, &flat, None, &Work::quiet(&Always))?;
        let how = Writing {
            permit: &Always,
            urgent: false,
        };
        let segment = Segment::create(file, number, material, &flat, more, how)?;
        let update = Update {
            new: Some((segment, Dead::default())),
            sealed: true,
            ..Update::default()
        };
        self.publish(writer, update)
    }

    /// The sections of a segment that are derived from its rows: those of fields and of its index.
    #[inline(never)] // own frame
    fn sections(
        &self,
        material: &Material,
        params: &IndexParams,
        base: Option<Base<'_>>,
        work: &Work<'_>,
    ) -> Result<Sections> {
        let progress = |done, total| {
            self.build_done.store(done, Ordering::Relaxed);
            self.build_total.store(total, Ordering::Relaxed);
            (work.progress)(done, total);
        };
        let build = Build {
            kernels: self.kernels,
            rows: material.rows(&self.params.space())?,
            params,
            threads: work.threads.max(1),
            progress: &progress,
        };
        let mut sections = fields::build(material.count(), material)?;
        let of_index = Index::build(&build, base);
        // Sealing builds none: another thread may be at it.
        if params.kind() != IndexKind::Flat {
            self.build_done.store(0, Ordering::Relaxed);
            self.build_total.store(0, Ordering::Relaxed);
        }
        for section in of_index? {
            sections.push(section)?;
        }
        Ok(sections)
    }

    /// Merges segments into one, which has an index if they ask for one. The caller holds `maintenance`, and neither
    /// the permit nor `writer`.
    ///
    /// # Errors
    ///
    /// Those of reading, computing and writing; what was written until then is gone again if that can be.
    pub(super) fn merge(&self, plan: Plan, work: &Work<'_>) -> Result<Txg> {
        let merged = self.merge_and_publish(plan, work);
        // Nobody uses what was merged any more, or what was to be it, so that the files can go.
        if let Ok(_permitted) = Permitted::by(work.permit) {
            // Who cannot wait leaves it to the next change.
            if let Ok(mut writer) = self.writer.write_killable() {
                self.remove_leftovers(&mut writer);
            }
        }
        merged
    }

    #[inline(never)] // own frame
    fn merge_and_publish(&self, plan: Plan, work: &Work<'_>) -> Result<Txg> {
        let urgent = plan.urgent;
        let (file, number) = {
            let _permitted = Permitted::by(work.permit)?;
            let mut writer = self.writer.write_killable()?;
            self.loaded(&mut writer)?;
            self.new_segment_file(&mut writer)?
        };
        let (inputs, new) = self.merged(&plan, file, number, work)?;
        drop(plan);
        {
            let _permitted = Permitted::by(work.permit)?;
            let mut writer = self.writer.write_killable()?;
            self.loaded(&mut writer)?;
            let mut update = Update {
                urgent,
                ..Update::default()
            };
            for input in &inputs {
                update.gone.push(input.segment.ino())?;
            }
            if let Some(new) = new {
                let dead = self.late_kills(&inputs, &new)?;
                update.new = Some((new, dead));
            }
            self.publish(&mut writer, update)
        }
    }

    /// Writes the segment that others are merged into, `None` if they have no live rows.
    #[inline(never)] // own frame
    fn merged(
        &self,
        plan: &Plan,
        file: File,
        number: u64,
        work: &Work<'_>,
    ) -> Result<(Vec<Input>, Option<Arc<Segment>>)> {
        let params = &plan.index;
        let mut inputs = Vec::with_capacity(plan.segments.len())?;
        for (segment, dead) in &plan.segments {
            inputs.push(Input::load(segment, dead)?)?;
        }
        if inputs.iter().all(|input| input.live() == 0) {
            return Ok((inputs, None));
        }
        // The largest index that can be extended is.
        let extendable = |input: &Input| Index::can_extend(params, input.segment.index_params());
        let candidates = inputs.iter().enumerate().filter(|(_, input)| extendable(input));
        let base = candidates.max_by_key(|(_, input)| input.live()).map(|(i, _)| i);
        let (material, map) = {
            let mut sources = Vec::with_capacity(inputs.len())?;
            for input in &inputs {
                sources.push(input.source()?)?;
            }
            assemble(&self.params.space(), &sources, base)?
        };
        let old = match base.and_then(|base| inputs.get(base)) {
            Some(input) => input.segment.index()?,
            None => None,
        };
        let old = old.as_deref().map(Kept::value);
        let base = old.map(|index| Base { index, map: &map });
        let more = self.sections(&material, params, base, work)?;
        let how = Writing {
            permit: work.permit,
            urgent: plan.urgent,
        };
        let segment = Segment::create(file, number, material, params, more, how)?;
        Ok((inputs, Some(segment)))
    }

    /// The rows of a merged segment that have died in the old ones since the merge began. The caller holds `writer`.
    #[inline(never)] // own frame
    fn late_kills(&self, inputs: &[Input], new: &Segment) -> Result<Dead> {
        let version = self.version.read().clone().ok_or(Error::Overflow)?;
        let (_, dead) = version.snapshot()?;
        let ids = new.ids()?;
        let mut late = Dead::default();
        let mut rows: Option<Bits> = None;
        for input in inputs {
            let file = input.segment.ino();
            let mut pairs = version.segments.iter().zip(&dead);
            let mut since = match pairs.find(|(segment, _)| segment.ino() == file) {
                Some((_, now)) => match &now.rows {
                    Some(rows) if now.count != input.dead.count => rows.try_clone()?,
                    _ => continue,
                },
                // A publication left it out, which is done to segments without live rows only.
                None => Bits::full(input.segment.count())?,
            };
            if let Some(before) = &input.dead.rows {
                since.and_not(before);
            }
            for row in since.iter() {
                let id = input.ids.as_u64s().get(row as usize).copied().ok_or(Error::Overflow)?;
                let row = find_id(ids.as_u64s(), 0, id).map_err(|_| Error::Overflow)?;
                let rows = match &mut rows {
                    Some(rows) => rows,
                    None => rows.insert(Bits::new(new.count())?),
                };
                rows.set(row as u32);
                late.count = late.count.saturating_add(1);
                if late.count % 256 == 0 {
                    relax()?;
                }
            }
        }
        late.rows = rows.map(Arc::new).transpose()?;
        Ok(late)
    }
}
