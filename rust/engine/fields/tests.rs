// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

use super::*;
use crate::filter::testing::expr;
use crate::filter::testing::payload;
use crate::filter::testing::row;
use crate::filter::testing::Expr;
use crate::filter::testing::Row;
use crate::filter::testing::Val;
use crate::filter::Program;
use crate::index::Section;
use crate::index::Sections;
use proptest::prelude::*;
use std::string::String;
use std::string::ToString;
use std::vec;
use vexfs_host::Error;

struct Column(std::vec::Vec<std::vec::Vec<u8>>);

impl Column {
    fn of(rows: &[Row]) -> Self {
        Column(rows.iter().map(payload).collect())
    }

    fn index(&self) -> FieldIndex {
        FieldIndex::open(self.0.len(), build(self.0.len(), self).unwrap()).unwrap()
    }
}

impl Payloads for Column {
    fn payload<'a>(&'a self, row: u32, _room: &'a mut vexfs_host::mem::Vec<u8>) -> vexfs_host::Result<&'a [u8]> {
        Ok(&self.0[row as usize])
    }
}

/// Payloads that must not be looked at.
struct Untouchable;

impl Payloads for Untouchable {
    fn payload<'a>(&'a self, row: u32, _room: &'a mut vexfs_host::mem::Vec<u8>) -> vexfs_host::Result<&'a [u8]> {
        panic!("the payload of row {row} was looked at");
    }
}

fn copy(sections: &Sections) -> Sections {
    let mut copy = Sections::new();
    for Section { kind, bytes } in sections {
        let bytes = Buffer::copy_of(bytes).unwrap();
        copy.push(Section { kind: *kind, bytes }).unwrap();
    }
    copy
}

fn has_text(rows: &[Row]) -> bool {
    let is_text = |val: &Val| match val {
        Val::Text(_) => true,
        Val::List(vals) => vals.iter().any(|val| matches!(val, Val::Text(_))),
        _ => false,
    };
    rows.iter().any(|row| row.values().any(is_text))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_index_selects_what_the_filter_means(
        few in prop::collection::vec(row(), 1..12),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 0..300),
        exprs in prop::collection::vec(expr(), 1..12),
    ) {
        // Few different rows, so that values have many rows each and few.
        let rows: std::vec::Vec<Row> = picks.iter().map(|pick| pick.get(&few).clone()).collect();
        let column = Column::of(&rows);
        let index = column.index();
        for expr in exprs {
            let program = Program::parse(&expr.encode()).unwrap();
            let estimate = index.estimate(&program).unwrap();
            let (selection, _) = index.select(&program, &column).unwrap();
            let expected: std::vec::Vec<u32> =
                (0..rows.len()).filter(|row| expr.holds(&rows[*row])).map(|row| row as u32).collect();
            prop_assert_eq!(selection.rows.iter().collect::<std::vec::Vec<_>>(), expected.clone(), "{:?}", expr);
            let count = expected.len() as u64;
            prop_assert!(estimate.lower <= count && count <= estimate.upper, "{:?} {} {:?}", estimate, count, expr);
            prop_assert!(estimate.lower <= estimate.expected && estimate.expected <= estimate.upper, "{:?}", estimate);
            prop_assert!(selection.evaluated <= estimate.doubtful, "{:?} {}", estimate, selection.evaluated);
            prop_assert!(has_text(&rows) || selection.evaluated == 0);
            let (again, cached) = index.select(&program, &Untouchable).unwrap();
            prop_assert!(cached && again.rows.iter().eq(selection.rows.iter()));
        }
    }

    #[test]
    fn changed_sections_are_refused_or_still_an_index(
        few in prop::collection::vec(row(), 1..12),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 1..150),
        expr in expr(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..3),
        cut in any::<(prop::sample::Index, prop::sample::Index)>(),
    ) {
        let rows: std::vec::Vec<Row> = picks.iter().map(|pick| pick.get(&few).clone()).collect();
        let column = Column::of(&rows);
        let sections = build(rows.len(), &column).unwrap();
        let program = Program::parse(&expr.encode()).unwrap();
        let try_one = |sections: Sections| match FieldIndex::open(rows.len(), sections) {
            Ok(index) => {
                index.estimate(&program).unwrap();
                let (selection, _) = index.select(&program, &column).unwrap();
                assert!(selection.rows.iter().all(|row| (row as usize) < rows.len()));
            }
            Err(e) => assert!(matches!(e, Error::Corrupt(_)), "{e:?}"),
        };
        if !sections.is_empty() {
            let mut changed = copy(&sections);
            for (section, byte, value) in changes {
                let section = section.index(changed.len());
                let bytes = &mut changed[section].bytes;
                if !bytes.is_empty() {
                    let byte = byte.index(bytes.len());
                    bytes[byte] ^= value;
                }
            }
            try_one(changed);
            let mut shorter = copy(&sections);
            let at = cut.0.index(shorter.len());
            let len = cut.1.index(shorter[at].bytes.len() + 1);
            let is_cut = len < shorter[at].bytes.len();
            shorter[at].bytes = Buffer::copy_of(&shorter[at].bytes[..len]).unwrap();
            prop_assert!(FieldIndex::open(rows.len(), copy(&shorter)).is_err() || !is_cut);
            shorter.remove(at);
            prop_assert!(matches!(FieldIndex::open(rows.len(), shorter), Err(Error::Corrupt(_))));
            prop_assert!(matches!(FieldIndex::open(rows.len() + 1, copy(&sections)), Err(Error::Corrupt(_))));
        }
    }
}

fn keyword(text: &str) -> Val {
    Val::Keyword(text.to_string())
}

fn is_in(name: &str, val: Val) -> Program {
    Program::parse(&Expr::In(name.to_string(), vec![val]).encode()).unwrap()
}

#[test]
fn no_bit_of_the_directory_and_no_row_number_can_change_unnoticed() {
    let rows: std::vec::Vec<Row> = (0..500)
        .map(|i| {
            Row::from([
                ("all".to_string(), Val::I64(i / 10)),
                ("half".to_string(), keyword(["a", "b"][i as usize % 2])),
                (["x", "y"][i as usize % 2].to_string(), Val::F64(i as f64)),
            ])
        })
        .collect();
    let sections = build(rows.len(), &Column::of(&rows)).unwrap();
    for section in 0..sections.len() {
        for byte in 0..sections[section].bytes.len() {
            let mut changed = copy(&sections);
            let kind = changed[section].kind;
            changed[section].bytes[byte] ^= 0x41;
            let refused = matches!(FieldIndex::open(rows.len(), changed), Err(Error::Corrupt(_)));
            // A string, a number or the numbers of values of a row may be others; checksums tell.
            let is_free = kind == form::STRINGS
                || kind == form::KEYS
                || kind == form::ROWS
                || (kind == form::DIRECTORY && byte >= 32 && (12..16).contains(&((byte - 32) % 64)));
            assert!(refused || is_free, "section {kind:#x}, byte {byte}");
        }
    }
}

#[test]
fn a_segment_without_fields_has_no_sections() {
    let column = Column::of(&vec![Row::new(); 100]);
    let sections = build(100, &column).unwrap();
    assert!(sections.is_empty());
    let index = FieldIndex::open(100, sections).unwrap();
    let (selection, _) = index.select(&is_in("a", Val::Bool(true)), &column).unwrap();
    assert_eq!(selection.rows.count(), 0);
    let not = Program::parse(&Expr::Not(std::boxed::Box::new(Expr::Exists("a".to_string()))).encode()).unwrap();
    assert_eq!(index.select(&not, &column).unwrap().0.rows.count(), 100);
}

#[test]
fn estimates_of_plain_values_are_exact() {
    let rows: std::vec::Vec<Row> = (0..1000)
        .map(|i| {
            Row::from([
                ("n".to_string(), Val::I64(i % 250)),
                ("k".to_string(), keyword(["a", "b"][i as usize % 2])),
            ])
        })
        .collect();
    let column = Column::of(&rows);
    let index = column.index();
    for (expr, count) in [
        (Expr::In("n".to_string(), vec![Val::I64(7)]), 4),
        (
            Expr::Range(
                "n".to_string(),
                Some((Val::F64(9.5), false)),
                Some((Val::I64(20), true)),
            ),
            40,
        ),
        (Expr::In("k".to_string(), vec![keyword("b")]), 500),
        (Expr::Exists("k".to_string()), 1000),
        (Expr::Exists("none".to_string()), 0),
    ] {
        let estimate = index.estimate(&Program::parse(&expr.encode()).unwrap()).unwrap();
        assert_eq!(
            (estimate.lower, estimate.upper, estimate.expected),
            (count, count, count),
            "{expr:?}"
        );
    }
}

#[test]
fn rows_with_more_names_than_are_indexed_are_found_all_the_same() {
    let rows: std::vec::Vec<Row> = (0..20usize)
        .map(|i| (0..100).map(|j| (std::format!("field {i} {j}"), Val::I64(j))).collect())
        .collect();
    let column = Column::of(&rows);
    let index = column.index();
    assert!(index.is_partial && index.fields.len() == form::NAMES_MAX);
    for i in [0usize, 19] {
        let program = is_in(&std::format!("field {i} 5"), Val::I64(5));
        let (selection, _) = index.select(&program, &column).unwrap();
        assert_eq!(selection.rows.iter().collect::<std::vec::Vec<_>>(), [i as u32]);
        assert_eq!(selection.evaluated, if i == 0 { 0 } else { 20 });
    }
}

#[test]
fn the_cache_holds_the_last_filters() {
    let rows: std::vec::Vec<Row> = (0..100).map(|i| Row::from([("n".to_string(), Val::I64(i))])).collect();
    let column = Column::of(&rows);
    let index = column.index();
    for i in 0..100 {
        assert!(!index.select(&is_in("n", Val::I64(i)), &column).unwrap().1);
        assert!(index.select(&is_in("n", Val::I64(i)), &column).unwrap().1);
        assert!(i == 0 || index.known(&is_in("n", Val::I64(i - 1))).is_some());
    }
    assert!(index.known(&is_in("n", Val::I64(50))).is_none());
    assert!(index.known(&is_in("n", Val::I64(99))).is_some());
}

#[test]
fn running_out_of_memory_anywhere_is_an_error() {
    let rows: std::vec::Vec<Row> = (0..40)
        .map(|i| {
            Row::from([
                ("k".to_string(), keyword(&i.to_string())),
                ("t".to_string(), Val::Text(String::new())),
            ])
        })
        .collect();
    let column = Column::of(&rows);
    let program = Program::parse(
        &Expr::Or(vec![
            Expr::In("k".to_string(), vec![keyword("7")]),
            Expr::Prefix("t".to_string(), String::new()),
        ])
        .encode(),
    )
    .unwrap();
    let mut failures = 0;
    for n in 0.. {
        vexfs_host::mem::fail_allocations_after(Some(n));
        let result = build(rows.len(), &column)
            .and_then(|sections| FieldIndex::open(rows.len(), sections))
            .and_then(|index| {
                Ok((
                    index.estimate(&program)?,
                    index.select(&program, &column)?.0.rows.count(),
                ))
            });
        vexfs_host::mem::fail_allocations_after(None);
        match result {
            Ok((_, count)) => {
                assert_eq!(count, 40);
                break;
            }
            Err(e) => assert_eq!(e, Error::NoMemory),
        }
        failures += 1;
    }
    assert!(failures > 20);
}
