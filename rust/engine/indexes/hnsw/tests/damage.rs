// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Damaged sections.

use super::super::Hnsw;
use super::support::*;
use crate::index::Codes;
use crate::index::IndexParams;
use crate::index::Section;
use crate::index::Sections;
use crate::testing::open as open_index;
use proptest::prelude::*;
use vexfs_host::mem::Buffer;
use vexfs_host::Error;
use vexfs_simd::Element;
use vexfs_simd::Metric;

/// More than a search of this width would rather scan.
const ROWS: usize = 350;

fn small() -> IndexParams {
    params().with(|p| {
        p.m = 3;
    })
}

fn copy(sections: &Sections) -> Sections {
    let mut copy = Sections::new();
    for section in sections {
        let bytes = Buffer::copy_of(&section.bytes).unwrap();
        copy.push(Section {
            kind: section.kind,
            bytes,
        })
        .unwrap();
    }
    copy
}

/// Opens the sections; what opens must answer searches.
fn open_and_search(set: &Set, params: &IndexParams, sections: Sections) -> bool {
    match open_index::<Hnsw>(&set.space, set.count(), params, sections) {
        Ok(graph) => {
            for query in set.queries.iter().take(3) {
                let (found, _) = set.search(&graph, query, with_ef(20), None, 10);
                assert_eq!(found.len(), 10);
            }
            true
        }
        Err(Error::Corrupt(_)) => false,
        Err(other) => panic!("{other}"),
    }
}

/// Small graphs without codes and with codes of every kind.
fn graphs() -> impl Iterator<Item = (Set, IndexParams)> {
    let plain = (Element::U8, Codes::None);
    let coded = [Codes::Sq8, Codes::Bf16, Codes::Binary].map(|codes| (Element::F32, codes));
    core::iter::once(plain).chain(coded).map(|(element, codes)| {
        let set = Set::new(element, Metric::L2, 9, ROWS, 1);
        (
            set,
            small().with(|p| {
                p.codes = codes.code();
            }),
        )
    })
}

#[test]
fn every_changed_byte_is_refused_or_harmless() {
    for (set, params) in graphs() {
        let sections = set.build(&params, 1);
        let mut refused = 0;
        for at in 0..sections.len() {
            let len = sections[at].bytes.len();
            // Every byte of the small ones, and of the records those of some rows.
            let step = len.div_ceil(3000);
            for byte in (0..len).step_by(step) {
                for mask in [1, 0x80] {
                    let mut damaged = copy(&sections);
                    damaged[at].bytes.as_bytes_mut()[byte] ^= mask;
                    refused += usize::from(!open_and_search(&set, &params, damaged));
                }
            }
        }
        assert!(refused > 1000, "{refused}");
    }
}

#[test]
fn sections_cut_off_missing_or_of_another_graph_are_refused() {
    for (set, params) in graphs() {
        let sections = set.build(&params, 1);
        assert!(open_and_search(&set, &params, copy(&sections)));
        for at in 0..sections.len() {
            let mut missing = copy(&sections);
            missing.remove(at);
            assert!(!open_and_search(&set, &params, missing));
            for len in [0, 1, sections[at].bytes.len() / 2, sections[at].bytes.len() - 1] {
                let mut cut = copy(&sections);
                cut[at].bytes = Buffer::copy_of(&sections[at].bytes[..len]).unwrap();
                assert!(!open_and_search(&set, &params, cut), "section {at} of {len} bytes");
            }
        }
        let other = Set::new(set.space.element(), Metric::L2, 9, ROWS + 1, 1);
        assert!(!open_and_search(&other, &params, copy(&sections)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_refused_or_searched(
        changes in prop::collection::vec((0usize..4, any::<prop::sample::Index>(), any::<u32>()), 1..6)
    ) {
        for (set, params) in graphs() {
            let mut sections = set.build(&params, 1);
            for (section, word, value) in &changes {
                let section = section % sections.len();
                let words = sections[section].bytes.as_u32s_mut();
                let at = word.index(words.len());
                // Small numbers are likely to be nodes.
                words[at] = if value % 2 == 0 { value % ROWS as u32 } else { *value };
            }
            open_and_search(&set, &params, sections);
        }
    }
}
