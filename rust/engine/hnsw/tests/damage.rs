// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Damaged sections.

use super::super::Hnsw;
use super::support::*;
use crate::index::IndexParams;
use crate::index::Section;
use crate::index::Sections;
use proptest::prelude::*;
use vexfs_host::mem::Buffer;
use vexfs_host::Error;
use vexfs_simd::Element;
use vexfs_simd::Metric;

/// More than a search of this width would rather scan.
const ROWS: usize = 350;

fn small() -> IndexParams {
    IndexParams { m: 3, ..params() }
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
fn open_and_search(set: &Set, sections: Sections) -> bool {
    match Hnsw::open(&set.space, set.count(), &small(), sections) {
        Ok(graph) => {
            for query in set.queries.iter().take(3) {
                let (found, _) = set.search(&graph, query, knobs(20), None, 10);
                assert_eq!(found.len(), 10);
            }
            true
        }
        Err(Error::Corrupt(_)) => false,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn every_changed_byte_is_refused_or_harmless() {
    let set = Set::new(Element::U8, Metric::L2, 8, ROWS, 1);
    let sections = set.build(&small(), 1);
    let mut refused = 0;
    for at in 0..sections.len() {
        for byte in 0..sections[at].bytes.len() {
            for mask in [1, 0x80] {
                let mut damaged = copy(&sections);
                damaged[at].bytes.as_bytes_mut()[byte] ^= mask;
                refused += usize::from(!open_and_search(&set, damaged));
            }
        }
    }
    assert!(refused > 1000, "{refused}");
}

#[test]
fn sections_cut_off_missing_or_of_another_graph_are_refused() {
    let set = Set::new(Element::U8, Metric::L2, 8, ROWS, 1);
    let sections = set.build(&small(), 1);
    assert!(open_and_search(&set, copy(&sections)));
    for at in 0..sections.len() {
        let mut missing = copy(&sections);
        missing.remove(at);
        assert!(!open_and_search(&set, missing));
        for len in [0, 1, sections[at].bytes.len() / 2, sections[at].bytes.len() - 1] {
            let mut cut = copy(&sections);
            cut[at].bytes = Buffer::copy_of(&sections[at].bytes[..len]).unwrap();
            assert!(!open_and_search(&set, cut), "section {at} of {len} bytes");
        }
    }
    let other = Set::new(Element::U8, Metric::L2, 8, ROWS + 1, 1);
    assert!(!open_and_search(&other, copy(&sections)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_refused_or_searched(
        changes in prop::collection::vec((0usize..4, any::<prop::sample::Index>(), any::<u32>()), 1..6)
    ) {
        let set = Set::new(Element::U8, Metric::L2, 8, ROWS, 1);
        let mut sections = set.build(&small(), 1);
        for (section, word, value) in changes {
            let section = section % sections.len();
            let words = sections[section].bytes.as_u32s_mut();
            let at = word.index(words.len());
            // Small numbers are likely to be nodes.
            words[at] = if value % 2 == 0 { value % ROWS as u32 } else { value };
        }
        open_and_search(&set, sections);
    }
}
