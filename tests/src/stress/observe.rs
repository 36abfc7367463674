// SPDX-License-Identifier: Apache-2.0
//! Holds a seat to its model.

use super::carry::Seat;
use super::model::fill;
use super::model::slot_name;
use super::model::word;
use super::model::Model;
use super::model::Part;
use super::model::Slot;
use super::model::BLOCK;
use super::model::BLOCKS;
use super::model::CELL_STRIDE;
use super::model::SCATTERED;
use super::model::SLOTS;
use super::shared::UnderWay;
use crate::powercut::vector;
use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// How far an operation that did not end may have got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Not at all or wholly.
    Whole,
    /// Any of its blocks.
    Blocks,
    /// Any of its words.
    Words,
}

impl Rule {
    pub fn number(self) -> u32 {
        self as u32
    }

    pub fn from_number(n: u32) -> Rule {
        match n {
            0 => Rule::Whole,
            1 => Rule::Blocks,
            _ => Rule::Words,
        }
    }
}

/// Reads a file, `None` when there is none. An allocation that fails meanwhile is tried again.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, String> {
    patiently(|| match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    })
    .map_err(|e| format!("reading {}: {e}", path.display()))
}

/// Does `what` again while it runs out of memory.
pub fn patiently<T>(mut what: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 0..1000 {
        match what() {
            Err(e) if e.raw_os_error() == Some(libc::ENOMEM) => {}
            done => return done,
        }
    }
    what()
}

/// Where `bytes` differ from what `slot` must hold.
pub fn difference(slot: &Slot, bytes: Option<&[u8]>) -> Option<String> {
    let Some(bytes) = bytes else {
        return (slot.content != 0).then(|| format!("missing, should have {} bytes", slot.len));
    };
    if slot.content == 0 {
        return Some(format!("there with {} bytes, should not be", bytes.len()));
    }
    if bytes.len() as u64 != slot.len {
        return Some(format!("{} bytes long, should be {}", bytes.len(), slot.len));
    }
    let blocks = bytes.chunks(BLOCK).enumerate();
    let bad: Vec<_> = blocks.filter(|(n, got)| **got != slot.block(*n)[..got.len()]).collect();
    let (n, got) = bad.first()?;
    let want = slot.block(*n);
    let at = got.iter().zip(&want).position(|(a, b)| a != b).unwrap_or(0);
    Some(format!(
        "{} blocks differ, the first at byte {}: {}, should be {:?} (content {:#x})",
        bad.len(),
        n * BLOCK + at,
        describe(slot.content, *n, got),
        slot.parts[*n],
        slot.content
    ))
}

/// Says what a block looks like.
fn describe(content: u64, n: usize, got: &[u8]) -> String {
    if got.iter().all(|b| *b == 0) {
        return "zeros".into();
    }
    let first = u64::from_le_bytes(got.get(..8).and_then(|b| b.try_into().ok()).unwrap_or_default());
    match (1..1 << 20).find(|g| word(content, (n * BLOCK) as u64, *g) == first) {
        Some(g) => format!("begins as generation {g}"),
        None => format!("begins with {first:#018x}, which nobody wrote there"),
    }
}

/// What is in the seat after an operation did not end. A torn block is written again.
///
/// # Errors
///
/// It is neither the state before nor that after nor a mixture that the operation's rule allows.
pub fn resolve(seat: &Seat, before: &Model, after: &Model, what: UnderWay) -> Result<Model, String> {
    let mut found = *before;
    found.next_content = before.next_content.max(after.next_content);
    found.generation = before.generation.max(after.generation);
    let touched: Vec<usize> = (0..SLOTS).filter(|n| what.touched >> n & 1 != 0).collect();
    if what.rule == Rule::Whole {
        let contents: Vec<_> = touched.iter().map(|n| read(&seat.path(*n))).collect::<Result<_, _>>()?;
        let unlike = |model: &Model| {
            let pairs = touched.iter().zip(&contents);
            pairs
                .filter_map(|(n, c)| {
                    Some(format!(
                        "{}: {}",
                        slot_name(*n),
                        difference(&model.slots[*n], c.as_deref())?
                    ))
                })
                .next()
        };
        match (unlike(before), unlike(after)) {
            (None, _) => {}
            (_, None) => touched.iter().for_each(|n| found.slots[*n] = after.slots[*n]),
            (Some(a), Some(b)) => return Err(format!("neither as before ({a}) nor as after ({b})")),
        }
    } else {
        for n in touched {
            found.slots[n] = mixture(seat, n, &before.slots[n], &after.slots[n], what.rule)?;
        }
    }
    if before.scattered != after.scattered {
        (found.scattered, found.cells) = scattered(seat, before, after)?;
    }
    if (before.rows_from, before.rows_to) != (after.rows_from, after.rows_to) {
        let count = patiently(|| seat.rows()?.count()).map_err(|e| format!("counting the rows: {e}"))?;
        if count == after.rows_to - after.rows_from {
            (found.rows_from, found.rows_to) = (after.rows_from, after.rows_to);
        }
        check_rows(seat, &found)?;
    }
    Ok(found)
}

fn mixture(seat: &Seat, n: usize, before: &Slot, after: &Slot, rule: Rule) -> Result<Slot, String> {
    let name = slot_name(n);
    let Some(bytes) = read(&seat.path(n))? else {
        return match before.content {
            0 => Ok(Slot::NONE),
            _ => Err(format!("{name} is gone")),
        };
    };
    let len = bytes.len() as u64;
    if len < before.len.min(after.len) || len > before.len.max(after.len) {
        return Err(format!(
            "{name} has {len} bytes, had {}, was to have {}",
            before.len, after.len
        ));
    }
    let mut slot = Slot {
        content: after.content,
        len,
        ..Slot::NONE
    };
    for (b, got) in bytes.chunks(BLOCK).enumerate() {
        let (old, new) = (before.block(b), after.block(b));
        if *got == old[..got.len()] {
            slot.parts[b] = before.parts[b];
        } else if *got == new[..got.len()] {
            slot.parts[b] = after.parts[b];
        } else if rule == Rule::Words && torn(got, &old, &new) {
            let file = OpenOptions::new().write(true).open(seat.path(n));
            file.and_then(|f| f.write_all_at(&new[..got.len()], (b * BLOCK) as u64))
                .map_err(|e| format!("writing {name} anew: {e}"))?;
            slot.parts[b] = after.parts[b];
        } else {
            return Err(format!(
                "block {b} of {name} {}; had {:?}, was to have {:?}",
                describe(after.content, b, got),
                before.parts[b],
                after.parts[b]
            ));
        }
        slot.parts[b].valid = slot.parts[b].valid.min(got.len() as u32);
    }
    Ok(slot)
}

fn torn(got: &[u8], old: &[u8], new: &[u8]) -> bool {
    let words = got.chunks(8).zip(old.chunks(8)).zip(new.chunks(8));
    words
        .into_iter()
        .all(|((g, o), n)| *g == o[..g.len()] || *g == n[..g.len()])
}

/// The scattered file after writing or removing it did not end.
fn scattered(seat: &Seat, before: &Model, after: &Model) -> Result<(u64, u64), String> {
    match (before.scattered, read(&seat.scattered())?) {
        (0, None) => Ok((0, 0)),
        (0, Some(bytes)) => {
            let cells = (bytes.len() as u64).div_ceil(CELL_STRIDE);
            check_cells(&bytes, after.scattered, cells)?;
            Ok((after.scattered, cells))
        }
        (_, None) => Ok((0, 0)),
        (content, Some(bytes)) => {
            check_cells(&bytes, content, before.cells)?;
            Ok((content, before.cells))
        }
    }
}

fn check_cells(bytes: &[u8], content: u64, cells: u64) -> Result<(), String> {
    let mut want = vec![0; (cells.max(1) - 1) as usize * CELL_STRIDE as usize + if cells > 0 { 8 } else { 0 }];
    for at in (0..want.len()).step_by(CELL_STRIDE as usize) {
        want[at..at + 8].copy_from_slice(&word(content, at as u64, 1).to_le_bytes());
    }
    if bytes.len() != want.len() {
        return Err(format!(
            "the scattered file has {} bytes, should have {}",
            bytes.len(),
            want.len()
        ));
    }
    match bytes.iter().zip(&want).position(|(a, b)| a != b) {
        None => Ok(()),
        Some(at) => Err(format!("the scattered file differs at byte {at}")),
    }
}

fn check_rows(seat: &Seat, model: &Model) -> Result<(), String> {
    let ids: Vec<u64> = (model.rows_from.saturating_sub(100).max(1)..model.rows_to + 100).collect();
    let rows = patiently(|| seat.rows()?.get(&ids)).map_err(|e| format!("reading the rows: {e}"))?;
    let there = model.rows_from..model.rows_to;
    if let Some(id) = ids.iter().find(|id| rows.contains_key(id) != there.contains(id)) {
        let how = if there.contains(id) {
            "missing"
        } else {
            "there and should not be"
        };
        return Err(format!(
            "row {id} is {how}; the rows should be {there:?}, there are {}",
            rows.len()
        ));
    }
    if let Some((id, _)) = rows.iter().find(|(id, v)| v[..] != vector(**id)) {
        return Err(format!("row {id} has another vector"));
    }
    match patiently(|| seat.rows()?.count()) {
        Ok(n) if n == rows.len() as u64 => Ok(()),
        Ok(n) => Err(format!("the collection counts {n} rows and has {}", rows.len())),
        Err(e) => Err(format!("counting the rows: {e}")),
    }
}

/// Checks file `n` only.
pub fn verify_slot(seat: &Seat, model: &Model, n: usize) -> Result<(), String> {
    let bytes = read(&seat.path(n))?;
    match difference(&model.slots[n], bytes.as_deref()) {
        None => Ok(()),
        Some(how) => Err(format!("{}: {how}", slot_name(n))),
    }
}

/// Checks everything the seat has: names, contents, rows.
pub fn verify(seat: &Seat, model: &Model) -> Result<(), String> {
    let entries = patiently(|| std::fs::read_dir(&seat.dir)?.map(|e| Ok(e?.file_name())).collect());
    let entries: BTreeSet<_> = entries.map_err(|e| format!("{}: {e}", seat.dir.display()))?;
    let mut names: BTreeSet<_> = (0..SLOTS)
        .filter(|n| model.slots[*n].content != 0)
        .map(|n| slot_name(n).into())
        .collect();
    if model.scattered != 0 {
        names.insert(SCATTERED.into());
    }
    if entries != names {
        let differ: Vec<_> = entries.symmetric_difference(&names).collect();
        return Err(format!(
            "names that should not be there, or should and are not: {differ:?}"
        ));
    }
    (0..SLOTS).try_for_each(|n| verify_slot(seat, model, n))?;
    if model.scattered != 0 {
        check_cells(
            &read(&seat.scattered())?.unwrap_or_default(),
            model.scattered,
            model.cells,
        )?;
    }
    if seat.has_rows() {
        check_rows(seat, model)?;
    }
    Ok(())
}

/// What is in the seat after its device failed and was mounted again: what an fsync promised, or what was written
/// later.
///
/// # Errors
///
/// Something promised is gone, or there is what nobody wrote.
pub fn adopt(seat: &Seat, model: &Model) -> Result<Model, String> {
    let mut found = *model;
    for n in 0..SLOTS {
        found.slots[n] = adopt_slot(seat, model, n).map_err(|e| format!("{}: {e}", slot_name(n)))?;
    }
    found.synced = found.slots;
    found.broken.fill(0);
    if seat.has_rows() {
        let count = patiently(|| seat.rows()?.count()).map_err(|e| format!("counting the rows: {e}"))?;
        if model.pending != 0 && count == model.rows_to + model.pending - model.rows_from {
            found.rows_to += model.pending;
        }
        found.pending = 0;
        check_rows(seat, &found)?;
    }
    Ok(found)
}

fn adopt_slot(seat: &Seat, model: &Model, n: usize) -> Result<Slot, String> {
    let (synced, written) = (&model.synced[n], &model.slots[n]);
    let Some(bytes) = read(&seat.path(n))? else {
        return match synced.content {
            0 => Ok(Slot::NONE),
            _ => Err("gone, although it was synced".into()),
        };
    };
    let len = bytes.len() as u64;
    if len < synced.len || len > (BLOCKS * BLOCK) as u64 {
        return Err(format!(
            "{len} bytes long, {} were synced, {} written",
            synced.len, written.len
        ));
    }
    let mut slot = Slot {
        content: written.content,
        len,
        ..Slot::NONE
    };
    for (b, got) in bytes.chunks(BLOCK).enumerate() {
        let oldest = synced.parts[b].generation;
        let first = u64::from_le_bytes(got.get(..8).and_then(|w| w.try_into().ok()).ok_or("an odd length")?);
        let at = (b * BLOCK) as u64;
        let newer = (oldest + 1..=model.generation as u32).find(|g| word(written.content, at, *g) == first);
        let generation = newer.unwrap_or(oldest);
        if *got != fill(written.content, b, generation)[..got.len()] {
            return Err(format!(
                "block {b} {}, generation {oldest} was synced",
                describe(written.content, b, got)
            ));
        }
        slot.parts[b] = Part {
            generation,
            valid: if generation == 0 { 0 } else { got.len() as u32 },
        };
    }
    Ok(slot)
}
