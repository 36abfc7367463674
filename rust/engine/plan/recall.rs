// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What real indexes find of the rows that match a filter.

use super::tests::Column;
use super::*;
use crate::fields;
use crate::filter::testing::payload;
use crate::filter::testing::Expr;
use crate::filter::testing::Row;
use crate::filter::testing::Val;
use crate::index::IndexKind;
use crate::index::IndexParams;
use crate::index::Opening;
use crate::indexes::AnyIndex;
use crate::testing::Data;
use crate::testing::NoReader;
use std::string::ToString;
use std::vec::Vec;
use vexfs_simd::Element;
use vexfs_simd::Metric;

const ROWS: usize = 12_000;
const K: usize = 10;

/// Rows whose field "n" is a number below 1000 that has nothing to do with their vectors.
fn numbers() -> Column {
    let row = |i| Row::from([("n".to_string(), Val::I64(i * 7919 % 1000))]);
    Column((0..ROWS as i64).map(|i| payload(&row(i))).collect())
}

fn below(n: i64) -> Program {
    Program::parse(&Expr::Range("n".to_string(), None, Some((Val::I64(n), true))).encode()).unwrap()
}

/// The choice and the recall of searches for each share of rows, in thousandths.
fn measure(kind: IndexKind, index_only: bool, permille: &[i64]) -> Vec<(Choice, f64)> {
    let data = Data::new(Element::F32, Metric::L2, 16, ROWS);
    let column = numbers();
    let fields = FieldIndex::open(ROWS, fields::build(ROWS, &column).unwrap()).unwrap();
    let params = IndexParams::of(kind).with(|p| {
        p.recall_permille = if kind == IndexKind::Lsh { 980 } else { 0 };
    });
    let sections = AnyIndex::<NoReader>::build(&data.build(&params, 2), None).unwrap();
    let index = AnyIndex::<NoReader>::open(Opening {
        space: &data.space,
        count: ROWS,
        params: &params,
        sections,
        reader: None,
    })
    .unwrap();
    let view = View {
        kernels: Kernels::detect(),
        rows: data.rows(),
        count: ROWS,
        dead: None,
        index: Some(&index),
        fields: Some(&fields),
        payloads: &column,
        stop: &|| false,
    };
    let mut results = Vec::new();
    for permille in permille {
        let program = below(*permille);
        let ask = Ask {
            filter: Some(&program),
            params: SearchParams {
                ef: 32,
                rerank: 30,
                ..SearchParams::default()
            },
            exact: false,
        };
        let (selection, _) = fields.select(&program, &column).unwrap();
        let choice = core::cell::Cell::new(Choice::Scan);
        let recall = data.recall(K, Some(&selection.rows), |_, query, nearest| {
            let (query, nearest) = (core::slice::from_ref(query), core::slice::from_mut(nearest));
            let mut facts = search(&view, &ask, query, &mut [Nearest::new(K, ROWS, u32::MAX).unwrap()]).unwrap();
            choice.set(facts.part.choice().unwrap());
            if index_only {
                let accept = Accept::new(&view, Some(selection.clone())).unwrap();
                with_index(
                    &view,
                    &Model::new(&view, &ask).unwrap(),
                    &accept,
                    query,
                    nearest,
                    &mut facts,
                )
                .unwrap();
            } else {
                search(&view, &ask, query, nearest).unwrap();
            }
        });
        results.push((choice.get(), recall));
    }
    results
}

#[test]
fn nearly_all_of_the_nearest_matching_rows_are_found_however_few_match() {
    for kind in [
        IndexKind::Hnsw,
        IndexKind::Ivf,
        IndexKind::IvfPq,
        IndexKind::Pq,
        IndexKind::Lsh,
        IndexKind::Vamana,
    ] {
        let results = measure(kind, false, &[500, 100, 10, 1]);
        assert!(
            results.iter().all(|(_, recall)| *recall >= 0.95),
            "{kind:?} {results:?}"
        );
        assert_eq!(
            (results[0].0, results[3].0),
            (Choice::Filtered, Choice::Scan),
            "{kind:?}"
        );
    }
}

#[test]
fn indexes_find_them_too_where_a_scan_would_cost_more() {
    // As in segments that are larger than these.
    for kind in [IndexKind::Hnsw, IndexKind::Ivf, IndexKind::IvfPq, IndexKind::Vamana] {
        let results = measure(kind, true, &[900, 500, 200, 100, 50]);
        assert!(
            results.iter().all(|(_, recall)| *recall >= 0.95),
            "{kind:?} {results:?}"
        );
    }
}
