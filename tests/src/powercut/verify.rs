// SPDX-License-Identifier: Apache-2.0
//! Compares what a filesystem holds after a power cut with what the model says it must.

use super::file_name;
use super::temporary_name;
use super::vector;
use super::Model;
use super::Op;
use super::DIM;
use super::FILES;
use super::FOLDERS;
use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// What the check needs to see of a filesystem. It is implemented for a mounted one and for an image.
pub trait Contents {
    /// The content of a file, `None` if there is no such name. The path is relative to the root.
    fn file(&self, path: &str) -> Result<Option<Vec<u8>>>;
    /// The names in a folder.
    fn names(&self, folder: &str) -> Result<BTreeSet<String>>;
    /// The vectors of the collection's rows among `ids`.
    fn rows(&self, ids: &[u64]) -> Result<BTreeMap<u64, Vec<f32>>>;
    /// How many rows the collection has.
    fn row_count(&self) -> Result<u64>;
}

/// The unit in which a plain overwrite may have happened in part.
const BLOCK: usize = 4096;

fn same(label: &str, got: Option<&[u8]>, want: Option<&[u8]>) -> Result<()> {
    match (got, want) {
        (None, None) => Ok(()),
        (Some(a), Some(b)) if a == b => Ok(()),
        (Some(a), Some(b)) => {
            let at = a
                .iter()
                .zip(b)
                .position(|(x, y)| x != y)
                .unwrap_or(a.len().min(b.len()));
            bail!(
                "{label}: {} bytes, expected {}, first difference at {at}",
                a.len(),
                b.len()
            )
        }
        (None, Some(b)) => bail!("{label}: missing, expected {} bytes", b.len()),
        (Some(a), None) => bail!("{label}: {} bytes, expected none such", a.len()),
    }
}

/// Whether `got` is a mixture of `old` and `new` by blocks, its length being the one or the other or between them.
///
/// Beyond the end of the old content a block may also read as zeros: its size can be there before its data only where
/// a later block was written first, which leaves a hole.
fn mixed(got: &[u8], old: &[u8], new: &[u8]) -> bool {
    let (short, long) = (old.len().min(new.len()), old.len().max(new.len()));
    if got.len() < short || got.len() > long {
        return false;
    }
    let part = |content: &[u8], start: usize, end: usize| -> Vec<u8> {
        let mut bytes: Vec<u8> = content
            .get(start.min(content.len())..end.min(content.len()))
            .unwrap_or(&[])
            .to_vec();
        bytes.resize(end - start, 0);
        bytes
    };
    (0..got.len()).step_by(BLOCK).all(|start| {
        let end = (start + BLOCK).min(got.len());
        let now = &got[start..end];
        now == part(old, start, end) || now == part(new, start, end)
    })
}

fn check_rows(contents: &dyn Contents, before: &Model, after: &Model) -> Result<()> {
    let ids: Vec<u64> = before.rows.union(&after.rows).copied().collect();
    let rows = if ids.is_empty() {
        BTreeMap::new()
    } else {
        contents.rows(&ids)?
    };
    let present: BTreeSet<u64> = rows.keys().copied().collect();
    if present != before.rows && present != after.rows {
        let lost: Vec<u64> = before
            .rows
            .intersection(&after.rows)
            .filter(|id| !present.contains(id))
            .copied()
            .collect();
        bail!(
            "the collection has {} rows, which is neither all before ({}) nor all after ({}); lost acknowledged rows: {lost:?}",
            present.len(),
            before.rows.len(),
            after.rows.len()
        );
    }
    let count = contents.row_count()?;
    ensure!(
        count == present.len() as u64,
        "the collection counts {count} rows and gives {}",
        present.len()
    );
    for (id, row) in &rows {
        ensure!(
            row.len() == DIM && row[..] == vector(*id),
            "row {id} has another vector than was inserted"
        );
    }
    Ok(())
}

/// Checks `contents` after a cut at which the operations that led to `before` had been acknowledged and `under_way` had
/// not.
///
/// # Errors
///
/// Says what is missing, changed or too much.
pub fn verify(contents: &dyn Contents, before: &Model, under_way: Option<&Op>) -> Result<()> {
    let mut after = before.clone();
    if let Some(op) = under_way {
        after.apply(op);
    }
    let touched = match under_way {
        Some(
            Op::Append { file, .. }
            | Op::Overwrite { file, .. }
            | Op::Replace { file, .. }
            | Op::Truncate { file, .. }
            | Op::Unlink { file },
        ) => Some(*file),
        _ => None,
    };
    for file in 0..FILES {
        let name = file_name(file);
        let got = contents.file(&name)?;
        let old = before.files.get(&file).map(Vec::as_slice);
        if touched != Some(file) {
            same(&name, got.as_deref(), old)?;
            continue;
        }
        let new = after.files.get(&file).map(Vec::as_slice);
        let plain = !matches!(under_way, Some(Op::Replace { .. } | Op::Unlink { .. }));
        let whole = got.as_deref() == old || got.as_deref() == new;
        let partly = plain
            && got
                .as_deref()
                .is_some_and(|g| mixed(g, old.unwrap_or(&[]), new.unwrap_or(&[])));
        if !whole && !partly {
            same(&name, got.as_deref(), old).context("under way, and neither old nor new")?;
        }
    }
    for folder in 0..FOLDERS {
        for name in contents.names(&format!("d{folder}"))? {
            let path = format!("d{folder}/{name}");
            let known = (0..FILES).any(|n| path == file_name(n));
            let temporary = matches!(under_way, Some(Op::Replace { file, .. }) if path == temporary_name(*file));
            ensure!(known || temporary, "{path}: nobody made this");
        }
    }
    check_rows(contents, before, &after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone)]
    struct Fake(Model);

    impl Contents for Fake {
        fn file(&self, path: &str) -> Result<Option<Vec<u8>>> {
            Ok(self
                .0
                .files
                .iter()
                .find(|(n, _)| file_name(**n) == path)
                .map(|(_, c)| c.clone()))
        }
        fn names(&self, folder: &str) -> Result<BTreeSet<String>> {
            let all = self.0.files.keys().map(|n| file_name(*n));
            Ok(all
                .filter_map(|p| p.strip_prefix(&format!("{folder}/")).map(String::from))
                .collect())
        }
        fn rows(&self, ids: &[u64]) -> Result<BTreeMap<u64, Vec<f32>>> {
            let there = ids.iter().filter(|id| self.0.rows.contains(id));
            Ok(there.map(|id| (*id, vector(*id).to_vec())).collect())
        }
        fn row_count(&self) -> Result<u64> {
            Ok(self.0.rows.len() as u64)
        }
    }

    fn model() -> Model {
        let mut model = Model::default();
        model.apply(&Op::Append {
            file: 1,
            data: vec![1; 10_000],
        });
        model.apply(&Op::Append {
            file: 2,
            data: vec![2; 10],
        });
        model.apply(&Op::Insert { first: 1, count: 5 });
        model
    }

    #[test]
    fn a_state_that_equals_the_model_passes() {
        verify(&Fake(model()), &model(), None).unwrap();
    }

    #[test]
    fn a_lost_file_a_lost_row_and_a_changed_byte_are_found() {
        let broken: [fn(&mut Model); 4] = [
            |m| drop(m.files.remove(&2)),
            |m| {
                m.rows.remove(&3);
            },
            |m| m.files.get_mut(&1).unwrap()[5000] = 9,
            |m| drop(m.files.insert(7, vec![])),
        ];
        for breaking in broken {
            let mut fake = Fake(model());
            breaking(&mut fake.0);
            assert!(verify(&fake, &model(), None).is_err());
        }
    }

    #[test]
    fn an_overwrite_under_way_may_be_there_in_whole_blocks_only() {
        let op = Op::Overwrite {
            file: 1,
            offset: 0,
            data: vec![8; 9_000],
        };
        let mut fake = Fake(model());
        fake.0.files.get_mut(&1).unwrap()[..4096].fill(8);
        verify(&fake, &model(), Some(&op)).unwrap();
        fake.0.files.get_mut(&1).unwrap()[4096..5000].fill(8);
        assert!(verify(&fake, &model(), Some(&op)).is_err());
    }

    #[test]
    fn a_replacement_under_way_leaves_the_old_or_the_new_content() {
        let op = Op::Replace {
            file: 1,
            data: vec![8; 10],
        };
        let mut fake = Fake(model());
        verify(&fake, &model(), Some(&op)).unwrap();
        fake.0.files.insert(1, vec![8; 10]);
        verify(&fake, &model(), Some(&op)).unwrap();
        fake.0.files.insert(1, vec![]);
        assert!(verify(&fake, &model(), Some(&op)).is_err());
        fake.0.files.remove(&1);
        assert!(verify(&fake, &model(), Some(&op)).is_err());
    }

    #[test]
    fn an_insert_under_way_is_there_wholly_or_not_at_all() {
        let op = Op::Insert { first: 6, count: 3 };
        let mut fake = Fake(model());
        fake.0.rows.insert(6);
        assert!(verify(&fake, &model(), Some(&op)).is_err());
        fake.0.rows.extend([7, 8]);
        verify(&fake, &model(), Some(&op)).unwrap();
    }
}
