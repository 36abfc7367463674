// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Every variant against plain arithmetic in `f64` and integers.

use super::*;
use crate::bits_of;
use crate::Element;
use crate::Metric;
use crate::Rows;
use crate::Space;
use std::vec;
use std::vec::Vec;

fn variants() -> Vec<Kernels> {
    [
        Variant::Scalar,
        #[cfg(target_arch = "x86_64")]
        Variant::Avx2,
        #[cfg(all(target_arch = "x86_64", vexfs_avx512))]
        Variant::Avx512,
    ]
    .into_iter()
    .filter_map(Kernels::with)
    .collect()
}

/// Random numbers of a fixed sequence.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        self.0 >> 32
    }

    fn float(&mut self) -> f32 {
        self.next() as f32 / 2f32.powi(31) - 1.0
    }

    fn floats(&mut self, n: usize) -> Vec<u32> {
        (0..n).map(|_| self.float().to_bits()).collect()
    }
}

fn square(a: &[u32], b: &[u32]) -> f64 {
    let term = |(x, y): (&u32, &u32)| f64::from(f32::from_bits(*x)) - f64::from(f32::from_bits(*y));
    a.iter().zip(b).map(term).map(|d| d * d).sum()
}

fn dot(a: &[u32], b: &[u32]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(x, y)| f64::from(f32::from_bits(*x)) * f64::from(f32::from_bits(*y)))
        .sum()
}

fn panels(kernels: &Kernels, centroids: &[u32], dim: usize) -> Vec<u32> {
    let count = centroids.len() / dim;
    let mut words = vec![0; Panels::words(dim, count)];
    let centroids = Vectors::new(centroids, dim, dim, count).unwrap();
    kernels.fill_panels(&centroids, &mut words).unwrap();
    words
}

#[test]
fn the_nearest_centroid_is_found_and_its_distance_right() {
    let mut random = Random(1);
    for kernels in variants() {
        for (dim, count, vectors) in [
            (1, 1, 3),
            (3, 16, 70),
            (8, 17, 33),
            (33, 100, 5),
            (128, 250, 37),
            (4, 256, 64),
        ] {
            let centroids = random.floats(dim * count);
            let words = panels(&kernels, &centroids, dim);
            let panels = Panels::new(&words, dim, count).unwrap();
            let stride = dim + 3;
            let x = random.floats(stride * vectors);
            let x = Vectors::new(&x, stride, dim + 1, vectors)
                .unwrap()
                .part(1, dim)
                .unwrap();
            let mut nearest = vec![u32::MAX; vectors];
            kernels.assign(&x, &panels, &mut nearest).unwrap();
            for (i, found) in nearest.iter().enumerate() {
                let v = x.get(i).unwrap();
                let distances: Vec<f64> = centroids.chunks(dim).map(|c| square(v, c)).collect();
                let least = distances.iter().copied().fold(f64::INFINITY, f64::min);
                assert!(
                    distances[*found as usize] <= least + 1e-4,
                    "{} dim {dim}",
                    kernels.name()
                );

                for l2 in [true, false] {
                    let mut keys = vec![0; count.div_ceil(LANES) * LANES];
                    kernels.centroid_keys(v, &panels, l2, &mut keys).unwrap();
                    for (c, key) in centroids.chunks(dim).zip(&keys) {
                        let expected = if l2 { square(v, c) } else { -dot(v, c) };
                        let got = f64::from(f32::from_bits(bits_of(*key)));
                        assert!((got - expected).abs() < 1e-4, "{} {got} {expected}", kernels.name());
                    }
                }
            }
        }
    }
}

#[test]
fn vectors_that_are_not_finite_get_a_centroid_that_exists() {
    for kernels in variants() {
        let words = panels(&kernels, &[f32::MAX.to_bits(), 0, (-f32::MAX).to_bits()], 1);
        let panels = Panels::new(&words, 1, 3).unwrap();
        let x = [f32::NAN, f32::INFINITY, f32::MAX, -f32::MAX, f32::NEG_INFINITY].map(f32::to_bits);
        let mut nearest = [u32::MAX; 5];
        kernels
            .assign(&Vectors::new(&x, 1, 1, 5).unwrap(), &panels, &mut nearest)
            .unwrap();
        assert!(nearest.iter().all(|nearest| *nearest < 3), "{nearest:?}");
    }
}

#[test]
fn equally_near_centroids_give_the_first() {
    for kernels in variants() {
        let dim = 5;
        let centroids = vec![0.25f32.to_bits(); dim * 40];
        let words = panels(&kernels, &centroids, dim);
        let x = vec![0.5f32.to_bits(); dim * 9];
        let mut nearest = [7; 9];
        let vectors = Vectors::new(&x, dim, dim, 9).unwrap();
        kernels
            .assign(&vectors, &Panels::new(&words, dim, 40).unwrap(), &mut nearest)
            .unwrap();
        assert_eq!(nearest, [0; 9]);
    }
}

/// A book, and a query for it.
fn book(random: &mut Random, kernels: &Kernels, pq: Pq) -> (Vec<u32>, Vec<u32>, Vec<u32>) {
    let centroids = random.floats(pq.dim() * pq.centroids());
    let mut words = Vec::new();
    for part in centroids.chunks(pq.part_dim() * pq.centroids()) {
        words.extend(panels(kernels, part, pq.part_dim()));
    }
    (centroids, words, random.floats(pq.dim()))
}

/// The decoded row of a code whose parts these are.
fn decode(pq: Pq, centroids: &[u32], parts: &[usize]) -> Vec<u32> {
    let part_len = pq.part_dim() * pq.centroids();
    let part = |(i, c): (usize, &usize)| centroids[i * part_len + c * pq.part_dim()..][..pq.part_dim()].to_vec();
    parts.iter().enumerate().flat_map(part).collect()
}

fn shapes() -> impl Iterator<Item = Pq> {
    [
        (16, 4, 4),
        (16, 1, 4),
        (128, 16, 4),
        (100, 32, 4),
        (16, 4, 8),
        (17, 3, 8),
        (128, 16, 8),
        (256, 128, 4),
        (256, 128, 8),
    ]
    .into_iter()
    .map(|(dim, bytes, bits)| Pq::new(dim, bytes, bits).unwrap())
}

/// The parts of a code's bytes.
fn parts(pq: Pq, code: impl Iterator<Item = u8>) -> Vec<usize> {
    let part = |byte: u8| match pq.bits() {
        4 => vec![usize::from(byte & 15), usize::from(byte >> 4)],
        _ => vec![usize::from(byte)],
    };
    code.flat_map(part).collect()
}

#[test]
fn scans_find_the_same_rows_and_keys_in_every_variant() {
    let mut random = Random(2);
    let rows = 5 * BLOCK;
    for pq in shapes() {
        let plain = Kernels::with(Variant::Scalar).unwrap();
        let (centroids, words, query) = book(&mut random, &plain, pq);
        let bytes = pq.code_bytes();
        let codes: Vec<u8> = (0..rows * bytes).map(|_| random.next() as u8).collect();
        let terms: Vec<u16> = (0..rows).map(|_| random.next() as u16).collect();
        let book = Book::new(pq, &words).unwrap();
        for (l2, with_terms) in [(true, true), (true, false), (false, false)] {
            let (mut values, mut table) = (vec![0; pq.values()], vec![0; pq.values()]);
            let range = RowTerms {
                min: (-0.5f32).to_bits(),
                step: (3.0f32 / 65_535.0).to_bits(),
            };
            // One table for all variants: what they compute may differ in the last bits.
            let table = plain
                .pq_scan_table(&book, &query, l2, with_terms.then_some(range), &mut values, &mut table)
                .unwrap();
            let terms = if with_terms { &terms[..] } else { &[] };
            let list = 0.75f32.to_bits();
            let mut all = vec![];
            for kernels in variants() {
                let (mut found, mut keys) = (vec![0; rows], vec![0; rows]);
                let mut results = vec![];
                for (first, count) in [(0, rows), (1, 63), (64, 64), (100, 1), (70, 200), (5, 0)] {
                    for limit in [u32::MAX, 0] {
                        let n = kernels
                            .pq_scan(&table, &codes, terms, first, count, list, limit, &mut found, &mut keys)
                            .unwrap();
                        if limit == u32::MAX {
                            assert!(found[..n].iter().copied().eq(first as u32..(first + count) as u32));
                        }
                        results.push((found[..n].to_vec(), keys[..n].to_vec()));
                    }
                }
                // A limit in the middle leaves out only what is above it.
                let mut sorted = results[0].1.clone();
                sorted.sort();
                let limit = sorted[rows / 3];
                let n = kernels
                    .pq_scan(&table, &codes, terms, 0, rows, list, limit, &mut found, &mut keys)
                    .unwrap();
                let within = sorted.iter().filter(|key| **key < limit).count();
                assert!((within..=within + rows / 8 + 3).contains(&n), "{n} {within} {pq:?}");
                results.push((found[..n].to_vec(), keys[..n].to_vec()));
                all.push(results);
            }
            assert!(all.iter().all(|results| *results == all[0]), "{pq:?}");

            let step = f64::from(f32::from_bits(table.step));
            for (row, key) in all[0][0].1.iter().enumerate() {
                let code = (0..bytes).map(|j| codes[row / BLOCK * BLOCK * bytes + j * BLOCK + row % BLOCK]);
                let decoded = decode(pq, &centroids, &parts(pq, code));
                let mut expected = -dot(&query, &decoded) * if l2 { 2.0 } else { 1.0 } + 0.75;
                if with_terms {
                    expected += -0.5 + f64::from(terms[row]) * 3.0 / 65_535.0;
                }
                let got = f64::from(f32::from_bits(bits_of(*key)));
                let error = (got - expected).abs();
                assert!(
                    error <= step * (pq.parts() + 4) as f64 / 2.0 + 1e-4,
                    "{pq:?} {error} {step}"
                );
            }
        }
    }
}

#[test]
fn gathered_keys_are_the_distances_to_decoded_rows_in_every_variant() {
    let mut random = Random(3);
    for pq in shapes() {
        let plain = Kernels::with(Variant::Scalar).unwrap();
        let (centroids, words, query) = book(&mut random, &plain, pq);
        let (rows, stride) = (50, pq.code_bytes() + 3);
        let codes: Vec<u8> = (0..rows * stride).map(|_| random.next() as u8).collect();
        let ids: Vec<u32> = (0..97).map(|_| random.next() as u32 % rows as u32).collect();
        let book = Book::new(pq, &words).unwrap();
        for l2 in [true, false] {
            let (mut values, mut table) = (vec![0; pq.values()], vec![0; pq.gather_words()]);
            let table = plain
                .pq_gather_table(&book, &query, l2, &mut values, &mut table)
                .unwrap();
            let mut all = vec![];
            for kernels in variants() {
                let mut keys = vec![0; ids.len()];
                kernels.pq_gather(&table, &codes, stride, &ids, &mut keys).unwrap();
                assert!(kernels
                    .pq_gather(&table, &codes, stride, &[rows as u32], &mut [0])
                    .is_err());
                all.push(keys);
            }
            assert!(all.iter().all(|keys| *keys == all[0]), "{pq:?}");
            for (id, key) in ids.iter().zip(&all[0]) {
                let code = codes[*id as usize * stride..][..pq.code_bytes()].iter().copied();
                let decoded = decode(pq, &centroids, &parts(pq, code));
                let expected = if l2 {
                    square(&query, &decoded)
                } else {
                    -dot(&query, &decoded)
                };
                let got = f64::from(f32::from_bits(bits_of(*key)));
                assert!((got - expected).abs() < 2e-3, "{pq:?} {got} {expected}");
            }
        }
    }
}

#[test]
fn terms_complete_the_distance() {
    let mut random = Random(4);
    let kernels = Kernels::detect();
    let pq = Pq::new(10, 2, 4).unwrap();
    let (centroids, words, query) = book(&mut random, &kernels, pq);
    let (dim, rows) = (10, 20);
    let coarse = random.floats(dim * 3);
    let coarse_words = panels(&kernels, &coarse, dim);
    let residuals = random.floats(pq.dim() * rows);
    let codes: Vec<u32> = (0..rows * pq.parts()).map(|_| random.next() as u32 % 16).collect();
    let lists: Vec<u32> = (0..rows).map(|_| random.next() as u32 % 3).collect();
    let mut terms = vec![0; rows];
    kernels
        .pq_terms(
            &Book::new(pq, &words).unwrap(),
            &Panels::new(&coarse_words, dim, 3).unwrap(),
            &Vectors::new(&residuals, pq.dim(), pq.dim(), rows).unwrap(),
            &codes,
            &lists,
            &mut terms,
        )
        .unwrap();
    let float = |bits: u32| f64::from(f32::from_bits(bits));
    for row in 0..rows {
        let parts: Vec<usize> = codes[row * pq.parts()..][..pq.parts()]
            .iter()
            .map(|c| *c as usize)
            .collect();
        let decoded = decode(pq, &centroids, &parts);
        let mut c = coarse[lists[row] as usize * dim..][..dim].to_vec();
        c.resize(pq.dim(), 0);
        let mut q = query[..dim].to_vec();
        q.resize(pq.dim(), 0);
        let estimate = square(&q, &c) - 2.0 * dot(&q, &decoded) + float(terms[row]);
        let sum: Vec<u32> = c
            .iter()
            .zip(&decoded)
            .map(|(c, s)| (float(*c) + float(*s)) as f32)
            .map(f32::to_bits)
            .collect();
        let error = square(&residuals[row * pq.dim()..][..pq.dim()], &decoded);
        let expected = square(&q, &sum) + error / 2.0;
        assert!((estimate - expected).abs() < 1e-4, "{estimate} {expected}");
    }
    let (min, max) = (-2f32, 6f32);
    let mut narrow = [0; 3];
    let range = kernels
        .pq_narrow_terms(
            &[min.to_bits(), 2f32.to_bits(), max.to_bits()],
            min.to_bits(),
            max.to_bits(),
            &mut narrow,
        )
        .unwrap();
    assert_eq!((narrow[0], narrow[2], range.min), (0, 65_535, min.to_bits()));
    assert!((float(range.step) * f64::from(narrow[1]) + f64::from(min) - 2.0).abs() < 1e-3);
}

#[test]
fn rows_of_every_element_become_vectors() {
    let kernels = Kernels::detect();
    let dim = 3;
    let expected = [[1f32, -2.0, 0.5], [0.0, 3.0, 4.0]];
    let f32s: Vec<u8> = expected.iter().flatten().flat_map(|x| x.to_le_bytes()).collect();
    let bf16s: Vec<u8> = expected
        .iter()
        .flatten()
        .flat_map(|x| x.to_le_bytes()[2..].to_vec())
        .collect();
    let f16s: Vec<u8> = [0x3c00u16, 0xc000, 0x3800, 0, 0x4200, 0x4400]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    for (element, bytes) in [(Element::F32, f32s), (Element::Bf16, bf16s), (Element::F16, f16s)] {
        for metric in [Metric::L2, Metric::Cosine] {
            let space = Space::new(element, metric, dim).unwrap();
            let mut norms = vec![0; if metric == Metric::Cosine { 2 } else { 0 }];
            if metric == Metric::Cosine {
                kernels.inv_norms(&space, &bytes, &mut norms).unwrap();
            }
            let rows = Rows::new(&space, &bytes, space.row_bytes(), 2, &norms).unwrap();
            let mut out = vec![1; 10];
            kernels.unpack(&rows, 0..2, 5, &mut out).unwrap();
            let mut query = vec![1; 4];
            let row = rows.row(1).unwrap();
            kernels
                .unpack_query(&kernels.query(&space, row).unwrap(), &mut query)
                .unwrap();
            assert_eq!(query[..], out[5..9]);
            for (out, expected) in out.chunks(5).zip(expected) {
                let norm = expected.iter().map(|x| x * x).sum::<f32>().sqrt();
                for (out, x) in out.iter().zip(expected) {
                    let x = if metric == Metric::Cosine { x / norm } else { x };
                    assert!((f32::from_bits(*out) - x).abs() < 1e-6);
                }
                assert_eq!(out[3..], [0, 0]);
            }
        }
    }
    let space = Space::new(Element::I8, Metric::Ip, 2).unwrap();
    let rows = Rows::new(&space, &[255, 3], 2, 1, &[]).unwrap();
    let mut out = [0; 2];
    kernels.unpack(&rows, 0..1, 2, &mut out).unwrap();
    assert_eq!(out, [(-1f32).to_bits(), 3f32.to_bits()]);
}

#[test]
fn draws_follow_the_distances() {
    let kernels = Kernels::detect();
    let mut random = Random(5);
    let mut distances = vec![0; 10_000];
    distances[17] = 1f32.to_bits();
    distances[9_000] = 3f32.to_bits();
    let mut counts = [0; 2];
    for _ in 0..2000 {
        match kernels.draw_by_distance(&distances, random.next() << 32 | random.next()) {
            Some(17) => counts[0] += 1,
            Some(9_000) => counts[1] += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!((400..600).contains(&counts[0]), "{counts:?}");
    assert_eq!(kernels.draw_by_distance(&distances, u64::MAX), Some(9_000));
    assert_eq!(kernels.draw_by_distance(&[0; 5], 3), None);
    assert_eq!(kernels.draw_by_distance(&[], 3), None);
}

#[test]
fn sums_means_and_seeds_are_as_by_hand() {
    let kernels = Kernels::detect();
    let mut random = Random(6);
    let (dim, count) = (21, 30);
    let words = random.floats(dim * count);
    let vectors = Vectors::new(&words, dim, dim, count).unwrap();
    let nearest: Vec<u32> = (0..count as u32).map(|i| i % 2).collect();
    let mut sums = vec![0; 2 * dim];
    kernels.add_to_sums(&vectors, &nearest, &mut sums).unwrap();
    let mut mean = vec![0; dim];
    kernels.mean(&sums[dim..], 15, &mut mean).unwrap();
    for d in 0..dim {
        let by_hand: f64 = (0..count)
            .filter(|i| i % 2 == 1)
            .map(|i| f64::from(f32::from_bits(words[i * dim + d])))
            .sum();
        assert!((f64::from(f32::from_bits(mean[d])) - by_hand / 15.0).abs() < 1e-6);
    }
    let mut distances = vec![f32::INFINITY.to_bits(); count];
    kernels
        .lower_distances(&vectors, vectors.get(3).unwrap(), &mut distances)
        .unwrap();
    kernels
        .lower_distances(&vectors, vectors.get(9).unwrap(), &mut distances)
        .unwrap();
    for (i, distance) in distances.iter().enumerate() {
        let v = vectors.get(i).unwrap();
        let by_hand = square(v, vectors.get(3).unwrap()).min(square(v, vectors.get(9).unwrap()));
        assert!((f64::from(f32::from_bits(*distance)) - by_hand).abs() < 1e-4);
    }
}

#[test]
fn tables_are_the_same_in_every_variant() {
    let mut random = Random(7);
    for pq in shapes() {
        let plain = Kernels::with(Variant::Scalar).unwrap();
        // Products of whole numbers are exact, however they are rounded on the way.
        let whole = |n: usize, random: &mut Random| -> Vec<u32> {
            (0..n).map(|_| ((random.next() % 65) as f32 - 32.0).to_bits()).collect()
        };
        let centroids = whole(pq.dim() * pq.centroids(), &mut random);
        let mut words = Vec::new();
        for part in centroids.chunks(pq.part_dim() * pq.centroids()) {
            words.extend(panels(&plain, part, pq.part_dim()));
        }
        let query = whole(pq.dim(), &mut random);
        let book = Book::new(pq, &words).unwrap();
        let mut all = vec![];
        for kernels in variants() {
            let (mut values, mut bytes) = (vec![0; pq.values()], vec![0; pq.values()]);
            kernels
                .pq_scan_table(&book, &query, true, None, &mut values, &mut bytes)
                .unwrap();
            let mut words = vec![0; pq.gather_words()];
            kernels
                .pq_gather_table(&book, &query, true, &mut values, &mut words)
                .unwrap();
            all.push((bytes, words));
        }
        assert!(all.iter().all(|tables| *tables == all[0]), "{pq:?}");
    }
}
