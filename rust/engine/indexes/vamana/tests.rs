// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Vamana against exact search, in memory and on disk.

use super::*;
use crate::bits::Bits;
use crate::index::IndexKind;
use crate::testing::make;
use crate::testing::open as open_index;
use crate::testing::search_or_scan;
use crate::testing::Data;
use crate::testing::NoReader;
use crate::testing::Random;
use std::cell::Cell;
use std::vec;
use std::vec::Vec as StdVec;
use vexfs_core::file::ReadAt as Read;
use vexfs_simd::Element;
use vexfs_simd::Metric;

/// The records' section as a device, which can fail.
struct Device {
    bytes: Buffer,
    batches: Cell<u64>,
    reads: Cell<u64>,
    left: Cell<u64>,
}

impl ReadAt for Device {
    fn read_many(&self, reads: &mut [Read<'_>]) -> Result {
        if self.left.get() == 0 {
            return Err(Error::Io(vexfs_host::IoError {
                op: "read",
                offset: 0,
                errno: 5,
            }));
        }
        self.left.set(self.left.get() - 1);
        self.batches.set(self.batches.get() + 1);
        for read in reads {
            self.reads.set(self.reads.get() + 1);
            let from = read.offset as usize;
            assert!(from % 4096 == 0 && read.data.len() % 4096 == 0);
            read.data.copy_from_slice(&self.bytes[from..from + read.data.len()]);
        }
        Ok(())
    }
}

fn params() -> IndexParams {
    IndexParams::of(IndexKind::Vamana).with(|p| {
        p.m = 24;
        p.ef_construction = 60;
        p.seed = 42;
    })
}

fn in_memory(data: &Data, params: &IndexParams) -> Vamana<NoReader> {
    let sections = make::<Vamana<NoReader>>(&data.build(params, 2)).unwrap();
    open_index::<Vamana<NoReader>>(&data.space, data.count, params, sections).unwrap()
}

fn on_disk(data: &Data, params: &IndexParams) -> Vamana<Device> {
    let mut sections = make::<Vamana<NoReader>>(&data.build(params, 2)).unwrap();
    let device = Device {
        bytes: take_section(&mut sections, format::RECORDS).unwrap(),
        batches: Cell::new(0),
        reads: Cell::new(0),
        left: Cell::new(u64::MAX),
    };
    Vamana::open(Opening {
        space: &data.space,
        count: data.count,
        params,
        sections,
        reader: Some(device),
    })
    .unwrap()
}

fn recall(data: &Data, vamana: &impl Index, k: usize, accept: Option<&Bits>) -> f64 {
    data.recall(k, accept, |scope, query, nearest| {
        search_or_scan(vamana, scope, query, &SearchParams::default(), nearest).unwrap();
    })
}

impl Vamana<Device> {
    fn device(&self) -> &Device {
        self.reader.as_ref().unwrap()
    }
}

fn copies(sections: &Sections) -> Sections {
    let mut copies = Sections::new();
    for section in sections.iter() {
        let bytes = Buffer::copy_of(&section.bytes).unwrap();
        copies
            .push(Section {
                kind: section.kind,
                bytes,
            })
            .unwrap();
    }
    copies
}

#[test]
fn finds_the_nearest_rows_in_every_metric_and_element() {
    let mut spaces = vec![(Element::Binary, Metric::Hamming)];
    for element in [Element::F32, Element::F16, Element::Bf16, Element::I8, Element::U8] {
        for metric in [Metric::L2, Metric::Cosine, Metric::Ip] {
            spaces.push((element, metric));
        }
    }
    for (element, metric) in spaces {
        let data = Data::new(element, metric, 48, 3000);
        let reached = recall(&data, &in_memory(&data, &params()), 10, None);
        // The nearest by inner product are not near each other.
        let least = if metric == Metric::Ip { 0.9 } else { 0.94 };
        assert!(reached >= least, "{element:?} {metric:?} in memory: {reached}");
        if element == Element::Binary {
            continue;
        }
        let vamana = on_disk(
            &data,
            &params().with(|p| {
                p.disk_percent = 60;
                p.pq_bytes = 24;
            }),
        );
        let reached = recall(&data, &vamana, 10, None);
        assert!(reached >= least, "{element:?} {metric:?} on disk: {reached}");
    }
}

#[test]
fn any_share_of_the_rows_on_disk_gives_the_same_answers() {
    let data = Data::new(Element::F32, Metric::L2, 32, 3000);
    let mut answers = StdVec::new();
    let mut reads = StdVec::new();
    for disk_percent in [100, 90, 50, 1] {
        let params = params().with(|p| {
            p.disk_percent = disk_percent;
        });
        let vamana = on_disk(&data, &params);
        let device = vamana.device();
        device.reads.set(0);
        device.batches.set(0);
        let mut found = StdVec::new();
        let mut cost = Cost::default();
        for query in 0..20 {
            found.push(data.found(10, |nearest| {
                let params = SearchParams::default();
                cost += vamana
                    .search(&data.scope(None), &data.query(query), &params, nearest)
                    .unwrap();
            }));
        }
        // Several records a hop are read together.
        assert!(device.batches.get() * 3 < device.reads.get() || disk_percent < 50);
        assert_eq!(cost.reads, device.reads.get());
        answers.push(found);
        reads.push(cost.reads);
        assert!(recall(&data, &vamana, 10, None) >= 0.94);
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
    // Fewer reads the more is in memory.
    assert!(reads.windows(2).all(|pair| pair[0] > pair[1]), "{reads:?}");
    // With the records among the sections, nothing is read.
    let params = params().with(|p| {
        p.disk_percent = 100;
    });
    let whole = in_memory(&data, &params);
    let found = data.found(10, |nearest| {
        let params = SearchParams::default();
        whole
            .search(&data.scope(None), &data.query(0), &params, nearest)
            .unwrap();
    });
    assert_eq!(found, answers[0][0]);
}

#[test]
fn records_larger_than_a_block_are_read_whole() {
    let data = Data::new(Element::F32, Metric::Cosine, 1500, 150);
    let params = params().with(|p| {
        p.disk_percent = 100;
    });
    let vamana = on_disk(&data, &params);
    assert!(recall(&data, &vamana, 5, None) >= 0.94);
}

#[test]
fn few_rows_and_equal_rows_are_searched_too() {
    for count in [0, 1, 2, 30] {
        let data = Data::new(Element::F32, Metric::L2, 3, count);
        for disk_percent in [0, 100] {
            let params = params().with(|p| {
                p.disk_percent = disk_percent;
            });
            let vamana = in_memory(&data, &params);
            let found = data.found(5, |nearest| {
                let params = SearchParams::default();
                vamana
                    .search(&data.scope(None), &data.query(0), &params, nearest)
                    .unwrap();
            });
            assert_eq!(found, data.exact(0, 5, None));
        }
    }
    // One dimension of bytes: many rows are the same.
    let data = Data::new(Element::U8, Metric::L2, 1, 5000);
    assert!(recall(&data, &in_memory(&data, &params()), 10, None) >= 0.8);
}

#[test]
fn one_thread_makes_the_same_bytes_again_and_several_make_as_good_a_graph() {
    let data = Data::new(Element::F32, Metric::L2, 24, 3000);
    for disk_percent in [0, 70] {
        let params = params().with(|p| {
            p.disk_percent = disk_percent;
        });
        let bytes = || -> StdVec<(u32, StdVec<u8>)> {
            let sections = make::<Vamana<NoReader>>(&data.build(&params, 1)).unwrap();
            sections.iter().map(|s| (s.kind, s.bytes.to_vec())).collect()
        };
        assert!(bytes() == bytes());
        let sections = make::<Vamana<NoReader>>(&data.build(&params, 4)).unwrap();
        let vamana = open_index::<Vamana<NoReader>>(&data.space, data.count, &params, sections).unwrap();
        assert!(recall(&data, &vamana, 10, None) >= 0.94);
    }
}

#[test]
fn a_filter_gives_k_accepted_rows_whenever_there_are_k() {
    let data = Data::new(Element::F32, Metric::L2, 24, 8000);
    for disk_percent in [0, 80] {
        let params = params().with(|p| {
            p.disk_percent = disk_percent;
        });
        let vamana = in_memory(&data, &params);
        for every in [2, 10, 100, 1000, 4000] {
            let mut accept = Bits::new(data.count).unwrap();
            for row in (0..data.count).step_by(every) {
                accept.set(row as u32);
            }
            let reached = recall(&data, &vamana, accept.count().min(10), Some(&accept));
            assert!(reached >= 0.94, "{disk_percent} every {every}: {reached}");
            recall(&data, &vamana, 300, Some(&accept));
        }
        let none = Bits::new(data.count).unwrap();
        let found = data.found(5, |nearest| {
            let params = SearchParams::default();
            vamana
                .search(&data.scope(Some(&none)), &data.query(0), &params, nearest)
                .unwrap();
        });
        assert!(found.is_empty());
    }
}

#[test]
fn a_failed_read_is_the_answer_and_disturbs_no_later_search() {
    let data = Data::new(Element::F32, Metric::L2, 24, 2000);
    let params = params().with(|p| {
        p.disk_percent = 100;
    });
    let vamana = on_disk(&data, &params);
    let search = || {
        let mut nearest = Nearest::new(10, data.count, u32::MAX).unwrap();
        let (scope, query, params) = (data.scope(None), data.query(1), SearchParams::default());
        vamana.search(&scope, &query, &params, &mut nearest)?;
        Ok(nearest.into_sorted().to_vec())
    };
    let good = search();
    for left in [0, 1, 5] {
        vamana.device().left.set(left);
        assert!(matches!(search(), Err(Error::Io(_))));
    }
    vamana.device().left.set(u64::MAX);
    assert_eq!(search(), good);
}

#[test]
fn a_damaged_record_is_noticed_when_it_is_read() {
    let data = Data::new(Element::F32, Metric::L2, 24, 500);
    let params = params().with(|p| {
        p.disk_percent = 100;
    });
    let mut vamana = on_disk(&data, &params);
    let device = vamana.reader.as_mut().unwrap();
    for at in (0..device.bytes.len()).step_by(64) {
        device.bytes[at] ^= 4;
    }
    let mut nearest = Nearest::new(10, data.count, u32::MAX).unwrap();
    let (scope, query) = (data.scope(None), data.query(1));
    let result = vamana.search(&scope, &query, &SearchParams::default(), &mut nearest);
    assert!(matches!(result, Err(Error::Corrupt(_))));
}

#[test]
fn damaged_sections_are_refused_or_searched_without_harm() {
    let data = Data::new(Element::F32, Metric::L2, 16, 600);
    let mut random = Random(5);
    for disk_percent in [0, 50] {
        let params = params().with(|p| {
            p.disk_percent = disk_percent;
        });
        let open = |sections: Sections| open_index::<Vamana<NoReader>>(&data.space, data.count, &params, sections);
        let built = make::<Vamana<NoReader>>(&data.build(&params, 1)).unwrap();
        assert!(open(copies(&built)).is_ok());
        assert!(open_index::<Vamana<NoReader>>(&data.space, data.count + 1, &params, copies(&built)).is_err());
        for section in 0..built.len() {
            let mut sections = copies(&built);
            sections.remove(section);
            assert!(matches!(open(sections), Err(Error::Corrupt(_))));
            let mut sections = copies(&built);
            let short = sections[section].bytes.len() - 4;
            sections[section].bytes = Buffer::copy_of(&built[section].bytes[..short]).unwrap();
            assert!(matches!(open(sections), Err(Error::Corrupt(_))));
            for _ in 0..60 {
                let mut sections = copies(&built);
                let bytes = &mut sections[section].bytes;
                let at = random.next(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << random.next(8);
                match open(sections) {
                    Err(error) => assert!(matches!(error, Error::Corrupt(_)), "{error}"),
                    Ok(vamana) => {
                        for query in 0..4 {
                            let found = data.found(10, |nearest| {
                                let params = SearchParams::default();
                                vamana
                                    .search(&data.scope(None), &data.query(query), &params, nearest)
                                    .unwrap();
                            });
                            assert!(found.iter().all(|entry| (*entry as u32) < 600));
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_search_that_is_told_to_stop_stops() {
    let data = Data::new(Element::F32, Metric::L2, 16, 4000);
    for disk_percent in [0, 50] {
        let params = params().with(|p| {
            p.disk_percent = disk_percent;
        });
        let vamana = in_memory(&data, &params);
        let scope = Scope {
            stop: &|| true,
            ..data.scope(None)
        };
        let mut nearest = Nearest::new(10, data.count, u32::MAX).unwrap();
        let params = SearchParams {
            ef: 1000,
            ..SearchParams::default()
        };
        let cost = vamana.search(&scope, &data.query(0), &params, &mut nearest).unwrap();
        assert!(cost.stopped && cost.distances < 4000);
    }
}
