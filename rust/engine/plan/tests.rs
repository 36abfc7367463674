// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

use super::*;
use crate::fields;
use crate::filter::testing::expr;
use crate::filter::testing::payload;
use crate::filter::testing::row;
use crate::filter::testing::Expr;
use crate::filter::testing::Row;
use crate::filter::testing::Val;
use core::cell::Cell;
use proptest::prelude::*;
use std::string::ToString;
use std::vec;
use std::vec::Vec;
use vexfs_simd::Element;
use vexfs_simd::Metric;
use vexfs_simd::Space;

const DIM: usize = 4;

pub(super) struct Column(pub(super) Vec<Vec<u8>>);

impl Payloads for Column {
    fn payload<'a>(&'a self, row: u32, _room: &'a mut vexfs_host::mem::Vec<u8>) -> vexfs_host::Result<&'a [u8]> {
        Ok(&self.0[row as usize])
    }
}

/// Rows with payloads and everything that a view needs.
struct Segment {
    vectors: Vec<u8>,
    column: Column,
    fields: FieldIndex,
    dead: Bits,
}

fn vector(seed: u64) -> Vec<u8> {
    (0..DIM as u64)
        .flat_map(|i| {
            let x = (seed * 4 + i).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
            ((x % 64) as f32).to_le_bytes()
        })
        .collect()
}

impl Segment {
    fn new(rows: &[Row], dead: impl Fn(usize) -> bool) -> Self {
        let column = Column(rows.iter().map(payload).collect());
        let count = rows.len();
        let fields = FieldIndex::open(count, fields::build(count, &column).unwrap()).unwrap();
        let mut bits = Bits::new(count).unwrap();
        (0..count).filter(|row| dead(*row)).for_each(|row| bits.set(row as u32));
        Self {
            vectors: (0..count as u64).flat_map(vector).collect(),
            column,
            fields,
            dead: bits,
        }
    }

    fn space() -> Space {
        Space::new(Element::F32, Metric::L2, DIM).unwrap()
    }

    fn view<'a>(&'a self, index: Option<&'a dyn Index>, stop: &'a dyn Fn() -> bool) -> View<'a> {
        let count = self.column.0.len();
        View {
            kernels: Kernels::detect(),
            rows: Rows::new(&Self::space(), &self.vectors, 4 * DIM, count, &[]).unwrap(),
            dead: (self.dead.count() > 0).then_some(&self.dead),
            index,
            count,
            fields: Some(&self.fields),
            payloads: &self.column,
            stop,
        }
    }

    /// What a search must find: all live rows that match, nearest first.
    fn expected(&self, matches: impl Fn(usize) -> bool, query: &[u8], k: usize, limit: u32) -> Vec<u64> {
        let view = self.view(None, &|| false);
        let query = view.kernels.query(&Self::space(), query).unwrap();
        let mut keys = vec![0; view.rows.count()];
        view.kernels.scan(&[query], &view.rows, &mut keys).unwrap();
        let mut all: Vec<u64> = (0..keys.len())
            .filter(|row| matches(*row) && !self.dead.get(*row as u32) && keys[*row] <= limit)
            .map(|row| u64::from(keys[row]) << 32 | row as u64)
            .collect();
        all.sort();
        all.truncate(k);
        all
    }
}

/// An index that looks at every `step`th row only, and remembers what it was asked for.
struct Fake {
    step: usize,
    asked: Cell<u32>,
}

impl Fake {
    fn new(step: usize) -> Self {
        Self {
            step,
            asked: Cell::new(0),
        }
    }
}

impl Index for Fake {
    fn search(&self, scope: &Scope<'_>, query: &Query<'_>, _: &SearchParams, nearest: &mut Nearest) -> Result<Cost> {
        self.asked.set(self.asked.get() + 1);
        let mut cost = Cost::default();
        for row in (0..scope.rows.count() as u32).step_by(self.step) {
            if scope.accepts(row) {
                let mut key = [0];
                scope.kernels.gather(query, &scope.rows, &[row], &mut key).unwrap();
                nearest.offer(key[0], row)?;
                cost.distances += 1;
            }
        }
        Ok(cost)
    }

    /// That of a graph.
    fn cost(&self, costs: &Costs, params: &SearchParams, k: usize, matching: u64) -> u64 {
        let compared = 12 * u64::from(params.ef.max(k as u32)) + 220;
        let cost = compared * costs.node(costs.bytes);
        match matching * 8 < costs.rows {
            true => cost + 1024 * u64::from(params.ef.max(k as u32)) * 8 / 5,
            false => cost + cost * (costs.rows - matching) / matching.max(1) * 55 / 100,
        }
    }

    fn trim(&self) -> u64 {
        0
    }

    fn memory_bytes(&self) -> u64 {
        0
    }
}

fn ask<'a>(filter: Option<&'a Program>) -> Ask<'a> {
    Ask {
        filter,
        params: SearchParams {
            ef: 1,
            ..SearchParams::default()
        },
        exact: false,
    }
}

/// What is told of a search.
#[derive(Debug)]
struct Told {
    part: ExplainPart,
    cost: Cost,
}

fn run(view: &View<'_>, ask: &Ask<'_>, queries: &[Vec<u8>], k: usize, limit: u32) -> (Told, Vec<Vec<u64>>) {
    let mut nearest: Vec<Nearest> = queries
        .iter()
        .map(|_| Nearest::new(k, view.rows.count(), limit).unwrap())
        .collect();
    let queries: Vec<Query<'_>> = queries
        .iter()
        .map(|query| view.kernels.query(&Segment::space(), query).unwrap())
        .collect();
    let (part, cost) = search(view, ask, &queries, &mut nearest).unwrap().told();
    (
        Told { part, cost },
        nearest
            .into_iter()
            .map(|nearest| nearest.into_sorted().to_vec())
            .collect(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn all_matching_rows_are_found_whatever_way_is_chosen(
        few in prop::collection::vec(row(), 1..8),
        count in 1usize..400,
        expr in expr(),
        step in prop_oneof![Just(1usize), 2usize..50],
        k in 1usize..20,
        dead in prop_oneof![Just(0usize), 2usize..6],
        radius in any::<bool>(),
        queries in 1usize..4,
        has_filter in any::<bool>(),
    ) {
        let rows: Vec<Row> = (0..count).map(|i| few[i * 7 % few.len()].clone()).collect();
        let segment = Segment::new(&rows, |row| dead > 0 && row % dead == 0);
        let program = Program::parse(&expr.encode()).unwrap();
        let queries: Vec<Vec<u8>> = (0..queries as u64).map(|i| vector(1_000_000 + i)).collect();
        let limit = if radius { vexfs_simd::key_of(2000f32.to_bits()) } else { u32::MAX };
        let matches = |row: usize| !has_filter || expr.holds(&rows[row]);
        let filter = has_filter.then_some(&program);
        let fake = Fake::new(step);
        let index: &dyn Index = &fake;
        for (index, exact) in [(None, false), (Some(index), true), (Some(index), false), (Some(index), false)] {
            let view = segment.view(index, &|| false);
            let (facts, found) = run(&view, &Ask { exact, ..ask(filter) }, &queries, k, limit);
            let matching = (0..count).filter(|row| matches(*row) && !segment.dead.get(*row as u32)).count();
            prop_assert!(facts.part.matching().is_none_or(|counted| counted == matching as u64), "{:?}", facts);
            for (query, found) in queries.iter().zip(found) {
                let expected = segment.expected(matches, query, k, limit);
                // An index that looks at all rows, and a scan, are exact.
                if step == 1 || facts.part.choice() == Some(Choice::Scan) {
                    prop_assert_eq!(&found, &expected, "{:?}", facts);
                }
                if limit == u32::MAX {
                    prop_assert_eq!(found.len(), expected.len(), "{:?}", facts);
                }
                prop_assert!(found.windows(2).all(|pair| pair[0] < pair[1]));
                for entry in found {
                    let row = entry as u32;
                    prop_assert!(matches(row as usize) && !segment.dead.get(row) && (entry >> 32) as u32 <= limit);
                }
            }
        }
    }
}

fn numbered(count: i64) -> Vec<Row> {
    (0..count)
        .map(|i| {
            Row::from([
                ("n".to_string(), Val::I64(i)),
                (
                    "t".to_string(),
                    Val::Text(if i % 10 == 0 { "no" } else { "yes" }.to_string()),
                ),
            ])
        })
        .collect()
}

fn below(n: i64) -> Program {
    Program::parse(&Expr::Range("n".to_string(), None, Some((Val::I64(n), true))).encode()).unwrap()
}

#[test]
fn few_matching_rows_are_scanned_and_many_searched_for() {
    let segment = Segment::new(&numbered(20_000), |_| false);
    let fake = Fake::new(1);
    let view = segment.view(Some(&fake), &|| false);
    let queries = [vector(7)];
    for (n, choice) in [(5, Choice::Scan), (100, Choice::Scan), (10_000, Choice::Filtered)] {
        let program = below(n);
        let (facts, _) = run(&view, &ask(Some(&program)), &queries, 3, u32::MAX);
        assert_eq!(
            (facts.part.choice(), facts.part.matching()),
            (Some(choice), Some(n as u64))
        );
        assert_eq!(facts.cost.distances, n as u64);
        assert_eq!(facts.part.expected, n as u64);
        assert!(
            !facts.part.is_cached()
                && run(&view, &ask(Some(&program)), &queries, 3, u32::MAX)
                    .0
                    .part
                    .is_cached()
        );
    }
    let (facts, _) = run(&view, &ask(None), &queries, 3, u32::MAX);
    assert_eq!(
        (facts.part.choice(), facts.part.matching()),
        (Some(Choice::Index), Some(20_000))
    );
    let all = below(i64::MAX);
    let (facts, _) = run(&view, &ask(Some(&all)), &queries, 3, u32::MAX);
    assert_eq!(facts.part.choice(), Some(Choice::Filtered));
}

#[test]
fn what_no_index_tells_is_asked_of_the_payloads_of_candidates_only() {
    let rows = numbered(20_000);
    let segment = Segment::new(&rows, |row| row % 100 == 1);
    let fake = Fake::new(1);
    let view = segment.view(Some(&fake), &|| false);
    let expr = Expr::Not(std::boxed::Box::new(Expr::Prefix("t".to_string(), "no".to_string())));
    let program = Program::parse(&expr.encode()).unwrap();
    let queries = [vector(7), vector(1_000_001)];
    let (facts, found) = run(&view, &ask(Some(&program)), &queries, 5, u32::MAX);
    assert_eq!(
        (facts.part.choice().unwrap(), facts.part.fallbacks),
        (Choice::PostFilter, 0)
    );
    assert!(facts.part.evaluated > 0 && facts.part.evaluated < 100, "{facts:?}");
    for (query, found) in queries.iter().zip(found) {
        assert_eq!(
            found,
            segment.expected(|row| expr.holds(&rows[row]), query, 5, u32::MAX)
        );
    }
}

#[test]
fn a_search_is_the_same_whether_or_not_its_filter_was_answered_before() {
    let rows = numbered(20_000);
    let segment = Segment::new(&rows, |row| row % 100 == 1);
    // One that misses rows: which way is taken shows in the answer.
    let fake = Fake::new(3);
    let view = segment.view(Some(&fake), &|| false);
    let expr = Expr::Not(std::boxed::Box::new(Expr::Prefix("t".to_string(), "no".to_string())));
    let program = Program::parse(&expr.encode()).unwrap();
    let queries = [vector(7), vector(1_000_001)];
    let (first, found) = run(&view, &ask(Some(&program)), &queries, 5, u32::MAX);
    assert_eq!(
        (first.part.choice(), first.part.is_cached()),
        (Some(Choice::PostFilter), false)
    );
    segment.fields.select(&program, &segment.column).unwrap();
    let (second, again) = run(&view, &ask(Some(&program)), &queries, 5, u32::MAX);
    assert_eq!(
        (
            second.part.choice().unwrap(),
            second.part.is_cached(),
            second.part.evaluated
        ),
        (Choice::PostFilter, true, 0)
    );
    assert_eq!(found, again);
}

#[test]
fn a_wrong_guess_about_candidates_is_made_up_for() {
    // All of the nearest rows have a text that does not match.
    let (count, query) = (20_000, vector(7));
    let plain = Segment::new(&vec![Row::new(); count], |_| false);
    let near = plain.expected(|_| true, &query, count / 2, u32::MAX);
    let mut rows = vec![Row::from([("t".to_string(), Val::Text("x".to_string()))]); count];
    for entry in near {
        rows[entry as u32 as usize] = Row::from([("t".to_string(), Val::Text("y".to_string()))]);
    }
    let segment = Segment::new(&rows, |_| false);
    let fake = Fake::new(1);
    let view = segment.view(Some(&fake), &|| false);
    let expr = Expr::Not(std::boxed::Box::new(Expr::Prefix("t".to_string(), "y".to_string())));
    let program = Program::parse(&expr.encode()).unwrap();
    let (facts, found) = run(&view, &ask(Some(&program)), core::slice::from_ref(&query), 5, u32::MAX);
    assert_eq!(
        (facts.part.fallbacks, facts.part.matching()),
        (1, Some(count as u64 / 2))
    );
    assert_eq!(
        found[0],
        segment.expected(|row| expr.holds(&rows[row]), &query, 5, u32::MAX)
    );
}

#[test]
fn a_radius_that_holds_few_rows_is_no_reason_to_scan() {
    let segment = Segment::new(&numbered(20_000), |_| false);
    let fake = Fake::new(1);
    let view = segment.view(Some(&fake), &|| false);
    let same = vexfs_simd::key_of(0);
    let (facts, found) = run(&view, &ask(None), &[vector(7)], 200, same);
    assert_eq!((facts.part.choice().unwrap(), facts.part.fallbacks), (Choice::Index, 0));
    assert_eq!(found[0], segment.expected(|_| true, &vector(7), 200, same));
    assert!((1..200).contains(&found[0].len()));
}

#[test]
fn a_search_that_is_told_to_stop_says_so() {
    let segment = Segment::new(&numbered(100_000), |_| false);
    let view = segment.view(None, &|| true);
    let (facts, _) = run(&view, &ask(None), &[vector(7)], 10, u32::MAX);
    assert!(facts.cost.stopped && facts.cost.distances < 100_000);
    let program = below(50_000);
    let (facts, _) = run(&view, &ask(Some(&program)), &[vector(7)], 10, u32::MAX);
    assert!(facts.cost.stopped && facts.cost.distances < 50_000);
}

#[test]
fn a_filter_that_nothing_can_match_costs_nothing() {
    let segment = Segment::new(&numbered(1000), |_| false);
    let fake = Fake::new(1);
    let view = segment.view(Some(&fake), &|| panic!("asked"));
    let program = below(-1);
    let (facts, found) = run(&view, &ask(Some(&program)), &[vector(7)], 10, u32::MAX);
    assert_eq!(
        (facts.part.matching(), facts.cost, found[0].len()),
        (Some(0), Cost::default(), 0)
    );
    assert_eq!(fake.asked.get(), 0);
}
